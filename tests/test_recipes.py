"""Recipes without torch: what is said where it is not installed, the schema, the recipes that ship."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.cli import main
from edgekit.errors import MissingExtraError
from edgekit.optimize import wrap

RECIPE = "version: 1\ntask: classify\nsize: 8\ndata: {train: a}\nnetwork: {name: resnet8}\nstages: []\n"


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
    assert {"stages", "network", "data"} <= schema["properties"].keys()


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
