"""What systemd is told of a service (`Type=notify`): ready, alive, how it does, about to end.

The protocol is one datagram to the socket in $NOTIFY_SOCKET (sd_notify(3), sd_watchdog_enabled(3)).
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from edgekit.pipeline.lane import CameraState
from edgekit.pipeline.observe import Observer
from edgekit.pipeline.progress import Progress

log = logging.getLogger("edgekit.service")
STATUS_EVERY_S = 10.0
START_MORE_S = 60.0  # how long a start that waits for camera and broker is given, again and again


class Notifier(Observer):
    """Speaks from within the pipeline's loop: when that hangs, nothing is said, and systemd restarts it.

    READY=1 goes out after the first frame or the first connection to the broker (`connected`), WATCHDOG=1
    only while `progress` sees some. Without $NOTIFY_SOCKET it is silent.
    """

    def __init__(
        self,
        progress: Progress,
        connected: Callable[[], bool],
        environment: Mapping[str, str] = os.environ,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._ping_every_s = _ping_interval_s(environment)
        self._progress, self._connected, self._now_s = progress, connected, now_s
        self._ready = False
        self._next_ping_s = self._next_status_s = 0.0
        self._status = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._send("STOPPING=1", "STATUS=ending")

    def tick(self, cameras: Sequence[CameraState]) -> None:
        """Once round the loop."""
        if not self._address:
            return
        now_s, stuck = self._now_s(), self._progress.stuck()
        if not self._ready and (self._progress.seen or self._connected()):
            self._ready = True
            self._send("READY=1")
        if stuck is None and now_s >= self._next_ping_s:
            self._next_ping_s = now_s + self._ping_every_s
            more = f"EXTEND_TIMEOUT_USEC={START_MORE_S * 1e6:.0f}"
            self._send("WATCHDOG=1" if self._ready else more)
        self._tell_status(stuck or status_text(cameras, connected=self._connected()), now_s)

    def _tell_status(self, status: str, now_s: float) -> None:
        if status != self._status and now_s >= self._next_status_s:
            self._status, self._next_status_s = status, now_s + STATUS_EVERY_S
            self._send(f"STATUS={status}")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        name = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
                door.setblocking(False)  # a full queue at systemd's must not hold up the pipeline
                door.sendto("\n".join(lines).encode(), name)
        except OSError as error:
            log.debug("systemd was not told %s: %s", lines[0], error)


def status_text(cameras: Sequence[CameraState], *, connected: bool) -> str:
    """One line for `systemctl status`."""
    shown = ", ".join(
        f"{c.name} {c.fps:.1f} fps" if c.status == "online" else f"{c.name} {c.status}" for c in cameras
    )
    return f"{shown}; broker {'connected' if connected else 'not connected'}"


def _ping_interval_s(environment: Mapping[str, str]) -> float:
    """Half of what the watchdog waits, where it means this process; else the pace of a start's pleas."""
    for_us = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    timeout_us = environment.get("WATCHDOG_USEC", "")
    return int(timeout_us) / 2e6 if for_us and timeout_us.isdecimal() else START_MORE_S / 2
