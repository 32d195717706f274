"""The command line of `edgekit optimize --one-shot`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError


def add_arguments(parser: Any) -> None:
    """The flags of one-shot pruning, as a group of the `optimize` command."""
    group = parser.add_argument_group("one-shot pruning", "without training: numpy and some pictures")
    group.add_argument("--one-shot", metavar="MODEL", help="an int8 or uint8 .tflite, or a zoo name")
    group.add_argument(
        "--calibration", type=Path, metavar="DIR", help="pictures like those it will see, or an .npz"
    )
    group.add_argument("--sparsity", type=float, metavar="SHARE", help="of the weights to be zero, 0 to 1")
    group.add_argument("--max-latency-ms", type=float, metavar="MS", help="on one core of --device")
    group.add_argument("--device", metavar="NAME", help="a profile, see `edgekit devices list`; or auto")
    group.add_argument(
        "--pattern", default="unstructured", help="unstructured (default), 1x4, 4x4, ..., or N:M like 2:4"
    )
    group.add_argument("--inputs", type=int, metavar="N", help="at most so many of the calibration inputs")
    group.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: MODEL_sparse.tflite here")
    group.add_argument(
        "--encoding", choices=("sparse", "dense"), default="sparse", help="of zeros in the file (TFLite's)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Prune, write, print the report."""
    from edgekit import console
    from edgekit.device import load_device
    from edgekit.inference import find_file
    from edgekit.optimize.oneshot import MOST_INPUTS, Goal, one_shot
    from edgekit.optimize.oneshot.pattern import parse_pattern
    from edgekit.optimize.oneshot.report import COLUMNS

    if arguments.recipe:
        raise UsageError(f"{arguments.recipe} and --one-shot: give one of them")
    if arguments.calibration is None:
        raise UsageError("--one-shot needs --calibration DIR: a folder of pictures like those it will see")
    most = MOST_INPUTS if arguments.inputs is None else arguments.inputs
    if most < 1:
        raise UsageError(f"--inputs {most}: expected 1 or more")
    device = load_device(arguments.device) if arguments.device else None
    goal = Goal(parse_pattern(arguments.pattern), arguments.sparsity, arguments.max_latency_ms, device)
    source, _ = find_file(arguments.one_shot)
    out = arguments.output or Path(f"{source.stem}_sparse.tflite")
    report = one_shot(
        arguments.one_shot, arguments.calibration, out, goal, _say, most_inputs=most,
        sparse_file=arguments.encoding == "sparse",
    )  # fmt: skip
    sizes = {"bytes_before": source.stat().st_size, "bytes": out.stat().st_size}
    if arguments.json:
        console.print_json({"file": str(out), **sizes, **report.to_dict()})
        return 0
    console.print_table("", COLUMNS, [line.row() for line in report.lines])
    sys.stdout.write(f"{report.summary}\n{out}: {sizes['bytes_before']} > {sizes['bytes']} bytes\n")
    return 0


def _say(line: str) -> None:
    """Progress on stderr: one line that is written over on a terminal, lines elsewhere."""
    is_terminal = sys.stderr.isatty()
    sys.stderr.write(f"\r\x1b[K{line}" if is_terminal else f"{line}\n")
    sys.stderr.flush()
