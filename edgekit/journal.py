"""Messages on disk, in order, in one SQLite file (WAL): they survive `kill -9`, a power cut, a bad sector.

Made for SD cards: a record is packed, a commit is one small page and no flush of the disk; `checkpoint`
flushes, and is called when there is time for it. Who comes back after `kill -9` finds every commit; after a
power cut, all up to the last whole one that had reached the disk.

    messages(key, seq, said, at, data)    seq: number of the event, NULL for a message without one;
                                          said: all numbers up to here had been said when the row was written;
                                          data: packed topic and payload, NULL once it was said itself
    boots(first, boot, since)             messages from key `first` on were written under this boot of Linux

The newest row stays, said or not, so that the numbers go on where they were.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edgekit.machine import Boot
from edgekit.messages import Message

_PAGE_BYTES = 2048  # holds three or four packed events: one page a commit, and no half-empty ones
_SETUP = f"""
PRAGMA page_size={_PAGE_BYTES};
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
_COLUMNS = "key, seq, said, at, data"
_INSERT = f"INSERT OR REPLACE INTO messages({_COLUMNS}) VALUES(?, ?, ?, ?, ?)"
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
_UNSAID = "WHERE data IS NOT NULL"


class JournalError(Exception):
    """The disk does not take or give it; the message says why in a few words."""


class Journal:
    """An open file at `path`. Every method may raise JournalError, which leaves the file as it was.

    `last_key` and `last_seq` are those of the newest message ever written, `said` the number up to which all
    was said. `whole` is whether they are sure: the file was there, and not damaged. What can be read of a
    damaged one (`repaired`) is here, all of it stands in `<path>.damaged`. Not thread-safe, but for
    `checkpoint`.
    """

    def __init__(self, path: Path, boot: Boot) -> None:
        self.path = path
        self.repaired = False
        self.last_key = self.last_seq = self.said = 0
        self.log_pages = 0  # written since the last checkpoint, about
        self._stub = -1  # key of the row that holds no message any more
        self._boot = boot
        with _told():
            path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(path.with_name(path.name + ".lock"))
        try:
            self.whole = _size(path) > 0
            self._db = self._open()
            self._load()
        except BaseException:
            os.close(self._lock)
            raise

    def append(self, messages: Sequence[Message], done: Iterable[int], said: int) -> None:
        """Write `messages` behind the others; erase those with the keys `done`, all up to `said` was said."""
        with _told(), self._transaction():
            self._db.executemany(_INSERT, [_row(message, said) for message in messages])
            gone = [(key,) for key in {*done, self._stub}]
            self._db.executemany("DELETE FROM messages WHERE key = ?", gone)
        self.last_key, self._stub = messages[-1].key, -1
        self.log_pages += 1 + len(messages) // 3

    def settle(self, done: Collection[int], said: int) -> None:
        """Erase the messages with the keys `done`; all up to `said` was said."""
        with _told(), self._transaction():
            self._erase(done)
            if not self.last_key:
                self._db.execute(_INSERT, (1, None, said, 0.0, None))
            self._db.execute("UPDATE messages SET said = ? WHERE key = ?", (said, self.last_key))
        self.last_key = self.last_key or 1
        self.log_pages += 1 + len(done) // 3
        if self.last_key in done or self.last_key == 1:
            self._stub = self.last_key

    def read(self, after: int, count: int) -> list[Message]:
        """The first `count` unsaid messages behind the key `after`; those that are damaged are erased."""
        with _told():
            rows = self._db.execute(
                f"SELECT {_COLUMNS} FROM messages {_UNSAID} AND key > ? ORDER BY key LIMIT ?",  # noqa: S608
                (after, count),
            ).fetchall()
        messages = {row[0]: self._message(*row) for row in rows}
        if broken := [key for key, message in messages.items() if message is None]:
            with contextlib.suppress(sqlite3.Error), self._transaction():
                self._erase(broken)
        return [message for message in messages.values() if message]

    def count(self, after: int = -1) -> int:
        """How many unsaid messages stand behind the key `after`."""
        with _told():
            query = f"SELECT count(*) FROM messages {_UNSAID} AND key > ?"  # noqa: S608
            number: int = self._db.execute(query, (after,)).fetchone()[0]
        return number

    def used_bytes(self) -> int:
        """What the messages take of the file; the space of those that were said is used again."""
        with _told():
            pages = self._db.execute("PRAGMA page_count").fetchone()[0]
            free = self._db.execute("PRAGMA freelist_count").fetchone()[0]
        return int(pages - free) * _PAGE_BYTES

    def checkpoint(self) -> None:
        """Bring everything safely onto the disk. May take its time; may run beside the other methods."""
        with _told(), contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self.log_pages = 0

    def close(self) -> None:
        """Let go of the file; what was written stays."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        with contextlib.suppress(OSError):
            os.close(self._lock)

    def _open(self) -> sqlite3.Connection:
        with _told():
            try:
                return _connect(self.path)
            except UnicodeDecodeError:
                pass
            except sqlite3.Error as error:
                if error.sqlite_errorcode & 0xFF in _OF_THE_DISK:
                    raise
        return self._repair()

    def _repair(self) -> sqlite3.Connection:
        """Put the damaged file aside, and what can be read of it into a new one."""
        self.repaired, self.whole = True, False
        with _told():
            rows = list(_salvage(self.path))
            for end in _FILES:
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self.path}{end}").replace(f"{self.path}.damaged{end}")
            db = _connect(self.path)
            db.executemany(_INSERT, rows)
        return db

    def _load(self) -> None:
        with _told():
            newest = self._db.execute("SELECT max(key), max(seq), max(said) FROM messages").fetchone()
            self.last_key, last_seq, self.said = (number or 0 for number in newest)
            self.last_seq = max(last_seq, self.said)
            empty = self._db.execute("SELECT max(key) FROM messages WHERE data IS NULL").fetchone()
            self._stub = -1 if empty[0] is None else empty[0]
            rows = self._db.execute("SELECT first, boot, since FROM boots ORDER BY first").fetchall()
            if not rows or rows[-1][1] != self._boot.id:
                rows.append((self.last_key + 1, self._boot.id, self._boot.now_s()))
                self._db.execute("INSERT OR REPLACE INTO boots VALUES(?, ?, ?)", rows[-1])
        self._since = rows[-1]

    def _message(self, key: int, seq: int | None, _said: int, at_s: float, data: bytes) -> Message | None:
        """Of a message from before this boot nobody knows the age: it counts from this boot on."""
        try:
            topic, _, payload = zlib.decompress(data).partition(b"\0")
            text = topic.decode()
        except (zlib.error, UnicodeDecodeError, TypeError):
            return None
        first, _, since_s = self._since
        return Message(text, payload, seq=seq, key=key, since_s=at_s if key >= first else since_s)

    def _erase(self, keys: Collection[int]) -> None:
        """The newest row stays, empty."""
        self._db.executemany(
            "DELETE FROM messages WHERE key = ? AND key <> ?", [(key, self.last_key) for key in keys]
        )
        if self.last_key in keys:
            self._db.execute("UPDATE messages SET data = NULL WHERE key = ?", (self.last_key,))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise


def _row(message: Message, said: int) -> tuple[Any, ...]:
    data = zlib.compress(message.topic.encode() + b"\0" + message.payload)
    return message.key, message.seq, said, message.since_s, data


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
    db.execute(f"SELECT {_COLUMNS} FROM messages LIMIT 1")  # noqa: S608


def _salvage(path: Path) -> Iterator[tuple[Any, ...]]:
    """The rows of a damaged file that can be read: from the front, and from the back."""
    seen: set[int] = set()
    for order in ("ASC", "DESC"):
        with (
            contextlib.suppress(sqlite3.Error, UnicodeDecodeError),
            contextlib.closing(sqlite3.connect(path)) as db,
        ):
            for row in db.execute(f"SELECT {_COLUMNS} FROM messages ORDER BY key {order}"):  # noqa: S608
                if _is_sane(row) and row[0] not in seen:
                    seen.add(row[0])
                    yield row


def _is_sane(row: tuple[Any, ...]) -> bool:
    kinds = (int, int | None, int, float, bytes | None)
    return all(isinstance(value, kind) for value, kind in zip(row, kinds, strict=True)) and row[0] > 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _lock(path: Path) -> int:
    """Held as long as this process lives: two of them would give the same numbers to different events."""
    with _told():
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise JournalError("another edgekit uses it") from None
    return handle


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Errors of SQLite and of the disk as JournalError in a few words."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise JournalError(text.lower()) from error
