"""Frames from a camera, a stream, a video, a folder or the demo scene: `open_source(text, camera=...)`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from edgekit.types import Frame


class Source(Protocol):
    """Where frames come from. One consumer at a time; `close` may be called from any thread, and twice.

    `live` is true when the newest frame wins, so that a slow consumer misses frames; a file is never
    dropped unless it plays in real time. `fps` is the nominal rate of `frames`, None when unknown.
    `skipped` counts frames that came too fast for the consumer, `corrupt` those that could not be decoded.
    """

    live: bool
    fps: float | None
    skipped: int
    corrupt: int

    def frames(self) -> Iterator[Frame]: ...
    def close(self) -> None: ...


def open_source(  # noqa: PLR0913
    text: str,
    *,
    camera: str,
    fps: float | None = None,
    loop: bool = False,
    realtime: bool = False,
    timeout_s: float = 10.0,
) -> Source:
    """Open what people name: `demo:`, `0`, `/dev/video0`, `rtsp://…`, `http://…`, a video, a folder, a glob."""
    raise NotImplementedError
