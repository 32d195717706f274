"""Numbers of events that may have been given: a small file that outlives the journal beside it.

The journal knows the last number exactly, unless a power cut, a damaged file or a full disk took its newest
rows. A number given twice would hide an event from whoever sorts out duplicates, so numbers are reserved here
two hundred at a time, safely on disk; in doubt the next is behind all of those.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

STEP = 200


class Reserve:
    """The file at `path`; what it promises is for the run of Linux called `boot`. Writing raises OSError."""

    def __init__(self, path: Path, boot: str) -> None:
        self._path = path
        self._boot = boot
        self._to = 0
        self._exact = True

    def start(self, last_seq: int, *, whole: bool) -> int:
        """The last number that may have been given; `last_seq` is what the journal says, if it is `whole`."""
        found = _read(self._path)
        exact = found["exact"] is True and found["boot"] == self._boot if found else True
        if whole and exact and last_seq >= found.get("from", 0):
            return last_seq
        return max(last_seq, int(found.get("to", 0)))

    def wants(self, seq: int, *, exact: bool) -> bool:
        """Whether it is time to call `cover`."""
        return seq + STEP // 2 > self._to or exact != self._exact

    def cover(self, seq: int, *, exact: bool) -> None:
        """Reserve the numbers behind `seq`; `exact`: the journal holds each one that is given."""
        self._write(seq, seq + STEP, exact=exact)

    def close(self, seq: int) -> None:
        """`seq` was the last one, and it is in the journal."""
        self._write(seq, seq, exact=True)

    def _write(self, first: int, to: int, *, exact: bool) -> None:
        text = json.dumps({"from": first, "to": to, "exact": exact, "boot": self._boot})
        replace(self._path, text.encode())
        self._to, self._exact = to, exact


def replace(path: Path, content: bytes) -> None:
    """Write a whole file, or leave the old one as it was, whatever happens meanwhile. Raises OSError."""
    new = path.with_name(path.name + ".new")
    with contextlib.ExitStack() as undo:
        undo.callback(new.unlink, missing_ok=True)
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        undo.pop_all()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> dict[str, Any]:
    """The content, or nothing for a file that is not there or not whole."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict) or found.keys() != {"from", "to", "exact", "boot"}:
        return {}
    return found if all(type(found[key]) is int and found[key] >= 0 for key in ("from", "to")) else {}
