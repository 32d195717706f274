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

import contextlib
import hashlib
import logging
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from edgekit import machine, messages
from edgekit.courier import Courier, State
from edgekit.disk import Disk, Pace, Storage
from edgekit.link import MqttVersion
from edgekit.machine import Boot
from edgekit.mailbox import Mailbox
from edgekit.messages import Message, Stamp, Topics
from edgekit.outbox import Bounds, Outbox
from edgekit.types import Event

if TYPE_CHECKING:
    from edgekit.settings import MqttConfig

_log = logging.getLogger("edgekit.mqtt")


class Sink(Protocol):
    """Where a pipeline's results go. Every method returns at once and may be called from any thread."""

    def publish_event(self, event: Event, model: Mapping[str, Any]) -> None: ...
    def set_camera_status(self, camera: str, status: str) -> None: ...
    def set_count(self, camera: str, label: str, number: int) -> None: ...
    def publish_health(self, health: Mapping[str, Any]) -> None: ...


class ListSink:
    """A Sink that only remembers: for tests of pipelines, and for a run without MQTT."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.models: list[Mapping[str, Any]] = []  # one per event
        self.statuses: list[tuple[str, str]] = []  # (camera, status)
        self.counts: list[tuple[str, str, int]] = []  # (camera, label, number), every call
        self.healths: list[Mapping[str, Any]] = []

    def publish_event(self, event: Event, model: Mapping[str, Any]) -> None:
        self.events.append(event)
        self.models.append(model)

    def set_camera_status(self, camera: str, status: str) -> None:
        self.statuses.append((camera, status))

    def set_count(self, camera: str, label: str, number: int) -> None:
        self.counts.append((camera, label, number))

    def publish_health(self, health: Mapping[str, Any]) -> None:
        self.healths.append(health)


def machine_hash() -> str:
    """8 hex digits that stay the same on this machine: two devices of one name do not share a client id."""
    for name in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        with contextlib.suppress(OSError):
            if text := Path(name).read_text("ascii").strip():
                break
    else:
        text = f"{uuid.getnode():x}"
    return hashlib.sha256(f"edgekit {text}".encode()).hexdigest()[:8]


def _clock_synced() -> bool:
    """Whether the clock is known to be right: a Pi after a power cut, without NTP, only guesses the time."""
    return machine.clock_synced() is True


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds since the epoch, seconds of the clock of `Frame.mono_s`, whether the first is to be trusted;
    the run of Linux, whose seconds count for what waits.
    """

    wall_s: Callable[[], float] = time.time
    mono_s: Callable[[], float] = time.monotonic
    synced: Callable[[], bool] = _clock_synced
    boot: Boot = field(default_factory=machine.boot)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many events wait in RAM, the shortest and the longest wait between two attempts to connect, and
    what an SD card can be asked for.
    """

    events: int = 2000
    retry_s: tuple[float, float] = (1.0, 60.0)
    pace: Pace = field(default_factory=Pace)


CLOCK, LIMITS = Clock(), Limits()


class Publisher:
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
        self.topics = Topics(settings.base, device_id)
        self.boot_id = boot_id or secrets.token_hex(4)
        self._clock = clock
        self._next_drop = 1
        self._seq_lock = threading.Lock()
        self._health: Mapping[str, Any] | None = None
        outbox = _outbox(settings, limits, clock.boot, self._gap)
        self._mailbox = Mailbox(self._status(messages.ONLINE), outbox)
        self._courier = Courier(
            self._mailbox,
            settings,
            client_id=f"edgekit-{device_id}-{machine_hash()}",
            protocol=protocol,
            will=self._status(messages.OFFLINE),
            before_birth=self._renew_health,
            retry_s=limits.retry_s,
        )
        self._retain(
            self.topics.info, messages.encode(messages.info_payload(info, self.topics, self.boot_id))
        )
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
            payload = messages.encode(messages.event_payload(event, self._stamp(seq), model))
            self._mailbox.put(Message(topic, payload, seq=seq))
            self._tell_of_drops()
        self._courier.wake()

    def set_camera_status(self, camera: str, status: str) -> None:
        """Tell that a camera is "online", "offline", "degraded" or "disabled"; sent when it changes."""
        if status not in messages.CAMERA_STATUSES:
            raise ValueError(f"camera status {status!r}: use one of {', '.join(messages.CAMERA_STATUSES)}")
        self._retain(self.topics.camera_status(camera), status.encode())

    def set_count(self, camera: str, label: str, number: int) -> None:
        """How many of `label` the camera sees ("all": of everything); sent when it changes."""
        self._retain(self.topics.count(camera, label), str(int(number)).encode())

    def publish_health(self, health: Mapping[str, Any]) -> None:
        """Send how the pipeline does; the part `mqtt` is filled in here. ValueError as for events."""
        self._retain(self.topics.health, self._health_payload(health, self._mqtt_health()), qos=0)
        self._health = health

    def stop(self, timeout_s: float = 1.5) -> int:
        """Deliver what waits, say `stopped`, disconnect; in `timeout_s` at most.

        Returns how many events are lost: `undelivered`, without those that wait on disk for the next start.
        """
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
        self._mailbox.retain(Message(topic, payload, qos, retain=True))
        self._courier.wake()

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
        return messages.encode(messages.health_payload(health, mqtt, self._mailbox.health()))


def _outbox(
    settings: MqttConfig, limits: Limits, boot: Boot, tell_gap: Callable[[int, int], Message]
) -> Outbox:
    wanted = settings.outbox
    disk = Disk(Storage(wanted.path, wanted.max_mb), limits.pace, boot) if wanted.path else None
    return Outbox(disk, Bounds(limits.events, wanted.max_age), boot, tell_gap)
