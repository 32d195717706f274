"""`edgekit zoo compare`: models beside each other, by accuracy and latency."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError
from edgekit.verbs import add_command, seconds, words


def add_compare(verbs: Any) -> None:
    parser = add_command(
        verbs, "compare", _compare, "Score models on the same pictures and time them side by side."
    )
    parser.add_argument(
        "models", metavar="MODEL", nargs="*", help="files, beside the models of the zoo that fit the pictures"
    )
    parser.add_argument("--data", type=Path, help="classifiers: .npz of pictures, or a folder for each class")
    parser.add_argument("--coco", type=Path, metavar="ANNOTATIONS.json")
    parser.add_argument("--images", type=Path, metavar="DIR", help="the photos that --coco names")
    parser.add_argument("--rule", help="classifiers: what the boxes say: person or crops; unset: detectors")
    parser.add_argument(
        "--first-class",
        type=int,
        default=0,
        metavar="N",
        help="output of a model without names that is class 0",
    )
    parser.add_argument(
        "--engine", type=words, default=["native"], metavar="NAMES", help="comma-separated: native, tflite"
    )
    parser.add_argument("--duration", type=seconds, default=2.0, metavar="TIME", help="for each candidate")
    parser.add_argument("--markdown", action="store_true", help="print a table for a README")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the front (extra: report)")


def _compare(arguments: argparse.Namespace) -> int:
    from edgekit import bench, console, pareto

    judge, ours = _judge_and_zoo(arguments)
    names = list(dict.fromkeys([*ours, *arguments.models]))
    settings = bench.Settings(arguments.duration)
    found = pareto.compare(names, judge, arguments.engine, settings)
    if arguments.plot:
        pareto.draw(found, arguments.plot)
    if arguments.json:
        console.print_json([one.to_dict() for one in found])
    elif arguments.markdown:
        sys.stdout.write(pareto.as_markdown(found))
    else:
        console.print_table("", pareto.columns(found), [one.row() for one in found])
    return 0


def _judge_and_zoo(arguments: argparse.Namespace) -> tuple[Any, list[str]]:
    """What scores the models, and those of the zoo that tell the classes of the pictures."""
    from edgekit import console, pareto
    from edgekit.evaluate import labelled

    coco = arguments.coco is not None and arguments.images is not None
    if coco == (arguments.data is not None) or (arguments.coco is None) != (arguments.images is None):
        raise UsageError("zoo compare: give --coco with --images, or --data")
    if coco and arguments.rule is None:
        judge = pareto.detectors(arguments.coco, arguments.images, console.progress("scoring"))
        return judge, pareto.of_zoo("detect", ())
    pictures = (
        labelled.read_labelled(arguments.data)
        if arguments.data is not None
        else labelled.read_coco(arguments.coco, arguments.images, arguments.rule)
    )
    judge = pareto.classifiers(pictures, arguments.first_class, console.progress("scoring"))
    return judge, pareto.of_zoo("classify", pictures.names)
