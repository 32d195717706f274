"""A test picture as a camera: colour bars, a square that goes round, and the number of the picture.

It needs nothing but what edgekit needs anyway, and shows none of the things that detectors know: it is for
trying brokers, pages and services.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgekit.types import Image

WIDTH, HEIGHT = 640, 480
_LOW, _HIGH = 16, 235
_BARS = [[blue, green, red] for green in (_HIGH, _LOW) for red in (_HIGH, _LOW) for blue in (_HIGH, _LOW)]
_SQUARE, _ROUND = 60, 100  # pixels of a side; pictures until it is where it was


class TestPattern:
    """Pictures of 640 x 480 at 10 a second, the same at each start."""

    __test__ = False  # for pytest: its name is the field's
    fps = 10.0

    def __init__(self) -> None:
        bars = np.repeat(np.array(_BARS, np.uint8), WIDTH // len(_BARS), axis=0)
        self._bars = np.repeat(bars[None], HEIGHT, axis=0)

    def frame(self, i: int) -> Image:
        """Picture number i, (480, 640, 3) uint8 BGR, the caller's own."""
        import cv2

        image = self._bars.copy()
        turn = 2 * math.pi * (i % _ROUND) / _ROUND
        left, top = round(WIDTH / 2 + 200 * math.cos(turn)), round(HEIGHT / 2 + 120 * math.sin(turn))
        image[top : top + _SQUARE, left : left + _SQUARE] = 128
        cv2.putText(image, str(i), (12, HEIGHT - 16), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (128, 128, 128), 3)
        return image
