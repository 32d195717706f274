"""One connection to an MQTT broker, from CONNECT to its end: paho behind a few methods.

A Link belongs to one thread that calls `open`, then `publish` and `poll` until `ending` says why it is over.
paho's own reconnecting and queueing are not used: a new Link is made for each attempt, so that what is sent
after a reconnect, and in which order, is decided in one place (`edgekit.mqtt`).
"""

from __future__ import annotations

import logging
import select
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgekit.mqtt.messages import Message
from edgekit.mqtt.tls import NoTlsError, tls_reason

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from edgekit.config.broker import MqttConfig

MqttVersion = Literal["5", "3.1.1"]
EndingKind = Literal[
    "unreachable", "silent", "old protocol", "garbled", "refused", "taken over", "lost", "left"
]

_log = logging.getLogger("edgekit.mqtt")
_CONNECT_TIMEOUT_S = 5.0
_ANSWER_TIMEOUT_S = 10.0
_WINDOW = 20  # messages on the way at once
_UNSPECIFIED = 0x80  # also what paho has to say when nobody has said why
_UNSUPPORTED_PROTOCOL, _BAD_LOGIN, _NOT_AUTHORISED, _TAKEN_OVER = 0x84, 0x86, 0x87, 0x8E
_PROTOCOL_ERROR = 0x82
_BUSY = (0x88, 0x89, 0x9F)  # unavailable, busy, too many connections: it may pass


@dataclass(frozen=True, slots=True)
class Received:
    """A message from the broker; `retained`: it was published before this connection subscribed."""

    topic: str
    payload: bytes
    retained: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a connection is over, or was never made; `reason` is one line for people."""

    kind: EndingKind
    reason: str


def address(settings: MqttConfig) -> tuple[str, int]:
    """Host and port of the broker."""
    return settings.host or "127.0.0.1", settings.port or (8883 if settings.tls else 1883)


def place(settings: MqttConfig) -> str:
    """Host and port of the broker, for people."""
    host, port = address(settings)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Link:
    """One attempt to talk to the broker. `will` is what the broker says when this connection dies.

    `accepted` turns true with the broker's yes; `max_packet_bytes` and `window` are then what it allows.
    `ending` is None while there is hope.
    """

    def __init__(
        self,
        settings: MqttConfig,
        *,
        client_id: str,
        version: MqttVersion,
        will: Message | None,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.accepted = False
        self.ending: Ending | None = None
        self.max_packet_bytes: int | None = None
        self.window = _WINDOW
        self.version = version
        self._host, self._port = address(settings)
        self.place = place(settings)
        self._settings, self._client_id = settings, client_id
        self._acks: list[tuple[int, str]] = []
        self._received: list[Received] = []
        self._answer_by_s = time.monotonic() + _CONNECT_TIMEOUT_S + _ANSWER_TIMEOUT_S
        self._client = self._new_client()
        if will is not None:
            self._client.will_set(will.topic, will.payload, will.qos, will.retain)
        if tls is not None:
            self._client.tls_set_context(tls)
            self._client.tls_insecure_set(not tls.check_hostname)

    def open(self) -> None:
        """Connect and ask for admission; blocks for a few seconds at most."""
        try:
            self._client.connect(
                self._host,
                self._port,
                keepalive=self._settings.keepalive_s,
                clean_start=True if self.version == "5" else 3,
            )
        except NoTlsError as error:
            hint = "is it the port without encryption? set mqtt.port to that for TLS, or leave mqtt.tls out"
            self.end("unreachable", f"{self.place} does not speak TLS ({error}): {hint}")
        except ssl.SSLError as error:
            self.end("refused", f"{self.place}: no trusted TLS connection: {tls_reason(error)}")
        except (OSError, ValueError) as error:  # ValueError: a host name that no resolver takes
            text = getattr(error, "strerror", None) or str(error)
            hint = "start it, or correct mqtt.host and mqtt.port"
            self.end("unreachable", f"no MQTT broker at {self.place}: {text}: {hint}")

    def poll(self, wake: int, timeout_s: float) -> None:
        """Read and write what can be, or wait `timeout_s`; the file descriptor `wake` ends the wait."""
        sock = self._client.socket()
        if sock is None:
            self.end("lost", f"lost the connection to {self.place}")
        if sock is None or self.ending is not None:
            return
        buffered = getattr(sock, "pending", int)() > 0  # decrypted bytes that no poll tells of
        poller = select.poll()
        poller.register(sock.fileno(), select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        poller.register(wake, select.POLLIN)
        ready = dict(poller.poll(0 if buffered else timeout_s * 1000)).get(sock.fileno(), 0)
        if buffered or ready & ~select.POLLOUT:
            self._client.loop_read()
        if ready & select.POLLOUT:
            self._client.loop_write()
        self._client.loop_misc()
        if not self.accepted and time.monotonic() > self._answer_by_s:
            self.end("silent", f"{self.place} does not answer as an MQTT broker")

    def publish(self, message: Message) -> int:
        """Send; the number returned comes back from `acks` when the broker has it (never for QoS 0)."""
        return self._client.publish(message.topic, message.payload, message.qos, message.retain).mid

    def fits(self, message: Message) -> bool:
        """Whether the broker takes a message of this size: it would cut the connection otherwise."""
        overhead = 5 + 2 + 2 + 1  # fixed header, topic length, packet number, no properties
        size = len(message.topic.encode()) + len(message.payload) + overhead
        return self.max_packet_bytes is None or size <= self.max_packet_bytes

    def acks(self) -> Iterator[tuple[int, str]]:
        """What the broker has answered since the last call: (number, "" or why it refused the message)."""
        while self._acks:
            yield self._acks.pop(0)

    def subscribe(self, topics: Sequence[str]) -> None:
        """Ask for what is published below `topics`; a broker that does not let us is told of in the log."""
        if topics:
            self._client.subscribe([(topic, 1) for topic in topics])

    @property
    def encryption(self) -> str | None:
        """The protocol that protects the connection, `TLSv1.3` or so; None without."""
        sock = self._client.socket()
        return sock.version() if isinstance(sock, ssl.SSLSocket) else None

    def received(self) -> Iterator[Received]:
        """What has come since the last call."""
        while self._received:
            yield self._received.pop(0)

    def leave(self, *, politely: bool) -> None:
        """End it. Politely: the broker forgets the will. Otherwise it will say it."""
        self.end("left", "")
        if politely:
            self._client.disconnect()
        self.close()

    def end(self, kind: EndingKind, reason: str) -> None:
        """It is over; only the first reason counts."""
        if self.ending is None:
            self.ending = Ending(kind, reason)

    def close(self) -> None:
        """Leave no socket behind."""
        if (sock := self._client.socket()) is not None:
            sock.close()

    def _new_client(self) -> Client:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        protocol = MQTTProtocolVersion.MQTTv5 if self.version == "5" else MQTTProtocolVersion.MQTTv311
        client = Client(
            CallbackAPIVersion.VERSION2, self._client_id, protocol=protocol, reconnect_on_failure=False
        )
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(0)  # `window` is kept by the publisher
        if self._settings.user is not None:
            secret = self._settings.password
            client.username_pw_set(self._settings.user, secret.get_secret_value() if secret else None)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        return client

    def _on_connect(
        self, _client: Client, _data: Any, _flags: ConnectFlags, code: ReasonCode, granted: Properties | None
    ) -> None:
        if code.value == 0:
            self.accepted = True
            self.max_packet_bytes = getattr(granted, "MaximumPacketSize", None)
            self.window = max(
                1, min(_WINDOW, getattr(granted, "ReceiveMaximum", _WINDOW) - 1)
            )  # one to spare
        elif code.value == _UNSUPPORTED_PROTOCOL:
            self.end("old protocol", f"{self.place} does not speak MQTT {self.version}")
        elif code.value in (_BAD_LOGIN, _NOT_AUTHORISED):
            who = f"user {self._settings.user}" if self._settings.user else "a client without mqtt.user"
            why = f"{code.getName().lower()}: check mqtt.user and mqtt.password"
            self.end("refused", f"{self.place} refused the login of {who}: {why}")
        else:
            kind: EndingKind = "unreachable" if code.value in _BUSY else "refused"
            self.end(kind, f"{self.place} refused the connection: {code.getName().lower()}")

    def _on_disconnect(
        self,
        _client: Client,
        _data: Any,
        flags: DisconnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if flags.is_disconnect_packet_from_server and code.value == _TAKEN_OVER:
            self.end("taken over", f"{self.place}: another client has taken the client id {self._client_id}")
        elif self.accepted and code.value == _PROTOCOL_ERROR:  # so does mosquitto at its message_size_limit
            hint = "it may limit the size of messages (message_size_limit)"
            self.end("garbled", f"{self.place} answers what MQTT {self.version} does not know: {hint}")
        elif self.accepted:
            why = "it was closed" if code.value == _UNSPECIFIED else code.getName().lower()
            self.end("lost", f"lost the connection to {self.place}: {why}")
        else:
            self.end("silent", f"{self.place} closed the connection without an answer: {self._suspicion()}")

    def _suspicion(self) -> str:
        tls = self._settings.tls
        if tls is None:
            return "is it a port for TLS? then set mqtt.tls: true"
        return "does it trust mqtt.tls.cert?" if tls.cert else "does it want mqtt.tls.cert?"

    def _on_publish(
        self, _client: Client, _data: Any, mid: int, code: ReasonCode, _properties: Properties | None
    ) -> None:
        self._acks.append((mid, code.getName().lower() if code.is_failure else ""))

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self._received.append(Received(message.topic, bytes(message.payload), message.retain))

    def _on_subscribe(
        self, _client: Client, _data: Any, _mid: int, codes: list[ReasonCode], _properties: Properties | None
    ) -> None:
        if any(code.is_failure for code in codes):
            _log.warning("%s does not let edgekit subscribe: commands over MQTT will not work", self.place)
