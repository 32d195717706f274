"""The SQLite file of a journal: opened, checked, locked, and what can be read of a damaged one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE_BYTES = 2048  # holds three or four packed events: one page a commit, and no half-empty ones
_SETUP = f"""
PRAGMA page_size={PAGE_BYTES};
PRAGMA journal_mode=WAL;
PRAGMA synchronous=NORMAL;
PRAGMA wal_autocheckpoint=0;
PRAGMA journal_size_limit=1048576;
PRAGMA cache_size=-256;
PRAGMA busy_timeout=2000;
CREATE TABLE IF NOT EXISTS messages(
    key INTEGER PRIMARY KEY, seq INTEGER, said INTEGER NOT NULL, at REAL NOT NULL, data BLOB);
CREATE TABLE IF NOT EXISTS boots(first INTEGER PRIMARY KEY, boot TEXT NOT NULL, since REAL NOT NULL);
"""
COLUMNS = "key, seq, said, at, data"
INSERT = f"INSERT OR REPLACE INTO messages({COLUMNS}) VALUES(?, ?, ?, ?, ?)"
_FILES = ("", "-wal", "-shm")
_OF_THE_DISK = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}


class JournalError(Exception):
    """The disk does not take or give it; the message says why in a few words."""


def open_database(path: Path) -> tuple[sqlite3.Connection, bool]:
    """The file, and whether it was damaged: then it is put aside, and what can be read is in a new one."""
    with told():
        try:
            return _connect(path), False
        except UnicodeDecodeError:
            pass
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF in _OF_THE_DISK:
                raise
        rows = list(_salvage(path))
        for end in _FILES:
            with contextlib.suppress(FileNotFoundError):
                Path(f"{path}{end}").replace(f"{path}.damaged{end}")
        db = _connect(path)
        db.executemany(INSERT, rows)
    return db, True


def _connect(path: Path) -> sqlite3.Connection:
    """An open, whole file; raises sqlite3.Error or UnicodeDecodeError for one that is damaged."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        db.executescript(_SETUP)
        _check(db)
        db.execute("DELETE FROM messages WHERE key < 0")  # tells at once whether the disk takes anything
    except BaseException:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection) -> None:
    found = db.execute("PRAGMA quick_check(1)").fetchall()
    tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    if found != [("ok",)] or tables != [("boots",), ("messages",)]:
        error = sqlite3.DatabaseError("damaged")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error
    db.execute(f"SELECT {COLUMNS} FROM messages LIMIT 1")  # noqa: S608


def _salvage(path: Path) -> Iterator[tuple[Any, ...]]:
    """The rows of a damaged file that can be read: from the front, and from the back."""
    seen: set[int] = set()
    for order in ("ASC", "DESC"):
        with (
            contextlib.suppress(sqlite3.Error, UnicodeDecodeError),
            contextlib.closing(sqlite3.connect(path)) as db,
        ):
            for row in db.execute(f"SELECT {COLUMNS} FROM messages ORDER BY key {order}"):  # noqa: S608
                if _is_sane(row) and row[0] not in seen:
                    seen.add(row[0])
                    yield row


def _is_sane(row: tuple[Any, ...]) -> bool:
    kinds = (int, int | None, int, float, bytes | None)
    return all(isinstance(value, kind) for value, kind in zip(row, kinds, strict=True)) and row[0] > 0


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def lock(path: Path) -> int:
    """Held as long as this process lives: two of them would give the same numbers to different events."""
    with told():
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise JournalError("another edgekit uses it") from None
    return handle


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Errors of SQLite and of the disk as JournalError in a few words."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise JournalError(text.lower()) from error
