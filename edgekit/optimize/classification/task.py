"""A classifier as the task of a run: network, batches, loss, accuracy; and what `optimize` calls."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgekit.config.complaint import similar
from edgekit.errors import ConfigError, SourceError
from edgekit.evaluate.labelled import read_photos
from edgekit.files import write_bytes
from edgekit.optimize.classification.images import Pictures, batches, load, load_views
from edgekit.optimize.classification.nets import NETWORKS, Enlarged
from edgekit.optimize.classification.recipe import (
    CENTRE,
    SPREAD,
    ClassifyRecipe,
    MoreConfig,
    NetworkConfig,
    data_path,
)
from edgekit.optimize.training.imported import centre_of, import_model, renew_head

BATCH = 256  # pictures that are scored at once


class Classification:
    """The task of a classifier's recipe. `folders` are where relative paths of data start."""

    def __init__(self, recipe: ClassifyRecipe, folders: list[Path], device: torch.device) -> None:
        self.recipe, self.folders, self.device = recipe, folders, device
        self.train, self.val = _pictures(recipe, folders)
        if recipe.data.more is not None:
            self.train = self.train.and_of(*self._more(recipe.data.more))
        self.names = self._names()
        self.train_there, self.val_there = self.train.on(device), self.val.on(device)
        self.steps_per_epoch = len(self.train) // recipe.batch
        if self.steps_per_epoch < 1:
            raise SourceError(
                f"{recipe.data.train}: {len(self.train)} pictures, fewer than one batch of {recipe.batch}"
            )
        self.weights = class_weights(self.train, recipe.balance).to(device) if recipe.balance else None
        begun_from = recipe.network.model
        self.centre = CENTRE if begun_from is None else centre_of(_model_path(begun_from, folders))

    def _more(self, more: MoreConfig) -> tuple[Pictures, dict[str, str]]:
        """The other data. ConfigError where a class that the recipe names does not exist."""
        found = load(data_path(more.train, self.folders), self.recipe.size, more.each)
        pairs = more.classes.items()
        known = [(one, found.names) for one, _ in pairs] + [(other, self.train.names) for _, other in pairs]
        for name, names in known:
            if name not in names:
                place = self.recipe.where("data", "more", "classes")
                raise ConfigError(f"{place}: there is no class {name!r}{similar(name, names)}")
        return found, dict(pairs)

    def _names(self) -> tuple[str, ...]:
        """The classes, which training, validation and recipe must agree on."""
        where, train, val = self.recipe.where, self.train.names, self.val.names
        if train != val:
            raise ConfigError(
                f"{where('data', 'val')}: train has the classes {_listed(train)}, val has {_listed(val)}"
            )
        named = self.recipe.classes
        if named is not None and len(named) != len(train):
            raise ConfigError(
                f"{where('classes')}: names {len(named)}, the data has {len(train)}: {_listed(train)}"
            )
        return tuple(self.recipe.classes or self.train.names)

    def network(self) -> nn.Module:
        network = network_of(self.recipe, self.names, self.folders)
        _try_out(network, self.recipe, len(self.names))
        return network

    def teacher(self) -> nn.Module | None:
        """The float network that the recipe's stages learn from, where it is one."""
        if self.recipe.teacher is None or not self.recipe.teacher.endswith(".pt"):
            return None
        return read_teacher(data_path(self.recipe.teacher, self.folders), self)

    def batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        recipe = self.recipe
        pictures = self.train_there
        for images, labels in batches(pictures, recipe.batch, recipe.augment, recipe.seed, epoch, first):
            yield as_input(images, self.centre), labels

    def loss(self, outputs: Any, wanted: Tensor) -> Tensor:
        smoothing = self.recipe.label_smoothing
        return functional.cross_entropy(outputs.float(), wanted, self.weights, label_smoothing=smoothing)

    def score(self, network: nn.Module) -> dict[str, float]:
        images, _ = self.val_there
        with torch.inference_mode():
            parts = [
                network(as_input(as_planes(part), self.centre)).argmax(1) for part in images.split(BATCH)
            ]
        found = torch.cat(parts).cpu().numpy()
        return {"accuracy": accuracy(found, self.val), "recall": mean_recall(found, self.val)}


def _try_out(network: nn.Module, recipe: ClassifyRecipe, classes: int) -> None:
    """ConfigError where a network cannot take the recipe's pictures, or gives no score for each class."""
    place, size = recipe.where("network"), recipe.size
    training = {module: module.training for module in network.modules()}
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            given: Any = network.eval()(as_input(torch.zeros(1, 3, size, size)))
    except Exception as error:  # torch and networks of one's own raise all kinds
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{place}: it cannot take pictures of {size} x {size}: {said}") from error
    finally:
        for module, was in training.items():
            module.training = was
    if not isinstance(given, Tensor) or given.shape != (1, classes):
        found = f"values of shape {list(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
        raise ConfigError(
            f"{place}: it gives {found} for a picture: expected {[1, classes]}, a score a class"
        )


def _pictures(recipe: ClassifyRecipe, folders: list[Path]) -> tuple[Pictures, Pictures]:
    """What is trained on, and what it is scored on."""
    data, size = recipe.data, recipe.size
    path = data_path(data.train, folders)
    if data.images is not None and data.rule is not None and data.val is not None:
        images, val = data_path(data.images, folders), data_path(data.val, folders)
        train = load_views(read_photos(path, images), data.rule, data.views, recipe.seed, size)
        return train, load_views(read_photos(val, images), data.rule, 0, recipe.seed, size)
    if data.val is not None:
        return load(path, size), load(data_path(data.val, folders), size)
    return load(path, size).split(data.val_share, recipe.seed)


def as_planes(images: Tensor) -> Tensor:
    """Pictures (n, h, w, 3) as (n, 3, h, w) values."""
    return images.permute(0, 3, 1, 2).float()


def as_input(planes: Tensor, centre: float = CENTRE) -> Tensor:
    """Pixel values (n, 3, h, w) as the network takes them."""
    return ((planes - centre) / SPREAD).contiguous(memory_format=torch.channels_last)


def accuracy(found: NDArray[np.int64], pictures: Pictures) -> float:
    return float((found == pictures.labels).mean())


def mean_recall(found: NDArray[np.int64], pictures: Pictures) -> float:
    """The mean over the classes of the share of their pictures that are told right."""
    right = found == pictures.labels
    return float(np.mean([right[pictures.labels == label].mean() for label in np.unique(pictures.labels)]))


def class_weights(pictures: Pictures, balance: float = 1.0) -> Tensor:
    """A weight for each class, so that with `balance` 1 all classes together weigh the same; their mean over
    pictures is 1.
    """
    counts = np.maximum(np.bincount(pictures.labels, minlength=len(pictures.names)), 1)
    weights = counts.astype(np.float64) ** -balance
    return torch.from_numpy((weights / weights[pictures.labels].mean()).astype(np.float32))


def network_of(recipe: ClassifyRecipe, names: tuple[str, ...], folders: list[Path]) -> nn.Module:
    """The network that a recipe starts from. ConfigError for one that does not fit."""
    config = recipe.network
    if config.model is None:
        made = make_network(recipe, names, folders)
    else:
        made = take_over(_model_path(config.model, folders), recipe, names)
    return made if config.enlarge == 1 else Enlarged(made, config.enlarge)


def make_network(recipe: ClassifyRecipe, names: tuple[str, ...], folders: list[Path]) -> nn.Module:
    """The network that a recipe names. ConfigError where there is none."""
    config = recipe.network
    if config.name is not None:
        if config.name not in NETWORKS:
            close = similar(config.name, NETWORKS) or f", only {', '.join(NETWORKS)}"
            raise ConfigError(f"{recipe.where('network', 'name')}: there is no {config.name!r}{close}")
        return _called(recipe, NETWORKS[config.name], len(names))
    return _called(recipe, _function(recipe, folders), len(names))


def take_over(path: Path, recipe: ClassifyRecipe, names: tuple[str, ...]) -> nn.Module:
    """The network of a model file. ConfigError where it has another input or other classes."""
    network = import_model(path, SPREAD, compact=recipe.network.compact)
    graph = network.graph
    shape, classes = graph.tensors[graph.inputs[0]].shape, graph.tensors[graph.outputs[0]].shape[-1]
    if not _takes(shape[1:], recipe):
        place, taken = recipe.where("size"), list(shape[1:])
        raise ConfigError(f"{place}: {path.name} takes {taken}, the recipe says {recipe.size}")
    if recipe.network.head == "new":
        renew_head(network, len(names))
    elif classes != len(names):
        raise ConfigError(
            f"{recipe.where('network')}: {path.name} tells {classes} classes apart, "
            f"the data has {_listed(names)}: give network: {{head: new}} to learn them anew"
        )
    return network


def _takes(shape: tuple[int, ...], recipe: ClassifyRecipe) -> bool:
    """Whether a network made for pictures of `shape` takes those of the recipe.

    With a new head their size may differ, as long as every layer of stride 2 halves both evenly.
    """
    if shape == (recipe.size, recipe.size, 3):
        return True
    even = len(shape) == 3 and shape[2] == 3 and not any(side % 32 for side in (*shape[:2], recipe.size))
    return even and recipe.network.head == "new"


def write_teacher(network: nn.Module, task: Classification, path: Path) -> None:
    """A trained float network with what it needs to be made again; in half precision, which is enough."""
    half = {
        name: one.half() if one.is_floating_point() else one for name, one in network.state_dict().items()
    }
    facts = {"network": task.recipe.network.model_dump_json(), "size": task.recipe.size, "names": task.names}
    content = io.BytesIO()
    torch.save({**facts, "state": half}, content)
    write_bytes(path, content.getvalue())


def read_teacher(path: Path, task: Classification) -> nn.Module:
    """The network of a `teacher.pt`. ConfigError where it is none or has other classes."""
    place = task.recipe.where("teacher")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        names, config = tuple(found["names"]), NetworkConfig.model_validate_json(found["network"])
    except Exception as error:
        raise ConfigError(f"{place}: {path} is no teacher.pt of a recipe that makes one: {error}") from error
    if names != task.names:
        raise ConfigError(f"{place}: {path} tells {_listed(names)} apart, the data has {_listed(task.names)}")
    recipe = task.recipe.model_copy(update={"network": config, "size": found["size"]})
    network = network_of(recipe, names, task.folders)
    network.load_state_dict({name: one.float() for name, one in found["state"].items()})
    return network


def _called(recipe: ClassifyRecipe, make: Any, classes: int) -> nn.Module:
    place = recipe.where("network")
    try:
        network = make(classes=classes, **recipe.network.options)
    except TypeError as error:
        raise ConfigError(f"{place}: it does not take these options: {error}") from error
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{place}: it returns {type(network).__name__}, expected a torch module")
    return network


def _function(recipe: ClassifyRecipe, folders: list[Path]) -> Any:
    """The user's function, from a module that stands beside the recipe or is installed."""
    module, _, name = str(recipe.network.python).partition(":")
    place = recipe.where("network", "python")
    sys.path[:0] = [str(folder) for folder in folders]
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ConfigError(f"{place}: cannot import {module} ({error}): put it beside the recipe") from error
    except AttributeError:
        raise ConfigError(f"{place}: {module} has no function {name!r}") from None
    finally:
        del sys.path[: len(folders)]


def _model_path(name: str, folders: list[Path]) -> Path:
    """A file beside the recipe, or a model of the zoo."""
    if name.endswith(".tflite"):
        return data_path(name, folders)
    from edgekit.zoo import find_model

    return find_model(name).path


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:12])
    return f"{len(names)} ({shown}{', ...' if len(names) > 12 else ''})"
