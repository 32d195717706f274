"""The pipeline's YAML file, checked: `load_config(path) -> Config`.

A `Config` cannot be wrong: every field is bounded, unknown keys are refused, each camera's `detect` is the
top-level one with the camera's own keys on top. Any mistake is a ConfigError with one line for each,
`file:line:col: path.to.key: what was expected`.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema

from edgekit.complaint import check, complain, mask_url
from edgekit.document import Document, Loc, parse_document, read_document
from edgekit.errors import UsageError

__all__ = [
    "CameraConfig",
    "Config",
    "ConfirmConfig",
    "DetectConfig",
    "DeviceConfig",
    "ModelConfig",
    "MqttConfig",
    "TlsConfig",
    "config_hash",
    "config_schema",
    "load_config",
    "mask_url",
    "parse_config",
    "quick_config",
    "resolved_yaml",
]

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NUMBER = re.compile(r"[-+]?[0-9]{1,18}(\.[0-9]{1,18})?")


def _to_number(value: object) -> object:
    """`${PORT}` and quoted numbers are numbers; true and false are none."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value) if "." in value else int(value)
    return value


def _to_bool(value: object) -> object:
    return _WORDS.get(value.lower(), value) if isinstance(value, str) else value


def _to_source(value: object) -> object:
    """`source: 0` is the first camera."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Id: TypeAlias = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9_-]{1,64}$",
        json_schema_extra={"patternErrorMessage": "1 to 64 of the characters a-z 0-9 _ -"},
    ),
]
Int: TypeAlias = Annotated[int, Field(strict=True), BeforeValidator(_to_number)]
Float: TypeAlias = Annotated[float, Field(strict=True, allow_inf_nan=False), BeforeValidator(_to_number)]
Bool: TypeAlias = Annotated[bool, Field(strict=True), BeforeValidator(_to_bool)]
Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=4096)]


def _beside(value: Path, info: ValidationInfo) -> Path:
    """A relative path starts at the folder of the YAML file."""
    folder = (info.context or {}).get("base_dir", Path())
    return Path(folder) / value.expanduser()


def _or(short: Mapping[str, Any], full: Mapping[str, Any]) -> dict[str, Any]:
    """JSON schema of a mapping that has a short form."""
    return {"anyOf": [dict(short), dict(full)]}


class _Part(BaseModel):
    """What all parts share: frozen, no unknown keys, `key:` with nothing behind it means the default."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        return {key: value for key, value in data.items() if value is not None}


class DeviceConfig(_Part):
    """The machine that edgekit runs on."""

    id: Id = Field(
        default_factory=lambda: _host_id(socket.gethostname()),
        description="Name of this device in MQTT topics; unset: the host name.",
    )
    profile: Text = Field("auto", description="Device profile (edgekit devices list), or auto to probe the machine.")


class BudgetConfig(_Part):
    """What a model may cost."""

    memory_mb: Float = Field(gt=0, le=1_048_576, description="Most memory that the model may take, in MB.")


class ModelConfig(_Part):
    """The network that looks at the frames. A plain text is short for {name: text}."""

    name: Text = Field(
        description="Name of a zoo model, or path of a .tflite file (relative to this file).",
    )
    engine: Literal["auto", "native", "tflite"] = Field("auto", description="What runs the model.")
    threads: Int = Field(1, ge=1, le=64, description="Threads of the engine.")
    budget: BudgetConfig | None = Field(None, description="What the model may cost; unset: what the device allows.")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, data: object) -> object:
        return {"name": data} if isinstance(data, str) else data

    @field_validator("name")
    @classmethod
    def _find_file(cls, name: str, info: ValidationInfo) -> str:
        return str(_beside(Path(name), info)) if name.endswith(".tflite") else name

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return _or({"type": "string", "minLength": 1}, dict(handler.resolve_ref_schema(handler(core))))


class TlsConfig(_Part):
    """Encryption to the broker; `tls: true` trusts the system's certificate authorities."""

    ca: Path | None = Field(None, description="Certificate authority (PEM); unset: those of the system.")
    cert: Path | None = Field(None, description="This client's certificate (PEM).")
    key: Path | None = Field(None, description="Key of the client's certificate (PEM).")
    insecure: Bool = Field(default=False, description="Accept any certificate. Only for trying out.")

    _find_files = field_validator("ca", "cert", "key")(_beside)

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
        return _or({"type": "boolean"}, dict(handler.resolve_ref_schema(handler(core))))


class MqttConfig(_Part):
    """Where detections go; without a host edgekit starts a broker of its own on 127.0.0.1."""

    host: Text | None = Field(None, description="Name or address of the broker; unset: the embedded broker.")
    port: Int = Field(1883, ge=1, le=65535, description="Port of the broker; unset: 1883, with TLS 8883.")
    base: Annotated[str, Field(max_length=200)] = Field(
        "edgekit",
        pattern=r"^[a-z0-9_-]+(/[a-z0-9_-]+)*$",
        description="First part of every topic.",
        json_schema_extra={"patternErrorMessage": "levels of a-z 0-9 _ - joined by / (no + # $)"},
    )
    user: Text | None = Field(None, description="Login at the broker.")
    password: Annotated[SecretStr, Field(min_length=1, max_length=4096)] | None = Field(
        None, description="Password: ${NAME}, !file path or !credential name keep it out of this file."
    )
    tls: TlsConfig | None = Field(None, description="Encryption: true, or a mapping.")
    keepalive_s: Int = Field(30, ge=5, le=600, description="Seconds between signs of life to the broker.")

    @model_validator(mode="before")
    @classmethod
    def _default_port(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        tls = _to_bool(data.get("tls"))
        port = data.get("port") or (8883 if tls else 1883)
        return {**data, "tls": None if tls is False else tls, "port": port}

    @field_validator("host")
    @classmethod
    def _only_host(cls, host: str | None) -> str | None:
        if host is None or re.fullmatch(r"[A-Za-z0-9._-]+|\[?[0-9A-Fa-f:]*::?[0-9A-Fa-f:.]*(%\w+)?\]?", host):
            return host and host.strip("[]")
        raise ValueError("expected a host name or address alone (the port goes to port, mqtts:// is tls: true)")

    @model_validator(mode="after")
    def _come_together(self) -> MqttConfig:
        if self.password is not None and self.user is None:
            raise ValueError("password without user, expected both or none")
        if self.host is None and (self.user is not None or self.tls is not None):
            raise ValueError("user and tls are for a broker of your own, expected host as well")
        return self


class ConfirmConfig(_Part):
    """A thing is reported once it was seen in `frames` of its last `of` frames."""

    frames: Int = Field(3, ge=1, le=64, description="Frames that must show the thing.")
    of: Int = Field(5, ge=1, le=64, description="Out of so many last frames.")

    @model_validator(mode="after")
    def _fit(self) -> ConfirmConfig:
        if self.frames > self.of:
            raise ValueError(f"frames is {self.frames}, expected at most of, which is {self.of}")
        return self


class DetectConfig(_Part):
    """What counts as a detection."""

    fps: Annotated[Float, Field(gt=0, le=120)] | None = Field(None, description="Frames a second to look at; unset: all of them.")
    min_score: Float = Field(0.4, ge=0, le=1, description="Least score of a detection.")
    labels: list[Text] | None = Field(None, min_length=1, description="Classes to report; unset: all of the model.")
    confirm: ConfirmConfig = Field(default_factory=ConfirmConfig, description="When a thing is real.")
    lost_s: Float = Field(2.0, gt=0, le=3600, description="Seconds a thing may be unseen before its visit ends.")


class CameraConfig(_Part):
    """One source of frames."""

    source: Text = Field(
        repr=False,
        description="demo:, /dev/video0 or 0, rtsp://..., http://..., a video file, a folder or glob of images.",
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


class Config(_Part):
    """A pipeline: cameras, the model that looks at them, the broker that hears of it."""

    version: Literal[1] = Field(description="Version of this file's form.")
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


def load_config(path: str | Path) -> Config:
    """Read and check a pipeline's YAML file. Raises ConfigError, one line for each mistake."""
    return _check(read_document(path))


def parse_config(text: str, name: str, base_dir: Path) -> Config:
    """Check YAML text; `name` stands in messages, relative paths start at `base_dir`. Raises ConfigError."""
    return _check(parse_document(text, name, base_dir.absolute()))


def _check(document: Document) -> Config:
    config = check(document, Config, {"base_dir": document.base_dir})
    config._secret = frozenset(document.secret)  # noqa: SLF001  (its own)
    return config


def quick_config(
    source: str, model: str, mqtt: str | None = None, *, camera: str = "camera", **options: Any
) -> Config:
    """The Config that a command line without a YAML file asks for.

    `mqtt` is HOST, HOST:PORT, [::1]:PORT, mqtt://HOST or mqtts://HOST. `options`: device, profile, engine,
    threads, memory_mb, base, fps, min_score, labels, loop, realtime; None stands for the default. Raises
    UsageError naming the flag.
    """
    data: dict[str, Any] = {"version": 1, "model": {"name": model}, "cameras": {camera: {"source": source}}}
    data["mqtt"] = {} if mqtt is None else _broker(mqtt)
    for name, value in options.items():
        _put(data, [camera if key == "{camera}" else key for key in _OPTIONS[name].split(".")], value)
    try:
        return Config.model_validate(data, context={"base_dir": Path.cwd()})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        flag = str(first["loc"][-1] if first["loc"][-1] != "[key]" else "camera")
        shown = {"name": "--model", "source": "source", "id": "--device-id"}.get(flag, "--" + flag.replace("_", "-"))
        raise UsageError(f"{shown}: {complain(Config.model_json_schema(), dict(first))}") from None


_OPTIONS = {
    "device": "device.id",
    "profile": "device.profile",
    "engine": "model.engine",
    "threads": "model.threads",
    "memory_mb": "model.budget.memory_mb",
    "base": "mqtt.base",
    "fps": "detect.fps",
    "min_score": "detect.min_score",
    "labels": "detect.labels",
    "loop": "cameras.{camera}.loop",
    "realtime": "cameras.{camera}.realtime",
}


def _put(data: dict[str, Any], path: list[str], value: object) -> None:
    if value is None:
        return
    for key in path[:-1]:
        data = data.setdefault(key, {})
    data[path[-1]] = value


def _broker(text: str) -> dict[str, Any]:
    """HOST, HOST:PORT, [ADDRESS]:PORT, with mqtt:// or mqtts:// before it. Raises UsageError."""
    if "@" in text:
        raise UsageError("--mqtt: no login on the command line, write user and password: ${NAME} into a YAML file")
    found = re.fullmatch(
        r"(?:(?P<scheme>mqtts?)://)?(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^:/\[\]\s]+))(?::(?P<port>[0-9]{1,5}))?/?", text
    )
    if not found or not 0 < int(found["port"] or 1) < 65536:
        raise UsageError(f"--mqtt: expected HOST, HOST:PORT, [::1]:PORT or mqtts://HOST, not {text[:80]!r}")
    broker: dict[str, Any] = {"host": found["six"] or found["host"], "tls": found["scheme"] == "mqtts"}
    return {**broker, "port": int(found["port"])} if found["port"] else broker


def config_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a pipeline's YAML file, for editors and other tools."""
    schema = Config.model_json_schema()
    for part in [schema, *schema["$defs"].values()]:
        for choice in part.get("anyOf", [part]):
            properties = choice.get("properties", {})
            properties.update({name: _or_variable(value) for name, value in properties.items()})
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:edgekit:schema:pipeline:1",
        "title": "edgekit pipeline",
    }
    return {**schema, **head}


def _or_variable(part: dict[str, Any]) -> dict[str, Any]:
    """Let `${NAME}` and nothing at all (`key:`) stand where a number or a chosen word is expected."""
    choices = part.get("anyOf", [part])
    extra = [] if any(choice.get("type") == "null" for choice in choices) else [{"type": "null"}]
    if any("$ref" not in choice and choice.get("type") in _FILLED for choice in choices):
        extra.insert(0, {"type": "string", "pattern": r"\$\{"})
    told = {key: value for key, value in part.items() if key in {"description", "default", "title"}}
    rest = [{key: value for key, value in choice.items() if key not in told} for choice in choices]
    return {**told, "anyOf": rest + extra}


_FILLED = frozenset({"string", "integer", "number", "boolean"})


def resolved_yaml(config: Config) -> str:
    """The whole configuration with every default and inherited value, secrets as `***`; it loads again."""
    return str(yaml.dump(_plain(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))


def config_hash(config: Config) -> str:
    """sha256 (hex) of the resolved configuration without its secrets."""
    return hashlib.sha256(json.dumps(_plain(config), sort_keys=True).encode()).hexdigest()


class _Dumper(yaml.SafeDumper):
    """Quotes every text that YAML 1.2 might read as something else; keeps `${` from being filled in."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  (PyYAML's signature)
        return True

    def represent_text(self, text: str) -> yaml.Node:
        style = None if re.fullmatch(r"[A-Za-z/][A-Za-z0-9_./-]*", text) else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text.replace("${", "$${"), style=style)


_Dumper.add_representer(str, _Dumper.represent_text)


def _plain(config: Config) -> dict[str, Any]:
    """Dicts, lists and scalars; no secrets, no unset keys."""
    data = config.model_dump(exclude_none=True)
    if config.mqtt.password is not None:
        data["mqtt"]["password"] = "***"  # noqa: S105  (it is what stands for the password)
    for name, camera in data["cameras"].items():
        hidden = ("cameras", name, "source") in config._secret  # noqa: SLF001  (its own)
        camera["source"] = "***" if hidden else mask_url(camera["source"])
    if ("mqtt", "user") in config._secret:  # noqa: SLF001  (its own)
        data["mqtt"]["user"] = "***"
    for name in data["mqtt"].get("tls", {}):
        value = data["mqtt"]["tls"][name]
        data["mqtt"]["tls"][name] = str(value) if isinstance(value, Path) else value
    return data
