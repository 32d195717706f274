"""The pipeline's YAML file, checked: `load_config(path) -> Config`; how to make one and how to show it.

Any mistake is a ConfigError with one line for each, `file:line:col: path.to.key: what was expected`. The
parts of a Config stand in `edgekit.config.settings`.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from edgekit.config.broker import MqttConfig, TlsConfig
from edgekit.config.complaint import check, complain, mask_url
from edgekit.config.document import Document, parse_document, read_document
from edgekit.config.models import BudgetConfig, ModelConfig
from edgekit.config.page import WebConfig
from edgekit.config.scene import ConfirmConfig
from edgekit.config.settings import CameraConfig, Config, DetectConfig, DeviceConfig
from edgekit.errors import UsageError

__all__ = [
    "BudgetConfig",
    "CameraConfig",
    "Config",
    "ConfirmConfig",
    "DetectConfig",
    "DeviceConfig",
    "ModelConfig",
    "MqttConfig",
    "TlsConfig",
    "WebConfig",
    "config_hash",
    "config_of",
    "config_schema",
    "load_config",
    "mask_url",
    "override_config",
    "parse_config",
    "quick_config",
    "resolved_yaml",
]


def load_config(path: str | Path) -> Config:
    """Read and check a pipeline's YAML file. Raises ConfigError, one line for each mistake."""
    return config_of(read_document(path))


def parse_config(text: str, name: str, base_dir: Path) -> Config:
    """Check YAML text; `name` stands in messages, relative paths start at `base_dir`. Raises ConfigError."""
    return config_of(parse_document(text, name, base_dir.absolute()))


def config_of(document: Document) -> Config:
    """A Document as a Config. Raises ConfigError."""
    config = check(document, Config, {"base_dir": document.base_dir})
    config._secret = frozenset(document.secret)  # noqa: SLF001  (its own)
    return config


def quick_config(
    source: str, model: str, mqtt: str | None = None, *, camera: str = "camera", **flags: Any
) -> Config:
    """The Config that a command line without a YAML file asks for.

    `flags` are the keys of FLAGS, None stands for the default; `mqtt` is HOST, HOST:PORT, [::1]:PORT,
    mqtt://HOST or mqtts://HOST. Relative paths start at the working directory. Raises UsageError naming
    the flag.
    """
    return _flagged(
        {"version": 1, "cameras": {camera: {"source": source}}}, {"model": model, "mqtt": mqtt, **flags}
    )


def override_config(config: Config, **flags: Any) -> Config:
    """`config` with the flags of a command line on top: as for `quick_config`, for every camera.

    `mqtt` keeps login and certificates, and without a scheme also whether TLS is used. Raises UsageError
    naming the flag.
    """
    overridden = _flagged(config.model_dump(), flags)
    overridden._secret = config._secret  # noqa: SLF001  (its own)
    return overridden


FLAGS = {
    "model": ["model.name"],
    "engine": ["model.engine"],
    "threads": ["model.threads"],
    "memory_mb": ["model.budget.memory_mb"],
    "device": ["device.profile"],
    "device_id": ["device.id"],
    "base": ["mqtt.base"],
    "fps": ["detect.fps", "cameras.*.detect.fps"],
    "min_score": ["detect.min_score", "cameras.*.detect.min_score"],
    "labels": ["detect.labels", "cameras.*.detect.labels"],
    "loop": ["cameras.*.loop"],
    "realtime": ["cameras.*.realtime"],
}
_FLAG_OF = {"name": "model", "token": "web", "profile": "device", "id": "device_id", "[key]": "camera"}


def _flagged(data: dict[str, Any], flags: dict[str, Any]) -> Config:
    for name, value in flags.items():
        if value is not None and name == "mqtt":
            data["mqtt"] = _with_broker(data.get("mqtt") or {}, value)
        elif value is not None and name == "web":
            data["web"] = _with_page(data.get("web") or {}, value)
        elif value is not None:
            for path in FLAGS[name]:
                _put(data, path.split("."), value)
    try:
        return Config.model_validate(data, context={"base_dir": Path.cwd()})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = str(first["loc"][-1])
        flag = "source" if key == "source" else "--" + _FLAG_OF.get(key, key).replace("_", "-")
        raise UsageError(f"{flag}: {complain(Config.model_json_schema(), dict(first))}") from None


def _put(data: dict[str, Any], path: list[str], value: object) -> None:
    """Set the value at a path of keys; `*` stands for every key that is there."""
    first, rest = path[0], path[1:]
    if first == "*":
        for inner in data.values():
            _put(inner, rest, value)
    elif not rest:
        data[first] = value
    else:
        data[first] = data.get(first) or {}
        _put(data[first], rest, value)


def _with_broker(mqtt: dict[str, Any], text: str) -> dict[str, Any]:
    """`mqtt` with the broker that `text` names, mqtt:// or mqtts:// before it or not. Raises UsageError."""
    if "@" in text:
        raise UsageError(
            "--mqtt: no login on the command line, write user and password: ${NAME} into a YAML file"
        )
    found = _BROKER.fullmatch(text)
    if not found or not 0 < int(found["port"] or 1) < 65536:
        raise UsageError(f"--mqtt: expected HOST, HOST:PORT, [::1]:PORT or mqtts://HOST, not {text[:80]!r}")
    tls = {"mqtt": None, "mqtts": mqtt.get("tls") or {}, None: mqtt.get("tls")}[found["scheme"]]
    port = int(found["port"]) if found["port"] else None
    return {**mqtt, "host": found["six"] or found["host"], "port": port, "tls": tls}


def _with_page(web: dict[str, Any], text: str) -> dict[str, Any]:
    """`web` at the PORT or HOST:PORT of `text`. Raises UsageError."""
    found = _PAGE.fullmatch(text)
    if not found or not 0 < int(found["port"]) < 65536:
        raise UsageError(f"--web: expected PORT, HOST:PORT or [::]:PORT, not {text[:80]!r}")
    host = found["six"] or found["host"]
    return {**web, "port": int(found["port"])} | ({"host": host} if host else {})


_PAGE = re.compile(r"(?:(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^:/\[\]\s]+)):)?(?P<port>[0-9]{1,5})")
_BROKER = re.compile(
    r"(?:(?P<scheme>mqtts?)://)?(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^:/\[\]\s]+))"
    r"(?::(?P<port>[0-9]{1,5}))?/?"
)


def config_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a pipeline's YAML file, for editors and other tools."""
    schema = Config.model_json_schema()
    schema["properties"]["cameras"]["additionalProperties"] = False
    for part in [schema, *schema["$defs"].values()]:
        for choice in part.get("anyOf", [part]):
            _loosen(choice)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:edgekit:schema:pipeline:1",
        "title": "edgekit pipeline",
    }
    return {**schema, **head}


def _loosen(part: dict[str, Any]) -> None:
    """Let `${NAME}` stand where a number or a chosen word is expected, and nothing (`key:`) for a default."""
    for name, field in part.get("properties", {}).items():
        told = {key: field.pop(key) for key in ("description", "default") if key in field}
        field.pop("title", None)
        choices = field.get("anyOf", [field])
        if any(_is_narrow(choice) for choice in choices):
            choices = [*choices, {"type": "string", "pattern": r"\$\{"}]
        if name not in part.get("required", []) and {"type": "null"} not in choices:
            choices = [*choices, {"type": "null"}]
        part["properties"][name] = {**told, "anyOf": choices}


def _is_narrow(part: dict[str, Any]) -> bool:
    return str(part.get("type")) in {"integer", "number", "boolean"} or "enum" in part or "pattern" in part


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
    """Dicts, lists and scalars; no secrets. Nulls stay: a camera may undo what it would inherit."""
    data: dict[str, Any] = _texts(config.model_dump())
    if config.mqtt.password is not None:
        data["mqtt"]["password"] = "***"  # noqa: S105  (it is what stands for the password)
    if config.web and config.web.token is not None:
        data["web"]["token"] = "*" * 12  # as long as one must be, so that what is printed loads again
    for name, camera in data["cameras"].items():
        hidden = ("cameras", name, "source") in config.secret
        camera["source"] = "***" if hidden else mask_url(camera["source"])
    if ("mqtt", "user") in config.secret:
        data["mqtt"]["user"] = "***"
    return data


def _texts(value: Any) -> Any:
    """Paths as text, however deep."""
    if isinstance(value, dict):
        return {key: _texts(inner) for key, inner in value.items()}
    return str(value) if isinstance(value, Path) else value
