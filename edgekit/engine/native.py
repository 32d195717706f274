"""The seam between what a network is and what runs it.

    engine = load("model.tflite")
    outputs = engine.run(x)

Two engines stand behind it: `native`, edgekit's own kernels, and `tflite`, LiteRT. `auto` takes `native`
when it has every operator of the model. `ListEngine` is the third, for tests: it runs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit import model, plan
from edgekit.device import machine
from edgekit.device.work import work_of
from edgekit.engine.interpreter import CLOSED, TfliteEngine, unsupported
from edgekit.errors import ModelError, UsageError
from edgekit.model.graph import Graph
from edgekit.model.tensors import TensorInfo, check_inputs, describe
from edgekit.plan import lowering, memory, ranks

__all__ = ["Engine", "ListEngine", "TensorInfo", "estimate_memory", "load"]

FAULTS = {
    lowering.OUTSIDE: "an index that the network computes, or is given, reaches outside of its table",
    lowering.ZERO: "a divisor that the network computes, or is given, is 0",
}
ENGINES = ("auto", "native", "tflite")
MAX_THREADS = 64


class Engine(Protocol):
    """Maps tensors to tensors and knows nothing else. Not safe to call from two threads at once.

    `name` says which engine it is, `facts` what events tell of it: its kernels (`isa`), and the share of the
    weights they run that is not zero (`density`). `peak_memory_bytes` is what it adds to the process, as
    estimated.
    """

    @property
    def name(self) -> str: ...
    @property
    def facts(self) -> Mapping[str, object]: ...
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

    def close(self) -> None:
        """Give the memory back; `run` raises ValueError from then on."""
        ...


class ListEngine:
    """An engine that returns what it was given, run by run; for tests. ModelError at the end of the list."""

    name = "list"
    facts: Mapping[str, object] = MappingProxyType({})
    peak_memory_bytes = 0

    def __init__(
        self, inputs: Sequence[TensorInfo], outputs_per_run: Sequence[Sequence[NDArray[Any]]]
    ) -> None:
        self.inputs = tuple(inputs)
        first = outputs_per_run[0] if outputs_per_run else ()
        self.outputs = tuple(TensorInfo(f"output_{i}", a.shape, a.dtype) for i, a in enumerate(first))
        self.seen: list[list[NDArray[Any]]] = []
        self._runs: Iterator[Sequence[NDArray[Any]]] = iter(outputs_per_run)
        self._closed = False

    def close(self) -> None:
        self._closed = True

    def run(self, x: NDArray[Any] | Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        if self._closed:
            raise ValueError(CLOSED)
        self.seen.append(check_inputs(self.inputs, x))
        outputs = next(self._runs, None)
        if outputs is None:
            raise ModelError(f"the list engine has no outputs for run {len(self.seen)}")
        return list(outputs)


def load(
    path: str | Path, engine: str = "auto", threads: int = 1, *, exact: bool = False, tune: bool = False
) -> Engine:
    """Load a `.tflite` file. `engine` is "auto", "native" or "tflite"; `threads` is 1 to 64.

    With `exact` the native engine gives the bytes of TFLite's reference kernels, some slower. With `tune`
    it times its kernels for a second or two first and keeps what it found in the user's cache, where later
    loads find it. Raises UsageError for what is no path and for an engine or a number of threads that does
    not exist, ModelError when the file is damaged or the engine lacks one of its operators.
    """
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"expected the path of a .tflite file, not {path!r}")
    if engine not in ENGINES:
        raise UsageError(f"engine {engine!r}: expected one of {', '.join(ENGINES)}")
    if not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= MAX_THREADS:
        raise UsageError(f"threads: expected 1 to {MAX_THREADS}, not {threads!r}")
    return load_graph(model.read(path), str(path), engine, threads, exact=exact, tune=tune)


def load_graph(
    graph: Graph, label: str, engine: str = "auto", threads: int = 1, *, exact: bool = False,
    tune: bool = False,
) -> Engine:  # fmt: skip
    """Load a graph, called `label` in messages; for the rest see `load`."""
    if not graph.outputs:
        raise ModelError(f"{label}: no outputs; such a network computes nothing")
    prepared = plan.prepare(graph)
    reason = plan.refusal(prepared)
    if engine == "native" and reason:
        hint = "no engine does" if unsupported(graph) else "engine=tflite or auto runs it"
        raise ModelError(f"{label}: the native engine cannot run {reason}; {hint}")
    if engine == "tflite" or reason:
        return TfliteEngine(graph, label, threads, memory.tflite_bytes(graph))
    level = native_level()
    if tune:
        found = ranks.find_ranks(
            lambda tried: _native_engine(prepared, label, threads, exact=exact, ranks=tried),
            len(prepared.ops),
        )
        ranks.save_ranks(prepared, level, threads, found)
    known = found if tune else ranks.load_ranks(prepared, level, threads)
    return _native_engine(prepared, label, threads, exact=exact, ranks=known)


def _native_engine(graph: Graph, label: str, threads: int, **options: Any) -> NativeEngine:
    try:
        return NativeEngine(graph, threads, **options)
    except ModelError as error:
        raise ModelError(f"{label}: {error}") from None
    except MemoryError as error:
        raise ModelError(f"{label}: {error or 'there is not enough memory'}") from None


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


def estimate_memory(graph: Graph) -> int:
    """Bytes that `load_graph` with engine "auto" would add to the process at its peak."""
    prepared = plan.prepare(graph)
    if plan.refusal(prepared):
        return memory.tflite_bytes(graph)
    return memory.native_bytes(prepared, plan.build(prepared, native_level()))


def native_levels() -> tuple[str, ...]:
    """The ISA levels that this CPU can run, worst first."""
    import edgekit._native as _native  # noqa: PLR0402  the package's own __getattr__ hides its type

    return tuple(_native.cpu_levels())


def _refusal(ops: Sequence[Any], made: plan.Plan) -> str | None:
    """The first step that its kernel does not take, and why."""
    for op, number in zip(ops, made.operators, strict=True):
        try:
            op.units(made.arena_bytes)
        except ValueError as error:
            return f"operator {number}: {error}" if number >= 0 else str(error)
    return None


class NativeEngine:
    """Runs a graph by edgekit's own kernels.

    `exact` gives the bytes of TFLite's reference kernels; without it a layer may differ by one, and bytes
    are the same on every CPU. Not safe to call from two threads at once: `stream` gives another engine on
    the same weights.
    """

    name = "native"

    def __init__(
        self, graph: Graph, threads: int = 1, *, exact: bool = False, isa: str | None = None,
        ranks: Mapping[int, int] = plan.NO_RANKS,
    ) -> None:  # fmt: skip
        """`graph` is one that `plan.refusal` has nothing against, as `plan.prepare` makes it.

        For `ranks` see `plan.build`. Raises UsageError for a bad $EDGEKIT_ISA, ModelError for a network that
        is larger than the kernels reach.
        """
        import edgekit._native as _native  # noqa: PLR0402  the package's own __getattr__ hides its type

        self.level: str = _native.best_level(isa or highest_level(_native))
        self.runtime = f"edgekit {self.level}"
        self.facts: Mapping[str, object] = {"isa": self.level, "density": graph.density}
        self.inputs = describe(graph, graph.inputs)
        self.outputs = describe(graph, graph.outputs)
        self.threads = min(threads, machine.usable_threads())
        _native.limit_threads(machine.usable_threads())
        _native.trim_heap()  # of what preparing the graph has left
        self.plan = plan.build(graph, self.level, exact=exact, threads=threads, ranks=ranks)
        self.peak_memory_bytes = memory.native_bytes(graph, self.plan)
        steps = [
            (_native.Op(step.family, step.fields), work_of(step, self.level).shared)
            for step in self.plan.steps
        ]
        try:
            self._program = _native.Program(self.level, self.plan.arena_bytes, steps)
        except ValueError as error:
            raise ModelError(_refusal([op for op, _ in steps], self.plan) or str(error)) from error
        _native.trim_heap()
        self._stream: Any = self._new_stream()

    def _new_stream(self) -> Any:
        import edgekit._native as _native  # noqa: PLR0402

        fault = [self.plan.fault] if self.plan.fault else []
        return _native.Stream(self._program, [*self.plan.inputs, *fault], [*self.plan.outputs, *fault])

    def stream(self) -> NativeEngine:
        """Another engine with the same packed weights and memory of its own; ValueError after `close`."""
        self._check_open()
        other = copy(self)
        other._stream = self._new_stream()  # noqa: SLF001
        return other

    def run(self, x: NDArray[Any] | Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """One inference. ValueError for a wrong input and after `close`, ModelError when the model fails."""
        self._check_open()
        outputs = [np.empty(info.shape, info.dtype) for info in self.outputs]
        fault = [np.zeros(1, np.int32)] if self.plan.fault else []
        self._stream.run([*check_inputs(self.inputs, x), *fault], [*outputs, *fault], self.threads)
        if fault and fault[0][0]:
            raise ModelError(FAULTS[int(fault[0][0])])
        return outputs

    def profile(self, inputs: Sequence[NDArray[Any]]) -> list[float]:
        """One inference, step by step: the seconds that each step of `plan` took."""
        self._check_open()
        fault = [np.zeros(1, np.int32)] if self.plan.fault else []
        return list(self._stream.profile([*check_inputs(self.inputs, inputs), *fault], self.threads))

    def _check_open(self) -> None:
        if self._stream is None:
            raise ValueError(CLOSED)

    def close(self) -> None:
        """Give the memory back; what runs in another thread ends first."""
        self._stream = None
