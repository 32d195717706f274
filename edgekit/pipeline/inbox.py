"""From the cameras' own threads to the one loop: who waits, who overwrites, whose turn it is.

Each camera has a thread that only waits for its source and hands over frames. A live camera overwrites its
frame that nobody has taken yet (the newest wins, nothing queues); a file waits until its frame is taken
(nothing is lost).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edgekit.config.scene import SceneConfig
from edgekit.config.settings import DetectConfig
from edgekit.errors import EdgekitError
from edgekit.inference import Model
from edgekit.sources import Source
from edgekit.types import Frame


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera before it runs: `open` is called in the camera's own thread and may raise EdgekitError."""

    name: str
    detect: DetectConfig
    open: Callable[[], Source]
    scene: SceneConfig = field(default_factory=SceneConfig)
    second: Model | None = None  # the classifier of detect.second_look


class Inbox:
    """One slot a camera, taken in turn, so that no camera starves another."""

    def __init__(self, cameras: Sequence[str]) -> None:
        self._slots: dict[str, tuple[Frame, float]] = {}
        self._open = set(cameras)
        self._turn = deque(cameras)
        self._changed = threading.Condition()
        self._stopped = False
        self.overwritten = dict.fromkeys(cameras, 0)

    def put(self, frame: Frame, *, overwrite: bool) -> bool:
        """Offer a frame; wait for a free slot unless it may overwrite. False after `stop`."""
        with self._changed:
            if overwrite and frame.camera in self._slots:
                self.overwritten[frame.camera] += 1
            else:
                self._changed.wait_for(lambda: self._stopped or frame.camera not in self._slots)
            self._slots[frame.camera] = (frame, time.monotonic())
            self._changed.notify_all()
            return not self._stopped

    def take(self, timeout_s: float) -> tuple[Frame, float] | None:
        """The next camera's frame and when it came in, or None when there was none in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._slots or not self._open, timeout_s)
            for _ in range(len(self._turn)):
                self._turn.rotate(-1)
                found = self._slots.pop(self._turn[-1], None)
                if found:
                    self._changed.notify_all()
                    return found
            return None

    def close(self, camera: str) -> None:
        """No more frames will come from `camera`."""
        with self._changed:
            self._open.discard(camera)
            self._changed.notify_all()

    def stop(self) -> None:
        """Let every waiting reader go."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def holds(self, camera: str) -> bool:
        """A frame of `camera` waits to be taken."""
        with self._changed:
            return camera in self._slots

    @property
    def finished(self) -> bool:
        """All cameras have closed and all frames are taken."""
        with self._changed:
            return not self._open and not self._slots


class Reader(threading.Thread):
    """Waits for one camera's source; what went wrong is kept in `error`."""

    def __init__(self, camera: Camera, inbox: Inbox) -> None:
        super().__init__(name=f"camera-{camera.name}", daemon=True)
        self.camera = camera
        self.error: EdgekitError | None = None
        self.source: Source | None = None
        self._inbox = inbox

    def run(self) -> None:
        try:
            self.source = self.camera.open()
            for frame in self.source.frames():
                if not self._inbox.put(frame, overwrite=self.source.live):
                    break
        except EdgekitError as error:
            self.error = error
        finally:
            self.close()
            self._inbox.close(self.camera.name)

    def close(self) -> None:
        if self.source:
            self.source.close()

    @property
    def live(self) -> bool:
        return self.source is not None and self.source.live

    @property
    def lost(self) -> bool:
        return self.source is not None and self.source.lost

    @property
    def fps(self) -> float | None:
        return self.source.fps if self.source else None

    @property
    def skipped(self) -> int:
        return self.source.skipped if self.source else 0

    @property
    def corrupt(self) -> int:
        return self.source.corrupt if self.source else 0
