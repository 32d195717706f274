"""The seam between what a network is and what runs it.

    engine = load("model.tflite")
    outputs = engine.run(x)

Two engines stand behind it: `native`, edgekit's own kernels, and `tflite`, LiteRT. `auto` takes `native`
when it has every operator of the model. `ListEngine` is the third, for tests: it runs nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit import model, plan
from edgekit.errors import ModelError, UsageError
from edgekit.graph import Graph
from edgekit.interpreter import TfliteEngine
from edgekit.tensors import TensorInfo, check_inputs, describe

__all__ = ["Engine", "ListEngine", "TensorInfo", "estimate_memory", "load"]

ENGINES = ("auto", "native", "tflite")
MAX_THREADS = 64
NATIVE_OVERHEAD_BYTES = 3 * 2**20  # as measured: code, tables, what numpy takes on the way
TFLITE_OVERHEAD_BYTES = 16 * 2**20  # as measured: LiteRT's libraries and its interpreter
TFLITE_COPIES = 4  # of the constants, as measured


class Engine(Protocol):
    """Maps tensors to tensors and knows nothing else. Not safe to call from two threads at once.

    `name` says which engine it is. `peak_memory_bytes` is what it adds to the process, as estimated.
    """

    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> tuple[TensorInfo, ...]: ...
    @property
    def outputs(self) -> tuple[TensorInfo, ...]: ...
    @property
    def peak_memory_bytes(self) -> int: ...
    def run(self, x: NDArray[Any] | Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """One inference: an array, or a list of them for several inputs, to one array per output.

        Raises ValueError when the input's shape or type is not that of `inputs`, ModelError when the model
        fails.
        """
        ...


class ListEngine:
    """An engine that returns what it was given, run by run; for tests. ModelError at the end of the list."""

    name = "list"
    peak_memory_bytes = 0

    def __init__(
        self, inputs: Sequence[TensorInfo], outputs_per_run: Sequence[Sequence[NDArray[Any]]]
    ) -> None:
        self.inputs = tuple(inputs)
        first = outputs_per_run[0] if outputs_per_run else ()
        self.outputs = tuple(TensorInfo(f"output_{i}", a.shape, a.dtype) for i, a in enumerate(first))
        self.seen: list[list[NDArray[Any]]] = []
        self._runs: Iterator[Sequence[NDArray[Any]]] = iter(outputs_per_run)

    def run(self, x: NDArray[Any] | Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        self.seen.append(check_inputs(self.inputs, x))
        outputs = next(self._runs, None)
        if outputs is None:
            raise ModelError(f"the list engine has no outputs for run {len(self.seen)}")
        return list(outputs)


def load(path: str | Path, engine: str = "auto", threads: int = 1) -> Engine:
    """Load a `.tflite` file. `engine` is "auto", "native" or "tflite"; `threads` is 1 to 64.

    `native` uses one thread whatever `threads` says: its layers are too small to share. Raises UsageError
    for an engine or a number of threads that does not exist, ModelError when the file is damaged or the
    engine lacks one of its operators.
    """
    if engine not in ENGINES:
        raise UsageError(f"engine {engine!r}: expected one of {', '.join(ENGINES)}")
    if not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
        raise UsageError(f"threads: expected 1 to {MAX_THREADS}, not {threads!r}")
    return load_graph(model.read(path), str(path), engine, threads)


def load_graph(graph: Graph, label: str, engine: str = "auto", threads: int = 1) -> Engine:
    """Load a graph, called `label` in messages; for the rest see `load`."""
    reason = plan.refusal(graph)
    if engine == "native" and reason:
        raise ModelError(f"{label}: the native engine cannot run {reason}; engine=tflite or auto runs it")
    if engine == "tflite" or reason:
        return TfliteEngine(graph, label, threads, tflite_memory(graph))
    return NativeEngine(prepared, threads)


def highest_level(native: Any) -> str:
    """The ISA level that $EDGEKIT_ISA asks for, or the highest that this architecture has; UsageError."""
    names: tuple[str, ...] = native.known_levels()
    level = os.environ.get("EDGEKIT_ISA") or names[-1]
    if level not in names:
        raise UsageError(f"EDGEKIT_ISA={level}: expected one of {', '.join(names)}")
    return level


def native_level() -> str:
    """The ISA level that the native engine uses here. UsageError for a bad $EDGEKIT_ISA."""
    import edgekit._native as _native  # noqa: PLR0402  the package's own __getattr__ hides its type

    return str(_native.best_level(highest_level(_native)))


def native_levels() -> tuple[str, ...]:
    """The ISA levels that this CPU can run, worst first."""
    import edgekit._native as _native  # noqa: PLR0402  the package's own __getattr__ hides its type

    return tuple(_native.cpu_levels())


class NativeEngine:
    """Runs a graph by edgekit's own kernels.

    `exact` gives the bytes of TFLite's reference kernels; without it a layer may differ by one, and bytes are the same
    on every CPU. Not safe to call from two threads at once: `stream` gives another engine on the same weights.
    """

    name = "native"

    def __init__(self, graph: Graph, threads: int = 1, *, exact: bool = False, isa: str | None = None) -> None:
        """`graph` is one that `plan.refusal` has nothing against, as `plan.prepare` makes it.

        Raises UsageError for a bad $EDGEKIT_ISA.
        """
        import edgekit._native as _native  # noqa: PLR0402  the package's own __getattr__ hides its type

        self.level: str = _native.best_level(isa or highest_level(_native))
        self.runtime = f"edgekit {self.level}"
        self.inputs = describe(graph, graph.inputs)
        self.outputs = describe(graph, graph.outputs)
        self.threads = threads
        self.plan = plan.build(graph, self.level, exact=exact, threads=threads)
        self.peak_memory_bytes = NATIVE_OVERHEAD_BYTES + self.plan.arena_bytes + self.plan.constant_bytes
        steps = [(_native.Op(step.family, step.fields), True) for step in self.plan.steps]
        self._program = _native.Program(self.level, self.plan.arena_bytes, steps)
        self._stream: Any = self._new_stream()

    def _new_stream(self) -> Any:
        import edgekit._native as _native  # noqa: PLR0402

        return _native.Stream(self._program, list(self.plan.inputs), list(self.plan.outputs))

    def stream(self) -> NativeEngine:
        """Another engine with the same packed weights and memory of its own, for another thread."""
        other = copy(self)
        other._stream = self._new_stream()  # noqa: SLF001
        return other

    def run(self, x: NDArray[Any] | Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """One inference. Raises ValueError for a wrong input and after `close`."""
        if self._stream is None:
            raise ValueError("the engine is closed")
        outputs = [np.empty(info.shape, info.dtype) for info in self.outputs]
        self._stream.run(check_inputs(self.inputs, x), outputs, self.threads)
        return outputs

    def profile(self, inputs: Sequence[NDArray[Any]]) -> list[float]:
        """One inference, step by step: the seconds that each step of `plan` took."""
        return list(self._stream.profile(check_inputs(self.inputs, inputs), self.threads))

    def close(self) -> None:
        """Give the memory back; what runs in another thread ends first."""
        self._stream = None


def estimate_memory(graph: Graph) -> int:
    """Bytes that `load_graph` with engine "auto" would add to the process at its peak. Allocates nothing.

    As measured on 17 networks, it says 0.89 to 1.13 times what LiteRT takes and 0.97 to 1.45 times what the
    native engine takes; `edgekit benchmark --json` puts both numbers side by side.
    """
    return tflite_memory(graph) if plan.refusal(graph) else native_memory(graph)


def native_memory(graph: Graph) -> int:
    """The file, the packed weights, the layer that is being packed, and the arena."""
    sizes = _constant_sizes(graph)
    return NATIVE_OVERHEAD_BYTES + 2 * sum(sizes) + max(sizes, default=0) + plan.lay_out(graph)[1]


def tflite_memory(graph: Graph) -> int:
    """The file as it was read, as it is written anew and as LiteRT packs it; pointers; the arena."""
    constants = TFLITE_COPIES * sum(_constant_sizes(graph))
    return TFLITE_OVERHEAD_BYTES + constants + _pointer_bytes(graph) + plan.peak_live_bytes(graph)


def _constant_sizes(graph: Graph) -> list[int]:
    return [tensor.size_bytes for tensor in graph.tensors if tensor.data is not None]


def _pointer_bytes(graph: Graph) -> int:
    """XNNPACK holds a pointer for every pixel that a window of a convolution covers, for every window."""
    total = 0
    for op in graph.ops:
        if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D") and len(op.inputs) > 1 and op.inputs[1] >= 0:
            weights, result = graph.tensors[op.inputs[1]].shape, graph.tensors[op.outputs[0]].shape
            window = math.prod(weights[1:3])
            total += 8 * window * math.prod(result[1:3]) if window > 1 else 0
    return total
