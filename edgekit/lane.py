"""The way of a frame of one camera: detections, tracks, places, events."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from edgekit.alarm import Alarm, AlarmChange
from edgekit.inbox import Camera
from edgekit.inference import Model
from edgekit.line import Lines
from edgekit.messages import utc_text
from edgekit.rules import Visits, usual_confirmation
from edgekit.tally import Tally
from edgekit.track import Tracker
from edgekit.types import Detections, Event, Frame
from edgekit.zone import Zones

States: TypeAlias = dict[tuple[str, ...], tuple[Any, ...]]  # by kind and name: what the sink's setters take
DOUBTFUL = 0.5  # share of min_score down to which a detection may keep a track alive


@dataclass(slots=True)
class CameraState:
    """What there is to tell of a camera while it runs; fps and latencies are over the last frames."""

    name: str
    status: str = "connecting"
    frames: int = 0
    skipped: int = 0
    events: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    fps: float = 0.0
    infer_ms: float = 0.0
    total_ms: float = 0.0
    last_mono_s: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one frame has brought."""

    events: list[Event]
    alarms: list[AlarmChange]


class Lane:
    """What is remembered of one camera from frame to frame, and the way of a frame through it."""

    def __init__(self, camera: Camera, model: Model, tally: Tally) -> None:
        detect = camera.detect
        self.model = model
        self.state = CameraState(camera.name)
        self.labels = [name for name in model.labels if detect.labels is None or name in detect.labels]
        self.last: Frame | None = None
        self.begun = False
        self.enabled = True
        self._min_score = detect.min_score
        self._scene = camera.scene
        self._tally = tally
        self._tracker = Tracker(detect.min_score, detect.lost_s)
        self._confirm = detect.confirm and (detect.confirm.frames, detect.confirm.of)
        self._zones = Zones(camera.scene.zones)
        self._lines = Lines({})
        self._alarms: list[Alarm] = []
        self._visits = Visits(camera.name, *usual_confirmation(None))
        self._recent: deque[tuple[float, float, float]] = deque(maxlen=64)  # when done, infer ms, total ms

    def begin(self, fps: float | None, time_s: float) -> None:
        """Before the first frame, taken at `time_s`, of a source of `fps` frames a second (None: unknown)."""
        self.begun = True
        frames, of = self._confirm or usual_confirmation(fps)
        self._visits = Visits(self.state.name, frames, of)
        self._lines = Lines(self._scene.lines, frames)
        self._alarms = [Alarm(name, alarm, frames, of) for name, alarm in self._scene.alarms.items()]
        for name, totals in self._lines.totals.items():
            fresh = {"in": 0, "out": 0, "since": utc_text(time_s)}
            totals.update(self._tally.line(self.state.name, name) or fresh)

    def process(self, frame: Frame, arrived_s: float, captured_s: float) -> Outcome:
        """What a frame brings; `arrived_s` and `captured_s` are on the monotonic clock of this process."""
        self.last = frame
        times = [time.monotonic()]
        tensor, placement = self.model.prepare(frame.image)
        times.append(time.monotonic())
        outputs = self.model.engine.run(tensor)
        times.append(time.monotonic())
        found = self._watched(self.model.decode(outputs, placement, self._min_score * DOUBTFUL))
        size = (frame.image.shape[1], frame.image.shape[0])
        tracks = self._tracker.update(found, frame.time_s, frame.mono_s, size)
        tracks = self._lines.update(self._zones.update(tracks, frame), frame)
        events = self._visits.update(tracks, frame)
        alarms = self._watch(frame)
        times.append(time.monotonic())
        prepare_ms, infer_ms, track_ms = (float(ms) for ms in np.diff(times) * 1000)
        latency = {
            "queue": (times[0] - arrived_s) * 1000,
            "preprocess": prepare_ms,
            "infer": infer_ms,
            "track": track_ms,
            "total": (times[-1] - captured_s) * 1000,
        }
        self._note(times[-1], latency)
        rounded = {stage: round(ms, 2) for stage, ms in latency.items()}
        return Outcome([replace(event, latency_ms=rounded) for event in events], alarms)

    def finish(self) -> Outcome:
        """The ends of all that is still there, once the source has ended."""
        if self.last is None:
            return Outcome([], [])
        return Outcome(self._visits.finish(self.last), self._watch(self.last))

    def _watch(self, frame: Frame) -> list[AlarmChange]:
        present = self._visits.present()
        changes = [alarm.update(present, frame.mono_s) for alarm in self._alarms]
        return [change for change in changes if change]

    def counts(self) -> dict[str, int]:
        """How many of each watched label are there now, zeros included."""
        return dict.fromkeys(self.labels, 0) | self._visits.counts()

    def states(self) -> States:
        """What else is so now."""
        states: States = {}
        counts = self._visits.zone_counts()
        for zone, config in self._scene.zones.items():
            for label in config.labels or self.labels:
                states["zone", zone, label] = (counts.get((zone, label), 0),)
        for line, totals in self._lines.totals.items():
            self._tally.note(self.state.name, line, totals)
            states["line", line] = (totals["in"], totals["out"], totals["since"])
        for alarm in self._alarms:
            states["alarm", alarm.name] = (alarm.on,)
        return states

    def infer_ms(self) -> list[float]:
        return [infer for _, infer, _ in self._recent]

    def _watched(self, found: Detections) -> Detections:
        if len(self.labels) == len(self.model.labels):
            return found
        keep = np.isin(found.labels, self.labels)
        return Detections(found.boxes[keep], found.scores[keep], found.labels[keep])

    def _note(self, now_s: float, latency: Mapping[str, float]) -> None:
        self._recent.append((now_s, latency["infer"], latency["total"]))
        state = self.state
        state.frames += 1
        state.last_mono_s = now_s
        span_s = now_s - self._recent[0][0]
        state.fps = (len(self._recent) - 1) / span_s if span_s > 0 else 0.0
        state.infer_ms = float(np.median([infer for _, infer, _ in self._recent]))
        state.total_ms = float(np.median([total for _, _, total in self._recent]))
