"""Outboxes in RAM and on disk, and what comes out of them."""

from __future__ import annotations

import json
from pathlib import Path

from edgekit.device.machine import Boot
from edgekit.mqtt.disk import Disk, Pace, Storage
from edgekit.mqtt.messages import Message
from edgekit.mqtt.outbox import Bounds, Outbox


class Time:
    """Seconds since the machine was switched on, as the test wants them."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def boot(time: Time | None = None, name: str = "first") -> Boot:
    return Boot(name, time or Time())


def gap(first: int, last: int) -> Message:
    return Message("gap", f"{first}-{last}".encode())


def in_ram(ram: int = 10, age_s: float = 1e9, time: Time | None = None) -> Outbox:
    return Outbox(None, Bounds(ram, age_s), boot(time), gap)


FREE = Pace(burst=10**9)  # as many commits as one likes


def on_disk(
    path: Path, linux: Boot | None = None, *, pace: Pace = FREE, ram: int = 2000, max_mb: float = 32
) -> Outbox:
    linux = linux or boot()
    return Outbox(Disk(Storage(path, max_mb), pace, linux), Bounds(ram, 3600.0), linux, gap)


def event(number: int) -> Message:
    text = json.dumps({"seq": number, "replayed": False}, separators=(",", ":"))
    return Message("events", text.encode(), seq=number)


def put(outbox: Outbox, count: int) -> None:
    for _ in range(count):
        outbox.put(event(outbox.last_seq + 1))


def taken(outbox: Outbox, count: int = 10**9, *, done: bool = True) -> list[str]:
    """What the outbox hands out next: a number for an event (with `r`: replayed), `first-last` for a gap."""
    texts = list[str]()
    while len(texts) < count and (message := outbox.take()):
        if message.topic == "events":
            payload = json.loads(message.payload)
            texts.append(f"{payload['seq']}{'r' * payload['replayed']}")
        else:
            texts.append(message.payload.decode())
        if done:
            outbox.done(message)
    return texts


def numbers(first: int, last: int, mark: str = "") -> list[str]:
    return [f"{number}{mark}" for number in range(first, last + 1)]


def left_alone(outbox: Outbox) -> None:
    """As after `kill -9`: nothing is said to the disk any more, and what is committed stays."""
    disk = outbox._disk
    assert disk is not None
    if disk._journal is not None:
        disk._journal.close()
        disk._journal = None
