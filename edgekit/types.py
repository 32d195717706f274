"""The value objects that travel through a pipeline: frozen, checked when made, free of behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]  # (height, width, 3), BGR
EventType: TypeAlias = Literal["new", "update", "end"]
Direction: TypeAlias = Literal["in", "out"]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a camera.

    `image` is (height, width, 3) uint8 BGR. `time_s` is seconds since the epoch at capture, for people;
    `mono_s` is the monotonic clock at capture, for every duration. `index` counts the frames that the
    source made, so a gap in it is a frame that was skipped.
    """

    image: Image
    camera: str
    index: int
    time_s: float
    mono_s: float

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(
                f"a frame is (height, width, 3) uint8, not {self.image.shape} {self.image.dtype}"
            )
        if not self.image.size:
            raise ValueError("a frame has at least one pixel")


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What a detector saw in one image, best score first: parallel arrays of length n.

    `boxes` is (n, 4) float32: x1, y1, x2, y2 in pixels of the image. `scores` is (n,) float32 in 0..1.
    `labels` is (n,) str, the names of the classes.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.str_]

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.boxes.shape != (n, 4) or self.scores.shape != (n,) or self.labels.shape != (n,):
            shapes = [self.boxes.shape, self.scores.shape, self.labels.shape]
            raise ValueError(f"boxes, scores and labels of shapes {shapes} do not belong together")

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls) -> Detections:
        """No detection at all."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.str_))


@dataclass(frozen=True, slots=True)
class Crossing:
    """A thing went over a line: `in` from its left to its right, seen from the line's first point."""

    line: str
    direction: Direction


@dataclass(frozen=True, slots=True)
class Track:
    """One thing followed over frames, as it stands now.

    `box` is x1, y1, x2, y2 in pixels. `hits` holds, for the last frames of its life, whether it was
    surely seen (newest last). `missed` counts the frames since the last match. `stationary` is true
    when the box has not moved for a while. Times: `start_s` and `seen_s` are seconds since the epoch.
    `zones` are those that it is in, `entered` those that it has been in, `lines` what it has crossed.
    """

    id: int
    label: str
    score: float
    top_score: float
    box: tuple[float, float, float, float]
    start_s: float
    seen_s: float
    hits: tuple[bool, ...] = ()
    missed: int = 0
    stationary: bool = False
    zones: tuple[str, ...] = ()
    entered: tuple[str, ...] = ()
    lines: tuple[Crossing, ...] = ()

    @property
    def foot(self) -> tuple[float, float]:
        """The bottom centre of the box: where the thing stands."""
        x1, _, x2, y2 = self.box
        return (x1 + x2) / 2, y2


@dataclass(frozen=True, slots=True)
class Event:
    """A change in the life of a track that subscribers hear of.

    `number` counts the tracks that were reported since start; it makes the event's id. `before` is None
    for `new`. `end_s` is set for `end` only. `frame_width` and `frame_height` are the pixels that the
    boxes refer to. `has_snapshot`: the picture that is published of its kind is one of this visit.
    """

    type: EventType
    camera: str
    number: int
    before: Track | None
    after: Track
    frame_width: int
    frame_height: int
    time_s: float
    mono_s: float
    end_s: float | None = None
    latency_ms: dict[str, float] = field(default_factory=dict)
    has_snapshot: bool = False
