"""Print the packages that the tests need beside edgekit, out of pyproject.toml: no linters or build tools."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

LEFT_OUT = {"build", "cython", "mypy", "ruff", "setuptools", "wheel"}


def requirements(project: dict[str, object], extra: str = "test") -> list[str]:
    """The dependencies and those of the extra, with the extras that it names itself in their place."""
    optional = project["optional-dependencies"]
    assert isinstance(optional, dict)
    assert isinstance(project["dependencies"], list)
    found = [*project["dependencies"]]
    waiting = [extra]
    while waiting:
        for line in optional[waiting.pop()]:
            if own := re.fullmatch(r"edgekit\[(.*)\]", line):
                waiting += own.group(1).split(",")
            else:
                found.append(line)
    return [line for line in found if not is_left_out(line)]


def is_left_out(line: str) -> bool:
    name = re.split(r"[<>=!~ \[]", line, maxsplit=1)[0]
    return name in LEFT_OUT or name.startswith("types-")


if __name__ == "__main__":
    path = Path(__file__).resolve().parents[2] / "pyproject.toml"
    sys.stdout.write(
        "\n".join(requirements(tomllib.loads(path.read_text(encoding="utf-8"))["project"])) + "\n"
    )
