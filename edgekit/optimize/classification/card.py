"""The card of a trained classifier: what it is and can do, what it was made of, how to make it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from edgekit import inference
from edgekit.evaluate import confusion
from edgekit.evaluate.labelled import Labelled, read_coco, read_labelled
from edgekit.files import write_text
from edgekit.optimize.classification.recipe import SPREAD, ClassifyRecipe, data_path
from edgekit.optimize.provenance import digest, versions

SOFTWARE = ("edgekit", "torch", "numpy", "opencv-python-headless")


def write_card(
    recipe: ClassifyRecipe, recipe_path: Path, folders: list[Path], model_path: Path, found: dict[str, Any]
) -> Path:
    """Write `card.yaml` beside the model, measured as by `edgekit evaluate`; `found`: the report."""
    card: dict[str, Any] = {
        "name": f"classify/{recipe.name}",
        "task": "classify",
        "labels": found["classes"],
        "sha256": digest(model_path),
        "size_bytes": model_path.stat().st_size,
        "macs": found["file"]["macs"],
        "macs_effective": found["file"]["macs_left"],
        "zeros": round(found["file"]["zeros"], 4),
        "input": {
            "size": [recipe.size] * 2,
            "color": "rgb",
            "resize": "stretch",
            "gain": 1 / SPREAD,
            "offset": (0.0 - found["centre"]) / SPREAD,
        },
        "output": {"decoder": "scores"},
    }
    path = model_path.with_name("card.yaml")
    _write(card, path)  # the model is read by it
    measured = inference.open(model_path)
    card["peak_memory_bytes"] = measured.engine.peak_memory_bytes
    card["latency"] = found["latency"]
    card["accuracy"] = _accuracy(recipe, folders, measured, found)
    card |= _origin(recipe, recipe_path, folders, found)
    _write(card | recipe.card, path)
    return path


def _accuracy(
    recipe: ClassifyRecipe, folders: list[Path], model: inference.Model, found: dict[str, Any]
) -> dict[str, Any]:
    data = recipe.data
    if data.val is None:
        return {"val_top1": round(found["after"]["accuracy"], 4), "pictures": found["pictures"]["val"]}
    result = confusion.score(model, _validation(recipe, folders))
    facts = {
        "dataset": data.val,
        "dataset_sha256": digest(data_path(data.val, folders)),
        "pictures": result.pictures,
        "top1": result.accuracy,
        "mean_recall": result.balanced,
        "recalls": {name: row["recall"] for name, row in result.labels.items()},
        "engine": result.engine,
        "command": _evaluation(recipe),
    }
    return facts | ({"person_animal": result.person_animal} if result.person_animal else {})


def _validation(recipe: ClassifyRecipe, folders: list[Path]) -> Labelled:
    data = recipe.data
    path = data_path(str(data.val), folders)
    if data.images is None or data.rule is None:
        return read_labelled(path)
    return read_coco(path, data_path(data.images, folders), data.rule)


def _evaluation(recipe: ClassifyRecipe) -> str:
    data = recipe.data
    given = f"--data {data.val}" if data.images is None else f"--coco {data.val} --images {data.images}"
    return f"edgekit evaluate classify/{recipe.name} {given} --json"


def _origin(
    recipe: ClassifyRecipe, recipe_path: Path, folders: list[Path], found: dict[str, Any]
) -> dict[str, Any]:
    train = data_path(recipe.data.train, folders)
    facts: dict[str, Any] = {
        "recipe": {"file": recipe_path.name, "sha256": digest(recipe_path)},
        "produced_by": f"edgekit optimize {recipe_path.name} --data DATA --out OUT",
        "seed": recipe.seed,
        "trained": found["trained"],
        "training_data": {
            "name": recipe.data.train,
            "pictures": found["pictures"]["train"],
            **({"sha256": digest(train)} if train.is_file() else {}),
        },
    }
    if recipe.network.model is not None:
        facts["begun_from"] = _file_facts(recipe.network.model, folders)
    if recipe.teacher is not None:
        facts["teacher"] = _file_facts(recipe.teacher, folders)
    facts["agreement_with_training"] = found["agreement"]
    facts["software"] = versions(SOFTWARE)
    return facts


def _file_facts(name: str, folders: list[Path]) -> dict[str, str]:
    path = data_path(name, folders)
    return {"file": name, **({"sha256": digest(path)} if path.is_file() else {})}


def _write(card: dict[str, Any], path: Path) -> None:
    write_text(path, yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=110))
