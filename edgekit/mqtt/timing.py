"""Clocks, and how much and how often a publisher may: all that a test wants to set."""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.device import machine
from edgekit.device.machine import Boot
from edgekit.mqtt.disk import Pace


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
    """How many events wait in RAM, the shortest and the longest wait between two attempts to connect, how
    long to hold back when Home Assistant starts, and what an SD card can be asked for.
    """

    events: int = 2000
    retry_s: tuple[float, float] = (1.0, 60.0)
    jitter_s: tuple[float, float] = (0.5, 5.0)
    pace: Pace = field(default_factory=Pace)


CLOCK, LIMITS = Clock(), Limits()
