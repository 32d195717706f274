"""Visits -> alarms: one for each visit, and not too many."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edgekit.config.condition import parse_condition
from edgekit.config.scene import AlarmConfig
from edgekit.types import Track

Visits: TypeAlias = Mapping[int, Track]  # what is there now, by the number of its visit


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """An alarm was raised or cleared, because of this visit; `track` is the thing as it stands or stood."""

    alarm: str
    type: Literal["raised", "cleared"]
    visit: int
    track: Track


class Alarm:
    """One alarm of one camera.

    It is raised by a visit for which the condition held in `frames` of its last `of` frames, while nothing
    that is named in `unless` is there; once a visit, and not within `cooldown` of the last time. Whoever
    comes while it is raised belongs to it. It is cleared when the condition holds for none of them any more.
    """

    def __init__(self, name: str, config: AlarmConfig, frames: int, of: int) -> None:
        self.name = name
        self.config = config
        self.condition = parse_condition(config.when)
        confirm = (config.confirm.frames, config.confirm.of) if config.confirm else (frames, of)
        self._verified = config.confirm is not None and config.confirm.verify is not None
        self.frames, self.of = (1, 1) if self.condition.line else confirm  # a crossing happens once
        self._held: dict[int, deque[bool]] = {}
        self._done: set[int] = set()  # visits that have had their alarm
        self._raised: tuple[int, Track] | None = None
        self._raised_s: float | None = None

    @property
    def on(self) -> bool:
        """Whether it is raised."""
        return self._raised is not None

    def update(self, visits: Visits, mono_s: float) -> AlarmChange | None:
        """What one more frame changes."""
        self._held = {n: self._held.get(n) or deque(maxlen=self.of) for n in visits}
        self._done &= visits.keys()
        for number, track in visits.items():
            holds = track.missed == 0 and self.condition.holds(track)
            self._held[number].append(holds and not self._is_doubted(track))
        if self._raised:
            return self._clear_or_join(visits)
        ready = [n for n in visits if n not in self._done and self.confirmed(n)]
        if not ready or self.blockers(visits.values()) or self.waits_s(mono_s) > 0:
            return None
        self._raised, self._raised_s = (ready[0], visits[ready[0]]), mono_s
        self._done |= set(ready)
        return AlarmChange(self.name, "raised", *self._raised)

    def _clear_or_join(self, visits: Visits) -> AlarmChange | None:
        self._done |= {n for n in visits if self.confirmed(n)}
        if any(self.condition.holds(visits[n]) for n in self._done) or self._raised is None:
            return None
        number, track = self._raised
        self._raised = None
        return AlarmChange(self.name, "cleared", number, visits.get(number, track))

    def _is_doubted(self, track: Track) -> bool:
        """A second look was asked for, and takes it for something else."""
        chances = track.verify
        return self._verified and chances is not None and max(chances, key=chances.__getitem__) != track.label

    def confirmed(self, visit: int) -> bool:
        """Whether the condition has held for a visit in enough frames."""
        return self.held(visit) >= self.frames

    def held(self, visit: int) -> int:
        """In how many of its last frames the condition held for a visit."""
        return sum(self._held.get(visit, ()))

    def blockers(self, tracks: Iterable[Track]) -> list[str]:
        """The classes of `unless` that are there: in the zone if there is one, else anywhere."""
        zone = self.condition.zone
        there = {track.label for track in tracks if zone is None or zone in track.zones}
        return [label for label in self.config.unless if label in there]

    def waits_s(self, mono_s: float) -> float:
        """Seconds of the cooldown that are left."""
        return 0.0 if self._raised_s is None else self._raised_s + self.config.cooldown - mono_s
