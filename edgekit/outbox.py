"""What waits for the broker: events in order, states as their last value, and what is to be said next."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One MQTT message, ready to go. Two are never equal: each is sent and acknowledged for itself."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


class Outbox:
    """Events on their way to the broker, oldest first, in RAM. The caller locks.

    `take` hands out the next one, `done` forgets it once it is acknowledged, `rewind` makes everything taken
    but not done wait again, in its old place. When more than `limit` wait, the oldest is dropped and counted.
    """

    def __init__(self, limit: int) -> None:
        self.dropped = 0
        self._limit = limit
        self._waiting: deque[Message] = deque()
        self._taken: dict[Message, None] = {}  # in the order they were taken

    def __len__(self) -> int:
        return len(self._waiting) + len(self._taken)

    def put(self, message: Message) -> None:
        self._waiting.append(message)
        self._drop_surplus()

    def take(self) -> Message | None:
        if not self._waiting:
            return None
        message = self._waiting.popleft()
        self._taken[message] = None
        return message

    def done(self, message: Message) -> None:
        self._taken.pop(message, None)

    def rewind(self) -> None:
        self._waiting.extendleft(reversed(self._taken))
        self._taken.clear()
        self._drop_surplus()

    def _drop_surplus(self) -> None:
        while len(self._waiting) > self._limit:
            self._waiting.popleft()
            self.dropped += 1


class Mailbox:
    """Decides what a connection carries next. Thread-safe; knows nothing of sockets.

    After `begin`: every retained value, then `online`, then the events that wait, then what comes. A state
    that changes while it waits goes out once, with its last value. After `end`, all of it starts over.
    """

    def __init__(self, online: Message, limit: int) -> None:
        self._lock = threading.Lock()
        self._online = online
        self._farewell: Message | None = None
        self._outbox = Outbox(limit)
        self._retained: dict[str, Message] = {}  # topic -> its last value, in the order of birth
        self._unsaid: dict[str, Message] = {}  # what this connection still owes; empty without a connection
        self._open = False

    @property
    def waiting(self) -> int:
        """Events that no broker has acknowledged yet."""
        return len(self._outbox)

    @property
    def dropped(self) -> int:
        """Events that were given up because too many waited."""
        return self._outbox.dropped

    def retain(self, message: Message) -> None:
        """Set the value of a topic; a value that stands there already is not sent again."""
        with self._lock:
            known = self._retained.get(message.topic)
            if known is not None and known.payload == message.payload:
                return
            self._retained[message.topic] = message
            if self._open:
                self._unsaid[message.topic] = message

    def put(self, event: Message) -> None:
        """Add an event behind those that wait."""
        with self._lock:
            self._outbox.put(event)

    def begin(self) -> None:
        """A broker listens."""
        with self._lock:
            self._open = True
            self._unsaid = {**self._retained, self._online.topic: self._online}

    def end(self) -> None:
        """It does no longer: what it has not acknowledged was not said."""
        with self._lock:
            self._open = False
            self._unsaid = {}
            self._outbox.rewind()

    def say_last(self, farewell: Message) -> None:
        """`farewell` goes out when nothing else waits."""
        with self._lock:
            self._farewell = farewell

    def next(self, *, hurry: bool = False) -> Message | None:
        """The next message of an open connection, or None for now; in a `hurry` the farewell goes first."""
        with self._lock:
            if not self._open:
                return None
            if hurry and self._farewell:
                return self._take_farewell()
            if self._unsaid:
                return self._unsaid.pop(next(iter(self._unsaid)))
            return self._outbox.take() or self._take_farewell()

    def done(self, message: Message) -> None:
        """The broker has it, or will never take it."""
        with self._lock:
            self._outbox.done(message)

    def _take_farewell(self) -> Message | None:
        farewell, self._farewell = self._farewell, None
        return farewell
