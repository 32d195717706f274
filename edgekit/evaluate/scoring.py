"""Score a detector by COCO's own metric, through the very code that a pipeline runs."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import MissingExtraError, SourceError, UsageError
from edgekit.evaluate.labelled import read_annotations
from edgekit.inference import Model

MIN_SCORE = 0.01  # low enough for the tail of the precision-recall curve


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Average precision in 0..1 over `labels`: `ap` is COCO's mean over IoU 0.50:0.95, `ap50` at IoU 0.50."""

    model: str
    engine: str
    images: int
    ap: float
    ap50: float
    labels: dict[str, dict[str, float]]  # label -> {"ap", "ap50", "boxes"}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def evaluate(
    model: Model,
    annotations: Path,
    images: Path,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Evaluation:
    """Run `model` over every image of a COCO annotation file and score it by pycocotools.

    Only the categories that the model knows are scored. Crowd boxes are ignored as COCO's metric does.
    Raises MissingExtraError without pycocotools, SourceError for unreadable files, UsageError when the
    model is no detector or knows none of the categories.
    """
    try:
        from pycocotools.coco import COCO
    except ImportError:
        raise MissingExtraError("pycocotools", "evaluate") from None
    facts = read_annotations(annotations)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = facts
        truth.createIndex()
    known = {c["name"]: c["id"] for c in facts["categories"] if c["name"] in model.labels}
    if not known:
        raise UsageError(f"{annotations}: none of its categories is one of {', '.join(model.labels)}")
    found = [row for image in progress(facts["images"]) for row in _detect(model, image, images, known)]
    return _score(model, truth, found, known)


def _detect(
    model: Model, image: dict[str, Any], folder: Path, known: dict[str, int]
) -> Iterable[dict[str, Any]]:
    import cv2

    path = folder / image["file_name"]
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if pixels is None:
        raise SourceError(f"{path}: no readable picture: is --images the folder of {image['file_name']}?")
    found = model.detect(pixels, MIN_SCORE)
    for (x1, y1, x2, y2), score, label in zip(found.boxes.tolist(), found.scores, found.labels, strict=True):
        if label in known:
            box = [x1, y1, x2 - x1, y2 - y1]
            yield {"image_id": image["id"], "category_id": known[label], "bbox": box, "score": float(score)}


def _score(model: Model, truth: Any, found: list[dict[str, Any]], known: dict[str, int]) -> Evaluation:
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        scorer = COCOeval(truth, truth.loadRes(found) if found else _nothing(truth), "bbox")
        scorer.params.catIds = sorted(known.values())
        scorer.evaluate()
        scorer.accumulate()
    precision = scorer.eval["precision"][:, :, :, 0, -1]  # (IoU, recall, category), all areas, 100 boxes
    labels = {}
    for name, id_ in known.items():
        curve = precision[:, :, scorer.params.catIds.index(id_)]
        boxes = sum(not truth.anns[i]["iscrowd"] for i in truth.getAnnIds(catIds=[id_]))
        labels[name] = {"ap": _mean(curve), "ap50": _mean(curve[0]), "boxes": boxes}
    scored = [row for row in labels.values() if row["boxes"]]
    return Evaluation(
        model=model.name,
        engine=model.engine.name,
        images=len(truth.imgs),
        ap=round(float(np.mean([row["ap"] for row in scored])), 4) if scored else 0.0,
        ap50=round(float(np.mean([row["ap50"] for row in scored])), 4) if scored else 0.0,
        labels=labels,
    )


def _nothing(truth: Any) -> Any:
    """An empty result, which pycocotools' own loader cannot make."""
    from pycocotools.coco import COCO

    empty = COCO()
    empty.dataset = {**truth.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _mean(curve: Any) -> float:
    valid = curve[curve > -1]
    return round(float(valid.mean()), 4) if valid.size else 0.0
