"""What work costs in cycles of a core at each ISA level, as far as that is known without timing anything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any


@cache
def known() -> dict[str, Any]:
    """Of each ISA level: the cycles of each amount of work by its kind, and what threads cost."""
    found: dict[str, Any] = json.loads((resources.files("edgekit.device") / "cycles.json").read_text("utf-8"))
    return found


def cycles_of(kind: str, amounts: Sequence[float], isa: str) -> float:
    """Of a step with one thread; for amounts see `edgekit.device.work`."""
    level = known()[isa]
    costs = level["cycles"].get(kind)
    if costs is None:
        return float(level["fallback_cycles"] * max(1.0, sum(amounts)))
    return float(sum(c * a for c, a in zip(costs, (*amounts, 1.0), strict=True)))


def are_worth_sharing(cycles: float, isa: str) -> bool:
    """Whether two threads that share such a step gain more than it costs to share it."""
    return cycles > 2 * float(known()[isa]["sync_cycles"])
