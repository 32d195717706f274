"""Where a pipeline's results go: `Sink`, and one that only remembers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from edgekit.types import Event


class Sink(Protocol):
    """Every method returns at once and may be called from any thread; a state is told when it changes."""

    def publish_event(self, event: Event, model: Mapping[str, Any]) -> None: ...
    def set_camera_status(self, camera: str, status: str) -> None: ...
    def set_count(self, camera: str, label: str, number: int) -> None: ...
    def set_motion(self, camera: str, on: bool) -> None: ...
    def set_zone_count(self, camera: str, zone: str, label: str, number: int) -> None: ...
    def set_line(self, camera: str, line: str, crossed_in: int, crossed_out: int, since: str) -> None: ...
    def set_alarm(self, camera: str, alarm: str, on: bool) -> None: ...
    def publish_alarm(self, camera: str, alarm: str, event_type: str, details: Mapping[str, Any]) -> None: ...
    def set_tamper(self, camera: str, on: bool, attributes: Mapping[str, Any]) -> None: ...
    def set_snapshot(self, camera: str, label: str, jpeg: bytes) -> None: ...
    def set_detect(self, camera: str, on: bool) -> None: ...
    def publish_health(self, health: Mapping[str, Any]) -> None: ...


class ListSink:
    """A Sink that only remembers: for tests of pipelines, and for a run without MQTT."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.models: list[Mapping[str, Any]] = []  # one per event
        self.statuses: list[tuple[str, str]] = []  # (camera, status)
        self.counts: list[tuple[str, str, int]] = []  # (camera, label, number), every call
        self.healths: list[Mapping[str, Any]] = []
        self.states: dict[tuple[str, ...], Any] = {}  # ("motion", camera), ("zone", camera, zone, label)...
        self.alarms: list[tuple[str, str, str, Mapping[str, Any]]] = []  # camera, alarm, type, details

    def publish_event(self, event: Event, model: Mapping[str, Any]) -> None:
        self.events.append(event)
        self.models.append(model)

    def set_camera_status(self, camera: str, status: str) -> None:
        self.statuses.append((camera, status))

    def set_count(self, camera: str, label: str, number: int) -> None:
        self.counts.append((camera, label, number))

    def set_motion(self, camera: str, on: bool) -> None:
        self.states["motion", camera] = on

    def set_zone_count(self, camera: str, zone: str, label: str, number: int) -> None:
        self.states["zone", camera, zone, label] = number

    def set_line(self, camera: str, line: str, crossed_in: int, crossed_out: int, since: str) -> None:
        self.states["line", camera, line] = (crossed_in, crossed_out, since)

    def set_alarm(self, camera: str, alarm: str, on: bool) -> None:
        self.states["alarm", camera, alarm] = on

    def publish_alarm(self, camera: str, alarm: str, event_type: str, details: Mapping[str, Any]) -> None:
        self.alarms.append((camera, alarm, event_type, details))

    def set_tamper(self, camera: str, on: bool, attributes: Mapping[str, Any]) -> None:
        self.states["tamper", camera] = (on, dict(attributes))

    def set_snapshot(self, camera: str, label: str, jpeg: bytes) -> None:
        self.states["snapshot", camera, label] = jpeg

    def set_detect(self, camera: str, on: bool) -> None:
        self.states["detect", camera] = on

    def publish_health(self, health: Mapping[str, Any]) -> None:
        self.healths.append(health)
