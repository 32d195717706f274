"""What a card says of the origin of its model: digests of files, versions of software."""

from __future__ import annotations

import hashlib
import importlib.metadata
import subprocess
from collections.abc import Sequence
from pathlib import Path

import edgekit

ROOT = Path(edgekit.__file__).parents[1]


def digest(path: Path) -> str:
    """SHA-256 of a file in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of those packages that are installed, by name; edgekit's with the commit, where git knows it."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if "edgekit" in found and (commit := revision(ROOT)):
        found["edgekit"] += f"+g{commit}"
    return found


def revision(root: Path) -> str | None:
    """The commit of the git checkout `root`, and `.dirty` if its files differ from it; None elsewhere."""
    if not (root / ".git").exists():  # an installed package may lie within the checkout of something else
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--exclude=*", "--dirty=.dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
