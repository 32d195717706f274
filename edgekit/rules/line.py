"""Tracks -> how many things crossed a line, and which way.

Counted is what a person would count, whatever the tracker does meanwhile:

* a thing has changed sides when it stands `hysteresis` beyond the line, so jitter on the line counts nothing;
* on the way there every step through the line, between its ends, is summed with its sign: who walks round the
  end of the line, or to and fro on it, adds up to nothing;
* identity is where a thing plausibly can be, not the number that it carries. An id that is lost and found
  again, or comes back as another, goes on where it left off; two ids that are swapped are swapped back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from edgekit.config.scene import LineConfig, Points, to_pixels
from edgekit.types import Crossing, Frame, Track

Totals: TypeAlias = dict[str, Any]  # {"in": 12, "out": 9}, and what else is kept with them
KEEP_S = 2.0  # how long somebody who is not seen may be found again
SLACK = 0.5  # lengths of a thing by which it may be elsewhere than predicted
REACH = 4.0  # lengths a second that a thing of the same id may have moved: a runner, a car in town
STRANGE_REACH = 1.5  # and one that comes back with another id, in the first second


def distance(x: float, y: float, line: Points) -> float:
    """Pixels from a line to a point: positive on its right-hand side, seen along it from the first end."""
    (x1, y1), (x2, y2) = line
    return ((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) / math.hypot(x2 - x1, y2 - y1)


def passes(before: tuple[float, float], after: tuple[float, float], line: Points) -> int:
    """+1 when the step goes through the line between its ends from left to right, -1 the other way, else 0.

    A point on the line counts as right of it, so that of two steps that meet there exactly one passes.
    """
    start, end = distance(*before, line), distance(*after, line)
    if (start >= 0) == (end >= 0):
        return 0
    share = start / (start - end)
    x, y = (b + (a - b) * share for b, a in zip(before, after, strict=True))
    (x1, y1), (x2, y2) = line
    along = ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / ((x2 - x1) ** 2 + (y2 - y1) ** 2)
    if not 0 <= along < 1:
        return 0
    return 1 if end >= 0 else -1


@dataclass(slots=True)
class _Side:
    """Where somebody stands to one line: -1 left, +1 right, 0 not known; `net` sums the steps through it."""

    side: int = 0
    net: int = 0

    def step(self, passed: int, off: float, hysteresis: float) -> int:
        """+1 or -1 when a crossing is complete, else 0; `off` is the distance from the line now."""
        self.net += passed
        if abs(off) <= hysteresis:
            return 0
        now = 1 if off > 0 else -1
        crossed = now if self.side == -now and self.net * now > 0 else 0
        self.side, self.net = now, 0
        return crossed


@dataclass(slots=True)
class _Walker:
    """Somebody who is followed over ids."""

    track: int
    point: tuple[float, float]
    length: float
    seen_s: float
    leaving: bool = False  # last seen at the edge of the picture
    velocity: tuple[float, float] = (0.0, 0.0)
    sightings: int = 0
    sides: dict[str, _Side] = field(default_factory=dict)
    pending: list[Crossing] = field(default_factory=list)  # until the thing is confirmed
    crossed: tuple[Crossing, ...] = ()

    def move(self, track: Track, mono_s: float, *, at_edge: bool) -> None:
        """Go where the track is; the velocity is a mean of the last half second or so."""
        dt_s = mono_s - self.seen_s
        if dt_s > 0:
            share = 1 - math.exp(-dt_s / 0.5)
            steps = zip(self.velocity, self.point, track.foot, strict=True)
            vx, vy = (v + share * ((b - a) / dt_s - v) for v, a, b in steps)
            self.velocity = vx, vy
        self.track, self.point, self.length = track.id, track.foot, _length(track)
        self.seen_s, self.leaving = mono_s, at_edge
        self.sightings += 1

    def predict(self, mono_s: float) -> tuple[float, float]:
        """Where it should be now; who is not seen for long may have stopped."""
        ahead_s = min(mono_s - self.seen_s, 0.5)
        return self.point[0] + self.velocity[0] * ahead_s, self.point[1] + self.velocity[1] * ahead_s


class Lines:
    """The lines of one camera: `totals` counts what crossed each, {"in": 12, "out": 9}.

    A thing that was seen in `frames` frames or more is real; what crosses before is counted then.
    """

    def __init__(self, lines: Mapping[str, LineConfig], frames: int = 1) -> None:
        self.totals: dict[str, Totals] = {name: {"in": 0, "out": 0} for name in lines}
        self._lines = lines
        self._frames = frames
        self._walkers: list[_Walker] = []

    def update(self, tracks: Sequence[Track], frame: Frame) -> list[Track]:
        """The tracks with `lines` filled in: all that they have crossed."""
        if not self._lines:
            return list(tracks)
        height, width = frame.image.shape[:2]
        seen = [track for track in tracks if track.missed == 0]
        self._walkers = [w for w in self._walkers if frame.mono_s - w.seen_s <= KEEP_S]
        ends = {name: to_pixels(line.points, width, height) for name, line in self._lines.items()}
        for walker, track in self._recognise(seen, frame.mono_s):
            self._pass_lines(walker, track, ends, height)
            walker.move(track, frame.mono_s, at_edge=_at_edge(track, width, height))
            if walker.sightings >= self._frames:
                self._count(walker)
        crossed = {walker.track: walker.crossed for walker in self._walkers if walker.crossed}
        return [replace(t, lines=crossed[t.id]) if t.id in crossed else t for t in tracks]

    def _recognise(self, seen: Sequence[Track], mono_s: float) -> list[tuple[_Walker, Track]]:
        """Who each of the tracks is: one of the walkers so far, or a new one."""
        alike = [(_likeness(w, t, mono_s), w, t) for w in self._walkers for t in seen]
        pairs: list[tuple[_Walker, Track]] = []
        for likeness, walker, track in sorted(alike, key=lambda pair: -pair[0]):
            if likeness > 0 and all(walker is not w and track is not t for w, t in pairs):
                pairs.append((walker, track))
        known = {track.id for _, track in pairs}
        new = [(_Walker(t.id, t.foot, _length(t), mono_s), t) for t in seen if t.id not in known]
        self._walkers += [walker for walker, _ in new]
        return pairs + new

    def _pass_lines(self, walker: _Walker, track: Track, ends: Mapping[str, Points], height: int) -> None:
        """Where the walker's step to the track has brought it, line by line."""
        for name, line in self._lines.items():
            side = walker.sides.setdefault(name, _Side())
            passed = passes(walker.point, track.foot, ends[name])
            way = side.step(passed, distance(*track.foot, ends[name]), line.hysteresis * height)
            if way and (line.labels is None or track.label in line.labels):
                walker.pending.append(Crossing(name, "in" if way > 0 else "out"))

    def _count(self, walker: _Walker) -> None:
        for crossing in walker.pending:
            self.totals[crossing.line][crossing.direction] += 1
        walker.crossed += tuple(walker.pending)
        walker.pending.clear()


def _likeness(walker: _Walker, track: Track, mono_s: float) -> float:
    """How well a track continues a walker: 1 exactly where it was awaited, 0 where it cannot be."""
    gap_s = mono_s - walker.seen_s
    same = walker.track == track.id
    if walker.leaving and not same:
        return 0.0
    off = min(math.dist(track.foot, place) for place in (walker.point, walker.predict(mono_s)))
    lengths = off / max(walker.length, 1.0)
    if lengths > SLACK + (REACH * gap_s if same else STRANGE_REACH * min(gap_s, 1.0)):
        return 0.0
    return 1 / (1 + (lengths / 2 if same else lengths))


def _length(track: Track) -> float:
    x1, y1, x2, y2 = track.box
    return max(x2 - x1, y2 - y1)


def _at_edge(track: Track, width: int, height: int) -> bool:
    x1, y1, x2, y2 = track.box
    return x1 <= 0.01 * width or y1 <= 0.01 * height or x2 >= 0.99 * width or y2 >= 0.99 * height
