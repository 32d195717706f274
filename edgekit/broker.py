"""A small MQTT broker in a process of its own, for a machine that has none."""

from __future__ import annotations

from types import TracebackType
from typing import Literal, Self


class EmbeddedBroker:
    """`with EmbeddedBroker() as broker: broker.start(port)`; then connect to broker.host, broker.port."""

    host = "127.0.0.1"
    protocol: Literal["3.1.1"] = "3.1.1"  # pass it to Publisher
    port: int  # known after start()

    def start(self, port: int | None = None) -> None:
        """None: 1883 or the next free one. Raises UnavailableError in one line."""
        raise NotImplementedError

    def stop(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
