"""Who is who from frame to frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.track import Tracker, match, overlap
from edgekit.types import Detections, Track

Seen = tuple[float, float, str, float]  # left, top, label, score


def detections(*seen: Seen, size: float = 40.0) -> Detections:
    if not seen:
        return Detections.empty()
    boxes = np.array([[x, y, x + size, y + 2 * size] for x, y, _, _ in seen], np.float32)
    return Detections(boxes, np.array([s[3] for s in seen], np.float32), np.array([s[2] for s in seen]))


def follow(tracker: Tracker, frames: list[Detections], fps: float = 10.0) -> list[list[Track]]:
    return [tracker.update(found, 1000 + i / fps, i / fps) for i, found in enumerate(frames)]


def test_overlap_of_known_boxes() -> None:
    a = np.array([[0.0, 0, 10, 10]])
    b = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [3, 3, 3, 3]])
    assert overlap(a, b)[0].tolist() == pytest.approx([1, 1 / 3, 0, 0])


def test_match_takes_the_best_pair_first() -> None:
    assert match(np.array([[0.5, 0.9], [0.4, 0.8]]), 0.3) == [(0, 1), (1, 0)]
    assert match(np.zeros((0, 3)), 0.3) == []


def test_a_walking_person_keeps_one_identity() -> None:
    frames = [detections((10 + 12 * i, 50, "person", 0.8)) for i in range(20)]
    ids = {track.id for tracks in follow(Tracker(0.5, 2.0), frames) for track in tracks}
    assert ids == {1}


def test_two_who_pass_each_other_keep_their_identities() -> None:
    frames = [
        detections((10 + 12 * i, 50, "person", 0.8), (250 - 12 * i, 110, "person", 0.7)) for i in range(20)
    ]
    last = follow(Tracker(0.5, 2.0), frames)[-1]
    ends = {track.id: track.box[0] for track in last}
    assert len(ends) == 2
    assert ends[1] > ends[2]


def test_a_second_of_not_being_seen_does_not_end_a_track() -> None:
    seen = [detections((10 + 4 * i, 50, "person", 0.8)) for i in range(10)]
    gone = [detections()] * 10
    back = [detections((10 + 4 * i, 50, "person", 0.8)) for i in range(20, 25)]
    tracks = follow(Tracker(0.5, 2.0), seen + gone + back)
    assert {t.id for frame in tracks for t in frame} == {1}
    assert tracks[15][0].missed == 6


def test_a_track_ends_after_lost_s() -> None:
    frames = [detections((10, 50, "person", 0.8))] * 3 + [detections()] * 30
    alive = [len(tracks) for tracks in follow(Tracker(0.5, 2.0), frames)]
    assert alive == [1] * 23 + [0] * 10  # last seen at 0.2 s, so at 2.2 s for the last time


def test_a_doubtful_detection_keeps_a_track_but_starts_none() -> None:
    tracker = Tracker(0.5, 0.35)
    assert follow(tracker, [detections((10, 50, "person", 0.3))] * 5)[-1] == []
    frames = [detections((10, 50, "person", 0.8))] + [detections((10, 50, "person", 0.3))] * 20
    assert [t.id for t in follow(Tracker(0.5, 0.35), frames)[-1]] == [1]


def test_doubtful_detections_are_no_hits() -> None:
    frames = [detections((10, 50, "person", s)) for s in (0.8, 0.3, 0.9)]
    assert follow(Tracker(0.5, 2.0), frames)[-1][0].hits == (True, False, True)


def test_a_dog_in_the_place_of_a_person_is_somebody_else() -> None:
    frames = [detections((10, 50, "person", 0.8))] * 3 + [detections((10, 50, "dog", 0.8))] * 3
    assert {(t.id, t.label) for t in follow(Tracker(0.5, 2.0), frames)[-1]} == {(1, "person"), (2, "dog")}


def test_standing_still_for_a_while_is_stationary_until_it_moves() -> None:
    still = [detections((100, 50, "person", 0.8))] * 60
    moving = [detections((100 + 8 * i, 50, "person", 0.8)) for i in range(1, 15)]
    tracks = follow(Tracker(0.5, 2.0), still + moving)
    assert [tracks[i][0].stationary for i in (10, 49, 51, 59, 73)] == [False, False, True, True, False]


def test_scores_and_times_are_remembered() -> None:
    frames = [detections((10, 50, "person", s)) for s in (0.6, 0.9, 0.7)]
    track = follow(Tracker(0.5, 2.0), frames)[-1][0]
    assert [track.score, track.top_score] == pytest.approx([0.7, 0.9])
    assert [track.start_s, track.seen_s] == pytest.approx([1000.0, 1000.2])
    assert track.hits == (True, True, True)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.floats(0, 500), st.floats(0, 300), st.sampled_from("abc"), st.floats(0.1, 1)),
            max_size=6,
        ),
        max_size=15,
    )
)
def test_no_two_tracks_share_an_identity_and_boxes_stay_finite(frames: list[list[Seen]]) -> None:
    started: set[int] = set()
    for tracks in follow(Tracker(0.5, 1.0), [detections(*seen) for seen in frames]):
        ids = [t.id for t in tracks]
        assert len(ids) == len(set(ids))
        assert all(np.isfinite(t.box).all() and t.box[2] > t.box[0] and t.box[3] > t.box[1] for t in tracks)
        assert all(id_ > max(started, default=0) for id_ in set(ids) - started)
        started |= set(ids)


def test_the_clock_may_stand_still_or_jump_back() -> None:
    tracker = Tracker(0.5, 2.0)
    for mono_s in (5.0, 5.0, 4.0, 6.0):
        tracks = tracker.update(detections((10, 50, "person", 0.8)), 0.0, mono_s)
    assert [t.id for t in tracks] == [1]
