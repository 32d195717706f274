"""Stand-ins for tests of the pipeline: a model that sees what it is told to, a source that takes notes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.engine import ListEngine, TensorInfo
from edgekit.inference import Model
from edgekit.sources import Source
from edgekit.types import Frame
from edgekit.zoo import Card

LABELS = ("person", "dog", "cat", "car")
SIZE, STRIDE = 64, 8
Seen = tuple[
    str, tuple[float, float, float, float], float
]  # label, x1 y1 x2 y2 in pixels of a 64 x 64 frame, score


def card(**output: object) -> Card:
    facts = {"decoder": "anchor_free", "strides": [STRIDE], "box_divisor": 2, **output}
    return Card("scripted", "detect", LABELS, "", {"color": "bgr", "resize": "letterbox_topleft"}, facts, {})


def output_map(seen: Sequence[Seen]) -> np.ndarray:
    """The (1, 8, 8, 8) output that decodes to `seen`."""
    cells = SIZE // STRIDE
    out = np.full((1, cells, cells, 4 + len(LABELS)), -12, np.float32)
    for label, (x1, y1, x2, y2), score in seen:
        cx, cy = (x1 + x2) / 2 / STRIDE, (y1 + y2) / 2 / STRIDE
        row, column = int(cy), int(cx)
        size = np.log([(x2 - x1) / STRIDE, (y2 - y1) / STRIDE])
        out[0, row, column, :4] = np.array([cx - column, cy - row, *size]) * 2
        out[0, row, column, 4 + LABELS.index(label)] = np.log(score / (1 - score))
    return out


def scripted_model(frames: Sequence[Sequence[Seen]]) -> Model:
    """A detector whose n-th call sees `frames[n]`."""
    info = TensorInfo("image", (1, SIZE, SIZE, 3), np.dtype(np.int8), 1.0, -128)
    return Model("scripted", ListEngine([info], [[output_map(seen)] for seen in frames]), card(), "0" * 64)


class Revolving:
    """An engine that gives its outputs in turn, for ever, and remembers nothing."""

    name = "revolving"
    facts: Mapping[str, object] = MappingProxyType({})
    peak_memory_bytes = 0

    def __init__(self, inputs: Sequence[TensorInfo], outputs: Sequence[NDArray[Any]]) -> None:
        self.inputs = tuple(inputs)
        self.outputs = (TensorInfo("output", outputs[0].shape, outputs[0].dtype),)
        self._runs = cycle(outputs)

    def run(self, x: NDArray[Any] | Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        return [next(self._runs)]

    def close(self) -> None:
        self._runs = cycle([])


def revolving_model(frames: Sequence[Sequence[Seen]]) -> Model:
    """A detector that sees `frames` in turn, for ever."""
    info = TensorInfo("image", (1, SIZE, SIZE, 3), np.dtype(np.int8), 1.0, -128)
    engine = Revolving([info], [output_map(seen) for seen in frames])
    return Model("scripted", engine, card(), "0" * 64)


class Bright:
    """An engine that sees the one bright thing in a picture, and remembers nothing."""

    name = "bright"
    facts: Mapping[str, object] = MappingProxyType({})
    peak_memory_bytes = 0

    def __init__(self) -> None:
        self.inputs = (TensorInfo("image", (1, SIZE, SIZE, 3), np.dtype(np.int8), 1.0, -128),)
        self.outputs = (TensorInfo("output", (1, 8, 8, 8), np.dtype(np.float32)),)

    def run(self, x: NDArray[Any] | Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        rows, columns = np.nonzero(np.asarray(x)[0, :, :, 0] > 40)
        if not len(rows):
            return [output_map([])]
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        return [output_map([("person", box, 0.9)])]

    def close(self) -> None:
        """It holds nothing."""


def bright_model() -> Model:
    """A detector of what is bright."""
    return Model("scripted", Bright(), card(), "0" * 64)


def blank_frames(count: int, camera: str = "front", fps: float = 10.0) -> list[Frame]:
    """Grey 64 x 64 frames of a camera that starts at second 1000 of the epoch."""
    image = np.full((SIZE, SIZE, 3), 114, np.uint8)
    return [Frame(image, camera, i, 1000 + i / fps, i / fps) for i in range(count)]


class Noting:
    """A source that remembers when its first frame was."""

    live, lost, fps, skipped, corrupt = False, False, 10.0, 0, 0

    def __init__(self, inner: Source) -> None:
        self._inner = inner
        self.first_s = 0.0

    def frames(self) -> Iterator[Frame]:
        for frame in self._inner.frames():
            self.first_s = self.first_s or frame.time_s
            yield frame

    def close(self) -> None:
        self._inner.close()


class Steady:
    """A live camera that never fails: a grey picture every few milliseconds."""

    live, lost, fps, skipped, corrupt = True, False, 10.0, 0, 0

    def __init__(self, camera: str) -> None:
        self._image = blank_frames(1, camera)[0].image
        self._camera = camera
        self._closed = threading.Event()

    def frames(self) -> Iterator[Frame]:
        index = 0
        while not self._closed.wait(0.005):
            yield Frame(self._image, self._camera, index, time.time(), time.monotonic())
            index += 1

    def close(self) -> None:
        self._closed.set()
