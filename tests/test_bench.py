"""Benchmarks measure what they say; no time is asserted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from strategies import layer, network

from edgekit import bench, model
from edgekit.bench import Settings, rivals
from edgekit.bench.child import Child
from edgekit.bench.networks import find_network
from edgekit.bench.result import short_name
from edgekit.cli import main
from edgekit.engine import native_levels
from edgekit.errors import MissingExtraError, ModelError, UsageError
from edgekit.model import tensors
from edgekit.model.tensors import TensorInfo

QUICK = Settings(seconds=0.02, warmup=0.01)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "one.tflite", tmp_path / "two.tflite"]
    for path, graph in zip(paths, (layer(1, 64, 32), network()), strict=True):
        path.write_bytes(model.write(graph))
    return paths


def test_candidates_take_turns_and_are_compared_by_model(files: list[Path]) -> None:
    found = bench.benchmark(files, ["native", "tflite"], [1], settings=QUICK)
    assert [(r.model, r.engine) for r in found.results] == [
        (str(path), engine) for path in files for engine in ("native", "tflite")
    ]
    for result in found.results:
        assert 0 < result.p10_ms <= result.median_ms <= result.p90_ms
        assert result.runs >= bench.MIN_ROUNDS
        assert min(result.load_ms, result.first_ms) > 0
        assert 0 <= result.memory_mb < result.peak_rss_mb
        assert len(result.row()) + 1 == len(bench.COLUMNS)
    assert [r.speed_up for r in found.results if r.engine == "native"] == [1.0, 1.0]


def test_ratios_are_those_of_every_two_candidates(files: list[Path]) -> None:
    found = bench.benchmark(files[:1], ["native"], [1, 2, 3], settings=QUICK)
    assert len(found.ratios) == 3 * 2
    ratios = {(r.of, r.by): r for r in found.ratios}
    assert all(0 < ratio.p10 <= ratio.median <= ratio.p90 for ratio in found.ratios)
    assert ratios[0, 1].median == found.results[1].speed_up
    ((head, rows),) = found.ratio_tables()
    assert len(head) == len(rows) + 1 == 4
    assert [row[number] for number, row in enumerate(rows, 1)] == ["-"] * 3


def test_levels_and_profiles_are_those_of_the_candidate(files: list[Path]) -> None:
    levels = native_levels()[:2]
    found = bench.benchmark(
        files[1:], ["native", "tflite"], [1], levels, settings=Settings(0.01, 0, profile=True)
    )
    assert [r.isa for r in found.results] == [*levels, ""]
    assert [bool(r.layers) for r in found.results] == [*(True for _ in levels), False]
    kinds = [kind for kind, _, _ in found.results[0].layers]
    assert "FULLY_CONNECTED" in kinds
    rows = found.results[0].layer_rows()
    assert all(len(row) == len(bench.LAYER_COLUMNS) for row in rows)


def test_the_command_exports_everything(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = files[0].parent / "out.json"
    words = ["benchmark", str(files[0]), "--duration", "10ms", "--warmup", "10ms", "-x", str(out)]
    assert main([*words, "--threads", "1,2"]) == 0
    shown = capsys.readouterr().out
    assert "time of row / time of column" in shown
    told = json.loads(out.read_text())
    assert {"edgekit", "machine", "settings", "results", "ratios", "skipped"} == told.keys()
    assert [r["threads"] for r in told["results"]] == [1, 2]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["seconds"] == 0.01


def test_a_rival_reads_its_own_format(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed, to write a model with")
    write_onnx(onnx, files[0].with_suffix(".onnx"))
    pair = f"{files[0]}={files[0].with_suffix('.onnx')}"
    settings = Settings(0.01, 0, profile=True)
    found = bench.benchmark([pair], ["native", "onnxruntime"], [1], settings=settings)
    assert [r.engine for r in found.results] == ["native", "onnxruntime"]
    assert {kind for _, kind, _ in found.results[1].layers} >= {"Relu"}
    assert main(["benchmark", str(files[0]), "--engine", "native,onnxruntime", "--duration", "10ms"]) == 0
    told = capsys.readouterr().err
    assert "onnxruntime is left out" in told
    assert "one.tflite=one.onnx" in told
    files[0].with_suffix(".onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"one\.onnx: onnxruntime refuses it"):
        bench.benchmark([pair], ["onnxruntime"], [1], settings=QUICK)


def write_onnx(onnx: object, path: Path) -> None:
    """A network of one operator; its first axis has no size."""
    from onnx import TensorProto, helper, save

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 8]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "net", ends[:1], ends[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    made.ir_version = 8
    save(made, path)


def test_rivals_that_are_not_installed_are_left_out(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "is_installed", lambda _: False)
    found = bench.benchmark(files[:1], ["native", "openvino"], [1], settings=QUICK)
    assert [(s.engine, "edgekit[rivals]" in s.reason) for s in found.skipped] == [("openvino", True)]
    with pytest.raises(MissingExtraError, match="openvino is not installed"):
        bench.benchmark(files[:1], ["openvino"], [1], settings=QUICK)


def test_a_network_is_one_file_of_each_format(tmp_path: Path) -> None:
    for name in ("a.tflite", "a.onnx", "odd=name.tflite"):
        (tmp_path / name).touch()
    both = find_network(f"{tmp_path}/a.tflite={tmp_path}/a.onnx")
    assert both.file_for("auto") == tmp_path / "a.tflite"
    assert both.file_for("openvino") == both.file_for("onnxruntime") == tmp_path / "a.onnx"
    assert find_network(f"{tmp_path}/odd=name.tflite").files.keys() == {".tflite"}
    for text, reason in (
        (f"{tmp_path}/a.tflite={tmp_path}/a.tflite", "two .tflite files"),
        (f"{tmp_path}/a.tflite={tmp_path}/b.onnx", "b.onnx: no such file"),
    ):
        with pytest.raises(ModelError, match=reason):
            find_network(text)
    with pytest.raises(ModelError, match=r"a.onnx: native reads \.tflite; .* a.onnx=a.tflite"):
        find_network(f"{tmp_path}/a.onnx").file_for("native")


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["--engine", "warp"], 2, "--engine warp: expected one of auto, native"),
        (["--engine", "native,"], 2, "expected words with commas between"),
        (["--isa", "mmx"], 2, "--isa mmx: no such level, expected one of scalar"),
        (["--threads", "1,x"], 2, "expected a whole number of 1 or more, not 'x'"),
        (["--threads", "99"], 2, "expected at most 64 threads"),
        (["--duration", "0"], 2, "expected a time like 30s"),
        (["-x", "/nowhere/out.json"], 2, "there is no folder /nowhere"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    files: list[Path], words: list[str], code: int, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        assert main(["benchmark", str(files[0]), *words]) == code
    except SystemExit as end:
        assert end.code == code  # noqa: PT017  (argparse's own way out)
    told = capsys.readouterr()
    assert not told.out
    assert reason in told.err.splitlines()[-1]


def test_levels_of_other_cpus_are_refused(files: list[Path]) -> None:
    foreign = "neon" if "neon" not in native_levels() else "avx2"
    with pytest.raises(UsageError, match=f"--isa {foreign}: this CPU cannot run it, expected one of scalar"):
        bench.benchmark(files, ["native"], [1], [foreign])


def test_a_damaged_file_is_the_models_error(tmp_path: Path) -> None:
    (tmp_path / "bad.tflite").write_bytes(b"\0" * 64)
    with pytest.raises(ModelError, match=r"bad\.tflite"):
        bench.benchmark([tmp_path / "bad.tflite"], ["native"], [1], settings=QUICK)


@pytest.mark.skipif("EDGEKIT_PYTHON" in os.environ, reason="another interpreter is the child already")
def test_a_child_that_dies_is_told_with_its_last_words(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'Illegal instruction' >&2\nexit 4\n")
    broken.chmod(0o755)
    monkeypatch.setenv("EDGEKIT_PYTHON", str(broken))
    with pytest.raises(ModelError, match="process ended: Illegal instruction"):
        Child(files[0], "native", 1, None)


def test_names_in_tables_are_short() -> None:
    assert short_name("a/b/net.tflite") == "net"
    assert short_name("a/pruned/model.tflite") == "pruned"
    assert short_name("detect/x/dense_int8") == "detect/x/dense_int8"


def test_a_rival_without_its_package_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rivals, "is_installed", lambda _: False)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgekit\[rivals\]'"):
        rivals.open_rival("onnxruntime", tmp_path, 1)


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
    with pytest.raises(UsageError, match="positive duration"):
        Settings(seconds=0)
