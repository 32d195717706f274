"""Counts that outlive a restart: one small JSON file, written whole and in one step."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

from edgekit.rules.line import Totals

log = logging.getLogger("edgekit.tally")
SAVE_EVERY_S = 10.0  # an SD card wears


class Tally:
    """What crossed each line of each camera, so far. Without a `path` it is kept in memory alone.

    A file that is damaged, or a disk that is full, costs the counts; it does not stop the pipeline.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lines: dict[str, dict[str, Totals]] = _read(path) if path else {}
        self.visits: dict[str, int] = {}  # by camera, for as long as the process lives: part of ids
        self._changed = False
        self._saved_s = -SAVE_EVERY_S
        self._warned = False

    def line(self, camera: str, line: str) -> Totals | None:
        """The totals of a line as they were kept, or None."""
        return self._lines.get(camera, {}).get(line)

    def note(self, camera: str, line: str, totals: Totals) -> None:
        """Keep these totals."""
        if self.line(camera, line) != totals:
            self._lines.setdefault(camera, {})[line] = dict(totals)
            self._changed = True

    def save(self, *, now: bool = False) -> None:
        """Write what has changed, at most every 10 seconds unless it must be `now`."""
        mono_s = time.monotonic()
        if not self._path or not self._changed or not (now or mono_s - self._saved_s >= SAVE_EVERY_S):
            return
        self._saved_s = mono_s
        try:
            _write(self._path, {"version": 1, "lines": self._lines})
            self._changed = False
        except OSError as error:
            if not self._warned:
                self._warned = True
                log.warning("%s: cannot be written: %s; counts will start anew", self._path, error.strerror)


def _read(path: Path) -> dict[str, dict[str, Totals]]:
    try:
        kept = json.loads(path.read_text("utf-8"))["lines"]
        return {
            camera: {line: _totals(found) for line, found in lines.items()} for camera, lines in kept.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        log.warning("%s: cannot be read (%s): counts start anew", path, why)
        return {}


def _totals(found: Totals) -> Totals:
    return {"in": int(found["in"]), "out": int(found["out"]), "since": str(found["since"])}


def _write(path: Path, data: dict[str, Any]) -> None:
    """All or nothing, power cuts included: a new file beside the old one, which then takes its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    with new.open("w", encoding="utf-8") as file:
        json.dump(data, file, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
