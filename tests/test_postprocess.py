"""TFLite_Detection_PostProcess gives the detections that LiteRT's custom operator gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from examples import examples
from flatbuffers import flexbuffers
from hypothesis import given
from hypothesis import strategies as st
from single import FLOAT, INT8, UINT8, compare, refuses, single, tensor, unsigned

from edgekit.model.graph import Graph
from edgekit.plan.postprocess import POSTPROCESS

SEEDS = st.integers(0, 2**31)
OPTIONS = {
    "max_detections": 10, "max_classes_per_detection": 1, "detections_per_class": 20,
    "use_regular_nms": False,
    "num_classes": 3, "nms_score_threshold": 0.3, "nms_iou_threshold": 0.5,
    "y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0,
}  # fmt: skip


def detector(count: int, dtype: np.dtype[Any] = FLOAT, *, background: bool = True, **changes: Any) -> Graph:
    options = OPTIONS | changes
    centres = np.random.default_rng(count).random((count, 2))
    anchors = np.concatenate([centres, np.full((count, 2), 0.3)], 1).astype(np.float32)
    columns = options["num_classes"] + background
    rows = options["max_detections"] * options["max_classes_per_detection"]
    inputs = [
        tensor((1, count, 4), dtype, 0.05, 1),
        tensor((1, count, columns), dtype, 1 / 256, -128 if dtype == INT8 else 0),
        tensor((count, 4), FLOAT, data=anchors),
    ]
    results = [tensor(shape, FLOAT) for shape in ((1, rows, 4), (1, rows), (1, rows), (1,))]
    return single(POSTPROCESS, inputs, results, bytes=bytes(flexbuffers.Dumps(options)))


def inputs_of(graph: Graph, seed: int) -> list[Any]:
    """Box codes and scores; with ties among the scores."""
    rng = np.random.default_rng(seed)
    codes = rng.normal(0, 2, graph.tensors[0].shape)
    scores = np.round(rng.random(graph.tensors[1].shape) * 40) / 40
    if graph.tensors[0].dtype == FLOAT:
        return [codes.astype(np.float32), scores.astype(np.float32)]
    low = -128 if graph.tensors[0].dtype == INT8 else 0
    codes = np.clip(codes * 20 + 1, low, low + 255).astype(graph.tensors[0].dtype)
    return [codes, (scores * 255 + low).astype(codes.dtype)]


CHANGES = st.fixed_dictionaries({
    "max_detections": st.integers(1, 30), "detections_per_class": st.integers(1, 40),
    "use_regular_nms": st.booleans(), "num_classes": st.integers(1, 6),
    "nms_score_threshold": st.sampled_from([0.0, 0.3, 0.8]),
    "nms_iou_threshold": st.sampled_from([0.2, 0.5, 1.0]),
})  # fmt: skip


@examples(40)
@given(st.integers(1, 60), SEEDS, st.booleans(), CHANGES)
def test_detections(count: int, seed: int, background: bool, changes: dict[str, Any]) -> None:
    graph = detector(count, background=background, **changes)
    compare(graph, inputs=inputs_of(graph, seed), used=detected)


@examples(40)
@given(st.integers(1, 60), SEEDS, st.sampled_from([INT8, UINT8]))
def test_detections_from_bytes(count: int, seed: int, dtype: np.dtype[Any]) -> None:
    """LiteRT takes uint8 only, anchors included."""
    graph = detector(count, dtype)
    anchors = graph.tensors[2]
    stored = np.round(np.asarray(anchors.data) * 255).astype(np.uint8)
    few = tensor(stored.shape, UINT8, 1 / 255, 0, stored)
    graph = replace(graph, tensors=(*graph.tensors[:2], few, *graph.tensors[3:]))
    twin = unsigned(graph) if dtype == INT8 else None
    compare(graph, inputs=inputs_of(graph, seed), twin=twin, used=detected)


def detected(outputs: list[Any]) -> list[Any]:
    """What LiteRT defines of the outputs: what lies behind the last detection it may leave as it was."""
    count = int(outputs[3][0])
    return [outputs[0][:, :count], outputs[1][:, :count], outputs[2][:, :count], outputs[3]]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"max_classes_per_detection": 2}, "2 classes of a box"),
        ({"nms_iou_threshold": 0.0}, "a threshold of 0.0"),
        ({"y_scale": 0.0}, "a scale of 0"),
        ({"max_detections": -1}, "damaged options: max_detections is -1"),
    ],
)
def test_what_it_does_not_do_is_refused(changes: dict[str, Any], reason: str) -> None:
    graph = detector(5)
    damaged = replace(graph.ops[0], options={"bytes": bytes(flexbuffers.Dumps(OPTIONS | changes))})
    assert refuses(replace(graph, ops=(damaged,))) == reason
