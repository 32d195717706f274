"""What of all that moves is worth a message."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekit.rules import (
    Visits,
    changed_zones,
    confirmed,
    crossed,
    moved,
    renamed,
    settled_or_left,
    surer,
    usual_confirmation,
)
from edgekit.types import Crossing, Frame, Track

PERSON = Track(7, "person", 0.8, 0.8, (10, 10, 50, 90), 1000.0, 1000.0, hits=(True,) * 3)


def frame(i: int = 0) -> Frame:
    return Frame(np.zeros((100, 200, 3), np.uint8), "front", i, 1000 + i / 10, i / 10)


def test_confirmation_counts_only_the_last_frames() -> None:
    track = replace(PERSON, hits=(True, True, True, False, False, False, True))
    assert not confirmed(track, 3, 5)
    assert confirmed(track, 3, 7)
    assert confirmed(track, 1, 1)


def test_a_single_picture_speaks_for_itself() -> None:
    assert usual_confirmation(1.0) == (1, 1)
    assert usual_confirmation(0.1) == (1, 1)
    assert usual_confirmation(2.0) == (2, 3)
    assert usual_confirmation(10.0) == usual_confirmation(None) == (3, 5)


def test_moved_asks_for_less_than_half_overlap() -> None:
    assert not moved(PERSON, replace(PERSON, box=(15, 10, 55, 90)))
    assert moved(PERSON, replace(PERSON, box=(40, 10, 80, 90)))


def test_surer_looks_at_the_best_score() -> None:
    assert not surer(PERSON, replace(PERSON, score=0.95, top_score=0.85))
    assert surer(PERSON, replace(PERSON, top_score=0.91))


def test_settled_or_left_sees_both_changes() -> None:
    still = replace(PERSON, stationary=True)
    assert settled_or_left(PERSON, still)
    assert settled_or_left(still, PERSON)
    assert not settled_or_left(still, still)


def test_a_zone_and_a_line_are_worth_an_update() -> None:
    inside, over = replace(PERSON, zones=("drive",)), replace(PERSON, lines=(Crossing("gate", "in"),))
    assert changed_zones(PERSON, inside)
    assert changed_zones(inside, PERSON)
    assert crossed(PERSON, over)
    assert not changed_zones(over, PERSON)
    assert not crossed(inside, PERSON)


def test_another_name_is_worth_an_update_and_moves_the_count() -> None:
    dog = replace(PERSON, label="dog")
    assert renamed(PERSON, dog)
    assert not renamed(dog, dog)
    visits = Visits("front", 3, 5)
    visits.update([PERSON], frame(0))
    assert [e.type for e in visits.update([dog], frame(1))] == ["update"]
    assert visits.counts() == {"dog": 1}


def test_counts_of_a_zone_are_of_now() -> None:
    visits = Visits("front", 3, 5)
    visits.update([replace(PERSON, zones=("drive", "yard"))], frame(0))
    assert visits.zone_counts() == {("drive", "person"): 1, ("yard", "person"): 1}
    visits.update([replace(PERSON, zones=("yard",))], frame(1))
    assert visits.zone_counts() == {("yard", "person"): 1}


def test_one_lucky_frame_makes_no_event() -> None:
    visits = Visits("front", 3, 5)
    assert visits.update([replace(PERSON, hits=(True, False, True))], frame()) == []
    assert visits.counts() == {}


def test_a_visit_is_new_then_updated_then_ended() -> None:
    visits = Visits("front", 3, 5)
    walked = replace(PERSON, box=(100, 10, 140, 90), seen_s=1000.2)
    steps = [[PERSON], [PERSON], [walked], [walked], []]
    events = [e for i, tracks in enumerate(steps) for e in visits.update(tracks, frame(i))]
    assert [(e.type, e.number, e.time_s) for e in events] == [
        ("new", 1, 1000),
        ("update", 1, 1000.2),
        ("end", 1, 1000.4),
    ]
    assert (events[0].before, events[0].after) == (None, PERSON)
    assert (events[1].before, events[1].after) == (PERSON, walked)
    assert (events[2].after, events[2].end_s) == (walked, 1000.2)
    assert (events[0].frame_width, events[0].frame_height) == (200, 100)


def test_the_end_tells_the_last_that_was_seen() -> None:
    visits = Visits("front", 3, 5)
    nudged = replace(PERSON, box=(12, 10, 52, 90), seen_s=1000.1)
    visits.update([PERSON], frame(0))
    assert visits.update([nudged], frame(1)) == []
    (end,) = visits.update([], frame(2))
    assert (end.before, end.after, end.end_s) == (PERSON, nudged, 1000.1)


def test_a_predicted_box_makes_no_update() -> None:
    visits = Visits("front", 3, 5)
    visits.update([PERSON], frame(0))
    assert visits.update([replace(PERSON, box=(100, 10, 140, 90), missed=2)], frame(1)) == []


def test_counts_follow_the_visits() -> None:
    visits = Visits("front", 3, 5)
    dog = replace(PERSON, id=8, label="dog")
    visits.update([PERSON, replace(PERSON, id=9), dog], frame(0))
    assert visits.counts() == {"person": 2, "dog": 1}
    visits.update([dog], frame(1))
    assert visits.counts() == {"dog": 1}


def test_finish_ends_what_is_still_there() -> None:
    visits = Visits("front", 3, 5)
    visits.update([PERSON], frame(0))
    assert [e.type for e in visits.finish(frame(1))] == ["end"]
    assert visits.finish(frame(2)) == []
    assert visits.counts() == {}
