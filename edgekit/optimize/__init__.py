"""Training, pruning and quantisation: needs the extra `edgekit[train]`. `optimize` is the door."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from edgekit.optimize.training.session import Session

_log = logging.getLogger("edgekit.optimize")


def optimize(
    recipe: str | Path,
    data_dir: Path,
    teacher_path: Path | None,
    out_dir: Path,
    resume: bool = True,
    progress: Callable[[str], None] = _log.info,
) -> list[Path]:
    """Train by a recipe and write `out_dir/<size>/model.tflite` for each of its sizes; returns the paths.

    `recipe` is a YAML file or the name of one that ships. `data_dir` holds annotations_train.json,
    annotations_val.json and images/; `teacher_path` is YOLOX-Nano's ONNX file. `out_dir` gets checkpoint.pt
    after every epoch; with `resume` a run goes on from it. `progress` hears a line now and then. Raises
    UsageError for an unknown name or a missing teacher, ConfigError for the recipe, SourceError for the data,
    ModelError for the teacher, MissingExtraError without torch.
    """
    need_torch()
    from edgekit.optimize.detection.recipe import find_recipe
    from edgekit.optimize.detection.train import train

    path = find_recipe(recipe)
    if teacher_path is None:
        raise UsageError(f"{path.name} distils from a teacher: give --teacher yolox_nano_416.onnx")
    return train(path, data_dir, teacher_path, out_dir, resume=resume, progress=progress)


def wrap(
    model: Any,
    optimizer: Any,
    recipe: Any,
    steps_per_epoch: int,
    teacher: Any = None,
) -> Session:
    """Make any torch training loop follow a recipe; see `edgekit.optimize.training.session.wrap`."""
    need_torch()
    from edgekit.optimize.training.session import wrap

    return wrap(model, optimizer, recipe, steps_per_epoch, teacher)


def need_torch() -> None:
    """Raise MissingExtraError where torch is not installed, before anything else is read."""
    try:
        import torch  # noqa: F401
    except ImportError:
        raise MissingExtraError("torch", "train") from None
