"""`edgekit.open(name)`: a model of the zoo or a file, ready to look at pictures.

model = edgekit.open("detect/…/dense_int8")
for box, score, label in zip(*model.detect(image)): ...
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit import decode, preprocess, zoo
from edgekit.device.machine import resident_mb
from edgekit.engine import Engine, TensorInfo, load
from edgekit.engine.worker import WorkerEngine
from edgekit.errors import ConfigError, ModelError, SourceError, UsageError
from edgekit.types import Detections, Image


class Model:
    """An engine with the knowledge of what its tensors mean. Not safe to call from two threads at once.

    Attributes: `name`, `task` ("detect" or "classify"), `labels` (class names in order; `named` when a card
    tells them), `sha256` of the file, `engine`, and the two halves of the reading: `input` and `output`.
    """

    def __init__(
        self, name: str, engine: Engine, card: zoo.Card | None, sha256: str, grown_mb: float = 0.0
    ) -> None:
        self._grown_mb = grown_mb
        self.name = name
        self.engine = engine
        self.sha256 = sha256
        shapes = [info.shape for info in engine.outputs]
        self.task = card.task if card else _guess_task(shapes)
        self.named = card is not None
        self.labels = card.labels if card else _guess_labels(shapes, self.task)
        facts = (card.input, card.output) if card else ({}, {})
        try:
            self.input = input_spec(engine.inputs, facts[0])
            self.output = output_spec(engine.outputs, facts[1], self)
        except (TypeError, ValueError, KeyError) as error:
            raise ConfigError(f"card of {name}: {error}") from None

    @property
    def identity(self) -> dict[str, object]:
        """What an event tells of it."""
        return {"id": self.name, "sha256": self.sha256, "engine": self.engine.name, **self.engine.facts}

    @property
    def memory_mb(self) -> float:
        """What it holds: by how much its process grew when it was opened and first run."""
        return self.engine.memory_mb if isinstance(self.engine, WorkerEngine) else self._grown_mb

    def detect(self, image_bgr: Image, min_score: float = 0.25) -> Detections:
        """What is in `image_bgr` (height, width, 3) uint8: boxes in its pixels, best score first.

        Raises UsageError when the model is no detector, SourceError when the image is no such array.
        """
        tensor, placement = self.prepare(image_bgr)
        return self.decode(self.engine.run(tensor), placement, min_score)

    def classify(self, image_bgr: Image, top: int = 5) -> list[tuple[str, float]]:
        """The `top` best classes of `image_bgr` as (label, probability), best first.

        Raises UsageError when the model is no classifier, SourceError when the image is no such array.
        """
        if top < 1:
            raise UsageError(f"top: expected 1 or more, not {top}")
        scores = decode.class_scores(self._class_output(image_bgr), self.output.quants[0])
        order = np.argsort(-scores, kind="stable")[:top]
        return [(self.labels[i], float(scores[i])) for i in order]

    def best(self, image_bgr: Image) -> int:
        """Number of the best class of `image_bgr`; the first one of equals. Raises as `classify` does."""
        return int(self._class_output(image_bgr).argmax())

    def _class_output(self, image_bgr: Image) -> NDArray[Any]:
        self._expect("classify")
        return self.engine.run(self.prepare(image_bgr)[0])[0]

    def prepare(self, image_bgr: Image) -> tuple[NDArray[Any], preprocess.Placement]:
        """First third of `detect`: the input tensor and where the picture lies in it."""
        if not isinstance(image_bgr, np.ndarray) or image_bgr.ndim != 3 or image_bgr.shape[2] != 3:
            raise SourceError(f"an image is an array (height, width, 3) uint8, not {_shape(image_bgr)}")
        if image_bgr.dtype != np.uint8 or not image_bgr.size:
            raise SourceError(f"an image is uint8 and not empty, not {image_bgr.dtype} {_shape(image_bgr)}")
        return preprocess.prepare_tensor(image_bgr, self.input)

    def decode(
        self, outputs: Sequence[NDArray[Any]], placement: preprocess.Placement, min_score: float
    ) -> Detections:
        """Last third of `detect`: output tensors -> detections in pixels of the frame."""
        self._expect("detect")
        if not 0 <= min_score <= 1:
            raise UsageError(f"min_score: expected 0 to 1, not {min_score}")
        found = decode.suppress(decode.find_candidates(outputs, self.output, min_score))
        boxes = preprocess.boxes_to_frame(found.boxes, placement)
        return decode.name_classes(found, boxes, self.labels)

    def _expect(self, task: str) -> None:
        if self.task != task:
            raise UsageError(f"{self.name} is a model to {self.task}, not to {task}")


def open(  # noqa: A001
    name: str | Path, engine: str = "auto", threads: int = 1, *, worker: bool = False
) -> Model:
    """Open a model of the zoo by name, or a `.tflite` by path.

    `engine` is "auto", "native" or "tflite"; with `worker` it runs in a process of its own, whose crash is a
    CrashError. A path takes its meaning from `<stem>.yaml` or `card.yaml`
    beside it, in the form of the zoo's cards; without one, common output layouts are recognised. Raises
    UsageError for an unknown name, ModelError for a file that is damaged or of an unknown kind.
    """
    path, card = find_file(name)
    digest = zoo.check_digest(path, card.sha256 if card else "")
    before_mb = resident_mb()
    opened = (WorkerEngine if worker else load)(path, engine, threads)
    opened.run(
        [np.zeros(info.shape, info.dtype) for info in opened.inputs]
    )  # the first run takes memory, too
    grown_mb = max(0.0, resident_mb() - before_mb)
    return Model(card.name if card else path.name, opened, card, digest, grown_mb)


def find_file(name: str | Path) -> tuple[Path, zoo.Card | None]:
    """The `.tflite` that `name` means, and its card if there is one."""
    if not isinstance(name, str | os.PathLike):
        raise UsageError(f"expected the name of a model or the path of a .tflite file, not {name!r}")
    path = Path(name)
    is_there = os.path.isfile(path)  # noqa: PTH113  (Path's raises for a folder that is closed, and long names)
    if path.suffix != ".tflite" and not is_there:
        found = zoo.find_model(str(name))
        return found.path, found.card
    if not is_there:
        raise ModelError(f"{path}: no such file: give a .tflite, or a name out of `edgekit zoo list`")
    beside = (path.with_suffix(".yaml"), path.parent / "card.yaml")
    return path, next((zoo.read_card(p) for p in beside if p.is_file()), None)


def carded(name: str | Path) -> list[zoo.ZooModel]:
    """The `.tflite` that `name` means, or those of a folder that have a card, as models of a zoo.

    Raises UsageError where no card says what a model is for.
    """
    path = Path(name)
    files = sorted(path.glob("*.tflite")) if path.is_dir() else [path]
    found = [(file, card) for file, card in map(find_file, files) if card]
    if not found:
        raise UsageError(f"{path}: no card.yaml beside it that tells task, labels and accuracy")
    return [zoo.ZooModel(str(file), file, card) for file, card in found]


def input_spec(inputs: Sequence[TensorInfo], facts: dict[str, Any]) -> preprocess.InputSpec:
    """The card's words about the input on top of what the tensor itself says.

    Without a card, a pixel 0..255 fills the whole range of an integer tensor, and 0..1 of a float one.
    """
    info = inputs[0]
    if len(inputs) != 1 or len(info.shape) != 4 or info.shape[0] != 1 or info.shape[3] not in (1, 3):
        raise ModelError(
            f"input {[i.shape for i in inputs]} is no picture: expected one (1, height, width, 1 or 3)"
        )
    gain, offset = _guess_gain(info)
    grey = info.shape[3] == 1
    color = facts.get("color", "grey" if grey else "rgb")
    if color not in (("grey",) if grey else ("bgr", "rgb")):
        raise ValueError(f"input: color: {color!r} does not fit a tensor of {info.shape[3]} channels")
    fit = facts.get("resize", "letterbox_center")
    if fit not in ("letterbox_topleft", "letterbox_center", "stretch"):
        raise ValueError(
            f"input: resize: expected letterbox_topleft, letterbox_center or stretch, not {fit!r}"
        )
    return preprocess.InputSpec(
        shape=info.shape,
        dtype=info.dtype,
        scale=info.scale,
        zero_point=info.zero_point,
        color=color,
        fit=fit,
        pad=int(facts.get("pad", 114)),
        gain=float(facts.get("gain", gain)),
        offset=float(facts.get("offset", offset)),
    )


def output_spec(outputs: Sequence[TensorInfo], facts: dict[str, Any], model: Model) -> decode.OutputSpec:
    """The card's words about the outputs on top of what the tensors themselves say."""
    shapes = [info.shape for info in outputs]
    decoder = "scores" if model.task == "classify" else str(facts.get("decoder", ""))
    if model.task == "detect":
        decoder = decoder or decode.guess_decoder(shapes, len(model.labels))
        if decoder not in decode.DECODERS:
            raise ValueError(
                f"output: decoder: expected one of {', '.join(decode.DECODERS)}, not {decoder!r}"
            )
        _check_layout(decoder, shapes, facts, model)
    elif int(np.prod(shapes[0])) != len(model.labels):
        raise ValueError(f"{len(model.labels)} labels for an output of shape {shapes[0]}")
    quants = tuple(decode.Quant(info.scale, info.zero_point) for info in outputs)
    spread = 255 * quants[0].scale
    return decode.OutputSpec(
        decoder=decoder,
        labels=model.labels,
        width=model.input.width,
        height=model.input.height,
        quants=quants,
        strides=tuple(int(s) for s in facts.get("strides", ())),
        box_divisor=float(facts.get("box_divisor", 1.0)),
        normalised=bool(facts.get("normalised", decoder.startswith("yolo") and 0 < spread < 4)),
    )


def _check_layout(decoder: str, shapes: list[tuple[int, ...]], facts: dict[str, Any], model: Model) -> None:
    """The shapes that the decoder will index without looking."""
    if decoder != "anchor_free":
        if decode.guess_decoder(shapes, len(model.labels)) != decoder:
            raise ValueError(f"outputs {shapes} are not the layout of decoder {decoder}")
        return
    strides = facts.get("strides", ())
    size = (model.input.height, model.input.width)
    expected = [(1, size[0] // s, size[1] // s) for s in strides]
    channels = [shape[-1] for shape in shapes]
    if [shape[:3] for shape in shapes] != expected or min(channels) < 4 + len(model.labels):
        raise ValueError(
            f"outputs {shapes} do not fit strides {list(strides)} and {len(model.labels)} labels"
        )


def _guess_gain(info: TensorInfo) -> tuple[float, float]:
    if not np.issubdtype(info.dtype, np.integer):
        return 1 / 255, 0.0
    limits = np.iinfo(info.dtype)
    scale = info.scale or 1.0
    low, high = ((v - info.zero_point) * scale for v in (limits.min, limits.max))
    return (high - low) / 255, low


def _guess_task(shapes: Sequence[tuple[int, ...]]) -> str:
    return "classify" if len(shapes) == 1 and len(shapes[0]) <= 2 else "detect"


def _guess_labels(shapes: Sequence[tuple[int, ...]], task: str) -> tuple[str, ...]:
    """COCO's 80 names where the shape says 80 classes (or the SSD layout says nothing), else numbers."""
    count = int(np.prod(shapes[0])) if task == "classify" else 80
    if count == 80:
        return tuple(files(zoo).joinpath("coco80.txt").read_text(encoding="utf-8").split("\n")[:80])
    return tuple(f"class {i}" for i in range(count))


def _shape(value: object) -> str:
    return str(getattr(value, "shape", type(value).__name__))
