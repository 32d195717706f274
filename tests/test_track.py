"""Who is who from frame to frame."""

from __future__ import annotations

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

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


def test_a_label_that_flickers_is_outvoted() -> None:
    labels = ["person", "person", "dog", "person", "dog", "person"]
    frames = [detections((10, 50, label, 0.8)) for label in labels]
    assert {(t.id, t.label) for tracks in follow(Tracker(0.5, 2.0), frames) for t in tracks} == {
        (1, "person")
    }


def test_a_first_mistake_is_mended_by_what_follows() -> None:
    frames = [detections((10, 50, label, 0.8)) for label in ["dog", "cat", "cat", "cat"]]
    assert [t.label for tracks in follow(Tracker(0.5, 2.0), frames) for t in tracks] == [
        "dog", "dog", "cat", "cat",
    ]  # fmt: skip


def test_one_animal_seen_as_two_classes_at_once_is_one_thing() -> None:
    frames = [detections((10, 50, "dog", 0.8), (12, 51, "cat", 0.6))] * 5
    assert {(t.id, t.label) for tracks in follow(Tracker(0.5, 2.0), frames) for t in tracks} == {(1, "dog")}


def test_a_dog_beside_a_person_is_somebody_else() -> None:
    frames = [detections((10, 50, "person", 0.8), (35, 60, "dog", 0.8))] * 5
    assert {(t.id, t.label) for t in follow(Tracker(0.5, 2.0), frames)[-1]} == {(1, "person"), (2, "dog")}


def test_a_jump_that_nothing_can_make_is_somebody_else() -> None:
    frames = [detections((10, 50, "person", 0.8)), detections((400, 50, "person", 0.8))]
    assert len(follow(Tracker(0.5, 2.0), frames)[-1]) == 2


def test_who_left_at_the_edge_is_not_found_again_near_it() -> None:
    tracker = Tracker(0.5, 2.0)
    for i, left in enumerate([80, 50, 20, 0]):
        tracker.update(detections((left, 50, "person", 0.8)), i / 10, i / 10, (640, 480))
    tracker.update(detections(), 0.4, 0.4, (640, 480))
    tracks = tracker.update(detections((70, 60, "person", 0.8)), 1.2, 1.2, (640, 480))
    assert [t.id for t in tracks if t.missed == 0] == [2]


def test_where_nothing_moves_everything_stays() -> None:
    tracker = Tracker(0.5, 2.0)
    follow(tracker, [detections((10, 50, "person", 0.8))] * 3)
    for i in range(3, 100):
        tracks = tracker.rest(1000 + i / 10, i / 10)
    assert [(t.id, t.missed, t.stationary, t.seen_s) for t in tracks] == [(1, 0, True, 1009.9)]
    later = tracker.update(detections((10, 50, "person", 0.8)), 1010.0, 10.0)
    assert [(t.id, t.missed) for t in later] == [(1, 0)]


def test_rest_does_not_find_who_is_lost() -> None:
    tracker = Tracker(0.5, 2.0)
    follow(tracker, [detections((10, 50, "person", 0.8)), detections()])
    assert [t.missed for t in tracker.rest(1000.2, 0.2)] == [1]


def walkers(rng: np.random.Generator, fps: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Feet (people, frames, 2) of people who walk and turn, far from each other, and their heights."""
    people, frames = int(rng.integers(1, 4)), int(6 * fps)
    heights = rng.uniform(40, 90, people)
    turns = rng.normal(0, 0.4, (people, frames)).cumsum(axis=1) / np.sqrt(fps)
    angles = rng.uniform(0, 6.3, (people, 1)) + turns
    steps = (rng.uniform(0, 1.0, people) * heights / fps)[:, None, None] * np.stack(
        [np.cos(angles), np.sin(angles)], axis=2
    )
    starts = np.array([[1000.0 * i, 500] for i in range(people)])
    return starts[:, None] + steps.cumsum(axis=1), heights


@pytest.mark.parametrize("seed", range(300))
def test_ids_are_stable_through_a_second_of_occlusion(seed: int) -> None:
    """Jittered boxes, flickering labels, doubtful scores, and gaps of up to a second for everybody."""
    rng = np.random.default_rng(seed)
    fps = float(rng.uniform(4, 15))
    feet, heights = walkers(rng, fps)
    hidden = np.zeros(feet.shape[:2], bool)
    for row in hidden:
        for start in (rng.uniform(1.5, 2.5) * fps, rng.uniform(4, 5) * fps):
            row[int(start) : int(start) + int(fps * rng.uniform(0.2, 1.0))] = True
    tracker = Tracker(0.5, 2.0)
    owners: dict[int, set[int]] = {}
    for i in range(feet.shape[1]):
        there = np.flatnonzero(~hidden[:, i])
        size = heights[there, None] * rng.uniform(0.94, 1.06, (len(there), 2)) * [0.4, 1.0]
        foot = feet[there, i] + rng.uniform(-0.03, 0.03, (len(there), 2)) * heights[there, None]
        boxes = np.stack([foot[:, 0] - size[:, 0] / 2, foot[:, 1] - size[:, 1],
                          foot[:, 0] + size[:, 0] / 2, foot[:, 1]], axis=1)  # fmt: skip
        scores = np.where(rng.random(len(there)) < 0.2, 0.35, rng.uniform(0.55, 0.95, len(there)))
        if i == 0:
            scores[:] = 0.8
        followed = ~hidden[there, max(i - 1, 0)] & (i > 3)  # who was lost and is a dog now may be a dog
        labels = np.where((rng.random(len(there)) < 0.1) & followed, "dog", "person")
        found = Detections(boxes.astype(np.float32), scores.astype(np.float32), labels)
        for track in tracker.update(found, i / fps, i / fps):
            if track.missed == 0:
                who = int(np.abs(feet[:, i] - track.foot).sum(axis=1).argmin())
                owners.setdefault(who, set()).add(track.id)
    assert {who: len(ids) for who, ids in owners.items()} == dict.fromkeys(range(len(feet)), 1)


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


@examples(60)
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


@examples(60)
@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 900), st.floats(0, 600)), min_size=1, max_size=4),
        min_size=2,
        max_size=20,
    ),
    st.floats(1, 30),
)
def test_no_track_makes_an_impossible_jump(frames: list[list[tuple[float, float]]], fps: float) -> None:
    """Ghosts that appear anywhere do not become one thing that flies about."""
    last: dict[int, tuple[float, tuple[float, float, float, float]]] = {}
    tracker = Tracker(0.5, 2.0)
    for i, spots in enumerate(frames):
        found = detections(*[(x, y, "person", 0.8) for x, y in spots])
        tracker.update(found, i / fps, i / fps)
        for track in tracker._tracks:
            if track.missed == 0 and track.id in last:
                before_s, box = last[track.id]
                moved = np.hypot(track.box[0] - box[0], track.box[3] - box[3])
                assert moved <= 80 * (1 + 4 * (i / fps - before_s)) + 1e-3  # boxes are 40 x 80
            if track.missed == 0:
                last[track.id] = (i / fps, tuple(track.box))


def test_the_clock_may_stand_still_or_jump_back() -> None:
    tracker = Tracker(0.5, 2.0)
    for mono_s in (5.0, 5.0, 4.0, 6.0):
        tracks = tracker.update(detections((10, 50, "person", 0.8)), 0.0, mono_s)
    assert [t.id for t in tracks] == [1]
