"""The sub-commands, a module for each family, and what they share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any

Command = Callable[[argparse.Namespace], int]


def add_command(commands: Any, name: str, command: Command, summary: str, *, json_flag: bool = True) -> Any:
    """A sub-command that `command` runs; with --json unless it has no result to print."""
    parser = commands.add_parser(name, help=summary, description=summary)
    parser.set_defaults(command=command)
    if json_flag:
        parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    return parser


def seconds(text: str) -> float:
    """`30`, `30s`, `500ms`, `5m` or `1h` -> seconds; argparse turns the error into a usage line."""
    units = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", text)
    if not found or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"expected a time like 30s, 5m or 1h, not {text!r}")
    return float(found[1]) * units[found[2] or ""]


def at_least_one(text: str) -> int:
    """A whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, not {text!r}")
    return int(text)


def words(text: str) -> list[str]:
    """`a,b` -> its parts, each once, in order."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise argparse.ArgumentTypeError(f"expected words with commas between, not {text!r}")
    return list(dict.fromkeys(parts))


def thread_counts(text: str) -> list[int]:
    """`1,2,4` -> numbers of threads, each 1 to 64."""
    counts = [at_least_one(word) for word in words(text)]
    if max(counts) > 64:
        raise argparse.ArgumentTypeError(f"expected at most 64 threads, not {max(counts)}")
    return counts


def add_verbs(commands: Any, name: str, summary: str) -> Any:
    """A command of several verbs; they are added to what is returned."""
    parser = commands.add_parser(name, help=summary, description=summary)
    return parser.add_subparsers(title="verbs", metavar="VERB", required=True)
