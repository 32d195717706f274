"""Training, pruning and quantisation: needs the extra `edgekit[train]`. `optimize` is the door."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ConfigError, MissingExtraError, UsageError

if TYPE_CHECKING:
    import torch

    from edgekit.config.document import Document
    from edgekit.optimize.training.run import Watch
    from edgekit.optimize.training.session import Session

_log = logging.getLogger("edgekit.optimize")


def optimize(
    recipe: str | Path,
    data_dir: Path | None,
    teacher_path: Path | None,
    out_dir: Path,
    resume: bool = True,
    watch: Watch | None = None,
    accelerator: str = "auto",
) -> list[Path]:
    """Train by a recipe and write its models below `out_dir`; returns their paths.

    `recipe` is a YAML file or the name of one that ships; its `task` says what is trained. Relative paths of
    data start at `data_dir`, else at the recipe. `out_dir` gets a checkpoint every few minutes and when the
    run is interrupted; with `resume` a run goes on from it, also on the other accelerator. `watch` hears how
    the run goes on. `accelerator` is cpu, cuda, or auto: cuda where torch sees a GPU. Raises UsageError for
    an unknown name and for cuda without a GPU, ConfigError for the recipe, SourceError for the data,
    ModelError for a model or teacher, MissingExtraError without torch.
    """
    need_torch()
    from edgekit.config.document import read_document
    from edgekit.optimize.training.accelerator import accelerator as find_accelerator

    device = find_accelerator(accelerator)
    path = find_recipe(recipe)
    document = read_document(path)
    if _task_of(document) == "detect":
        return _detect(path, data_dir, teacher_path, out_dir, device, resume=resume, watch=watch or Lines())
    from edgekit.optimize.classification.recipe import ClassifyRecipe
    from edgekit.optimize.classification.train import train
    from edgekit.optimize.training.stages import check_recipe

    checked = check_recipe(document, ClassifyRecipe)
    return [train(checked, path, data_dir, out_dir, watch or Lines(), device, resume=resume)]


def find_recipe(name: str | Path) -> Path:
    """The file that `name` means: a path, or the name of a recipe that ships; UsageError if there is none."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    shipped = {one.stem: one for one in Path(__file__).with_name("recipes").glob("*.yaml")}
    if str(name) not in shipped:
        raise UsageError(f"no recipe {str(name)!r}: give a .yaml file or one of {', '.join(sorted(shipped))}")
    return shipped[str(name)]


def _task_of(document: Document) -> str:
    """What a recipe trains. ConfigError for a task that does not exist."""
    tasks = ("detect", "classify")
    task = document.data.get("task", "detect") if isinstance(document.data, dict) else "detect"
    if task not in tasks:
        at = document.position(("task",))
        place = f"{document.name}:{at.line}:{at.column}"
        raise ConfigError(f"{place}: task: expected one of {', '.join(tasks)}, not {str(task)[:40]!r}")
    return str(task)


def _detect(
    path: Path,
    data_dir: Path | None,
    teacher_path: Path | None,
    out_dir: Path,
    device: torch.device,
    *,
    resume: bool,
    watch: Watch,
) -> list[Path]:
    from edgekit.optimize.detection.train import train

    if data_dir is None:
        raise UsageError(f"{path.name}: give --data DIR with images/ and annotations_*.json")
    if teacher_path is None:
        raise UsageError(f"{path.name} distils from a teacher: give --teacher yolox_nano_416.onnx")
    return train(path, data_dir, teacher_path, out_dir, device, resume=resume, progress=watch.say)


def recipe_schema() -> dict[str, Any]:
    """The JSON schema of recipes, of classifiers and of detectors. Needs no torch."""
    from pydantic import TypeAdapter

    from edgekit.optimize.classification.recipe import ClassifyRecipe
    from edgekit.optimize.detection.recipe import Recipe

    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **TypeAdapter(ClassifyRecipe | Recipe).json_schema()}


class Lines:
    """Hears a run by its lines alone; each goes to `say`."""

    def __init__(self, say: Callable[[str], None] = _log.info) -> None:
        self.say = say

    def epoch(self, epoch: int, epochs: int, steps: int) -> None: ...

    def step(self, done: int, loss: float) -> None: ...


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
