"""Looking at a part of a frame."""

from __future__ import annotations

import numpy as np
import pytest
from scripted import Seen, scripted_model

from edgekit.config.settings import DetectConfig
from edgekit.pipeline.detector import Detector
from edgekit.pipeline.lane import Stopwatch

INSIDE: Seen = ("person", (10, 10, 30, 50), 0.9)
CUT: Seen = ("dog", (40, 20, 64, 50), 0.8)
IMAGE = np.zeros((200, 300, 3), np.uint8)


def detector(*seen: Seen, **config: object) -> Detector:
    return Detector(scripted_model([seen]), DetectConfig.model_validate(config))


def test_boxes_of_a_region_are_boxes_of_the_frame() -> None:
    found = detector(INSIDE).look(IMAGE, (100, 50, 164, 114), Stopwatch())
    assert found.boxes[0].tolist() == pytest.approx([110, 60, 130, 100], abs=0.5)


def test_what_is_cut_off_by_the_region_is_left_out() -> None:
    found = detector(INSIDE, CUT).look(IMAGE, (100, 50, 164, 114), Stopwatch())
    assert found.labels.tolist() == ["person"]


def test_what_the_frame_itself_cuts_off_is_not() -> None:
    found = detector(INSIDE, CUT).look(IMAGE, (236, 50, 300, 114), Stopwatch())
    assert found.labels.tolist() == ["person", "dog"]


def test_chosen_is_what_is_watched_and_not_too_doubtful() -> None:
    eye = detector(INSIDE, ("dog", (40, 20, 60, 50), 0.8), ("person", (34, 2, 44, 14), 0.3),
                   labels=["person"], min_score=0.7)  # fmt: skip
    eye.floor = 0.1
    seen = eye.look(IMAGE[:64, :64], None, Stopwatch())
    assert len(seen) == 3
    assert eye.choose(seen).scores.tolist() == pytest.approx([0.9])
