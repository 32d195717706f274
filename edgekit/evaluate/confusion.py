"""Scores a classifier: accuracy, and which class is taken for which, by the code that a pipeline runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UsageError
from edgekit.evaluate.labelled import RULE_NAMES, Labelled
from edgekit.inference import Model

ANIMALS = ("dog", "cat")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Shares in 0..1. `accuracy` counts pictures, `balanced` is the mean of the classes' recalls.

    `confusion[i][j]`: pictures of class i that the model takes for class j, in the order of `names`, which
    are the data's classes and then what else the model may say. `labels`: recall, precision and number of
    pictures of each class that the data has. `person_animal`: where the data shows both, the share of
    pictures of persons, dogs and cats in which a person is taken for an animal or an animal for a person.
    """

    model: str
    engine: str
    pictures: int
    accuracy: float
    balanced: float
    names: tuple[str, ...]
    labels: dict[str, dict[str, float]]
    confusion: list[list[int]]
    person_animal: dict[str, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def score(
    model: Model,
    pictures: Labelled,
    first: int = 0,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Accuracy:
    """Run `model` over every picture. Classes are matched by name, where model and data have names, else by
    number; `first` is then the number of the output that stands for class 0 of the data.

    UsageError when the model is no classifier or does not know a class of the data.
    """
    if model.task != "classify":
        raise UsageError(f"{model.name} is a model to {model.task}: give --coco to score a detector")
    names, order = match_classes(model, pictures, first)
    matrix = np.zeros((len(names), len(names)), np.int64)
    for i in progress(range(len(pictures))):
        matrix[pictures.labels[i], order[model.best(pictures.read(i))]] += 1
    return accuracy_of(matrix, names, model)


def match_classes(
    model: Model, pictures: Labelled, first: int = 0
) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """The classes of data and model together, and for each output of the model its place among them."""
    if model.named and pictures.named:
        unknown = [name for name in pictures.names if name not in model.labels]
        if unknown:
            raise UsageError(
                f"{model.name} does not know {_listed(unknown)}: its classes are {_listed(model.labels)}"
            )
        names = (*pictures.names, *(name for name in model.labels if name not in pictures.names))
        return names, np.array([names.index(name) for name in model.labels], np.intp)
    outputs, classes = len(model.labels), len(pictures.names)
    if not 0 <= first <= outputs - classes:
        raise UsageError(
            f"{model.name} has {outputs} outputs, the data has {classes} classes"
            + (f" from output {first} on" if first else "")
        )
    names = (*pictures.names, *(f"output {i}" for i in range(outputs) if not first <= i < first + classes))
    order = np.arange(outputs) - first
    spare = (order < 0) | (order >= classes)
    order[spare] = np.arange(classes, outputs)
    return names, order


def accuracy_of(matrix: NDArray[np.int64], names: tuple[str, ...], model: Model) -> Accuracy:
    """The figures of a confusion matrix (rows: what is so, columns: what the model says)."""
    right, rows, columns = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    labels = {
        name: {
            "recall": _share(right[i], rows[i]),
            "precision": _share(right[i], columns[i]),
            "pictures": int(rows[i]),
        }
        for i, name in enumerate(names)
        if rows[i]
    }
    return Accuracy(
        model=model.name,
        engine=model.engine.name,
        pictures=int(matrix.sum()),
        accuracy=_share(right.sum(), matrix.sum()),
        balanced=round(float(np.mean([row["recall"] for row in labels.values()])), 4),
        names=names,
        labels=labels,
        confusion=matrix.tolist(),
        person_animal=_person_animal(matrix, names),
    )


def _person_animal(matrix: NDArray[np.int64], names: tuple[str, ...]) -> dict[str, float] | None:
    animals = [names.index(name) for name in ANIMALS if name in names]
    if "person" not in names or not animals or not matrix[animals].any():
        return None
    person = names.index("person")
    up, down = int(matrix[person, animals].sum()), int(matrix[animals, person].sum())
    persons, beasts = int(matrix[person].sum()), int(matrix[animals].sum())
    return {
        "share": _share(up + down, persons + beasts),
        "persons_taken_for_animals": _share(up, persons),
        "animals_taken_for_persons": _share(down, beasts),
    }


def rule_of(labels: tuple[str, ...]) -> str | None:
    """The rule whose classes a model tells apart, if it is one of those."""
    return next((rule for rule, names in RULE_NAMES.items() if set(names) == set(labels)), None)


def _share(part: Any, whole: Any) -> float:
    return round(float(part) / float(whole), 4) if whole else 0.0


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:12]) + (", ..." if len(shown) > 12 else "")
