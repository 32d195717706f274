"""Frame -> the tensor that a model asks for, and the way back for its boxes.

Shrinking halves the picture until less than a factor of two is left, then interpolates: each halving by
`INTER_LINEAR` is an exact 2x2 mean, so nothing aliases, and the result is the same on x86 and ARM
(`INTER_AREA` differs by one level between them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgekit.types import Image

Color: TypeAlias = Literal["bgr", "rgb", "grey"]
Fit: TypeAlias = Literal["letterbox_topleft", "letterbox_center", "stretch"]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How a model wants its picture.

    `shape` is (1, height, width, channels). A pixel p enters the network as the real number
    `p * gain + offset`, stored as `real / scale + zero_point` of the tensor's `dtype`. `pad` is the
    pixel value around a letterboxed picture.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float = 1.0
    zero_point: int = 0
    color: Color = "bgr"
    fit: Fit = "letterbox_topleft"
    pad: int = 114
    gain: float = 1.0
    offset: float = 0.0

    @property
    def height(self) -> int:
        return self.shape[1]

    @property
    def width(self) -> int:
        return self.shape[2]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the picture lies in the tensor: tensor = frame * scale + shift, per axis."""

    scale_x: float
    scale_y: float
    shift_x: float
    shift_y: float
    frame_width: int
    frame_height: int


def prepare_tensor(image: Image, spec: InputSpec) -> tuple[NDArray[Any], Placement]:
    """The tensor (1, height, width, channels) of `image` (h, w, 3) BGR, and where the picture lies in it."""
    import cv2

    placement = place(image.shape[1], image.shape[0], spec)
    width = max(1, round(image.shape[1] * placement.scale_x))
    height = max(1, round(image.shape[0] * placement.scale_y))
    picture = _convert_color(_shrink(image, width, height), spec.color)
    left, top = int(placement.shift_x), int(placement.shift_y)
    canvas = np.full((spec.height, spec.width, picture.shape[2]), spec.pad, np.uint8)
    canvas[top : top + height, left : left + width] = picture
    return cv2.LUT(canvas, pixel_table(spec)).reshape(1, *canvas.shape), placement


def place(width: int, height: int, spec: InputSpec) -> Placement:
    """Where a frame of `width` x `height` pixels lies in the tensor of `spec`."""
    if spec.fit == "stretch":
        return Placement(spec.width / width, spec.height / height, 0.0, 0.0, width, height)
    scale = min(spec.width / width, spec.height / height)
    if spec.fit == "letterbox_topleft":
        return Placement(scale, scale, 0.0, 0.0, width, height)
    left = (spec.width - round(width * scale)) // 2
    top = (spec.height - round(height * scale)) // 2
    return Placement(scale, scale, float(left), float(top), width, height)


def boxes_to_frame(boxes: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
    """Boxes (n, 4) x1 y1 x2 y2 in tensor pixels -> pixels of the frame, clipped to it."""
    shift = np.array([placement.shift_x, placement.shift_y] * 2, np.float32)
    scale = np.array([placement.scale_x, placement.scale_y] * 2, np.float32)
    limit = np.array([placement.frame_width, placement.frame_height] * 2, np.float32)
    return np.asarray(np.clip((boxes - shift) / scale, np.float32(0), limit), np.float32)


def crop_box(image: Image, box: Sequence[float], margin: float = 0.0) -> Image:
    """What lies in `box` (x1, y1, x2, y2 in pixels of the frame) and `margin` of its sides around it.

    A view (h, w, 3) of `image`, clipped to it and of one pixel at least.
    """
    height, width = image.shape[:2]
    x1, y1, x2, y2 = map(float, box)
    more_x, more_y = margin * (x2 - x1), margin * (y2 - y1)
    left = min(max(round(x1 - more_x), 0), width - 1)
    top = min(max(round(y1 - more_y), 0), height - 1)
    right = min(max(round(x2 + more_x), left + 1), width)
    bottom = min(max(round(y2 + more_y), top + 1), height)
    return image[top:bottom, left:right]


@lru_cache(maxsize=16)
def pixel_table(spec: InputSpec) -> NDArray[Any]:
    """(256,) of the tensor's dtype: what each pixel value becomes in the tensor."""
    real = np.arange(256) * spec.gain + spec.offset
    if not np.issubdtype(spec.dtype, np.integer):
        return np.asarray(real, spec.dtype)
    info = np.iinfo(spec.dtype)
    stored = np.rint(real / spec.scale) + spec.zero_point
    return np.asarray(np.clip(stored, info.min, info.max), spec.dtype)


def _shrink(image: Image, width: int, height: int) -> Image:
    import cv2

    while image.shape[1] >= 2 * width and image.shape[0] >= 2 * height:
        half = (image.shape[1] // 2, image.shape[0] // 2)
        image = cv2.resize(image, half, interpolation=cv2.INTER_LINEAR)
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return image


def _convert_color(image: Image, color: Color) -> Image:
    import cv2

    converted: Image = image
    if color == "rgb":
        converted = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if color == "grey":
        converted = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., np.newaxis]
    return converted
