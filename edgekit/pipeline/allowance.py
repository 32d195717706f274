"""What a running model may take, and whether it keeps to that: it is said when that changes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from edgekit.device.machine import resident_mb

log = logging.getLogger("edgekit.budget")
AGAIN = 0.9  # of the budget: what is above this does not yet count as kept again
LEAST_FRAMES = 8  # of which the median is taken
SETTLED_S = 60.0


class Allowance:
    """The milliseconds of an inference and the memory of the models; `None` is no limit.

    `held_mb` says what the models hold. What this process grows by after its first minute, when everything in
    it has its place, counts as theirs: `model_mb` is both, as of the last check.
    """

    def __init__(
        self,
        latency_ms: float | None = None,
        memory_mb: float | None = None,
        held_mb: Callable[[], float] = lambda: 0.0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.latency_ms, self.memory_mb, self.model_mb = latency_ms, memory_mb, 0.0
        self._latency = _Limit("an inference takes %.1f ms", "latency_ms", latency_ms)
        self._memory = _Limit("the models hold %.1f MB", "memory_mb", memory_mb)
        self._held_mb, self._now_s = held_mb, now_s
        self._settled_at_s = now_s() + SETTLED_S
        self._settled_mb: float | None = None

    @property
    def is_broken(self) -> bool:
        """As of the last check."""
        return self._latency.is_broken or self._memory.is_broken

    def check(self, infer_ms: Sequence[float]) -> bool:
        """Whether the budget is broken, from the latest inferences, of which a few slow ones do not break it,
        and from what is held now.
        """
        if len(infer_ms) >= LEAST_FRAMES:
            self._latency.check(sorted(infer_ms)[len(infer_ms) // 2])
        self.model_mb = self._held_mb() + self._leaked_mb()
        self._memory.check(self.model_mb)
        return self.is_broken

    def _leaked_mb(self) -> float:
        if self._now_s() < self._settled_at_s:
            return 0.0
        now_mb = resident_mb()
        if self._settled_mb is None:
            self._settled_mb = now_mb
        return max(0.0, now_mb - self._settled_mb)


class _Limit:
    """One figure that may not pass a limit."""

    def __init__(self, what: str, key: str, limit: float | None) -> None:
        self._what, self._key, self._limit = what, key, limit
        self.is_broken = False

    def check(self, now: float) -> None:
        if self._limit is None:
            return
        broken = now > self._limit * (AGAIN if self.is_broken else 1)
        if broken != self.is_broken:
            say = log.warning if broken else log.info
            end = ": choose a smaller model" if broken else " and is kept again"
            say("%s, model.budget.%s is %g%s", self._what % now, self._key, self._limit, end)
        self.is_broken = broken
