"""The thread that talks to the broker: connects, carries the mailbox, reconnects, and says why it cannot."""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING, Literal

from edgekit.mqtt.link import Ending, Link, MqttVersion, Received, place
from edgekit.mqtt.mailbox import Mailbox
from edgekit.mqtt.messages import Message
from edgekit.mqtt.tls import tls_context

if TYPE_CHECKING:
    from edgekit.config.broker import MqttConfig

State = Literal["connecting", "connected", "refused", "unreachable", "stopped"]

_log = logging.getLogger("edgekit.mqtt")
_FAREWELL_S = 0.5  # of a stop's time belong to the farewell, whatever else still waits
_GRACE_S = 0.1  # beyond a stop's time, for the thread to end
_STEADY_S = 10.0  # a connection that lived this long was a good one
_JITTER = SystemRandom()
_LOUD = 3  # topics whose refusal is a warning; more of them say no more
_TICK_S = 1.0  # how often keep-alives and the mailbox are looked after


def _nothing(*_: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Hooks:
    """What else happens on a connection: `before_birth` runs when the broker has said yes, before the
    retained values go out; `received` gets what is published below `topics`, `tick` runs every second.
    """

    before_birth: Callable[[], None]
    topics: Callable[[], Sequence[str]] = tuple
    received: Callable[[Received], None] = _nothing
    tick: Callable[[], None] = _nothing


class Courier:
    """Carries a Mailbox to the broker of `settings`, over one Link after another.

    `will` is registered with each. After a refusal (login, certificate) the longest wait of `retry_s` applies
    at once. A second client of the same id is not fought: this one goes on under another id.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        settings: MqttConfig,
        *,
        client_id: str,
        protocol: Literal["auto"] | MqttVersion,
        will: Message,
        hooks: Hooks,
        retry_s: tuple[float, float],
    ) -> None:
        self.connected = threading.Event()
        self.sent = self.refused_events = self.reconnects = 0
        self.client_id = self._first_id = client_id
        self._standing: tuple[State, str] = ("connecting", f"{place(settings)} has not answered yet")
        self._mailbox, self._settings = mailbox, settings
        self._auto = protocol == "auto"
        self._version: MqttVersion = "5" if protocol == "auto" else protocol
        self._will, self._hooks = will, hooks
        self._farewell: Message | None = None
        self._tls = tls_context(settings.tls) if settings.tls else None
        self._retry_s = retry_s
        self._failures = self._short_lives = 0
        self._upkeep_at_s = 0.0
        self._born = False  # whether `online` was ever acknowledged
        self._complaints: set[str] = set()
        self._flying: dict[int, Message] = {}  # number -> message sent, not acknowledged
        self._stop_by_s: float | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._bell: tuple[socket.socket, socket.socket] | None = None  # (listen, ring)

    @property
    def state(self) -> State:
        return self._standing[0]

    @property
    def reason(self) -> str:
        """One line for people about `state`."""
        return self._standing[1]

    def start(self) -> None:
        """Begin to connect; returns at once."""
        if self._thread is not None:
            raise RuntimeError("a publisher is started once")
        self._bell = _bell()
        self._thread = threading.Thread(target=self._run, name="edgekit-mqtt", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the mailbox."""
        if self._bell is not None:
            with contextlib.suppress(OSError):  # full: it rings already; closed: nobody is there to hear
                self._bell[1].send(b"\0")

    def stop(self, farewell: Message, timeout_s: float) -> None:
        """Deliver what waits, then `farewell`, and leave; after `timeout_s` leave all the same."""
        self._farewell = farewell
        self._mailbox.say_last(farewell)
        self._stop_by_s = time.monotonic() + timeout_s
        self._stopping.set()
        self.wake()
        if self._thread is not None:
            self._thread.join(timeout_s + _GRACE_S)
        self._stand("stopped", "stopped")

    def _run(self) -> None:
        try:
            wait_s: float | None = 0.0
            while wait_s is not None and self._waited(wait_s):
                wait_s = self._attempt()
        finally:
            for end in self._bell or ():
                end.close()

    def _waited(self, wait_s: float) -> bool:
        """Wait, and look after the mailbox meanwhile; False when a stop came first."""
        until_s = time.monotonic() + wait_s
        while wait_s > 0.0:
            if self._stopping.wait(min(wait_s, _TICK_S)):
                return False
            self._mailbox.upkeep()
            wait_s = until_s - time.monotonic()
        return True

    def _attempt(self) -> float | None:
        """One connection from start to end; returns the seconds to wait for the next, None for never."""
        link = Link(
            self._settings, client_id=self.client_id, version=self._version, will=self._will, tls=self._tls
        )
        started_s = time.monotonic()
        try:
            link.open()
            self._serve(link)
        except Exception as error:
            _log.exception("the MQTT connection failed in a way that edgekit does not know")
            link.end("lost", f"lost the connection to {link.place}: {error!r}")
        link.close()
        self.connected.clear()
        self._mailbox.end()
        self._flying.clear()
        steady = time.monotonic() - started_s > _STEADY_S
        return self._after(link.ending, steady=steady) if link.ending else None

    def _serve(self, link: Link) -> None:
        """Carry the mailbox while the connection lives."""
        born = False
        while link.ending is None:
            wake = self._quiet_bell()  # before the mailbox is looked into, or its newest could be overlooked
            if link.accepted and not born:
                born = True
                link.subscribe(self._hooks.topics())
                self._hooks.before_birth()
                self._mailbox.begin()
            if time.monotonic() >= self._upkeep_at_s:
                self._upkeep_at_s = time.monotonic() + _TICK_S
                self._mailbox.upkeep()
                self._hooks.tick()
            self._send(link)
            self._keep_stop_time(link)
            link.poll(wake, self._patience_s())
            for number, refusal in link.acks():
                self._settle(link, self._flying.pop(number, None), refusal)
            for message in link.received():
                self._hear(message)

    def _hear(self, message: Received) -> None:
        """What the world sends must not harm the connection."""
        try:
            self._hooks.received(message)
        except Exception:
            _log.exception("a message on %s could not be dealt with", message.topic)

    def _send(self, link: Link) -> None:
        """Fill the window; in a hurry, there is always room for the farewell."""
        while link.ending is None and len(self._flying) < link.window + self._hurried():
            message = self._mailbox.next(hurry=self._hurried())
            if message is None:
                return
            if not link.fits(message):
                self._give_up(message, f"{len(message.payload)} bytes are more than {link.place} takes")
            elif message.qos:
                self._flying[link.publish(message)] = message
            else:
                link.publish(message)
                self.sent += 1

    def _settle(self, link: Link, message: Message | None, refusal: str) -> None:
        """The broker has answered to a message of QoS 1."""
        if message is None:
            return
        if refusal:
            self._refused(link, message, refusal)
        else:
            self.sent += 1
            self._mailbox.done(message)
            if message.topic == self._will.topic and message is not self._farewell:
                self._stand("connected", f"connected to {link.place} (MQTT {link.version})")
                self.reconnects, self._born = self.reconnects + self._born, True
                self.connected.set()
        if message is self._farewell:
            link.leave(politely=True)

    def _refused(self, link: Link, message: Message, refusal: str) -> None:
        self._give_up(message, f"{link.place} answers: {refusal}")
        if message.topic == self._will.topic:
            who = f"user {self._settings.user}" if self._settings.user else "a client without mqtt.user"
            self._stand("refused", f"{link.place} does not let {who} publish to {message.topic}: {refusal}")

    def _give_up(self, message: Message, why: str) -> None:
        """The broker will never take this one; said once per topic."""
        self._mailbox.lose(message)
        self.refused_events += not message.retain and not message.lost
        if message.topic not in self._complaints:
            self._complaints.add(message.topic)
            level = logging.WARNING if len(self._complaints) <= _LOUD else logging.INFO
            _log.log(level, "not published to %s: %s", message.topic, why)

    def _keep_stop_time(self, link: Link) -> None:
        """Past its time a stop leaves without farewell: the broker then says the will."""
        if self._stop_by_s is not None and time.monotonic() >= self._stop_by_s:
            link.leave(politely=False)

    def _hurried(self) -> bool:
        return self._stop_by_s is not None and time.monotonic() >= self._stop_by_s - _FAREWELL_S

    def _patience_s(self) -> float:
        """How long to wait for something to happen."""
        if self._stop_by_s is None:
            return _TICK_S
        mark_s = self._stop_by_s - (0 if self._hurried() else _FAREWELL_S)
        return max(0.0, min(_TICK_S, mark_s - time.monotonic()))

    def _after(self, ending: Ending, *, steady: bool) -> float | None:
        """What follows from the end of a connection: the state, and the seconds until the next attempt."""
        if ending.kind == "left":
            return None
        if self._auto and self._version == "5" and ending.kind in ("old protocol", "silent", "garbled"):
            self._version = "3.1.1"
            if ending.kind == "garbled":
                self._stand("unreachable", ending.reason)
            return 0.0
        if self._auto and ending.kind == "silent":
            self._version = "5"  # it was not the protocol
        if ending.kind in ("refused", "old protocol"):
            self._stand("refused", ending.reason)
            return self._retry_s[1] * _JITTER.uniform(0.75, 1.0)
        self._mind_doubles(ending, steady=steady)
        self._stand("unreachable", ending.reason)
        self._failures = 1 if steady else self._failures + 1
        backoff_s = self._retry_s[0] * 2.0 ** min(self._failures - 1, 30)
        return min(self._retry_s[1], backoff_s * _JITTER.uniform(0.75, 1.25))

    def _mind_doubles(self, ending: Ending, *, steady: bool) -> None:
        """Two clients of one id would throw each other out for ever: go on under another id.

        A broker of MQTT 5 may say so (mosquitto 2.0.11 does not); else three short connections hint at it.
        """
        self._short_lives = self._short_lives + 1 if ending.kind == "lost" and not steady else 0
        if ending.kind == "taken over":
            hint = ending.reason
        elif self._short_lives == 3:
            hint = f"{ending.reason}, three times at once: another client with the same client id?"
        else:
            return
        self.client_id = f"{self._first_id}-{secrets.token_hex(2)}"
        _log.warning("%s; going on as %s: give each edgekit a device.id of its own", hint, self.client_id)

    def _stand(self, state: State, reason: str) -> None:
        if self._standing in ((state, reason), ("stopped", "stopped")):
            return
        before, self._standing = self._standing[0], (state, reason)
        if state == "connected":  # those who have heard of trouble hear of its end
            _log.log(logging.INFO if before == "connecting" else logging.WARNING, "%s", reason)
        elif state != "stopped":
            _log.warning("%s; edgekit goes on and tries again", reason)

    def _quiet_bell(self) -> int:
        """Forget the rings so far; returns the file descriptor that shows the next."""
        assert self._bell is not None  # noqa: S101  (start() made it)
        with contextlib.suppress(BlockingIOError):
            while self._bell[0].recv(4096):
                pass
        return self._bell[0].fileno()


def _bell() -> tuple[socket.socket, socket.socket]:
    """A pair of sockets: a byte into the second wakes who polls the first."""
    listen, ring = socket.socketpair()
    listen.setblocking(False)
    ring.setblocking(False)
    return listen, ring
