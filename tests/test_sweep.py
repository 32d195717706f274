"""Sweeps: several processes share one study, and one that is killed loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from edgekit.errors import ConfigError
from edgekit.optimize import sweep as sweeping

pytest.importorskip("torch", reason="torch is not installed: pip install 'edgekit[train]'")
pytest.importorskip("optuna", reason="optuna is not installed: pip install 'edgekit[sweep]'")

RECIPE: dict[str, Any] = {
    "version": 1,
    "task": "classify",
    "size": 8,
    "batch": 8,
    "checkpoint": "10ms",
    "data": {"train": "train.npz", "val_share": 0.5},
    "network": {"python": "net_of_the_sweep:make"},
    "stages": [
        {"prune": {"end": 1, "sparsity": 0.5, "layers": ["0"], "pattern": "unstructured"}},
        {"quantize": {"start": 1, "end": 2}},
    ],
}
SWEEP: dict[str, Any] = {
    "version": 1,
    "recipe": "recipe.yaml",
    "trials": 3,
    "patience": "2s",
    "seed": 1,
    "goals": {"accuracy": "maximize", "macs_left": "minimize"},
    "parameters": {
        "stages.0.prune.sparsity": {"low": 0.3, "high": 0.8},
        "seed": {"low": 0, "high": 99, "whole": True},
        "stages.0.prune.pattern": {"choices": ["unstructured", "4x1"]},
    },
}
NET = """
import os, signal
from torch import nn

def make(classes):
    if os.environ.get("DIES"):
        print("dying", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, classes))

def deep(classes):
    hidden = [part for _ in range(6) for part in (nn.Linear(32, 32), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 32), *hidden, nn.Linear(32, classes))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (32, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "train.npz", x=images, y=np.arange(32) % 2)
    (tmp_path / "net_of_the_sweep.py").write_text(NET)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    return tmp_path


def start(folder: Path, **environment: str) -> subprocess.Popen[str]:
    python = os.environ.get("EDGEKIT_PYTHON", sys.executable)
    command = [python, "-m", "edgekit", "optimize", "--sweep", "sweep.yaml", "--out", "trials"]
    return subprocess.Popen(
        command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def study_of(folder: Path) -> Any:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage

    path = str(folder / "sweep.journal")
    storage = JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))
    return optuna.load_study(study_name="sweep", storage=storage)


def test_two_processes_finish_a_study_of_which_a_third_was_killed(folder: Path) -> None:
    killed = start(folder, DIES="1")
    assert "dying" in killed.communicate(timeout=120)[0]
    assert killed.returncode == -signal.SIGKILL
    states = [trial.state.name for trial in study_of(folder).trials]
    assert states == ["RUNNING"]
    lost = study_of(folder).trials[0].params

    time.sleep(2)  # the patience of the sweep
    both = [start(folder), start(folder)]
    outputs = [process.communicate(timeout=200) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    trials = study_of(folder).trials
    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    assert 3 <= len(done) <= 4
    assert [trial.state.name for trial in trials].count("FAIL") == 1
    assert lost in [trial.params for trial in done]
    assert "best" in outputs[0][0]
    for trial in done:
        assert (folder / trial.user_attrs["folder"] / "model.tflite").exists()


def test_a_training_that_diverges_is_a_trial_and_ends_no_sweep(folder: Path) -> None:
    rates = {"stages.0.learning_rate.peak": {"choices": [0.01, 100.0]}}
    stages = [{"learning_rate": {"end": 2, "peak": 0.01}}, {"quantize": {"start": 1, "end": 2}}]
    recipe = {**RECIPE, "stages": stages, "network": {"python": "net_of_the_sweep:deep"}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    plan = {**SWEEP, "parameters": rates, "trials": 6}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(plan))
    said: list[str] = []
    best = sweeping.sweep(folder / "sweep.yaml", None, folder / "trials", said.append)
    assert {one["values"]["stages.0.learning_rate.peak"] for one in best} == {"0.01"}
    assert any("training has diverged" in line for line in said)
    rates["stages.0.learning_rate.peak"]["choices"] = [100.0]
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**plan, "study": "hot", "trials": 2}))
    with pytest.raises(ConfigError, match="every training has diverged"):
        sweeping.sweep(folder / "sweep.yaml", None, folder / "trials", said.append)


def test_a_wrong_sweep_is_told(folder: Path) -> None:
    wrong = SWEEP | {"parameters": {"stages.0.prun.sparsity": {"low": 0, "high": 1}}}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(wrong))
    with pytest.raises(ConfigError, match=r"the recipe has no 'prun' there, did you mean 'prune'"):
        sweeping.sweep(folder / "sweep.yaml", None, folder / "out", print)
    wrong = SWEEP | {"parameters": {"seed": {"low": 3, "high": 1}}}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(wrong))
    with pytest.raises(ConfigError, match=r"seed.low: 3 is more than high, 1"):
        sweeping.sweep(folder / "sweep.yaml", None, folder / "out", print)
