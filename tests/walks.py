"""People who walk about a line, and what a tracker makes of them; how often they cross is known by making.

A walk is a row of legs between places that are clearly to one side of the line. Each leg either goes through
the line between its ends, or touches it, or walks along on it, or goes round an end; on the line everybody
dithers. What the tracker sees of it is jittered; it loses people and finds them again, now and then with
another id, and swaps the ids of two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgekit.types import Track

WIDTH, HEIGHT = 1280, 720
HYSTERESIS = 0.02
BAND = HYSTERESIS * HEIGHT  # pixels beyond the line that make a crossing
DITHER, JITTER = 0.5 * BAND, 0.35 * BAND  # together less than BAND
MARGIN = 2.5 * BAND  # nobody crosses so near to an end that jitter decides
KEEP_S = 2.2  # longer than anybody who is lost can be found again
Path: TypeAlias = NDArray[np.float64]  # (frames, 2): along the line and off it, in pixels; NaN: not there


@dataclass
class Walk:
    """One person: where, frame by frame, and how often truly through the line in each direction."""

    length: float
    path: Path
    crossings: dict[str, int]
    hideable: NDArray[np.bool_]  # frames in which it may be lost: not while it goes round an end


@dataclass
class Street:
    """A line in the picture and those who walk there."""

    middle: Path
    along: Path  # unit vector from its first end to its second
    half: float
    fps: float
    walks: list[Walk] = field(default_factory=list)

    @property
    def ends(self) -> list[tuple[float, float]]:
        """The line's ends as shares of the picture."""
        size = np.array([WIDTH, HEIGHT])
        return [tuple((self.middle + sign * self.half * self.along) / size) for sign in (-1, 1)]

    @property
    def frames(self) -> int:
        return max(len(walk.path) for walk in self.walks)

    def truth(self) -> dict[str, int]:
        return {way: sum(walk.crossings[way] for walk in self.walks) for way in ("in", "out")}

    def pixels(self, place: Path) -> Path:
        right = np.array([-self.along[1], self.along[0]])
        return np.asarray(self.middle + place[..., :1] * self.along + place[..., 1:] * right)


def make_street(rng: np.random.Generator) -> Street:
    """A line of any direction, and one or more people who keep so far apart that nobody can be mistaken."""
    angle = rng.uniform(0, 2 * np.pi)
    street = Street(
        np.array([WIDTH, HEIGHT]) / 2 + rng.uniform(-40, 40, 2),
        np.array([np.cos(angle), np.sin(angle)]),
        rng.uniform(150, 300),
        rng.uniform(4, 8),
    )
    for _ in range(4):
        walk = _make_walk(street, rng)
        if all(_apart(walk, other, street.fps) for other in street.walks):
            street.walks.append(walk)
    return street


def _make_walk(street: Street, rng: np.random.Generator) -> Walk:
    length = rng.uniform(34, 50)
    step = rng.uniform(0.5, 1.1) * length / street.fps
    inner = street.half - MARGIN
    low = rng.uniform(-inner, inner - 60)
    beat = (low, low + 60)  # the part of the line where this one walks
    place = np.array([rng.uniform(*beat), rng.choice([-1, 1]) * rng.uniform(3.5, 7) * BAND])
    path, hideable = [place[None]], [np.array([True])]
    crossings = {"in": 0, "out": 0}
    for _ in range(rng.integers(1, 3)):
        kind = rng.choice(["through", "through", "touch", "along", "round"])
        other = kind in ("through", "round") or (kind == "along" and rng.random() < 0.5)
        side = np.sign(place[1]) * (-1 if other else 1)
        target = np.array([rng.uniform(*beat), side * rng.uniform(3.5, 7) * BAND])
        leg = _leg(kind, place, target, street, beat, step, rng)
        if other and kind != "round":
            crossings["in" if side > 0 else "out"] += 1
        path.append(leg)
        hideable.append(np.full(len(leg), kind != "round"))
        place = target
    late = np.full((rng.integers(0, 40), 2), np.nan)
    gone = np.zeros(len(late), bool)
    return Walk(length, np.concatenate([late, *path]), crossings, np.concatenate([gone, *hideable]))


def _leg(
    kind: str,
    start: Path,
    target: Path,
    street: Street,
    beat: tuple[float, float],
    step: float,
    rng: np.random.Generator,
) -> Path:
    if kind == "round":
        end = rng.choice([-1, 1]) * (street.half + MARGIN)
        near = np.sign(start[1]) * (DITHER + JITTER)  # along the line, on its own side, past its end
        corners = [start, [rng.uniform(*beat), near], [end, near], [end, target[1]], target]
        return _straight(np.array(corners), step)
    first = np.array([rng.uniform(*beat), 0.0])
    last = np.array([rng.uniform(*beat), 0.0]) if kind == "along" else first
    walk = _straight(np.array([first, last]), step)
    on_line = np.concatenate([np.repeat(first[None], rng.integers(0, 8), axis=0), walk])
    on_line[:, 1] = _dither(len(on_line), rng)
    parts = [_straight(np.array([start, first]), step), on_line, _straight(np.array([last, target]), step)]
    return np.concatenate(parts)


def _dither(frames: int, rng: np.random.Generator) -> Path:
    """Steps to and fro over the line."""
    swing = np.cumsum(rng.uniform(-DITHER, DITHER, frames))
    return np.abs((swing + DITHER) % (4 * DITHER) - 2 * DITHER) - DITHER


def _straight(corners: Path, step: float) -> Path:
    """Places on the way from corner to corner, `step` apart, without the first."""
    parts = []
    for a, b in pairwise(corners):
        count = max(int(np.ceil(np.hypot(*(b - a)) / step)), 1)
        parts.append(a + (b - a) * np.linspace(0, 1, count + 1)[1:, None])
    return np.concatenate(parts)


def _apart(a: Walk, b: Walk, fps: float) -> bool:
    """Whether two never come so near, in space and time, that one could be the other found again."""
    distances = np.hypot(*(a.path[:, None] - b.path[None]).transpose(2, 0, 1))
    later = np.abs(np.subtract.outer(np.arange(len(a.path)), np.arange(len(b.path)))) / fps
    near = (later <= KEEP_S) & (distances < 3.5 * max(a.length, b.length))
    return not near.any()


def track_street(street: Street, rng: np.random.Generator) -> list[list[Track]]:
    """What a careless tracker tells of the street, frame by frame."""
    ids = list(range(1, len(street.walks) + 1))
    fresh = len(ids) + 1
    hidden = [_hide(walk, street.fps, rng) for walk in street.walks]
    last: dict[int, Track] = {}
    frames = []
    for number in range(street.frames):
        tracks = []
        for who, walk in enumerate(street.walks):
            there = number < len(walk.path) and not np.isnan(walk.path[number, 0])
            if not there:
                continue
            if hidden[who][number]:
                if ids[who] in last and rng.random() < 0.5:  # some trackers go on with a guess
                    tracks.append(_guess(last[ids[who]], rng))
                continue
            found_again = number > 0 and hidden[who][number - 1]
            if rng.random() < (0.5 if found_again else 0.03):
                ids[who], fresh = fresh, fresh + 1
            foot = street.pixels(walk.path[number] + rng.uniform(-JITTER, JITTER, 2))
            last[ids[who]] = _track(ids[who], foot, walk.length)
            tracks.append(last[ids[who]])
        if len(tracks) > 1 and rng.random() < 0.05:
            ids[0], ids[1] = ids[1], ids[0]
        frames.append(tracks)
    return frames


def _hide(walk: Walk, fps: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Frames in which nobody sees this person: some gaps of a second at most."""
    hidden = np.zeros(len(walk.path), bool)
    for _ in range(rng.integers(0, 4)):
        start = rng.integers(0, len(hidden))
        hidden[start : start + rng.integers(1, max(int(fps), 2))] = True
    hidden &= walk.hideable
    hidden[:2] = hidden[-1] = False
    return hidden


def _guess(seen: Track, rng: np.random.Generator) -> Track:
    x, y = rng.uniform(-200, 200, 2)
    x1, y1, x2, y2 = seen.box
    return Track(seen.id, "person", 0.3, 0.9, (x1 + x, y1 + y, x2 + x, y2 + y), 0.0, 0.0, missed=1)


def _track(id_: int, foot: Path, length: float) -> Track:
    x, y = foot
    return Track(id_, "person", 0.8, 0.9, (x - length / 5, y - length, x + length / 5, y), 0.0, 0.0)
