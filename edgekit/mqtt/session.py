"""A person at the broker: `edgekit mqtt test`, `watch` and `clean`. One connection, no thread."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from edgekit.errors import EdgekitError, UnavailableError
from edgekit.mqtt.frigate import PREFIX, mirrored
from edgekit.mqtt.link import Link, MqttVersion, Received
from edgekit.mqtt.messages import ONLINE, Message
from edgekit.mqtt.tls import tls_context
from edgekit.mqtt.topics import Topics

if TYPE_CHECKING:
    from edgekit.config.broker import MqttConfig

_ANSWER_S = 10.0
_STEP_S = 0.25


class Session:
    """Connected within the block; raises UnavailableError when the broker cannot be had."""

    def __init__(self, settings: MqttConfig) -> None:
        self._settings = settings
        self._tls = tls_context(settings.tls) if settings.tls else None
        self._arrived: list[Received] = []
        self._acks: dict[int, str] = {}

    def __enter__(self) -> Self:
        self._wake, self._ring = socket.socketpair()
        try:
            self._connect()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.link.ending is None:
            self.link.leave(politely=True)
        self._close()

    def subscribe(self, topics: Sequence[str]) -> None:
        """Ask for what is published there, and for what is retained."""
        self.link.subscribe(topics)

    def publish(self, topic: str, payload: bytes = b"", *, retain: bool = False) -> None:
        """Send, and wait for the broker to have it; EdgekitError when it refuses."""
        number = self.link.publish(Message(topic, payload, retain=retain))
        if not self._until(lambda: number in self._acks):
            raise UnavailableError(f"{self.link.place} does not acknowledge what is published to {topic}")
        if refusal := self._acks.pop(number):
            raise EdgekitError(f"{self.link.place} does not let us publish to {topic}: {refusal}")

    def received(self, timeout_s: float | None = None) -> Iterator[Received]:
        """What comes, until it stops for `timeout_s` (None: for ever) or the broker is gone."""
        while self._until(lambda: bool(self._arrived), timeout_s):
            yield self._arrived.pop(0)

    def round_trip_s(self, topic: str) -> float:
        """How long a message takes to the broker and back."""
        mark = secrets.token_hex(8).encode()
        self.subscribe([topic])
        started_s = time.monotonic()
        self.publish(topic, mark)
        if not self._until(lambda: any(m.payload == mark for m in self._arrived)):
            raise EdgekitError(
                f"what is published to {topic} does not come back: may this login publish and subscribe?"
            )
        return time.monotonic() - started_s

    def retained(self, topics: Sequence[str], probe: str) -> dict[str, bytes]:
        """What the broker retains below `topics`; `probe` is a topic to ask with."""
        self.subscribe(topics)
        self.round_trip_s(probe)
        found = {m.topic: m.payload for m in self._arrived if m.retained}
        self._arrived.clear()
        return found

    def _connect(self) -> None:
        self.link = self._attempt("5")
        if self.link.ending and self.link.ending.kind in ("old protocol", "silent"):
            self.link = self._attempt("3.1.1")
        if self.link.ending:
            raise UnavailableError(self.link.ending.reason)

    def _attempt(self, version: MqttVersion) -> Link:
        link = Link(
            self._settings,
            client_id=f"edgekit-session-{secrets.token_hex(4)}",
            version=version,
            will=None,
            tls=self._tls,
        )
        link.open()
        while not link.accepted and link.ending is None:
            link.poll(self._wake.fileno(), _STEP_S)
        return link

    def _until(self, done: Callable[[], bool], timeout_s: float | None = _ANSWER_S) -> bool:
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        while not done():
            if self.link.ending is not None:
                raise UnavailableError(self.link.ending.reason)
            if until_s is not None and time.monotonic() >= until_s:
                return False
            self.link.poll(self._wake.fileno(), _STEP_S)
            self._acks.update(self.link.acks())
            self._arrived += self.link.received()
        return True

    def _close(self) -> None:
        if hasattr(self, "link"):
            self.link.close()
        for end in (self._wake, self._ring):
            end.close()


@dataclass(frozen=True, slots=True)
class Report:
    """What a test of the broker found."""

    broker: str
    mqtt: str
    tls: str | None
    user: str | None
    round_trip_ms: float
    largest_message_bytes: int | None

    def line(self) -> str:
        """For a line."""
        return f"{self.broker} speaks MQTT {self.mqtt}, encryption {self.tls or 'none'}"

    def rows(self) -> list[tuple[str, str]]:
        """For a table."""
        return [
            ("broker", self.broker),
            ("MQTT", self.mqtt),
            ("encryption", self.tls or "none"),
            ("login", self.user or "none"),
            ("there and back", f"{self.round_trip_ms:.1f} ms"),
            ("largest message", f"{self.largest_message_bytes or 'not limited'}"),
        ]


def examine(settings: MqttConfig, topics: Topics) -> Report:
    """Connect as edgekit would, publish and hear it. Raises EdgekitError with the reason."""
    with Session(settings) as session:
        seconds = session.round_trip_s(_probe(topics))
        link = session.link
        return Report(
            broker=link.place,
            mqtt=link.version,
            tls=link.encryption,
            user=settings.user,
            round_trip_ms=round(seconds * 1000, 2),
            largest_message_bytes=link.max_packet_bytes,
        )


def clean(settings: MqttConfig, topics: Topics, others: Sequence[str], *, force: bool) -> list[str]:
    """Make the broker forget all that it retains of a device, and at `others`; returns the topics.

    EdgekitError when the device is online, unless `force`: it would say it all again.
    """
    mirror = [f"{PREFIX}/#"] if settings.compat == "frigate" else []
    with Session(settings) as session:
        found = session.retained([f"{topics.place}/#", *others, *mirror], _probe(topics))
        if found.get(topics.status) == ONLINE.encode() and not force:
            raise EdgekitError(f"{topics.device} is online: stop it first, or use --force")
        ours = {topic for topic in found if topic in others or topic.startswith(f"{topics.place}/")}
        gone = ours | (mirrored(topics, ours) & found.keys())
        for topic in gone:
            session.publish(topic, retain=True)
    return sorted(gone)


def _probe(topics: Topics) -> str:
    return f"{topics.base}/{topics.device}/probe"
