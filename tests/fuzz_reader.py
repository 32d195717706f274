"""Feeds damaged `.tflite` files to the reader, which must give a graph or a ModelError for each, and what it
gives to the planner, which must give a plan or a ModelError.

    python tests/fuzz_reader.py --cases 1000000 --files FOLDER --log FILE

The seeds are self-made networks and real ones of the folder. Counts go to the log every ten thousand cases.
The file that took longest is kept beside the log.
"""

from __future__ import annotations

import argparse
import struct
import sys
import time
import tracemalloc
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from packed import encode, rewritten
from strategies import convolution, layer, network

from edgekit import model, plan
from edgekit.errors import ModelError
from edgekit.model.graph import Graph, Op, Tensor

_WORDS = (
    0,
    1,
    2,
    3,
    4,
    5,
    8,
    16,
    0x7F,
    0xFF,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFF0,
    0xFFFFFFFF,
)
_REPORT_EVERY = 10_000
_SLACK = 2**17  # bytes that Python's objects for a small file take
_LARGEST_SEED = 2**18  # of real files; larger ones are little more than weights


def seeds(folder: Path | None) -> list[bytes]:
    """Files to damage."""
    own = [model.write(graph) for graph in (layer(1, 5, 3), network(), convolution())]
    paths = sorted(folder.glob("*.tflite")) if folder else []
    return own + packed_files() + [p.read_bytes() for p in paths if p.stat().st_size <= _LARGEST_SEED]


def packed_files() -> list[bytes]:
    """Sparse constants in several encodings, and one of 4 bits."""
    dense = np.eye(8, 12, 3, dtype=np.int8)
    byte = np.dtype(np.int8)
    tensors = (Tensor("x", (8, 12), byte), Tensor("c", (8, 12), byte, data=dense), Tensor("y", (8, 12), byte))
    graph = Graph(tensors, (Op("ADD", (0, 1), (2,)),), (0,), (2,))
    files = [rewritten(graph, 1, bytes(48), None)]
    for width, blocks, listed in ((1, {}, {0, 1}), (2, {1: 4}, {1}), (3, {0: 2, 1: 3}, {0, 1})):
        sparse = encode(dense, range(2 + len(blocks)), blocks, listed)
        files.append(rewritten(graph, 1, sparse.values.tobytes(), sparse, width))
    return files


def damage(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """The file with some bits, bytes or words changed, parts moved in from elsewhere, or the end cut off."""
    out = bytearray(data)
    head = max(16, min(len(out) - 8, 4096 if rng.random() < 0.5 else len(out)))
    for _ in range(int(rng.integers(1, 6))):
        place = int(rng.integers(0, max(1, min(head, len(out) - 8))))
        _change(out, place, rng, others)
    return bytes(out)


def _change(out: bytearray, place: int, rng: np.random.Generator, others: list[bytes]) -> None:
    match int(rng.integers(0, 7)):
        case 0:
            out[place] ^= 1 << int(rng.integers(0, 8))
        case 1:
            out[place] = int(rng.integers(0, 256))
        case 2 | 3:
            struct.pack_into("<I", out, place & ~3, _word(out, place, rng))
        case 4:
            struct.pack_into(
                "<H",
                out,
                place & ~1,
                (0, 1, 4, 8, 0xFFFF, int(rng.integers(0, 2**16)))[int(rng.integers(0, 6))],
            )
        case 5:
            other = others[int(rng.integers(0, len(others)))]
            start, size = int(rng.integers(0, len(other))), int(rng.integers(1, 64))
            out[place : place + size] = other[start : start + size]
        case _:
            if rng.random() < 0.2:
                del out[max(16, place) :]
    out.extend(bytes(max(0, 16 - len(out))))


def _word(out: bytearray, place: int, rng: np.random.Generator) -> int:
    near = (
        len(out) - place,
        (place - len(out)) % 2**32,
        int(rng.integers(0, 64)),
        int(rng.integers(0, 2**32)),
    )
    words = (*_WORDS, *near)
    return words[int(rng.integers(0, len(words)))]


@dataclass
class Outcome:
    """What came of all cases so far."""

    counts: Counter[str]
    slowest_s: float = 0.0  # of this process, however busy the machine is
    slowest: bytes = field(default=b"", repr=False)
    largest_ratio: float = (
        0.0  # bytes allocated to bytes of file and tensors, of the cases that were measured
    )


def try_one(data: bytes, outcome: Outcome, measure: bool) -> None:
    """Read one file; all but a graph and a ModelError of one short line is a failure and is raised."""
    if measure:
        tracemalloc.start()
    start_s = time.process_time()
    found = read(data)
    taken_s = time.process_time() - start_s
    if taken_s > outcome.slowest_s:
        outcome.slowest_s, outcome.slowest = taken_s, data
    if measure:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        stated = (
            0 if isinstance(found, str) else sum(t.size_bytes for t in found.tensors if t.data is not None)
        )
        outcome.largest_ratio = max(outcome.largest_ratio, (peak - _SLACK) / (len(data) + stated))
    if isinstance(found, str):
        assert found.startswith("fuzzed: ")
        assert len(found.splitlines()) == 1
        assert len(found) < 1000
    elif measure:
        outcome.counts[try_plan(found)] += 1
    outcome.counts["refused" if isinstance(found, str) else "graph"] += 1


def try_plan(graph: Graph) -> str:
    """Plan a graph for the lowest level; what came of it."""
    try:
        ready = plan.prepare(graph)
        if plan.refusal(ready):
            return "not native"
        plan.build(ready, "scalar")
    except ModelError:
        return "no plan"
    return "plan"


def read(data: bytes) -> Graph | str:
    """The graph, or why there is none."""
    try:
        return model.read_bytes(data, "fuzzed")
    except ModelError as error:
        return str(error)


def fuzz(count: int, seed: int, folder: Path | None, log: Path | None = None, every: int = 50) -> Outcome:
    """Try `count` cases; one in `every` is measured, and planned too if it is a graph."""
    files, rng, outcome = seeds(folder), np.random.default_rng(seed), Outcome(Counter())
    turns = np.cumsum([len(file) ** -0.5 for file in files])  # a large file takes as long as many small ones
    for case in range(1, count + 1):
        data = damage(files[int(np.searchsorted(turns, rng.random() * turns[-1]))], rng, files)
        try_one(data, outcome, case % every == 0)
        if log and (case % _REPORT_EVERY == 0 or case == count):
            with log.open("a", encoding="utf-8") as file:
                file.write(f"{case} cases: {outcome}\n")
            log.with_suffix(".slowest").write_bytes(outcome.slowest)
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", type=Path)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--every", type=int, default=50, help="one in so many is measured and planned")
    options = parser.parse_args()
    sys.stdout.write(f"{fuzz(options.cases, options.seed, options.files, options.log, options.every)}\n")


if __name__ == "__main__":
    main()
