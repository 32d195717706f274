"""What Home Assistant needs to hear of a device: at each connect, at its own birth, after a change."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from random import SystemRandom
from typing import Any

from edgekit.mqtt.discovery import discovery_topic, removals, state_topics
from edgekit.mqtt.link import Received
from edgekit.mqtt.mailbox import Mailbox
from edgekit.mqtt.messages import Message, encode
from edgekit.mqtt.topics import Topics

_log = logging.getLogger("edgekit.mqtt")
_JITTER = SystemRandom()


class HomeAssistant:
    """Keeps the discovery message of a device said.

    It stands among the retained values, so each new connection hears it. When Home Assistant starts it is
    said again, `jitter_s` later, so that not all devices speak at once. What an earlier one had and this one
    has not is taken away.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        topics: Topics,
        prefix: str,
        payload: Mapping[str, Any],
        *,
        retain: bool,
        jitter_s: tuple[float, float],
        now_s: Callable[[], float],
    ) -> None:
        self.topic = discovery_topic(prefix, topics)
        self._birth_topic = f"{prefix}/status"
        self.topics = (self._birth_topic, self.topic)
        self._mailbox, self._payload, self._retain = mailbox, payload, retain
        self._place = topics.place
        self._jitter_s, self._now_s = jitter_s, now_s
        self._due_s: float | None = None
        mailbox.retain(self._message(payload))

    def renew(self, payload: Mapping[str, Any]) -> None:
        """The device has changed: what it no longer has is taken away."""
        old, self._payload = self._payload, payload
        self._take_away(old)
        self._mailbox.retain(self._message(payload))

    def hear(self, message: Received) -> bool:
        """Deal with a message; False when it is none for this."""
        if message.topic == self._birth_topic:
            if message.payload == b"online":
                self._due_s = self._now_s() + _JITTER.uniform(*self._jitter_s)
        elif message.topic == self.topic:
            if message.retained:
                self._supersede(message.payload)
        else:
            return False
        return True

    def tick(self) -> None:
        """Say what has become due."""
        if self._due_s is not None and self._now_s() >= self._due_s:
            self._due_s = None
            self._mailbox.repeat([self.topic])

    def _supersede(self, payload: bytes) -> None:
        """An earlier discovery message of this device: take away what is no longer there."""
        try:
            old = json.loads(payload)
        except ValueError:
            return
        if isinstance(old, dict):
            self._take_away(old)
            self._forget_states(old)

    def _forget_states(self, old: Mapping[str, Any]) -> None:
        """What the broker still retains of it, as far as it is this device's own."""
        for topic in sorted(state_topics(old) - state_topics(self._payload)):
            if topic.startswith(f"{self._place}/") and not set(topic) & set("+#"):
                self._mailbox.forget(topic)

    def _take_away(self, old: Mapping[str, Any]) -> None:
        interim = removals(old, self._payload)
        if interim is not None:
            gone = sorted(interim["cmps"].keys() - self._payload["cmps"].keys())
            _log.info("removed from Home Assistant: %s", ", ".join(gone))
            self._mailbox.answer(self._message(interim))
            self._mailbox.answer(self._message(self._payload))

    def _message(self, payload: Mapping[str, Any]) -> Message:
        return Message(self.topic, encode(payload), retain=self._retain)
