"""Events, counts and states to an MQTT broker. The body follows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from edgekit.types import Event

State = Literal["connecting", "connected", "refused", "unreachable", "stopped"]


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


class Publisher:
    """The Sink that speaks MQTT. `protocol` is "3.1.1" where the broker is known to speak nothing newer."""

    def __init__(
        self,
        settings: Any,
        device_id: str,
        info: Mapping[str, Any],
        *,
        boot_id: str | None = None,
        protocol: Literal["auto", "5", "3.1.1"] = "auto",
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        raise NotImplementedError

    @property
    def state(self) -> State:
        raise NotImplementedError

    @property
    def reason(self) -> str:
        raise NotImplementedError

    @property
    def sent(self) -> int:
        raise NotImplementedError

    @property
    def undelivered(self) -> int:
        raise NotImplementedError

    def start(self) -> None: ...

    def wait_connected(self, timeout_s: float) -> bool:
        raise NotImplementedError

    def publish_event(self, event: Event, model: Mapping[str, Any]) -> None: ...

    def set_camera_status(self, camera: str, status: str) -> None: ...

    def set_count(self, camera: str, label: str, number: int) -> None: ...

    def publish_health(self, health: Mapping[str, Any]) -> None: ...

    def stop(self, timeout_s: float = 1.5) -> int:
        """Deliver what waits, say `stopped`, disconnect; at most `timeout_s`. Returns `undelivered`."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
