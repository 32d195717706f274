"""Events on their way to the broker, oldest first: on disk where there is one, else in RAM.

    put -> on disk -> queue -> taken -> done        an event is on disk before it is sent
    put -> spill ---> queue -> taken -> done        without a disk, or while it does not work

A hole in the numbers, wherever it comes from (too many waited, too long, a power cut, a damaged file), is
itself a message, made by `tell_gap`, in the place of what is gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from edgekit.device.machine import Boot
from edgekit.mqtt.disk import Disk
from edgekit.mqtt.messages import Message, mark_replayed

_AHEAD = 64  # messages of the disk that are read ahead
_SETTLE_S = 2.0  # an acknowledgement that no event brings to the disk goes there by itself
_PER_NUMBER = 2**20  # keys for each number: its event, and what has no number and comes after it
_DROP = 32  # messages given up at once, in one commit, when the disk is full


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many messages wait in RAM, and how long any waits (while the machine is up)."""

    ram: int = 2000
    age_s: float = 86400.0


class Outbox:
    """Events in order.

    `take` hands out the next message, `done` forgets it once it is acknowledged, `rewind` makes everything
    taken but not done wait again, in its old place. `begin` divides: what was put before it is replayed.

    Beyond `bounds`, and those of the disk, the oldest is dropped. The caller locks, but for `flush`.
    """

    def __init__(
        self, disk: Disk | None, bounds: Bounds, boot: Boot, tell_gap: Callable[[int, int], Message]
    ) -> None:
        self.dropped = 0
        self.last_seq = disk.last_seq if disk else 0
        self.last_key = max(self.last_seq * _PER_NUMBER, disk.last_key if disk else 0)
        self._disk, self._bounds, self._boot = disk, bounds, boot
        self._tell_gap = tell_gap
        self._first_seq = self.last_seq + 1
        self._queue: deque[Message] = deque()  # next to be taken
        self._spill: deque[Message] = deque()  # behind all others, and not on disk
        self._taken: dict[Message, None] = {}  # in the order they were taken
        self._unread = disk.waiting() if disk else 0  # on disk, behind the key `_read`, not in the queue yet
        self._read = -1
        self._stray: dict[int, Message] = {}  # in the queue or taken, and not on disk
        self._exact = True  # whether the disk knows of every message that went into the queue
        self._queued_seq = self._said = disk.said if disk else 0
        self._done: set[int] = set()  # keys that the disk may forget
        self._settle_at_s = 0.0
        self._fresh_from: float = float("inf")

    def __len__(self) -> int:
        return sum(not m.lost for m in (*self._queue, *self._taken)) + self._unread + len(self._spill)

    @property
    def kept(self) -> int:
        """How many of those that wait outlive this process."""
        return len(self) - len(self._spill) - len(self._stray)

    def health(self) -> dict[str, Any]:
        """What waits and where; `durable` is whether it outlives this process, `trouble` why it does not."""
        disk = self._disk
        return {
            "pending": len(self),
            "dropped": self.dropped,
            "bytes": disk.used_bytes if disk else 0,
            "durable": disk is not None and disk.trouble is None,
            "trouble": disk.trouble if disk else None,
        }

    def put(self, message: Message) -> None:
        """Add a message behind all others; an event brings `last_seq + 1` as its number."""
        self.last_seq = message.seq or self.last_seq
        self.last_key = max(self.last_key + 1, self.last_seq * _PER_NUMBER)
        message = replace(message, key=self.last_key, since_s=self._boot.now_s())
        if self._spill or not (self._disk and self._disk.pay() and self._settle([message])):
            self._spill.append(message)
        elif self._unread or len(self._queue) >= _AHEAD:
            self._unread += 1
        else:
            self._enqueue(message)
            self._read = message.key
        self._drop_surplus()

    def take(self) -> Message | None:
        """The next message, or None."""
        if self._front() is None:
            return None
        message = self._queue.popleft()
        if message.key < self._fresh_from:
            message = replace(message, payload=mark_replayed(message.payload))
        self._taken[message] = None
        return message

    def done(self, message: Message) -> None:
        """`message` arrived, or never will."""
        if message not in self._taken:
            return
        del self._taken[message]
        self._said = max(self._said, message.seq or 0)
        if not message.lost and self._stray.pop(message.key, None) is None:
            self._done.add(message.key)

    def lose(self, message: Message) -> None:
        """`message` never will arrive: its number is told as lost."""
        if message in self._taken and message.seq is not None and not message.lost:
            self._queue.appendleft(self._gap(message.seq, message.seq))
        self.done(message)

    def rewind(self) -> None:
        """What was taken and is not done waits again."""
        self._queue.extendleft(reversed(self._taken))
        self._taken.clear()
        self._drop_surplus()

    def begin(self) -> None:
        """From here on a message is fresh."""
        self._fresh_from = self.last_key + 1

    def blocks(self, key: int) -> bool:
        """Whether a fresh message up to `key` still waits."""
        front = self._front() or next(iter(self._spill), None)
        return front is not None and self._fresh_from <= front.key <= key

    def upkeep(self) -> None:
        """Bring to the disk what should be there, drop what is too old: to be called every second or so."""
        self._drop_aged()
        if self._disk is None:
            return
        if self._disk.retry(self._first_seq) and not self._unread:
            self._unread = self._disk.waiting(self._read)
        if (self._spill or not self._exact) and not (self._stray and self._unread) and self._disk.pay():
            self._return_to_disk()
        now_s = self._boot.now_s()
        if self._done and now_s >= self._settle_at_s:
            self._settle_at_s = now_s + _SETTLE_S
            self._settle([])

    def flush(self) -> None:
        """Bring what is written safely onto the disk; may take its time."""
        if self._disk:
            self._disk.flush(self.last_seq, exact=self._exact, waits=bool(self._unread or self._queue))

    def hasten(self) -> None:
        """Write at once what would go to the disk in its time."""
        if self._disk and (self._spill or self._stray or self._done):
            self._return_to_disk()

    def close(self) -> None:
        """Write what is left to write, and let go of the disk."""
        self.hasten()
        if self._disk:
            self._disk.close(self.last_seq)

    @property
    def _in_ram(self) -> bool:
        return self._disk is None or self._disk.trouble is not None

    def _front(self) -> Message | None:
        """The next to be taken, brought into the queue; None when there is none that may go."""
        if self._unread and self._disk and self._first_event is None:
            self._load(self._disk)
        if self._spill and self._in_ram and not self._unread and self._first_event is None:
            message = self._spill.popleft()
            self._stray[message.key] = message
            self._note_inexact()
            self._enqueue(message)
        return self._queue[0] if self._queue else None

    def _note_inexact(self) -> None:
        """Before the first message that is not on disk is sent: who comes back must not trust the journal."""
        if self._exact and self._disk:
            self._disk.reserve(self.last_seq, exact=False)
        self._exact = False

    def _load(self, disk: Disk) -> None:
        messages = disk.read(self._read, _AHEAD)
        for message in messages:
            self._enqueue(message)
            self._read = message.key
        self._unread = self._unread - len(messages) if len(messages) == _AHEAD else disk.waiting(self._read)

    def _enqueue(self, message: Message) -> None:
        """Behind the others; before it what is missing between."""
        if message.seq is not None:
            if self._queued_seq + 1 < message.seq:
                self._queue.append(self._gap(self._queued_seq + 1, message.seq - 1))
            self._queued_seq = max(self._queued_seq, message.seq)
        self._queue.append(message)

    def _gap(self, first: int, last: int) -> Message:
        return replace(self._tell_gap(first, last), seq=last, lost=last - first + 1, key=last * _PER_NUMBER)

    def _drop_surplus(self) -> None:
        if self._in_ram:
            while self._ram_count() > self._bounds.ram:
                self._drop_from_ram()
            return
        while self._disk and self._disk.full and self._front_event():
            for _ in range(_DROP):
                if event := self._front_event():
                    self._drop_oldest(event)
            if not self._settle([]):
                return

    def _ram_count(self) -> int:
        """Messages that take memory, but for the few that were read ahead of others on disk."""
        return len(self._spill) + (0 if self._unread else sum(not m.lost for m in self._queue))

    def _drop_from_ram(self) -> None:
        if self._unread:  # older ones wait on the disk, which would free no memory
            self._spill.popleft()
            self.dropped += 1
        elif event := self._front_event():
            self._drop_oldest(event)

    def _drop_aged(self) -> None:
        while (event := self._front_event()) and self._boot.now_s() - event.since_s > self._bounds.age_s:
            self._drop_oldest(event)

    @property
    def _first_event(self) -> Message | None:
        """The first in the queue that is not only about what is lost."""
        return next((message for message in self._queue if not message.lost), None)

    def _front_event(self) -> Message | None:
        self._front()
        return self._first_event

    def _drop_oldest(self, victim: Message) -> None:
        """Give up a message of the queue; its number is told as lost."""
        at = self._queue.index(victim)
        self.dropped += 1
        if self._stray.pop(victim.key, None) is None:
            self._done.add(victim.key)
        if victim.seq is None:
            del self._queue[at]
            return
        before = self._queue[at - 1] if at else None
        if before is not None and before.seq == victim.seq - 1:
            del self._queue[at]
            self._queue[at - 1] = self._gap(before.seq - before.lost + 1, victim.seq)
        else:
            self._queue[at] = self._gap(victim.seq, victim.seq)

    def _return_to_disk(self) -> None:
        """Write what is only in RAM; what waits behind all others is then read from the disk in its turn."""
        if not self._settle([*self._stray.values(), *self._spill]):
            return
        if not self._unread:
            self._read = self._spill[0].key - 1 if self._spill else self.last_key
        self._unread += len(self._spill)
        self._spill.clear()
        self._stray.clear()
        self._exact = True

    def _settle(self, messages: list[Message]) -> bool:
        """Write `messages`, and what need not wait any longer."""
        if self._disk is None or not self._disk.write(messages, self._done, self._said):
            return False
        self._done.clear()
        return True
