"""`edgekit zoo` and `edgekit optimize`: the models that ship, and how to make one."""

from __future__ import annotations

import argparse
from typing import Any

from edgekit.verbs import add_command, add_verbs
from edgekit.verbs.compare import add_compare


def add_zoo(commands: Any) -> None:
    verbs = add_verbs(commands, "zoo", "The models that ship with edgekit.")
    add_command(verbs, "list", _zoo_list, "List the models of the zoo.")
    add_command(verbs, "show", _zoo_show, "Show a model's card.").add_argument("name", metavar="MODEL")
    add_compare(verbs)


def _zoo_list(arguments: argparse.Namespace) -> int:
    from edgekit import console
    from edgekit.zoo import list_models

    models = list_models()
    if arguments.json:
        console.print_json([{"name": m.name, "path": str(m.path), **m.card.facts} for m in models])
        return 0
    rows = [
        (m.name, m.card.task, _accuracy(m.card.facts.get("accuracy") or {}),
         f"{m.path.stat().st_size / 2**20:.2f}", ", ".join(m.card.labels))
        for m in models
    ]  # fmt: skip
    console.print_table("", ("model", "task", "accuracy", "MB", "labels"), rows)
    return 0


def _accuracy(facts: dict[str, Any]) -> str:
    """The first figure of a card that people ask for."""
    for key, name in (("person_ap50", "person AP50"), ("top1", "top-1")):
        if key in facts:
            return f"{name} {facts[key]:.3f}"
    return "-"


def _zoo_show(arguments: argparse.Namespace) -> int:
    from edgekit import console
    from edgekit.zoo import find_model

    card = find_model(arguments.name).card
    if arguments.json:
        console.print_json(card.facts)
    else:
        console.print_yaml(card.facts)
    return 0


def add_optimize(commands: Any) -> None:
    from edgekit.verbs import prune, train

    parser = add_command(
        commands, "optimize", _optimize, "Train a model by a recipe (extra: train), or prune one as it is."
    )
    train.add_arguments(parser)
    prune.add_arguments(parser)


def _optimize(arguments: argparse.Namespace) -> int:
    from edgekit.verbs import prune, train

    return prune.run(arguments) if arguments.one_shot else train.run(arguments)
