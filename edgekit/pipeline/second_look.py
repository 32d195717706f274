"""Person or animal: a classifier looks again, at full resolution, where the detector hesitates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgekit.config.models import SecondLookConfig
from edgekit.inference import Model
from edgekit.preprocess import crop_box
from edgekit.track import overlap
from edgekit.types import Detections, Image, Track

MARGIN = 0.1  # of a box's sides, around it: what the classifier of the zoo was trained on
SAME_IOU = 0.5  # overlap at which two boxes are of one thing
LOOKS = 4  # at most in one frame: the most likely things


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the classifier says of one box: the probability of each class."""

    box: tuple[float, float, float, float]
    chances: dict[str, float]

    @property
    def best(self) -> str:
        return max(self.chances, key=self.chances.__getitem__)


class SecondLook:
    """The second look of one camera. `verdicts` are those of the last frame."""

    def __init__(self, model: Model, config: SecondLookConfig) -> None:
        self._model, self._config = model, config
        self.verdicts: list[Verdict] = []
        self._known: dict[int, Verdict] = {}  # of each track, the last

    def check(self, image: Image, found: Detections) -> Detections:
        """The detections, those that the detector hesitates about as the classifier sees them.

        A class that was asked about gives the thing its name; any other makes it as doubtful as the
        classifier is sure. Without a clear answer the detector is believed.
        """
        self.verdicts = []
        hesitations = self._hesitations(found)
        if not hesitations:
            return found
        scores, labels = found.scores.copy(), list(map(str, found.labels))
        for i in hesitations:
            crop = crop_box(image, found.boxes[i], MARGIN)
            chances = dict(self._model.classify(crop, len(self._model.labels)))
            x1, y1, x2, y2 = map(float, found.boxes[i])
            verdict = Verdict((x1, y1, x2, y2), chances)
            self.verdicts.append(verdict)
            if chances[verdict.best] < self._config.verdict:
                continue
            if verdict.best in self._config.between:
                labels[i] = verdict.best
            else:
                scores[i] *= 1 - chances[verdict.best]
        return Detections(found.boxes, scores, np.array(labels))

    def mark(self, tracks: Sequence[Track]) -> list[Track]:
        """The tracks with the last verdict on each."""
        known = {}
        for track in tracks:
            boxes = np.array([verdict.box for verdict in self.verdicts]).reshape(-1, 4)
            alike = overlap(np.array([track.box]), boxes)[0] if track.missed == 0 else np.zeros(0)
            if alike.size and alike.max() >= SAME_IOU:
                known[track.id] = self.verdicts[int(alike.argmax())]
            elif track.id in self._known:
                known[track.id] = self._known[track.id]
        self.verdicts, self._known = [], known
        return [replace(t, verify=known[t.id].chances) if t.id in known else t for t in tracks]

    def _hesitations(self, found: Detections) -> list[int]:
        """Which detections are unsure, or lie on one that says otherwise; the best first."""
        asked = [i for i, label in enumerate(found.labels) if label in self._config.between]
        boxes, labels = found.boxes[asked].astype(np.float64), found.labels[asked]
        contradicted = ((overlap(boxes, boxes) >= SAME_IOU) & (labels[:, None] != labels)).any(axis=1)
        doubts = contradicted | (found.scores[asked] < self._config.sure)
        unsure = [i for i, doubt in zip(asked, doubts, strict=True) if doubt]
        return sorted(unsure, key=lambda i: -float(found.scores[i]))[:LOOKS]
