"""What a detector is trained on and by which stages. Strict: an unknown key is an error."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from edgekit.config.document import read_document
from edgekit.config.fields import Float, Int, Part, PlaceError, Text, to_number
from edgekit.optimize.training.stages import Schedule, check_recipe

Size = Annotated[int, Field(strict=True, ge=64, le=1024, multiple_of=32), BeforeValidator(to_number)]


class ClassRow(Part):
    """A class: its name, its COCO category id, and the teacher's output column for it."""

    name: Text
    category_id: Int = Field(ge=1, le=10**6)
    teacher_column: Int = Field(ge=0, lt=80)


class Augment(Part):
    """How photographs are changed. The last `calm` epochs have no mosaics."""

    mosaic: Float = Field(default=0.5, ge=0, le=1, description="Share of the pictures put together of four.")
    scale: tuple[Float, Float] = Field(default=(0.5, 1.5), description="Smallest and largest magnification.")
    calm: Int = Field(default=1, ge=0, le=1000)


class Recipe(Schedule):
    """The training of a detector: one network, written once for every size in `sizes_px`."""

    task: Literal["detect"]
    name: Text = Field(
        pattern=r"^[a-z0-9_-]+/[a-z0-9_-]*\{size\}[a-z0-9_-]*/[a-z0-9_-]+$",
        description="Its place in the zoo: task/family/variant, with {size} in the family.",
        json_schema_extra={"patternErrorMessage": "task/family-{size}/variant of a-z 0-9 _ -"},
    )
    seed: Int = Field(ge=0, le=2**31)
    sizes_px: list[Size] = Field(
        min_length=1,
        max_length=8,
        description="Sides of the inputs of the files; each batch of the training has one of them.",
    )
    batch: Int = Field(ge=2, le=1024)
    start: Text | None = Field(
        default=None,
        description="What to start from, seen from --out: `float.pt` or a `.tflite` of an earlier training; "
        "unset: the teacher.",
    )
    twin: Text | None = Field(
        default=None,
        description="A `.tflite` of an earlier training, seen from --out: the teacher of stages distill that "
        "name none.",
    )
    labels: Literal["boxes", "twin", "none"] = Field(
        default="boxes",
        description="What is learnt beside stages distill: boxes and the teacher's opinion of them, what the "
        "twin detects, or nothing.",
    )
    weight_decay: Float = Field(default=0.02, ge=0, le=1)
    feature_weight: Float = Field(
        default=0.5, ge=0, le=1e3, description="Of the likeness to the teacher's features, which falls to 0."
    )
    calibration_photos: Int = Field(default=128, ge=2, le=10**6)
    watched_photos: Int = Field(default=100, ge=1, le=10**6, description="Scored at the first size.")
    pause: Int = Field(default=1, ge=1, le=10**6, description="Epochs between two checkpoints and scores.")
    augment: Augment = Augment()
    devices: list[Text] = Field(default=[], description="Device profiles whose latency the report tells.")
    classes: list[ClassRow] = Field(min_length=1, max_length=12)

    @model_validator(mode="after")
    def _ends_quantised(self) -> Recipe:
        for number, stage in enumerate(self.stages):
            if stage.one_shot and stage.one_shot.even:
                raise PlaceError(
                    ("stages", number, "one_shot", "even"), "only a classifier's data has classes"
                )
        if self.labels == "none" and not any(stage.distill for stage in self.stages):
            raise PlaceError(("labels",), "none without a stage distill: nothing would be learnt")
        if self.labels == "twin" and self.twin is None:
            raise PlaceError(("labels",), "twin without a file that is the twin: name it under `twin`")
        if not any(stage.quantize for stage in self.stages):
            raise PlaceError(("stages",), "no stage quantize: the files are int8")
        return self

    def turns_int8(self, epoch: int) -> bool:
        """Whether the network becomes int8 in the epoch of that number, from 0 on."""
        starts = [stage.quantize.start for stage in self.stages if stage.quantize]
        return any(math.ceil(start) - 1 == epoch for start in starts)  # at its very end, if that is 1 more

    def name_of(self, size_px: int) -> str:
        """The place in the zoo of the file of that size."""
        return self.name.replace("{size}", str(size_px))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(row.name for row in self.classes)

    @property
    def category_ids(self) -> tuple[int, ...]:
        return tuple(row.category_id for row in self.classes)

    @property
    def columns(self) -> tuple[int, ...]:
        return tuple(row.teacher_column for row in self.classes)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; ConfigError naming the file, the line and the key if anything is not as expected."""
    return check_recipe(read_document(path), Recipe)
