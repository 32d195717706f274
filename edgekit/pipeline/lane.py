"""The way of a frame of one camera: detections, tracks, places, events."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from edgekit.inference import Model
from edgekit.mqtt.messages import utc_text
from edgekit.pipeline.detector import Detector
from edgekit.pipeline.inbox import Camera
from edgekit.pipeline.motion import Gate, Look, Motion
from edgekit.pipeline.second_look import SecondLook
from edgekit.pipeline.snapshot import BestShots
from edgekit.pipeline.tally import Tally
from edgekit.pipeline.tamper import Tamper
from edgekit.rules import Visits, usual_confirmation
from edgekit.rules.alarm import Alarm, AlarmChange
from edgekit.rules.line import Lines
from edgekit.rules.zone import Zones
from edgekit.track import Tracker
from edgekit.types import Detections, Event, Frame, Track

States: TypeAlias = dict[tuple[str, ...], tuple[Any, ...]]  # by kind and name: what the sink's setters take
MOTION_OFF_S = 30.0  # how long `motion` stays ON after the last of it
EVERY_FRAME = Look(open=True, reason="every frame", motion=Motion())


@dataclass(slots=True)
class CameraState:
    """What there is to tell of a camera while it runs; fps and latencies are over the last frames."""

    name: str
    status: str = "connecting"
    frames: int = 0
    looked: int = 0
    skipped: int = 0
    left_out: int = 0  # of these, because the machine had too much to do
    corrupt: int = 0
    events: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    fps: float = 0.0
    detect_fps: float = 0.0
    infer_ms: float = 0.0
    total_ms: float = 0.0
    last_mono_s: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one frame has brought, stage by stage."""

    look: Look
    found: Detections
    tracks: list[Track]
    events: list[Event]
    alarms: list[AlarmChange]
    snapshots: list[tuple[str, bytes]] = field(default_factory=list)  # label, JPEG


class Stopwatch:
    """Milliseconds of each stage."""

    def __init__(self) -> None:
        self.start_s = self.now_s = time.monotonic()
        self.ms: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """The stage that ran since the last lap has ended."""
        before_s, self.now_s = self.now_s, time.monotonic()
        self.ms[stage] = (self.now_s - before_s) * 1000


class Lane:
    """What is remembered of one camera from frame to frame, and the way of a frame through it."""

    def __init__(self, camera: Camera, model: Model, tally: Tally) -> None:
        detect = camera.detect
        self.state = CameraState(camera.name)
        self.detector = Detector(model, detect)
        self.labels = self.detector.labels
        self.last: Frame | None = None
        self.begun = False
        self.enabled = True
        self.scene = camera.scene
        self._tally = tally
        self._gate = Gate(detect.motion) if detect.motion else None
        self._tamper = Tamper(camera.scene.tamper) if camera.scene.tamper else None
        second = camera.second and detect.second_look and SecondLook(camera.second, detect.second_look)
        self._second = second or None
        self._tracker = Tracker(detect.min_score, detect.lost_s)
        self._confirm = detect.confirm and (detect.confirm.frames, detect.confirm.of)
        self._zones = Zones(camera.scene.zones)
        self._lines = Lines({})
        self.alarms: list[Alarm] = []
        self.confirmation = self._confirm or usual_confirmation(None)
        self._visits = Visits(camera.name, *self.confirmation)
        shots = camera.scene.snapshots
        self._shots = BestShots(shots) if shots and shots.enabled else None
        self._done_s: deque[float] = deque(maxlen=64)  # when the last frames were done
        self._looked_s: deque[float] = deque(maxlen=64)  # and those that were looked at
        self._infer_ms: deque[float] = deque(maxlen=64)
        self._total_ms: deque[float] = deque(maxlen=64)

    def begin(self, fps: float | None, time_s: float) -> None:
        """Before the first frame, taken at `time_s`, of a source of `fps` frames a second (None: unknown)."""
        self.begun = True
        frames, of = self.confirmation = self._confirm or usual_confirmation(fps)
        number = self._tally.visits.get(self.state.name, 0)
        self._visits = Visits(self.state.name, frames, of, number)
        self._lines = Lines(self.scene.lines, frames)
        self.alarms = [Alarm(name, alarm, frames, of) for name, alarm in self.scene.alarms.items()]
        for name, totals in self._lines.totals.items():
            fresh = {"in": 0, "out": 0, "since": utc_text(time_s)}
            totals.update(self._tally.line(self.state.name, name) or fresh)

    def process(self, frame: Frame, arrived_s: float, captured_s: float) -> Outcome:
        """What a frame brings; `arrived_s` and `captured_s` are on the monotonic clock of this process."""
        self.last = frame
        watch = Stopwatch()
        if self._tamper:
            self._tamper.update(frame.image, frame.mono_s)
            watch.lap("tamper")
        look = self._look(frame, watch)
        found, tracks = self._follow(frame, look, watch)
        tracks = self._lines.update(self._zones.update(tracks, frame), frame)
        events = self._visits.update(tracks, frame)
        self._tally.visits[self.state.name] = self._visits.number
        shots = list(self._shots.update(frame.image, self.present())) if self._shots and look.open else []
        alarms = self._alarm(frame)
        watch.lap("track")
        latency = {
            "capture": (arrived_s - captured_s) * 1000,
            "queue": (watch.start_s - arrived_s) * 1000,
            **watch.ms,
            "total": (watch.now_s - captured_s) * 1000,
        }
        self._note(watch.now_s, latency)
        rounded = {stage: round(ms, 2) for stage, ms in latency.items()}
        events = [replace(e, latency_ms=rounded, has_snapshot=self._is_shown(e)) for e in events]
        return Outcome(look, found, tracks, events, alarms, shots)

    def _is_shown(self, event: Event) -> bool:
        return self._shots is not None and self._shots.has(event.number)

    def _look(self, frame: Frame, watch: Stopwatch) -> Look:
        """Whether and where to look."""
        if self._gate is None:
            return EVERY_FRAME
        unsettled = [t.box for t in self._tracker.tracks if t.missed or not t.stationary]
        look = self._gate.update(frame.image, frame.mono_s, unsettled, self.detector.size)
        watch.lap("motion")
        return look

    def _follow(self, frame: Frame, look: Look, watch: Stopwatch) -> tuple[Detections, list[Track]]:
        """What is seen there, and who it is."""
        if not look.open:
            return Detections.empty(), self._tracker.rest(frame.time_s, frame.mono_s)
        seen = self.detector.look(frame.image, look.region, watch)
        size = (frame.image.shape[1], frame.image.shape[0])
        found = self.detector.choose(seen)
        if self._second is None:
            return seen, self._tracker.update(found, frame.time_s, frame.mono_s, size, look.region)
        found = self.detector.choose(self._second.check(frame.image, found))
        if self._second.verdicts:
            watch.lap("verify")
        tracks = self._tracker.update(found, frame.time_s, frame.mono_s, size, look.region)
        return seen, self._second.mark(tracks)

    def finish(self) -> Outcome:
        """The ends of all that is still there, once the source has ended."""
        ends = self._visits.finish(self.last) if self.last else []
        events = [replace(event, has_snapshot=self._is_shown(event)) for event in ends]
        alarms = self._alarm(self.last) if self.last else []
        return Outcome(EVERY_FRAME, Detections.empty(), [], events, alarms)

    def _alarm(self, frame: Frame) -> list[AlarmChange]:
        present = self.present()
        changes = [alarm.update(present, frame.mono_s) for alarm in self.alarms]
        return [change for change in changes if change]

    def present(self) -> dict[int, Track]:
        """What is reported and there now, by the number of its visit."""
        return self._visits.present()

    def visit_of(self, track: int) -> int | None:
        """The number of the visit that a track is, once it is reported."""
        return self._visits.number_of(track)

    @property
    def signs(self) -> dict[str, bool]:
        """What is wrong with the camera itself, if that is watched."""
        return dict(self._tamper.signs) if self._tamper else {}

    @property
    def tampered(self) -> bool:
        """Something is."""
        return any(self.signs.values())

    def counts(self) -> dict[str, int]:
        """How many of each watched label are there now, zeros included."""
        return dict.fromkeys(self.labels, 0) | self._visits.counts()

    def states(self) -> States:
        """What else is so now."""
        states: States = {}
        counts = self._visits.zone_counts()
        for zone, config in self.scene.zones.items():
            for label in config.labels or self.labels:
                states["zone", zone, label] = (counts.get((zone, label), 0),)
        for line, totals in self._lines.totals.items():
            self._tally.note(self.state.name, line, totals)
            states["line", line] = (totals["in"], totals["out"], totals["since"])
        for alarm in self.alarms:
            states["alarm", alarm.name] = (alarm.on,)
        if self._tamper:
            states["tamper",] = (self.tampered, self.signs)
        if self._gate and self.last:
            states["motion",] = (self._gate.moved(self.last.mono_s, MOTION_OFF_S),)
        return states

    def infer_ms(self) -> list[float]:
        """Of the last frames that were looked at."""
        return list(self._infer_ms)

    def total_ms(self) -> list[float]:
        """From capture to the end, of the last frames."""
        return list(self._total_ms)

    def _note(self, now_s: float, latency: Mapping[str, float]) -> None:
        state = self.state
        state.frames += 1
        state.last_mono_s = now_s
        self._done_s.append(now_s)
        self._total_ms.append(latency["total"])
        if "infer" in latency:
            state.looked += 1
            self._looked_s.append(now_s)
            self._infer_ms.append(latency["infer"])
            state.infer_ms = float(np.median(self._infer_ms))
        state.fps = _rate(self._done_s, now_s)
        state.detect_fps = _rate(self._looked_s, now_s)
        state.total_ms = float(np.median(self._total_ms))


def _rate(times_s: deque[float], now_s: float) -> float:
    """Events a second since the first of the last ones."""
    span_s = now_s - times_s[0] if times_s else 0.0
    return (len(times_s) - 1) / span_s if span_s > 0 else 0.0
