"""The recipe of a classifier: which pictures, which network, which stages. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from edgekit.config.fields import Bool, Float, Int, Part, PlaceError, Text
from edgekit.optimize.training.settings import RunSettings
from edgekit.optimize.training.stages import Schedule


class MoreConfig(Part):
    """Pictures of another file or folder, whose classes bear other names."""

    train: Text = Field(description="File or folder; relative to --data, else to the recipe.")
    classes: dict[str, Text] = Field(min_length=1, description="Its class to the class that it is here.")
    each: Int = Field(default=1000, ge=1, le=10**6, description="The most pictures of each of its classes.")


class DataConfig(Part):
    """Labelled pictures: .npz files, folders with one folder of pictures per class, or COCO's boxes by a
    rule.
    """

    train: Text = Field(description="File or folder; relative to --data, else to the recipe.")
    val: Text | None = Field(default=None, description="Unset: a share of `train` is set apart.")
    val_share: Float = Field(default=0.2, gt=0, lt=1, description="That share, drawn by the seed.")
    images: Text | None = Field(
        default=None, description="The folder of the photos, where train and val are COCO annotations."
    )
    rule: Literal["person", "crops"] | None = Field(
        default=None, description="person: is one in the photo? crops: what does a box show?"
    )
    views: Int = Field(
        default=0, ge=0, le=100, description="Random cut-outs of each photo or box that are trained on too."
    )

    more: MoreConfig | None = Field(default=None, description="More pictures to train on, of other data.")

    @model_validator(mode="after")
    def _is_whole(self) -> DataConfig:
        if (self.images is None) != (self.rule is None) or (self.views and self.rule is None):
            raise PlaceError((), "images, rule and views belong to COCO annotations: give images with rule")
        if self.rule is not None and self.val is None:
            raise PlaceError((), "missing val: photos are not set apart by chance")
        return self


class NetworkConfig(Part):
    """What is trained: a network by its name, one of the user's, or a model file to go on from."""

    name: Text | None = Field(default=None, description="One of those that edgekit knows.")
    python: Text | None = Field(default=None, description="module:function that returns a torch module.")
    model: Text | None = Field(
        default=None, description="An int8 .tflite file or zoo name, whose weights and zeros are taken over."
    )
    head: Literal["keep", "new"] = Field(
        default="keep", description="new: the last layer of `model` is made anew for other classes."
    )
    enlarge: Int = Field(
        default=1, ge=1, le=16, description="Pictures are made so many times larger before: for teachers."
    )
    compact: Bool = Field(
        default=False, description="Leave out the channels of `model` that are always the same value."
    )
    options: dict[str, Any] = Field(default={}, description="Passed to the function of name or python.")

    @model_validator(mode="after")
    def _is_one(self) -> NetworkConfig:
        given = [key for key in ("name", "python", "model") if getattr(self, key) is not None]
        if len(given) != 1:
            raise PlaceError((), f"expected one of name, python and model, not {len(given)}")
        if self.python is not None and not _names_a_function(self.python):
            raise PlaceError(("python",), "expected module:function")
        return self


def _names_a_function(text: str) -> bool:
    module, _, function = text.partition(":")
    return all(part.isidentifier() for part in (*module.split("."), function))


class AugmentConfig(Part):
    """What is done to a picture by chance while training."""

    flip: Bool = Field(default=True, description="Left becomes right, every second time.")
    shift: Float = Field(default=0.125, ge=0, le=0.5, description="Largest move, as a share of the side.")
    zoom: Float = Field(default=0.0, ge=0, le=0.9, description="Largest share of the side that is cut off.")
    light: Float = Field(default=0.0, ge=0, le=0.9, description="Largest change of brightness and contrast.")
    hide: Float = Field(default=0.0, ge=0, le=0.9, description="Side of a square that is made grey.")


class ClassifyRecipe(Schedule, RunSettings):
    """`task: classify`: a network that tells which of its classes a picture shows."""

    task: Literal["classify"] = "classify"
    makes: Literal["file", "teacher"] = Field(
        default="file", description="teacher: OUT/teacher.pt, a float network that other recipes learn from."
    )
    size: Int = Field(ge=8, le=1024, description="Side of the square input in pixels.")
    data: DataConfig
    classes: list[Text] | None = Field(
        default=None, min_length=2, description="Names in the order of the outputs; unset: as in the data."
    )
    network: NetworkConfig
    teacher: Text | None = Field(
        default=None,
        description="A .onnx or .tflite file, or the teacher.pt of a recipe without quantize, for stages "
        "distill without their own.",
    )
    augment: AugmentConfig = AugmentConfig()
    label_smoothing: Float = Field(default=0.0, ge=0, lt=1)
    balance: Float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="0: every picture counts alike in the loss; 1: every class, however few pictures it has.",
    )
    card: dict[str, Any] = Field(
        default={}, description="What only people know, for the card: licences, known failures."
    )
    devices: list[Text] = Field(default=[], description="Device profiles whose latency the report tells.")

    @model_validator(mode="after")
    def _ends_quantised(self) -> ClassifyRecipe:
        quantises = any(stage.quantize for stage in self.stages)
        if self.makes == "file" and not quantises:
            raise PlaceError(
                ("stages",), "needs a stage quantize: the file is int8 (makes: teacher makes no file)"
            )
        if self.makes == "teacher" and quantises:
            raise PlaceError(("makes",), "a teacher stays float: leave the stage quantize out")
        return self


CENTRE, SPREAD = 128.0, 64.0  # a pixel p enters the network as (p - centre) / SPREAD, and the file as p - 128


def run_settings(recipe: ClassifyRecipe) -> RunSettings:
    return RunSettings(**{key: getattr(recipe, key) for key in RunSettings.model_fields})


def schedule_of(recipe: ClassifyRecipe, centre: float = CENTRE) -> Schedule:
    """The stages, with the input's range where `quantize` leaves it open."""
    stages, pixels = [], ((0.0 - centre) / SPREAD, (255.0 - centre) / SPREAD)
    for stage in recipe.stages:
        if stage.quantize is not None and stage.quantize.input_range is None:
            quantize = stage.quantize.model_copy(update={"input_range": pixels})
            stage = stage.model_copy(update={"quantize": quantize})  # noqa: PLW2901
        stages.append(stage)
    made = Schedule(version=1, stages=stages)
    return made if recipe.document is None else made.read_from(recipe.document)


def data_path(name: str, folders: list[Path]) -> Path:
    """The file or folder of that name in the first of the folders that has it, else in the first."""
    found = [folder / name for folder in folders if (folder / name).exists()]
    return found[0] if found else folders[0] / name
