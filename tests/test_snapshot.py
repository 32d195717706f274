"""Pictures that leave the device: the best of each kind, small enough, and none where they are not wanted."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scripted import Seen, blank_frames, scripted_model
from views import place

from edgekit.config.scene import ConfirmConfig, SceneConfig, SnapshotConfig
from edgekit.config.settings import DetectConfig
from edgekit.errors import UsageError
from edgekit.mqtt import ListSink
from edgekit.pipeline import Pipeline
from edgekit.pipeline.inbox import Camera
from edgekit.pipeline.snapshot import BestShots, crop, encode
from edgekit.sources import ListSource
from edgekit.types import Image, Track

DETECT = DetectConfig(confirm=ConfirmConfig(frames=2, of=3), lost_s=0.5)


def track(score: float, *, size: float = 40.0, label: str = "person", missed: int = 0) -> Track:
    box = (100.0, 60.0, 100.0 + size, 60.0 + size)
    return Track(1, label, score, score, box, 0.0, 0.0, missed=missed)


def decode(jpeg: bytes) -> Image:
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR))


def shown(shots: BestShots, *visits: dict[int, Track]) -> list[list[str]]:
    return [[label for label, _ in shots.update(place(), visit)] for visit in visits]


def test_the_first_picture_of_a_visit_is_shown_and_then_only_better_ones() -> None:
    scores = [0.6, 0.5, 0.62, 0.9, 0.95]
    told = shown(BestShots(SnapshotConfig()), *[{1: track(score)} for score in scores])
    assert told == [["person"], [], [], ["person"], []]


def test_the_next_visit_begins_anew() -> None:
    shots = BestShots(SnapshotConfig())
    assert shown(shots, {1: track(0.9)}, {}, {2: track(0.5)}) == [["person"], [], ["person"]]
    assert (shots.has(1), shots.has(2)) == (False, True)


def test_of_two_at_once_the_better_one_is_shown() -> None:
    two = {1: track(0.8), 2: track(0.8, size=80)}
    assert shown(BestShots(SnapshotConfig()), two, two) == [["person", "person"], []]


def test_what_is_not_seen_now_has_no_picture() -> None:
    assert shown(BestShots(SnapshotConfig()), {1: track(0.9, missed=1)}) == [[]]


def test_a_picture_is_the_thing_and_some_of_its_surroundings() -> None:
    assert crop(place(), (100, 60, 140, 100)).shape == (64, 64, 3)
    assert crop(place(), (300, 150, 400, 200)).shape == (60, 50, 3)  # no more than there is
    assert crop(place(), (-50, -50, -40, -40)).size == 0


@pytest.mark.parametrize("max_kb", [4, 16, 100])
def test_a_picture_is_as_small_as_it_must_be(max_kb: int) -> None:
    jpeg = encode(place(), SnapshotConfig(height=90, max_kb=max_kb))
    assert jpeg
    assert len(jpeg) <= max_kb * 1024
    assert decode(jpeg).shape == (90, 160, 3)


def test_a_picture_that_gets_no_smaller_is_not_sent() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    assert encode(noise, SnapshotConfig(height=400, max_kb=4)) is None
    assert encode(np.zeros((0, 5, 3), np.uint8), SnapshotConfig()) is None


def run(scene: SceneConfig) -> tuple[ListSink, Pipeline]:
    seen: list[list[Seen]] = [[("person", (10, 10, 30, 50), 0.9)]] * 5
    sink = ListSink()
    camera = Camera("front", DETECT, lambda: ListSource(blank_frames(5)), scene)
    pipeline = Pipeline([camera], scripted_model(seen), sink)
    pipeline.run()
    return sink, pipeline


def test_a_pipeline_publishes_them_and_its_events_say_so() -> None:
    sink, pipeline = run(SceneConfig.model_validate({"snapshots": True}))
    assert decode(sink.states["snapshot", "front", "person"]).shape[2] == 3
    assert [event.has_snapshot for event in sink.events] == [True, True]
    answer = pipeline.snapshot("front")
    assert answer["bytes"] == len(sink.states["snapshot", "front", "all"])
    with pytest.raises(UsageError, match="no camera 'back', there are front"):
        pipeline.snapshot("back")


@pytest.mark.parametrize("scene", [{}, {"snapshots": False}, {"snapshots": {"enabled": "no"}}])
def test_without_them_no_picture_is_made_for_anybody(scene: dict[str, object]) -> None:
    sink, pipeline = run(SceneConfig.model_validate(scene))
    assert not [key for key in sink.states if key[0] == "snapshot"]
    assert [event.has_snapshot for event in sink.events] == [False, False]
    with pytest.raises(UsageError, match="pictures are switched off"):
        pipeline.snapshot("front")
