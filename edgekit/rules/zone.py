"""Tracks -> the same tracks that know which zones they are in.

A thing is where its bottom centre is. It is in a zone once `inertia` frames in a row showed it inside, and
out again after as many outside, so that a box that jitters on the border neither enters nor leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgekit.config.scene import Points, ZoneConfig, to_pixels
from edgekit.types import Frame, Track


def inside(x: float, y: float, corners: Points) -> bool:
    """Whether a point lies in a polygon: a ray to its right crosses the border an odd number of times."""
    within = False
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            within = not within
    return within


@dataclass(slots=True)
class Stay:
    """One track and one zone."""

    inside: bool = False
    streak: int = 0  # frames in a row that say otherwise than `inside`
    since_s: float = 0.0  # monotonic time at which the thing was first seen inside, when it is

    def see(self, now_inside: bool, mono_s: float, inertia: int) -> None:
        if now_inside == self.inside:
            self.streak = 0
            return
        if self.streak == 0 and now_inside:
            self.since_s = mono_s
        self.streak += 1
        if self.streak >= inertia:
            self.inside, self.streak = now_inside, 0


class Zones:
    """The zones of one camera, by name."""

    def __init__(self, zones: Mapping[str, ZoneConfig]) -> None:
        self._zones = zones
        self._stays: dict[int, dict[str, Stay]] = {}  # by track id and zone
        self._entered: dict[int, tuple[str, ...]] = {}  # by track id, in the order they were entered

    def update(self, tracks: Sequence[Track], frame: Frame) -> list[Track]:
        """The tracks with `zones` and `entered` filled in."""
        alive = {track.id for track in tracks}
        self._stays = {id_: self._stays.get(id_) or {} for id_ in alive}
        self._entered = {id_: self._entered.get(id_, ()) for id_ in alive}
        return [self._place(track, frame) for track in tracks] if self._zones else list(tracks)

    def _place(self, track: Track, frame: Frame) -> Track:
        height, width = frame.image.shape[:2]
        stays = self._stays[track.id]
        now = []
        for name, zone in self._zones.items():
            stay = stays.setdefault(name, Stay())
            if track.missed == 0:
                within = inside(*track.foot, to_pixels(zone.points, width, height))
                stay.see(within, frame.mono_s, zone.inertia)
            watched = zone.labels is None or track.label in zone.labels
            if watched and stay.inside and frame.mono_s - stay.since_s >= zone.loiter:
                now.append(name)
        entered = self._entered[track.id]
        self._entered[track.id] = entered + tuple(name for name in now if name not in entered)
        return replace(track, zones=tuple(now), entered=self._entered[track.id])
