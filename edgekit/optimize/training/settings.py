"""What a recipe says beside its stages: seed, batch, optimiser, checkpoints. Needs no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgekit.config.fields import Bool, Duration, Float, Int, Part, Text


class OptimizerSettings(Part):
    """The optimiser; stages `learning_rate` set its rate."""

    kind: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Float = Field(default=0.01, gt=0, le=100, description="Where no stage sets it.")
    momentum: Float = Field(default=0.9, ge=0, lt=1)
    weight_decay: Float = Field(default=5e-4, ge=0, le=1)


class RunSettings(Part):
    """How a training runs."""

    name: Text = Field(default="model", description="Name of the network in its file.")
    seed: Int = Field(default=0, ge=0, le=2**31 - 1)
    batch: Int = Field(default=64, ge=1, le=4096)
    threads: Int = Field(
        default=1,
        ge=1,
        le=256,
        description="Threads of torch. On a machine that does other work too, 1 is fastest.",
    )
    bfloat16: Bool = Field(
        default=False, description="Float stages in bfloat16, where the CPU is fast at it."
    )
    checkpoint: Duration = Field(default=180.0, gt=0, description="Time between two checkpoints.")
    optimizer: OptimizerSettings = OptimizerSettings()

    @property
    def checkpoint_s(self) -> float:
        return self.checkpoint

    def same_result(self, other: RunSettings) -> bool:
        """Whether a run by `other` gives the same file."""
        mine, theirs = (one.model_dump(exclude={"checkpoint"}) for one in (self, other))
        return mine == theirs
