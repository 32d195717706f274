"""Layers with zeros beside their own dense kernel: which are slower than it, by ISA level.

python tests/bench/never_slower.py [model.tflite...] [--rounds 60] [--levels avx2,avx512vnni]

Without files it takes the zoo's networks. The dense kernel of a layer is the one that it gets when nothing in
it is zero: the same network with all zeros filled runs between, step by step, and medians are compared.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgekit import model, plan
from edgekit.engine.native import NativeEngine, native_levels
from edgekit.model.graph import Graph, Tensor
from edgekit.model.tensors import random_inputs
from edgekit.plan.step import Step
from edgekit.zoo import list_models

LAYERS = ("CONV_2D", "FULLY_CONNECTED")
SLOWER = 1.03


@dataclass(frozen=True)
class Layer:
    """One layer's medians. `note` is what the plan says of the kernel that was chosen."""

    number: int
    note: str
    chosen_us: float
    dense_us: float

    @property
    def ratio(self) -> float:
        return self.chosen_us / self.dense_us


def weights_with_zeros(graph: Graph) -> dict[int, int]:
    """The weights in which something is zero, by the operators that they belong to."""
    found = {}
    for number, op in enumerate(graph.ops):
        tensor = graph.tensors[op.inputs[1]] if op.kind in LAYERS else None
        if tensor and tensor.data is not None and np.any(tensor.data == zero_of(tensor)):
            found[number] = op.inputs[1]
    return found


def zero_of(tensor: Tensor) -> int:
    return 0 if tensor.zero_point is None else int(tensor.zero_point[0])


def filled(graph: Graph, weights: Sequence[int]) -> Graph:
    """The graph with the least number that is not zero in place of each zero."""
    tensors = list(graph.tensors)
    for i in weights:
        data, zero = np.array(tensors[i].data), zero_of(tensors[i])
        data[data == zero] = zero + 1
        tensors[i] = replace(tensors[i], data=data)
    return replace(graph, tensors=tuple(tensors))


def steps_of(engine: NativeEngine) -> Iterator[tuple[int, Step]]:
    """The steps with the operators that they are made for; spreading is made for the layer behind it."""
    steps, owners = engine.plan.steps, list(engine.plan.operators)
    for i in reversed(range(len(steps))):
        if steps[i].family == "spread_planes":
            owners[i] = owners[i + 1]
    yield from zip(owners, steps, strict=True)


def medians(engines: Sequence[NativeEngine], rounds: int) -> list[dict[int, float]]:
    """Microseconds of each operator, in each of the engines, which take turns."""
    inputs = random_inputs(engines[0].inputs)
    owners = [[owner for owner, _ in steps_of(engine)] for engine in engines]
    times: list[dict[int, list[float]]] = [defaultdict(list) for _ in engines]
    for _ in range(rounds):
        for own, numbers, engine in zip(times, owners, engines, strict=True):
            total: dict[int, float] = defaultdict(float)
            for number, seconds in zip(numbers, engine.profile(inputs), strict=True):
                total[number] += 1e6 * seconds
            for number, microseconds in total.items():
                own[number].append(microseconds)
    return [{number: float(np.median(some)) for number, some in own.items()} for own in times]


def compare(path: Path, level: str, rounds: int) -> list[Layer]:
    """Every layer with zeros whose kernel is not its dense one."""
    graph = plan.prepare(model.read(path))
    weights = weights_with_zeros(graph)
    engines = [NativeEngine(one, isa=level) for one in (graph, filled(graph, sorted(set(weights.values()))))]
    kinds = [{number: kind_of(step) for number, step in steps_of(engine)} for engine in engines]
    notes = dict(steps_of(engines[0]))
    chosen, dense = medians(engines, rounds)
    return [
        Layer(number, notes[number].note, chosen[number], dense[number])
        for number in weights
        if number in notes and kinds[0][number] != kinds[1][number]
    ]


def kind_of(step: Step) -> tuple[object, ...]:
    """Alike for two steps that do the same work."""
    fields = step.fields
    entries = np.size(fields.get("entries", fields.get("offsets", 0)))
    return step.family, fields.get("group"), fields.get("tile"), fields.get("planar"), entries


def write_line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--levels", default=",".join(native_levels()[1:]))
    args = parser.parse_args()
    named = {path.stem: path for path in args.models} or {entry.name: entry.path for entry in list_models()}
    for name, path in named.items():
        for level in args.levels.split(","):
            layers = compare(path, level, args.rounds)
            slow = sorted((layer for layer in layers if layer.ratio > SLOWER), key=lambda layer: -layer.ratio)
            write_line(f"{name}, {level}: {len(layers)} layers by kernels for zeros, {len(slow)} slower")
            for layer in slow:
                write_line(
                    f"  {layer.ratio:.2f}x  {layer.chosen_us:.1f} us, dense {layer.dense_us:.1f}: "
                    f"operator {layer.number} {layer.note}"
                )


if __name__ == "__main__":
    main()
