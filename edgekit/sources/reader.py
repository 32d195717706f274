"""What reads one kind of camera, and which of them reads what: `open_reader(target, fps)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from edgekit.types import Image


class Reader(Protocol):
    """An open camera. `fps` is its nominal rate, None when unknown; any method may block or raise.

    `grab` waits for the next picture and returns when it was made, on the monotonic clock, or None when none
    came. `retrieve` gives that picture, (height, width, 3) uint8 BGR, or None when it is damaged. `end` says
    in a few words why there is no more after so many pictures.
    """

    @property
    def fps(self) -> float | None: ...
    def grab(self) -> float | None: ...
    def retrieve(self) -> Image | None: ...
    def end(self, pictures: int) -> str: ...


def open_reader(target: str, fps: float | None) -> Reader:
    """The reader of a device path, `csi:0` or a URL; `fps` is all that will be asked of it.

    Raises UnavailableError saying what the matter is.
    """
    if "://" in target:
        from edgekit.sources.stream import StreamReader

        return StreamReader(target)
    if target.startswith("csi:"):
        from edgekit.sources.csi import CsiReader

        return CsiReader(target, fps)
    from edgekit.sources.v4l2 import V4l2Reader

    return V4l2Reader(target)


def picture(good: bool, image: Any) -> Image | None:
    """What OpenCV has retrieved, if it is a picture."""
    if not good or image is None or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        return None
    return np.ascontiguousarray(image, np.uint8)


def rate(fps: float) -> float | None:
    """A nominal rate that can be believed."""
    return fps if 0 < fps <= 1000 else None
