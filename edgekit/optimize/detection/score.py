"""Average precision of a torch detector on photographs, by pycocotools: for watching a training."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.errors import MissingExtraError
from edgekit.optimize.detection.batches import as_tensor
from edgekit.optimize.detection.photos import Photo, letterbox
from edgekit.optimize.detection.targets import Grid, make_grid, overlap

LEAST_SCORE = 0.01
MOST_BOXES = 300
OVERLAP = 0.6

Predict = Callable[[Tensor, Grid], tuple[Tensor, Tensor]]  # images to scores (b, n, c) and boxes (b, n, 4)


def average_precision(
    predict: Predict, photos: Sequence[Photo], size_px: int, classes: Sequence[str]
) -> dict[str, float]:
    """`map`, `ap50` and `<class>_ap50` over the photographs, in 0..1 (nan where a class has no box)."""
    results: list[dict[str, object]] = []
    grid = make_grid(size_px)
    for start in range(0, len(photos), 10):
        part = photos[start : start + 10]
        boxed = [letterbox(photo.image, size_px) for photo in part]
        with torch.inference_mode():
            scores, boxes = predict(as_tensor([image for image, _ in boxed]), grid)
        for number, photo in enumerate(part):
            found = suppress(scores[number].numpy(), boxes[number].numpy())
            results += _rows(photo.id, *found, boxed[number][1])
    return _evaluate(photos, results, classes)


def suppress(
    scores: NDArray[np.float32], boxes: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Greedy non-maximum suppression per class: boxes (k, 4), scores (k,) and labels (k,), best first."""
    where, labels = np.nonzero(scores > LEAST_SCORE)
    values = scores[where, labels]
    order = np.argsort(-values, kind="stable")[: 3 * MOST_BOXES]
    labels, values, kept_boxes = labels[order], values[order], boxes[where[order]]
    shifted = torch.from_numpy(kept_boxes + labels[:, None].astype(np.float32) * 1e4)
    clash = (overlap(shifted, shifted) > OVERLAP).numpy()
    alive = np.ones(len(order), np.bool_)
    for number in range(len(order)):
        if alive[number]:
            alive[number + 1 :] &= ~clash[number, number + 1 :]
    keep = np.nonzero(alive)[0][:MOST_BOXES]
    return kept_boxes[keep], values[keep], labels[keep]


def _rows(
    image: int,
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    scale: float,
) -> list[dict[str, object]]:
    sides = np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), 1) / scale
    return [
        {
            "image_id": image,
            "category_id": int(label) + 1,
            "bbox": [float(v) for v in side],
            "score": float(score),
        }
        for side, score, label in zip(sides, scores, labels, strict=True)
    ]


def _evaluate(
    photos: Sequence[Photo], results: list[dict[str, object]], classes: Sequence[str]
) -> dict[str, float]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise MissingExtraError("pycocotools", "train") from None
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = _dataset(photos, classes)
        truth.createIndex()
        if not results:
            return dict.fromkeys(("map", "ap50", *(f"{name}_ap50" for name in classes)), 0.0)
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 2]  # threshold, recall, class
    valid = np.where(precision > -1, precision, np.nan)
    with np.errstate(all="ignore"):
        each = np.array([np.mean(valid[0, :, index]) for index in range(len(classes))])
    names = {f"{name}_ap50": float(value) for name, value in zip(classes, each, strict=True)}
    return {"map": float(np.nanmean(valid)), "ap50": float(np.nanmean(valid[0])), **names}


def _dataset(photos: Sequence[Photo], classes: Sequence[str]) -> dict[str, object]:
    rows: list[dict[str, object]] = []
    for photo in photos:
        for box, label, ignored in zip(photo.boxes, photo.labels, photo.ignored, strict=True):
            x1, y1, x2, y2 = (float(value) for value in box)
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": photo.id,
                    "category_id": int(label) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": int(ignored),
                }
            )
    return {
        "images": [
            {"id": photo.id, "height": photo.image.shape[0], "width": photo.image.shape[1]}
            for photo in photos
        ],
        "annotations": rows,
        "categories": [{"id": number + 1, "name": name} for number, name in enumerate(classes)],
    }
