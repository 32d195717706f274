"""`edgekit analyze`: the plan in words, with figures that add up."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nets import Net

from edgekit import analyze, engine, model
from edgekit.analyze import compare, whatif
from edgekit.analyze.forecast import Place, forecast, front
from edgekit.analyze.pattern import pattern_of
from edgekit.analyze.study import Questions, study
from edgekit.cli import main
from edgekit.device import load_device
from edgekit.errors import ModelError, UsageError
from edgekit.model.graph import Graph
from edgekit.optimize.oneshot import Calibration, Goal, prune
from edgekit.optimize.oneshot.pattern import parse_pattern


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A convolution of which a quarter is zero, a depthwise one, and a fully connected layer."""
    net, rng = Net(), np.random.default_rng(1)
    weights = rng.integers(1, 99, (16, 1, 1, 8))
    weights[::2, :, :, :4] = 0
    x = net.input(1, 6, 6, 8)
    options = {"stride_h": 1, "stride_w": 1}
    x = net.op("CONV_2D", [x, net.weights(weights), net.bias(np.zeros(16))], (1, 6, 6, 16), **options)
    kernel = net.weights(rng.integers(1, 99, (1, 3, 3, 16)))
    options |= {"depth_multiplier": 1}
    x = net.op("DEPTHWISE_CONV_2D", [x, kernel, net.bias(np.zeros(16))], (1, 6, 6, 16), **options)
    x = net.op("MEAN", [x, net.constant([1, 2])], (1, 16))
    kernel = net.weights(rng.integers(1, 99, (5, 16)))
    x = net.op("FULLY_CONNECTED", [x, kernel, net.bias(np.zeros(5))], (1, 5))
    path = tmp_path / "small.tflite"
    path.write_bytes(model.write(net.graph(x)))
    return str(path)


def test_lines_say_what_each_operator_costs(file: str) -> None:
    report = analyze.analyze(file, timed=False)
    lines = {line.operator: line for line in report.lines if line.macs}
    macs = {"CONV_2D": 36 * 16 * 8, "DEPTHWISE_CONV_2D": 36 * 16 * 9, "FULLY_CONNECTED": 16 * 5}
    zeros = {"CONV_2D": 0.25, "DEPTHWISE_CONV_2D": 0.0, "FULLY_CONNECTED": 0.0}
    assert {kind: line.macs for kind, line in lines.items()} == macs
    assert {kind: line.zeros for kind, line in lines.items()} == zeros
    assert "1x1 stride 1" in lines["CONV_2D"].note
    assert f"{report.constant_bytes / 1024:.0f} kB as packed" in report.summary
    assert sum(line.constant_bytes for line in report.lines) == report.constant_bytes
    assert all(len(line.row()) == len(analyze.COLUMNS) for line in report.lines)


def test_what_is_zero_is_the_zero_point_of_the_weights(tmp_path: Path) -> None:
    net, rng = Net("uint8", zero_point=130), np.random.default_rng(1)
    x = net.input(1, 6, 6, 8)
    weights = rng.integers(-120, 130, (16, 1, 1, 8)) | 1
    weights[:, :, :, 0] = 130  # beyond int8: the kernel takes it in two parts
    weights[::2, :, :, 4:] = 0
    kernel = net.constant(weights + 120, "uint8", scale=0.02, zero_point=120)
    x = net.op("CONV_2D", [x, kernel, net.bias(np.zeros(16))], (1, 6, 6, 16), stride_h=1, stride_w=1)
    path = tmp_path / "coral.tflite"
    path.write_bytes(model.write(net.graph(x)))
    (line,) = (line for line in analyze.analyze(str(path), timed=False).lines if line.macs)
    assert (line.zeros, line.pattern, line.effective_macs) == (0.25, "1x4", 36 * 16 * 6)
    assert "25% of quads zero" in line.note
    assert whatif.sparsity_of(model.read(path), 4) == 0.25


def test_a_convolution_with_an_addition_in_it_counts(tmp_path: Path) -> None:
    net, rng = Net(), np.random.default_rng(2)
    x = net.input(1, 6, 6, 16)
    weights, bias = net.weights(rng.integers(1, 99, (16, 1, 1, 16))), net.bias(np.zeros(16))
    y = net.op("CONV_2D", [x, weights, bias], (1, 6, 6, 16), stride_h=1, stride_w=1)
    path = tmp_path / "residual.tflite"
    path.write_bytes(model.write(net.graph(net.op("ADD", [y, x], (1, 6, 6, 16)))))
    (line,) = (x for x in analyze.analyze(str(path), timed=False).lines if x.macs)
    assert (line.operator, line.macs, line.effective_macs) == ("CONV_2D", 36 * 256, 36 * 256)
    assert line.pattern == "dense"


def test_times_add_up(file: str) -> None:
    report = analyze.analyze(file)
    assert report.total_us is not None
    assert sum(line.share or 0 for line in report.lines) == pytest.approx(1)
    assert " ms, " in report.summary


def test_the_command_prints_a_table_or_json(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", file]) == 0
    assert "DEPTHWISE" in capsys.readouterr().out
    for isa in ("neon", "avx512vnni", "scalar"):
        assert main(["analyze", file, "--json", "--no-time", "--isa", isa]) == 0
        found = json.loads(capsys.readouterr().out)
        assert isa in found["title"]
        assert found["total_us"] is None
        assert {line["kernel"] for line in found["lines"]} >= {"conv", "fc", "mean_planes"}


def test_levels_that_are_not_there_are_refused(file: str) -> None:
    with pytest.raises(UsageError, match="--isa mmx: expected one of"):
        analyze.analyze(file, "mmx")
    foreign = "neon" if "neon" not in engine.native_levels() else "avx2"
    with pytest.raises(UsageError, match="this CPU cannot run it; --no-time plans for it"):
        analyze.analyze(file, foreign)


def test_a_model_that_native_refuses_is_an_error(tmp_path: Path) -> None:
    net = Net()
    path = tmp_path / "odd.tflite"
    x = net.input(2, 3, dtype="float32")
    path.write_bytes(model.write(net.graph(net.op("CUSTOM:odd", [x], (2, 3), dtype="float32"))))
    with pytest.raises(ModelError, match="the native engine cannot run operator 0 CUSTOM:odd"):
        analyze.analyze(str(path))


# ---- patterns, devices, what-if, the page --------------------------------------------------------


def test_patterns_are_told_apart() -> None:
    rng = np.random.default_rng(3)
    dense = rng.integers(1, 99, (32, 1, 1, 32))
    blocks, pairs, channels, scattered = (dense.copy() for _ in range(4))
    blocks.reshape(-1, 4)[rng.permutation(256)[:200]] = 0
    pairs.reshape(-1, 4)[:, :2] = 0
    channels[::2] = 0
    scattered[rng.random(dense.shape) < 0.6] = 0
    mixed = scattered.copy()
    mixed.reshape(-1, 4)[::3] = 0
    found = [pattern_of(weights) for weights in (dense, blocks, pairs, channels, scattered, mixed)]
    assert found == ["dense", "1x4", "2:4", "channels", "unstructured", "partly 1x4"]


@pytest.fixture
def deep(tmp_path: Path) -> str:
    """Four 1x1 convolutions of 32 channels."""
    net, rng = Net(), np.random.default_rng(4)
    x = net.input(1, 8, 8, 32)
    for _ in range(4):
        weights, bias = net.weights(rng.integers(-99, 99, (32, 1, 1, 32))), net.bias(np.zeros(32))
        x = net.op("CONV_2D", [x, weights, bias], (1, 8, 8, 32), stride_h=1, stride_w=1)
    path = tmp_path / "deep.tflite"
    path.write_bytes(model.write(net.graph(x)))
    return str(path)


def test_what_if_gets_faster_and_smaller_with_each_step(deep: str) -> None:
    device = load_device("raspberry-pi-4")
    graph = model.read(Path(deep))
    found = whatif.what_if(graph, [device], [0.5, 0.7, 0.95], None, lambda _: None)
    assert [(s.pattern, s.sparsity) for s in found] == [
        ("as it is", 0), *((p, s) for p in ("unstructured", "1x4") for s in (0.5, 0.7, 0.95)),
    ]  # fmt: skip
    blocks = [s for s in found if s.pattern == "1x4"]
    for before, after in itertools.pairwise(blocks):
        assert after.latency_ms < before.latency_ms
        assert after.file_bytes < before.file_bytes
        assert after.weight_bytes < before.weight_bytes
    assert blocks[-1].latency_ms < found[0].latency_ms
    assert all(len(s.row()) == len(whatif.COLUMNS) for s in found)


@pytest.mark.parametrize("group", [1, 4])
def test_what_holds_least_of_its_layer_goes_first(deep: str, group: int) -> None:
    graph = model.read(Path(deep))
    layers = whatif.prunable(graph)
    masks = whatif.lightest(graph, layers, 0.6, group)
    total = sum(layer.size for layer in layers)
    assert sum(int(mask.sum()) for mask in masks) == pytest.approx(0.4 * total, abs=group)
    gone, kept = [], []
    for layer, mask in zip(layers, masks, strict=True):
        shares = np.square(layer.real).reshape(len(mask), -1, group).sum(2) / np.square(layer.real).sum()
        whole = mask.reshape(len(mask), -1, group)
        assert (whole.all(2) == whole.any(2)).all()
        gone.append(shares[~whole.any(2)])
        kept.append(shares[whole.any(2)])
    assert np.concatenate(gone).max() <= np.concatenate(kept).min()


def uneven() -> Graph:
    """Three convolutions: a few weights at many places, then many at few."""
    net, rng = Net(), np.random.default_rng(3)
    x = net.input(1, 16, 16, 3)
    for inputs, outputs, side, size, stride in ((3, 16, 3, 16, 1), (16, 64, 1, 8, 2), (64, 32, 3, 4, 2)):
        kernel = net.weights(rng.integers(-99, 99, (outputs, side, side, inputs)))
        shape, steps = (1, size, size, outputs), {"stride_h": stride, "stride_w": stride}
        x = net.op("CONV_2D", [x, kernel, net.bias(np.zeros(outputs))], shape, **steps)
    return net.graph(x)


def test_small_layers_stay_denser_and_none_goes_altogether() -> None:
    graph = uneven()
    layers = whatif.prunable(graph)
    first, _, last = (1 - mask.mean() for mask in whatif.lightest(graph, layers, 0.5, 4))
    assert first < 0.1 < last
    assert all(mask.mean() > 0.015 for mask in whatif.lightest(graph, layers, 0.95, 4))
    (odd,) = whatif.lightest(graph, layers[:1], 0.5, 4)
    blocks = odd.reshape(16, 9, 3)
    assert (blocks.all(2) == blocks.any(2)).all()
    assert blocks.mean() == 0.5


def test_taps_over_a_large_picture_go_before_those_over_a_small_one() -> None:
    net, kernel = Net(), np.random.default_rng(3).integers(-99, 99, (16, 3, 3, 16))
    x = net.input(1, 32, 32, 16)
    for size, stride in ((32, 1), (4, 8)):
        steps = {"stride_h": stride, "stride_w": stride}
        x = net.op("CONV_2D", [x, net.weights(kernel), net.bias(np.zeros(16))], (1, size, size, 16), **steps)
    graph = net.graph(x)
    large, small = (1 - mask.mean() for mask in whatif.lightest(graph, whatif.prunable(graph), 0.5, 4))
    assert large > small + 0.1


def test_what_if_without_calibration_has_the_wider_range(deep: str) -> None:
    graph, device = model.read(Path(deep)), load_device("raspberry-pi-4")
    told = whatif.what_if(graph, [device], [0.7], None, lambda _: None)
    dense, pruned = told[0], told[-1]
    assert dense.low_ms < dense.latency_ms < dense.high_ms
    assert pruned.low_ms / pruned.latency_ms < dense.low_ms / dense.latency_ms
    assert pruned.high_ms / pruned.latency_ms > dense.high_ms / dense.latency_ms


def test_what_if_foretells_what_the_solver_leaves() -> None:
    graph, device = uneven(), load_device("raspberry-pi-4")
    inputs = [[array] for array in np.random.default_rng(5).integers(-128, 128, (6, 1, 16, 16, 3), np.int8)]
    calibration = Calibration(inputs)
    solved, _ = prune(graph, calibration, Goal(parse_pattern("1x4"), 0.6), lambda _: None)
    true_ms = forecast(solved, device).latency_ms
    for given, words in ((None, "by the energy"), (calibration, "by the one-shot solver")):
        told = whatif.what_if(graph, [device], [0.6], given, lambda _: None)
        (predicted_ms,) = (s.latency_ms for s in told if s.pattern == "1x4")
        assert predicted_ms == pytest.approx(true_ms, rel=0.05)
        assert words in whatif.how_spread(told)


def test_calibration_tells_what_it_costs(deep: str, tmp_path: Path) -> None:
    inputs = np.random.default_rng(5).integers(-128, 128, (6, 8, 8, 32), np.int8)
    np.savez(tmp_path / "seen.npz", inputs)
    asked = Questions(["raspberry-pi-5"], "sparsity=0.5,0.9", tmp_path / "seen.npz")
    found = study(deep, analyze.analyze(deep, timed=False), asked, lambda _: None)
    losses = {(s.pattern, s.sparsity): s.loss or 0 for s in found.scenarios}
    assert losses["as it is", 0] == 0
    for pattern in ("unstructured", "1x4"):
        assert 0 < losses[pattern, 0.5] < losses[pattern, 0.9]
    assert losses["unstructured", 0.5] < losses["1x4", 0.5]


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("sparsity=0.5..0.95", [0.5 + 0.05 * i for i in range(10)]),
        ("sparsity=0.5..0.9/0.2", [0.5, 0.7, 0.9]),
        ("sparsity=.8,0.5", [0.5, 0.8]),
        ("sparsity=0.75", [0.75]),
    ],
)
def test_sparsities_are_read(text: str, shares: list[float]) -> None:
    assert whatif.parse_sparsities(text) == pytest.approx(shares)


@pytest.mark.parametrize(
    "text",
    ["sparsity=1", "sparsity=0.9..0.5", "sparsity=0.1..0.9/0", "sparsity=0..0.9/0.001", "density=0.5", "x"],
)
def test_sparsities_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--what-if"):
        whatif.parse_sparsities(text)


def test_an_optimised_model_stands_beside_its_prediction(deep: str) -> None:
    graph = model.read(Path(deep))
    layers = whatif.prunable(graph)
    masks = whatif._by_number(layers, whatif.lightest(graph, layers, 0.8, 4))
    device = load_device("raspberry-pi-4")
    thin = Path(deep).with_name("thin.tflite")
    thin.write_bytes(model.write(whatif._masked(graph, masks), sparse=True))
    (told,) = compare.compare(graph, thin, [device], lambda _: None)
    assert told.predicted_file_bytes == pytest.approx(told.file_bytes, rel=0.02)
    assert told.pattern == "1x4"
    assert told.sparsity == pytest.approx(0.8, abs=0.02)
    assert told.predicted_ms == pytest.approx(told.latency_ms, rel=0.02)
    assert told.measured_ms is None, "there is no such board here"
    assert len(told.row()) == len(compare.COLUMNS)
    (here,) = compare.compare(graph, thin, [load_device("auto")], lambda _: None, load_device("auto").name)
    assert here.measured_ms
    assert here.row()[7] == f"{here.predicted_ms / here.measured_ms - 1:+.0%}"


def test_the_front_is_what_nothing_beats() -> None:
    points = [(10, 0.5), (12, 0.4), (9, 0.3), (20, 0.6), (10, 0.2)]
    places = [Place(str(i), "detect", "map", accuracy, ms, 0) for i, (ms, accuracy) in enumerate(points)]
    told = front([*places, Place("other", "classify", "top1", 0.1, 99, 0)])
    assert [place.model for place in told if place.is_best] == ["2", "0", "3", "other"]
    cats = replace(places[1], model="cats", labels=("cat",))
    assert [place.model for place in front([*places, cats]) if place.is_best] == ["2", "0", "cats", "3"]


def test_the_page_needs_nothing_else(deep: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    hostile = tmp_path / "&<b>.tflite"
    hostile.write_bytes(Path(deep).read_bytes())
    words = ["analyze", str(hostile), "--device", "raspberry-pi-4", "--what-if"]
    out = tmp_path / "report.html"
    assert main([*words, "sparsity=0.5,0.9", "--compare", deep, "--html", str(out)]) == 0
    assert "what if it were pruned, on raspberry-pi-4" in capsys.readouterr().out
    page = out.read_text()
    assert "&amp;&lt;b&gt;" in page
    assert "A loss says" not in page, "none is told without calibration"
    assert "<b>" not in page
    assert not re.search(r"(src|href)=\"(?!#)|@import|url\((?!#)|<script|#0[12]0[12]0", page)
    assert all(f"<h2>{title}" in page for title in ("Layers", "Devices", "What if", "The optimised model"))
    assert page.count("<svg") == page.count("</svg>") >= 7
    widths = {float(width) for width in re.findall(r'<svg [^>]*viewBox="0 0 ([\d.]+)', page)}
    letters = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", page)]
    assert max(widths) <= 360, "as wide as a phone: letters are as large there as they say"
    assert len(letters) > 20
    assert min(letters) >= 11
    for tag in ("div", "table", "figure", "dl", "tr"):
        assert len(re.findall(f"<{tag}[ >]", page)) == page.count(f"</{tag}>")


def test_wrong_questions_are_one_line(deep: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words, code, reason in (
        (["--device", "raspbery-pi-4"], 2, "did you mean raspberry-pi-4"),
        (["--calibration", "x"], 2, "--calibration needs --what-if"),
        (["--html", "/nowhere/r.html"], 2, "there is no folder /nowhere"),
        (["--what-if", "sparsity=2"], 2, "expected 1 to 50 shares"),
    ):
        assert main(["analyze", deep, "--no-time", *words]) == code
        told = capsys.readouterr()
        assert reason in told.err
        assert not told.out
