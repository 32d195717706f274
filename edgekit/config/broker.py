"""What may be said of the broker and of what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, SecretStr, field_validator, model_validator
from pydantic_core import CoreSchema

from edgekit.config.fields import Bool, Duration, Int, Part, Port, Text, beside, either, host_name, to_bool


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
        return host and host_name(host, " (the port goes to port, mqtts:// is tls: true)")

    @model_validator(mode="after")
    def _come_together(self) -> MqttConfig:
        if self.password is not None and self.user is None:
            raise ValueError("password without user, expected both or none")
        if self.host is None and (self.user is not None or self.tls is not None):
            raise ValueError("user and tls are for a broker of your own, expected host as well")
        return self
