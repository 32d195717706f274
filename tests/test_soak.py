"""A pipeline that runs for long holds no more at the end than at the start."""

from __future__ import annotations

from pathlib import Path

from brokers import Mosquitto
from flat import Holding
from soak import run


def test_frames_leave_nothing_behind(tmp_path: Path) -> None:
    """A few of the 100 000 that `tests/soak.py` runs."""
    held: list[Holding] = []
    broker = Mosquitto(tmp_path).start()
    publisher = run(600, 100, broker.port, tmp_path, lambda _, now: held.append(now))
    broker.kill()
    print(*held, sep="\n")  # noqa: T201
    assert len(held) == 6
    assert {now.counts for now in held[2:-1]} == {held[1].counts}  # at the end threads leave
    assert held[-1].rss_mb < held[1].rss_mb + 4
    assert publisher.last_seq > 50
    assert publisher.undelivered == 0
