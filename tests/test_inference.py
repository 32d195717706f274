"""`edgekit.open` and the Model behind it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scripted import SIZE, Seen, card, scripted_model

import edgekit
from edgekit import zoo
from edgekit.engine import ListEngine, TensorInfo, native_level
from edgekit.errors import ConfigError, ModelError, SourceError, UsageError
from edgekit.inference import Model
from edgekit.inference import open as open_model
from edgekit.zoo import Card

PERSON: Seen = ("person", (10, 10, 30, 50), 0.9)
INPUT = TensorInfo("image", (1, SIZE, SIZE, 3), np.dtype(np.int8), 1.0, -128)


def image(height: int = SIZE, width: int = SIZE) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def test_detect_answers_in_pixels_of_the_image() -> None:
    found = scripted_model([[PERSON]]).detect(image(128, 128))
    assert found.boxes.dtype == np.float32
    assert found.boxes[0].tolist() == pytest.approx([20, 20, 60, 100], abs=0.1)
    assert found.labels.tolist() == ["person"]
    assert found.scores.tolist() == pytest.approx([0.9])


def test_detect_leaves_out_what_is_below_min_score() -> None:
    dog: Seen = ("dog", (40, 30, 60, 50), 0.3)
    assert scripted_model([[PERSON, dog]]).detect(image()).labels.tolist() == ["person", "dog"]
    assert scripted_model([[PERSON, dog]]).detect(image(), min_score=0.5).labels.tolist() == ["person"]
    assert len(scripted_model([[]]).detect(image())) == 0


def classifier(scores: list[float]) -> Model:
    labels = tuple("abcdefg"[: len(scores)])
    facts = Card("letters", "classify", labels, "", {}, {}, {})
    return Model("letters", ListEngine([INPUT], [[np.array([scores], np.float32)]]), facts, "")


def test_classify_gives_the_best_first() -> None:
    best = classifier([0.1, 0.7, 0.2]).classify(image(), top=2)
    assert [label for label, _ in best] == ["b", "c"]
    assert [score for _, score in best] == pytest.approx([0.7, 0.2])
    assert len(classifier([0.1, 0.7, 0.2]).classify(image())) == 3


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        "a.jpg",
        None,
    ],
    ids=str,
)
def test_what_is_no_image_is_refused(bad: object) -> None:
    with pytest.raises(SourceError, match="an image is"):
        scripted_model([[]]).detect(bad)  # type: ignore[arg-type]


def test_each_task_refuses_the_other() -> None:
    with pytest.raises(UsageError, match="a model to detect, not to classify"):
        scripted_model([[]]).classify(image())
    with pytest.raises(UsageError, match="a model to classify, not to detect"):
        classifier([1.0]).detect(image())


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_min_score_is_a_share(score: float) -> None:
    with pytest.raises(UsageError, match="expected 0 to 1"):
        scripted_model([[]]).detect(image(), min_score=score)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"output": {"decoder": "anchor_free", "strides": [8, 16], "box_divisor": 2}}, "do not fit strides"),
        ({"output": {"decoder": "magic"}}, "expected one of anchor_free"),
        ({"input": {"resize": "crop"}}, "expected letterbox_topleft"),
        ({"input": {"color": "grey"}}, "does not fit a tensor of 3 channels"),
        ({"labels": ("x",) * 9}, "do not fit strides"),
    ],
)
def test_a_card_that_does_not_fit_its_model_is_refused(change: dict[str, object], words: str) -> None:
    outputs = [np.zeros((1, 8, 8, 8), np.float32)]
    with pytest.raises(ConfigError, match=words):
        Model("m", ListEngine([INPUT], [outputs]), replace(card(), **change), "")  # type: ignore[arg-type]


@pytest.mark.parametrize("worker", [False, True])
def test_a_model_tells_its_file_its_zeros_and_its_kernels(worker: bool) -> None:
    identity = open_model("classify/vgg7-024-32-cifar10/sparse50_b4_int8", worker=worker).identity
    assert identity.keys() == {"id", "sha256", "engine", "isa", "density"}
    assert 0.5 < float(str(identity["density"])) < 0.7
    assert identity["isa"] == native_level()


def test_open_names_what_it_cannot_find(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no model 'detect/none' in the zoo"):
        edgekit.open("detect/none")
    with pytest.raises(ModelError, match=r"none\.tflite: no such file"):
        edgekit.open(tmp_path / "none.tflite")


@pytest.mark.parametrize("model", zoo.list_models(), ids=lambda m: m.name)
def test_every_model_of_the_zoo_opens_and_matches_its_card(model: zoo.ZooModel) -> None:
    opened = edgekit.open(model.name)
    assert opened.sha256 == model.card.sha256
    assert opened.labels == model.card.labels
    if opened.task == "detect":
        assert len(opened.detect(image(200, 300), 0.5)) == 0  # a black picture shows nothing
    else:
        found = opened.classify(image(200, 300), top=99)
        assert {label for label, _ in found} == set(opened.labels)
        assert sum(score for _, score in found) == pytest.approx(1, abs=1e-5)


def test_a_zoo_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    source = zoo.list_models()[0]
    (tmp_path / "model.tflite").write_bytes(source.path.read_bytes() + b"\0")
    (tmp_path / "card.yaml").write_bytes((source.path.parent / "card.yaml").read_bytes())
    with pytest.raises(ModelError, match="its card says"):
        edgekit.open(tmp_path / "model.tflite")


@pytest.mark.parametrize(
    ("file", "labels"),
    [("nxp_yolov8n_full_integer_quant_416.tflite", 80), ("pine_yolov5n-int8.tflite", 80)],
)
def test_detectors_of_others_find_a_person_without_a_card(shared: Path, file: str, labels: int) -> None:
    cv2 = pytest.importorskip("cv2")
    model = edgekit.open(shared / "data" / "models" / file)
    skimage = pytest.importorskip("skimage.data")
    astronaut = cv2.cvtColor(skimage.astronaut(), cv2.COLOR_RGB2BGR)
    found = model.detect(astronaut)
    assert len(model.labels) == labels
    assert "person" in found.labels.tolist()


def test_a_classifier_of_others_names_a_cat_without_a_card(shared: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    skimage = pytest.importorskip("skimage.data")
    model = edgekit.open(shared / "data" / "models" / "coral_tf2_mobilenet_v2_1.0_224_ptq.tflite")
    cat = cv2.cvtColor(skimage.chelsea()[:, 75:375], cv2.COLOR_RGB2BGR)
    (label, probability), *_ = model.classify(cat)
    assert label in {"class 282", "class 283", "class 286"}  # tabby, tiger cat, Egyptian cat; 0 is background
    assert probability > 0.3


@pytest.mark.parametrize("name", ["x" * 5000 + ".tflite", "a\0b.tflite"])
def test_what_can_be_no_path_is_no_such_file(name: str) -> None:
    with pytest.raises(ModelError, match="no such file"):
        edgekit.open(name)
