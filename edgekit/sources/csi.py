"""A camera on the ribbon connector of a Raspberry Pi, by libcamera and its Python package picamera2."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import UnavailableError

if TYPE_CHECKING:
    from edgekit.types import Image

_SIZE = (1280, 720)
_FPS = 30.0


class CsiReader:
    """Reads `csi:0` or `csi:0?size=1920x1080`, at `fps` pictures a second (30 unless given).

    The sensor itself is slowed down to `fps`: what nobody looks at is not made.
    """

    def __init__(self, target: str, fps: float | None) -> None:
        number, _, size = target.removeprefix("csi:").partition("?size=")
        wide, high = map(int, size.split("x")) if size else _SIZE
        self.fps: float | None = fps or _FPS
        self._request: Any = None
        self._camera = _open(int(number))
        frame_us = round(1e6 / (fps or _FPS))
        self._camera.configure(
            self._camera.create_video_configuration(
                main={"size": (wide, high), "format": "RGB888"},  # in memory: blue, green, red
                controls={"FrameDurationLimits": (frame_us, frame_us)},
                buffer_count=4,
            )
        )
        self._camera.start()

    def grab(self) -> float | None:
        self._release()
        self._request = self._camera.capture_request()
        return _monotonic_s(self._request.get_metadata().get("SensorTimestamp"))

    def retrieve(self) -> Image | None:
        image = self._request.make_array("main")
        if image.ndim != 3 or image.shape[2] != 3 or not image.size:
            return None
        return np.ascontiguousarray(image, np.uint8)

    def end(self, pictures: int) -> str:
        return f"gives no more pictures after {pictures}"

    def _release(self) -> None:
        """Hand the last picture's buffer back: there are only a few."""
        if self._request is not None:
            self._request.release()
            self._request = None


def _open(number: int) -> Any:
    try:
        from picamera2 import Picamera2
    except ImportError:
        raise UnavailableError(
            "picamera2 is not installed: sudo apt install python3-picamera2, "
            "and make the virtual environment with --system-site-packages"
        ) from None
    known = Picamera2.global_camera_info()
    if number >= len(known):
        names = ", ".join(f"csi:{i} ({info.get('Model', '?')})" for i, info in enumerate(known)) or "none"
        raise UnavailableError(f"libcamera sees no such camera; cameras here: {names}")
    try:
        return Picamera2(number)
    except (RuntimeError, IndexError) as error:
        raise UnavailableError(f"cannot be opened: {error}; does another program use it?") from None


def _monotonic_s(sensor_ns: int | None) -> float:
    """When the sensor began to see the picture; its clock is that of the boot, which also counts sleep."""
    if sensor_ns is None:
        return time.monotonic()
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - sensor_ns / 1e9
    return time.monotonic() - max(0.0, age_s)
