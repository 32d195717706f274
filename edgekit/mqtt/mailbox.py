"""What waits for the broker: events in order, states as their last value, and what is to be said next."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from edgekit.mqtt.messages import Message
from edgekit.mqtt.outbox import Outbox


class Mailbox:
    """Decides what a connection carries next. Thread-safe; knows nothing of sockets.

    After `begin`: every retained value, then `online`, then the events that wait, then what comes. A state
    that changes while it waits goes out once, with its last value, and not before the events that led to it;
    only events from before the connection do not hold it up. An answer comes after the states that were set
    before it: who reads it finds them. After `end`, all of it starts over.
    """

    def __init__(self, online: Message, outbox: Outbox) -> None:
        self._lock = threading.Lock()
        self._online = online
        self._farewell: Message | None = None
        self._outbox = outbox
        self._retained: dict[str, Message] = {}  # topic -> its last value, in the order of birth
        self._birth: dict[str, Message] = {}  # what a new connection is told first
        # a topic's new value or an answer, and the last event before it
        self._unsaid: dict[str | Message, tuple[Message, int]] = {}
        self._open = False

    @property
    def waiting(self) -> int:
        """Events that no broker has acknowledged yet."""
        with self._lock:
            return len(self._outbox)

    @property
    def kept(self) -> int:
        """How many of those that wait are on disk, for the next start."""
        with self._lock:
            return self._outbox.kept

    @property
    def dropped(self) -> int:
        """Events that were given up because too many waited, or for too long."""
        return self._outbox.dropped

    def health(self) -> dict[str, Any]:
        """What waits and where, for the health message."""
        with self._lock:
            return self._outbox.health()

    @property
    def last_seq(self) -> int:
        """The number of the last event."""
        return self._outbox.last_seq

    def retain(self, message: Message) -> None:
        """Set the value of a topic; a value that stands there already is not sent again."""
        with self._lock:
            known = self._retained.get(message.topic)
            if known is None or known.payload != message.payload:
                self._retained[message.topic] = message
                self._owe(message)

    def repeat(self, topics: Iterable[str]) -> None:
        """Say the values of these topics once more."""
        with self._lock:
            for topic in topics:
                if topic in self._retained:
                    self._owe(self._retained[topic])

    def forget(self, topic: str) -> None:
        """Let the broker forget what it retains of a topic, now and on every later connection."""
        self.retain(Message(topic, b"", retain=True))

    def put(self, event: Message) -> None:
        """Add an event behind those that wait."""
        with self._lock:
            self._outbox.put(event)

    def answer(self, message: Message) -> None:
        """Say something to who listens now, or to nobody."""
        with self._lock:
            if self._open:
                self._unsaid[message] = (message, 0)

    def begin(self) -> None:
        """A broker listens."""
        with self._lock:
            self._open = True
            self._birth = {**self._retained, self._online.topic: self._online}
            self._unsaid.clear()
            self._outbox.begin()

    def end(self) -> None:
        """It does no longer: what it has not acknowledged was not said."""
        with self._lock:
            self._open = False
            self._birth, self._unsaid = {}, {}
            self._outbox.rewind()

    def say_last(self, farewell: Message) -> None:
        """`farewell` goes out when nothing else waits."""
        with self._lock:
            self._outbox.hasten()
            self._farewell = farewell

    def next(self, *, hurry: bool = False) -> Message | None:
        """The next message of an open connection, or None for now; in a `hurry` the farewell goes first."""
        with self._lock:
            if not self._open:
                return None
            if hurry and self._farewell:
                return self._take_farewell()
            if self._birth:
                return self._birth.pop(next(iter(self._birth)))
            return self._take_unsaid() or self._outbox.take() or self._take_farewell()

    def done(self, message: Message) -> None:
        """The broker has it."""
        with self._lock:
            self._outbox.done(message)

    def lose(self, message: Message) -> None:
        """The broker will never take it."""
        with self._lock:
            self._outbox.lose(message)

    def upkeep(self) -> None:
        """Look after the disk: to be called every second or so, by a thread that may wait for it."""
        with self._lock:
            self._outbox.upkeep()
        self._outbox.flush()

    def close(self) -> None:
        """Nothing more will come or go."""
        with self._lock:
            self._outbox.close()

    def _owe(self, message: Message) -> None:
        if message.topic in self._birth:
            self._birth[message.topic] = message
        elif self._open:
            self._unsaid.pop(message.topic, None)  # behind what changed before
            self._unsaid[message.topic] = (message, self._outbox.last_key)

    def _take_unsaid(self) -> Message | None:
        if not self._unsaid:
            return None
        first, (message, key) = next(iter(self._unsaid.items()))
        if self._outbox.blocks(key):
            return None
        del self._unsaid[first]
        return message

    def _take_farewell(self) -> Message | None:
        if self._unsaid:
            return None
        farewell, self._farewell = self._farewell, None
        return farewell
