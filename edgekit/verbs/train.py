"""The command line of `edgekit optimize` but for one-shot pruning: recipes, sweeps, and recipes made anew."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError


def add_arguments(parser: Any) -> None:
    """The flags of the `optimize` command that concern training."""
    parser.add_argument(
        "recipe", metavar="RECIPE", nargs="?", help="a recipe YAML, or the name of one that ships"
    )
    parser.add_argument(
        "--sweep", type=Path, metavar="SWEEP.yaml", help="take part in a search over a recipe (extra: sweep)"
    )
    parser.add_argument(
        "--auto", metavar="MODEL", help="write a recipe that makes MODEL meet --max-latency-ms on --device"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="where a recipe's data is (default: beside the recipe)"
    )
    parser.add_argument("--teacher", type=Path, metavar="FILE", help="a detector's ONNX model to distil from")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="what is trained goes there; with --auto: the recipe's file"
    )
    parser.add_argument("--fresh", action="store_true", help="start anew, whatever checkpoint is in --out")
    parser.add_argument(
        "--accelerator",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where to train (default auto: on a GPU that torch sees, else on the CPU)",
    )
    parser.add_argument("-v", "--verbose", action="count", default=1)


def run(arguments: argparse.Namespace) -> int:
    """Train by a recipe, take part in a sweep, or write a recipe."""
    from edgekit import logs

    given = [one for one in (arguments.recipe, arguments.sweep, arguments.auto) if one is not None]
    if len(given) != 1:
        raise UsageError("give a RECIPE, --sweep SWEEP.yaml, --auto MODEL or --one-shot MODEL")
    logs.set_up(arguments.verbose)
    if arguments.auto is not None:
        return _auto(arguments)
    if arguments.out is None:
        raise UsageError("where to? give --out DIR")
    return _sweep(arguments) if arguments.sweep is not None else _train(arguments)


def _train(arguments: argparse.Namespace) -> int:
    from edgekit import console
    from edgekit.optimize import optimize

    with console.training_bars() as watch:
        paths = optimize(
            arguments.recipe,
            arguments.data,
            arguments.teacher,
            arguments.out,
            not arguments.fresh,
            watch,
            arguments.accelerator,
        )
    report = paths[0].with_name("report.json")
    if arguments.json and report.exists():
        sys.stdout.write(report.read_text(encoding="utf-8"))
    elif arguments.json:
        console.print_json([str(path) for path in paths])
    else:
        sys.stdout.writelines(f"{path}\n" for path in paths)
    return 0


def _sweep(arguments: argparse.Namespace) -> int:
    from edgekit import console
    from edgekit.optimize.sweep import sweep

    say = logging.getLogger("edgekit.optimize").info
    best = sweep(arguments.sweep, arguments.data, arguments.out, say, arguments.accelerator)
    if arguments.json:
        console.print_json(best)
        return 0
    goals = [key for key in best[0] if key not in ("trial", "values", "folder")] if best else []
    rows = [(b["trial"], *(f"{b[g]:g}" for g in goals), b["values"], b["folder"]) for b in best]
    console.print_table("best", ("trial", *goals, "values", "folder"), rows)
    return 0


def _auto(arguments: argparse.Namespace) -> int:
    from edgekit.inference import find_file
    from edgekit.optimize.auto import auto_recipe

    if arguments.device is None or arguments.max_latency_ms is None:
        raise UsageError("--auto needs a budget: --device NAME --max-latency-ms MS")
    path, _ = find_file(arguments.auto)
    data = str(arguments.data.absolute()) if arguments.data else "data"
    text = auto_recipe(path.absolute(), arguments.device, arguments.max_latency_ms, data)
    if arguments.out is None:
        sys.stdout.write(text)
    else:
        arguments.out.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{arguments.out}\n")
    return 0
