"""What edgekit says of itself on stderr: one line for each fact, for people or (`--log-json`) for programs.

Nothing secret leaves here: what is known to be secret is masked wherever it turns up, and so is every login
in a URL.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TextIO

from rich.console import Console
from rich.logging import RichHandler

from edgekit.config.complaint import mask_url, passwords
from edgekit.config.settings import Config
from edgekit.errors import printable

MASK = "***"
LEAST_SECRET = 4  # characters; a shorter one would blot out half of every line
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class Secrets:
    """What must not be read by others."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values: list[str] = []
        self._add(values)

    def _add(self, values: Iterable[str]) -> None:
        known = {*self._values, *(value for value in values if len(value) >= LEAST_SECRET)}
        self._values = sorted(known, key=len, reverse=True)

    def learn(self, config: Config) -> None:
        """Also mask what is secret in `config`, which follows the one that runs."""
        self._add(_secret_values(config))

    def mask(self, text: str) -> str:
        """`text` without them, on one line, and nothing that a terminal would obey."""
        for value in self._values:
            text = text.replace(value, MASK)
        return printable(" | ".join(line for line in mask_url(text).splitlines() if line.strip()))


def secrets_of(config: Config) -> Secrets:
    """All that is secret in a configuration."""
    return Secrets(_secret_values(config))


def _secret_values(config: Config) -> list[str]:
    found = [
        secret.get_secret_value()
        for secret in (config.mqtt.password, config.web and config.web.token)
        if secret
    ]
    if ("mqtt", "user") in config.secret and config.mqtt.user:
        found.append(config.mqtt.user)
    for name, camera in config.cameras.items():
        if ("cameras", name, "source") in config.secret:
            found.append(camera.source)
        found += passwords(camera.source)
    return found


class _Masked(logging.Formatter):
    """Level and message."""

    def __init__(self, secrets: Secrets, *, prefix: bool) -> None:
        super().__init__()
        self._secrets, self._prefix = secrets, prefix

    def format(self, record: logging.LogRecord) -> str:
        line = f"{record.levelname} {self._secrets.mask(super().format(record))}"
        return f"<{_PRIORITY.get(record.levelno, 6)}>{line}" if self._prefix else line


class _Plain(_Masked):
    """The message alone, for a handler that shows the level by itself."""

    def format(self, record: logging.LogRecord) -> str:
        return self._secrets.mask(logging.Formatter.format(self, record))


class _Json(_Masked):
    """One JSON object a line: time, level, logger, message, and the facts that a caller gave as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps({key: self._clean(value) for key, value in told.items()}, ensure_ascii=False)

    def _clean(self, value: Any) -> Any:
        return self._secrets.mask(value) if isinstance(value, str) else value


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at that moment, which a caller in this process may have exchanged."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def set_up(
    verbosity: int, *, as_json: bool = False, quiet: bool = False, secrets: Secrets | None = None
) -> None:
    """Logs on stderr: warnings, with -v also info, with -vv everything of edgekit.

    As JSON, events and states are told as well, unless `quiet`. In systemd's journal each line has its
    priority.
    """
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)]
    console, secrets = Console(stderr=True), secrets or Secrets()
    handler: logging.Handler = _Stderr()
    if as_json:
        handler.setFormatter(_Json(secrets, prefix=False))
    elif console.is_terminal:
        handler = RichHandler(console=console, show_path=False, show_time=False)
        handler.setFormatter(_Plain(secrets, prefix=False))
    else:
        handler.setFormatter(_Masked(secrets, prefix="JOURNAL_STREAM" in os.environ))
    logger = logging.getLogger("edgekit")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logging.getLogger("edgekit.run").setLevel(logging.INFO if as_json and not quiet else logging.NOTSET)


def tell_error(text: str, *, as_json: bool = False, secrets: Secrets | None = None) -> None:
    """The last words of a command that has failed."""
    secrets = secrets or Secrets()
    if as_json:
        record = logging.LogRecord("edgekit", logging.ERROR, "", 0, "%s", (text,), None)
        sys.stderr.write(_Json(secrets, prefix=False).format(record) + "\n")
        return
    for line in text.splitlines():
        sys.stderr.write(f"edgekit: {secrets.mask(line)}\n")
