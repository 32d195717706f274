"""Person or animal: the classifier is asked where the detector hesitates, and only there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from scripted import Seen, blank_frames, scripted_model

from edgekit.cli import main
from edgekit.config import parse_config
from edgekit.config.models import SecondLookConfig
from edgekit.config.scene import ConfirmConfig
from edgekit.config.settings import DetectConfig
from edgekit.engine import ListEngine, TensorInfo
from edgekit.errors import SourceError, UsageError
from edgekit.evaluate.labelled import Photo
from edgekit.evaluate.mistakes import Mistakes, count_mistakes
from edgekit.inference import Model
from edgekit.mqtt import messages
from edgekit.mqtt.messages import Stamp
from edgekit.mqtt.sink import ListSink
from edgekit.pipeline import Pipeline
from edgekit.pipeline.fit import open_seconds
from edgekit.pipeline.inbox import Camera
from edgekit.pipeline.second_look import SecondLook
from edgekit.sources import ListSource
from edgekit.types import Detections
from edgekit.zoo import Card

NAMES = ("person", "dog", "cat", "vehicle", "other")
CONFIG = SecondLookConfig(model="fake")
IMAGE = np.full((64, 64, 3), 114, np.uint8)


def classifier(*answers: dict[str, float]) -> Model:
    """A model whose n-th call has the n-th of these probabilities."""
    info = TensorInfo("image", (1, 32, 32, 3), np.dtype(np.int8), 1.0, -128)
    outputs = [[np.array([[each.get(name, 0.0) for name in NAMES]], np.float32)] for each in answers or ({},)]
    card = Card("fake", "classify", NAMES, "", {}, {}, {})
    return Model("fake", ListEngine([info], outputs), card, "1" * 64)


def check(found: list[Seen], *answers: dict[str, float]) -> list[tuple[str, float]]:
    labels = np.array([label for label, _, _ in found])
    scores = np.array([score for _, _, score in found], np.float32)
    boxes = np.array([box for _, box, _ in found], np.float32).reshape(-1, 4)
    seen = SecondLook(classifier(*answers), CONFIG).check(IMAGE, Detections(boxes, scores, labels))
    return [
        (str(label), round(float(score), 2)) for label, score in zip(seen.labels, seen.scores, strict=True)
    ]


BOX = (10.0, 10.0, 30.0, 50.0)


@pytest.mark.parametrize(
    ("found", "answers", "seen"),
    [
        ([("person", BOX, 0.9)], [], [("person", 0.9)]),  # sure: nobody is asked
        ([("car", BOX, 0.3)], [], [("car", 0.3)]),  # not one of those that are told apart
        ([("person", BOX, 0.6)], [{"dog": 0.9, "person": 0.1}], [("dog", 0.6)]),
        ([("person", BOX, 0.6)], [{"person": 0.8, "dog": 0.2}], [("person", 0.6)]),
        ([("person", BOX, 0.6)], [{"dog": 0.5, "cat": 0.5}], [("person", 0.6)]),  # no clear answer
        ([("person", BOX, 0.6)], [{"other": 0.9, "person": 0.1}], [("person", 0.06)]),
        (
            [("person", BOX, 0.9), ("dog", (11, 11, 31, 51), 0.8)],
            [{"dog": 1.0}, {"dog": 1.0}],
            [("dog", 0.9), ("dog", 0.8)],
        ),
        ([], [], []),
    ],
)
def test_what_the_classifier_says_counts_where_the_detector_hesitates(
    found: list[Seen], answers: list[dict[str, float]], seen: list[tuple[str, float]]
) -> None:
    assert check(found, *answers) == seen


def test_no_more_than_some_are_looked_at_in_one_frame() -> None:
    many: list[Seen] = [("person", (i, 0, i + 5, 9), 0.5 + i / 400) for i in range(0, 60, 6)]
    seen = check(many, *[{"dog": 1.0}] * 4)
    assert [label for label, _ in seen] == ["person"] * 6 + ["dog"] * 4


def test_a_pipeline_asks_and_its_events_tell() -> None:
    seen: list[list[Seen]] = [[("person", BOX, 0.6)]] * 4
    detect = DetectConfig(confirm=ConfirmConfig(frames=2, of=3), second_look=CONFIG)
    second = classifier(*[{"dog": 0.75, "person": 0.25}] * 4)
    sink = ListSink()
    camera = Camera("front", detect, lambda: ListSource(blank_frames(4)), second=second)
    Pipeline([camera], scripted_model(seen), sink).run()
    assert [(e.type, e.after.label) for e in sink.events] == [("new", "dog"), ("end", "dog")]
    stamp = Stamp("pi", "b7e1c0de", 1, 1000.0, 1000.0, clock_synced=True)
    payload = messages.event_payload(sink.events[0], stamp, {"id": "m", "sha256": "0" * 64})
    Draft202012Validator(messages.load_schema("event")).validate(payload)
    assert payload["after"]["verify"] == {
        "person": 0.25, "dog": 0.75, "cat": 0.0, "vehicle": 0.0, "other": 0.0, "verdict": "dog",
    }  # fmt: skip
    assert "verify" in sink.events[0].latency_ms


def test_what_is_not_watched_is_not_reported() -> None:
    detect = DetectConfig(labels=["person"], confirm=ConfirmConfig(frames=2, of=3), second_look=CONFIG)
    camera = Camera(
        "front", detect, lambda: ListSource(blank_frames(4)), second=classifier(*[{"dog": 1.0}] * 4)
    )
    sink = ListSink()
    Pipeline([camera], scripted_model([[("person", BOX, 0.6)]] * 4), sink).run()
    assert sink.events == []


def test_the_second_model_must_be_a_classifier_that_knows_the_classes() -> None:
    text = "version: 1\nmodel: m\ncameras: {front: {source: 0, detect: {second_look: %s}}}\n"
    detector = "detect/edgenano-025-320-coco10/dense_int8"
    with pytest.raises(UsageError, match=r"detect\.second_look: .* is no classifier"):
        open_seconds(parse_config(text % detector, "demo.yaml", Path("/")))
    assert open_seconds(parse_config(text % "~", "demo.yaml", Path("/"))) == {}


def photo(tmp_path: Path, *boxes: tuple[str, tuple[float, float, float, float], bool]) -> Photo:
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.png"
    cv2.imwrite(str(path), IMAGE)
    return Photo(path, 64, 64, boxes)


def test_mistakes_are_counted_without_and_with_it(tmp_path: Path) -> None:
    box = (10.0, 10.0, 20.0, 40.0)  # x y w h of BOX
    photos = [
        photo(tmp_path, ("dog", box, False)),  # taken for a person, then put right
        photo(tmp_path, ("person", box, False)),  # found
        photo(tmp_path, ("person", box, False)),  # missed
        photo(tmp_path),  # a false alarm, then none
        photo(tmp_path, ("person", (0, 0, 64, 64), True)),  # a crowd
    ]
    seen: list[list[Seen]] = [[("person", BOX, 0.6)]] * 5
    seen[2] = []
    answers = [{"dog": 0.9}, {"person": 0.9}, {"other": 0.9}, {"person": 0.9}]
    alone, helped = count_mistakes(scripted_model(seen), classifier(*answers), CONFIG, photos)
    assert alone["person"] == Mistakes(things=2, missed=1, false_alarms=2, confused=1)
    assert helped["person"] == Mistakes(things=2, missed=1)
    assert (alone["dog"], helped["dog"]) == (Mistakes(things=1, missed=1), Mistakes(things=1))
    with pytest.raises(SourceError, match="no readable picture"):
        count_mistakes(scripted_model([[]]), classifier(), CONFIG, [Photo(tmp_path / "no.png", 1, 1, ())])


def test_the_command_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "detect/edgenano-025-320-coco10/dense_int8", "--second-look", "x"]) == 2
    assert "--coco" in capsys.readouterr().err
