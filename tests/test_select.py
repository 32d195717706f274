"""A device gets the best model that keeps its budgets; where none does, what came nearest is told."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strategies import convolution, layer, real_convolution

from edgekit import inference, model, plan
from edgekit.bench import hindsight, prediction_check, probing, sustained
from edgekit.bench.probe_nets import DENSITIES, probe_nets
from edgekit.bench.probing import Probed
from edgekit.bench.rates import LayerRate, Rates, Sustained
from edgekit.cli import main
from edgekit.config import parse_config
from edgekit.device import Device, load_device, measured_file
from edgekit.device.calibration import Calibration, fit, nonnegative
from edgekit.device.speeds import calibration_facts, calibration_from, calibration_of
from edgekit.device.work import AMOUNTS, Work, work_of
from edgekit.engine import estimate_memory, native_levels
from edgekit.errors import BudgetError, ConfigError, ModelError, UsageError
from edgekit.latency import layer_ms, predict, predict_file
from edgekit.pipeline import allowance as allowing
from edgekit.pipeline.allowance import Allowance
from edgekit.pipeline.fit import choose_model
from edgekit.plan.costs import UNITS
from edgekit.select import Candidate, Wish, candidates, pick, select
from edgekit.zoo import Card, ZooModel

PI4 = "raspberry-pi-4"
WISH = Wish("detect", ("person",))


def zoo_model(tmp_path: Path, name: str, depth: int, accuracy: float, labels: tuple[str, ...]) -> ZooModel:
    path = tmp_path / f"{name}.tflite"
    path.write_bytes(model.write(layer(1, depth, 256)))
    facts = {"accuracy": {"per_class_ap50": dict.fromkeys(labels, accuracy)}}
    return ZooModel(name, path, Card(name, "detect", labels, "", {}, {}, facts))


@pytest.fixture
def zoo(tmp_path: Path) -> list[ZooModel]:
    return [
        zoo_model(tmp_path, "small", 256, 0.3, ("person",)),
        zoo_model(tmp_path, "medium", 2048, 0.5, ("person", "dog")),
        zoo_model(tmp_path, "bad", 2048, 0.2, ("person", "dog")),
        zoo_model(tmp_path, "large", 8192, 0.7, ("person", "dog")),
    ]


def test_the_most_accurate_model_that_keeps_the_budget_is_picked(zoo: list[ZooModel]) -> None:
    device = load_device(PI4)
    free = select(Wish("detect", ("person",)), device, zoo)
    assert free.picked.name == "large"
    times = {entry.name: entry.latency_ms for entry in free.candidates}
    assert times["small"] < times["medium"] < times["large"]
    most = {entry.name: entry.high_ms for entry in free.candidates}
    tight = select(Wish("detect", ("person",), latency_ms=most["medium"] * 1.01), device, zoo)
    assert tight.picked.name == "medium"
    assert select(Wish("detect", ("person",), prefer="latency"), device, zoo).picked.name == "small"
    assert select(Wish("detect", ("dog",), prefer="memory"), device, zoo).picked.name in {"medium", "bad"}


def test_the_front_leaves_out_what_another_beats(zoo: list[ZooModel]) -> None:
    found = select(Wish("detect", ("person",)), load_device(PI4), zoo)
    assert {entry.name for entry in found.candidates if entry.on_front} == {"small", "medium", "large"}


def test_where_nothing_fits_the_nearest_is_told_for_each_budget(zoo: list[ZooModel]) -> None:
    wish = Wish("detect", ("person",), latency_ms=1e-6, memory_mb=0.1, accuracy=0.9)
    with pytest.raises(BudgetError, match=r"latency .*small.*memory .*small.*accuracy 0.9: large has 0.700"):
        select(wish, load_device(PI4), zoo)


def test_only_budgets_that_stand_in_the_way_are_told(zoo: list[ZooModel]) -> None:
    device = load_device(PI4)
    by_name = {entry.name: entry for entry in candidates(WISH, device, zoo)}
    small, large = by_name["small"], by_name["large"]

    def refusal(**budgets: Any) -> str:
        with pytest.raises(BudgetError) as told:
            select(replace(WISH, **budgets), device, zoo)
        return str(told.value)

    slow = refusal(latency_ms=0.5 * small.latency_ms, memory_mb=small.memory_mb + 0.1)
    assert f"latency {0.5 * small.latency_ms:g} ms: small takes" in slow
    assert "memory" not in slow, "large misses it, but small misses less"
    both = refusal(latency_ms=0.9 * by_name["medium"].latency_ms, accuracy=0.45)
    assert "latency" in both
    assert "medium takes" in both, "the nearest that only misses the latency"
    assert "accuracy 0.45: small has 0.300" in both
    assert "memory" not in both
    with pytest.raises(BudgetError, match=r"nearest to memory 0.01 MB \(all that edgekit may have there\)"):
        select(WISH, replace(device, kit_memory_mb=0.01), zoo)  # type: ignore[arg-type]
    assert "change this budget" in refusal(accuracy=0.9)
    assert large.accuracy < 0.9


def test_classifiers_of_different_things_are_not_ranked_together(
    zoo: list[ZooModel], capsys: pytest.CaptureFixture[str]
) -> None:
    def classifier(entry: ZooModel, *labels: str) -> ZooModel:
        return replace(entry, card=replace(entry.card, task="classify", labels=labels))

    small, medium, bad, _ = zoo
    mixed = [
        classifier(small, "person", "no person"), classifier(medium, "person", "dog"),
        classifier(bad, "person", "dog"),
    ]  # fmt: skip
    device = load_device(PI4)
    for labels in ((), ("person",)):
        with pytest.raises(UsageError, match=r"the labels of one kind \(person, no person; person, dog\)"):
            select(Wish("classify", labels), device, mixed)
    assert select(Wish("classify", ("no person",)), device, mixed).picked.name == "small"
    assert len(select(Wish("classify", ("dog",)), device, mixed).candidates) == 2
    narrow = [classifier(small, "dog"), *mixed[1:]]
    assert select(Wish("classify", ("dog",)), device, narrow).picked.name == "small", "no more than these"
    assert main(["select", "--task", "classify", "--device", PI4]) == 2
    assert "cannot be ranked together" in capsys.readouterr().err


def test_an_unknown_label_is_told_with_those_there_are(zoo: list[ZooModel]) -> None:
    with pytest.raises(UsageError, match=r"knows unicorn: there are dog, person"):
        select(Wish("detect", ("unicorn",)), load_device(PI4), zoo)


@pytest.mark.parametrize(
    "wrong",
    [{"latency_ms": 0}, {"latency_ms": -3}, {"memory_mb": 0}, {"memory_mb": float("nan")}, {"accuracy": 2},
     {"prefer": "beauty"}],
)  # fmt: skip
def test_a_budget_that_is_none_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected"):
        Wish("detect", **wrong)  # type: ignore[arg-type]


def test_select_exits_with_3_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["select", "--task", "detect", "--device", PI4, "--max-latency-ms", "0.01"]) == 3
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "no model fits on raspberry-pi-4" in told
    assert main(["select", "--task", "detect", "--device", "raspbery-pi-4"]) == 2
    assert "did you mean raspberry-pi-4" in capsys.readouterr().err


def test_a_machine_that_was_not_probed_is_advised_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    advice = "modelled after a CPU like this: `edgekit devices probe --write` measures this one\n"
    for device, advised in (("auto", True), ("raspberry-pi-4", False)):
        assert main(["select", "--task", "detect", "--device", device]) == 0
        assert (advice in capsys.readouterr().out) is advised


def test_devices_and_budgets_make_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["select", "--task", "detect", "--json", "--max-latency-ms", "0.001,100000", "--device"]
    assert main([*words, "raspberry-pi-4,x86-64-avx2"]) == 0
    lines = json.loads(capsys.readouterr().out)
    assert [(line["device"], line["budget_ms"]) for line in lines] == [
        (name, ms) for name in ("raspberry-pi-4", "x86-64-avx2") for ms in (0.001, 100000)
    ]
    assert [bool(line["picked"]) for line in lines] == [False, True] * 2
    assert lines[0]["reason"].endswith("ms of 0.001")
    assert main([*words, PI4, "--verify"]) == 2
    assert "one budget" in capsys.readouterr().err


def test_hindsight_tells_what_the_choice_cost(zoo: list[ZooModel], monkeypatch: pytest.MonkeyPatch) -> None:
    """The medium model is slower than predicted: it is picked where the small one would have fitted."""
    predicted = {entry.name: entry.latency_ms for entry in candidates(WISH, load_device(PI4), zoo)}
    slow = {"medium": 3.0}

    def measure(path: Path, *_: object) -> sustained.Sustained:
        ms = predicted[path.stem] * slow.get(path.stem, 1.0)
        return sustained.Sustained(ms, ms, 0.0)

    monkeypatch.setattr("edgekit.bench.hindsight.measure", measure)
    wish = replace(WISH, latency_ms=1.5 * predicted["medium"])
    (one,) = hindsight.hindsight(wish, load_device(PI4), 0.0, zoo)
    assert one.picked
    assert one.best
    assert (one.picked.name, one.kept, one.best.name) == ("medium", False, "small")
    assert one.cost == pytest.approx(0.3)
    many = hindsight.hindsight(WISH, load_device(PI4), 0.0, zoo)
    assert many[0].best is None
    assert many[-1].best
    assert many[-1].picked
    assert many[-1].best.name == many[-1].picked.name == "large"
    assert all(len(line.row()) == len(hindsight.COLUMNS) for line in many)
    assert hindsight.summary(many).startswith(f"{len(many)} budgets")


def test_models_with_a_card_are_ranked_beside_the_zoo_s(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder, bare = tmp_path / "own", tmp_path / "bare"
    for each in (folder, bare):
        each.mkdir()
        (each / "mine.tflite").write_bytes(model.write(layer(1, 256, 256)))
    card = {"task": "detect", "labels": ["person"], "accuracy": {"per_class_ap50": {"person": 0.99}}}
    (folder / "mine.yaml").write_text(json.dumps(card))
    words = ["select", "--task", "detect", "--labels", "person", "--also"]
    for given in (folder, folder / "mine.tflite"):
        assert main([*words, str(given), "--device", PI4]) == 0
        assert f"picked {folder / 'mine.tflite'}" in capsys.readouterr().out
    (folder / "none.tflite").write_bytes(model.write(real_convolution()))
    (folder / "none.yaml").write_text(json.dumps(card))
    assert main([*words, str(folder), "--device", PI4]) == 0
    assert f"left out: {folder / 'none.tflite'}: " in caplog.text
    assert main([*words, str(bare), "--device", PI4]) == 2
    assert "no card" in capsys.readouterr().err
    monkeypatch.setattr("edgekit.bench.hindsight.measure", lambda *_: sustained.Sustained(1.0, 1.0, 0.0))
    assert main([*words, str(folder), "--hindsight", "--max-latency-ms", "1000", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["picked"]["name"] == str(folder / "mine.tflite")


def test_hindsight_measures_no_other_kind_of_machine(capsys: pytest.CaptureFixture[str]) -> None:
    other = "x86-64-avx2" if load_device("auto").arch == "aarch64" else PI4
    assert main(["select", "--task", "detect", "--device", other, "--hindsight"]) == 2
    assert f"--hindsight measures here: {other} is" in capsys.readouterr().err


def test_select_verifies_here(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(
        ["select", "--task", "detect", "--labels", "person", "--verify", "--duration", "0.2s", "--json"]
    )
    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert told["measured"]["cold_ms"] > 0
    assert told["picked"] == told["candidates"][0]["name"]


@pytest.mark.parametrize("device", [PI4, "raspberry-pi-5", "raspberry-pi-zero-2-w", "x86-64-avx2"])
def test_a_plan_is_predicted_for_any_device(device: str) -> None:
    told = predict(plan.prepare(convolution()), load_device(device))
    assert 0 < told.low_ms < told.latency_ms < told.high_ms
    assert told.tier == "modelled"
    assert told.memory_bytes > 0
    assert sum(step.us for step in told.steps) <= 1000 * told.latency_ms


def test_a_level_that_was_not_measured_is_modelled() -> None:
    laptop = load_device("x86-64-avx512vnni")
    costs = calibration_facts(calibration_of(laptop, "avx2"))
    device = replace(laptop, kernels={"avx2": costs}, tier="measured")
    graph = plan.prepare(convolution())
    assert predict(graph, device, isa="avx2").tier == "measured"
    assert predict(graph, device).tier == "modelled"


def test_what_a_profile_lacks_is_modelled_or_guessed_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = plan.prepare(convolution())
    laptop = load_device("x86-64-avx512vnni")
    modelled = predict(graph, laptop)
    whole = calibration_facts(calibration_of(laptop, laptop.isa)) | {"low": 0.9, "high": 1.1}
    kinds = {step.kind for step in modelled.steps}

    def measured_without(kind: str) -> Device:
        costs = {name: cost for name, cost in whole["costs_ns"].items() if name != kind}
        return replace(laptop, kernels={laptop.isa: whole | {"costs_ns": costs}}, tier="measured")

    full = predict(graph, measured_without(""))
    assert (full.tier, full.gaps) == ("measured", "")
    assert full.high_ms == pytest.approx(1.1 * full.latency_ms)
    (kind,) = (kind for kind in kinds if kind.startswith("conv"))
    lacking = predict(graph, measured_without(kind))
    assert lacking.tier == "measured + modelled"
    assert lacking.gaps.startswith(f"{kind} modelled (")
    assert lacking.latency_ms == pytest.approx(full.latency_ms, rel=1e-3), "by its level and clock"
    assert lacking.low_ms < full.low_ms < full.high_ms < lacking.high_ms
    monkeypatch.setattr("edgekit.device.speeds.known", dict)
    guessed = predict(graph, measured_without(kind))
    assert guessed.tier == "measured + guessed"
    assert guessed.high_ms / guessed.latency_ms > lacking.high_ms / lacking.latency_ms
    (tmp_path / "x.tflite").write_bytes(model.write(convolution()))
    monkeypatch.setattr("edgekit.device.load_device", lambda _: measured_without(kind))
    assert main(["predict", str(tmp_path / "x.tflite")]) == 0
    assert f"not in the profile of {laptop.name}: {kind} guessed" in capsys.readouterr().out


def test_more_zeros_take_less_time_and_a_slower_board_more() -> None:
    graph = plan.prepare(layer(1, 2048, 512))
    pi4, pi3 = load_device(PI4), load_device("raspberry-pi-3b-plus")
    times = [layer_ms(graph, pi4, 0, zeros) for zeros in (0.0, 0.8, 0.95)]
    assert times[0] > times[1] > times[2]
    assert layer_ms(graph, pi3, 0, 0.8) > times[1]
    with pytest.raises(UsageError, match="expected 1x4, unstructured or dense"):
        layer_ms(graph, pi4, 0, 0.5, "2:4")


def test_what_the_engine_cannot_run_is_not_predicted(tmp_path: Path) -> None:
    path = tmp_path / "float.tflite"
    path.write_bytes(model.write(real_convolution()))
    with pytest.raises(ModelError, match=r"float.tflite: the native engine cannot run so much float32"):
        predict_file(path, load_device(PI4))


def test_the_fit_finds_costs_again_and_none_below_zero() -> None:
    rng = np.random.default_rng(0)
    works = [Work("lut", tuple(rng.integers(1, 1000, 2).astype(float)), 1, 0) for _ in range(20)]
    times = [1e-3 * (3 * work.amounts[0] + 50 * work.amounts[1] + 200) for work in works]
    found = fit("avx2", works, times)
    assert found.costs_ns["lut"] == pytest.approx((3, 50, 200), rel=0.05)
    assert nonnegative(np.array([[1.0, 1.0], [1.0, 2.0]]), np.array([1.0, 0.0])).min() >= 0


def test_threads_share_the_units_of_a_step() -> None:
    one = Calibration("avx2", {"lut": (1000.0, 0.0)}, thread_loss=1.1, sync_us=2)
    assert one.compute_us(Work("lut", (10.0,), 4, 0)) == pytest.approx(10)
    assert one.compute_us(Work("lut", (10.0,), 4, 0), 2) == pytest.approx(10 * 1.1 / 2 + 2)
    assert one.compute_us(Work("lut", (10.0,), 1, 0), 2) == pytest.approx(10)
    assert one.compute_us(Work("lut", (1.0,), 4, 0, shared=False), 2) == pytest.approx(1), "done alone"


@pytest.mark.parametrize("isa", ["avx512vnni", "avx2", "neon"])
def test_steps_that_are_over_before_a_thread_wakes_are_not_shared(isa: str) -> None:
    tiny, large = (plan.build(plan.prepare(layer(1, *shape)), isa).steps for shape in ((8, 8), (512, 2048)))
    assert not any(work_of(step, isa).shared for step in tiny)
    assert [work_of(step, isa).shared for step in large if step.family == "fc"] == [True]


def test_a_measured_profile_is_written_and_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    found = Calibration("avx2", {"fc": (0.1, 1.0, 2.0, 3.0)}, 3.0, 1.1, 0.5, 0.9, 1.1)
    rates = Rates((LayerRate("conv4", "1x4", 0.5, 120.0),), {"lut_planes": 5.0}, 0.05, 1.6)
    probed = {"avx2": Probed(found, rates)}, Sustained(1.0, 1.25, 12.0)
    monkeypatch.setattr("edgekit.bench.probing.probe", lambda _: probed)
    assert main(["devices", "probe", "--write", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measured"]["kernels"]["value"]["avx2"]["run_us"] == 3
    kept = load_device(str(measured_file()))
    assert kept.rates["avx2"]["layers"] == [
        {"kernel": "conv4", "pattern": "1x4", "density": 0.5, "gmacs": 120.0}
    ]
    assert kept.sustained == {"cold_ms": 1.0, "sustained_ms": 1.25, "seconds": 12.0}
    assert kept.tier == load_device("auto").tier == "measured"
    assert calibration_from("avx2", kept.kernels["avx2"]) == found
    assert calibration_facts(found) == kept.kernels["avx2"]
    text = measured_file().read_text()
    costs = text[text.index("- 0.1\n") : text.index("run_us")].rstrip(" ")
    for right, absurd in (
        ("run_us: 3.0", "run_us: -3.0"),
        ("high: 1.1", "high: 0.5"),
        (": 120.0", ": .nan"),
        ("      fc:\n", "      lut:\n"),
        ("      fc:\n", "      fcc:\n"),
        (costs, re.sub(r"\d", "0", costs)),
    ):
        wrong = text.replace(right, absurd)
        assert wrong != text
        (tmp_path / "wrong.yaml").write_text(wrong)
        with pytest.raises(ConfigError, match="expected"):
            load_device(str(tmp_path / "wrong.yaml"))


def test_nothing_is_timed_under_emulation_and_what_is_modelled_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("QEMU_CPU", "max")
    monkeypatch.setattr("edgekit.bench.probing.probe", lambda _: pytest.fail("timed"))
    assert main(["devices", "probe", "--write", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "nothing is timed" in err
    assert json.loads(out)["measured"] == {}
    assert load_device(str(measured_file())).tier == load_device("auto").tier == "modelled"


@pytest.mark.parametrize(
    ("budget_ms", "picked", "doubt"),
    [
        (170.0, "better", ""),
        (160.0, "fast", ""),
        (99.0, "fast", ""),
        (80.0, "fast", "may take 87.00 ms of 80"),
    ],
)
def test_a_budget_that_is_surely_kept_goes_before_accuracy(budget_ms: float, picked: str, doubt: str) -> None:
    known = [
        Candidate("fast", 0.5, 50.0, 40.0, 87.0, 10.0, "modelled"),
        Candidate("better", 0.6, 79.0, 60.0, 165.0, 10.0, "modelled"),
    ]
    found = pick(replace(WISH, latency_ms=budget_ms), load_device(PI4), known).picked
    assert (found.name, found.doubt) == (picked, doubt)
    assert found.row()[-1] == doubt


def test_a_profile_of_the_instructions_alone_allows_for_slower_cpus_and_threads_that_gain_nothing() -> None:
    graph = plan.prepare(convolution())
    for name in ("x86-64-avx2", "x86-64-avxvnni", "x86-64-avx512vnni"):
        one, two = (predict(graph, load_device(name), threads) for threads in (1, 2))
        assert one.high_ms > 2 * one.latency_ms
        assert two.high_ms >= one.high_ms


def test_a_config_says_where_the_model_that_it_gets_may_miss_the_budget(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    device = load_device(PI4)
    fastest = select(replace(WISH, prefer="latency"), device).picked
    budget_ms = 0.99 * fastest.high_ms
    text = f"version: 1\nmodel: {{task: detect, labels: [person], budget: {{latency_ms: {budget_ms}}}}}\n"
    config = parse_config(f"{text}cameras: {{a: {{source: 'demo:'}}}}\n", "x.yaml", tmp_path)
    assert choose_model(config, device).model.name == fastest.name
    assert f"{fastest.name} may take" in caplog.text


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_timed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.bench.probing.probe", lambda _: pytest.fail("timed"))
    assert main(["devices", "probe", "--write", "/proc/none/x.yaml"]) == 2
    assert "there is no folder /proc/none" in capsys.readouterr().err
    monkeypatch.setenv("XDG_DATA_HOME", "/proc/none")
    assert main(["devices", "probe", "--write"]) == 1
    assert "cannot write /proc/none/edgekit/device.yaml" in capsys.readouterr().err


def test_a_probe_tells_costs_and_what_kernels_reach(capsys: pytest.CaptureFixture[str]) -> None:
    level = native_levels()[-1]
    found, sustained = probing.probe(0.1, (level,))
    layers = found[level].rates.layers
    assert {layer.density for layer in layers if layer.kernel.startswith("conv")} == set(DENSITIES)
    assert {"dense", "1x4", "unstructured"} <= {layer.pattern for layer in layers}
    assert {layer.kernel for layer in layers} > {"depthwise1", "fc"}
    assert min(layer.gmacs for layer in layers) > 0 < sustained.cold_ms
    costs = found[level].calibration.costs_ns
    assert costs.keys() > {"add_planes", "mul_planes", "mean_planes"}
    assert {kind: len(each) - 1 for kind, each in costs.items()}.items() <= AMOUNTS.items()


def test_predictions_stand_beside_what_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "layer.tflite").write_bytes(model.write(layer(1, 256, 256)))
    (tmp_path / "real.tflite").write_bytes(model.write(real_convolution()))
    level = native_levels()[-1]
    found = Calibration(level, {"fc": (0.1, 1.0, 2.0, 3.0)})
    device = replace(load_device("auto"), kernels={level: calibration_facts(found)})
    told: list[str] = []
    lines = prediction_check.compare(
        sorted(tmp_path.glob("*.tflite")), device, (level,), (1, 2), 0.01, told.append
    )
    assert [(line.model, line.threads) for line in lines] == [("layer", 1), ("layer", 2)]
    graph = plan.prepare(layer(1, 256, 256))
    assert all(line.predicted_ms > 0 < line.measured_ms for line in lines)
    assert "left out" in told[0]
    assert {line.predicted_ms for line in lines} == {predict(graph, device, n).latency_ms for n in (1, 2)}
    assert {line.high_ms for line in lines} == {predict(graph, device, n).high_ms for n in (1, 2)}
    right, wrong = (replace(lines[0], measured_ms=factor * lines[0].high_ms) for factor in (1.0, 2.0))
    assert prediction_check.summary([right, wrong]).endswith("; 1 were within their ranges")
    assert main(["predict", "layer.tflite", "--check", str(tmp_path)]) == 2
    assert "no MODEL" in capsys.readouterr().err
    monkeypatch.setenv("QEMU_CPU", "max")
    assert main(["predict", "--check", str(tmp_path)]) == 2
    assert "emulated" in capsys.readouterr().err


@pytest.mark.parametrize("level", UNITS)
def test_every_kernel_of_a_level_has_a_kind_of_work_that_is_known(level: str) -> None:
    unit = UNITS[level]
    kinds = {f"conv{group}" for group in unit.kernels} | ({"conv_planar"} if unit.planar else set())
    assert kinds <= AMOUNTS.keys()
    arm = level.startswith("neon")
    known = calibration_of(load_device("raspberry-pi-5" if arm else "x86-64-avx512vnni"), level).costs_ns
    assert kinds <= known.keys()


def test_synthetic_networks_can_be_planned() -> None:
    assert not [reason for graph in probe_nets() if (reason := plan.refusal(plan.prepare(graph)))]


def test_a_config_has_its_model_chosen(tmp_path: Path) -> None:
    chosen = "model: {task: detect, labels: [person], budget: {latency_ms: %s}}"
    text = f"version: 1\n{chosen}\ncameras: {{a: {{source: 'demo:'}}}}\n"
    config = parse_config(text % 1e6, "x.yaml", tmp_path)
    device = load_device(PI4)
    assert choose_model(config, device).model.name.startswith("detect/")
    with pytest.raises(BudgetError, match="no model fits"):
        choose_model(parse_config(text % 0.01, "x.yaml", tmp_path), device)
    with pytest.raises(ConfigError, match="latency_ms"):
        parse_config(text % -1, "x.yaml", tmp_path)
    with pytest.raises(ConfigError, match="expected a name, or a task"):
        parse_config(text.replace("task: detect, ", "") % 1, "x.yaml", tmp_path)


def test_a_broken_budget_is_said_once_and_kept_again_with_a_margin(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    allowance = Allowance(10.0)
    assert not allowance.check([20.0] * 3)  # too few to tell
    assert not allowance.check([9.0] * 20 + [99.0])
    assert allowance.check([11.0] * 20)
    assert allowance.check([9.5] * 20)
    assert not allowance.check([8.0] * 20)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_broken_budget_of_memory_is_said_too(caplog: pytest.LogCaptureFixture) -> None:
    held_mb = iter([19.0, 21.0, 19.0, 17.0])
    allowance = Allowance(None, 20.0, lambda: next(held_mb))
    assert [allowance.check([]) for _ in range(4)] == [False, True, True, False]
    assert "the models hold 21.0 MB, model.budget.memory_mb is 20: choose a smaller" in caplog.text


def test_what_a_process_grows_by_later_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    resident_mb, clock_s = iter([100.0, 100.0, 130.0]), iter([0.0, 1.0, 61.0, 121.0, 181.0])
    monkeypatch.setattr(allowing, "resident_mb", lambda: next(resident_mb))
    allowance = Allowance(None, 20.0, lambda: 9.0, lambda: next(clock_s))
    assert [allowance.check([]) for _ in range(4)] == [False, False, False, True]
    assert allowance.model_mb == 39.0


@pytest.mark.parametrize("worker", [False, True])
def test_what_a_model_holds_is_about_what_was_estimated(worker: bool) -> None:
    name = "detect/edgenano-025-320-coco10/dense_int8"
    estimated_mb = estimate_memory(model.read(inference.find_file(name)[0])) / 2**20
    script = f"from edgekit import inference; print(inference.open({name!r}, worker={worker}).memory_mb)"
    python = os.environ.get("EDGEKIT_PYTHON", sys.executable)  # a process that has no free memory lying about
    told = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True).stdout
    assert 0 < float(told) < 2 * estimated_mb


def test_a_level_of_which_nothing_is_known_is_told() -> None:
    with pytest.raises(UsageError, match="edgekit devices probe"):
        predict(plan.prepare(convolution()), replace(load_device(PI4), isa="sve2"))
