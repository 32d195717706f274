"""`edgekit analyze`: the plan in words, with figures that add up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from nets import Net

from edgekit import analyze, engine, model
from edgekit.cli import main
from edgekit.errors import ModelError, UsageError


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
