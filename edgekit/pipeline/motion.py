"""Where something moves: the cheap question before the expensive one.

A small grey picture is compared with a background that follows it within a second or so. What is brighter or
darker everywhere by the same amount is the light, not a thing; when most of the picture changes at once
somebody has switched it, and the background starts anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgekit.config.settings import MotionConfig
from edgekit.types import Image

Box: TypeAlias = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of the frame
Grey: TypeAlias = NDArray[np.float32]

WIDTH = 160  # of the small picture
FOLLOW_S = 1.0  # time constant of the background: short, so that who has gone leaves no ghost
SWITCHED = 0.5  # share of the picture whose change, by half the threshold, is the light
HOLD_S = 1.0  # how long it is looked on after the last motion: time to confirm a thing
GROW = 0.5  # by how much of its size a place is grown on every side before it is looked at
WHOLE = 0.6  # share of the picture from which on it is all looked at


@dataclass(frozen=True, slots=True)
class Motion:
    """What moved in one frame: boxes around it, the share of the picture; whether the light was switched."""

    boxes: tuple[Box, ...] = ()
    share: float = 0.0
    switched: bool = False


class Background:
    """What the picture of one camera looks like when nothing happens."""

    def __init__(self, config: MotionConfig) -> None:
        self._config = config
        self._mean: Grey = np.zeros((0, 0), np.float32)
        self._mono_s = 0.0

    def update(self, image: Image, mono_s: float) -> Motion:
        """What is different in `image` (height, width, 3); it becomes part of the background in time."""
        grey = small_grey(image)
        dt_s, self._mono_s = max(mono_s - self._mono_s, 0.0), mono_s
        if self._mean.shape != grey.shape:
            self._mean = grey
            return Motion(share=1.0, switched=True)
        change = grey - self._mean
        distance = np.abs(change - np.median(change))
        apart = distance > self._config.threshold
        share = float(apart.mean())
        if max((each > self._config.threshold / 2).mean() for each in (distance, np.abs(change))) > SWITCHED:
            self._mean = grey
            return Motion(share=share, switched=True)
        self._mean = self._mean + np.float32(1 - math.exp(-dt_s / FOLLOW_S)) * change
        return Motion(self._boxes(apart, image), share) if share else Motion()

    def _boxes(self, apart: NDArray[np.bool_], image: Image) -> tuple[Box, ...]:
        import cv2

        moving = cv2.dilate(apart.astype(np.uint8), np.ones((5, 5), np.uint8))
        scale_x, scale_y = image.shape[1] / moving.shape[1], image.shape[0] / moving.shape[0]
        _, _, stats, _ = cv2.connectedComponentsWithStats(moving)
        return tuple(
            (x * scale_x, y * scale_y, (x + width) * scale_x, (y + height) * scale_y)
            for x, y, width, height, area in stats[1:].tolist()
            if area >= self._config.min_area * moving.size
        )


def small_grey(image: Image) -> Grey:
    """The picture in grey, 160 pixels wide and a little blurred: noise is gone, people are not."""
    import cv2

    width = min(WIDTH, image.shape[1])
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    coarse = cv2.resize(image, (2 * width, 2 * height), interpolation=cv2.INTER_NEAREST)
    small = cv2.cvtColor(cv2.resize(coarse, (width, height)), cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.blur(small, (3, 3)), np.float32)


@dataclass(frozen=True, slots=True)
class Look:
    """Whether a frame is worth the detector, and why; `region` is the part of it, None for all."""

    open: bool
    reason: str
    motion: Motion
    region: tuple[int, int, int, int] | None = None


class Gate:
    """Lets a frame of one camera through when something moved, or somebody is not done with yet."""

    def __init__(self, config: MotionConfig) -> None:
        self._config = config
        self._background = Background(config)
        self._moved_s = -math.inf
        self._looked_s = -math.inf

    def update(self, image: Image, mono_s: float, places: Sequence[Box], least: tuple[int, int]) -> Look:
        """Whether to look at a frame; `places` are boxes of things that have to be looked at again, as they
        move or are not seen just now, and `least` is the width and height below which a region gains nothing.
        """
        motion = self._background.update(image, mono_s)
        if motion.boxes:
            self._moved_s = mono_s
        reason = self._reason(motion, mono_s, places)
        if not reason:
            return Look(open=False, reason="nothing moved", motion=motion)
        region = None
        if reason in ("motion", "unsettled"):
            region = region_of([*motion.boxes, *places], image.shape[1], image.shape[0], least)
        if region is None:
            self._looked_s = mono_s
        return Look(open=True, reason=reason, motion=motion, region=region)

    def moved(self, mono_s: float, within_s: float) -> bool:
        """Whether something has moved in the last seconds."""
        return mono_s - self._moved_s <= within_s

    def _reason(self, motion: Motion, mono_s: float, places: Sequence[Box]) -> str:
        reasons = {
            "light": motion.switched,
            "heartbeat": mono_s - self._looked_s >= self._config.heartbeat,
            "motion": bool(motion.boxes),
            "unsettled": bool(places),
            "hold": self.moved(mono_s, HOLD_S),
        }
        return next((reason for reason, so in reasons.items() if so), "")


def region_of(
    boxes: Sequence[Box], width: int, height: int, least: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """The part of the frame around all boxes, shaped like `least` and no smaller; None for all of it."""
    x1, y1 = (min(box[i] for box in boxes) for i in (0, 1))
    x2, y2 = (max(box[i] for box in boxes) for i in (2, 3))
    grown_w, grown_h = (x2 - x1) * (1 + 2 * GROW), (y2 - y1) * (1 + 2 * GROW)
    scale = max(grown_w / least[0], grown_h / least[1], 1.0)
    region_w, region_h = least[0] * scale, least[1] * scale
    if min(region_w, width) * min(region_h, height) > WHOLE * width * height:
        return None
    left, right = _span((x1 + x2) / 2, region_w, width)
    top, bottom = _span((y1 + y2) / 2, region_h, height)
    return left, top, right, bottom


def _span(middle: float, length: float, limit: int) -> tuple[int, int]:
    """Start and end of `length` pixels around `middle`, shifted into 0..limit."""
    length = min(length, limit)
    start = min(max(middle - length / 2, 0), limit - length)
    return math.floor(start), math.ceil(start + length)
