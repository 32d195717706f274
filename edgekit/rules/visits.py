"""Tracks -> Events: what of all that moves is worth a message.

A rule is a function of a track as it was last reported and as it is now; the first that says yes makes an
`update`. To add one: write it, put it into UPDATE_RULES, test it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from edgekit.track import overlap
from edgekit.types import Event, EventType, Frame, Track

Rule: TypeAlias = Callable[[Track, Track], bool]


def moved(before: Track, after: Track) -> bool:
    """The box lies mostly elsewhere than when it was last reported."""
    return bool(overlap(np.array([before.box]), np.array([after.box]))[0, 0] < 0.5)


def surer(before: Track, after: Track) -> bool:
    """The best score so far is clearly better than the one last reported."""
    return after.top_score >= before.top_score + 0.1


def settled_or_left(before: Track, after: Track) -> bool:
    """The thing has come to rest, or has started to move again."""
    return before.stationary != after.stationary


def changed_zones(before: Track, after: Track) -> bool:
    """The thing has entered or left a zone."""
    return before.zones != after.zones


def crossed(before: Track, after: Track) -> bool:
    """The thing went over a line."""
    return before.lines != after.lines


def renamed(before: Track, after: Track) -> bool:
    """Further sightings have decided that the thing is another one."""
    return before.label != after.label


UPDATE_RULES: tuple[Rule, ...] = (moved, surer, settled_or_left, changed_zones, crossed, renamed)


def confirmed(track: Track, frames: int, of: int) -> bool:
    """Seen in at least `frames` of the last `of` frames: one lucky frame makes no event."""
    return sum(track.hits[-of:]) >= frames


def usual_confirmation(fps: float | None) -> tuple[int, int]:
    """(frames, of) that take about a second at most: 3 of 5, but a single picture speaks for itself."""
    frames = 3 if fps is None else min(max(math.ceil(fps), 1), 3)
    return frames, 2 * frames - 1


class Visits:
    """Turns the tracks of one camera into events: `new` once confirmed, `update` by rule, `end` when lost."""

    def __init__(self, camera: str, frames: int, of: int, number: int = 0) -> None:
        self.camera = camera
        self._frames = frames
        self._of = of
        self._reported: dict[int, tuple[int, Track]] = {}  # track id -> event number, as last reported
        self._latest: dict[int, Track] = {}
        self.number = number  # of the last visit

    def update(self, tracks: Sequence[Track], frame: Frame) -> list[Event]:
        """The events of one more frame: ends first, then what goes on, then what is new."""
        alive = {track.id: track for track in tracks}
        events = [self._end(id_, frame) for id_ in sorted(self._reported.keys() - alive.keys())]
        self._latest = {id_: track for id_, track in alive.items() if id_ in self._reported}
        for id_, track in self._latest.items():
            number, before = self._reported[id_]
            if track.missed == 0 and any(rule(before, track) for rule in UPDATE_RULES):
                events.append(self._event("update", number, before, track, frame))
                self._reported[id_] = (number, track)
        for id_, track in alive.items():
            if id_ not in self._reported and confirmed(track, self._frames, self._of):
                events.append(self._begin(track, frame))
        return events

    def finish(self, frame: Frame) -> list[Event]:
        """The `end` of everything that is still there when the source itself ends."""
        return [self._end(id_, frame) for id_ in sorted(self._reported)]

    def counts(self) -> dict[str, int]:
        """How many reported things of each label are there now."""
        return dict(Counter(track.label for track in self._latest.values()))

    def present(self) -> dict[int, Track]:
        """What is there now, by the number of its visit."""
        return {self._reported[id_][0]: track for id_, track in self._latest.items()}

    def number_of(self, track: int) -> int | None:
        """The number of the visit that a track is, once it is reported."""
        return self._reported[track][0] if track in self._reported else None

    def zone_counts(self) -> dict[tuple[str, str], int]:
        """The same for each zone and label."""
        return dict(Counter((zone, track.label) for track in self._latest.values() for zone in track.zones))

    def _begin(self, track: Track, frame: Frame) -> Event:
        self.number += 1
        self._reported[track.id] = (self.number, track)
        self._latest[track.id] = track
        return self._event("new", self.number, None, track, frame)

    def _end(self, id_: int, frame: Frame) -> Event:
        number, before = self._reported.pop(id_)
        return self._event("end", number, before, self._latest.pop(id_, before), frame)

    def _event(
        self, type_: EventType, number: int, before: Track | None, after: Track, frame: Frame
    ) -> Event:
        height, width = frame.image.shape[:2]
        return Event(
            type=type_,
            camera=self.camera,
            number=number,
            before=before,
            after=after,
            frame_width=width,
            frame_height=height,
            time_s=frame.time_s,
            mono_s=frame.mono_s,
            end_s=after.seen_s if type_ == "end" else None,
        )
