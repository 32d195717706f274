"""The one loop: a frame in, its events out."""

from __future__ import annotations

from edgekit.pipeline.lane import CameraState
from edgekit.pipeline.loop import Pipeline

__all__ = ["CameraState", "Pipeline"]
