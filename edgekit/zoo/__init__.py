"""The models that ship: one folder each, `model.tflite` beside `card.yaml`, named by its path in the zoo.

A card also serves any model outside the zoo: put one beside the `.tflite`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from edgekit.errors import ConfigError, ModelError, UsageError

TASKS = ("detect", "classify")


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of a model; `facts` is the whole YAML mapping, the rest are the parts that code needs."""

    name: str
    task: str
    labels: tuple[str, ...]
    sha256: str
    input: dict[str, Any]
    output: dict[str, Any]
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ZooModel:
    """A model of the zoo: its name, its file and its card."""

    name: str
    path: Path
    card: Card


@cache
def list_models() -> tuple[ZooModel, ...]:
    """Every model of the zoo: detectors, then classifiers, by name."""
    root = Path(str(files(__name__)))
    cards = (p for p in sorted(root.rglob("card.yaml")) if (p.parent / "model.tflite").exists())
    models = (
        ZooModel(p.parent.relative_to(root).as_posix(), p.parent / "model.tflite", read_card(p))
        for p in cards
    )
    return tuple(sorted(models, key=lambda one: (TASKS.index(one.card.task), one.name)))


def find_model(name: str) -> ZooModel:
    """The model called `name`; UsageError with the nearest names when there is none."""
    models = {m.name: m for m in list_models()}
    if name in models:
        return models[name]
    near = get_close_matches(name, models, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UsageError(f"no model {name!r} in the zoo: {hint}`edgekit zoo list` shows all")


def read_card(path: Path) -> Card:
    """Read one card; ConfigError names the file and the key that is wrong."""
    try:
        facts = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not a readable card: {str(error).splitlines()[0]}") from None
    if not isinstance(facts, dict):
        raise ConfigError(f"{path}: a card is a mapping with name, task, labels, input and output")
    task, labels = facts.get("task"), facts.get("labels")
    if task not in TASKS:
        raise ConfigError(f"{path}: task: expected one of {', '.join(TASKS)}, not {task!r}")
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise ConfigError(f"{path}: labels: expected a list of class names")
    parts = {key: facts.get(key) or {} for key in ("input", "output")}
    for key, value in parts.items():
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: {key}: expected a mapping")
    name, digest = str(facts.get("name", path.parent.name)), str(facts.get("sha256", ""))
    return Card(name, task, tuple(labels), digest, parts["input"], parts["output"], facts)


def check_digest(path: Path, expected: str) -> str:
    """The file's SHA-256 in hex; ModelError when it is not `expected` (an empty one is not checked)."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if expected and digest != expected:
        raise ModelError(
            f"{path}: sha256 is {digest[:12]}…, its card says {expected[:12]}…: reinstall edgekit"
        )
    return digest
