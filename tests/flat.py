"""What this process holds: what must stay flat however long it runs."""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Holding:
    """Threads, file descriptors and child processes, and MiB of resident memory."""

    threads: int
    fds: int
    children: int
    rss_mb: float

    def __str__(self) -> str:
        return f"threads {self.threads}, fds {self.fds}, children {self.children}, RSS {self.rss_mb:.1f} MiB"

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.threads, self.fds, self.children


def measure() -> Holding:
    """How it stands now, after the garbage is out."""
    gc.collect()
    proc = Path("/proc/self")
    pages = int((proc / "statm").read_text(encoding="ascii").split()[1])
    tasks = list((proc / "task").iterdir())
    children = sum(len((task / "children").read_text(encoding="ascii").split()) for task in tasks)
    fds = len(list((proc / "fd").iterdir())) - 1  # the one that lists them
    return Holding(len(tasks), fds, children, pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
