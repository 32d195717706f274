"""What a running model may take, and whether it keeps to that: it is said when that changes."""

from __future__ import annotations

import logging
from collections.abc import Sequence

log = logging.getLogger("edgekit.budget")
AGAIN = 0.9  # of the budget: what is slower than this does not yet count as kept again
LEAST_FRAMES = 8  # of which the median is taken


class Allowance:
    """The milliseconds of an inference and the memory for the model; `None` is no limit."""

    def __init__(self, latency_ms: float | None = None, memory_mb: float | None = None) -> None:
        self.latency_ms, self.memory_mb = latency_ms, memory_mb
        self.is_broken = False

    def check(self, infer_ms: Sequence[float]) -> bool:
        """Whether the budget is broken, from the latest inferences; a few slow ones do not break it."""
        if self.latency_ms is None or len(infer_ms) < LEAST_FRAMES:
            return self.is_broken
        median = sorted(infer_ms)[len(infer_ms) // 2]
        limit = self.latency_ms * (AGAIN if self.is_broken else 1)
        broken = median > limit
        if broken and not self.is_broken:
            log.warning(
                "an inference takes %.1f ms, model.budget.latency_ms is %g: choose a smaller model",
                median, self.latency_ms,
            )  # fmt: skip
        elif self.is_broken and not broken:
            log.info("an inference takes %.1f ms: the budget of %g ms is kept again", median, self.latency_ms)
        self.is_broken = broken
        return broken
