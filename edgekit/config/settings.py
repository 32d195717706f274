"""What may stand in a pipeline's YAML file: one frozen pydantic class for each part of it.

A wrong one cannot exist: every field is bounded, unknown keys are refused, each camera's `detect` is the
top-level one with the camera's own keys on top. Bounds and descriptions become the JSON schema, and the
JSON schema words the messages (`edgekit.config.complaint`).
"""

from __future__ import annotations

import os
import platform
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

from edgekit.config.document import Loc
from edgekit.config.fields import (
    Bool,
    Duration,
    Float,
    Fps,
    Id,
    Int,
    Megabytes,
    Milliseconds,
    Part,
    PlaceError,
    Port,
    Text,
    beside,
    either,
    from_bool,
    no_bool,
    to_bool,
    to_number,
)
from edgekit.config.scene import ConfirmConfig, SceneConfig


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

    memory_mb: Megabytes | None = Field(
        default=None, description="Most memory that the model may take, in MB."
    )
    latency_ms: Milliseconds | None = Field(
        default=None, description="Longest that an inference may take, in milliseconds."
    )


def _model_file(name: str, info: ValidationInfo) -> str:
    return str(beside(Path(name), info)) if name.endswith(".tflite") else name


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


def _host_name(host: str, hint: str = "") -> str:
    if re.fullmatch(r"[A-Za-z0-9._-]+", host):
        return host
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        raise ValueError(f"expected a host name or address alone{hint}") from None


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
        return host and _host_name(host, " (the port goes to port, mqtts:// is tls: true)")

    @model_validator(mode="after")
    def _come_together(self) -> MqttConfig:
        if self.password is not None and self.user is None:
            raise ValueError("password without user, expected both or none")
        if self.host is None and (self.user is not None or self.tls is not None):
            raise ValueError("user and tls are for a broker of your own, expected host as well")
        return self


class WebConfig(Part):
    """The live page, /metrics and /healthz. A plain number is short for {port: number}; true takes 8088."""

    port: Port = Field(default=8088, description="Port of the page.")
    host: Text = Field(
        default="127.0.0.1",
        description="Address to listen on; any but this machine's own (127.0.0.1, ::1) needs a token.",
    )
    token: Annotated[SecretStr, Field(max_length=256)] | None = Field(
        default_factory=lambda: SecretStr(os.environ.get("EDGEKIT_WEB_TOKEN", "")) or None,
        validate_default=True,
        description="What a visitor must know: !file path or !credential name keep it out of this file; "
        "unset: $EDGEKIT_WEB_TOKEN.",
    )
    privacy: Bool = Field(
        default=False, description="Never make a picture: boxes, zones and figures are shown without."
    )
    fps: Fps = Field(default=10.0, description="Most pictures a second that a visitor is shown.")
    width: Int = Field(default=960, ge=160, le=3840, description="Most pixels that a shown picture is wide.")

    @model_validator(mode="before")
    @classmethod
    def _from_port(cls, data: object) -> object:
        number = to_number(data)
        return {"port": number} if isinstance(number, int) and not isinstance(number, bool) else data

    @field_validator("host")
    @classmethod
    def _only_address(cls, host: str) -> str:
        return _host_name(host)

    @field_validator("token")
    @classmethod
    def _hard_to_guess(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and len(token) < 12:
            raise ValueError("expected 12 characters or more")
        return token

    @model_validator(mode="after")
    def _guarded(self) -> WebConfig:
        if not self.local and self.token is None:
            raise ValueError(
                f"others can reach {self.host}, expected a token as well (web.token or $EDGEKIT_WEB_TOKEN)"
            )
        return self

    @property
    def local(self) -> bool:
        """Only this machine can reach it."""
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        short = {"type": ["boolean", "integer"], "minimum": 1, "maximum": 65535}
        return either(short, dict(handler.resolve_ref_schema(handler(core))))


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
        description="demo:, 0, /dev/video0, csi:0, rtsp:, http:, a video file, a folder or glob of pictures.",
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
        if re.match(r"[A-Za-z]+:|\d+$|/|~", source) or folder == Path.cwd():
            return source
        return str(folder / source)


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
