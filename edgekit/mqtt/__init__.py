"""Events, counts and states to an MQTT broker that may be away, restart, forget or refuse."""

from __future__ import annotations

from edgekit.mqtt.publisher import Clock, Limits, ListSink, Publisher, Sink, machine_hash

__all__ = ["Clock", "Limits", "ListSink", "Publisher", "Sink", "machine_hash"]
