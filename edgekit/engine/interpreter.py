"""The `tflite` engine: LiteRT, or plain tflite-runtime where that is what is installed.

The interpreter is C++ that trusts its input, so it never sees a file: it gets what `edgekit.model.write`
makes of a graph that was checked.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
from flatbuffers import flexbuffers
from numpy.typing import NDArray

from edgekit.errors import EdgekitError, ModelError
from edgekit.model import write
from edgekit.model.graph import Graph, Op
from edgekit.model.operators import complaint
from edgekit.model.tensors import check_inputs, describe
from edgekit.plan.postprocess import POSTPROCESS, options

_log = logging.getLogger("edgekit.interpreter")
_PACKAGES = {"ai-edge-litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}
_CUSTOM = "CUSTOM:"
CLOSED = "the engine is closed"
_CALLS_SUBGRAPHS = ("CALL", "CALL_ONCE", "IF", "WHILE")


class TfliteEngine:
    """Runs a graph by the interpreter. Not safe to call from two threads at once."""

    name = "tflite"

    def __init__(self, graph: Graph, label: str, threads: int, peak_memory_bytes: int) -> None:
        """Raises ModelError, naming the model by `label`, and EdgekitError when no runtime is installed."""
        if reason := unsupported(graph):
            raise ModelError(f"{label}: {reason}")
        self.inputs = describe(graph, graph.inputs)
        self.outputs = describe(graph, graph.outputs)
        self.facts: Mapping[str, object] = {"density": graph.density}
        self.peak_memory_bytes = peak_memory_bytes
        self._label, self._indices = label, (graph.inputs, graph.outputs)
        self.runtime, module = find_runtime()
        content = write(replace(graph, ops=tuple(_with_own_options(label, op) for op in graph.ops)))
        with _errors(label), quiet_stderr():
            self._interpreter: Any = module.Interpreter(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()

    def run(self, x: NDArray[Any] | Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """One inference. ValueError for a wrong input and after `close`, ModelError when it fails."""
        if self._interpreter is None:
            raise ValueError(CLOSED)
        arrays = check_inputs(self.inputs, x)
        inputs, outputs = self._indices
        with _errors(self._label):
            for index, array in zip(inputs, arrays, strict=True):
                self._interpreter.set_tensor(index, array)
            self._interpreter.invoke()
            return [np.asarray(self._interpreter.get_tensor(index)) for index in outputs]

    def close(self) -> None:
        """Give the memory back."""
        self._interpreter = None


def unsupported(graph: Graph) -> str | None:
    """Why the interpreter must not be given this graph, or None."""
    for number, op in enumerate(graph.ops):
        if op.is_custom and op.kind != POSTPROCESS:
            return f"operator {number} is {op.kind.removeprefix(_CUSTOM)!r}, a custom one that no engine has"
        if not op.is_known or op.kind in _CALLS_SUBGRAPHS:
            return f"operator {number} is {op.kind}, which no engine has"
    return complaint(graph)


def _with_own_options(label: str, op: Op) -> Op:
    """The operator; a custom one has its options read and written anew, as the interpreter trusts them."""
    if op.kind != POSTPROCESS:
        return op
    try:
        return replace(op, options={"bytes": bytes(flexbuffers.Dumps(options(op)))})
    except Exception as error:
        raise ModelError(f"{label}: {POSTPROCESS.removeprefix(_CUSTOM)}: damaged options: {error}") from error


def find_runtime() -> tuple[str, Any]:
    """Name with version, and module, of the interpreter that is installed; EdgekitError if there is none."""
    for package, module in _PACKAGES.items():
        try:
            return f"{package} {version(package)}", import_module(module)
        except ImportError:
            continue
    raise EdgekitError("neither ai-edge-litert nor tflite-runtime is installed: pip install ai-edge-litert")


@contextmanager
def _errors(label: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{label}: the interpreter refuses it: {' '.join(str(error).split())}") from error


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send what C++ code prints on the standard error stream to this module's log, at level debug."""
    with tempfile.TemporaryFile() as caught:
        saved = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            caught.seek(0)
            for line in caught.read().decode(errors="replace").splitlines():
                _log.debug("%s", line)
