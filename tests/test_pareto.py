"""The table of models: who is on the front, what is scored, and how it is asked for."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.cli import main
from edgekit.pareto import Standing, as_markdown, draw, mark_front, of_zoo

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def standing(score: float, ms: float) -> Standing:
    return Standing(f"{score} {ms}", "native", {"accuracy": score}, ms, 0.5, 10.0)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), min_size=1, max_size=8))
def test_the_front_is_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    marked = mark_front([standing(score / 5, float(ms)) for score, ms in points])
    for (score, ms), one in zip(points, marked, strict=True):
        beaten = any(s >= score and t <= ms and (s, t) != (score, ms) for s, t in points)
        assert one.on_front is not beaten


def test_as_markdown_has_a_row_for_each() -> None:
    lines = as_markdown(mark_front([standing(0.9, 2.0), standing(0.8, 3.0)])).splitlines()
    assert lines[0] == "| model | engine | accuracy % | ms | zero | kB | front |"
    assert [line.split(" | ")[-1] for line in lines[2:]] == ["yes |", " |"]


def test_only_models_that_know_the_classes_fit() -> None:
    assert of_zoo("classify", NAMES)
    assert not of_zoo("classify", ("unicorn",))


def test_a_plot_needs_a_known_ending(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw([standing(0.9, 2.0), standing(0.8, 1.0)], tmp_path / "front.svg")
    assert (tmp_path / "front.svg").read_text().rstrip().endswith("</svg>")
    with pytest.raises(Exception, match="cannot draw there"):
        draw([standing(0.9, 2.0)], tmp_path / "front.nothing")


def test_a_plot_can_be_read_on_a_phone(tmp_path: Path) -> None:
    mpl = pytest.importorskip("matplotlib")
    name = "detect/edgenano-025-224-coco10/dense_int8"
    ours = [Standing(name, "native", {"accuracy": 0.5}, 1.0, 0.5, 10.0), standing(0.9, 2.0)]
    with mpl.rc_context({"svg.fonttype": "none"}):  # text that stays text
        draw([*ours, replace(ours[0], runtime="tflite", latency_ms=3.0)], tmp_path / "front.svg")
        draw(ours, tmp_path / "one.svg")
    drawn = (tmp_path / "front.svg").read_text()
    (width,) = re.findall(r'<svg [^>]*width="([\d.]+)pt"', drawn)
    letters = re.findall(r"font(?:-size)?: ([\d.]+)px", drawn)
    assert float(width) <= 360
    assert min(float(size) for size in letters) >= 11
    assert "1  edgenano-025-224-coco10/dense_int8" in drawn
    assert drawn.count("native") == 2, "with every model"
    assert (tmp_path / "one.svg").read_text().count("native") == 1, "under the axis"


def test_compare_scores_the_zoo_on_the_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    for name in NAMES:
        (tmp_path / "data" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "data" / name / "0.png"), rng.integers(0, 255, (32, 32, 3), np.uint8))
    asked = ["zoo", "compare", "--data", str(tmp_path / "data"), "--duration", "50ms", "--json"]
    assert main(asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["model"] for one in found} == set(of_zoo("classify", NAMES))
    for one in found:
        assert 0 <= one["scores"]["accuracy"] <= 1
        assert one["latency_ms"] > 0
        assert 0 < one["zeros"] < 1
    assert any(one["on_front"] for one in found)


def test_compare_needs_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "compare"]) == 2
    assert "give --coco with --images, or --data" in capsys.readouterr().err
