"""What a service can come to: it is another user, and much is hidden from it.

Credentials and the file of the environment are no concern here: systemd reads them for the service.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from edgekit.config import Config
from edgekit.config.document import Document
from edgekit.pipeline.fit import named_models

HOMES = ("/home", "/root", "/run/user")
OWN_TMP = ("/tmp", "/var/tmp")  # noqa: S108  (systemd gives the service others)


class Named(NamedTuple):
    """A file or folder that `key` of a config names, and where it is at home.

    A secret can be written `as_credential` instead.
    """

    key: str
    path: Path
    as_credential: str = ""
    home: str = "/etc/edgekit"


def named_files(config: Config, document: Document) -> Iterator[Named]:
    """What a pipeline reads."""
    for loc, path in document.files.items():
        yield Named(_key(loc), path, f"!credential {path.name}")
    if tls := config.mqtt.tls:
        private = f"${{CREDENTIALS_DIRECTORY}}/{tls.key.name}" if tls.key else ""
        files = (("ca", tls.ca, ""), ("cert", tls.cert, ""), ("key", tls.key, private))
        yield from (Named(f"mqtt.tls.{name}", path, instead) for name, path, instead in files if path)
    for loc, name, _ in named_models(config):
        if name.endswith(".tflite"):
            yield Named(_key(loc), Path(name))
    for name, camera in config.cameras.items():
        path = Path(camera.source.removeprefix("file:").removeprefix("dir:"))
        if path.is_file() or path.is_dir():  # no camera, no stream
            yield Named(f"cameras.{name}.source", path)


def faults(files: Iterable[Named]) -> Iterator[str]:
    """Which of the files the service cannot read, a line for each, with what to do."""
    for named in files:
        path = named.path.resolve()
        if lies_in(path, OWN_TMP):
            hidden = f"{path} is hidden from the service, whose /tmp is its own"
            yield f"{named.key}: {hidden}: put it in {named.home}"
        elif closed := _closed(path):
            what, opened = closed
            advice = _as_credential(named) if named.as_credential else f"put it in {named.home}, or {opened}"
            yield f"{named.key}: the service is another user, to whom {what} is closed: {advice}"


def faults_of_state(config: Config, service: str) -> Iterator[str]:
    """What is to be kept where the service cannot write."""
    own = (f"/var/lib/{service}", f"/var/lib/private/{service}")
    for key, path in (("device.state", config.device.state), ("mqtt.outbox.path", config.mqtt.outbox.path)):
        if path and not lies_in(path, own):
            yield f"{key}: the service can write in {own[0]} only: leave it out, and it is kept there"


def lies_in(path: Path, folders: Iterable[str]) -> bool:
    """Whether `path` is one of the folders, or below one."""
    return any(path.is_relative_to(folder) for folder in folders)


def _closed(path: Path) -> tuple[Path, str] | None:
    """What keeps others than its owner from it, and what would open that; None when nothing does."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & 0o001:
            return folder, f"chmod o+x {folder}"
    needed, words = (0o005, "rx") if path.is_dir() else (0o004, "r")
    return None if path.stat().st_mode & needed == needed else (path, f"chmod o+{words} {path}")


def _as_credential(named: Named) -> str:
    key = named.key.rpartition(".")[2]
    return f"write {key}: {named.as_credential} and give --credential {named.path.name}={named.path}"


def _key(loc: tuple[str | int, ...]) -> str:
    return ".".join(map(str, loc))
