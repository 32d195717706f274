"""Less is done when the machine is hot or overloaded, and more again, but not to and fro."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from scripted import blank_frames, scripted_model

from edgekit.config.settings import DetectConfig, GovernorConfig
from edgekit.device.machine import Heat, Thermometer
from edgekit.mqtt import messages
from edgekit.mqtt.sink import ListSink
from edgekit.pipeline import Pipeline
from edgekit.pipeline.governor import DOWN_S, SHARES, UP_S, Governor
from edgekit.pipeline.inbox import Camera, Inbox
from edgekit.types import Frame

CONFIG = GovernorConfig(hot_c=80, busy=0.9)
MODELS = [scripted_model([[]] * 500) for _ in range(3)]
for name, model in zip(("full", "half", "quarter"), MODELS, strict=True):
    model.name = name


class Plant:
    """A machine with a governor: `need` is how busy the full work makes it."""

    def __init__(self, models: int = 2) -> None:
        self.heat = Heat(50.0)
        self.need = 0.5
        self.now_s = 0.0
        self.costs = [1.0, 0.5, 0.25][:models]
        self.governor = Governor(CONFIG, MODELS[:models], lambda: self.heat)
        self.changes: list[tuple[float, int]] = []

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.now_s += 1.0
            step = self.governor.step
            if self.governor.update(min(self.need * step.share * self.costs[step.tier], 1.0), self.now_s):
                self.changes.append((self.governor.step.share, self.governor.step.tier))


def test_heat_lowers_the_frames_first_then_the_model() -> None:
    plant = Plant()
    plant.heat = Heat(85.0)
    plant.run(60)
    assert plant.changes == [(0.7, 0), (0.5, 0), (0.35, 0), (0.25, 0), (0.25, 1)]
    assert plant.governor.reason == "85 °C of at most 80 °C"


def test_it_returns_when_it_is_cool_and_not_before(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    plant = Plant()
    plant.heat = Heat(85.0)
    plant.run(12)
    plant.heat = Heat(75.0)  # neither hot nor cool
    plant.run(300)
    assert plant.changes == [(0.7, 0), (0.5, 0)]
    plant.heat = Heat(60.0)
    plant.run(2 * UP_S + 5)
    assert plant.changes[2:] == [(0.7, 0), (1.0, 0)]
    assert plant.governor.reason == ""
    assert caplog.messages[0] == "85 °C of at most 80 °C: 70% of the frames, model full"
    assert caplog.messages[-1] == "there is time again: 100% of the frames, model full"


@pytest.mark.parametrize(("need", "share"), [(0.8, 1.0), (1.2, 0.7), (1.7, 0.5), (3.4, 0.25)])
def test_too_much_work_finds_its_step_and_stays_there(need: float, share: float) -> None:
    plant = Plant(models=1)
    plant.need = need
    plant.run(1000)
    assert plant.governor.step.share == share
    assert [each for each, _ in plant.changes] == list(SHARES[1 : SHARES.index(share) + 1])


def test_a_short_peak_changes_nothing() -> None:
    plant = Plant()
    for _ in range(20):
        plant.need = 1.5
        plant.run(DOWN_S - 1)
        plant.need = 0.5
        plant.run(2)
    assert plant.changes == []


def test_who_goes_up_in_vain_waits_longer_each_time() -> None:
    plant = Plant(models=1)

    def heat() -> Heat:  # the least that is more makes it too hot
        return Heat(85.0 if plant.governor.step.share > 0.7 else 60.0)

    plant.governor = Governor(CONFIG, MODELS[:1], heat)
    ups = []
    for _ in range(3000):
        before = plant.governor.step.share
        plant.run(1)
        if plant.governor.step.share > before:
            ups.append(plant.now_s)
    waits = np.diff(ups)
    assert all(waits[1:] >= waits[:-1])
    assert waits[-1] > 10 * UP_S


@given(st.sampled_from(SHARES), st.integers(1, 400))
def test_frames_are_left_out_evenly(share: float, frames: int) -> None:
    plant = Plant(models=1)
    plant.heat = Heat(throttled=True)
    while plant.governor.step.share > share:
        plant.run(1)
    admitted = [plant.governor.admits("front") for _ in range(frames)]
    assert abs(sum(admitted) - share * frames) <= 1.001
    gaps = np.diff(np.flatnonzero(admitted))
    assert not gaps.size or gaps.max() <= np.ceil(1 / share)


def test_the_thermometer_reads_what_the_machine_shows(tmp_path: Path) -> None:
    zone, clock = (
        tmp_path / "sys/class/thermal/thermal_zone0",
        tmp_path / "sys/devices/system/cpu/cpu0/cpufreq",
    )
    assert Thermometer(tmp_path)() == Heat(None, throttled=False)
    for folder in (zone, clock):
        folder.mkdir(parents=True)
    (zone / "temp").write_text("81250\n")
    (clock / "scaling_max_freq").write_text("1800000\n")
    thermometer = Thermometer(tmp_path)
    assert thermometer() == Heat(81.25, throttled=False)
    (clock / "scaling_max_freq").write_text("1000000\n")
    assert thermometer() == Heat(81.25, throttled=True)
    assert Thermometer(tmp_path)() == Heat(81.25, throttled=False)  # it was so from the beginning
    (zone / "temp").write_text("nonsense")
    assert thermometer().temp_c is None


class Busy:
    """A live camera that gives a frame whenever the pipeline could take one, and more while it works."""

    live, fps, skipped, corrupt, lost = True, 10.0, 0, 0, False

    def __init__(self, frames: int, camera: str = "front") -> None:
        self._frames = blank_frames(frames, camera)

    def frames(self) -> Iterator[Frame]:
        yield from self._frames

    def close(self) -> None:
        pass


def test_a_hot_machine_says_so_and_uses_the_smaller_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline's clock is the test's own: half a second passes with each look at it."""
    now_s = iter(np.arange(0, 1e6, 0.5).tolist())
    monkeypatch.setattr("edgekit.pipeline.loop.time.monotonic", lambda: next(now_s))
    sink = ListSink()
    governor = Governor(CONFIG, MODELS[:2], lambda: Heat(90.0))
    camera = Camera("front", DetectConfig(), lambda: _slowly(Busy(500), sink))
    pipeline = Pipeline([camera], MODELS[0], sink, governor=governor)
    pipeline.run()
    last = sink.healths[-1]
    assert last["governor"] == {"fps_share": 0.25, "model": "half", "reason": "90 °C of at most 80 °C"}
    assert (last["state"], last["temp_c"]) in [("degraded", 90.0), ("error", 90.0)]
    assert last["cameras"]["front"]["skipped"] > 0
    shares = [health["governor"]["fps_share"] for health in sink.healths]
    assert shares == sorted(shares, reverse=True)
    checker = Draft202012Validator(messages.load_schema("health")["properties"]["governor"])
    for health in sink.healths:
        checker.validate(health["governor"])


def test_without_a_governor_heat_and_work_are_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = iter(np.arange(0, 1e6, 0.5).tolist())
    monkeypatch.setattr("edgekit.pipeline.loop.time.monotonic", lambda: next(now_s))
    sink = ListSink()
    governor = Governor(None, MODELS[:2], lambda: Heat(120.0, throttled=True))
    camera = Camera("front", DetectConfig(), lambda: _slowly(Busy(200), sink))
    Pipeline([camera], MODELS[0], sink, governor=governor).run()
    assert len(sink.healths) > 1
    for health in sink.healths:
        assert (health["temp_c"], health["throttled"]) == (120.0, True)
        assert health["governor"] == {"fps_share": 1.0, "model": "full", "reason": ""}
    assert sink.healths[-1]["cpu"] > 0


def _slowly(source: Busy, sink: ListSink) -> Busy:
    """Give the next frame when the last was taken, until health says that the governor has done its most."""
    frames = source.frames()

    def paced() -> Iterator[Frame]:
        pause = threading.Event()
        for frame in frames:
            yield frame
            pause.wait(0.001)
            if sink.healths and sink.healths[-1]["governor"]["model"] == "half":
                return

    source.frames = paced  # type: ignore[method-assign]
    return source


@given(st.lists(st.sampled_from("abc."), max_size=60), st.integers(1, 5))
def test_a_slow_detector_makes_no_queue_and_starves_no_camera(course: list[str], ahead: int) -> None:
    """Frames come in any order (letters), the detector takes one now and then (dots): what it takes is the
    newest of its camera, and no camera that waits is passed over twice by another.
    """
    inbox = Inbox(["a", "b", "c"])
    newest: dict[str, int] = {}
    passed: dict[str, list[str]] = {}
    for index, step in enumerate(course * ahead):
        if step != ".":
            inbox.put(Frame(blank_frames(1)[0].image, step, index, 0.0, 0.0), overwrite=True)
            newest[step] = index
            passed.setdefault(step, [])
            continue
        found = inbox.take(0)
        if found is None:
            assert not newest
            continue
        frame = found[0]
        assert frame.index == newest.pop(frame.camera)
        del passed[frame.camera]
        for others in passed.values():
            others.append(frame.camera)
            assert len(set(others)) == len(others)
    assert sum(inbox.holds(camera) for camera in "abc") == len(newest)
