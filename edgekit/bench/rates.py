"""What kernels reach on this machine: multiply-adds and bytes a second, cold and after seconds of work."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit import plan
from edgekit.analyze import explain
from edgekit.bench import probe_nets
from edgekit.engine import NativeEngine
from edgekit.model.tensors import random_inputs

if TYPE_CHECKING:
    from edgekit.bench.probing import Timed

WEIGHTED = ("conv", "depthwise", "fc")
ELEMENTWISE = ("add_planes", "mul_planes", "lut_planes", "pool_max1", "copy")
REFERENCE, REFERENCE_S = 4, 0.4  # the network of a middle stage


@dataclass(frozen=True)
class LayerRate:
    """Layers of one kernel with that share of weights that are not zero, and how these lie.

    `gmacs` is 10^9 multiply-adds a second of one core, as if no weight were zero.
    """

    kernel: str
    pattern: str
    density: float
    gmacs: float


@dataclass(frozen=True)
class Rates:
    """At one ISA level. `elementwise_gbps` is 10^9 bytes read and written a second by kind of step.

    `layer_us` is what the shortest layer takes, `thread_gain` how much faster two threads are than one.
    """

    layers: tuple[LayerRate, ...]
    elementwise_gbps: dict[str, float]
    layer_us: float
    thread_gain: float


@dataclass(frozen=True)
class Sustained:
    """Median milliseconds of one network at first and after `seconds` of work."""

    cold_ms: float
    sustained_ms: float
    seconds: float


def rates_of(nets: Sequence[Timed]) -> Rates:
    """From the least times of the probe's networks."""
    layers: dict[tuple[str, str, float], list[tuple[float, float]]] = defaultdict(list)
    moved: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for net in nets:
        lines = explain(net.graph, net.engine.plan)
        for work, line, spent_s in zip(net.works, lines, net.steps_s, strict=True):
            counts = line.kernel != "conv" or net.graph.description == probe_nets.LADDER
            if line.macs and line.kernel in WEIGHTED and line.zeros is not None and counts:
                density = nearest(1 - line.zeros)
                pattern = "dense" if density == 1 else "1x4" if "1x4" in line.pattern else "unstructured"
                layers[work.kind, pattern, density].append((line.macs, spent_s))
            elif work.kind in ELEMENTWISE:
                moved[work.kind].append((work.traffic_bytes, spent_s))
    told = [LayerRate(*key, _giga(amounts)) for key, amounts in sorted(layers.items(), key=_place)]
    one, two = (sum(net.whole_s[threads] for net in nets) for threads in (1, 2))
    shortest = min(float(net.steps_s.min()) for net in nets)
    return Rates(tuple(told), {k: _giga(v) for k, v in sorted(moved.items())}, 1e6 * shortest, one / two)


def nearest(density: float) -> float:
    """The density of the probe that is meant: weights that are drawn may be zero, too."""
    return min(probe_nets.DENSITIES, key=lambda known: abs(known - density))


def layer_rows(told: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Of a profile's `rates`: kernel, pattern, density and the rate at each level that has the kernel."""
    rates = {
        level: {(r["kernel"], r["pattern"], r["density"]): r["gmacs"] for r in found["layers"]}
        for level, found in told.items()
    }
    keys = sorted({key for found in rates.values() for key in found}, key=lambda key: (*key[:2], -key[2]))
    cells = [[f"{found[key]:.1f}" if key in found else "" for found in rates.values()] for key in keys]
    return [
        [kernel, pattern, f"{d:.0%}", *row] for (kernel, pattern, d), row in zip(keys, cells, strict=True)
    ]


def other_rows(told: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """What is told of no layer with weights: a row for each figure, a column for each level."""
    kinds = dict.fromkeys(kind for found in told.values() for kind in found["elementwise_gbps"])
    moved = [
        [f"{kind}, GB/s", *(f"{found['elementwise_gbps'].get(kind, 0):.3g}" for found in told.values())]
        for kind in kinds
    ]
    return [
        *moved,
        ["shortest layer, us", *(f"{found['layer_us']:.3g}" for found in told.values())],
        ["two threads, times as fast", *(f"{found['thread_gain']:.2f}" for found in told.values())],
    ]


def _giga(amounts: Iterable[tuple[float, float]]) -> float:
    done, spent = np.array(list(amounts)).sum(axis=0)
    return float(1e-9 * done / spent)


def _place(item: tuple[tuple[str, str, float], object]) -> tuple[str, str, float]:
    kernel, pattern, density = item[0]
    return kernel, pattern, -density


class Reference:
    """A network that is timed before and after all else."""

    def __init__(self, level: str) -> None:
        graph = plan.prepare(list(probe_nets.probe_nets())[REFERENCE])
        self._engine = NativeEngine(graph, isa=level)
        self._inputs = random_inputs(self._engine.inputs)
        self._engine.run(self._inputs)
        self._start = time.perf_counter()
        self._cold_ms = self._median_ms()

    def sustained(self) -> Sustained:
        """Timed again, after all that was done since."""
        return Sustained(self._cold_ms, self._median_ms(), time.perf_counter() - self._start)

    def _median_ms(self) -> float:
        times: list[float] = []
        end = time.perf_counter() + REFERENCE_S
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            self._engine.run(self._inputs)
            times.append(1e3 * (time.perf_counter() - start))
        return float(np.median(times))
