"""`edgekit validate` and `edgekit schema`: the files of pipelines and recipes."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from edgekit.verbs import add_command


def add_validate(commands: Any) -> None:
    parser = add_command(
        commands, "validate", _validate, "Check pipeline configs; exit 78 names what is wrong."
    )
    parser.add_argument("configs", metavar="CONFIG", nargs="+")
    parser.add_argument(
        "--print-resolved", action="store_true", help="print the merged configs, secrets masked"
    )


def _validate(arguments: argparse.Namespace) -> int:
    from edgekit.config import resolved_yaml
    from edgekit.errors import ConfigError
    from edgekit.pipeline.fit import read_config

    complaints: list[str] = []
    for path in arguments.configs:
        try:
            config = read_config(path)
        except ConfigError as error:
            complaints.append(str(error))
        else:
            if arguments.print_resolved:
                sys.stdout.write(f"# {path}\n{resolved_yaml(config)}")
            elif not arguments.json:
                model = config.model.name or "of the zoo that fits"
                sys.stdout.write(f"{path}: ok, {len(config.cameras)} camera(s), model {model}\n")
    if arguments.json:
        from edgekit.console import print_json

        print_json({"ok": not complaints, "errors": "\n".join(complaints).splitlines()})
        return ConfigError.exit_code if complaints else 0
    if complaints:
        raise ConfigError("\n".join(complaints))
    return 0


def add_schema(commands: Any) -> None:
    summary = "Print the JSON schema of pipeline configs, or of recipes, for editors."
    parser = add_command(commands, "schema", _schema, summary, json_flag=False)
    parser.add_argument("--recipe", action="store_true", help="of recipes for edgekit optimize")


def _schema(arguments: argparse.Namespace) -> int:
    from edgekit.console import print_json

    if arguments.recipe:
        from edgekit.optimize import recipe_schema

        print_json(recipe_schema())
        return 0
    from edgekit.config import config_schema

    print_json(config_schema())
    return 0
