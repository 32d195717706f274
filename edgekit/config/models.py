"""What may be said of the networks that look at the frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, GetJsonSchemaHandler, ValidationInfo, field_validator, model_validator
from pydantic_core import CoreSchema

from edgekit.config.fields import Bool, Float, Int, Megabytes, Milliseconds, Part, Text, beside, either


class BudgetConfig(Part):
    """What a model may cost."""

    memory_mb: Megabytes | None = Field(
        default=None, description="Most memory that the model may take, in MB."
    )
    latency_ms: Milliseconds | None = Field(
        default=None, description="Longest that an inference may take, in milliseconds."
    )


def _model_file(name: str, info: ValidationInfo) -> str:
    """A file is found beside the YAML file, a name of the zoo is left alone."""
    return str(beside(name, info)) if name.endswith(".tflite") else name


class ModelConfig(Part):
    """The network that looks at the frames. A plain text is short for {name: text}."""

    name: Text = Field(
        default="",
        description="Name of a zoo model, or path of a .tflite file (relative to this file); unset: the one "
        "of the zoo that has the task and labels and keeps the budget.",
    )
    task: Literal["detect"] | None = Field(default=None, description="What an unnamed model is chosen for.")
    labels: list[Text] = Field(
        default_factory=list, description="Classes that an unnamed model must know; empty: any."
    )
    prefer: Literal["accuracy", "latency", "memory"] = Field(
        default="accuracy", description="Which of the models that keep the budget is the best."
    )
    engine: Literal["auto", "native", "tflite"] = Field(default="auto", description="What runs the model.")
    threads: Int = Field(default=1, ge=1, le=64, description="Threads of the engine.")
    fallback: list[Text] = Field(
        default_factory=list,
        max_length=8,
        description="Smaller models, one after another, for when the machine is hot or overloaded.",
    )
    worker: Bool = Field(
        default=False,
        description="Run the engine in a process of its own, which is started again after a crash.",
    )
    budget: BudgetConfig | None = Field(
        default=None, description="What the model may cost; unset: what the device allows."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, data: object) -> object:
        if isinstance(data, str):
            return {"name": data}
        if isinstance(data, Mapping) and data.get("task") and not data.get("name"):
            return {key: value for key, value in data.items() if key != "name"}
        return data

    @model_validator(mode="after")
    def _is_known(self) -> ModelConfig:
        if not self.name and self.task is None:
            raise ValueError("expected a name, or a task for which one is chosen")
        return self

    @field_validator("name")
    @classmethod
    def _find_file(cls, name: str, info: ValidationInfo) -> str:
        return _model_file(name, info)

    @field_validator("fallback")
    @classmethod
    def _find_files(cls, names: list[str], info: ValidationInfo) -> list[str]:
        return [_model_file(name, info) for name in names]

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return either({"type": "string", "minLength": 1}, dict(handler.resolve_ref_schema(handler(core))))


class SecondLookConfig(Part):
    """A classifier that looks again where the detector hesitates. A plain text is short for {model: text}."""

    model: Text = Field(description="Name of a classifier of the zoo, or path of a .tflite file.")
    between: list[Text] = Field(
        default=["person", "dog", "cat"],
        min_length=2,
        max_length=64,
        description="The classes that are told apart; both models must know them.",
    )
    sure: Float = Field(
        default=0.7, ge=0, le=1, description="Score from which the detector does not hesitate."
    )
    verdict: Float = Field(
        default=0.6, ge=0, le=1, description="Probability at which the classifier decides."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, data: object) -> object:
        return {"model": data} if isinstance(data, str) else data

    @field_validator("model")
    @classmethod
    def _find_file(cls, name: str, info: ValidationInfo) -> str:
        return _model_file(name, info)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return either({"type": "string", "minLength": 1}, dict(handler.resolve_ref_schema(handler(core))))
