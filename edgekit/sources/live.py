"""A camera or stream that may go and come back."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator

from edgekit.errors import UnavailableError
from edgekit.sources.capture import Capture
from edgekit.sources.clip import Clock
from edgekit.types import Frame

_log = logging.getLogger("edgekit.sources")
_STEADY_S = 30.0  # a camera that was there for so long is tried soon when it goes


def backoff_s(attempt: int, luck: float, *, first_s: float = 1.0, last_s: float = 60.0) -> float:
    """How long to wait before attempt 0, 1, 2 …: doubles from first_s to last_s.

    `luck` in 0..1 takes off up to a half, so that many clients of one camera do not come back in step.
    """
    return float(min(last_s, first_s * 2.0 ** min(attempt, 30))) * (1 - luck / 2)


class LiveSource:
    """A camera or stream, read in a child process; it is opened again whenever it is lost.

    `target` is a device path, `csi:0` or a URL; `timeout_s` bounds every wait for a picture. `lost` is true
    while the camera is away. Unless it is to `wait` for one that was never there, UnavailableError is raised
    when it cannot be opened at first.
    """

    def __init__(
        self,
        target: str,
        *,
        camera: str,
        fps: float | None = None,
        timeout_s: float = 10.0,
        wait: bool = False,
    ) -> None:
        self.live = True
        self.lost = False
        self.skipped = 0
        self.corrupt = 0
        self._target = target
        self._camera = camera
        self._limit_fps = fps
        self._timeout_s = timeout_s
        self._clock = Clock()
        self._lock = threading.Lock()
        self._closed = False
        self._camera_fps: float | None = None
        self._capture: Capture | None = None
        self._made = 0  # pictures that the camera made, over all the times that it was opened
        self._attempt = 0  # openings and losses in a row
        if not wait:
            try:
                self._open()
            except UnavailableError as error:
                self.close()
                raise UnavailableError(f"camera {camera}: {error}") from None

    @property
    def fps(self) -> float | None:
        known = [fps for fps in (self._limit_fps, self._camera_fps) if fps]
        return min(known, default=None)

    def frames(self) -> Iterator[Frame]:
        """The newest frame each time, for ever; a camera that is lost is waited for."""
        while not self._closed:
            if self._capture is None and not self._reopen():
                continue
            opened_s = time.monotonic()
            try:
                yield from self._read_all()
            except UnavailableError as error:
                self._lose(error, steady=time.monotonic() - opened_s > _STEADY_S)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._clock.stop()
            if self._capture:
                self._capture.close()

    def _read_all(self) -> Iterator[Frame]:
        """Frames until the capture fails, as UnavailableError."""
        first, spoilt = self._made, 0
        while capture := self._capture:
            shot = capture.read()
            index = first + shot.index
            self.skipped += index - self._made
            self.corrupt += shot.corrupt - spoilt
            self._made, spoilt = index + 1, shot.corrupt
            self.lost = False
            yield Frame(shot.image, self._camera, index, shot.time_s, shot.mono_s)

    def _lose(self, error: UnavailableError, *, steady: bool) -> None:
        if self._closed:
            return
        self.lost = True
        _log.warning("camera %s: lost: %s", self._camera, error)
        self._drop()
        self._attempt = 1 if steady else self._attempt + 1
        self._pause()

    def _reopen(self) -> bool:
        """Try once; False, after a pause, when the camera is still not there."""
        try:
            self._open()
        except UnavailableError as error:
            if self._closed:
                return False
            say = _log.info if self.lost else _log.warning
            say("camera %s: not there, edgekit goes on trying: %s", self._camera, error)
            self.lost = True
            self._drop()
            self._attempt += 1
            self._pause()
            return False
        if self.lost:
            _log.warning("camera %s: is back", self._camera)
        return True

    def _open(self) -> None:
        with self._lock:
            if self._closed:
                raise UnavailableError("is closed")
            self._capture = Capture(self._target, fps=self._limit_fps, timeout_s=self._timeout_s)
        self._camera_fps = self._capture.open()

    def _drop(self) -> None:
        if self._capture:
            self._capture.close()
        self._capture = None

    def _pause(self) -> None:
        self._clock.wait(backoff_s(self._attempt - 1, random.random()))  # noqa: S311  (jitter, not a secret)
