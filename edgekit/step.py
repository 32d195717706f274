"""One step of a plan: an operation of native/ops.h with the values of its fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Value = int | float | NDArray[Any]


@dataclass(frozen=True, eq=False)
class Step:
    """`family` and the names in `fields` are those of native/ops.h; `note` says what was chosen and why."""

    family: str
    fields: dict[str, Value]
    note: str = ""
