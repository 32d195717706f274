"""Output tensors -> detections, each layout against boxes that were put there by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.decode import (
    Candidates,
    OutputSpec,
    Quant,
    class_scores,
    find_candidates,
    guess_decoder,
    suppress,
)
from edgekit.errors import ModelError
from edgekit.track import overlap

LABELS = ("person", "dog", "cat")


def output_spec(decoder: str, quants: int = 1, *, normalised: bool = False) -> OutputSpec:
    return OutputSpec(
        decoder,
        LABELS,
        320,
        240,
        (Quant(),) * quants,
        strides=(8, 16),
        box_divisor=2.0,
        normalised=normalised,
    )


def test_anchor_free_reads_centre_size_and_class() -> None:
    maps = [np.full((1, 30, 40, 8), -8, np.float32), np.full((1, 15, 20, 8), -8, np.float32)]
    maps[1][0, 5, 7] = [2 * 0.5, 2 * 0.25, 2 * np.log(4), 2 * np.log(2), -8, 3, 1, -8]
    found = find_candidates(maps, output_spec("anchor_free", 2), 0.5)
    assert found.classes.tolist() == [1]
    assert found.scores[0] == pytest.approx(1 / (1 + np.exp(-3)))
    cx, cy = (7 + 0.5) * 16, (5 + 0.25) * 16
    assert found.boxes[0].tolist() == pytest.approx([cx - 32, cy - 16, cx + 32, cy + 16])


def test_anchor_free_reads_stored_integers_as_it_reads_reals() -> None:
    rng = np.random.default_rng(1)
    stored = [
        rng.integers(-128, 128, (1, 30, 40, 8), np.int8),
        rng.integers(-128, 128, (1, 15, 20, 8), np.int8),
    ]
    quants = (Quant(1 / 16, 0), Quant(1 / 16, 3))
    real = [
        (s.astype(np.float32) - q.zero_point) * np.float32(q.scale)
        for s, q in zip(stored, quants, strict=True)
    ]
    spec = output_spec("anchor_free", 2)
    whole = OutputSpec(spec.decoder, LABELS, 320, 240, quants, spec.strides, spec.box_divisor)
    a, b = find_candidates(stored, whole, 0.3), find_candidates(real, spec, 0.3)
    assert len(a.scores) > 100
    assert np.array_equal(a.classes, b.classes)
    assert np.allclose(a.boxes, b.boxes)
    assert np.allclose(a.scores, b.scores)


def test_spare_channels_are_no_classes() -> None:
    maps = [np.full((1, 30, 40, 8), -8, np.float32), np.full((1, 15, 20, 8), -8, np.float32)]
    maps[0][..., 7] = 8
    assert not len(find_candidates(maps, output_spec("anchor_free", 2), 0.3).scores)


@pytest.mark.parametrize("normalised", [False, True])
def test_yolo_columns(normalised: bool) -> None:
    out = np.zeros((1, 7, 5), np.float32)
    size = np.array([320, 240, 320, 240]) if normalised else np.ones(4)
    out[0, :4, 3] = np.array([100, 50, 20, 10]) / size
    out[0, 6, 3] = 0.9
    found = find_candidates([out], output_spec("yolo_columns", normalised=normalised), 0.5)
    assert found.boxes[0].tolist() == pytest.approx([90, 45, 110, 55], abs=1e-3)
    assert (found.classes.tolist(), found.scores.tolist()) == ([2], [pytest.approx(0.9)])


def test_yolo_rows_multiply_class_and_objectness() -> None:
    out = np.zeros((1, 5, 8), np.float32)
    out[0, 2] = [100, 50, 20, 10, 0.5, 0.1, 0.8, 0.2]
    found = find_candidates([out], output_spec("yolo_rows"), 0.3)
    assert (found.classes.tolist(), found.scores.tolist()) == ([1], [pytest.approx(0.4)])


def test_ssd_turns_fractions_into_pixels_and_obeys_the_count() -> None:
    boxes = np.array([[[0.25, 0.5, 0.75, 1.0], [0, 0, 1, 1]]], np.float32)
    out = [
        boxes,
        np.array([[1, 0]], np.float32),
        np.array([[0.9, 0.9]], np.float32),
        np.array([1], np.float32),
    ]
    found = find_candidates(out, output_spec("ssd", 4), 0.5)
    assert found.boxes.tolist() == [[160, 60, 320, 180]]
    assert found.classes.tolist() == [1]


boxes_of = st.lists(
    st.tuples(
        st.integers(0, 60), st.integers(0, 60), st.integers(5, 40), st.integers(5, 40), st.integers(0, 2)
    ),
    max_size=25,
)


@given(boxes_of, st.randoms(use_true_random=False))
def test_suppression_is_greedy_and_class_by_class(rows: list[tuple[int, ...]], random: object) -> None:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in rows], np.float32).reshape(-1, 4)
    classes = np.array([c for *_, c in rows], np.intp)
    scores = np.linspace(0.9, 0.1, len(rows), dtype=np.float32)
    random.shuffle(order := list(range(len(rows))))  # type: ignore[attr-defined]
    kept = suppress(Candidates(boxes[order], scores[order], classes[order]), 0.6)
    expected: list[int] = []
    iou = overlap(boxes.astype(np.float64), boxes.astype(np.float64))
    for i in range(len(rows)):
        if all(classes[i] != classes[j] or iou[i, j] <= 0.6 for j in expected):
            expected.append(i)
    assert kept.scores.tolist() == scores[expected].tolist()
    assert np.array_equal(kept.boxes, boxes[expected])


def test_class_scores_soften_logits_and_leave_probabilities() -> None:
    assert class_scores(np.array([[0.25, 0.75]], np.float32), Quant()).tolist() == [0.25, 0.75]
    soft = class_scores(np.array([[-4, 4]], np.int8), Quant(0.5, 0))
    assert soft[1] == pytest.approx(1 / (1 + np.exp(-4)))


def test_layouts_are_recognised_by_shape() -> None:
    assert guess_decoder([(1, 84, 3549)], 80) == "yolo_columns"
    assert guess_decoder([(1, 25200, 85)], 80) == "yolo_rows"
    assert guess_decoder([(1, 10, 4), (1, 10), (1, 10), (1,)], 80) == "ssd"
    with pytest.raises(ModelError, match=r"put a card.yaml beside the model that names its decoder"):
        guess_decoder([(12, 12, 30)], 80)
