"""The states of a device, each one retained topic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from edgekit.mqtt import messages
from edgekit.mqtt.topics import Topics


class States(ABC):
    """The setters of a Sink; a value that stands there already is not sent again."""

    def __init__(self, topics: Topics) -> None:
        self.topics = topics

    @abstractmethod
    def _retain(self, topic: str, payload: bytes, qos: int = 1) -> None:
        """Make `payload` the value of `topic`."""

    def set_camera_status(self, camera: str, status: str) -> None:
        """Tell that a camera is "online", "offline", "degraded" or "disabled"; sent when it changes."""
        if status not in messages.CAMERA_STATUSES:
            raise ValueError(f"camera status {status!r}: use one of {', '.join(messages.CAMERA_STATUSES)}")
        self._retain(self.topics.camera_status(camera), status.encode())

    def set_count(self, camera: str, label: str, number: int) -> None:
        """How many of `label` the camera sees ("all": of everything); sent when it changes."""
        self._retain(self.topics.count(camera, label), str(int(number)).encode())

    def set_motion(self, camera: str, on: bool) -> None:
        """Whether something moves in the picture of a camera."""
        self._retain(self.topics.motion(camera), _on_off(on))

    def set_zone_count(self, camera: str, zone: str, label: str, number: int) -> None:
        """How many of `label` are in a zone."""
        self._retain(self.topics.zone(camera, zone, label), str(int(number)).encode())

    def set_line(self, camera: str, line: str, crossed_in: int, crossed_out: int, since: str) -> None:
        """How often a line was crossed, both ways, since a time (ISO-8601)."""
        payload = messages.line_payload(crossed_in, crossed_out, since)
        self._retain(self.topics.line(camera, line), messages.encode(payload))

    def set_alarm(self, camera: str, alarm: str, on: bool) -> None:
        """Whether an alarm is raised."""
        self._retain(self.topics.alarm(camera, alarm), _on_off(on))

    def set_tamper(self, camera: str, on: bool, attributes: Mapping[str, Any]) -> None:
        """Whether somebody meddles with a camera, and how: covered, frozen, moved, dark."""
        self._retain(self.topics.tamper_attributes(camera), messages.encode(attributes))
        self._retain(self.topics.tamper(camera), _on_off(on))

    def set_snapshot(self, camera: str, label: str, jpeg: bytes) -> None:
        """The best picture of a kind of thing."""
        self._retain(self.topics.snapshot(camera, label), jpeg, qos=0)

    def set_detect(self, camera: str, on: bool) -> None:
        """Whether a camera's frames are looked at."""
        self._retain(self.topics.detect_state(camera), _on_off(on))


def _on_off(on: bool) -> bytes:
    return b"ON" if on else b"OFF"
