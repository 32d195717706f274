"""What every source is, and the one that plays a list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from edgekit.types import Frame

if TYPE_CHECKING:
    from edgekit.types import Image


class Source(Protocol):
    """Where frames come from. One consumer at a time; `close` may be called from any thread, and twice.

    `live` is true when the newest frame wins, so that a slow consumer misses frames; a file is never
    dropped unless it plays in real time. `fps` is the nominal rate of `frames`, None when unknown.
    `skipped` counts frames that came too fast for the consumer, `corrupt` those that could not be decoded.
    `lost` is true while a camera is away and waited for.
    """

    @property
    def live(self) -> bool: ...
    @property
    def fps(self) -> float | None: ...
    @property
    def lost(self) -> bool: ...
    @property
    def skipped(self) -> int: ...
    @property
    def corrupt(self) -> int: ...
    def frames(self) -> Iterator[Frame]: ...
    def close(self) -> None: ...


class ListSource:
    """Frames from a list: the source of tests, and of scripts that have their pictures already.

    Takes images, (height, width, 3) uint8 BGR, or Frames as they are. Times advance by 1/fps from 0.
    """

    def __init__(self, images: Iterable[Image | Frame], *, camera: str = "camera", fps: float = 10.0) -> None:
        self.live = self.lost = False
        self.fps: float | None = fps
        self.skipped = 0
        self.corrupt = 0
        self._images = list(images)
        self._camera = camera
        self._closed = False

    def frames(self) -> Iterator[Frame]:
        for index, image in enumerate(self._images):
            if self._closed:
                return
            if isinstance(image, Frame):
                yield image
            else:
                yield Frame(image, self._camera, index, index / (self.fps or 1), index / (self.fps or 1))

    def close(self) -> None:
        self._closed = True
