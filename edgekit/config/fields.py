"""What the fields of a pipeline's YAML file are made of: numbers, names, times, and the class of every part.

`edgekit.config.settings` and the modules that it imports put them together.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)?")
_NUMBER = re.compile(r"[-+]?[0-9]{1,18}(\.[0-9]{1,18})?")


def to_number(value: object) -> object:
    """`${PORT}` and quoted numbers are numbers; true and false are none."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value) if "." in value else int(value)
    return value


def to_bool(value: object) -> object:
    return _WORDS.get(value.lower(), value) if isinstance(value, str) else value


def no_bool(value: object) -> object:
    """Python takes true for 1."""
    if isinstance(value, bool):
        raise ValueError(f"expected 1, not {str(value).lower()}")  # noqa: TRY004  (pydantic's way)
    return value


def from_bool(value: object) -> object:
    """Of a mapping that may be absent: true stands for all its defaults, false for none of it."""
    word = to_bool(value)
    return {True: {}, False: None}[word] if isinstance(word, bool) else value


def to_seconds(value: object) -> object:
    """`5m` is 300 seconds, a plain number is seconds."""
    found = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(found[1]) * _SECONDS[found[2] or "s"] if found else value


Id: TypeAlias = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9_-]{1,64}$",
        json_schema_extra={"patternErrorMessage": "1 to 64 of the characters a-z 0-9 _ -"},
    ),
]
Int: TypeAlias = Annotated[int, Field(strict=True), BeforeValidator(to_number)]
Float: TypeAlias = Annotated[float, Field(strict=True, allow_inf_nan=False), BeforeValidator(to_number)]
Fps: TypeAlias = Annotated[
    float, Field(strict=True, allow_inf_nan=False, gt=0, le=120), BeforeValidator(to_number)
]
Megabytes: TypeAlias = Annotated[
    float, Field(strict=True, allow_inf_nan=False, gt=0, le=1_048_576), BeforeValidator(to_number)
]
Milliseconds: TypeAlias = Annotated[
    float, Field(strict=True, allow_inf_nan=False, gt=0, le=3_600_000), BeforeValidator(to_number)
]
Port: TypeAlias = Annotated[int, Field(strict=True, ge=1, le=65535), BeforeValidator(to_number)]
Bool: TypeAlias = Annotated[bool, Field(strict=True), BeforeValidator(to_bool)]
Duration: TypeAlias = Annotated[
    float,
    Field(
        strict=True,
        allow_inf_nan=False,
        json_schema_extra={
            "type": ["number", "string"],
            "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h|d)?$",
            "patternErrorMessage": "a time like 500ms, 30s, 5m, 24h or 7d",
        },
    ),
    BeforeValidator(to_seconds),
]
Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=4096)]


def beside(value: str | Path, info: ValidationInfo) -> Path:
    """A relative path starts at the folder of the YAML file."""
    folder = (info.context or {}).get("base_dir", Path())
    return Path(folder) / os.path.expanduser(value)  # noqa: PTH111  (Path's raises for a user that is not there)


def is_profile_file(name: str) -> bool:
    """Whether a device profile is a file of one's own, not one that ships."""
    return "/" in name or name.endswith((".yaml", ".yml"))


def either(short: Mapping[str, Any], full: Mapping[str, Any]) -> dict[str, Any]:
    """JSON schema of a mapping that has a short form."""
    return {"anyOf": [dict(short), dict(full)]}


class PlaceError(ValueError):
    """A mistake that stands at `path` below the part that finds it."""

    def __init__(self, path: tuple[str | int, ...], text: str) -> None:
        super().__init__(text)
        self.path = path


class Part(BaseModel):
    """What all parts share: frozen, no unknown keys, `key:` with nothing behind it means the default."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        return {key: value for key, value in data.items() if value is not None}


def host_name(host: str, hint: str = "") -> str:
    """A name or an address, without port or scheme; `hint` says where those go."""
    if re.fullmatch(r"[A-Za-z0-9._-]+", host):
        return host
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        raise ValueError(f"expected a host name or address alone{hint}") from None
