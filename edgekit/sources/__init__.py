"""Frames from a camera, a stream, a video, a folder or the demo scene: `open_source(text, camera=...)`.

opening   what a text names      paths     files and folders     address   what a URL hides
source    what all have in common, and a list      clip      a file or scene, played
pattern   a test picture
live      a camera that goes and comes back        capture   the child that reads it, from outside
child     the same from inside                     reader    who reads what: stream, v4l2, csi
"""

from __future__ import annotations

from edgekit.sources.clip import ClipSource, Clock, sample_position
from edgekit.sources.live import LiveSource, backoff_s
from edgekit.sources.opening import check_source, is_live, open_source
from edgekit.sources.source import ListSource, Source

__all__ = [
    "ClipSource",
    "Clock",
    "ListSource",
    "LiveSource",
    "Source",
    "backoff_s",
    "check_source",
    "is_live",
    "open_source",
    "sample_position",
]
