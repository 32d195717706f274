"""A pipeline as one file: `bundle(contents, out)`.

    manifest.json      what is in the kit, the sha256 of each file, what it needs
    wheel/             edgekit itself
    wheels/            what edgekit requires, where it was given: for devices without a network
    model/             model.tflite and its card.yaml
    config.yaml        the pipeline, byte for byte; `${NAME}`, `!file` and `!credential` stay what they are
    profile.yaml       the device profile, where one is named
    systemd/           edgekit.service, for the device's systemd and for a user's own

The same contents give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from edgekit import __version__
from edgekit.config.complaint import check
from edgekit.config.document import Document, read_document
from edgekit.config.fields import is_profile_file
from edgekit.config.settings import Config
from edgekit.device import list_devices, load_device
from edgekit.errors import ConfigError, UsageError
from edgekit.files import write_bytes
from edgekit.inference import find_file
from edgekit.kit import agent
from edgekit.kit.wheel import make_wheel, read_wheel
from edgekit.model import read
from edgekit.pipeline.fit import check_config
from edgekit.service.unit import unit_of_kit

__all__ = ["Contents", "bundle"]

MODEL = "model/model.tflite"


@dataclass(frozen=True)
class Contents:
    """What goes into a kit.

    `device` is a profile's name or file (None: that of the config), `model` stands for the config's,
    `wheel` for that of this installation; `requires` is a folder with wheels of everything that edgekit
    requires; `extra` are files that the config names by a relative path.
    """

    config: Path
    device: str | None = None
    model: str | None = None
    wheel: Path | None = None
    requires: Path | None = None
    extra: Sequence[Path] = ()


def bundle(contents: Contents, out: Path) -> dict[str, Any]:
    """Write the kit to `out` and give its manifest, with `id` and `sha256` of the kit.

    `device_arch` is that of its profile, None without one; `missing` are the variables and secrets that
    only the device has. Raises ConfigError for a mistake in the config, UsageError for what does not belong
    into a kit, ModelError for a model that is not there.
    """
    document = read_document(contents.config)
    missing = _check_config(document, complete=not (contents.model or contents.device))
    with tempfile.TemporaryDirectory() as folder:
        wheel = contents.wheel or make_wheel(Path(folder))
        arch, requires = read_wheel(wheel)
        files = {f"wheel/{wheel.name}": wheel.read_bytes()}
    base_dir = Path() if contents.model else document.base_dir
    name, model = _find_model(contents.model or _named(document, "model", "name"), base_dir)
    files |= model
    files |= {"config.yaml": contents.config.read_bytes(), **_units(document, contents.config)}
    profile = contents.device or _named_profile(document)
    device = None if profile == "auto" else load_device(profile)
    files |= _profile(profile) | _wheels(contents.requires) | _extra(contents)
    manifest = {
        "schema": agent.SCHEMA,
        "name": _safe_name(contents.config.stem),
        "edgekit": __version__,
        "arch": arch,
        "requires": requires,
        "offline": contents.requires is not None,
        "device": device.name if device else "auto",
        "model": {"name": name, "file": MODEL},
        "missing": missing,
        "files": {path: hashlib.sha256(content).hexdigest() for path, content in sorted(files.items())},
    }
    packed = _pack({agent.MANIFEST: json.dumps(manifest, indent=2).encode(), **dict(sorted(files.items()))})
    write_bytes(out, packed)
    told = {"sha256": hashlib.sha256(packed).hexdigest(), "bytes": len(packed)}
    return {**agent.verify(out), **told, "device_arch": device and device.arch}


def _check_config(document: Document, *, complete: bool) -> list[str]:
    """Raises ConfigError for a mistake. What only the device can know, variables and secrets, is returned.

    Without any, and when nothing is given that is not in the file (`complete`), its model is looked at, too.
    """
    missing = [problem.text for problem in document.problems]
    try:
        config = check(document, Config, {"base_dir": document.base_dir})
    except ConfigError as error:
        lines = str(error).splitlines()
        wrong = [line for line in lines if not any(text in line for text in missing)]
        if wrong:
            raise ConfigError("\n".join(wrong)) from None
        return [line.split(": ", 1)[1] for line in lines]
    if complete:
        check_config(config, document)
    return []


def _named(document: Document, part: str, key: str) -> str:
    """A word of the config: `part.key`, or for short `part`."""
    data = document.data if isinstance(document.data, dict) else {}
    value = data.get(part)
    found = value.get(key) if isinstance(value, dict) else value
    return found if isinstance(found, str) else ""


def _named_profile(document: Document) -> str:
    """The config's device profile: a name, or a file's path from where we are."""
    name = _named(document, "device", "profile") or "auto"
    return str(document.base_dir / Path(name).expanduser()) if is_profile_file(name) else name


def _find_model(name: str, base_dir: Path) -> tuple[str, dict[str, bytes]]:
    """What the model is called, and its files."""
    if not name:
        raise UsageError("the config names no model that is known here: give --model")
    file, card = find_file(base_dir / name if name.endswith(".tflite") else name)
    read(file)  # a damaged one would be found on the device only
    files = {MODEL: file.read_bytes()}
    beside = [path for path in (file.with_suffix(".yaml"), file.parent / "card.yaml") if path.is_file()]
    if beside:
        files["model/card.yaml"] = beside[0].read_bytes()
    return (card.name if card else file.stem), files


def _units(document: Document, config: Path) -> dict[str, bytes]:
    sees = _safe_name(config.stem)
    return {
        agent.unit_path(kind): unit_of_kit(sees, document.credentials, of_user=kind == "user").encode()
        for kind in ("system", "user")
    }


def _profile(device: str) -> dict[str, bytes]:
    """The profile's file; none for "auto": the device finds its own."""
    if device == "auto":
        return {}
    if device in list_devices():
        return {"profile.yaml": (resources.files("edgekit.devices") / f"{device}.yaml").read_bytes()}
    return {"profile.yaml": Path(device).read_bytes()}


def _wheels(folder: Path | None) -> dict[str, bytes]:
    if folder is None:
        return {}
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise UsageError(
            f"--requires {folder}: no wheels there; `pip download edgekit -d {folder}` brings them"
        )
    return {f"wheels/{wheel.name}": wheel.read_bytes() for wheel in wheels}


def _extra(contents: Contents) -> dict[str, bytes]:
    """Files by their path as seen from the config, which they may not leave."""
    base = contents.config.absolute().parent
    found = {}
    for path in contents.extra:
        if not path.is_file():
            raise UsageError(f"--add {path}: no such file")
        if not path.absolute().is_relative_to(base):
            raise UsageError(f"--add {path}: expected a file in the config's folder {base}")
        found[path.absolute().relative_to(base).as_posix()] = path.read_bytes()
    return found


def _safe_name(stem: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", stem)[:64] or "kit"


def _pack(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
