"""COCO's metric through the very code that a pipeline runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scripted import SIZE, Seen, scripted_model

from edgekit.errors import SourceError, UsageError
from edgekit.evaluate import Evaluation, evaluate

pytest.importorskip("pycocotools", reason="needs the extra edgekit[evaluate]")

PERSON: Seen = ("person", (10, 10, 30, 50), 0.9)
DOG: Seen = ("dog", (40, 30, 60, 50), 0.8)
CATEGORIES = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}, {"id": 62, "name": "chair"}]


def annotated(folder: Path, truth: list[list[Seen]], **change: Any) -> Path:
    """A COCO file and its pictures, one for each entry of `truth`."""
    ids = {"person": 1, "dog": 18}
    rows: list[dict[str, Any]] = []
    for i, seen in enumerate(truth):
        cv2.imwrite(str(folder / f"{i}.png"), np.zeros((SIZE, SIZE, 3), np.uint8))
        for label, (x1, y1, x2, y2), _ in seen:
            box, area = [x1, y1, x2 - x1, y2 - y1], (x2 - x1) * (y2 - y1)
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": i,
                    "category_id": ids[label],
                    "bbox": box,
                    "area": area,
                    "iscrowd": 0,
                }
            )
    images = [{"id": i, "file_name": f"{i}.png", "width": SIZE, "height": SIZE} for i in range(len(truth))]
    path = folder / "truth.json"
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": CATEGORIES} | change))
    return path


def score(folder: Path, truth: list[list[Seen]], seen: list[list[Seen]]) -> Evaluation:
    return evaluate(scripted_model(seen), annotated(folder, truth), folder)


def test_all_found_scores_one(tmp_path: Path) -> None:
    result = score(tmp_path, [[PERSON], [PERSON, DOG]], [[PERSON], [PERSON, DOG]])
    assert (result.ap, result.ap50, result.images) == (1, 1, 2)
    assert result.labels["person"] == {"ap": 1, "ap50": 1, "boxes": 2}


def test_half_found_scores_half(tmp_path: Path) -> None:
    result = score(tmp_path, [[PERSON], [PERSON], [DOG], [DOG]], [[PERSON], [], [], []])
    assert result.labels["person"]["ap50"] == pytest.approx(0.5, abs=0.01)
    assert result.labels["dog"]["ap50"] == 0
    assert result.ap50 == pytest.approx(0.25, abs=0.01)


def test_a_box_too_large_counts_at_loose_overlap_only(tmp_path: Path) -> None:
    result = score(tmp_path, [[PERSON]], [[("person", (10, 10, 36, 50), 0.9)]])  # IoU 0.77
    assert result.ap50 == 1
    assert result.ap == pytest.approx(0.6)


def test_nothing_found_scores_zero(tmp_path: Path) -> None:
    assert score(tmp_path, [[PERSON]], [[]]).ap == 0


def test_a_false_alarm_above_the_truth_lowers_the_score(tmp_path: Path) -> None:
    wrong: Seen = ("person", (45, 2, 60, 20), 0.99)
    assert score(tmp_path, [[PERSON]], [[wrong, PERSON]]).ap50 == pytest.approx(0.5, abs=0.01)


def test_missing_pictures_are_named(tmp_path: Path) -> None:
    path = annotated(tmp_path, [[PERSON]])
    (tmp_path / "0.png").unlink()
    with pytest.raises(SourceError, match=r"0\.png: no readable picture: is --images the folder"):
        evaluate(scripted_model([[]]), path, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"images": [], "annotations": [], "categories": []}', "{"])
def test_what_is_no_annotation_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "truth.json"
    path.write_text(text)
    with pytest.raises(SourceError, match=r"truth\.json"):
        evaluate(scripted_model([[]]), path, tmp_path)


def test_categories_that_the_model_does_not_know_are_refused(tmp_path: Path) -> None:
    path = annotated(tmp_path, [[PERSON]], categories=[{"id": 62, "name": "chair"}])
    with pytest.raises(UsageError, match="none of its categories"):
        evaluate(scripted_model([[]]), path, tmp_path)
