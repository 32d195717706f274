"""The one loop: a frame in, its events out.

All of it happens in one thread, so that a test can feed lists and read lists; only waiting for cameras has
threads of its own (`edgekit.pipeline.inbox`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue

import numpy as np

from edgekit.device.machine import Heat, resident_mb
from edgekit.engine.worker import WorkerEngine
from edgekit.errors import UsageError
from edgekit.inference import Model
from edgekit.mqtt.messages import utc_text
from edgekit.mqtt.sink import Sink
from edgekit.pipeline.allowance import Allowance
from edgekit.pipeline.governor import EVERY_S, FULL, Governor
from edgekit.pipeline.inbox import Camera, Inbox, Reader
from edgekit.pipeline.lane import CameraState, Lane, Outcome, States
from edgekit.pipeline.observe import Observer
from edgekit.pipeline.snapshot import encode
from edgekit.pipeline.tally import Tally
from edgekit.rules.alarm import AlarmChange
from edgekit.rules.groups import count_groups
from edgekit.types import Frame

log = logging.getLogger("edgekit.pipeline")
STARTED_S = time.monotonic()  # this process, whatever config it has come to since
HEALTH_EVERY_S = 60.0
TICK_S = 0.25
CLOSE_S = 2.0  # how long the end waits for cameras that are just being opened


class Pipeline:
    """Runs cameras through one model into one sink until the sources end, a limit is reached, or `stop()`."""

    def __init__(
        self,
        cameras: Sequence[Camera],
        model: Model,
        sink: Sink,
        observer: Observer | None = None,
        tally: Tally | None = None,
        governor: Governor | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        self._sink = sink
        self._tally = tally or Tally()
        self._allowance = allowance or Allowance()
        self._observer = observer
        self._lanes = {camera.name: Lane(camera, model, self._tally) for camera in cameras}
        self._told: dict[str, States] = {camera.name: {} for camera in cameras}
        self._governor = governor or Governor(None, [model], Heat)
        self._busy_s = 0.0
        self._measured_s = time.monotonic()
        self._use(model)
        self._inbox = Inbox([camera.name for camera in cameras])
        self._readers = {camera.name: Reader(camera, self._inbox) for camera in cameras}
        self._stop = threading.Event()
        self._switches: SimpleQueue[tuple[str, bool]] = SimpleQueue()
        self._next_health_s = 0.0
        self._next_tick_s = 0.0

    @property
    def states(self) -> list[CameraState]:
        """The cameras as they stand, in the order given."""
        return [lane.state for lane in self._lanes.values()]

    @property
    def disabled(self) -> list[str]:
        """The cameras whose frames are not looked at."""
        return [name for name, lane in self._lanes.items() if not lane.enabled]

    def set_detect(self, camera: str, on: bool) -> bool:
        """Look at the frames of a camera, or not; False for one that is not there. From any thread."""
        if camera in self._lanes:
            self._switches.put((camera, on))
        return camera in self._lanes

    def snapshot(self, camera: str) -> dict[str, object]:
        """Publish the last frame of a camera, as `snapshot/all`; from any thread. UsageError without one."""
        lane = self._lanes.get(camera)
        if lane is None:
            raise UsageError(f"no camera {camera!r:.80}, there are {', '.join(self._lanes)}")
        shots, frame = lane.scene.snapshots, lane.last
        if shots is None or not shots.enabled:
            raise UsageError(f"camera {camera}: pictures are switched off: snapshots: {{enabled: true}}")
        jpeg = encode(frame.image, shots) if frame and lane.enabled else None
        if jpeg is None:
            raise UsageError(f"camera {camera}: there is no picture now")
        self._sink.set_snapshot(camera, "all", jpeg)
        return {"camera": camera, "label": "all", "bytes": len(jpeg)}

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
                begun_s = time.monotonic()
                self._process(*found)
                self._busy_s += time.monotonic() - begun_s
                done += 1
            self._govern()
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
        if reader.live and not self._governor.admits(frame.camera):
            lane.state.left_out += 1
            return
        if not lane.begun:
            lane.begin(reader.fps, frame.time_s)
        if lane.state.status not in ("online", "degraded"):
            self._set_status(lane.state, "online")
        captured_s = frame.mono_s if reader.live else arrived_s  # a file's clock is the clip's own
        outcome = lane.process(frame, arrived_s, captured_s)
        lost = reader.skipped + self._inbox.overwritten[frame.camera]
        lane.state.skipped, lane.state.corrupt = lost + lane.state.left_out, reader.corrupt
        self._publish(lane, outcome)
        if self._observer:
            self._observer.frame(frame, outcome, self._told[frame.camera])
        status = "degraded" if lane.tampered else "online"
        if status != lane.state.status:
            self._set_status(lane.state, status)
            if lane.tampered:
                self._warn(lane, frame)

    def _warn(self, lane: Lane, frame: Frame) -> None:
        """Each alarm of a camera says that the camera may miss things now."""
        signs = [sign for sign, on in lane.signs.items() if on]
        log.warning("camera %s: %s", lane.state.name, ", ".join(signs))
        for alarm in lane.scene.alarms:
            details = {"signs": signs, "capture": utc_text(frame.time_s)}
            self._sink.publish_alarm(lane.state.name, alarm, "tamper", details)

    def _govern(self) -> None:
        """Do less when the machine is hot or overloaded, and say so."""
        now_s = time.monotonic()
        if now_s - self._measured_s < EVERY_S:
            return
        busy = self._busy_s / (now_s - self._measured_s)
        self._busy_s, self._measured_s = 0.0, now_s
        was_broken = self._allowance.is_broken
        if self._is_over_budget() != was_broken:
            self._next_health_s = 0.0
        if self._governor.update(busy, now_s):
            self._use(self._governor.model)
            self._next_health_s = 0.0

    def _is_over_budget(self) -> bool:
        return self._allowance.check([ms for lane in self._lanes.values() for ms in lane.infer_ms()])

    def _use(self, model: Model) -> None:
        self._model = model.identity
        self._engine = model.engine
        for lane in self._lanes.values():
            lane.detector.use(model)

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

    def _publish(self, lane: Lane, outcome: Outcome) -> None:
        for event in outcome.events:
            self._sink.publish_event(event, self._model)
            lane.state.events += 1
            if self._observer:
                self._observer.event(event)
        for label, jpeg in outcome.snapshots:
            self._sink.set_snapshot(lane.state.name, label, jpeg)
        for change in outcome.alarms:
            details = alarm_details(change, lane.last)
            self._sink.publish_alarm(lane.state.name, change.alarm, change.type, details)
        if outcome.events:
            self._publish_counts(lane.state.name, lane)
        self._publish_states(lane.state.name, lane.states())

    def _publish_states(self, camera: str, states: States) -> None:
        """Tell of each state that is not what it was."""
        setters: dict[str, Callable[..., None]] = {
            "zone": self._sink.set_zone_count,
            "line": self._sink.set_line,
            "alarm": self._sink.set_alarm,
            "motion": self._sink.set_motion,
            "tamper": self._sink.set_tamper,
        }
        before, self._told[camera] = self._told[camera], states
        for (kind, *names), state in states.items():
            if before.get((kind, *names)) != state:
                setters[kind](camera, *names, *state)

    def _publish_counts(self, camera: str, lane: Lane) -> None:
        counts = lane.counts()
        lane.state.counts = counts
        for label, n in (counts | count_groups(counts)).items():
            self._sink.set_count(camera, label, n)
        self._sink.set_count(camera, "all", sum(counts.values()))

    def _set_status(self, state: CameraState, status: str) -> None:
        state.status = status
        self._sink.set_camera_status(state.name, status)
        self._next_health_s = 0.0

    def _watch_cameras(self) -> None:
        """Say once that a camera is gone, for ever or for now; its last frame may still be in the inbox."""
        for name, reader in self._readers.items():
            state, enabled = self._lanes[name].state, self._lanes[name].enabled
            gone = not reader.is_alive() or (reader.lost and enabled)
            if gone and state.status != "offline" and not self._inbox.holds(name):
                if reader.error and len(self._readers) > 1:
                    log.warning("camera %s has ended: %s", name, reader.error)
                self._end_visits(name)
                self._set_status(state, "offline")

    def _end_visits(self, name: str) -> None:
        self._publish(self._lanes[name], self._lanes[name].finish())

    def _tell(self, now_s: float) -> None:
        self._tally.save()
        if now_s >= self._next_health_s:
            self._next_health_s = now_s + HEALTH_EVERY_S
            self._sink.publish_health(self.health())
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
        self._tally.save(now=True)
        until_s = time.monotonic() + CLOSE_S
        for reader in self._readers.values():
            reader.join(timeout=max(until_s - time.monotonic(), 0.0))
        if self._observer:
            self._observer.tick(self.states)

    def health(self) -> dict[str, object]:
        """How the cameras and the model do now, for the health message; from any thread."""
        now_s = time.monotonic()
        offline = [state.status == "offline" for state in self.states]
        troubled = any(state.status in ("offline", "degraded") for state in self.states)
        failing = isinstance(self._engine, WorkerEngine) and self._engine.failing
        infer = [ms for lane in self._lanes.values() for ms in lane.infer_ms()]
        total = [ms for lane in self._lanes.values() for ms in lane.total_ms()]
        throttled = self._governor.step != FULL
        troubled |= self._is_over_budget()
        return {
            "state": "error" if all(offline) or failing else "degraded" if troubled or throttled else "ok",
            "uptime_s": round(now_s - STARTED_S, 1),
            "cameras": {state.name: _camera_health(state, now_s) for state in self.states},
            "infer_ms": _percentiles(infer),
            "latency_ms": _percentiles(total),
            "mem_mb": round(resident_mb(), 1),
            "model_mb": round(self._allowance.model_mb, 1),
            "budget_mb": self._allowance.memory_mb,
            **_governor_health(self._governor, str(self._model["id"])),
            "budget_ms": self._allowance.latency_ms,
            "over_budget": self._allowance.is_broken,
        }


def alarm_details(change: AlarmChange, frame: Frame | None) -> dict[str, object]:
    """What subscribers are told of the thing that raised or cleared an alarm."""
    track = change.track
    return {
        "visit": change.visit,
        "label": track.label,
        "score": round(track.score, 4),
        "top_score": round(track.top_score, 4),
        "zones": list(track.zones),
        "lines": [{"id": crossing.line, "direction": crossing.direction} for crossing in track.lines],
        "since": utc_text(track.start_s),
        "capture": utc_text(frame.time_s if frame else track.seen_s),
    }


def _camera_health(state: CameraState, now_s: float) -> dict[str, object]:
    age_s = None if state.last_mono_s is None else round(now_s - state.last_mono_s, 2)
    return {
        "fps": round(state.fps, 2),
        "detect_fps": round(state.detect_fps, 2),
        "skipped": state.skipped,
        "corrupt": state.corrupt,
        "last_frame_age_s": age_s,
    }


def _governor_health(governor: Governor, model: str) -> dict[str, object]:
    step, heat = governor.step, governor.heat
    return {
        "temp_c": heat.temp_c,
        "throttled": heat.throttled,
        "cpu": round(governor.busy, 2),
        "governor": {"fps_share": step.share, "model": model, "reason": governor.reason},
    }


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    p50, p95 = np.percentile(values, [50, 95]) if values else (0.0, 0.0)
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}
