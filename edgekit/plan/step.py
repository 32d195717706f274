"""A step of the native engine: a family of operations in native/ops.h and the values of its fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Fields: TypeAlias = dict[str, int | float | NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Step:
    """What `edgekit._native.Op(family, fields)` takes; what is left out is 0. `note` is for people."""

    family: str
    fields: Fields = field(default_factory=dict)
    note: str = ""

    @property
    def constant_bytes(self) -> int:
        """What its packed weights and tables take."""
        return sum(value.nbytes for value in self.fields.values() if isinstance(value, np.ndarray))
