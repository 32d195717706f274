"""An engine in a process of its own: the same answers, and a crash that costs a frame or two, no more."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from brokers import until
from scripted import blank_frames

from edgekit import engine, inference, zoo
from edgekit.config.settings import DetectConfig
from edgekit.engine import worker as module
from edgekit.engine.worker import MOST_CRASHES, WITHIN_S, WorkerEngine
from edgekit.errors import CrashError, ModelError
from edgekit.model.tensors import random_inputs
from edgekit.mqtt.sink import ListSink
from edgekit.pipeline import Pipeline
from edgekit.pipeline.inbox import Camera
from edgekit.sources import ListSource

MODEL = zoo.list_models()[0]


class Time:
    """The monotonic clock, set by hand."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def crash(worker: WorkerEngine, number: signal.Signals = signal.SIGABRT) -> None:
    """As `abort()` in a kernel."""
    assert worker.pid is not None
    os.kill(worker.pid, number)


def test_a_worker_answers_as_the_engine_does() -> None:
    here, there = engine.load(MODEL.path), WorkerEngine(MODEL.path)
    assert (there.name, there.inputs, there.outputs) == (here.name, here.inputs, here.outputs)
    assert there.peak_memory_bytes == here.peak_memory_bytes
    for seed in range(3):
        x = random_inputs(here.inputs, seed)
        for a, b in zip(here.run(x), there.run(x), strict=True):
            assert np.array_equal(a, b)
    with pytest.raises(ValueError, match="takes int8"):
        there.run(np.zeros(3, np.int8))


def test_a_file_that_is_refused_is_refused_with_the_same_words(tmp_path: Path) -> None:
    (tmp_path / "cut.tflite").write_bytes(MODEL.path.read_bytes()[:1000])
    with pytest.raises(ModelError) as here:
        engine.load(tmp_path / "cut.tflite")
    with pytest.raises(ModelError) as there:
        WorkerEngine(tmp_path / "cut.tflite")
    assert str(there.value) == str(here.value)


def test_a_crash_costs_a_run_and_the_next_is_in_a_new_process(caplog: pytest.LogCaptureFixture) -> None:
    time = Time()
    worker = WorkerEngine(MODEL.path, now_s=time)
    x, first = random_inputs(worker.inputs), worker.pid
    before = worker.run(x)
    crash(worker)
    with pytest.raises(CrashError, match=r"^the engine's process has crashed \(SIGABRT\)$"):
        worker.run(x)
    with pytest.raises(CrashError, match="started again in a while"):
        worker.run(x)
    time.now_s += 1
    assert np.array_equal(worker.run(x)[0], before[0])
    assert worker.pid != first
    assert caplog.messages == ["the engine's process has crashed (SIGABRT); the next attempt is in 0.5 s"]


class Dud:
    """A life that ends with its first run."""

    def run(self, _arrays: object, _timeout_s: float) -> list[np.ndarray]:
        raise CrashError("the engine's process has crashed (SIGSEGV)")

    def end(self) -> None:
        pass


def test_one_crash_after_the_other_is_failing_until_a_run_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time()
    worker = WorkerEngine(MODEL.path, now_s=time)
    x, start = random_inputs(worker.inputs), module._Worker
    crash(worker)
    monkeypatch.setattr(module, "_Worker", lambda _: Dud())
    for number in range(MOST_CRASHES):
        assert not worker.failing
        with pytest.raises(CrashError, match="crashed"):
            worker.run(x)
        time.now_s += 0.5 * 2.0**number
    monkeypatch.setattr(module, "_Worker", start)
    assert worker.failing
    with pytest.raises(CrashError, match="in a while"):
        worker.run(x)
    time.now_s += WITHIN_S
    worker.run(x)
    assert not worker.failing


def test_a_worker_leaves_signals_of_the_terminal_to_its_parent() -> None:
    worker = WorkerEngine(MODEL.path)
    x, first = random_inputs(worker.inputs), worker.pid
    for number in (signal.SIGINT, signal.SIGHUP):
        crash(worker, number)
        worker.run(x)
    assert worker.pid == first


def test_a_worker_that_hangs_is_replaced() -> None:
    time = Time()
    worker = WorkerEngine(MODEL.path, timeout_s=0.3, now_s=time)
    x, first = random_inputs(worker.inputs), worker.pid
    crash(worker, signal.SIGSTOP)
    with pytest.raises(CrashError, match=r"did not answer for 0\.3 s"):
        worker.run(x)
    worker._timeout_s, time.now_s = 60.0, time.now_s + 1
    worker.run(x)
    assert worker.pid != first


def test_it_ends_with_its_engine() -> None:
    worker = WorkerEngine(MODEL.path)
    pid = worker.pid
    del worker
    until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the process")


def test_a_pipeline_outlives_a_crash(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    model, sink = inference.open(MODEL.name, worker=True), ListSink()
    assert isinstance(model.engine, WorkerEngine)
    crash(model.engine)
    camera = Camera("front", DetectConfig(), lambda: ListSource(blank_frames(5)))
    pipeline = Pipeline([camera], model, sink)
    pipeline.run()
    assert pipeline.states[0].frames == 5
    assert any("has crashed" in message for message in caplog.messages)
    model.engine.failing = True
    assert pipeline.health()["state"] == "error"
