"""Recipes: what is trained, in which stages, from which seed. Strict: an unknown key is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgekit.errors import ConfigError, UsageError

Unit = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClassRow(_Strict):
    """A class: its name, its COCO category id, and the teacher's output column for it."""

    name: str
    category_id: int = Field(ge=1)
    teacher_column: int = Field(ge=0, lt=80)


class Stage(_Strict):
    """One run through the training loop, with its own schedules.

    `schedule_epochs`, if more than `epochs`, is what learning rate, blend and feature weight are stretched
    over: the stage then ends before them and leaves the rest to the next one. `calm_epochs` at the end have
    no mosaic. The cosine of the rate ends at the share `last_rate`. `average` is the decay of the averaged
    weights. `feature_weight`, of the likeness to the teacher's features, falls to 0. In the first share
    `blend` of the steps the activation goes from SiLU to ReLU6.
    """

    kind: Literal["float", "int8"]
    epochs: int = Field(ge=1)
    schedule_epochs: int = Field(default=0, ge=0)
    calm_epochs: int = Field(default=0, ge=0)
    learning_rate: float = Field(gt=0)
    last_rate: Unit = 0.02
    warmup_steps: int = Field(default=100, ge=0)
    average: Annotated[float, Field(ge=0, lt=1)] = 0.999
    feature_weight: float = Field(default=0.0, ge=0)
    blend: Unit = 0.0
    mosaic: Unit = 0.5
    scale: tuple[float, float] = (0.5, 1.5)
    bfloat16: bool = False

    @model_validator(mode="after")
    def _makes_sense(self) -> Stage:
        if self.blend * self.horizon > self.epochs:
            raise ValueError("blend: the stage ends before the activation is ReLU6")
        if self.kind == "int8" and self.feature_weight:
            raise ValueError("feature_weight: int8 channels have scales of their own, unlike the teacher's")
        return self

    @property
    def horizon(self) -> int:
        """Epochs that the schedules are stretched over."""
        return max(self.epochs, self.schedule_epochs)


class Recipe(_Strict):
    """A whole training. `size_px` is the side of the square input; `threads` share every batch."""

    version: Literal[1]
    name: str
    seed: int = Field(ge=0)
    size_px: int = Field(ge=64, multiple_of=32)
    activation: Literal["relu6", "silu"] = "relu6"
    batch: int = Field(ge=2)
    threads: int = Field(default=2, ge=1, le=16)
    weight_decay: float = Field(default=0.02, ge=0)
    calibration_photos: int = Field(default=128, ge=2)
    watched_photos: int = Field(default=100, ge=1)  # of the validation set, scored after every second epoch
    classes: list[ClassRow] = Field(min_length=1, max_length=12)
    stages: list[Stage] = Field(min_length=1)

    @model_validator(mode="after")
    def _ends_quantised(self) -> Recipe:
        kinds = [stage.kind for stage in self.stages]
        if kinds != sorted(kinds):
            raise ValueError("stages of kind float come before those of kind int8")
        if kinds[-1] != "int8":
            raise ValueError("the last stage must be of kind int8")
        if self.batch % self.threads:
            raise ValueError("batch must be a multiple of threads")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(row.name for row in self.classes)

    @property
    def category_ids(self) -> tuple[int, ...]:
        return tuple(row.category_id for row in self.classes)

    @property
    def columns(self) -> tuple[int, ...]:
        return tuple(row.teacher_column for row in self.classes)


def find_recipe(name: str | Path) -> Path:
    """The file that `name` means: a path, or the name of a recipe that ships; UsageError if there is none."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    shipped = {one.stem: one for one in Path(__file__).with_name("recipes").glob("*.yaml")}
    if str(name) not in shipped:
        raise UsageError(f"no recipe {str(name)!r}: give a .yaml file or one of {', '.join(sorted(shipped))}")
    return shipped[str(name)]


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; ConfigError naming the file and the key if anything in it is not as expected."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError:
        raise ConfigError(f"{path}: cannot be read: check the path of the recipe") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}{place}: not valid YAML: {getattr(error, 'problem', error)}") from None
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"]) or "recipe"
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key: remove it or correct its name"
    return f"{key}: {problem['msg'].removeprefix('Value error, ')}"
