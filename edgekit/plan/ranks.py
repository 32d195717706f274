"""Kernels chosen by measuring: the plan of a model is timed with the first few choices of each layer.

What came out is kept in a file of the user's cache, by model, ISA level and threads, and used from then on.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import EdgekitError
from edgekit.files import write_text
from edgekit.model.graph import Graph
from edgekit.model.tensors import TensorInfo, random_inputs
from edgekit.plan.building import NO_RANKS, Plan

TRIED = 4  # choices a layer
ROUNDS = 15
WORTH_IT = 1.03  # what is less may be noise
KIND = "edgekit.ranks/1"
MAX_BYTES = 2**20  # of a file of the cache


class Timed(Protocol):
    """An engine that tells the time of each step of its plan."""

    plan: Plan
    inputs: tuple[TensorInfo, ...]

    def profile(self, inputs: Sequence[NDArray[Any]]) -> list[float]: ...


def find_ranks(make: Callable[[Mapping[int, int]], Timed], operators: int) -> dict[int, int]:
    """The ranks with which each of so many operators is fastest here; `make` makes the engine for some.

    An operator without steps of its own takes no time with any.
    """
    tried = [make(dict.fromkeys(range(operators), rank)) for rank in range(TRIED)]
    inputs = random_inputs(tried[0].inputs)
    times = np.full((TRIED, operators + 1), np.inf)
    for _ in range(ROUNDS):
        for rank, engine in enumerate(tried):
            times[rank] = np.minimum(times[rank], _by_operator(engine, inputs, operators + 1))
    best = times.argmin(axis=0)
    gains = np.flatnonzero(times[0] > WORTH_IT * times.min(axis=0))
    return {int(number): int(best[number]) for number in gains}


def _by_operator(engine: Timed, inputs: Sequence[NDArray[Any]], count: int) -> NDArray[np.float64]:
    total = np.zeros(count)
    np.add.at(total, [operator % count for operator in engine.plan.operators], engine.profile(inputs))
    return total


def load_ranks(graph: Graph, level: str, threads: int) -> Mapping[int, int]:
    """What was found earlier for this graph, or nothing."""
    try:
        if not (folder := cache_folder()).is_dir():
            return NO_RANKS
        found = json.loads(_content(folder / _name(graph, level, threads)))
        ranks = {int(number): int(rank) for number, rank in found["ranks"].items()}
        return ranks if found["kind"] == KIND else NO_RANKS
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return NO_RANKS  # it is a cache: what cannot be read is found anew


def _content(path: Path) -> bytes:
    """Of a file. A pipe, which would be waited for, a device, or what is much too long is an OSError."""
    info = path.stat()
    if not stat.S_ISREG(info.st_mode) or info.st_size > MAX_BYTES:
        raise OSError(f"{path}: no file of the cache")
    with open(path, "rb", opener=_open_at_once) as file:
        return file.read(MAX_BYTES)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # whatever it has become by now


def save_ranks(graph: Graph, level: str, threads: int, ranks: Mapping[int, int]) -> Path | None:
    """Keep what was found; None where the cache cannot be written."""
    content = json.dumps({"kind": KIND, "level": level, "threads": threads, "ranks": ranks})
    try:
        folder = cache_folder()
        path = folder / _name(graph, level, threads)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, content)
    except (OSError, RuntimeError, EdgekitError):
        return None
    return path


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/edgekit/ranks, by default in ~/.cache. RuntimeError for a user without a home."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "edgekit" / "ranks"


def _name(graph: Graph, level: str, threads: int) -> str:
    digest = hashlib.sha256(f"{level} {threads}".encode())
    for tensor in graph.tensors:
        digest.update(repr((tensor.shape, str(tensor.dtype))).encode())
        if tensor.data is not None:
            digest.update(np.ascontiguousarray(tensor.data).data)
    for op in graph.ops:
        digest.update(repr((op.kind, op.inputs, op.outputs, sorted(op.options.items()))).encode())
    return digest.hexdigest()[:32] + ".json"
