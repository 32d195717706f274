"""Output tensors -> boxes, scores and classes, for the output layouts of this field.

Every decoder has one shape: (outputs, spec, min_score) -> Candidates in pixels of the input tensor,
before suppression. `detections` then suppresses doubles class by class and names the classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ModelError
from edgekit.types import Detections

Floats: TypeAlias = NDArray[np.float32]
MAX_CANDIDATES = 1000  # best boxes that enter suppression; COCO's metric counts at most 100 an image


@dataclass(frozen=True, slots=True)
class Quant:
    """real = (stored - zero_point) * scale; scale 0 marks a tensor that holds real numbers."""

    scale: float = 0.0
    zero_point: int = 0


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """How to read a model's outputs.

    `decoder` is a key of DECODERS. `width` and `height` are the input tensor's pixels, `quants` one entry an
    output, `labels` the class names in order. `strides` and `box_divisor` belong to `anchor_free`;
    `normalised` says that boxes come as fractions of the input.
    """

    decoder: str
    labels: tuple[str, ...]
    width: int
    height: int
    quants: tuple[Quant, ...]
    strides: tuple[int, ...] = ()
    box_divisor: float = 1.0
    normalised: bool = False


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes (n, 4) x1 y1 x2 y2 in input pixels, scores (n,), class indices (n,)."""

    boxes: Floats
    scores: Floats
    classes: NDArray[np.intp]


Decoder: TypeAlias = Callable[[Sequence[NDArray[Any]], OutputSpec, float], Candidates]


def find_candidates(outputs: Sequence[NDArray[Any]], spec: OutputSpec, min_score: float) -> Candidates:
    """All boxes with a score of `min_score` or more, not yet suppressed."""
    return DECODERS[spec.decoder](outputs, spec, min_score)


def suppress(found: Candidates, iou: float = 0.5) -> Candidates:
    """Keep the best of each heap of overlapping boxes of one class (greedy NMS), best score first."""
    import cv2

    if not len(found.scores):
        return found
    order = np.argsort(-found.scores, kind="stable")[:MAX_CANDIDATES]
    boxes, scores, classes = found.boxes[order], found.scores[order], found.classes[order]
    corner_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxesBatched(corner_size.tolist(), scores.tolist(), classes.tolist(), 0.0, iou)
    keep = np.sort(np.asarray(kept, np.intp).reshape(-1))
    return Candidates(boxes[keep], scores[keep], classes[keep])


def name_classes(found: Candidates, boxes: Floats, labels: Sequence[str]) -> Detections:
    """Detections with the names of `labels`, with `boxes` in place of the candidates' own."""
    return Detections(boxes, found.scores, np.array([labels[i] for i in found.classes], np.str_))


def class_scores(output: NDArray[Any], quant: Quant) -> Floats:
    """A classifier's output (1, classes) -> probabilities (classes,); logits get a softmax."""
    real = _real(output, quant).reshape(-1)
    if real.min() >= 0 and real.max() <= 1.001:
        return real
    shifted = np.exp(real - real.max())
    return np.asarray(shifted / shifted.sum(), np.float32)


def _real(stored: NDArray[Any], quant: Quant) -> Floats:
    if not quant.scale:
        return stored.astype(np.float32)
    return (stored.astype(np.float32) - np.float32(quant.zero_point)) * np.float32(quant.scale)


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-x)), np.float32)


def _corners(centre_size: Floats) -> Floats:
    """(n, 4) cx cy w h -> x1 y1 x2 y2."""
    half = centre_size[:, 2:] / 2
    return np.concatenate([centre_size[:, :2] - half, centre_size[:, :2] + half], axis=1)


def _join(parts: Sequence[Candidates]) -> Candidates:
    return Candidates(
        np.concatenate([p.boxes for p in parts]),
        np.concatenate([p.scores for p in parts]),
        np.concatenate([p.classes for p in parts]),
    )


def _anchor_free(outputs: Sequence[NDArray[Any]], spec: OutputSpec, min_score: float) -> Candidates:
    """One (1, h, w, 4 + classes [+ spare]) map a stride: dx dy log-w log-h in strides, then class logits.

    YOLOX's box parametrisation (Ge et al. 2021) with one joint logit a class instead of objectness x class.
    """
    levels = zip(outputs, spec.quants, spec.strides, strict=True)
    return _join([_anchor_free_level(o, q, s, spec, min_score) for o, q, s in levels])


def _anchor_free_level(
    output: NDArray[Any], quant: Quant, stride: int, spec: OutputSpec, min_score: float
) -> Candidates:
    rows = output.reshape(-1, output.shape[-1])
    stored = rows[:, 4 : 4 + len(spec.labels)]
    best = stored.argmax(axis=1)  # quantisation keeps the order, so the search runs on the stored integers
    logits = _real(np.take_along_axis(stored, best[:, None], axis=1)[:, 0], quant)
    keep = np.flatnonzero(logits >= _logit(min_score))
    raw = _real(rows[keep, :4], quant) / np.float32(spec.box_divisor)
    cell_y, cell_x = np.divmod(keep, output.shape[2])
    centre = (raw[:, :2] + np.stack([cell_x, cell_y], axis=1).astype(np.float32)) * np.float32(stride)
    size = np.exp(raw[:, 2:]) * np.float32(stride)
    return Candidates(_corners(np.concatenate([centre, size], axis=1)), _sigmoid(logits[keep]), best[keep])


def _logit(score: float) -> float:
    bounded = min(max(score, 1e-6), 1 - 1e-6)
    return float(np.log(bounded / (1 - bounded)))


def _yolo_columns(outputs: Sequence[NDArray[Any]], spec: OutputSpec, min_score: float) -> Candidates:
    """(1, 4 + classes, n): cx cy w h, then class probabilities; as anchor-free YOLOs export."""
    return _yolo(_real(outputs[0], spec.quants[0])[0].T, 4, spec, min_score)


def _yolo_rows(outputs: Sequence[NDArray[Any]], spec: OutputSpec, min_score: float) -> Candidates:
    """(1, n, 5 + classes): cx cy w h objectness, then class probabilities; as anchor-based YOLOs export."""
    return _yolo(_real(outputs[0], spec.quants[0])[0], 5, spec, min_score)


def _yolo(rows: Floats, first_class: int, spec: OutputSpec, min_score: float) -> Candidates:
    classes = rows[:, first_class:].argmax(axis=1)
    scores = rows[:, first_class:].max(axis=1)
    if first_class == 5:
        scores = scores * rows[:, 4]
    keep = np.flatnonzero(scores >= min_score)
    boxes = _corners(rows[keep, :4])
    if spec.normalised:
        boxes = boxes * np.array([spec.width, spec.height] * 2, np.float32)
    return Candidates(boxes, scores[keep], classes[keep])


def _ssd(outputs: Sequence[NDArray[Any]], spec: OutputSpec, min_score: float) -> Candidates:
    """Boxes (1, n, 4) as y1 x1 y2 x2 fractions, classes (1, n), scores (1, n), count: TFLite's own output."""
    boxes, classes, scores, count = (_real(o, q) for o, q in zip(outputs, spec.quants, strict=True))
    n = min(int(count.reshape(-1)[0]), scores.shape[1])
    keep = np.flatnonzero((scores[0, :n] >= min_score) & (classes[0, :n] < len(spec.labels)))
    size = np.array([spec.width, spec.height] * 2, np.float32)
    return Candidates(
        boxes[0, keep][:, [1, 0, 3, 2]] * size, scores[0, keep], classes[0, keep].astype(np.intp)
    )


DECODERS: dict[str, Decoder] = {
    "anchor_free": _anchor_free,
    "yolo_columns": _yolo_columns,
    "yolo_rows": _yolo_rows,
    "ssd": _ssd,
}


def guess_decoder(shapes: Sequence[tuple[int, ...]], classes: int) -> str:
    """The decoder whose layout these output shapes have; ModelError when none has it."""
    if len(shapes) == 4 and shapes[0][-1] == 4 and shapes[1] == shapes[2] == shapes[0][:2]:
        return "ssd"
    if len(shapes) == 1 and len(shapes[0]) == 3:
        if shapes[0][1] == 4 + classes:
            return "yolo_columns"
        if shapes[0][2] == 5 + classes:
            return "yolo_rows"
    raise ModelError(
        f"outputs {list(shapes)} are no detector layout that edgekit knows for {classes} classes: "
        f"put a card.yaml beside the model that names its decoder ({', '.join(DECODERS)})"
    )
