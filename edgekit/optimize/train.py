"""A recipe, photographs and a teacher in; an int8 `.tflite` out. Can be stopped and resumed."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgekit.errors import ConfigError, SourceError
from edgekit.optimize.augment import Strength
from edgekit.optimize.batches import Batch, ahead, as_tensor, epoch_batches
from edgekit.optimize.card import Origin, write_card
from edgekit.optimize.equalise import activation_peaks, equalise
from edgekit.optimize.export import export
from edgekit.optimize.fidelity import measure
from edgekit.optimize.nets import Detector
from edgekit.optimize.photos import Photo, letterbox, load_photos
from edgekit.optimize.quantize import is_quantized, quantized
from edgekit.optimize.recipe import Recipe, Stage, load_recipe
from edgekit.optimize.score import average_precision
from edgekit.optimize.teacher import load_teacher
from edgekit.optimize.trainer import Trainer, calm, opinion, schedule_steps
from edgekit.optimize.transplant import make_student, refresh_statistics

FIDELITY_PHOTOS = 20


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """All that a training reads and where it writes."""

    recipe: Recipe
    train: list[Photo]
    val: list[Photo]
    teacher: Detector
    out_dir: Path
    progress: Callable[[str], None]


def train(
    recipe_path: Path,
    data_dir: Path,
    teacher_path: Path,
    out_dir: Path,
    *,
    resume: bool,
    progress: Callable[[str], None],
) -> Path:
    """What `edgekit.optimize.optimize` promises."""
    recipe = load_recipe(recipe_path)
    teacher = load_teacher(teacher_path).to(memory_format=torch.channels_last)
    job = Job(recipe, *_photos(data_dir, recipe), teacher, out_dir, progress)
    saved = _saved(job) if resume else None
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        network = _run(job, saved)
        path = _export(job, network)
        agreement = measure(network, path, job.val[:FIDELITY_PHOTOS], recipe.size_px)
    finally:
        torch.set_num_threads(before)
    progress(f"outputs of {path} beside those of torch: {agreement}")
    write_card(Origin(recipe_path, data_dir, teacher_path), recipe, path, agreement)
    return path


def _photos(data_dir: Path, recipe: Recipe) -> tuple[list[Photo], list[Photo]]:
    """The photographs to train on and those to watch."""
    images, ids = data_dir / "images", recipe.category_ids
    train = load_photos(data_dir / "annotations_train.json", images, ids)
    val = load_photos(data_dir / "annotations_val.json", images, ids, recipe.watched_photos)
    if len(train) < recipe.batch:
        raise SourceError(f"{data_dir}: {len(train)} photographs, fewer than one batch of {recipe.batch}")
    return train, val


def _saved(job: Job) -> dict[str, Any] | None:
    """The checkpoint to go on from; ConfigError if another recipe made it."""
    path = job.out_dir / "checkpoint.pt"
    if not path.exists():
        return None
    saved: dict[str, Any] = torch.load(path, weights_only=True)
    if saved["recipe"] != job.recipe.model_dump_json():
        raise ConfigError(f"{path}: made by another recipe: give another --out, or delete the file")
    return saved


def _run(job: Job, saved: dict[str, Any] | None) -> Detector:
    """Run all stages, or those that a checkpoint leaves; returns the averaged network of the last."""
    torch.manual_seed(job.recipe.seed)
    network = make_student(job.teacher, _calibration(job), job.recipe.columns, job.recipe.activation)
    network = network.to(memory_format=torch.channels_last)
    state = saved or {"stage": 0, "epoch": 0, "trainer": None, "finished": {}}
    for number, stage in enumerate(job.recipe.stages):
        network = _prepared(job, network, stage)
        trainer = Trainer(
            network, job.teacher, job.recipe, stage, schedule_steps(job.train, job.recipe, stage)
        )
        if number < state["stage"]:
            trainer.restore(state["finished"][number])
        else:
            if state["trainer"] is not None:
                trainer.restore(state["trainer"])
            _train_stage(job, trainer, (number, state["epoch"]), state["finished"])
            finished = {**state["finished"], number: trainer.state()}
            state = {"stage": number + 1, "epoch": 0, "trainer": None, "finished": finished}
        network = _settled(job, trainer.averaged).requires_grad_(True)
    return network.eval()


def _settled(job: Job, averaged: Detector) -> Detector:
    """A copy of averaged weights with the statistics that belong to them, taken on plain photographs."""
    network = copy.deepcopy(averaged)
    if not is_quantized(network):
        refresh_statistics(network, _calibration(job))
    return network.eval()


def _prepared(job: Job, network: Detector, stage: Stage) -> Detector:
    """The network that a stage starts with: quantised before the first int8 stage."""
    if stage.kind == "float" or is_quantized(network):
        return network
    twin = quantized(network)
    equalise(twin, activation_peaks(network, _calibration(job)))
    return twin


def _calibration(job: Job) -> list[Tensor]:
    count, size = job.recipe.calibration_photos, job.recipe.size_px
    images = [letterbox(photo.image, size)[0] for photo in job.train[:count]]
    return [as_tensor(images[start : start + 16]) for start in range(0, len(images), 16)]


def _train_stage(job: Job, trainer: Trainer, place: tuple[int, int], finished: dict[int, Any]) -> None:
    """Run the epochs of a stage that are left, with a checkpoint after each."""
    number, first = place
    stage = job.recipe.stages[number]
    for epoch in range(first, stage.epochs):
        begin = time.monotonic()
        losses = trainer.run_epoch(ahead(_batches(job, stage, number, epoch)), job.progress)
        speed = len(job.train) / (time.monotonic() - begin)
        job.progress(
            f"{stage.kind} epoch {epoch + 1}/{stage.epochs} classes {losses.classes:.3f} "
            f"boxes {losses.boxes:.3f} features {losses.features:.3f} {speed:.1f} images/s"
        )
        _save(job, {"stage": number, "epoch": epoch + 1, "trainer": trainer.state(), "finished": finished})
        if epoch % 2 or epoch + 1 == stage.epochs:
            job.progress(_score(job, trainer.averaged))


def _batches(job: Job, stage: Stage, number: int, epoch: int) -> Iterator[Batch]:
    strength = Strength(mosaic=0.0 if calm(stage, epoch) else stage.mosaic, scale=stage.scale)
    seeds = (job.recipe.seed, number, epoch)
    return epoch_batches(job.train, job.recipe.batch, job.recipe.size_px, strength, seeds)


def _score(job: Job, network: Detector) -> str:
    names = job.recipe.names
    predict = opinion(_settled(job, network), len(names))
    figures = average_precision(predict, job.val, job.recipe.size_px, names)
    return f"on {len(job.val)} photos: " + " ".join(f"{key} {value:.3f}" for key, value in figures.items())


def _save(job: Job, state: dict[str, Any]) -> None:
    """Write the checkpoint so that an interruption leaves the old one or the new one."""
    job.out_dir.mkdir(parents=True, exist_ok=True)
    new = job.out_dir / "checkpoint.new"
    torch.save({**state, "recipe": job.recipe.model_dump_json()}, new)
    new.replace(job.out_dir / "checkpoint.pt")


def _export(job: Job, network: Detector) -> Path:
    job.out_dir.mkdir(parents=True, exist_ok=True)
    path = job.out_dir / "model.tflite"
    path.write_bytes(export(network, job.recipe.size_px, job.recipe.name))
    return path
