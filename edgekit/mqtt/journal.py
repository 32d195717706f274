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
import os
import sqlite3
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edgekit.device.machine import Boot
from edgekit.mqtt.database import COLUMNS, INSERT, PAGE_BYTES, lock, open_database, size_of, told
from edgekit.mqtt.messages import Message

_BOOTS = (
    "SELECT first, boot, since FROM boots"
    " WHERE typeof(first) = 'integer' AND typeof(since) IN ('integer', 'real') ORDER BY first"
)
_UNSAID = "WHERE data IS NOT NULL"


class Journal:
    """An open file at `path`. Every method may raise JournalError, which leaves the file as it was.

    `last_key` and `last_seq` are those of the newest message ever written, `said` the number up to which all
    was said. `whole` is whether they are sure: the file was there, and not damaged. What can be read of a
    damaged one (`repaired`) is here, all of it stands in `<path>.damaged`. Not thread-safe, but for
    `checkpoint`.
    """

    def __init__(self, path: Path, boot: Boot) -> None:
        self.path = path
        self.last_key = self.last_seq = self.said = 0
        self.log_pages = 0  # written since the last checkpoint, about
        self._stub = -1  # key of the row that holds no message any more
        self._boot = boot
        with told():
            path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = lock(path.with_name(path.name + ".lock"))
        try:
            was_there = size_of(path) > 0
            self._db, self.repaired = open_database(path)
            self.whole = was_there and not self.repaired
            self._load()
        except BaseException:
            os.close(self._lock)
            raise

    def append(self, messages: Sequence[Message], done: Iterable[int], said: int) -> None:
        """Write `messages` behind the others; erase those with the keys `done`, all up to `said` was said."""
        with told(), self._transaction():
            self._db.executemany(INSERT, [_row(message, said) for message in messages])
            gone = [(key,) for key in {*done, self._stub}]
            self._db.executemany("DELETE FROM messages WHERE key = ?", gone)
        self.last_key, self._stub = messages[-1].key, -1
        self.log_pages += 1 + len(messages) // 3

    def settle(self, done: Collection[int], said: int) -> None:
        """Erase the messages with the keys `done`; all up to `said` was said."""
        with told(), self._transaction():
            self._erase(done)
            if not self.last_key:
                self._db.execute(INSERT, (1, None, said, 0.0, None))
            self._db.execute("UPDATE messages SET said = ? WHERE key = ?", (said, self.last_key))
        self.last_key = self.last_key or 1
        self.log_pages += 1 + len(done) // 3
        if self.last_key in done or self.last_key == 1:
            self._stub = self.last_key

    def read(self, after: int, count: int) -> list[Message]:
        """The first `count` unsaid messages behind the key `after`; those that are damaged are erased."""
        with told():
            rows = self._db.execute(
                f"SELECT {COLUMNS} FROM messages {_UNSAID} AND key > ? ORDER BY key LIMIT ?",  # noqa: S608
                (after, count),
            ).fetchall()
        messages = {row[0]: self._message(*row) for row in rows}
        if broken := [key for key, message in messages.items() if message is None]:
            with contextlib.suppress(sqlite3.Error), self._transaction():
                self._erase(broken)
        return [message for message in messages.values() if message]

    def count(self, after: int = -1) -> int:
        """How many unsaid messages stand behind the key `after`."""
        with told():
            query = f"SELECT count(*) FROM messages {_UNSAID} AND key > ?"  # noqa: S608
            number: int = self._db.execute(query, (after,)).fetchone()[0]
        return number

    def used_bytes(self) -> int:
        """What the messages take of the file; the space of those that were said is used again."""
        with told():
            pages = self._db.execute("PRAGMA page_count").fetchone()[0]
            free = self._db.execute("PRAGMA freelist_count").fetchone()[0]
        return int(pages - free) * PAGE_BYTES

    def checkpoint(self) -> None:
        """Bring everything safely onto the disk. May take its time; may run beside the other methods."""
        with told(), contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self.log_pages = 0

    def close(self) -> None:
        """Let go of the file; what was written stays."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        with contextlib.suppress(OSError):
            os.close(self._lock)

    def _load(self) -> None:
        with told():
            newest = self._db.execute("SELECT max(key), max(seq), max(said) FROM messages").fetchone()
            self.last_key, last_seq, self.said = (number or 0 for number in newest)
            self.last_seq = max(last_seq, self.said)
            empty = self._db.execute("SELECT max(key) FROM messages WHERE data IS NULL").fetchone()
            self._stub = -1 if empty[0] is None else empty[0]
            rows = self._db.execute(_BOOTS).fetchall()  # a damaged file may hold anything
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
        at_s = at_s if isinstance(at_s, int | float) else since_s
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
