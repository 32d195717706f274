"""Benchmarks measure what they say; no time is asserted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from strategies import layer, network

from edgekit import bench, model, tensors
from edgekit.errors import UsageError
from edgekit.tensors import TensorInfo


def test_candidates_take_turns_and_are_compared_by_model(tmp_path: Path) -> None:
    paths = [tmp_path / "one.tflite", tmp_path / "two.tflite"]
    for path, graph in zip(paths, (layer(1, 64, 32), network()), strict=True):
        path.write_bytes(model.write(graph))
    results = bench.benchmark(paths, ["native", "tflite"], [1], seconds=0.02, warmup=0.01)
    assert [(r.model, r.engine) for r in results] == [
        (str(path), engine) for path in paths for engine in ("native", "tflite")
    ]
    for result in results:
        assert 0 < result.p10_ms <= result.median_ms <= result.p90_ms
        assert result.runs >= bench.MIN_ROUNDS
        assert min(result.load_ms, result.first_ms, result.peak_rss_mb) > 0
        assert len(result.row()) == len(bench.COLUMNS)
        assert result.to_dict()["runtime"] == result.runtime
    assert [r.speed_up for r in results if r.engine == "native"] == [1.0, 1.0]


def test_inputs_are_valid_and_the_same_for_the_same_seed() -> None:
    kinds: list[tuple[str, tuple[int, ...], str]] = [
        ("a", (1, 500), "int8"),
        ("b", (2, 3), "float32"),
        ("c", (4,), "bool"),
    ]
    infos = [TensorInfo(name, shape, np.dtype(kind)) for name, shape, kind in kinds]
    first, again, other = (
        tensors.random_inputs(infos),
        tensors.random_inputs(infos),
        tensors.random_inputs(infos, 1),
    )
    assert [(x.shape, x.dtype) for x in first] == [(i.shape, i.dtype) for i in infos]
    assert all(np.array_equal(x, y) for x, y in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert (first[0].min(), first[0].max()) == (-128, 127)


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(UsageError, match="benchmark: give"):
        bench.benchmark([], ["auto"], [1])
