"""An engine in a process of its own: a crash of native code ends that process, and not the pipeline.

Both sides share a piece of memory that holds all inputs, then all outputs, and talk in lines of JSON:

    here -> worker   {"path": …, "engine": …, "threads": …, "memory": …}, once; then a byte for each run
    worker -> here   {"name": …, "inputs": […], "outputs": […], …} once it is loaded; {} after each run;
                     {"error": …, "kind": …} for what edgekit refuses
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit import errors
from edgekit.device.machine import resident_mb
from edgekit.errors import CrashError, EdgekitError, ModelError
from edgekit.model.tensors import TensorInfo, check_inputs

_log = logging.getLogger("edgekit.engine")
_RUN = "import sys; sys.path.append(sys.argv.pop(1)); from edgekit.engine.worker import main; main()"
MOST_CRASHES, WITHIN_S = 5, 60.0  # more than that is no accident
_START_S = 120.0


class WorkerEngine:
    """The Engine of `path` (see `edgekit.engine.load`), run elsewhere.

    After a crash, or `timeout_s` without an answer, `run` raises CrashError; the worker is started again at
    the first run after a pause that doubles with each crash of the last minute. With the fifth `failing`
    turns true, until a run succeeds; the pause is then a minute. Raises what `load` raises.
    """

    def __init__(
        self,
        path: str | Path,
        engine: str = "auto",
        threads: int = 1,
        *,
        timeout_s: float = 60.0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failing = self._closed = False
        self._request = {"path": str(path), "engine": engine, "threads": threads}
        self._timeout_s, self._now_s = timeout_s, now_s
        self._crashes: deque[float] = deque(maxlen=MOST_CRASHES)
        self._retry_at_s = 0.0
        self._worker: _Worker | None = _Worker(self._request)
        told = self._worker.told
        self.name: str = told["name"]
        self.facts: Mapping[str, object] = told["facts"]
        self.peak_memory_bytes: int = told["peak_memory_bytes"]
        self.inputs, self.outputs = self._worker.inputs, self._worker.outputs

    @property
    def pid(self) -> int | None:
        """The worker's process, None while there is none."""
        return self._worker.process.pid if self._worker else None

    @property
    def memory_mb(self) -> float:
        """By how much the worker has grown since before it loaded the model."""
        worker = self._worker
        return max(0.0, resident_mb(worker.process.pid) - worker.told["before_mb"]) if worker else 0.0

    def run(self, x: NDArray[Any] | Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        if self._closed:
            raise ValueError("the engine is closed")
        arrays = check_inputs(self.inputs, x)
        if self._worker is None and self._now_s() < self._retry_at_s:
            raise CrashError("the engine is started again in a while")
        try:
            self._worker = self._worker or _Worker(self._request)
            outputs = self._worker.run(arrays, self._timeout_s)
        except CrashError as error:
            self._bury(error)
            raise
        self.failing = False
        return outputs

    def close(self) -> None:
        """End the process; `run` raises ValueError from then on."""
        self._closed = True
        if self._worker:
            self._worker.end()
        self._worker = None

    def _bury(self, error: CrashError) -> None:
        now_s = self._now_s()
        self._crashes.append(now_s)
        recent = sum(now_s - crash_s <= WITHIN_S for crash_s in self._crashes)
        self.failing = self.failing or recent >= MOST_CRASHES
        pause_s = WITHIN_S if self.failing else 0.5 * 2.0 ** (recent - 1)
        self._retry_at_s = now_s + pause_s
        if self._worker:
            self._worker.end()
        self._worker = None
        _log.error("%s; the next attempt is in %g s", error, pause_s)


class _Worker:
    """One life of the process."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._memory = os.memfd_create("edgekit-tensors")
        self.process = _spawn(self._memory)
        self.end = weakref.finalize(self, _end, self.process, self._memory)
        self._heard = b""
        try:
            self._tell(json.dumps({**request, "memory": self._memory}).encode() + b"\n")
            self.told = self._hear(_START_S)
        except EdgekitError:
            self.end()
            raise
        self.inputs, self.outputs = (_infos(self.told[key]) for key in ("inputs", "outputs"))
        self._tensors = _tensors(self._memory, [*self.inputs, *self.outputs])

    def run(self, arrays: Sequence[NDArray[Any]], timeout_s: float) -> list[NDArray[Any]]:
        for tensor, array in zip(self._tensors, arrays, strict=False):
            tensor[...] = array
        self._tell(b"r")
        self._hear(timeout_s)
        return [tensor.copy() for tensor in self._tensors[len(self.inputs) :]]

    def _tell(self, data: bytes) -> None:
        assert self.process.stdin is not None  # noqa: S101  (_spawn made it)
        try:
            os.write(self.process.stdin.fileno(), data)
        except BrokenPipeError:
            raise CrashError(self._fate()) from None

    def _hear(self, timeout_s: float) -> dict[str, Any]:
        assert self.process.stdout is not None  # noqa: S101
        fd, until_s = self.process.stdout.fileno(), time.monotonic() + timeout_s
        while not self._heard.endswith(b"\n"):
            if not select.select([fd], [], [], max(0.0, until_s - time.monotonic()))[0]:
                raise CrashError(f"the engine's process did not answer for {timeout_s:g} s")
            chunk = os.read(fd, 65536)
            if not chunk:
                raise CrashError(self._fate())
            self._heard += chunk
        told: dict[str, Any] = json.loads(self._heard)
        self._heard = b""
        if "error" in told:
            raise getattr(errors, told["kind"], ModelError)(told["error"])
        return told

    def _fate(self) -> str:
        code = self.process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"the engine's process has crashed ({how})"


def _spawn(memory: int) -> subprocess.Popen[bytes]:
    python = os.environ.get("EDGEKIT_PYTHON", sys.executable)
    root = str(Path(__file__).resolve().parents[2])
    return subprocess.Popen(  # noqa: S603  (our own module, by our own interpreter)
        [python, "-P", "-c", _RUN, root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[memory],
        bufsize=0,
    )


def _end(process: subprocess.Popen[bytes], memory: int) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    os.close(memory)


def _tensors(memory: int, infos: Sequence[TensorInfo]) -> list[NDArray[Any]]:
    """Views of the shared memory, each at a multiple of 64 bytes."""
    sizes = [int(np.prod(info.shape)) * info.dtype.itemsize for info in infos]
    starts = np.cumsum([0, *(-(-size // 64) * 64 for size in sizes)])
    os.ftruncate(memory, max(64, int(starts[-1])))
    shared = mmap.mmap(memory, 0)
    flat = zip(infos, sizes, starts, strict=False)
    return [
        np.frombuffer(shared, np.uint8, size, int(start)).view(info.dtype).reshape(info.shape)
        for info, size, start in flat
    ]


def _infos(told: Sequence[Sequence[Any]]) -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(name, tuple(shape), np.dtype(kind), *quant) for name, shape, kind, *quant in told)


# ── the worker's side ───────────────────────────────────────────────────────────────────────────────────


def main() -> None:
    """Load, then run for each byte on standard input, which ends when the parent does, however it dies."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the parent has a last word to say, and ends this one
    pipe = os.dup(1)
    os.dup2(2, 1)
    request = json.loads(sys.stdin.buffer.readline())
    memory = request.pop("memory")
    _answer(pipe, lambda: _serve(pipe, memory, request))


def _serve(pipe: int, memory: int, request: dict[str, Any]) -> None:
    from edgekit.engine.native import load

    before_mb = resident_mb()
    engine = load(**request)
    infos = {"inputs": engine.inputs, "outputs": engine.outputs}
    listed = {key: [_listed(info) for info in part] for key, part in infos.items()}
    _say(
        pipe,
        {
            "name": engine.name,
            "facts": dict(engine.facts),
            "peak_memory_bytes": engine.peak_memory_bytes,
            "before_mb": before_mb,
            **listed,
        },
    )
    tensors = _tensors(memory, [*engine.inputs, *engine.outputs])
    given, wanted = tensors[: len(engine.inputs)], tensors[len(engine.inputs) :]

    def run() -> None:
        for tensor, output in zip(wanted, engine.run(given), strict=True):
            tensor[...] = output
        _say(pipe, {})

    while os.read(0, 1):
        _answer(pipe, run)


def _answer(pipe: int, act: Callable[[], None]) -> None:
    try:
        act()
    except EdgekitError as error:
        _say(pipe, {"error": str(error), "kind": type(error).__name__})


def _say(pipe: int, words: dict[str, Any]) -> None:
    os.write(pipe, json.dumps(words).encode() + b"\n")


def _listed(info: TensorInfo) -> list[Any]:
    return [info.name, [int(n) for n in info.shape], info.dtype.str, info.scale, info.zero_point]
