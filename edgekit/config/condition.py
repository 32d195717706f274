"""When an alarm goes off, in words: `person in drive`, `car or truck`, `any crosses gate in`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgekit.types import Direction, Track

EXPECTED = (
    "expected WHO, WHO in ZONE, WHO crosses LINE or WHO crosses LINE in|out, "
    "where WHO is a class, several joined by or, or any"
)
_WORDS = re.compile(
    r"(?P<who>.+?)(?: in (?P<zone>[a-z0-9_-]+)| crosses (?P<line>[a-z0-9_-]+)(?: (?P<way>in|out))?)?"
)


@dataclass(frozen=True, slots=True)
class Condition:
    """What a thing must be, and where; `labels` None means anything that is watched."""

    labels: tuple[str, ...] | None
    zone: str | None = None
    line: str | None = None
    direction: Direction | None = None

    def holds(self, track: Track) -> bool:
        """Whether it is so for a thing as it stands; a crossing stays true once it was made."""
        if self.labels is not None and track.label not in self.labels:
            return False
        if self.zone is not None:
            return self.zone in track.zones
        if self.line is not None:
            ways = [crossing.direction for crossing in track.lines if crossing.line == self.line]
            return bool(ways) and self.direction in (None, *ways)
        return True


def parse_condition(text: str) -> Condition:
    """The condition that a text says. Raises ValueError saying what was expected."""
    found = _WORDS.fullmatch(" ".join(text.split()))
    who = re.split(r", | or ", found["who"]) if found else []
    if not found or not all(who) or {"in", "crosses", "or"} & {word for name in who for word in name.split()}:
        raise ValueError(EXPECTED)
    if "any" in who and len(who) > 1:
        raise ValueError(EXPECTED)
    labels = None if who == ["any"] else tuple(who)
    way: Direction | None = None if found["way"] is None else "in" if found["way"] == "in" else "out"
    return Condition(labels, found["zone"], found["line"], way)
