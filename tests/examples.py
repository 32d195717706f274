"""With how many examples a property is tried: as many as it asks for, fewer where they take long."""

from __future__ import annotations

import os

from hypothesis import settings

TIMES = {"EDGEKIT_THOROUGH": 10, "EDGEKIT_PYTHON": 0.2}  # the latter: an emulated CPU takes its time
times = next((value for name, value in TIMES.items() if name in os.environ), 1)


def examples(count: int) -> settings:
    """So many examples, for every machine in proportion, each without a deadline: no test asserts on time."""
    return settings(max_examples=max(1, round(count * times)), deadline=None)
