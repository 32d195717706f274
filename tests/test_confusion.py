"""Classifiers are scored on packed pictures, folders and COCO's boxes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgekit import inference, preprocess, zoo
from edgekit.cli import main
from edgekit.engine import ListEngine, TensorInfo
from edgekit.errors import SourceError, UsageError
from edgekit.evaluate import confusion, labelled
from edgekit.inference import Model
from edgekit.zoo import Card

INPUT = TensorInfo("image", (1, 8, 8, 3), np.dtype(np.int8), 1.0, -128)
ROWS = [
    (1, "person", (0, 0, 40, 100)), (2, "person", (5, 5, 4, 10)), (2, "dog", (50, 50, 40, 40)),
    (3, "truck", (10, 10, 60, 30)), (3, "pizza", (0, 0, 10, 60)), (3, "pizza", (0, 0, 50, 60)),
]  # fmt: skip


def saying(answers: list[int], labels: tuple[str, ...] = (), outputs: int = 0) -> Model:
    """A classifier whose n-th answer is `answers[n]`."""
    count = outputs or len(labels)
    rows = [[np.eye(count, dtype=np.float32)[answer][None]] for answer in answers]
    card = Card("said", "classify", labels, "", {}, {}, {}) if labels else None
    return Model("said", ListEngine([INPUT], rows), card, "")


def pictures(labels: list[int], names: tuple[str, ...], *, named: bool = True) -> labelled.Labelled:
    blank = np.zeros((8, 8, 3), np.uint8)
    return labelled.Labelled(names, np.array(labels, np.int64), lambda _: blank, named)


def coco(folder: Path, rows: list[Any] = ROWS, **change: Any) -> tuple[Path, Path]:
    """A COCO file with photos of 100 x 100 pixels, and their folder."""
    categories = {name: i for i, name in enumerate(("person", "dog", "truck", "pizza"), 1)}
    images = [{"id": i, "file_name": f"{i}.png", "width": 100, "height": 100} for i in (1, 2, 3)]
    for image in images:
        cv2.imwrite(str(folder / str(image["file_name"])), np.full((100, 100, 3), image["id"], np.uint8))
    boxes = [
        {"id": i, "image_id": image, "category_id": categories[name], "bbox": box, "iscrowd": 0}
        for i, (image, name, box) in enumerate(rows)
    ]
    facts = {
        "images": images,
        "annotations": boxes,
        "categories": [{"id": i, "name": name} for name, i in categories.items()],
    }
    (folder / "boxes.json").write_text(json.dumps(facts | change))
    return folder / "boxes.json", folder


# ---- figures -----------------------------------------------------------------------------------------


def test_accuracy_and_confusion_are_counted() -> None:
    model = saying([0, 0, 1, 2, 1], ("person", "dog", "cat"))
    found = confusion.score(model, pictures([0, 0, 0, 1, 1], ("person", "dog")))
    assert found.confusion == [[2, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert found.names == ("person", "dog", "cat")
    assert found.accuracy == 0.6
    assert found.labels["person"] == {"recall": 0.6667, "precision": 1.0, "pictures": 3}
    assert found.balanced == pytest.approx((2 / 3 + 1 / 2) / 2, abs=1e-4)
    assert found.person_animal == {
        "share": 0.2, "persons_taken_for_animals": 0.3333, "animals_taken_for_persons": 0.0,
    }  # fmt: skip


def test_classes_are_matched_by_name_in_any_order() -> None:
    model = saying([1, 0], ("dog", "person"))
    assert confusion.score(model, pictures([0, 1], ("person", "dog"))).accuracy == 1


def test_classes_without_names_are_matched_by_number() -> None:
    names = ("0", "1", "2")
    found = confusion.score(saying([1, 2, 0], outputs=4), pictures([0, 1, 2], names, named=False), first=1)
    assert found.confusion == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert found.names == (*names, "output 0")
    assert confusion.score(saying([0], outputs=2), pictures([0], ("no", "yes"))).accuracy == 1


@pytest.mark.parametrize(
    ("model", "first", "said"),
    [
        (saying([0], ("person", "dog")), 0, "does not know horse: its classes are person, dog"),
        (saying([0], outputs=2), 0, "has 2 outputs, the data has 3 classes"),
        (saying([0], outputs=3), 1, "has 3 outputs, the data has 3 classes from output 1 on"),
    ],
)
def test_classes_that_do_not_fit_are_told(model: Model, first: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        confusion.score(model, pictures([0], ("person", "dog", "horse")), first)


# ---- pictures ----------------------------------------------------------------------------------------


def test_a_person_counts_from_half_a_percent_of_the_photo(tmp_path: Path) -> None:
    assert labelled.read_coco(*coco(tmp_path), "person").labels.tolist() == [1, 0, 0]
    larger = [(2, "person", (5, 5, 5, 10)), (3, "person", (5, 5, 5, 10.1))]  # 0.5 % and a little more
    assert labelled.read_coco(*coco(tmp_path, larger), "person").labels.tolist() == [0, 0, 1]


def test_crops_show_a_box_and_what_is_around_it(tmp_path: Path) -> None:
    found = labelled.read_coco(*coco(tmp_path), "crops")
    assert [found.names[label] for label in found.labels] == ["person", "dog", "vehicle", "other"]
    crop = found.read(1)
    assert crop.shape == (48, 48, 3)
    assert (crop == 2).all()


@pytest.mark.parametrize(
    ("box", "margin", "shape"),
    [
        ((2, 3, 6, 9), 0, (6, 4)), ((2, 3, 6, 9), 0.5, (10, 8)), ((-5, -5, 50, 50), 0.1, (10, 20)),
        ((30, 4, 40, 6), 0, (2, 1)), ((5, 5, 5, 5), 0.1, (1, 1)),
    ],
)  # fmt: skip
def test_a_crop_stays_in_the_picture(box: Any, margin: float, shape: tuple[int, int]) -> None:
    image = np.zeros((10, 20, 3), np.uint8)
    assert preprocess.crop_box(image, box, margin).shape[:2] == shape


def packed(path: Path, **change: Any) -> Path:
    images = [np.full((8, 8, 3), (0, 0, 60 * i), np.uint8) for i in range(3)]
    files = [cv2.imencode(".png", image)[1].ravel() for image in images]
    content = {
        "jpeg": np.concatenate(files),
        "offsets": np.cumsum([0, *map(len, files)]),
        "labels": np.array([0, 1, 1]),
        "classes": np.array(["dark", "red"]),
    } | change
    np.savez(path, **content)
    return path


def test_packed_pictures_are_decoded(tmp_path: Path) -> None:
    found = labelled.read_labelled(packed(tmp_path / "a.npz"))
    assert (found.names, found.labels.tolist(), found.named) == (("dark", "red"), [0, 1, 1], True)
    assert (found.read(2) == (0, 0, 120)).all()
    np.savez(tmp_path / "b.npz", x=np.full((2, 4, 4, 3), (9, 8, 7), np.uint8), y=np.array([1, 0]))
    plain = labelled.read_labelled(tmp_path / "b.npz")
    assert not plain.named
    assert (plain.read(0) == (7, 8, 9)).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": np.array([0, 1])}, "3 pictures and labels of shape"),
        ({"labels": np.array([0, 1, 2])}, "label 2 of only 2 classes"),
        ({"labels": np.array([0, -1, 1])}, "expected one each"),
        ({"offsets": np.array([0, 9, 4, 90])}, "offsets do not rise"),
        ({"offsets": np.array([0, 9, 40, 10**9])}, "offsets do not rise"),
    ],
)
def test_wrong_packed_pictures_are_told(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(SourceError, match=said):
        labelled.read_labelled(packed(tmp_path / "a.npz", **change))


def test_a_damaged_picture_is_told_by_its_number(tmp_path: Path) -> None:
    found = labelled.read_labelled(packed(tmp_path / "a.npz", jpeg=np.zeros(1000, np.uint8)))
    with pytest.raises(SourceError, match=r"a\.npz: picture 1: not a readable picture"):
        found.read(1)


@pytest.mark.parametrize(
    ("rows", "change", "rule", "said"),
    [
        (ROWS, {}, "crop", "no rule 'crop', did you mean 'crops'"),
        ([], {}, "crops", "the rule crops finds no picture"),
        (ROWS, {"categories": []}, "crops", "not as COCO annotations are: KeyError"),
        (ROWS, {"images": [{"id": 1}]}, "person", "not as COCO annotations are"),
        (ROWS, {"annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2]}]}, "person", "not as COCO"),
    ],
)
def test_wrong_boxes_are_told(
    tmp_path: Path, rows: list[Any], change: dict[str, Any], rule: str, said: str
) -> None:
    with pytest.raises((SourceError, UsageError), match=said):
        labelled.read_coco(*coco(tmp_path, rows, **change), rule)


# ---- the command -------------------------------------------------------------------------------------


def test_the_command_scores_a_classifier(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    model = saying([0, 1, 4, 4], ("person", "dog", "cat", "vehicle", "other"))
    monkeypatch.setattr("edgekit.inference.open", lambda *_: model)
    annotations, images = coco(tmp_path)
    assert main(["evaluate", "x", "--coco", str(annotations), "--images", str(images), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["accuracy"] == 0.75
    assert found["person_animal"]["share"] == 0


def test_the_command_prints_the_confusion(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr("edgekit.inference.open", lambda *_: saying([0, 1, 0], ("dark", "red")))
    assert main(["evaluate", "x", "--data", str(packed(tmp_path / "a.npz"))]) == 0
    said = capsys.readouterr().out
    assert "accuracy 0.6667, mean of the recalls 0.7500" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give --coco with --images, or --data"),
        (["--coco", "a.json"], "give --coco with --images, or --data"),
        (["--coco", "a.json", "--images", ".", "--data", "b"], "give --coco with --images, or --data"),
        (["--coco", "a.json", "--images", "."], "give --rule: person or crops"),
        (["--data", "nothing"], "nothing: there is no such file or folder"),
    ],
)
def test_a_wrong_command_is_told(arguments: list[str], said: str, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr("edgekit.inference.open", lambda *_: saying([0], outputs=2))
    assert main(["evaluate", "x", *arguments]) > 0
    assert said in capsys.readouterr().err


# ---- the zoo -----------------------------------------------------------------------------------------

CLASSIFIERS = [one for one in zoo.list_models() if one.card.task == "classify"]


@pytest.mark.parametrize("found", CLASSIFIERS, ids=lambda one: one.name)
def test_a_classifier_of_the_zoo_has_its_card(found: zoo.ZooModel) -> None:
    assert found.path.stat().st_size <= 4 * 2**20
    wanted = {"licence", "recipe", "seed", "training_data", "produced_by", "known_failures", "accuracy"}
    assert wanted <= found.card.facts.keys()


@pytest.mark.parametrize("found", CLASSIFIERS, ids=lambda one: one.name)
def test_a_classifier_of_the_zoo_is_as_good_as_its_card_says(found: zoo.ZooModel, shared: Path) -> None:
    told = found.card.facts["accuracy"]
    given = told["command"].split()[3:-1]
    paths = dict(zip(given[::2], (shared / "data" / one for one in given[1::2]), strict=True))
    if "--data" in paths:
        pictures = labelled.read_labelled(paths["--data"])
    else:
        rule = confusion.rule_of(found.card.labels)
        assert rule is not None
        pictures = labelled.read_coco(paths["--coco"], paths["--images"], rule)
    result = confusion.score(inference.open(found.name), pictures)
    assert result.pictures == told["pictures"]
    assert result.accuracy == pytest.approx(told["top1"], abs=0.003)  # engines may differ by a step
