"""What may stand in a pipeline's YAML file: one frozen pydantic class for each part of it.

A wrong one cannot exist: every field is bounded, unknown keys are refused, each camera's `detect` is the
top-level one with the camera's own keys on top. Bounds and descriptions become the JSON schema, and the
JSON schema words the messages (`edgekit.config.complaint`).
"""

from __future__ import annotations

import platform
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema

from edgekit.config.broker import MqttConfig
from edgekit.config.document import Loc
from edgekit.config.fields import (
    Bool,
    Duration,
    Float,
    Fps,
    Id,
    Int,
    Part,
    PlaceError,
    Text,
    beside,
    either,
    from_bool,
    is_profile_file,
    no_bool,
)
from edgekit.config.models import ModelConfig, SecondLookConfig
from edgekit.config.page import WebConfig
from edgekit.config.scene import ConfirmConfig, SceneConfig

TOPICS = frozenset({"request", "response", "schema"})  # levels beside those of the cameras


def _to_source(value: object) -> object:
    """`source: 0` is the first camera."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class DeviceConfig(Part):
    """The machine that edgekit runs on."""

    id: Id = Field(
        default_factory=lambda: _host_id(socket.gethostname()),
        description="Name of this device in MQTT topics; unset: the host name.",
    )
    profile: Text = Field(
        default="auto",
        description="Device profile (edgekit devices list), path of one (relative to this file), or auto to "
        "probe the machine.",
    )
    state: Path | None = Field(
        default=None,
        description="Folder for what outlives a restart: counts, events that wait and their numbers; unset: "
        "the service's state folder ($STATE_DIRECTORY), without one nothing is kept.",
    )

    _find_folder = field_validator("state")(beside)

    @field_validator("profile")
    @classmethod
    def _find_file(cls, name: str, info: ValidationInfo) -> str:
        """A file is found beside the YAML file, the name of a profile is left alone."""
        return str(beside(name, info)) if is_profile_file(name) else name


class MotionConfig(Part):
    """When a frame is worth a look; `motion: true` takes all defaults."""

    threshold: Int = Field(
        default=30, ge=1, le=255, description="Change of brightness (of 255) that is motion."
    )
    min_area: Float = Field(
        default=0.002, ge=0, le=1, description="Share of the picture that must move at one place."
    )
    heartbeat: Duration = Field(
        default=5.0,
        gt=0,
        le=86_400,
        description="Time after which all is looked at anyway: 5s.",
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return either({"type": "boolean"}, dict(handler.resolve_ref_schema(handler(core))))


class DetectConfig(Part):
    """What counts as a detection."""

    fps: Fps | None = Field(default=None, description="Frames a second to look at; unset: all of them.")
    min_score: Float = Field(
        default=0.5, ge=0, le=1, description="Least score that makes a thing; half of it keeps one."
    )
    labels: list[Text] | None = Field(
        default=None, min_length=1, description="Classes to report; unset: all of the model."
    )
    confirm: ConfirmConfig | None = Field(
        default=None,
        description="When a thing is real; unset: seen in 3 of 5 frames, in fewer below 3 frames a second.",
    )
    lost_s: Float = Field(
        default=2.0, gt=0, le=3600, description="Seconds a thing may be unseen before its visit ends."
    )
    motion: Annotated[MotionConfig | None, BeforeValidator(from_bool)] = Field(
        default=None,
        description="Look only when and where something moves: true, or a mapping; unset: at every frame.",
    )
    second_look: SecondLookConfig | None = Field(
        default=None, description="A classifier that tells persons from animals; unset: none."
    )


class CameraConfig(SceneConfig):
    """One source of frames."""

    source: Text = Field(
        repr=False,
        json_schema_extra={"type": ["string", "integer"], "minimum": 0},
        description="demo:, test:pattern, 0, /dev/video0, csi:0, rtsp:, http:, a video file, a folder or "
        "glob of pictures.",
    )
    loop: Bool = Field(default=False, description="Start a file again at its end.")
    realtime: Bool = Field(default=False, description="Play a file at its own speed and drop late frames.")
    detect: DetectConfig = Field(
        default_factory=DetectConfig, description="Overrides of the top-level detect, key by key."
    )

    @model_validator(mode="after")
    def _find_second_look(self) -> CameraConfig:
        """An alarm that wants a second look needs somebody to take it."""
        for name, alarm in self.alarms.items():
            if alarm.confirm and alarm.confirm.verify and self.detect.second_look is None:
                place = ("alarms", name, "confirm", "verify")
                raise PlaceError(place, "it needs a classifier, expected detect.second_look as well")
        return self

    @field_validator("source", mode="before")
    @classmethod
    def _from_index(cls, source: object) -> object:
        return _to_source(source)

    @field_validator("source")
    @classmethod
    def _not_a_pipe(cls, source: str) -> str:
        if source.strip() in {"", "-"}:
            raise ValueError("expected a camera, stream, file or folder (frames do not come from a pipe)")
        return source

    @field_validator("source")
    @classmethod
    def _find_file(cls, source: str, info: ValidationInfo) -> str:
        """A relative path starts at the folder of the YAML file; cameras, streams and `word:...` are none."""
        folder = Path((info.context or {}).get("base_dir", Path()))
        kind, path = _split_kind(source)
        elsewhere = r"[/~]|$" if kind else r"[/~]|\d+$|[A-Za-z]+:"
        if re.match(elsewhere, path) or folder == Path.cwd():
            return source
        return f"{kind}{folder / path}"


def _split_kind(source: str) -> tuple[str, str]:
    """`file:` or `dir:`, with // or not, and the path behind it."""
    kind = re.match(r"(?:(?:file|dir):(?://)?)?", source)
    length = kind.end() if kind else 0
    return source[:length], source[length:]


class GovernorConfig(Part):
    """When less is done: fewer frames, then the models of `model.fallback`; `governor: false`: never."""

    hot_c: Float = Field(
        default_factory=lambda: 95.0 if platform.machine() in ("x86_64", "AMD64") else 78.0,
        ge=20,
        le=150,
        description="Temperature of the processor that is too hot, in °C; unset: 78, on a PC 95.",
    )
    busy: Float = Field(
        default=0.9, gt=0, le=1, description="Share of the time that looking at frames may take."
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return either({"type": "boolean"}, dict(handler.resolve_ref_schema(handler(core))))


class Config(Part):
    """A pipeline: cameras, the model that looks at them, the broker that hears of it."""

    version: Annotated[Literal[1], BeforeValidator(no_bool)] = Field(
        description="Version of this file's form."
    )
    device: DeviceConfig = Field(default_factory=DeviceConfig, description="This machine.")
    model: ModelConfig = Field(description="The model: its name, or a mapping.")
    governor: Annotated[GovernorConfig | None, BeforeValidator(from_bool)] = Field(
        default_factory=GovernorConfig, description="What happens when the machine is hot or overloaded."
    )
    mqtt: MqttConfig = Field(default_factory=MqttConfig, description="The broker.")
    web: Annotated[WebConfig | None, BeforeValidator(from_bool)] = Field(
        default=None, description="The live page: true, a port, or a mapping; unset: none."
    )
    detect: DetectConfig = Field(default_factory=DetectConfig, description="Detection, for all cameras.")
    cameras: dict[Id, CameraConfig] = Field(min_length=1, max_length=64, description="The cameras, by name.")

    @field_validator("cameras")
    @classmethod
    def _leave_topics_alone(cls, cameras: dict[str, CameraConfig]) -> dict[str, CameraConfig]:
        for name in TOPICS & cameras.keys():
            raise PlaceError((name,), f"{name} is a topic of the device, expected another name")
        return cameras

    _secret: frozenset[Loc] = PrivateAttr(frozenset())

    @property
    def secret(self) -> frozenset[Loc]:
        """Where values stand that came from a file or a credential."""
        return self._secret

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, data: object) -> object:
        """Put the top-level `detect` below that of each camera."""
        if not (isinstance(data, Mapping) and isinstance(data.get("cameras"), Mapping)):
            return data
        cameras = {name: _with_detect(camera, data.get("detect")) for name, camera in data["cameras"].items()}
        return {**data, "cameras": cameras}


def _with_detect(camera: object, detect: object) -> object:
    if not isinstance(camera, Mapping):
        return camera
    return {**camera, "detect": _merge(detect, camera.get("detect"))}


def _merge(below: object, above: object) -> object:
    """`above` laid over `below`, mappings key by key."""
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return below if above is None else above
    return {**below, **{key: _merge_value(below.get(key), value) for key, value in above.items()}}


def _merge_value(below: object, above: object) -> object:
    return _merge(below, above) if isinstance(above, Mapping) else above


def _host_id(name: str) -> str:
    slug = re.sub(r"[^a-z0-9_-]+", "-", name.partition(".")[0].lower()).strip("-")[:64]
    return slug or "edgekit"
