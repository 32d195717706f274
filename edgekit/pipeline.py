"""The one loop: a frame in, its events out.

All of it happens in one thread, so that a test can feed lists and read lists; only waiting for cameras has
threads of its own (`edgekit.inbox`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import Protocol

import numpy as np

from edgekit.inbox import Camera, Inbox, Reader
from edgekit.inference import Model
from edgekit.rules import Visits, usual_confirmation
from edgekit.sink import Sink
from edgekit.track import Tracker
from edgekit.types import Detections, Event, Frame

log = logging.getLogger("edgekit.pipeline")
HEALTH_EVERY_S = 60.0
TICK_S = 0.25
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


class Observer(Protocol):
    """Somebody who watches a pipeline: the terminal's table, or a test."""

    def event(self, event: Event) -> None: ...

    def tick(self, cameras: Sequence[CameraState]) -> None: ...


class Lane:
    """What is remembered of one camera from frame to frame, and the way of a frame through it."""

    def __init__(self, camera: Camera, model: Model) -> None:
        detect = camera.detect
        self.model = model
        self.state = CameraState(camera.name)
        self.enabled = True
        self.labels = [name for name in model.labels if detect.labels is None or name in detect.labels]
        self.last: Frame | None = None
        self._min_score = detect.min_score
        self._tracker = Tracker(detect.min_score, detect.lost_s)
        self._confirm = detect.confirm and (detect.confirm.frames, detect.confirm.of)
        self._visits = Visits(camera.name, *usual_confirmation(None))
        self._recent: deque[tuple[float, float, float]] = deque(maxlen=64)  # when done, infer ms, total ms

    def begin(self, fps: float | None) -> None:
        """Before the first frame of a source of `fps` frames a second (None: unknown)."""
        self._visits = Visits(self.state.name, *(self._confirm or usual_confirmation(fps)))

    def process(self, frame: Frame, arrived_s: float, captured_s: float) -> list[Event]:
        """A frame's events; `arrived_s` and `captured_s` are on the monotonic clock of this process."""
        self.last = frame
        times = [time.monotonic()]
        tensor, placement = self.model.prepare(frame.image)
        times.append(time.monotonic())
        outputs = self.model.engine.run(tensor)
        times.append(time.monotonic())
        found = self._watched(self.model.decode(outputs, placement, self._min_score * DOUBTFUL))
        tracks = self._tracker.update(found, frame.time_s, frame.mono_s)
        events = self._visits.update(tracks, frame)
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
        return [replace(event, latency_ms=rounded) for event in events]

    def finish(self) -> list[Event]:
        """The ends of all that is still there, once the source has ended."""
        return self._visits.finish(self.last) if self.last else []

    def counts(self) -> dict[str, int]:
        """How many of each watched label are there now, zeros included."""
        return dict.fromkeys(self.labels, 0) | self._visits.counts()

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


class Pipeline:
    """Runs cameras through one model into one sink until the sources end, a limit is reached, or `stop()`."""

    def __init__(
        self,
        cameras: Sequence[Camera],
        model: Model,
        sink: Sink,
        observer: Observer | None = None,
        budget_mb: float | None = None,
    ) -> None:
        self._sink = sink
        self._budget_mb = budget_mb
        self._observer = observer
        self._lanes = {camera.name: Lane(camera, model) for camera in cameras}
        self._model = {"id": model.name, "sha256": model.sha256, "engine": model.engine.name}
        self._inbox = Inbox([camera.name for camera in cameras])
        self._readers = {camera.name: Reader(camera, self._inbox) for camera in cameras}
        self._stop = threading.Event()
        self._switches: SimpleQueue[tuple[str, bool]] = SimpleQueue()
        self._started_s = time.monotonic()
        self._next_health_s = 0.0
        self._next_tick_s = 0.0

    @property
    def states(self) -> list[CameraState]:
        """The cameras as they stand, in the order given."""
        return [lane.state for lane in self._lanes.values()]

    def set_detect(self, camera: str, on: bool) -> bool:
        """Look at the frames of a camera, or not; False for one that is not there. From any thread."""
        if camera in self._lanes:
            self._switches.put((camera, on))
        return camera in self._lanes

    def stop(self) -> None:
        """End `run` after the frame in hand; safe from a signal handler."""
        self._stop.set()

    def run(
        self, *, frames: int | None = None, duration_s: float | None = None, require: bool = False
    ) -> None:
        """Run until all sources have ended, `frames` were processed or `duration_s` seconds have passed.

        Raises, once everything is closed, the error of a camera that failed; with `require` at once, without
        it when the other cameras are done.
        """
        until_s = None if duration_s is None else time.monotonic() + duration_s
        for name, lane in self._lanes.items():
            self._publish_counts(name, lane)
            self._sink.set_detect(name, True)
        for reader in self._readers.values():
            reader.start()
        try:
            self._loop(frames, until_s, require)
        finally:
            self._close()
        for reader in self._readers.values():
            if reader.error:
                raise reader.error

    def _loop(self, frames: int | None, until_s: float | None, require: bool) -> None:
        done = 0
        while not self._stop.is_set() and (frames is None or done < frames):
            self._switch()
            now_s = time.monotonic()
            if until_s is not None and now_s >= until_s:
                return
            found = self._inbox.take(TICK_S if until_s is None else min(TICK_S, until_s - now_s))
            if found:
                self._process(*found)
                done += 1
            self._watch_cameras()
            if require and any(reader.error for reader in self._readers.values()):
                return
            if self._inbox.finished:
                return
            self._tell(time.monotonic())

    def _process(self, frame: Frame, arrived_s: float) -> None:
        lane, reader = self._lanes[frame.camera], self._readers[frame.camera]
        if not lane.enabled:
            return
        if lane.state.status != "online":
            lane.begin(reader.fps)
            self._set_status(lane.state, "online")
        captured_s = frame.mono_s if reader.live else arrived_s  # a file's clock is the clip's own
        events = lane.process(frame, arrived_s, captured_s)
        lane.state.skipped = reader.skipped + self._inbox.overwritten[frame.camera]
        self._publish(lane, events)

    def _switch(self) -> None:
        """Do what `set_detect` was called for."""
        while not self._switches.empty():
            name, on = self._switches.get()
            lane = self._lanes[name]
            if lane.enabled == on:
                continue
            lane.enabled = on
            if not on:
                self._end_visits(name)
                self._set_status(lane.state, "disabled")
            self._sink.set_detect(name, on)

    def _publish(self, lane: Lane, events: Sequence[Event]) -> None:
        for event in events:
            self._sink.publish_event(event, self._model)
            lane.state.events += 1
            if self._observer:
                self._observer.event(event)
        if events:
            self._publish_counts(lane.state.name, lane)

    def _publish_counts(self, camera: str, lane: Lane) -> None:
        counts = lane.counts()
        lane.state.counts = {label: n for label, n in counts.items() if n}
        for label, n in counts.items():
            self._sink.set_count(camera, label, n)
        self._sink.set_count(camera, "all", sum(counts.values()))

    def _set_status(self, state: CameraState, status: str) -> None:
        state.status = status
        self._sink.set_camera_status(state.name, status)
        self._next_health_s = 0.0

    def _watch_cameras(self) -> None:
        """Say once that a camera is gone; its last frame may still be in the inbox."""
        for name, reader in self._readers.items():
            state = self._lanes[name].state
            if not reader.is_alive() and state.status != "offline" and not self._inbox.holds(name):
                if reader.error and len(self._readers) > 1:
                    log.warning("camera %s has ended: %s", name, reader.error)
                self._end_visits(name)
                self._set_status(state, "offline")

    def _end_visits(self, name: str) -> None:
        self._publish(self._lanes[name], self._lanes[name].finish())

    def _tell(self, now_s: float) -> None:
        if now_s >= self._next_health_s:
            self._next_health_s = now_s + HEALTH_EVERY_S
            self._sink.publish_health(self._health(now_s))
        if self._observer and now_s >= self._next_tick_s:
            self._next_tick_s = now_s + TICK_S
            self._observer.tick(self.states)

    def _close(self) -> None:
        self._inbox.stop()
        for reader in self._readers.values():
            reader.close()
        for name, lane in self._lanes.items():
            self._end_visits(name)
            if lane.state.status != "offline":
                self._set_status(lane.state, "offline")
        for reader in self._readers.values():
            reader.join(timeout=0.5)
        if self._observer:
            self._observer.tick(self.states)

    def _health(self, now_s: float) -> dict[str, object]:
        offline = [state.status == "offline" for state in self.states]
        infer = [ms for lane in self._lanes.values() for ms in lane.infer_ms()]
        p50, p95 = np.percentile(infer, [50, 95]) if infer else (0.0, 0.0)
        return {
            "state": "error" if all(offline) else "degraded" if any(offline) else "ok",
            "uptime_s": round(now_s - self._started_s, 1),
            "cameras": {state.name: _camera_health(state, now_s) for state in self.states},
            "infer_ms": {"p50": round(float(p50), 2), "p95": round(float(p95), 2)},
            "mem_mb": round(resident_mb(), 1),
            "budget_mb": self._budget_mb,
        }


def _camera_health(state: CameraState, now_s: float) -> dict[str, object]:
    age_s = None if state.last_mono_s is None else round(now_s - state.last_mono_s, 2)
    fps = round(state.fps, 2)
    return {"fps": fps, "detect_fps": fps, "skipped": state.skipped, "last_frame_age_s": age_s}


def resident_mb() -> float:
    """Resident memory of this process in MiB (Linux)."""
    import os
    from pathlib import Path

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
