"""Trains a classifier by its recipe: the file, its card and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekit import engine
from edgekit.errors import ConfigError
from edgekit.files import write_bytes
from edgekit.optimize.classification.card import write_card
from edgekit.optimize.classification.images import Pictures
from edgekit.optimize.classification.recipe import (
    ClassifyRecipe,
    data_path,
    run_settings,
    schedule_of,
)
from edgekit.optimize.classification.task import Classification, accuracy, as_input, as_planes, write_teacher
from edgekit.optimize.training import report
from edgekit.optimize.training.run import Outcome, Watch, run
from edgekit.optimize.training.stages import Schedule

COMPARED = 256  # pictures on which the file is compared with training


def train(
    recipe: ClassifyRecipe,
    path: Path,
    data_dir: Path | None,
    out_dir: Path,
    watch: Watch,
    device: torch.device,
    *,
    resume: bool,
) -> Path:
    """Run the recipe of file `path`; returns the model's path in `out_dir`."""
    folders = [*([data_dir] if data_dir else []), path.parent]
    report.check_devices(recipe, recipe.devices)
    recipe = _with_files(recipe, folders)
    task = Classification(recipe, folders, device)
    schedule = schedule_of(recipe, task.centre)
    outcome = run(task, schedule, run_settings(recipe), out_dir, watch, device, resume=resume)
    if outcome.content is None:
        return _keep_teacher(task, outcome, out_dir)
    target = out_dir / "model.tflite"
    write_bytes(target, outcome.content)
    found = _facts(task, schedule, outcome, target)
    found["recipe"] = path.read_text(encoding="utf-8")
    for written in report.write_report(found, out_dir):
        watch.say(f"{written}")
    write_card(recipe, path, folders, target, found)
    return target


def _keep_teacher(task: Classification, outcome: Outcome, out_dir: Path) -> Path:
    target = out_dir / "teacher.pt"
    write_teacher(outcome.network, task, target)
    return target


def _with_files(recipe: ClassifyRecipe, folders: list[Path]) -> ClassifyRecipe:
    """The recipe with the teachers' files found, and the recipe's own teacher where a stage has none.

    A teacher.pt, whoever names it, is made the recipe's, as the run knows how to read it.
    """
    stages, network = [], recipe.teacher if _is_network(recipe.teacher) else None
    for number, stage in enumerate(recipe.stages):
        if stage.distill is not None and stage.distill.teacher != "self":
            name = stage.distill.teacher or recipe.teacher
            place = recipe.where("stages", number, "distill", "teacher")
            if name is None:
                place = recipe.where("stages", number, "distill")
                raise ConfigError(f"{place}: missing teacher, expected self or a file")
            found = data_path(name, folders)
            if not found.is_file():
                raise ConfigError(f"{place}: there is no file {found}")
            if _is_network(name):
                if network not in (None, name):
                    raise ConfigError(f"{place}: a recipe has one teacher.pt, and that is {network}")
                network = name
            distill = stage.distill.model_copy(update={"teacher": None if _is_network(name) else str(found)})
            stage = stage.model_copy(update={"distill": distill})  # noqa: PLW2901
        stages.append(stage)
    return recipe.model_copy(update={"stages": stages, "teacher": network or recipe.teacher})


def _is_network(name: str | None) -> bool:
    return name is not None and name.endswith(".pt")


def _facts(task: Classification, schedule: Schedule, outcome: Outcome, path: Path) -> dict[str, Any]:
    """All that the report tells."""
    history = outcome.history.epochs
    before = report.dense_row(history, schedule)
    runner = engine.load(path)
    changed = any(stage.one_shot for stage in schedule.stages)  # after the network was trained
    outputs = np.concatenate([runner.run(one[None])[0] for one in stored(task.val)])
    return {
        "name": task.recipe.name,
        "task": "classify",
        "classes": list(task.names),
        "before": {"accuracy": before["accuracy"]},
        "zeros_before": before["sparsity"],
        "after": {"accuracy": accuracy(outputs.argmax(1), task.val)},
        "float_or_fake": {"accuracy": history[-1]["accuracy"]},
        "pictures": {"train": len(task.train), "val": len(task.val)},
        "engine": runner.name,
        "agreement": None if changed else _agreement(task, outcome, outputs, runner),
        "file": report.facts(path.read_bytes()),
        "latency": report.latency(path, task.recipe.devices),
        "seconds": outcome.seconds,
        "seed": task.recipe.seed,
        "trained": outcome.history.trained,
        "centre": task.centre,
        "history": history,
    }


def stored(pictures: Pictures) -> Any:
    """The pictures as the file's input bytes (n, h, w, 3)."""
    return (pictures.images.astype(np.int16) - 128).astype(np.int8)


def _agreement(task: Classification, outcome: Outcome, outputs: Any, runner: Any) -> dict[str, float]:
    """Share of outputs of the file that are those of the network in training, in steps of the output."""
    shown = torch.from_numpy(task.val.images[:COMPARED])
    with torch.no_grad():
        real = outcome.network.eval()(as_input(as_planes(shown), task.centre)).numpy()
    info = runner.outputs[0]
    apart = np.abs(np.rint(real / info.scale + info.zero_point) - outputs[: len(real)])
    return {f"within_{steps}": float((apart <= steps).mean()) for steps in (0, 1, 2)}
