"""A pipeline that runs for long holds no more at the end than at the start."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from brokers import mosquitto_program

SOAK = Path(__file__).with_name("soak.py")
HELD = re.compile(r"\d+ threads (\d+), fds (\d+), children (\d+), RSS ([\d.]+) MiB")
END = re.compile(r"(\d+) events, \d+ messages, (\d+) undelivered")
SLACK = 4  # a reconnect or a new file of the outbox may be open; a leak by frame would be hundreds


def test_frames_leave_nothing_behind() -> None:
    """A few of the 100 000 that `tests/soak.py` runs, in a process of their own."""
    mosquitto_program()
    done = subprocess.run(
        [sys.executable, str(SOAK), "--frames", "600"], capture_output=True, text=True, check=True
    )
    print(done.stdout)  # noqa: T201
    held = [[float(count) for count in row] for row in HELD.findall(done.stdout)]
    assert len(held) == 10
    assert all(late <= early + SLACK for late, early in zip(held[-1], held[1], strict=True))
    events, undelivered = map(int, END.findall(done.stdout)[0])
    assert events > 50
    assert undelivered == 0
