"""What goes into an engine and what comes out: names, shapes, types, scales, and the check of an input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Graph


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of an engine: `real = scale * (stored - zero_point)`; 1 and 0 if not quantised."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float = 1.0
    zero_point: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", np.dtype(self.dtype))


def describe(graph: Graph, indices: Sequence[int]) -> tuple[TensorInfo, ...]:
    """What a caller must know of these tensors of the graph."""
    infos = []
    for tensor in (graph.tensors[index] for index in indices):
        quant = (1.0, 0)
        if tensor.scale is not None and tensor.zero_point is not None:
            quant = (float(tensor.scale[0]), int(tensor.zero_point[0]))
        infos.append(TensorInfo(tensor.name, tensor.shape, tensor.dtype, *quant))
    return tuple(infos)


def check_inputs(infos: Sequence[TensorInfo], x: NDArray[Any] | Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """The inputs as a list of contiguous arrays; one array may come bare.

    Raises ValueError when number, shape or type is not what `infos` say, or a float is not finite.
    """
    if not isinstance(x, np.ndarray | Sequence):
        raise ValueError(f"the model takes arrays, not {type(x).__name__}")  # noqa: TRY004  as all of them
    given = [x] if isinstance(x, np.ndarray) else list(x)
    if len(given) != len(infos):
        raise ValueError(f"the model takes {len(infos)} inputs, not {len(given)}")
    return [_check_input(info, array) for info, array in zip(infos, given, strict=True)]


def _check_input(info: TensorInfo, array: NDArray[Any]) -> NDArray[Any]:
    if not isinstance(array, np.ndarray) or array.shape != info.shape or array.dtype != info.dtype:
        got = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"input {info.name!r} takes {info.dtype} {list(info.shape)}, not {got}")
    if info.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"input {info.name!r} holds a number that is not finite")
    return np.asarray(array, order="C")  # and not `ascontiguousarray`, which gives a single number an axis


def random_inputs(infos: Sequence[TensorInfo], seed: int = 0) -> list[NDArray[Any]]:
    """Valid inputs: whole numbers over the range of their type, floats from 0 to 1."""
    rng = np.random.default_rng(seed)
    return [_random_input(info, rng) for info in infos]


def _random_input(info: TensorInfo, rng: np.random.Generator) -> NDArray[Any]:
    if info.dtype.kind in "iu":
        limits = np.iinfo(info.dtype)
        return rng.integers(limits.min, limits.max, info.shape, info.dtype, endpoint=True)
    return np.asarray(rng.random(info.shape)).astype(info.dtype)
