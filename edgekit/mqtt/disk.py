"""The disk of an outbox, which may be absent, full, read-only, damaged or slow: nothing here ever raises.

What does not work is said once, tried again later, and meanwhile answered with no.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from edgekit.device.machine import Boot
from edgekit.mqtt.database import JournalError
from edgekit.mqtt.journal import Journal
from edgekit.mqtt.messages import Message
from edgekit.mqtt.reserve import Reserve

_log = logging.getLogger("edgekit.mqtt")
_MB = 2**20
_LOG_PAGES = 512  # of the journal's log make a checkpoint worth while


@dataclass(frozen=True, slots=True)
class Storage:
    """The file in which messages wait, and how much they may take."""

    path: Path
    max_mb: float = 32


@dataclass(frozen=True, slots=True)
class Pace:
    """How much an SD card is asked for: `burst` commits at once, then `commits_per_s`; a flush every
    `flush_s` while messages wait; a disk that failed is tried again after `retry_s`.
    """

    burst: int = 500
    commits_per_s: float = 2.0
    flush_s: float = 60.0
    retry_s: float = 60.0


class Disk:
    """`trouble` says in a few words why nothing is written, and is None while all is well.

    `last_seq` is the last number that may have been given before this start, `said` the number up to which
    all was said.
    """

    def __init__(self, storage: Storage, pace: Pace, boot: Boot) -> None:
        self.trouble: str | None = None
        self._told: str | None = None  # the last trouble that was logged
        self._was_open = False
        self.storage = storage
        self._pace, self._boot = pace, boot
        self._reserve = Reserve(storage.path.with_name(storage.path.name + ".seq"), boot.id)
        self._journal: Journal | None = None
        self._commits, self._earned_s = float(pace.burst), boot.now_s()
        self._flush_at_s = self._retry_at_s = boot.now_s()
        self.last_seq = self.said = self.last_key = 0
        self._start()

    def write(self, messages: list[Message], done: Collection[int], said: int) -> bool:
        """Commit `messages`, that those with the keys `done` need no longer wait, and `said`."""
        if self.trouble is not None or self._journal is None:
            return False
        try:
            if messages:
                self._journal.append(messages, done, said)
            else:
                self._journal.settle(done, said)
        except JournalError as error:
            self._fail(str(error))
            return False
        if self._told is not None:
            self._told = None
            _log.info("events are written to %s again", self.storage.path)
        return True

    def read(self, after: int, count: int) -> list[Message]:
        """The first `count` messages behind the key `after`."""
        try:
            return self._journal.read(after, count) if self._journal else []
        except JournalError as error:
            self._fail(str(error))
            self._shut()
            return []

    def waiting(self, after: int = -1) -> int:
        """How many messages stand behind the key `after`."""
        with contextlib.suppress(JournalError):
            return self._journal.count(after) if self._journal else 0
        return 0

    @property
    def used_bytes(self) -> int:
        with contextlib.suppress(JournalError):
            return self._journal.used_bytes() if self._journal else 0
        return 0

    @property
    def full(self) -> bool:
        """Whether messages take more than `Storage.max_mb`."""
        return self.used_bytes > self.storage.max_mb * _MB

    def pay(self) -> bool:
        """Whether a commit is to be had now: a bucket of them that fills slowly."""
        now_s = self._boot.now_s()
        earned = (now_s - self._earned_s) * self._pace.commits_per_s
        self._commits, self._earned_s = min(self._pace.burst, self._commits + earned), now_s
        if self._commits < 1:
            return False
        self._commits -= 1
        return True

    def retry(self, first_seq: int) -> bool:
        """Try again what failed, when it is time; True when it may work now. `first_seq` is this run's."""
        if self.trouble is None or self._boot.now_s() < self._retry_at_s:
            return False
        if self._journal is None:
            ours = self._was_open
            journal = self._open()
            if journal is not None and journal.last_seq >= first_seq and not ours:
                journal.close()
                self._was_open, journal = False, None
                self._fail("it holds numbers that were given again meanwhile")
            self._journal = journal
        if self._journal is not None:
            self.trouble = None
        return self.trouble is None

    def flush(self, last_seq: int, *, exact: bool, waits: bool) -> None:
        """Bring what is written safely onto the disk. `exact`: every number given so far was written;
        `waits`: there are messages that may wait for long.

        May take its time, and may run beside the other methods.
        """
        self.reserve(last_seq, exact=exact)
        journal, due = self._journal, self._boot.now_s() >= self._flush_at_s
        if journal is not None and (journal.log_pages > _LOG_PAGES or (waits and due)):
            self._flush_at_s = self._boot.now_s() + self._pace.flush_s
            with contextlib.suppress(JournalError):  # so will the next commit
                journal.checkpoint()

    def reserve(self, last_seq: int, *, exact: bool) -> None:
        """Make sure of the numbers behind `last_seq`."""
        with contextlib.suppress(OSError):  # the journal will tell
            if self._reserve.wants(last_seq, exact=exact):
                self._reserve.cover(last_seq, exact=exact)

    def close(self, last_seq: int) -> None:
        """Let go of it."""
        if self._journal is not None and self.trouble is None:
            with contextlib.suppress(OSError):
                self._reserve.close(last_seq)
        self._shut()

    def _start(self) -> None:
        journal = self._journal = self._open()
        if journal is None:
            self.last_seq = self.said = self._reserve.start(0, whole=False)
        else:
            self.said, self.last_key = journal.said, journal.last_key
            self.last_seq = self._reserve.start(journal.last_seq, whole=journal.whole)
        self.flush(self.last_seq, exact=True, waits=False)

    def _open(self) -> Journal | None:
        try:
            journal = Journal(self.storage.path, self._boot)
        except JournalError as error:
            self._fail(str(error))
            return None
        if journal.repaired:
            _log.warning("%s was damaged: what can be read of it goes on", self.storage.path)
        self._was_open = True
        return journal

    def _fail(self, why: str) -> None:
        """Nothing is written for a while; what is there can still be read."""
        if self._told != why:
            _log.warning("%s: %s; events wait in memory only", self.storage.path, why)
        self.trouble = self._told = why
        self._retry_at_s = self._boot.now_s() + self._pace.retry_s

    def _shut(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None
