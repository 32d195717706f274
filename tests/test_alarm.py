"""One alarm a visit, and only when it is one."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.config.condition import Condition, parse_condition
from edgekit.config.scene import AlarmConfig
from edgekit.rules.alarm import Alarm, AlarmChange
from edgekit.types import Crossing, Track

PERSON = Track(1, "person", 0.8, 0.8, (0, 0, 10, 30), 1000.0, 1000.0)
DOG = replace(PERSON, id=2, label="dog")
IN_DRIVE = replace(PERSON, zones=("drive",))


def alarm(when: str = "person in drive", frames: int = 1, of: int = 1, **other: Any) -> Alarm:
    config = AlarmConfig.model_validate({"when": when, "cooldown": 0, **other})
    return Alarm("intruder", config, frames, of)


def watch(watched: Alarm, frames: list[dict[int, Track]], fps: float = 1.0) -> list[tuple[int, str, int]]:
    """(frame, type, visit) of each change."""
    changes = [(i, watched.update(visits, i / fps)) for i, visits in enumerate(frames)]
    return [(i, change.type, change.visit) for i, change in changes if change]


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("person", Condition(("person",))),
        ("any", Condition(None)),
        ("person in drive", Condition(("person",), zone="drive")),
        ("car or traffic light, dog  in yard-2", Condition(("car", "traffic light", "dog"), zone="yard-2")),
        ("any crosses gate", Condition(None, line="gate")),
        ("person crosses gate out", Condition(("person",), line="gate", direction="out")),
        ("person crosses in", Condition(("person",), line="in")),
    ],
)
def test_conditions_that_are_understood(text: str, condition: Condition) -> None:
    assert parse_condition(text) == condition


@pytest.mark.parametrize(
    "text",
    ["", " ", "in drive", "person in", "person in Drive", "person crosses", "person in a in b", "person or",
     "person crosses gate up", "any or dog", "person and dog in", "crosses gate"],
)  # fmt: skip
def test_conditions_that_are_not(text: str) -> None:
    with pytest.raises(ValueError, match="expected WHO, WHO in ZONE"):
        parse_condition(text)


def test_a_crossing_holds_for_the_way_that_is_named() -> None:
    crossed = replace(PERSON, lines=(Crossing("gate", "in"), Crossing("door", "out")))
    held = [text for text in ("gate", "gate in", "gate out", "door", "door in", "wall")
            if parse_condition(f"person crosses {text}").holds(crossed)]  # fmt: skip
    assert held == ["gate", "gate in", "door"]


def test_an_alarm_is_raised_and_cleared_with_its_visit() -> None:
    watched = alarm()
    assert watch(watched, [{}, {1: PERSON}, {1: IN_DRIVE}, {1: IN_DRIVE}, {1: PERSON}, {}]) == [
        (2, "raised", 1), (4, "cleared", 1),
    ]  # fmt: skip
    assert not watched.on


def test_confirmation_asks_for_frames_of_the_last_ones() -> None:
    here, away = {1: IN_DRIVE}, {1: PERSON}
    assert watch(alarm(frames=3, of=4), [here, away, here, away, here, here]) == [(5, "raised", 1)]
    missed = {1: replace(IN_DRIVE, missed=1)}
    assert watch(alarm(frames=2, of=3), [here, missed, missed, missed]) == []
    own = alarm(confirm={"frames": 2, "of": 2})
    assert watch(own, [here, here]) == [(1, "raised", 1)]


def test_a_visit_has_one_alarm_however_often_it_comes_back() -> None:
    here, away = {1: IN_DRIVE}, {1: PERSON}
    assert watch(alarm(), [here, away, here, away, here]) == [(0, "raised", 1), (1, "cleared", 1)]


def test_who_joins_a_raised_alarm_belongs_to_it() -> None:
    two = {1: IN_DRIVE, 2: replace(IN_DRIVE, id=5)}
    only_second = {2: two[2]}
    changes = watch(alarm(), [{1: IN_DRIVE}, two, only_second, only_second, {}])
    assert changes == [(0, "raised", 1), (4, "cleared", 1)]


def test_the_cooldown_delays_but_forgets_nobody() -> None:
    frames = [{1: IN_DRIVE}, {}, *[{2: IN_DRIVE}] * 10, {}]
    assert watch(alarm(cooldown=5), frames) == [
        (0, "raised", 1), (1, "cleared", 1), (5, "raised", 2), (12, "cleared", 2),
    ]  # fmt: skip
    assert watch(alarm(cooldown=60), frames) == [(0, "raised", 1), (1, "cleared", 1)]


def test_unless_keeps_it_from_being_raised_but_does_not_clear_it() -> None:
    dog_there = {1: IN_DRIVE, 2: replace(DOG, zones=("drive",))}
    dog_elsewhere = {1: IN_DRIVE, 2: DOG}
    assert watch(alarm(unless=["dog"]), [dog_there, dog_there, {1: IN_DRIVE}, dog_there]) == [
        (2, "raised", 1)
    ]
    assert watch(alarm(unless=["dog"]), [dog_elsewhere]) == [(0, "raised", 1)]
    assert watch(alarm("person", unless=["dog"]), [dog_elsewhere]) == []


def test_a_crossing_needs_no_confirmation() -> None:
    crossed = replace(PERSON, lines=(Crossing("gate", "in"),))
    frames = [{1: PERSON}, {1: crossed}, {1: crossed}, {}]
    assert watch(alarm("person crosses gate in", frames=3, of=5), frames) == [
        (1, "raised", 1), (3, "cleared", 1),
    ]  # fmt: skip


def test_a_change_tells_the_thing_as_it_stands() -> None:
    watched = alarm()
    assert watched.update({1: IN_DRIVE}, 0.0) == AlarmChange("intruder", "raised", 1, IN_DRIVE)
    assert watched.update({1: PERSON}, 1.0) == AlarmChange("intruder", "cleared", 1, PERSON)
    watched = alarm()
    watched.update({1: IN_DRIVE}, 0.0)
    assert watched.update({}, 1.0) == AlarmChange("intruder", "cleared", 1, IN_DRIVE)


@given(
    st.lists(st.sets(st.tuples(st.integers(1, 4), st.booleans(), st.booleans()), max_size=4), max_size=60),
    st.integers(0, 8),
    st.sampled_from([(1, 1), (2, 3), (3, 5)]),
)
def test_whatever_happens_alarms_keep_their_manners(
    frames: list[set[tuple[int, bool, bool]]], cooldown: int, confirm: tuple[int, int]
) -> None:
    """Visits come, go in and out, and are lost; a number that has gone never comes back."""
    gone: set[int] = set()
    before: set[int] = set()
    steps = []
    for frame in frames:
        visits = {n: replace(IN_DRIVE if here else PERSON, missed=int(missed))
                  for n, here, missed in frame if n not in gone}  # fmt: skip
        gone |= before - visits.keys()
        before = set(visits)
        steps.append(visits)
    steps.append({})
    changes = watch(alarm(frames=confirm[0], of=confirm[1], cooldown=cooldown), steps)
    raised = [(i, visit) for i, kind, visit in changes if kind == "raised"]
    assert [kind for _, kind, _ in changes] == ["raised", "cleared"] * len(raised)
    assert len({visit for _, visit in raised}) == len(raised)
    assert all(b - a >= cooldown for (a, _), (b, _) in pairwise(raised))
    for i, visit in raised:
        held = [v[visit].zones == ("drive",) and not v[visit].missed for v in steps[: i + 1] if visit in v]
        assert sum(held[-confirm[1] :]) >= confirm[0]


def test_what_a_second_look_takes_for_something_else_raises_nothing_where_it_is_asked_for() -> None:
    dog_like = replace(PERSON, verify={"person": 0.3, "dog": 0.7})
    clear = replace(PERSON, verify={"person": 0.9, "dog": 0.1})
    frames = [{1: dog_like}, {1: dog_like}, {1: clear}, {1: PERSON}]
    asked = alarm("person", confirm={"frames": 1, "of": 1, "verify": "person_vs_animal"})
    assert watch(asked, frames) == [(2, "raised", 1)]
    assert watch(alarm("person"), frames) == [(0, "raised", 1)]
    assert watch(asked, [{2: PERSON}]) == []  # raised already
