"""Files that a command writes: whether it can is known before the work, and none is ever half written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from edgekit.errors import EdgekitError, UsageError


def check_writable(path: Path) -> None:
    """Raises EdgekitError or UsageError, naming the way out, when a file cannot be written there."""
    folder = path.parent
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; give the name of a file")
    if not folder.is_dir():
        raise UsageError(f"{path}: there is no folder {folder}: make it first")
    if not os.access(folder, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise EdgekitError(f"{path}: no permission to write there; choose another place")


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are not there. Raises EdgekitError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise EdgekitError(f"{path}: is a file; give the name of a folder") from None
    except OSError as error:
        raise EdgekitError(f"{path}: cannot be made: {error.strerror}; choose another place") from error


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all. Raises EdgekitError when it cannot be written."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all. Raises EdgekitError when it cannot be written."""
    check_writable(path)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with open(handle, "wb") as file:  # noqa: PTH123  (it is open already)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise EdgekitError(f"{path}: cannot be written: {error.strerror}") from error
