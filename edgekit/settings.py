"""What may stand in a pipeline's YAML file: one frozen pydantic class for each part of it.

A wrong one cannot exist: every field is bounded, unknown keys are refused, each camera's `detect` is the
top-level one with the camera's own keys on top. Bounds and descriptions become the JSON schema, and the
JSON schema words the messages (`edgekit.complaint`).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema

from edgekit.document import Loc
from edgekit.fields import (
    Bool,
    Duration,
    Float,
    Fps,
    Id,
    Int,
    Part,
    Port,
    Text,
    beside,
    either,
    from_bool,
    no_bool,
    to_bool,
)
from edgekit.scene import ConfirmConfig, SceneConfig


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
        default="auto", description="Device profile (edgekit devices list), or auto to probe the machine."
    )
    state: Path | None = Field(
        default=None,
        description="Folder for what outlives a restart: counts, events that wait and their numbers; unset: "
        "the service's state folder ($STATE_DIRECTORY), without one nothing is kept.",
    )

    _find_folder = field_validator("state")(beside)


class BudgetConfig(Part):
    """What a model may cost."""

    memory_mb: Float = Field(gt=0, le=1_048_576, description="Most memory that the model may take, in MB.")


class ModelConfig(Part):
    """The network that looks at the frames. A plain text is short for {name: text}."""

    name: Text = Field(
        description="Name of a zoo model, or path of a .tflite file (relative to this file).",
    )
    engine: Literal["auto", "native", "tflite"] = Field(default="auto", description="What runs the model.")
    threads: Int = Field(default=1, ge=1, le=64, description="Threads of the engine.")
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
        return {"name": data} if isinstance(data, str) else data

    @field_validator("name")
    @classmethod
    def _find_file(cls, name: str, info: ValidationInfo) -> str:
        return str(beside(Path(name), info)) if name.endswith(".tflite") else name

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return either({"type": "string", "minLength": 1}, dict(handler.resolve_ref_schema(handler(core))))


class TlsConfig(Part):
    """Encryption to the broker; `tls: true` trusts the system's certificate authorities."""

    ca: Path | None = Field(
        default=None, description="Certificate authority (PEM); unset: those of the system."
    )
    cert: Path | None = Field(default=None, description="This client's certificate (PEM).")
    key: Path | None = Field(default=None, description="Key of the client's certificate (PEM).")
    insecure: Bool = Field(default=False, description="Accept any certificate. Only for trying out.")

    _find_files = field_validator("ca", "cert", "key")(beside)

    @model_validator(mode="before")
    @classmethod
    def _from_bool(cls, data: object) -> object:
        return {} if data is True else data

    @model_validator(mode="after")
    def _come_together(self) -> TlsConfig:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together, expected both or none")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return either({"type": "boolean"}, dict(handler.resolve_ref_schema(handler(core))))


class OutboxConfig(Part):
    """Where events wait while the broker is away."""

    path: Path | None = Field(
        default=None,
        description="File that keeps events over a restart; unset: outbox in device.state or the service's "
        "state folder ($STATE_DIRECTORY), without one in memory.",
    )
    max_mb: Int = Field(
        default=32, ge=1, le=65_536, description="Most space that waiting events take, in MB."
    )
    max_age: Duration = Field(
        default=86400.0, gt=0, le=31_536_000, description="What waited longer is dropped: 90s, 30m, 24h."
    )
    drop: Literal["oldest"] = Field(
        default="oldest",
        description="Which events give way when too many wait; a gap message counts them.",
    )

    _find_file = field_validator("path")(beside)


class DiscoveryConfig(Part):
    """Whether Home Assistant finds the device by itself."""

    enabled: Bool = Field(default=True, description="Publish the discovery message.")
    prefix: Annotated[str, Field(max_length=200)] = Field(
        default="homeassistant",
        pattern=r"^[a-zA-Z0-9_-]+(/[a-zA-Z0-9_-]+)*$",
        description="Discovery prefix set in Home Assistant.",
        json_schema_extra={"patternErrorMessage": "levels of a-z A-Z 0-9 _ - joined by /"},
    )
    retain: Bool = Field(
        default=True, description="Let the broker keep it; without, it is sent when Home Assistant starts."
    )


class MqttConfig(Part):
    """Where detections go; without a host edgekit starts a broker of its own on 127.0.0.1."""

    host: Text | None = Field(
        default=None, description="Name or address of the broker; unset: the embedded broker."
    )
    port: Port | None = Field(
        default=None,
        description="Port of the broker; unset: 1883, with TLS 8883, and for the embedded one the next free.",
    )
    base: Annotated[str, Field(max_length=200)] = Field(
        default="edgekit",
        pattern=r"^[a-z0-9_-]+(/[a-z0-9_-]+)*$",
        description="First part of every topic.",
        json_schema_extra={"patternErrorMessage": "levels of a-z 0-9 _ - joined by / (no + # $)"},
    )
    user: Text | None = Field(default=None, description="Login at the broker.")
    password: Annotated[SecretStr, Field(min_length=1, max_length=4096)] | None = Field(
        default=None,
        description="Password: ${NAME}, !file path or !credential name keep it out of this file.",
    )
    tls: TlsConfig | None = Field(default=None, description="Encryption: true, or a mapping.")
    keepalive_s: Int = Field(
        default=30, ge=5, le=600, description="Seconds between signs of life to the broker."
    )

    discovery: DiscoveryConfig = Field(
        default_factory=DiscoveryConfig, description="Home Assistant's discovery."
    )
    compat: Literal["frigate"] | None = Field(
        default=None, description="frigate: publish below frigate/ too, for automations made for Frigate."
    )
    outbox: OutboxConfig = Field(default_factory=OutboxConfig, description="What waits for the broker.")
    requests: list[Literal["health", "reload", "snapshot", "restart"]] = Field(
        default=["health", "reload", "snapshot"],
        description="What may be asked for below request/; restart has to be named to be obeyed.",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_port(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        tls = to_bool(data.get("tls"))
        tls = None if tls is False else tls
        port = data.get("port")
        if port is None and data.get("host") is not None:
            port = 1883 if tls is None else 8883
        return {**data, "tls": tls, "port": port}

    @field_validator("host")
    @classmethod
    def _only_host(cls, host: str | None) -> str | None:
        if host is None or re.fullmatch(r"[A-Za-z0-9._-]+", host):
            return host
        try:
            return str(ip_address(host.strip("[]")))
        except ValueError:
            raise ValueError(
                "expected a host name or address alone (the port goes to port, mqtts:// is tls: true)"
            ) from None

    @model_validator(mode="after")
    def _come_together(self) -> MqttConfig:
        if self.password is not None and self.user is None:
            raise ValueError("password without user, expected both or none")
        if self.host is None and (self.user is not None or self.tls is not None):
            raise ValueError("user and tls are for a broker of your own, expected host as well")
        return self


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


class CameraConfig(SceneConfig):
    """One source of frames."""

    source: Text = Field(
        repr=False,
        json_schema_extra={"type": ["string", "integer"], "minimum": 0},
        description="demo:, 0, /dev/video0, csi:0, rtsp:, http:, a video file, a folder or glob of pictures.",
    )
    loop: Bool = Field(default=False, description="Start a file again at its end.")
    realtime: Bool = Field(default=False, description="Play a file at its own speed and drop late frames.")
    detect: DetectConfig = Field(
        default_factory=DetectConfig, description="Overrides of the top-level detect, key by key."
    )

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
        if re.match(r"[A-Za-z]+:|\d+$|/|~", source) or folder == Path.cwd():
            return source
        return str(folder / source)


class Config(Part):
    """A pipeline: cameras, the model that looks at them, the broker that hears of it."""

    version: Annotated[Literal[1], BeforeValidator(no_bool)] = Field(
        description="Version of this file's form."
    )
    device: DeviceConfig = Field(default_factory=DeviceConfig, description="This machine.")
    model: ModelConfig = Field(description="The model: its name, or a mapping.")
    mqtt: MqttConfig = Field(default_factory=MqttConfig, description="The broker.")
    detect: DetectConfig = Field(default_factory=DetectConfig, description="Detection, for all cameras.")
    cameras: dict[Id, CameraConfig] = Field(min_length=1, max_length=64, description="The cameras, by name.")

    _secret: frozenset[Loc] = PrivateAttr(frozenset())

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
