"""What may be said of the live page."""

from __future__ import annotations

import os
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import Field, GetJsonSchemaHandler, SecretStr, field_validator, model_validator
from pydantic_core import CoreSchema

from edgekit.config.fields import Bool, Fps, Int, Part, Port, Text, either, host_name, to_number


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
        return host_name(host)

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
