"""Lose a camera again and again, and print what the process holds: it should stay flat.

python tests/reconnects.py --rounds 500

The camera, a process of its own, ends its stream after a few pictures, refuses, fails, or falls silent. The
pause before each attempt is left out, or 500 rounds would take hours.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from flat import Holding, measure

from edgekit.sources import LiveSource

MJPEG = Path(__file__).with_name("mjpeg.py")
TIMEOUT_S = 5.0  # of silence are the end
Tell = Callable[[int, Holding], None]


class Hasty(LiveSource):
    """Tries again at once, `rounds` times; `tell` hears after each `every` of them."""

    def __init__(self, url: str, rounds: int, every: int, tell: Tell) -> None:
        self._rounds, self._every, self._tell = rounds, every, tell
        self._opened = 0
        super().__init__(url, camera="front", timeout_s=TIMEOUT_S, wait=True)

    def _open(self) -> None:
        if self._opened and self._opened % self._every == 0:
            self._tell(self._opened, measure())
        if self._opened == self._rounds:
            self.close()
        self._opened += 1
        super()._open()

    def _pause(self) -> None:
        pass


def reconnect(rounds: int, every: int, tell: Tell) -> None:
    """Open a camera that fails `rounds` times; `tell` what is held after each `every` of them."""
    command = [os.environ.get("EDGEKIT_PYTHON", sys.executable), str(MJPEG)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as camera:
        assert camera.stdin is not None
        assert camera.stdout is not None
        port = int(camera.stdout.readline())
        for _ in Hasty(f"http://127.0.0.1:{port}/mixed", rounds, every, tell).frames():
            pass
        camera.stdin.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=500)
    rounds = parser.parse_args().rounds
    reconnect(rounds, max(1, rounds // 10), lambda n, held: print(f"{n:6} {held}", flush=True))  # noqa: T201


if __name__ == "__main__":
    main()
