"""edgekit's own wheel, as it is installed here."""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from email.parser import Parser
from importlib import resources
from importlib.metadata import Distribution, distributions
from pathlib import Path

from edgekit.errors import EdgekitError, UsageError

_INSTALLED = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json")  # what an installer adds to a wheel
_BESIDE = ("devices", "pipelines")
PACKAGE = Path(__file__).resolve().parents[1]
_EPOCH = (1980, 1, 1, 0, 0, 0)


def make_wheel(folder: Path) -> Path:
    """Pack the wheel of this installation anew, into `folder`.

    Of a checkout it takes what is there, compiled as it is. Raises EdgekitError when nothing is installed.
    """
    found = next((each for each in distributions(name="edgekit") if each.read_text("WHEEL")), None)
    if found is None:
        raise EdgekitError("edgekit is not installed here as a wheel: give --wheel FILE")
    info = Path(str(found.locate_file(f"edgekit-{found.version}.dist-info")))
    url = json.loads(found.read_text("direct_url.json") or "{}")
    is_checkout = url.get("dir_info", {}).get("editable", False)
    files = _files_of_checkout() if is_checkout else _files_installed(found)
    files |= {f"{info.name}/{path.relative_to(info)}": path for path in info.rglob("*") if path.is_file()}
    kept = {
        name: path
        for name, path in files.items()
        if path.name not in _INSTALLED and "__pycache__" not in name
    }
    if not any(name.startswith("edgekit/") for name in kept):
        raise EdgekitError("this installation of edgekit lists no files: give --wheel FILE")
    tags = Parser().parsestr(found.read_text("WHEEL") or "").get_all("Tag") or ["py3-none-any"]
    return _pack(folder / f"edgekit-{found.version}-{tags[0]}.whl", f"{info.name}/RECORD", kept)


def _belongs(name: str) -> bool:
    return Path(name).name not in _INSTALLED and "__pycache__" not in name


def _files_installed(found: Distribution) -> dict[str, Path]:
    files = [file for file in found.files or () if ".." not in file.parts]
    return {file.as_posix(): Path(str(found.locate_file(file))) for file in files}


def _files_of_checkout() -> dict[str, Path]:
    """The package, with the folders that stand beside it and ship inside of it."""
    rooms = {"edgekit": PACKAGE}
    rooms |= {f"edgekit/{name}": Path(str(resources.files(f"edgekit.{name}"))) for name in _BESIDE}
    return {
        f"{room}/{path.relative_to(folder).as_posix()}": path
        for room, folder in rooms.items()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _pack(wheel: Path, listing: str, files: dict[str, Path]) -> Path:
    record = []
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(files.items()):
            content = path.read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(content)}\n")
            archive.writestr(_entry(name), content)
        archive.writestr(_entry(listing), "".join(record) + f"{listing},,\n")
    return wheel


def _entry(name: str) -> zipfile.ZipInfo:
    """The same for the same file, whenever it is packed."""
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def read_wheel(path: Path) -> tuple[list[str], list[str]]:
    """Architectures that a wheel of edgekit is for ("any": all), and what it requires.

    Raises UsageError for a file that is no wheel of edgekit.
    """
    parts = path.name.removesuffix(".whl").split("-")
    if path.suffix != ".whl" or parts[0] != "edgekit" or len(parts) < 5:
        raise UsageError(f"{path}: expected a wheel of edgekit, edgekit-….whl")
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
            metadata = Parser().parsestr(archive.read(name).decode())
    except (OSError, zipfile.BadZipFile, StopIteration) as error:
        raise UsageError(f"{path}: not a wheel: {error or 'it has no METADATA'}") from None
    needs = [need for need in metadata.get_all("Requires-Dist") or [] if "extra ==" not in need]
    machines = [tag.split("_", 1)[-1] for tag in parts[-1].split(".")]
    return [_machine(tag) for tag in machines], needs


def _machine(tag: str) -> str:
    """`x86_64` of `manylinux_2_17_x86_64`, without its first word."""
    known = ("x86_64", "aarch64", "armv7l", "i686")
    return next((name for name in known if tag.endswith(name)), tag)
