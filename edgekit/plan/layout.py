"""Where tensors stand and in which form: plain as in TFLite, or in planes of channel quads (see native/ek.h).

A `Layout` collects, while a network is planned, which forms of which tensors there are, what margins their
readers want, which have to share a pitch, and which are slices of another. `settle` then fixes the numbers.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

ALIGNMENT = 64
SLACK = 64
QUAD = 4
CONFLICT = 512  # bytes apart, too many planes meet in the same few sets of a first cache


class Form(NamedTuple):
    """How a tensor is stored: plain (steps 0), in planes (1), or in step_y * step_x phases of planes.

    `top` and `left` are what the first pixel of phase (0, 0) lacks to the first one of the picture;
    `wanted` has a bit for each phase that is there. A `spread` form has planes of one channel, not of four.
    """

    step_y: int
    step_x: int
    top: int = 0
    left: int = 0
    wanted: int = 1
    spread: bool = False


PLAIN = Form(0, 0)
PLANES = Form(1, 1)


class Value(NamedTuple):
    """A tensor of the graph, by its index, in one form."""

    tensor: int
    form: Form


class Margins(NamedTuple):
    """Rows and columns around the picture that hold the zero point."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0

    def join(self, other: Margins) -> Margins:
        return Margins(*map(max, self, other))


@dataclass
class Picture:
    """The shape of a value in planes, before it is settled."""

    images: int
    height: int
    width: int
    planes: int  # quads, times phases
    margins: Margins = field(default_factory=Margins)
    overrun: int = 0  # pixels behind the margins that windows over the end of the last row read, for nothing


@dataclass(frozen=True)
class Planes:
    """Where a value in planes stands; numbers as in native/ek.h. `base` is relative to its buffer."""

    images: int
    height: int
    width: int
    planes: int
    pitch: int
    period: int
    before: int
    after: int
    base: int
    stride: int

    @property
    def pixels(self) -> int:
        """Of a plane, from the first to the last row of the picture, margins between included."""
        return ((self.images - 1) * self.period + self.height) * self.pitch


class Layout:
    """The values of a network and what is known about them."""

    def __init__(self) -> None:
        self.pictures: dict[Value, Picture] = {}
        self._tied: dict[Value, Value] = {}  # to one of the same pitch; roots stand for themselves
        self._inside: dict[Value, tuple[Value, int]] = {}  # slice: what it is part of, its first plane there

    def add(self, value: Value, picture: Picture) -> None:
        self.pictures[value] = picture
        self._tied[value] = value

    def want(self, value: Value, margins: Margins, overrun: int = 0) -> None:
        picture = self.pictures[value]
        picture.margins = picture.margins.join(margins)
        picture.overrun = max(picture.overrun, overrun)

    def tie(self, values: Iterable[Value]) -> None:
        """These values get the same pitch and period."""
        roots = [self._root(value) for value in values]
        for root in roots[1:]:
            self._tied[self._root(root)] = self._root(roots[0])

    def _root(self, value: Value) -> Value:
        while self._tied[value] != value:
            self._tied[value] = self._tied[self._tied[value]]
            value = self._tied[value]
        return value

    def put_inside(self, part: Value, whole: Value, first_plane: int) -> None:
        """Make `part` a slice of `whole`, which holds its memory."""
        self._inside[part] = (whole, first_plane)
        self.tie((part, whole))

    def is_inside(self, value: Value) -> bool:
        return value in self._inside

    def whole(self, value: Value) -> tuple[Value, int]:
        """The value that holds the memory of this one, and the plane there at which this one starts."""
        first = 0
        while value in self._inside:
            value, offset = self._inside[value]
            first += offset
        return value, first

    def settle(self) -> dict[Value, Planes]:
        """Fix pitch, margins and places of every value in planes."""
        for part in self._inside:
            whole, _ = self.whole(part)
            self.want(whole, self.pictures[part].margins, self.pictures[part].overrun)
        members: dict[Value, list[Picture]] = {}
        for value, picture in self.pictures.items():
            members.setdefault(self._root(value), []).append(picture)
        settled: dict[Value, Planes] = {}
        for value, picture in self.pictures.items():
            whole, first = self.whole(value)
            group = members[self._root(value)]
            slack = SLACK * QUAD if value.form.spread else SLACK
            settled[value] = _settle(picture, self.pictures[whole], group, first, slack)
        return settled


def _settle(picture: Picture, whole: Picture, group: list[Picture], first_plane: int, slack: int) -> Planes:
    margins = whole.margins
    pitch = max(p.width + max(p.margins.left, p.margins.right) for p in group)
    period = picture.height
    if picture.images > 1:
        period = max(p.height + max(p.margins.top, p.margins.bottom) for p in group)
    before, after = margins.top * pitch + margins.left, margins.bottom * pitch + margins.right
    lead = _align(QUAD * before)
    pixels = ((picture.images - 1) * period + picture.height) * pitch
    stride = _align(lead + QUAD * (pixels + after + whole.overrun) + slack)
    stride += ALIGNMENT if stride % CONFLICT == 0 else 0
    return Planes(
        picture.images, picture.height, picture.width, picture.planes, pitch, period, before, after,
        lead + first_plane * stride, stride,
    )  # fmt: skip


def _align(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def arrange(lives: dict[int, tuple[int, int, int]]) -> tuple[dict[int, int], int]:
    """Places for buffers, by number, in one arena, and its size; given are bytes, first step, last step.

    Buffers that live at the same time do not overlap. The largest are placed first, each as low as it fits.
    """
    placed: list[tuple[int, int, int, int]] = []  # place, end, first, last; in order
    places: dict[int, int] = {}
    for number in sorted(lives, key=lambda n: (-lives[n][0], n)):
        size, first, last = lives[number]
        size = _align(max(size, 1))
        start = 0
        for low, high, begin, end in placed:
            if begin <= last and first <= end and low < start + size:
                start = max(start, high)
        insort(placed, (start, start + size, first, last))
        places[number] = start
    return places, max((end for _, end, _, _ in placed), default=0)
