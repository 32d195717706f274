"""One candidate in a process of its own: so its memory is its own, and what was set for it alone is.

The parent sends a JSON line and gets one back: the candidate to load, then `{"runs": n}` for each turn and
`{"layers": true}` for a profile. Between turns the process is stopped, so that no thread of it spins while
others are measured.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit import analyze, errors, model, plan
from edgekit.bench.rivals import RIVALS, Layer, Rival, open_rival
from edgekit.engine import Engine, NativeEngine, interpreter, load
from edgekit.errors import EdgekitError, ModelError
from edgekit.model.tensors import random_inputs

_CHILD = "import sys; sys.path.append(sys.argv[1]); from edgekit.bench.child import serve; serve()"
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
PROFILED_RUNS = 11


@dataclass(frozen=True)
class Loaded:
    """What loading and the first inference told; memory is what the process grew by, and its peak."""

    engine: str
    runtime: str
    isa: str
    load_ms: float
    first_ms: float
    memory_mb: float
    peak_rss_mb: float
    estimated_mb: float | None


class Child:
    """The parent's end. `loaded` says what came of loading."""

    def __init__(self, file: Path, engine: str, threads: int, isa: str | None) -> None:
        """Raises the error that the candidate ended with."""
        env = {**os.environ, **({"EDGEKIT_ISA": isa} if isa else {})}
        python = os.environ.get("EDGEKIT_PYTHON", sys.executable)
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the child)
        self._name = f"{file}: {engine}"
        self._process = subprocess.Popen(  # noqa: S603  (our own module, by our own interpreter)
            [python, "-P", "-c", _CHILD, str(Path(__file__).resolve().parents[2])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            env=env,
        )
        try:
            told = self._ask({"file": str(file), "engine": engine, "threads": threads})
            self.loaded = Loaded(**told)
        except BaseException:
            self.close()
            raise

    def turn(self, runs: int) -> float:
        """Seconds that so many inferences took, after one that does not count."""
        return float(self._ask({"runs": runs})["seconds"])

    def layers(self) -> list[Layer]:
        """Name, kind and microseconds of each layer; empty when the engine does not tell."""
        return [tuple(layer) for layer in self._ask({"layers": True})["layers"]]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._words):
            if pipe:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._process.wait()

    def _ask(self, question: dict[str, Any]) -> Any:
        pipes = self._process.stdin, self._process.stdout
        assert pipes[0]  # noqa: S101
        assert pipes[1]  # noqa: S101
        self._process.send_signal(signal.SIGCONT)
        with suppress(BrokenPipeError):
            pipes[0].write(json.dumps(question).encode() + b"\n")
            pipes[0].flush()
        line = pipes[1].readline()
        self._process.send_signal(signal.SIGSTOP)
        if not line:
            raise ModelError(f"{self._name}: the engine's process ended: {self._last_words()}")
        told = json.loads(line)
        if "error" in told:
            raise getattr(errors, told["kind"], EdgekitError)(told["error"])
        return told

    def _last_words(self) -> str:
        self._process.send_signal(signal.SIGCONT)
        code = self._process.wait()
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return said[-1][:300] if said else f"exit code {code}"


# ── the child's end ─────────────────────────────────────────────────────────────────────────────────────


def serve() -> None:
    """Answer the parent until it goes. Only JSON lines reach it: what else is printed goes to stderr."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    candidate: _Candidate | None = None
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if candidate is None:
                candidate = _Candidate(Path(question["file"]), question["engine"], question["threads"])
                told: dict[str, Any] = asdict(candidate.loaded)
            else:
                told = candidate.answer(question)
        except EdgekitError as error:
            told = {"error": str(error), "kind": _kind(error)}
        answers.write(json.dumps(told) + "\n")
        answers.flush()


def _kind(error: EdgekitError) -> str:
    """Class that the parent can make from the message alone."""
    return "EdgekitError" if isinstance(error, errors.MissingExtraError) else type(error).__name__


class _Candidate:
    """A loaded model with inputs that are random but valid, the same for every engine that takes such."""

    def __init__(self, file: Path, name: str, threads: int) -> None:
        self._file = file
        _import_runtime(name)
        before_mb, start = rss_mb(), time.perf_counter()
        opened = open_rival(name, file, threads) if name in RIVALS else load(file, name, threads)
        self._engine: Engine | Rival = opened
        loaded = time.perf_counter()
        self._inputs: list[NDArray[Any]] = random_inputs(opened.inputs)
        ready = time.perf_counter()
        opened.run(self._inputs)
        first_ms = 1000 * (time.perf_counter() - ready)
        estimated = getattr(opened, "peak_memory_bytes", None)
        self.loaded = Loaded(
            opened.name, getattr(opened, "runtime", ""), getattr(opened, "level", ""),
            1000 * (loaded - start), first_ms, max(0.0, rss_mb() - before_mb), rss_mb("VmHWM"),
            None if estimated is None else estimated / 2**20,
        )  # fmt: skip

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        if "layers" in question:
            return {"layers": self._layers()}
        self._engine.run(self._inputs)
        start = time.perf_counter()
        for _ in range(question["runs"]):
            self._engine.run(self._inputs)
        return {"seconds": time.perf_counter() - start}

    def _layers(self) -> list[Layer]:
        native = self._engine
        if isinstance(native, NativeEngine):
            runs = [native.profile(self._inputs) for _ in range(PROFILED_RUNS)]
            times_us = [1e6 * float(seconds) for seconds in np.median(runs, axis=0)]
            lines = analyze.explain(plan.prepare(model.read(self._file)), native.plan, times_us)
            return [(line.operator, line.kernel, line.time_us or 0.0) for line in lines]
        profile = getattr(native, "layers", None)
        return list(profile(self._inputs)) if profile else []


def _import_runtime(name: str) -> None:
    """Import what runs the model: that is no part of loading it, and no memory that it takes."""
    if name in RIVALS:
        with suppress(ImportError):
            __import__(name)
    elif name != "native":
        interpreter.find_runtime()


def rss_mb(line: str = "VmRSS") -> float:
    """Memory of this process that is in use now, or with VmHWM ever was."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(line + ":")[1].split()[0]) / 1024
