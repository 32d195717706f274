"""Other people's engines behind edgekit's seam, to be measured beside it: extra `rivals`.

They read their own formats and know nothing of edgekit's checks: only files that one trusts belong here.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import MissingExtraError, ModelError
from edgekit.model.tensors import TensorInfo

Layer = tuple[str, str, float]  # name, kind and microseconds


class Rival(Protocol):
    """An engine as far as it is measured: see edgekit.engine.Engine."""

    name: str
    runtime: str
    inputs: tuple[TensorInfo, ...]

    def run(self, x: Sequence[NDArray[Any]]) -> list[NDArray[Any]]: ...
    def layers(self, x: Sequence[NDArray[Any]]) -> list[Layer]:
        """What each layer took in one inference."""
        ...


def is_installed(name: str) -> bool:
    """Whether the package of this rival is here; it is not imported."""
    return find_spec(name) is not None


def open_rival(name: str, file: Path, threads: int) -> Rival:
    """Load a file. MissingExtraError without the package, ModelError when the rival refuses the file."""
    if not is_installed(name):
        raise MissingExtraError(name, "rivals")
    with _refusals(name, file):
        return RIVALS[name](file, threads)


@contextmanager
def _refusals(name: str, file: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever a foreign library raises: they share no type
        text = " ".join(str(error).split())
        raise ModelError(f"{file}: {name} refuses it: {text[:300]}") from error


class OnnxRuntime:
    """Microsoft's ONNX Runtime on the CPU; axes without a size are 1."""

    name = "onnxruntime"

    def __init__(self, file: Path, threads: int) -> None:
        import onnxruntime

        self.runtime = f"onnxruntime {onnxruntime.__version__}"
        self._file, self._threads = file, threads
        self._session = self._open(onnxruntime.SessionOptions())
        self.inputs = tuple(
            TensorInfo(node.name, _sizes(node.shape), _onnx_type(node.type))
            for node in self._session.get_inputs()
        )

    def _open(self, options: Any) -> Any:
        import onnxruntime

        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(str(self._file), options, providers=["CPUExecutionProvider"])

    def run(self, x: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        return list(self._session.run(None, self._named(x)))

    def layers(self, x: Sequence[NDArray[Any]]) -> list[Layer]:
        import onnxruntime

        with tempfile.TemporaryDirectory() as folder:
            options = onnxruntime.SessionOptions()
            options.enable_profiling = True
            options.profile_file_prefix = os.path.join(folder, "profile")  # noqa: PTH118  (it takes text)
            session = self._open(options)
            for _ in range(3):
                session.run(None, self._named(x))
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        return _last_of_each(events)

    def _named(self, x: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {info.name: array for info, array in zip(self.inputs, x, strict=True)}


def _sizes(shape: Sequence[Any]) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) and size > 0 else 1 for size in shape)


def _onnx_type(text: str) -> np.dtype[Any]:
    """Of `tensor(float)`, `tensor(uint8)` and the like."""
    word = text.removeprefix("tensor(").removesuffix(")")
    return np.dtype({"float": "float32", "double": "float64", "float16": "float16"}.get(word, word))


def _last_of_each(events: Sequence[dict[str, Any]]) -> list[Layer]:
    """The kernels of a profile in their order, each with its last and therefore warm time."""
    suffix = "_kernel_time"
    kernels = [event for event in events if event.get("cat") == "Node" and event["name"].endswith(suffix)]
    found = {event["name"].removesuffix(suffix): event for event in kernels}
    return [(name, event["args"].get("op_name", ""), float(event["dur"])) for name, event in found.items()]


class OpenVino:
    """Intel's OpenVINO on the CPU, for the least latency; axes without a size are 1."""

    name = "openvino"

    def __init__(self, file: Path, threads: int) -> None:
        import openvino

        self.runtime = f"openvino {openvino.__version__.split('-')[0]}"
        core = openvino.Core()
        model = core.read_model(str(file))
        if model.is_dynamic():
            model.reshape({port: _sizes([_length(d) for d in port.partial_shape]) for port in model.inputs})
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        self._request = core.compile_model(model, "CPU", {**hints, "PERF_COUNT": True}).create_infer_request()
        self.inputs = tuple(
            TensorInfo(f"input_{number}", tuple(port.shape), port.element_type.to_dtype())
            for number, port in enumerate(model.inputs)
        )

    def run(self, x: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        return [np.asarray(array) for array in self._request.infer(list(x)).values()]

    def layers(self, x: Sequence[NDArray[Any]]) -> list[Layer]:
        self.run(x)
        spent = [(info, info.real_time.total_seconds() * 1e6) for info in self._request.profiling_info]
        return [(info.node_name, info.exec_type, us) for info, us in spent if us > 0]


def _length(dimension: Any) -> int:
    return int(dimension.get_length()) if dimension.is_static else 1


RIVALS: dict[str, Callable[[Path, int], Rival]] = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}
