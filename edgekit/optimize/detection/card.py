"""The card of a trained model: what it is, what it was made of, how to make it again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edgekit import model
from edgekit.model.layers import multiply_adds
from edgekit.optimize.detection.losses import BOX_DIVISOR
from edgekit.optimize.detection.nets import STRIDES
from edgekit.optimize.detection.photos import PAD
from edgekit.optimize.detection.recipe import Recipe
from edgekit.optimize.provenance import digest, versions

SOFTWARE = ("edgekit", "torch", "numpy", "opencv-python-headless", "onnx")


@dataclass(frozen=True, slots=True)
class Origin:
    """The files that a model was made from, and the machine that made it."""

    recipe_path: Path
    data_dir: Path
    teacher_path: Path
    trained: str  # on what

    @property
    def command(self) -> str:
        sources = f"--data {self.data_dir.name} --teacher {self.teacher_path.name}"
        return f"edgekit optimize {self.recipe_path.name} {sources} --out OUT"


def write_card(
    origin: Origin, recipe: Recipe, model_path: Path, size_px: int, agreement: dict[str, Any]
) -> Path:
    """Write `card.yaml` beside the model, without the accuracy, which `edgekit evaluate` measures."""
    annotations, graph = origin.data_dir / "annotations_train.json", model.read(model_path)
    card: dict[str, Any] = {
        "name": recipe.name_of(size_px),
        "task": "detect",
        "labels": list(recipe.names),
        "sha256": digest(model_path),
        "size_bytes": model_path.stat().st_size,
        "macs": sum(multiply_adds(graph, op) for op in graph.ops),
        "input": {"size": [size_px] * 2, "color": "bgr", "resize": "letterbox_topleft", "pad": PAD},
        "output": {"decoder": "anchor_free", "strides": list(STRIDES), "box_divisor": int(BOX_DIVISOR)},
        "recipe": {"file": origin.recipe_path.name, "sha256": digest(origin.recipe_path)},
        "seed": recipe.seed,
        "teacher": {"file": origin.teacher_path.name, "sha256": digest(origin.teacher_path)},
        "training_data": {
            "name": origin.data_dir.name,
            "annotations_sha256": digest(annotations),
            "images": len(json.loads(annotations.read_text())["images"]),
        },
        "agreement_with_training": agreement,
        "produced_by": origin.command,
        "trained": origin.trained,
        "software": versions(SOFTWARE),
    }
    path = model_path.with_name("card.yaml")
    path.write_text(yaml.safe_dump(card, sort_keys=False, width=110))
    return path
