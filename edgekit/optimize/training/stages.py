"""What a recipe says to a training: its stages, each with a span of epochs. Needs no torch.

    version: 1
    stages:
      - learning_rate: {end: 12, peak: 0.1}
      - prune: {end: 6, sparsity: 0.8, pattern: 1x4}
      - distill: {end: 12, teacher: self}
      - quantize: {start: 12, end: 15}

Epochs may be fractions. A stage is at work from the step at `start` to the step before `end`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar

import yaml
from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from edgekit.config.complaint import check, dotted
from edgekit.config.document import Document, parse_document, read_document
from edgekit.config.fields import Bool, Float, Int, Part, PlaceError, Text, to_number

PATTERN = r"^(unstructured|channels|[1-9][0-9]?x([1-9][0-9]?|all)|[1-9][0-9]?:[1-9][0-9]?)$"
_PATTERN_HELP = "unstructured, 1x4, 4x1, 8xall, channels or N:M like 2:4"
SELF = "self"

Share: TypeAlias = Annotated[
    float, Field(strict=True, allow_inf_nan=False, ge=0, lt=1), BeforeValidator(to_number)
]


class Span(Part):
    """From which epoch to which; both may be fractions."""

    start: Float = Field(default=0.0, ge=0, le=1e6, description="Epoch at which the stage begins.")
    end: Float = Field(ge=0, le=1e6, description="Epoch at which the stage is over.")

    @model_validator(mode="after")
    def _in_order(self) -> Span:
        if self.start > self.end:
            raise PlaceError(("start",), f"starts at epoch {self.start:g}, after its end at {self.end:g}")
        return self


class Sparsity(Span):
    """How many weights of which layers become zero, and in which pattern."""

    sparsity: Share | None = Field(
        default=None, description="Share of the weights that end as zero; N:M says it by itself."
    )
    pattern: Text = Field(
        default="unstructured",
        pattern=PATTERN,
        description="unstructured; OxI blocks of output by input channels at one place of the kernel (1x4, "
        "4x1, 8xall); channels; N:M keeps N of M consecutive input channels.",
        json_schema_extra={"patternErrorMessage": _PATTERN_HELP},
    )
    layers: list[Text] | None = Field(
        default=None,
        min_length=1,
        description="Names of layers, with * and ?; unset: all but the first convolution, depthwise and "
        "transposed ones and the last layer.",
    )
    skip: list[Text] = Field(default=[], description="Layers that stay dense, although `layers` has them.")

    @model_validator(mode="after")
    def _says_how_much(self) -> Sparsity:
        keep, _, of = self.pattern.partition(":")
        if not of:
            if self.sparsity is None:
                raise PlaceError((), f"missing sparsity, which {self.pattern} needs")
        elif int(keep) >= int(of):
            raise PlaceError(("pattern",), f"keeps {keep} of {of} weights: expected fewer than all, like 2:4")
        elif self.sparsity is not None and abs(self.sparsity - self.target) > 0.01:
            raise PlaceError(("sparsity",), f"{self.pattern} has a sparsity of {self.target:g}: leave it out")
        return self

    @property
    def target(self) -> float:
        """Share of zeros at the end."""
        keep, _, of = self.pattern.partition(":")
        return 1 - int(keep) / int(of) if of else float(self.sparsity or 0)


class PruneStage(Sparsity):
    """Gradual pruning by the cubic schedule of Zhu and Gupta (2017), then the mask is frozen."""

    initial: Float = Field(default=0.0, ge=0, lt=1, description="Share of zeros at the start.")
    scope: Literal["global", "layer"] = Field(
        default="global", description="One threshold for all layers, or the same sparsity in each."
    )
    score: Literal["magnitude", "output"] = Field(
        default="magnitude",
        description="What goes first: the smallest weights, or those that add least to their layer's output, "
        "inputs being as large as they are.",
    )
    every: Int = Field(default=50, ge=1, le=10**6, description="Steps between two choices of the mask.")
    regrow: Bool = Field(
        default=True, description="Pruned weights go on learning unseen and may come back until `end`."
    )

    @model_validator(mode="after")
    def _grows(self) -> PruneStage:
        if self.initial > self.target:
            raise PlaceError(("initial",), f"more than the final sparsity of {self.target:g}")
        if self.score == "output" and (self.pattern == "channels" or self.pattern.endswith("xall")):
            raise PlaceError(
                ("score",), f"output compares the weights of a channel: {self.pattern} needs magnitude"
            )
        return self


class SparseTrainStage(Sparsity):
    """Training with a sparse network from the start: weak weights go, those of steep gradients come (RigL,
    Evci et al. 2020). The number of weights that move falls to 0 by a cosine.
    """

    every: Int = Field(default=100, ge=1, le=10**6, description="Steps between two moves of the mask.")
    fraction: Float = Field(default=0.3, gt=0, lt=1, description="Share of the weights that move at first.")
    settle: Float = Field(default=0.75, gt=0, le=1, description="Share of the stage after which none move.")
    distribution: Literal["erk", "uniform"] = Field(
        default="erk", description="Sparsity of the layers: by their shape (Erdos-Renyi kernel), or the same."
    )

    @model_validator(mode="after")
    def _has_blocks(self) -> SparseTrainStage:
        if ":" in self.pattern:
            raise PlaceError(("pattern",), f"{self.pattern} cannot be trained from the start: prune to it")
        return self


class DistillStage(Span):
    """The network learns what a teacher says, beside the labels (Hinton et al. 2015)."""

    teacher: Text | None = Field(
        default=None,
        description="A .onnx or .tflite file, or self: the network itself as it is at `start`. Unset: the "
        "torch module that the program gives.",
    )
    weight: Float = Field(
        default=0.5, ge=0, le=1, description="Share of the teacher; the labels have the rest."
    )
    temperature: Float = Field(default=3.0, gt=0, le=100)
    loss: Literal["softmax", "sigmoid", "values", "none"] = Field(
        default="softmax",
        description="How the outputs are compared: as classes, as independent scores, as "
        "plain values, or not at all.",
    )
    features: dict[str, Text] = Field(
        default={},
        description="Layers whose outputs shall be like the teacher's: own name to its name there.",
    )
    feature_weight: Float = Field(default=1.0, ge=0, le=1e6)


class QuantizeStage(Span):
    """Training with the arithmetic of int8: batch norms are folded and the masks frozen at `start`."""

    freeze: Float = Field(default=0.5, ge=0, le=1, description="Share of the stage after which ranges stay.")
    average: Float = Field(default=0.99, ge=0, lt=1, description="Decay of the mean of the ranges.")
    keep_float: Int = Field(
        default=2, ge=0, le=8,
        description="At most so many layers and tensors that int8 is too coarse for stay float32; 0: none.",
    )  # fmt: skip
    input_range: tuple[Float, Float] | None = Field(
        default=None, description="Smallest and largest value of the input; unset: as seen."
    )

    @model_validator(mode="after")
    def _has_zero(self) -> QuantizeStage:
        low, high = self.input_range or (0.0, 1.0)
        if not low <= 0 <= high or low == high:
            raise PlaceError(
                ("input_range",), "expected two values, the first at most 0, the second at least 0"
            )
        return self


class TransferStage(Span):
    """Weights adapt to other data while every zero stays zero."""

    layers: list[Text] | None = Field(default=None, min_length=1, description="Unset: all that have zeros.")


class FreezeStage(Span):
    """Weights and biases of layers stay as they are: a new head learns first, on features that are good."""

    layers: list[Text] = Field(
        default=["*"], min_length=1, description="Unset: all convolutions and linear ones."
    )
    skip: list[Text] = Field(default=[], description="Layers that learn, although `layers` has them.")


class OneShotStage(Part):
    """Pruning of the exported file, layer by layer towards what the dense one computes, without training."""

    sparsity: Share | None = Field(default=None, description="Of all weights; N:M says it by itself.")
    pattern: Text = Field(
        default="unstructured",
        pattern=r"^(unstructured|[1-9][0-9]?x[1-9][0-9]?|[1-9][0-9]?:[1-9][0-9]?)$",
        json_schema_extra={"patternErrorMessage": "unstructured, blocks like 1x4, or N:M like 2:4"},
    )
    inputs: Int = Field(default=256, ge=1, le=10**5, description="Pictures of the training data to go by.")
    even: Float = Field(
        default=0.0, ge=0, le=1, description="Share of them that is drawn evenly over the classes."
    )

    @model_validator(mode="after")
    def _says_how_much(self) -> OneShotStage:
        if self.sparsity is None and ":" not in self.pattern:
            raise PlaceError((), f"missing sparsity, which {self.pattern} needs")
        return self

    @property
    def start(self) -> float:
        """It takes no time of the training."""
        return 0.0

    @property
    def end(self) -> float:
        return 0.0


class RateStage(Span):
    """The learning rate: a linear warm-up to `peak`, then down to `last`. Unset: that of the program."""

    peak: Float = Field(gt=0, le=100)
    last: Float = Field(default=0.0, ge=0, le=100)
    warmup: Float = Field(default=0.1, ge=0, le=1, description="Share of the stage.")
    shape: Literal["cosine", "linear", "constant"] = "cosine"


class Stage(Part):
    """One stage: a mapping with one key, which says the kind."""

    learning_rate: RateStage | None = None
    prune: PruneStage | None = None
    sparse_train: SparseTrainStage | None = None
    distill: DistillStage | None = None
    quantize: QuantizeStage | None = None
    transfer: TransferStage | None = None
    freeze: FreezeStage | None = None
    one_shot: OneShotStage | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Stage:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            known = ", ".join(type(self).model_fields)
            raise PlaceError((), f"expected one key that says the kind of stage ({known}), not {len(given)}")
        return self

    @property
    def kind(self) -> str:
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def span(self) -> Any:
        return getattr(self, self.kind)


class Schedule(Part):
    """The stages of a training, as `wrap` takes them."""

    version: Literal[1] = 1
    stages: list[Stage] = Field(min_length=1, max_length=100)
    _document: Document | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _fits(self) -> Schedule:
        check_stages(self.stages)
        return self

    @property
    def epochs(self) -> float:
        """Epochs until the last stage is over."""
        return max(stage.span.end for stage in self.stages)

    def where(self, *loc: str | int) -> str:
        """`file:line:column: key` of a value, for messages; the key alone where no file was read."""
        if self._document is None:
            return dotted(loc)
        while loc and self._document.find(loc) is None:
            loc = loc[:-1]
        position = self._document.position(loc)
        return f"{self._document.name}:{position.line}:{position.column}: {dotted(loc)}"

    @property
    def document(self) -> Document | None:
        """The file that it was read from."""
        return self._document

    def read_from(self, document: Document) -> Self:
        """The same, knowing the file that it was read from."""
        self._document = document
        return self


ScheduleT = TypeVar("ScheduleT", bound=Schedule)


def check_stages(stages: list[Stage]) -> None:
    """Raise PlaceError where stages do not go together."""
    first = min((stage.quantize.start for stage in stages if stage.quantize), default=None)
    if sum(stage.quantize is not None for stage in stages) > 1:
        raise PlaceError(("stages",), "quantize stands here twice: once is enough")
    for number, stage in enumerate(stages):
        if first is not None and stage.kind in ("prune", "sparse_train") and stage.span.end > first:
            raise PlaceError(
                ("stages", number, stage.kind, "end"),
                f"ends at epoch {stage.span.end:g}, after quantize began at {first:g}: masks are frozen then",
            )
        if first is not None and stage.distill and stage.distill.teacher == SELF and stage.span.start > first:
            raise PlaceError(
                ("stages", number, "distill", "start"),
                f"at epoch {stage.span.start:g} the network is quantised already, so self is no teacher",
            )


def load_schedule(recipe: Schedule | Path | str | dict[str, Any] | list[Any]) -> Schedule:
    """The stages of a file, of YAML text (more than one line), of plain data. ConfigError for a mistake."""
    if isinstance(recipe, Schedule):
        return recipe
    if isinstance(recipe, Path) or (isinstance(recipe, str) and "\n" not in recipe):
        return check_recipe(read_document(Path(recipe)), Schedule)
    if isinstance(recipe, list):
        recipe = {"stages": recipe}
    text = recipe if isinstance(recipe, str) else yaml.safe_dump(recipe, sort_keys=False)
    return check_recipe(parse_document(text, "recipe", Path.cwd()), Schedule)


def check_recipe(document: Document, kind: type[ScheduleT]) -> ScheduleT:
    """The recipe that a file holds, which knows where everything stands. ConfigError for mistakes."""
    return check(document, kind).read_from(document)
