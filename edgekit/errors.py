"""Every error that edgekit raises on purpose, and the exit code that each one ends a command with.

EdgekitError                    1   something failed while running
├── UsageError                  2   the command line asks for something that makes no sense
├── BudgetError                 3   no model fits the budget, or a check of one failed
├── CheckError                  3   what was replayed is not what was expected
├── UnavailableError           69   a camera, a stream or a broker is not there
├── ConfigError                78   a YAML file is not what edgekit expects
├── CrashError                  1   the engine's process has died, or hangs
├── ModelError                  1   a model file is damaged, hostile or needs what edgekit lacks
├── SourceError                 1   a file, folder or photograph cannot be read
├── DivergedError               1   a training's numbers are none any more
└── MissingExtraError           1   an optional package is not installed

A message is one line: what is wrong, with the name of the thing, then what to do next.
"""

from __future__ import annotations

import json


def printable(text: str) -> str:
    """`text` with what a terminal would obey or hide escaped as JSON does it."""
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


class EdgekitError(Exception):
    """The root of the tree: `except EdgekitError` catches every expected failure."""

    exit_code = 1


class UsageError(EdgekitError):
    exit_code = 2


class BudgetError(EdgekitError):
    exit_code = 3


class CheckError(EdgekitError):
    exit_code = 3


class UnavailableError(EdgekitError):
    exit_code = 69


class ConfigError(EdgekitError):
    exit_code = 78


class CrashError(EdgekitError):
    """An engine in a process of its own that is no longer there; it may be back at a later run."""


class ModelError(EdgekitError):
    """A model file that cannot be used; the message names the file and the place in it.

    Names in a hostile file may hold anything; in the message they hold nothing that a terminal obeys.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class SourceError(EdgekitError):
    """A source of frames that exists as a name but cannot be read."""


class DivergedError(EdgekitError):
    """A training that cannot go on from where it is; what it saved before is still there."""


class MissingExtraError(EdgekitError):
    """An optional package is missing; the message names the `pip install` that brings it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'edgekit[{extra}]'")
