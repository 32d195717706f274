"""Events, counts and states to an MQTT broker that may be away, restart, forget or refuse.

The manners, each of which a subscriber may rely on:
- the will (`offline`, retained) is registered before anything else; a clean stop says `stopped` itself;
- on EVERY connect all retained state is sent again, then `online`, then the events that waited;
- of a state only the last value counts, so it is kept once per topic; of events none is skipped: they wait
  in order, on disk where `mqtt.outbox.path` names a place, and the numbers go on after a restart; when too
  many wait, or for too long, the oldest is dropped, counted, logged and told in its place (`gap`);
- nothing here blocks the caller: one thread talks to the broker.

From the top down: `mqtt` (what to publish), `courier` (the thread: when to connect again, what to tell
people), `link` (one connection, paho), `mailbox` (what is said next), `outbox` (events that wait), `disk`,
`journal` and `reserve` (where they survive), `messages` (topics and payloads).
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from edgekit.device.machine import Boot
from edgekit.mqtt import frigate, messages
from edgekit.mqtt.commands import Clerk, Commands
from edgekit.mqtt.courier import Courier, Hooks, State
from edgekit.mqtt.disk import Disk, Storage
from edgekit.mqtt.hass import HomeAssistant
from edgekit.mqtt.link import MqttVersion, Received
from edgekit.mqtt.mailbox import Mailbox
from edgekit.mqtt.messages import Message, Stamp
from edgekit.mqtt.outbox import Bounds, Outbox
from edgekit.mqtt.sink import ListSink, Sink
from edgekit.mqtt.states import States
from edgekit.mqtt.timing import CLOCK, LIMITS, Clock, Limits, machine_hash
from edgekit.mqtt.topics import Topics
from edgekit.types import Event

if TYPE_CHECKING:
    from edgekit.config.broker import MqttConfig

__all__ = ["CLOCK", "LIMITS", "Clock", "Limits", "ListSink", "Publisher", "Sink", "machine_hash"]

_log = logging.getLogger("edgekit.mqtt")


class Publisher(States):
    """The Sink that speaks MQTT.

    `info` is what the pipeline knows of the info message: config_hash, profile, models [{id, sha256}].
    `protocol` "auto" tries MQTT 5, then 3.1.1; "3.1.1" is for a broker known to speak nothing newer.

    Raises ValueError for a name that is no MQTT level, ConfigError for certificates that do not load.
    """

    def __init__(
        self,
        settings: MqttConfig,
        device_id: str,
        info: Mapping[str, Any],
        *,
        boot_id: str | None = None,
        protocol: Literal["auto"] | MqttVersion = "auto",
        clock: Clock = CLOCK,
        limits: Limits = LIMITS,
    ) -> None:
        super().__init__(Topics(settings.base, device_id))
        self.boot_id = boot_id or secrets.token_hex(4)
        self._clock = clock
        self._as_frigate = settings.compat == "frigate"
        self._zones = frigate.Zones()
        self._next_drop = 1
        self._seq_lock = threading.Lock()
        self._listeners: list[Clerk | HomeAssistant] = []
        self._jitter_s = limits.jitter_s
        self._health: Mapping[str, Any] | None = None
        self._config_error: str | None = None
        outbox = _outbox(settings, limits, clock.boot, self._gap)
        self._mailbox = Mailbox(self._status(messages.ONLINE), outbox)
        self._courier = Courier(
            self._mailbox,
            settings,
            client_id=f"edgekit-{device_id}-{machine_hash()}",
            protocol=protocol,
            will=self._status(messages.OFFLINE),
            hooks=Hooks(self._renew_health, self._listened_topics, self._hear, self._tick),
            retry_s=limits.retry_s,
        )
        self.inform(info)
        self._tell_frigates_friends(messages.ONLINE)
        for name in messages.SCHEMAS:
            self._retain(self.topics.schema(name), messages.encode(messages.load_schema(name)))

    @property
    def state(self) -> State:
        """How things stand; "unreachable" and "refused" (us, or a certificate by us) are retried."""
        return self._courier.state

    @property
    def reason(self) -> str:
        """One line for people about `state`."""
        return self._courier.reason

    @property
    def client_id(self) -> str:
        """`edgekit-<device>-<hash of the machine>`, and more when another client had taken that."""
        return self._courier.client_id

    @property
    def sent(self) -> int:
        """Messages of any kind that the broker has acknowledged (QoS 0: that were written)."""
        return self._courier.sent

    @property
    def undelivered(self) -> int:
        """Events that still wait, were dropped from a full queue, or were refused by the broker."""
        return self._mailbox.waiting + self._mailbox.dropped + self._courier.refused_events

    @property
    def last_seq(self) -> int:
        """The number of the last event."""
        return self._mailbox.last_seq

    @property
    def kept(self) -> int:
        """Those of the undelivered events that wait on disk."""
        return self._mailbox.kept

    def serve(self, commands: Commands) -> None:
        """Obey what is asked for on the device's topics. To be called before `start`."""
        self._listeners.append(Clerk(self.topics.place, commands, self._answer))
        if self._as_frigate:
            self._listeners.append(Clerk(frigate.PREFIX, Commands(commands.detect), self._answer))

    def inform(self, info: Mapping[str, Any]) -> None:
        """What the pipeline knows of the info message has changed: `info` as at the start."""
        payload = messages.info_payload(info, self.topics, self.boot_id)
        self._retain(self.topics.info, messages.encode(payload))

    def report_config(self, error: str | None) -> None:
        """A config was read and is not taken, because of `error`; None: the last one read runs."""
        if error != self._config_error:
            self._config_error = error
            if self._health is not None:
                self.publish_health(self._health)

    def forget(self, topic: str) -> None:
        """Let the broker forget a state that is none any more."""
        self._retain(topic, b"")

    def announce_again(self, payload: Mapping[str, Any]) -> None:
        """The device that was announced has changed."""
        for listener in self._listeners:
            if isinstance(listener, HomeAssistant):
                listener.renew(payload)

    def announce(self, prefix: str, payload: Mapping[str, Any], *, retain: bool = True) -> None:
        """Tell Home Assistant of the device, with a payload of `edgekit.mqtt.discovery`. Before `start`."""
        self._listeners.append(
            HomeAssistant(
                self._mailbox,
                self.topics,
                prefix,
                payload,
                retain=retain,
                jitter_s=self._jitter_s,
                now_s=self._clock.mono_s,
            )
        )

    def start(self) -> None:
        """Begin to connect, in a thread; returns at once, whether there is a broker or not."""
        self._courier.start()

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait until the broker has acknowledged `online`; False when it has not within `timeout_s`."""
        return self._courier.connected.wait(timeout_s)

    def publish_event(self, event: Event, model: Mapping[str, Any]) -> None:
        """Give the event its number and its time and send it. ValueError for a number that is not finite."""
        topic = self.topics.events(event.camera)
        with self._seq_lock:
            seq = self._mailbox.last_seq + 1
            payload = messages.event_payload(event, self._stamp(seq), model)
            self._mailbox.put(Message(topic, messages.encode(payload), seq=seq))
            if self._as_frigate:
                self._mailbox.put(frigate.mirror_event(payload))
            self._tell_of_drops()
        self._courier.wake()

    def publish_alarm(self, camera: str, alarm: str, event_type: str, details: Mapping[str, Any]) -> None:
        """What an alarm did ("raised", "cleared", "tamper"); it waits in order with the events.

        The `visit` of the details is told by its id as well, which is that of its events.
        """
        if "visit" in details:
            event = messages.visit_id(self.topics.device, camera, self.boot_id, details["visit"])
            details = {"event": event, **details}
        payload = messages.alarm_payload(
            camera, alarm, event_type, details, device=self.topics.device, now_s=self._clock.wall_s()
        )
        self._mailbox.put(Message(self.topics.alarm_event(camera, alarm), messages.encode(payload)))
        self._courier.wake()

    def publish_health(self, health: Mapping[str, Any]) -> None:
        """Send how the pipeline does; the part `mqtt` is filled in here. ValueError as for events."""
        self._retain(self.topics.health, self._health_payload(health, self._mqtt_health()), qos=0)
        self._health = health

    def health(self, health: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """`health`, or the last one that was published, with what is true of connection and outbox now."""
        known = health or self._health or {}
        return messages.health_payload(
            known, self._mqtt_health(), self._mailbox.health(), config_error=self._config_error
        )

    def stop(self, timeout_s: float = 1.5) -> int:
        """Deliver what waits, say `stopped`, disconnect; in `timeout_s` at most.

        Returns how many events are lost: `undelivered`, without those that wait on disk for the next start.
        """
        self._tell_frigates_friends(messages.OFFLINE)
        self._courier.stop(self._status(messages.STOPPED), timeout_s)
        self._mailbox.close()
        return self.undelivered - self.kept

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _answer(self, message: Message) -> None:
        self._mailbox.answer(message)
        self._courier.wake()

    def _listened_topics(self) -> list[str]:
        return [topic for listener in self._listeners for topic in listener.topics]

    def _hear(self, message: Received) -> None:
        any(listener.hear(message) for listener in self._listeners)

    def _tick(self) -> None:
        for listener in self._listeners:
            listener.tick()

    def _tell_of_drops(self) -> None:
        """One line at the first, the tenth, the hundredth... event that is lost."""
        if self._mailbox.dropped >= self._next_drop:
            self._next_drop *= 10
            _log.warning(
                "%d events dropped, oldest first: %d wait for the broker; %s",
                self._mailbox.dropped,
                self._mailbox.waiting,
                self.reason,
            )

    def _stamp(self, seq: int) -> Stamp:
        return Stamp(
            device=self.topics.device,
            boot_id=self.boot_id,
            seq=seq,
            published_s=self._clock.wall_s(),
            mono_s=self._clock.mono_s(),
            clock_synced=self._clock.synced(),
        )

    def _status(self, text: str) -> Message:
        return Message(self.topics.status, text.encode(), retain=True)

    def _retain(self, topic: str, payload: bytes, qos: int = 1) -> None:
        message = Message(topic, payload, qos, retain=True)
        self._mailbox.retain(message)
        if self._as_frigate and (theirs := frigate.mirror_state(self.topics, message)):
            self._mailbox.retain(self._zones.join(message, theirs))
        self._courier.wake()

    def _tell_frigates_friends(self, status: str) -> None:
        if self._as_frigate:
            self._mailbox.retain(Message(frigate.AVAILABLE, status.encode(), retain=True))

    def _mqtt_health(self) -> dict[str, Any]:
        return {
            "connected": self.state == "connected",
            "reconnects": self._courier.reconnects,
            "sent": self.sent,
            "undelivered": self.undelivered,
        }

    def _gap(self, first: int, last: int) -> Message:
        now_s = self._clock.wall_s()
        payload = messages.gap_payload(self.topics.device, self.boot_id, first, last, now_s)
        return Message(self.topics.gap, messages.encode(payload))

    def _renew_health(self) -> None:
        """The last health is part of the birth, with what is true of the connection now."""
        if self._health is not None:
            mqtt = self._mqtt_health() | {"connected": True}
            payload = self._health_payload(self._health, mqtt)
            self._mailbox.retain(Message(self.topics.health, payload, 0, retain=True))

    def _health_payload(self, health: Mapping[str, Any], mqtt: Mapping[str, Any]) -> bytes:
        return messages.encode(
            messages.health_payload(health, mqtt, self._mailbox.health(), config_error=self._config_error)
        )


def _outbox(
    settings: MqttConfig, limits: Limits, boot: Boot, tell_gap: Callable[[int, int], Message]
) -> Outbox:
    wanted = settings.outbox
    disk = Disk(Storage(wanted.path, wanted.max_mb), limits.pace, boot) if wanted.path else None
    return Outbox(disk, Bounds(limits.events, wanted.max_age), boot, tell_gap)
