"""Whether the models of a config are there, fit the device and know what they are to look for."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from edgekit.config import BudgetConfig, Config, config_of
from edgekit.config.complaint import tell
from edgekit.config.document import Document, Loc, read_document
from edgekit.device import Device, load_device
from edgekit.engine import estimate_memory
from edgekit.errors import BudgetError, ConfigError, ModelError, SourceError, UsageError
from edgekit.inference import Model, find_file
from edgekit.inference import open as open_model
from edgekit.model import read
from edgekit.mqtt.tls import tls_faults
from edgekit.select import Wish, select
from edgekit.sources import check_source
from edgekit.zoo import Card, list_models

_log = logging.getLogger("edgekit.budget")
DETECT, CLASSIFY = "detect", "classify"


def read_config(path: str | Path, *, connects: bool = True, names: bool = True) -> Config:
    """A pipeline's YAML file, and all that it names.

    Who never `connects`, to cameras and a broker, needs no files and no secrets of theirs; without `names`
    those of device, models and classes need not hold. Raises ConfigError, one line for each mistake.
    """
    document = read_document(path)
    if not connects:
        document.stand_in(_is_of_a_connection)
    config = config_of(document)
    check_config(config, document, connects=connects, names=names)
    return config


def check_config(config: Config, document: Document, *, connects: bool = False, names: bool = True) -> None:
    """Refuse a device, a model, a class, a certificate or a clip that is not there, before any is opened.

    A model without a card may know anything until it is opened. Raises ConfigError with a line for each
    mistake and its place in the file.
    """
    mistakes: list[tuple[Loc, str]] = []
    if connects:
        mistakes += [*_unreadable_certificates(config), *_absent_sources(config)]
    if names:
        mistakes += [*_unknown_device(config), *_unfit_models(config)]
    if mistakes:
        raise ConfigError(tell(document, mistakes))


def _is_of_a_connection(loc: Loc) -> bool:
    """To the broker, to a visitor of the live page, or to a camera."""
    return loc[0] in ("mqtt", "web") or (loc[0], loc[2:]) == ("cameras", ("source",))


def _unreadable_certificates(config: Config) -> Iterator[tuple[Loc, str]]:
    for name, fault in tls_faults(config.mqtt.tls).items() if config.mqtt.tls else ():
        yield ("mqtt", "tls", name), fault


def _absent_sources(config: Config) -> Iterator[tuple[Loc, str]]:
    """Files and folders that are not there; cameras and streams may come later."""
    for name, camera in config.cameras.items():
        loc = ("cameras", name, "source")
        try:
            check_source(camera.source)
        except (SourceError, UsageError) as error:
            yield loc, "what is read from there is no source" if loc in config.secret else str(error)


def _unknown_device(config: Config) -> Iterator[tuple[Loc, str]]:
    try:
        load_device(config.device.profile)
    except (ConfigError, UsageError) as error:
        yield ("device", "profile"), str(error)


def _unfit_models(config: Config) -> Iterator[tuple[Loc, str]]:
    for loc, name, task in named_models(config):
        try:
            card = find_file(name)[1]
        except (ConfigError, UsageError, ModelError) as error:
            yield loc, str(error)
        else:
            yield from [] if card is None else _disagreements(config, loc, card, task)


def named_models(config: Config) -> Iterator[tuple[Loc, str, str]]:
    """Where a model is named, its name and its task; an unnamed one is chosen by what the device can."""
    if config.model.name:
        yield ("model", "name"), config.model.name, DETECT
    for i, name in enumerate(config.model.fallback):
        yield ("model", "fallback", i), name, DETECT
    for name, camera in config.cameras.items():
        if camera.detect.second_look:
            yield (
                ("cameras", name, "detect", "second_look", "model"),
                camera.detect.second_look.model,
                CLASSIFY,
            )


def _disagreements(config: Config, loc: Loc, card: Card, task: str) -> Iterator[tuple[Loc, str]]:
    """What the config wants of a model and its card denies."""
    if card.task != task:
        yield loc, f"{card.name} is a model to {card.task}, expected one to {task}"
        return
    wanted = _of_second_look(config, loc) if task == CLASSIFY else _watched(config)
    for place, label in wanted:
        if label not in card.labels:
            yield place, _unknown(f"model {card.name}", label, card.labels)
    if task == DETECT:
        yield from _unwatched(config, card.labels)


def _watched(config: Config) -> Iterator[tuple[Loc, str]]:
    for name, camera in config.cameras.items():
        for i, label in enumerate(camera.detect.labels or ()):
            yield ("cameras", name, "detect", "labels", i), label


def _of_second_look(config: Config, loc: Loc) -> Iterator[tuple[Loc, str]]:
    look = config.cameras[str(loc[1])].detect.second_look
    for i, label in enumerate(look.between if look else ()):
        yield (*loc[:-1], "between", i), label


def _unwatched(config: Config, known: Sequence[str]) -> Iterator[tuple[Loc, str]]:
    """Classes that a place or an alarm names and that its camera never reports."""
    for name, camera in config.cameras.items():
        watched = camera.detect.labels or known
        for place, label in camera.labels_at():
            if label not in watched:
                yield ("cameras", name, *place), _unknown("detect.labels", label, watched)


def _unknown(who: str, label: str, known: Sequence[str]) -> str:
    near = get_close_matches(label, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"it knows {', '.join(known)}"
    return f"{who} knows no {label!r}: {hint}"


def check_labels(config: Config, model: Model) -> None:
    """Refuse classes that the model does not know, or that are not watched: they would never be seen."""
    if model.task != DETECT:
        raise UsageError(f"{model.name} is a model to {model.task}: a pipeline needs one to detect")
    strange = [(loc, label) for loc, label in _watched(config) if label not in model.labels]
    for loc, label in strange:
        raise UsageError(f"camera {loc[1]}: {_unknown(f'model {model.name}', label, model.labels)}")
    for loc, text in _unwatched(config, model.labels):
        raise UsageError(f"camera {loc[1]}: {'.'.join(map(str, loc[2:4]))}: {text}")


def choose_model(config: Config, device: Device) -> Config:
    """The config with a model's name, chosen for the device where none is given. Raises BudgetError."""
    model = config.model
    if model.name or model.task is None:
        return config
    budget = model.budget or BudgetConfig()
    wish = Wish(
        model.task, tuple(model.labels), budget.latency_ms, budget.memory_mb,
        prefer=model.prefer, threads=model.threads,
    )  # fmt: skip
    picked = select(wish, device).picked
    _log.info(
        "%s is chosen for %s: %.1f ms, %.1f MB", picked.name, device.name, picked.latency_ms, picked.memory_mb
    )
    if picked.doubt:
        _log.warning("%s %s: no other is surely faster", picked.name, picked.doubt)
    return config.model_copy(update={"model": model.model_copy(update={"name": picked.name})})


def check_memory(config: Config, device: Device) -> float:
    """The megabytes that the models may take; refuse, before they are loaded, what cannot fit."""
    names = [config.model.name, *config.model.fallback]
    limit_mb, reason = float(device.kit_memory_mb), f"device {device.name}"
    asked_mb = config.model.budget and config.model.budget.memory_mb
    if asked_mb and asked_mb < limit_mb:
        limit_mb, reason = asked_mb, "model.budget.memory_mb"
    needs_mb = sum(estimate_memory(read(find_file(name)[0])) for name in names) / 2**20
    if needs_mb <= limit_mb:
        return limit_mb
    others = [(estimate_memory(read(m.path)) / 2**20, m.name) for m in list_models()]
    fitting = [f"{name} ({mb:.1f} MB)" for mb, name in sorted(others) if mb <= limit_mb]
    hint = f"these fit: {', '.join(fitting)}" if fitting else "no model of the zoo fits: raise the budget"
    raise BudgetError(
        f"model {' and '.join(names)} needs {needs_mb:.1f} MB, {reason} allows {limit_mb:g} MB: {hint}"
    )


def open_seconds(config: Config) -> dict[str, Model]:
    """The classifier of each camera's second look; cameras that ask for the same share it."""
    opened: dict[str, Model] = {}
    found = {}
    for name, camera in config.cameras.items():
        if wanted := camera.detect.second_look:
            model = opened.setdefault(wanted.model, open_model(wanted.model))
            if model.task != CLASSIFY:
                raise UsageError(f"camera {name}: detect.second_look: {model.name} is no classifier")
            for label in wanted.between:
                if label not in model.labels:
                    where = f"camera {name}: detect.second_look: {model.name}"
                    raise UsageError(_unknown(where, label, model.labels))
            found[name] = model
    return found
