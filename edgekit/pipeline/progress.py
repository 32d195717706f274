"""Whether a pipeline gets on: what `/healthz` answers and what systemd's watchdog is pinged for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from edgekit.pipeline.lane import CameraState, Outcome, States
from edgekit.pipeline.observe import Observer
from edgekit.types import Frame

HANGS_S = 15.0  # the loop comes round several times a second, or once a frame where a frame takes longer
SILENT_S = 60.0  # a camera that is said to be there gives frames
SILENT_FRAMES = 5.0  # or, when it is slower than that, at its own pace
UNKNOWN_PACE_S = 600.0
WATCHED = ("online", "degraded")


class Progress(Observer):
    """Notes each turn of the loop and each frame.

    `now_s` is a monotonic clock. An idle loop alone is no progress: a camera that counts as online must have
    given a frame lately. One that is known to be gone is waited for, which a restart would not mend.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._turned_s: float | None = None
        self._cameras: list[CameraState] = []
        self._framed_s: dict[str, float] = {}

    @property
    def seen(self) -> bool:
        """Some frame has been looked at."""
        return bool(self._framed_s)

    def frame(self, frame: Frame, outcome: Outcome, states: States) -> None:  # noqa: ARG002  (an Observer's)
        self._framed_s[frame.camera] = self._now_s()

    def tick(self, cameras: Sequence[CameraState]) -> None:
        self._turned_s = self._now_s()
        self._cameras = [replace(camera) for camera in cameras]

    def stuck(self) -> str | None:
        """Why nothing goes on where something should, which a restart may mend; None while all is well."""
        if self._turned_s is None:
            return "the pipeline has not begun"
        hangs_s = self._now_s() - self._turned_s
        if hangs_s > HANGS_S:
            return f"the pipeline hangs for {hangs_s:.0f} s"
        silent = [self._silence(camera) for camera in self._cameras if camera.status in WATCHED]
        return next((why for why in silent if why), None) if all(silent) else None

    def trouble(self) -> str | None:
        """Why no frame is looked at, whatever the reason; None while some are, or none should be."""
        stuck = self.stuck()
        if stuck or any(camera.status in (*WATCHED, "disabled") for camera in self._cameras):
            return stuck
        return "no camera is there: " + ", ".join(f"{c.name} {c.status}" for c in self._cameras)

    def _silence(self, camera: CameraState) -> str | None:
        since_s = self._framed_s.get(camera.name)
        silent_s = self._now_s() - since_s if since_s is not None else 0.0
        pace_s = SILENT_FRAMES / camera.fps if camera.fps else UNKNOWN_PACE_S
        if silent_s <= max(SILENT_S, pace_s):
            return None
        return f"camera {camera.name} counts as {camera.status}, its last frame is {silent_s:.0f} s old"
