"""One camera's use of a model: what it looks for, and in which part of a frame."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.config.settings import DetectConfig
from edgekit.errors import CrashError
from edgekit.inference import Model
from edgekit.types import Detections, Image

DOUBTFUL = 0.5  # share of min_score down to which a detection may keep a track alive
CUT = 2.0  # pixels from the edge of a region within which a box is thought to be cut off there


class Watch(Protocol):
    """Takes the time of the stages."""

    def lap(self, stage: str) -> None: ...


class Detector:
    """Finds the watched classes. `floor` is the least score that `look` reports."""

    def __init__(self, model: Model, config: DetectConfig) -> None:
        self.labels = [name for name in model.labels if config.labels is None or name in config.labels]
        self.least = config.min_score * DOUBTFUL
        self.floor = self.least
        self.use(model)

    def use(self, model: Model) -> None:
        """Look with another model from now on; `labels` stay."""
        self.size = (model.input.width, model.input.height)
        self._model = model

    def look(self, image: Image, region: tuple[int, int, int, int] | None, watch: Watch) -> Detections:
        """All that is in the image, or wholly in a region of it (x1, y1, x2, y2), in pixels of the image.

        Nothing is seen while the engine's process is gone; its engine has said so.
        """
        x1, y1, x2, y2 = region or (0, 0, image.shape[1], image.shape[0])
        tensor, placement = self._model.prepare(image[y1:y2, x1:x2])
        watch.lap("preprocess")
        try:
            outputs = self._model.engine.run(tensor)
        except CrashError:
            return Detections.empty()
        watch.lap("infer")
        found = self._model.decode(outputs, placement, self.floor)
        if region is None:
            return found
        boxes = found.boxes + np.array([x1, y1, x1, y1], np.float32)
        whole = _uncut(boxes, region, image)
        return Detections(boxes[whole], found.scores[whole], found.labels[whole])

    def choose(self, seen: Detections) -> Detections:
        """Those that the tracker is told of: of the watched classes, and not too doubtful."""
        keep = np.isin(seen.labels, self.labels) & (seen.scores >= self.least)
        return seen if keep.all() else Detections(seen.boxes[keep], seen.scores[keep], seen.labels[keep])


def _uncut(boxes: NDArray[np.float32], region: tuple[int, int, int, int], image: Image) -> NDArray[np.bool_]:
    """Which boxes do not end where the region does, unless the image ends there too."""
    height, width = image.shape[:2]
    edges = np.array(region, np.float32)
    inner = np.array([region[0] > 0, region[1] > 0, region[2] < width, region[3] < height])
    return np.asarray(~((np.abs(boxes - edges) < CUT) & inner).any(axis=1))
