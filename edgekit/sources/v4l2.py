"""A camera behind /dev/video*: USB, or any other that the kernel speaks V4L2 with."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import UnavailableError
from edgekit.sources.reader import picture, rate

if TYPE_CHECKING:
    from edgekit.types import Image


class V4l2Reader:
    """Reads the device at `path` by OpenCV, in the size and format that it comes in."""

    def __init__(self, path: str) -> None:
        import cv2

        self._camera = cv2.VideoCapture(path, cv2.CAP_V4L2)
        if not self._camera.isOpened():
            raise UnavailableError(_why_closed(path))
        self.fps = rate(float(self._camera.get(cv2.CAP_PROP_FPS)))

    def grab(self) -> float | None:
        return time.monotonic() if self._camera.grab() else None

    def retrieve(self) -> Image | None:
        return picture(*self._camera.retrieve())

    def end(self, pictures: int) -> str:
        return "gives no more pictures; is it unplugged?" if pictures else "opens, but gives no picture"


def _why_closed(path: str) -> str:
    if not Path(path).exists():
        return "there is no such camera; is it plugged in?"
    if not os.access(path, os.R_OK | os.W_OK):
        return "this user may not open it; join its group: sudo usermod -aG video $USER"
    return "cannot be opened; is it a camera, and does another program use it?"
