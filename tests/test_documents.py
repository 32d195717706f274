"""README and docs/ say what is true: commands that exist, configs that load, links that lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.cli import build_parser
from edgekit.config import load_config
from edgekit.optimize import recipe_schema

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for found in re.finditer(
            rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE
        ):
            yield page.name, found[1]


def commands() -> list[str]:
    lines = [line for _, block in blocks("sh") for line in block.splitlines()]
    return [line.removeprefix("sudo ") for line in lines if line.startswith(("edgekit ", "sudo edgekit "))]


@pytest.mark.parametrize("line", commands())
def test_a_command_is_one(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    build_parser().parse_args(words[: words.index(">")] if ">" in words else words)


@pytest.mark.parametrize(("page", "text"), list(blocks("yaml")))
def test_a_config_or_recipe_is_one(
    page: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "stages:" in text:
        jsonschema = pytest.importorskip("jsonschema")
        import yaml

        jsonschema.validate(yaml.safe_load(text), recipe_schema())
        return
    for name in re.findall(r"\$\{(\w+)\}", text):
        monkeypatch.setenv(name, "word")
    (tmp_path / "mqtt").write_text("word")
    (tmp_path / "pipeline.yaml").write_text(text.replace("/run/secrets/", ""))
    assert load_config(tmp_path / "pipeline.yaml").cameras


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8"))
    assert [target for target in targets if "//" not in target and not (page.parent / target).exists()] == []
