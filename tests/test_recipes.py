"""Recipes without torch: what is said where it is not installed, the schema, the recipes that ship."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgekit import zoo
from edgekit.cli import main
from edgekit.errors import ConfigError, MissingExtraError
from edgekit.optimize import provenance, wrap
from edgekit.optimize.detection.recipe import load_recipe

RECIPE = "version: 1\ntask: classify\nsize: 8\ndata: {train: a}\nnetwork: {name: resnet8}\nstages: []\n"
SHIPPED = {path.name: path for path in Path(provenance.__file__).with_name("recipes").glob("*.yaml")}
MODELS = zoo.list_models()


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)


@pytest.mark.usefixtures("no_torch")
def test_without_torch_the_extra_is_named(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    command = ["optimize", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out")]
    assert main(command) == 1
    assert "torch is not installed: pip install 'edgekit[train]'" in capsys.readouterr().err
    with pytest.raises(MissingExtraError, match=r"edgekit\[train\]"):
        wrap(None, None, [], 1)


@pytest.mark.usefixtures("no_torch")
def test_the_schema_of_recipes_needs_no_torch(capsys: Any) -> None:
    assert main(["schema", "--recipe"]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema = pytest.importorskip("jsonschema")
    for path in SHIPPED.values():
        jsonschema.validate(yaml.safe_load(path.read_text()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"version": 1, "task": "detect", "stages": []}, schema)


def test_a_detectors_data_has_no_classes_to_show_evenly(tmp_path: Path) -> None:
    text = next(path for name, path in SHIPPED.items() if name.startswith("edgenano")).read_text()
    stage = "\n  - one_shot: {sparsity: 0.5, pattern: 1x4%s}"
    for more in ("", ", even: 0.5"):
        (tmp_path / "recipe.yaml").write_text(text.replace("\nstages:", "\nstages:" + stage % more))
        if not more:
            load_recipe(tmp_path / "recipe.yaml")
            continue
        with pytest.raises(ConfigError, match=r"stages\[0\].one_shot.even.*: only a classifier's data"):
            load_recipe(tmp_path / "recipe.yaml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give a RECIPE, --sweep"),
        (["a.yaml", "--sweep", "b.yaml"], "give a RECIPE, --sweep"),
        (["a.yaml"], "give --out"),
        (["--auto", "a.tflite"], "--auto needs a budget"),
    ],
)
def test_what_makes_no_sense_is_told(arguments: list[str], said: str, capsys: Any) -> None:
    assert main(["optimize", *arguments]) == 2
    assert said in capsys.readouterr().err


# ---- where models come from ------------------------------------------------------------------------


@pytest.mark.parametrize("found", MODELS, ids=lambda one: one.name)
def test_a_card_names_a_recipe_that_ships_and_the_commit_that_ran_it(found: zoo.ZooModel) -> None:
    facts = found.card.facts
    assert facts["recipe"]["file"] in SHIPPED
    assert re.fullmatch(r"[0-9.]+\+g[0-9a-f]{7,40}", facts["software"]["edgekit"])


@pytest.mark.parametrize("name", SHIPPED)
def test_no_recipe_ships_that_made_no_model_nor_what_one_is_made_of(name: str) -> None:
    makers = {found.card.facts["recipe"]["file"] for found in MODELS}
    needed = "".join(SHIPPED[one].read_text() for one in makers if one != name)
    assert name in makers or f"edgekit optimize {Path(name).stem} " in needed


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_checkout_is_known_by_its_commit_and_whether_it_was_changed(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        given = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(given, capture_output=True, text=True, check=True).stdout.strip()

    assert provenance.revision(tmp_path) is None
    git("init", "-q")
    assert provenance.revision(tmp_path) is None
    (tmp_path / "code").write_text("1")
    git("add", "code")
    git("commit", "-q", "-m", "one")
    assert git("rev-parse", "HEAD").startswith(provenance.revision(tmp_path) or "nothing")
    (tmp_path / "code").write_text("2")
    assert str(provenance.revision(tmp_path)).endswith(".dirty")


def test_versions_are_those_of_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "revision", lambda _root: None)
    found = provenance.versions(("edgekit", "numpy", "no-such-package"))
    assert found.keys() == {"edgekit", "numpy"}
    monkeypatch.setattr(provenance, "revision", lambda _root: "abc1234")
    assert provenance.versions(("edgekit",)) == {"edgekit": f"{found['edgekit']}+gabc1234"}
