"""False alarms and misses of a detector on labelled photos, without and with a second look."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgekit.config.models import SecondLookConfig
from edgekit.errors import SourceError
from edgekit.evaluate.labelled import Photo
from edgekit.inference import Model
from edgekit.pipeline.second_look import SecondLook
from edgekit.track import match, overlap
from edgekit.types import Detections

SAME_IOU = 0.5


@dataclass(slots=True)
class Mistakes:
    """Of one class: things in the photos, those that were missed, and alarms where there is none of it.

    `confused` are those of the false alarms that lie on another class that was asked about.
    """

    things: int = 0
    missed: int = 0
    false_alarms: int = 0
    confused: int = 0

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


def count_mistakes(
    model: Model,
    second: Model,
    config: SecondLookConfig,
    photos: Sequence[Photo],
    min_score: float = 0.5,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> tuple[dict[str, Mistakes], dict[str, Mistakes]]:
    """The mistakes by class of `config.between`: of the detector alone, and with the second look.

    A thing is found by a detection of its class that overlaps it by half. Crowds, which nobody can count,
    are neither missed nor false alarms. Raises SourceError for a photo that cannot be read.
    """
    import cv2

    look = SecondLook(second, config)
    alone, helped = ({label: Mistakes() for label in config.between} for _ in range(2))
    for photo in progress(photos):
        image = cv2.imread(str(photo.path), cv2.IMREAD_COLOR) if photo.path.is_file() else None
        if image is None:
            raise SourceError(f"{photo.path}: no readable picture")
        found = model.detect(image, min_score / 2)
        for each, mistakes in ((found, alone), (look.check(image, found), helped)):
            _count(photo, _sure(each, min_score), mistakes)
    return alone, helped


def _sure(found: Detections, min_score: float) -> Detections:
    keep = found.scores >= min_score
    return Detections(found.boxes[keep], found.scores[keep], found.labels[keep])


def _count(photo: Photo, found: Detections, mistakes: dict[str, Mistakes]) -> None:
    corners = [
        (name, (x, y, x + w, y + h), crowd) for name, (x, y, w, h), crowd in photo.boxes if name in mistakes
    ]
    for label, told in mistakes.items():
        seen = found.boxes[[str(each) == label for each in found.labels]].astype(np.float64)
        things = _array([box for name, box, crowd in corners if name == label and not crowd])
        crowds = _array([box for name, box, crowd in corners if name == label and crowd])
        others = _array([box for name, box, _ in corners if name != label])
        pairs = match(overlap(seen, things), SAME_IOU)
        told.things += len(things)
        told.missed += len(things) - len(pairs)
        wrong = np.array([i for i in range(len(seen)) if i not in {row for row, _ in pairs}], np.intp)
        wrong = wrong[~_covered(seen[wrong], crowds)]
        told.false_alarms += len(wrong)
        told.confused += int((overlap(seen[wrong], others) >= SAME_IOU).any(axis=1).sum())


def _array(boxes: Sequence[tuple[float, float, float, float]]) -> Any:
    return np.array(boxes, np.float64).reshape(-1, 4)


def _covered(boxes: Any, crowds: Any) -> Any:
    """Which boxes lie mostly in a crowd."""
    low = np.maximum(boxes[:, None, :2], crowds[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], crowds[None, :, 2:])
    inside = np.prod(np.maximum(high - low, 0), axis=2)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return (inside >= SAME_IOU * np.maximum(area, 1e-6)[:, None]).any(axis=1)
