"""Print what one-shot pruning does to the accuracy of three public classifiers, at several sparsities.

    python tests/bench/oneshot.py DATA            # all three; or name some: resnet vww mobilenet

DATA holds models/, classification/ and coco_security/. Nothing is trained: 512 pictures of the training part
calibrate, others judge. ResNet-8 of MLPerf Tiny is shown CIFAR-10; the person detector of MLPerf Tiny, whose
answer is yes where a person's box covers more than 0.5 % of the picture, and MobileNetV2 are shown COCO's
photographs and judged on those of the validation part and on a hundred of ImageNet.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit import engine, model
from edgekit.inference import input_spec
from edgekit.model.graph import Graph
from edgekit.model.tensors import describe
from edgekit.optimize.oneshot import MOST_INPUTS, Calibration, Goal, prune
from edgekit.optimize.oneshot.pattern import parse_pattern
from edgekit.preprocess import prepare_tensor

Labelled = Iterator[tuple[NDArray[np.uint8], int]]
Row = tuple[str, float | None]  # a pattern, a sparsity
FREE: list[Row] = [("unstructured", share) for share in (0.5, 0.6, 0.7, 0.8)]
BLOCKS: list[Row] = [("1x4", share) for share in (0.5, 0.6, 0.7)]
PERSON, LEAST_SHARE = 1, 0.005


def packed(path: Path, offset: int = 0, most: int | None = None) -> Labelled:
    """Pictures of an .npz of JPEG files, BGR, and their labels plus `offset`."""
    found = np.load(path)
    raw, ends, labels = found["jpeg"], found["offsets"], found["labels"]
    for number in range(len(labels) if most is None else min(most, len(labels))):
        image = cv2.imdecode(raw[ends[number] : ends[number + 1]], cv2.IMREAD_COLOR)
        yield np.asarray(image, np.uint8), int(labels[number]) + offset


def photographs(folder: Path, part: str, most: int | None = None) -> Labelled:
    """Photographs with 1 where a person's box covers more than 0.5 % of the picture."""
    facts = json.loads((folder / f"annotations_{part}.json").read_text())
    shares: dict[int, float] = {}
    for box in facts["annotations"]:
        if box["category_id"] == PERSON:
            area = box["bbox"][2] * box["bbox"][3]
            shares[box["image_id"]] = max(shares.get(box["image_id"], 0.0), area)
    rows = facts["images"]
    for row in rows[:: max(1, len(rows) // most)][:most] if most else rows:
        image = cv2.imread(str(folder / "images" / row["file_name"]))
        share = shares.get(row["id"], 0.0) / (row["width"] * row["height"])
        yield np.asarray(image, np.uint8), int(share > LEAST_SHARE)


@dataclass(frozen=True)
class Task:
    """A model, what it is shown and what it is judged by."""

    file: str
    shown: Callable[[Path], Labelled]
    judged: Callable[[Path], Labelled]
    rows: Sequence[Row]


TASKS = {
    "resnet": Task(
        "mlperf_pretrainedResnet_quant.tflite",
        lambda data: packed(data / "classification/cifar10_jpeg_train.npz", most=MOST_INPUTS),
        lambda data: packed(data / "classification/cifar10_jpeg_val.npz"),
        [*FREE, *BLOCKS, ("2:4", None), ("4:8", None), ("1:4", None)],
    ),
    "vww": Task(
        "mlperf_vww_96_int8.tflite",
        lambda data: photographs(data / "coco_security", "train", MOST_INPUTS),
        lambda data: photographs(data / "coco_security", "val"),
        [*FREE, *BLOCKS, ("unstructured", 0.9), ("unstructured", 0.95), ("1x4", 0.9)],
    ),
    "mobilenet": Task(
        "coral_tf2_mobilenet_v2_1.0_224_ptq.tflite",
        lambda data: photographs(data / "coco_security", "train", MOST_INPUTS),
        lambda data: packed(data / "classification/imagenet_sample_100.npz", offset=1),
        [*FREE, *BLOCKS],
    ),
}


class Bench:
    """One task with its pictures read."""

    def __init__(self, task: Task, data: Path) -> None:
        self.graph = model.read(data / "models" / task.file)
        spec = input_spec(describe(self.graph, self.graph.inputs), {"resize": "stretch"})
        self.shown = Calibration([[prepare_tensor(image, spec)[0]] for image, _ in task.shown(data)])
        self.judged = [(prepare_tensor(image, spec)[0], label) for image, label in task.judged(data)]

    def accuracy(self, graph: Graph) -> tuple[float, float]:
        """Of all pictures, and the mean over the classes."""
        runner = engine.load_graph(graph, "bench")
        hits = np.array([runner.run(x)[0].argmax() == label for x, label in self.judged])
        labels = np.array([label for _, label in self.judged])
        return float(hits.mean()), float(np.mean([hits[labels == k].mean() for k in np.unique(labels)]))

    def row(self, pattern: str, sparsity: float | None) -> list[str]:
        started = time.monotonic()
        pruned, report = prune(self.graph, self.shown, Goal(parse_pattern(pattern), sparsity), lambda _: None)
        seconds = time.monotonic() - started
        sizes = [len(model.write(pruned, sparse=True)), len(model.write(self.graph))]
        name = pattern if sparsity is None else f"{pattern} {sparsity:.0%}"
        return [
            name, f"{report.sparsity:.1%}", *(f"{100 * a:.1f}" for a in self.accuracy(pruned)),
            f"{report.output_error:.3f}", f"{sizes[0] / sizes[1]:.2f}", f"{seconds:.0f}",
        ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy of networks that were pruned in one shot.")
    parser.add_argument("data", type=Path, help="holds models/, classification/ and coco_security/")
    parser.add_argument("tasks", nargs="*", default=list(TASKS), help=", ".join(TASKS))
    parser.add_argument("--rows", type=int, nargs="*", help="only these rows of the tables, from 0")
    arguments = parser.parse_args()
    if unknown := set(arguments.tasks) - TASKS.keys():
        parser.error(f"no task {min(unknown)}; there are {', '.join(TASKS)}")
    for name in arguments.tasks:
        task = TASKS[name]
        bench = Bench(task, arguments.data)
        print_row([task.file, "zero", "accuracy", "by class", "output error", "file", "s"])
        print_row(["dense", "", *(f"{100 * a:.1f}" for a in bench.accuracy(bench.graph)), "", "1.00", ""])
        for number, (pattern, sparsity) in enumerate(task.rows):
            if arguments.rows is None or number in arguments.rows:
                print_row(bench.row(pattern, sparsity))


def print_row(cells: list[str]) -> None:
    widths = (44, 8, 10, 10, 14, 6, 6)
    sys.stdout.write("".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
