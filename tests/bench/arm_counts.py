"""Instructions of one inference on an emulated Raspberry Pi 4 and 5, the native engine's and LiteRT's.

python tests/bench/arm_counts.py build/arm model.tflite... [--zero 0.8] [--steps 20]

Each network is counted as it is and with that share of its 1x4 blocks zero, the smallest ones, as a first
convolution and depthwise ones are left alone. `build/arm` is what `tests/arm/run.sh build/arm` has built: its
python runs this file, and QEMU counts by the plugin tests/arm/count.c.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edgekit import model
from edgekit.analyze.whatif import lightest
from edgekit.engine.native import NativeEngine, load
from edgekit.model.graph import Graph
from edgekit.model.tensors import random_inputs
from edgekit.optimize.oneshot.layers import bias_of, find_layers, replaced
from edgekit.plan.layout import QUAD

BOARDS = {"cortex-a72": "Pi 4", "cortex-a76": "Pi 5"}
ENGINES = ("native", "tflite")
LEAST_CHANNELS = 16  # of a convolution that is pruned
PLUGIN = Path(__file__).resolve().parents[1] / "arm" / "count.c"


@dataclass(frozen=True)
class Count:
    """Instructions of a run, and of each of its steps, by what they are called."""

    run: int
    steps: list[tuple[str, int]]


def prune(graph: Graph, share: float) -> Graph:
    """The graph without that share of the 1x4 blocks of its convolutions and fully connected layers."""
    for layer in find_layers(graph):
        if layer.kind != "DEPTHWISE_CONV_2D" and layer.channels >= LEAST_CHANNELS:
            kept = layer.matrix * lightest(graph, [layer], share, QUAD)[0]
            graph = replaced(graph, layer, kept, bias_of(graph, layer))
    return graph


def run_marked(path: str, name: str) -> None:
    """What the emulated board does: a run between two marks, then one with marks around its steps."""
    engine = load(path, name, 1)
    inputs = random_inputs(engine.inputs)
    engine.run(inputs)
    os.getppid()
    engine.run(inputs)
    os.getppid()
    if isinstance(engine, NativeEngine):
        engine.profile(inputs)
        os.getppid()
        for step in engine.plan.steps:
            sys.stdout.write(f"{step.family} {step.note}\n")


def count(python: Path, plugin: Path, path: Path, engine: str) -> Count:
    """One inference under emulation. RuntimeError where it fails."""
    log = plugin.with_suffix(".log")
    environment = os.environ | {
        "QEMU_PLUGIN": str(plugin), "QEMU_LOG": "plugin", "QEMU_LOG_FILENAME": str(log), "PYTHONHASHSEED": "0"
    }  # fmt: skip
    command = [str(python), "-P", __file__, "--marked", engine, str(python), str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-1000:]}")
    return read_marks(log.read_text(encoding="ascii"), done.stdout.splitlines())


def read_marks(log: str, names: list[str]) -> Count:
    """From the marks that the plugin wrote: around a run, and then around each step of another."""
    marks = [(kind, int(number)) for kind, number in map(str.split, log.splitlines())]
    runs = [place for place, (kind, _) in enumerate(marks) if kind == "run"]
    clock = [number for _, number in marks[runs[1] + 1 : runs[2]]] if names else []
    spent = [end - start for start, end in zip(clock[::2], clock[1::2], strict=True)]
    return Count(marks[runs[1]][1] - marks[runs[0]][1], list(zip(names, spent, strict=True)))


def build_plugin(folder: Path) -> Path:
    library = folder / "libcount.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(PLUGIN)], check=True)
    return library


def variants(path: Path, share: float, folder: Path) -> dict[str, Path]:
    """The network's file, and that of the pruned one, by what they are called."""
    pruned = folder / f"{path.stem}.b{share:.0%}.tflite".replace("%", "")
    pruned.write_bytes(model.write(prune(model.read(path), share)))
    return {"dense": path, f"{share:.0%} of blocks zero": pruned}


def steps_text(found: Count, most: int) -> str:
    """The largest steps, and the sums of each family."""
    lines = [
        f"{number / 1e6:7.3f} M  {name}" for name, number in sorted(found.steps, key=lambda s: -s[1])[:most]
    ]
    by_family: dict[str, int] = {}
    for name, number in found.steps:
        family = name.split()[0]
        by_family[family] = by_family.get(family, 0) + number
    lines.append(", ".join(f"{family} {number / 1e6:.2f}" for family, number in by_family.items()))
    return "".join(f"    {line}\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("build", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--zero", type=float, default=0.8)
    parser.add_argument("--steps", type=int, default=0, help="print that many of the largest steps")
    parser.add_argument("--marked", choices=ENGINES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.marked:
        run_marked(str(args.models[0]), args.marked)
        return
    build = args.build.resolve()
    plugin = build_plugin(build)
    sys.stdout.write("| network | board | native, M | LiteRT, M | ratio |\n|---|---|---|---|---|\n")
    for path in args.models:
        for variant, file in variants(path.resolve(), args.zero, build).items():
            for cpu, board in BOARDS.items():
                own, other = (count(build / cpu / "python", plugin, file, engine) for engine in ENGINES)
                sys.stdout.write(
                    f"| {path.stem}, {variant} | {board} | {own.run / 1e6:.1f} | {other.run / 1e6:.1f} "
                    f"| {own.run / other.run:.2f} |\n"
                )
                sys.stdout.write(steps_text(own, args.steps) if args.steps else "")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
