"""A recipe, photographs and a teacher in; int8 `.tflite` files out. Can be stopped and resumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.errors import ConfigError, SourceError
from edgekit.optimize.detection.album import Album, make_album
from edgekit.optimize.detection.augment import Strength, Truth
from edgekit.optimize.detection.batches import Batch, ahead, as_tensor, epoch_batches
from edgekit.optimize.detection.card import Origin, write_card
from edgekit.optimize.detection.fidelity import measure
from edgekit.optimize.detection.losses import (
    detection_loss,
    detections,
    feature_loss,
    teacher_opinion,
    twin_opinion,
)
from edgekit.optimize.detection.nets import Detector, student_network
from edgekit.optimize.detection.photos import Photo, letterbox, load_photos
from edgekit.optimize.detection.recipe import Recipe, load_recipe
from edgekit.optimize.detection.score import Predict, average_precision
from edgekit.optimize.detection.targets import Grid, make_grid, make_target
from edgekit.optimize.detection.teacher import load_teacher
from edgekit.optimize.detection.transplant import from_file, make_student
from edgekit.optimize.training import report
from edgekit.optimize.training.accelerator import layout, maker, title
from edgekit.optimize.training.divergence import LOOK, check_loss, check_state
from edgekit.optimize.training.quantization import device_of, is_quantized
from edgekit.optimize.training.recording import Gradients
from edgekit.optimize.training.run import CHECKPOINT, History, told_with
from edgekit.optimize.training.session import Session, wrap

FIDELITY_PHOTOS = 20
GRADIENT_NORM = 20.0
SILENCE_S = 60.0  # at most, between two lines of progress
FLOAT = "float.pt"  # the weights at the end of the last epoch before that in which the network becomes int8


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """All that a training reads and where it writes."""

    recipe: Recipe
    train: list[Photo]
    val: list[Photo]
    teacher: Detector
    device: torch.device
    out_dir: Path
    progress: Callable[[str], None]


def train(
    recipe_path: Path,
    data_dir: Path,
    teacher_path: Path,
    out_dir: Path,
    device: torch.device,
    *,
    resume: bool,
    progress: Callable[[str], None],
) -> list[Path]:
    """Train and write `out_dir/<size>/model.tflite` and its card for every size; returns their paths."""
    recipe = load_recipe(recipe_path)
    report.check_devices(recipe, recipe.devices)
    progress(title(device))
    teacher = load_teacher(teacher_path).to(memory_format=layout(device))
    job = Job(recipe, *_photos(data_dir, recipe), teacher, device, out_dir, progress)
    session, course = _run(job, resume=resume)
    session.model.cpu()
    origin = Origin(recipe_path, data_dir, teacher_path, course.history.trained)
    return [_finish(job, session, course, size_px, origin) for size_px in recipe.sizes_px]


def _finish(job: Job, session: Session, course: Course, size_px: int, origin: Origin) -> Path:
    """The file of one size with its card and its report."""
    path = _export(job, session, size_px)
    agreement = measure(session.model, path, job.val[:FIDELITY_PHOTOS], size_px)
    job.progress(f"outputs of {path} beside those of torch: {agreement}")
    write_card(origin, job.recipe, path, size_px, agreement)
    found = {
        "name": job.recipe.name_of(size_px),
        "task": "detect",
        "before": course.before[size_px],
        "after": _main_scores(_scores(job, session.model, size_px)),
        "pictures": {"train": len(job.train), "val": len(job.val)},
        "agreement": agreement,
        "file": report.facts(path.read_bytes()),
        "latency": report.latency(path, job.recipe.devices),
        "seconds": course.seconds,
        "seed": job.recipe.seed,
        "trained": course.history.trained,
        "history": course.history.epochs,
        "recipe": origin.recipe_path.read_text(encoding="utf-8"),
    }
    for written in report.write_report(found, path.parent):
        job.progress(f"{written}")
    return path


@dataclass
class Course:
    """What happened: scores of each size before anything was changed, and the epochs, at the first size."""

    before: dict[int, dict[str, float]] = field(default_factory=dict)
    history: History = field(default_factory=History)
    seconds: float = 0.0


def _photos(data_dir: Path, recipe: Recipe) -> tuple[list[Photo], list[Photo]]:
    """The photographs to train on and those to watch."""
    images, ids = data_dir / "images", recipe.category_ids
    train = load_photos(data_dir / "annotations_train.json", images, ids)
    val = load_photos(data_dir / "annotations_val.json", images, ids, recipe.watched_photos)
    if len(train) < recipe.batch:
        raise SourceError(f"{data_dir}: {len(train)} photographs, fewer than one batch of {recipe.batch}")
    return train, val


def _run(job: Job, *, resume: bool) -> tuple[Session, Course]:
    """Run all epochs, or those that a checkpoint leaves."""
    recipe = job.recipe
    torch.manual_seed(recipe.seed)
    student = _student(job).to(job.device, memory_format=layout(job.device))
    optimiser = torch.optim.AdamW(_groups(student, recipe.weight_decay))
    twin = _twin(job)
    session = wrap(student, optimiser, recipe, len(job.train) // recipe.batch, twin)
    first, course = _restore(job, session) if resume else (0, Course())
    if first < session.epochs:
        with told_with(job.out_dir / CHECKPOINT):
            _train(job, session, twin, first, course)
    student.eval()
    return session, course


def _train(job: Job, session: Session, twin: Detector | None, first: int, course: Course) -> None:
    lesson, album = Lesson(job, session, twin), make_album(job.train, job.device)
    history, saved = course.history, time.monotonic()
    if not course.before:
        found = {size_px: _scores(job, session.model, size_px) for size_px in job.recipe.sizes_px}
        course.before = {size_px: _main_scores(scores) for size_px, scores in found.items()}
        history.add(session, 0, course.before[job.recipe.sizes_px[0]])
    for epoch in range(first, session.epochs):
        begin = time.monotonic()
        losses = lesson.run_epoch(ahead(_batches(job, session, album, epoch)))
        speed = len(album) / (time.monotonic() - begin)
        job.progress(f"epoch {epoch + 1}/{session.epochs} loss {_shown(losses)} {speed:.1f} images/s")
        history.loss_sum, history.loss_count = history.loss_sum + float(losses.sum()), history.loss_count + 1
        if (epoch + 1) % job.recipe.pause == 0 or epoch + 1 == session.epochs:
            scores = _scores(job, session.model, job.recipe.sizes_px[0])
            history.trained = maker(job.device)
            history.add(session, epoch + 1, _main_scores(scores))
            course.seconds, saved = course.seconds + time.monotonic() - saved, time.monotonic()
            _save(job, session, epoch + 1, course)
            job.progress(_told(job, scores))
        if not is_quantized(session.model) and job.recipe.turns_int8(epoch + 1):
            check_state(session.model.state_dict(), session)
            _write(job.out_dir / FLOAT, session.model.state_dict())


def _student(job: Job) -> Detector:
    """As the recipe wants it: the teacher's twin, or what an earlier training left."""
    if job.recipe.start is None:
        return make_student(job.teacher, _calibration(job), job.recipe.columns)
    path = _earlier(job, "start", job.recipe.start)
    if path.suffix == ".tflite":
        return from_file(path)
    student = student_network()
    student.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return student


def _twin(job: Job) -> Detector | None:
    """The network whose detections are learnt, and which stages `distill` without a teacher learn from."""
    if job.recipe.twin is None:
        return None
    twin = from_file(_earlier(job, "twin", job.recipe.twin))
    return twin.eval().to(job.device, memory_format=layout(job.device))


def _earlier(job: Job, key: str, name: str) -> Path:
    path = (job.out_dir / name).resolve()
    if not path.is_file():
        raise SourceError(f"{path}: no such file: train the recipe first whose file `{key}` names")
    return path


class Lesson:
    """One network learning from boxes and from the teacher's opinion and features."""

    def __init__(self, job: Job, session: Session, twin: Detector | None) -> None:
        self.job, self.session, self.twin = job, session, twin
        self.grids = {size: make_grid(size, job.device) for size in job.recipe.sizes_px}
        self.total = session.epochs * session.steps_per_epoch
        self.features: dict[nn.Module, tuple[Tensor, ...]] = {}
        self.gradients = Gradients(session, self._losses, job.device)
        for network in (session.model, job.teacher.to(job.device)):
            network.trunk.register_forward_hook(self._keep)

    def _keep(self, trunk: nn.Module, _inputs: object, output: tuple[Tensor, ...]) -> None:
        self.features[trunk] = output

    def run_epoch(self, batches: Iterator[Batch]) -> Tensor:
        """Train on the batches; the mean losses of classes, boxes and features."""
        sums, count, told = torch.zeros(3, device=self.job.device), 0, time.monotonic()
        self.session.model.train()
        for batch in batches:
            sums += self._step(batch)
            count += 1
            if self.job.device.type == "cpu" or count % LOOK == 0:
                check_loss(float(sums.sum()), self.session)
            if time.monotonic() - told > SILENCE_S:
                told = time.monotonic()
                self.job.progress(f"step {self.session.steps}/{self.total} loss {_shown(sums / count)}")
        check_loss(float(sums.sum()), self.session)
        return sums / max(count, 1)

    def _step(self, batch: Batch) -> Tensor:
        truth = batch.truth
        weight = self.job.recipe.feature_weight * (1 - self.session.steps / self.total)
        likeness = torch.full((), weight, device=self.job.device)
        told = self.gradients(batch.images, truth.boxes, truth.labels, truth.ignored, likeness)
        nn.utils.clip_grad_norm_(self.session.model.parameters(), GRADIENT_NORM)
        self.session.step()
        return told

    def _losses(
        self, images: Tensor, boxes: Tensor, labels: Tensor, ignored: Tensor, likeness: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Their sum; those of classes, boxes and features."""
        recipe, teacher = self.job.recipe, self.job.teacher
        images = images.contiguous(memory_format=layout(self.job.device))
        grid = self.grids[images.shape[-1]]
        if recipe.labels != "boxes":
            return self._unlabelled(images, grid)
        self.features.clear()
        with torch.no_grad():
            target = make_target(
                *teacher_opinion(teacher(images), recipe.columns, grid), Truth(boxes, labels, ignored), grid
            )
        maps = self.session.model(images)
        classes, apart = detection_loss(maps, target, grid, len(recipe.classes))
        losses = torch.stack((classes, apart, likeness * self._unlikeness(classes)))
        return losses.sum(), losses

    def _unlabelled(self, images: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """The loss beside what the twin detects, or of 0; stages `distill` add theirs where it flows back."""
        maps, classes = self.session.model(images), len(self.job.recipe.classes)
        if self.job.recipe.labels == "twin" and self.twin is not None:
            with torch.no_grad():
                target = twin_opinion(self.twin(images), classes, grid)
            losses = detection_loss(maps, target, grid, classes)
        else:
            nothing = torch.stack([(0 * one).sum() for one in maps]).sum()
            losses = nothing, nothing
        loss = torch.stack(losses)
        return loss.sum(), torch.cat((loss.detach(), self.session.unlikeness().to(loss)[None]))

    def _unlikeness(self, like: Tensor) -> Tensor:
        """Of the features; int8 channels have scales of their own, so only while the network is float."""
        own = self.features.get(self.session.model.trunk)
        if own is None:
            return like.new_zeros(())
        return feature_loss(own, self.features[self.job.teacher.trunk])


def _shown(losses: Tensor) -> str:
    return " ".join(f"{value:.3f}" for value in losses.tolist())


def _groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weights of convolutions decay; biases and batch norms do not."""
    deep = [one for one in network.parameters() if one.ndim > 1]
    flat = [one for one in network.parameters() if one.ndim <= 1]
    return [{"params": deep, "weight_decay": decay}, {"params": flat, "weight_decay": 0.0}]


def _calibration(job: Job) -> list[Tensor]:
    count, size = job.recipe.calibration_photos, job.recipe.sizes_px[0]
    images = [letterbox(photo.image, size)[0] for photo in job.train[:count]]
    return [as_tensor(images[start : start + 16]) for start in range(0, len(images), 16)]


def _batches(job: Job, session: Session, album: Album, epoch: int) -> Iterator[Batch]:
    recipe, augment = job.recipe, job.recipe.augment
    is_calm = epoch >= session.epochs - augment.calm
    strength = Strength(mosaic=0.0 if is_calm else augment.mosaic, scale=augment.scale)
    return epoch_batches(album, recipe.batch, recipe.sizes_px, strength, (recipe.seed, epoch))


def _scores(job: Job, network: nn.Module, size_px: int) -> dict[str, float]:
    names = job.recipe.names
    return average_precision(opinion(network.eval(), len(names)), job.val, size_px, names)


def _main_scores(scores: dict[str, float]) -> dict[str, float]:
    """Those of all classes together, which are always numbers."""
    return {key: scores[key] for key in ("map", "ap50")}


def _told(job: Job, scores: dict[str, float]) -> str:
    told = " ".join(f"{key} {value:.3f}" for key, value in scores.items())
    return f"on {len(job.val)} photos at {job.recipe.sizes_px[0]} px: {told}"


def opinion(network: nn.Module, classes: int) -> Predict:
    """The scores and boxes of a student, as `average_precision` wants them."""

    def predict(images: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        device = device_of(network)
        images = images.to(device, memory_format=layout(device))
        return detections(tuple(one.cpu() for one in network(images)), classes, grid)

    return predict


def _save(job: Job, session: Session, epoch: int, course: Course) -> None:
    told = {"before": course.before, "history": vars(course.history), "seconds": course.seconds}
    _write(job.out_dir / CHECKPOINT, {"epoch": epoch, "session": session.state_dict(), "course": told})


def _write(path: Path, state: dict[str, Any]) -> None:
    """An interruption leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def _restore(job: Job, session: Session) -> tuple[int, Course]:
    """Take up the checkpoint, if there is one; the epochs behind it, and what happened in them."""
    path = job.out_dir / CHECKPOINT
    if not path.exists():
        return 0, Course()
    saved: dict[str, Any] = torch.load(path, weights_only=True, map_location=job.device)
    if saved["session"]["recipe"] != job.recipe.model_dump_json():
        raise ConfigError(f"{path}: made by another recipe: give another --out, or delete the file")
    session.load_state_dict(saved["session"])
    told = saved["course"]
    return int(saved["epoch"]), Course(told["before"], History(**told["history"]), told["seconds"])


def _export(job: Job, session: Session, size_px: int) -> Path:
    path = job.out_dir / str(size_px) / "model.tflite"
    path.parent.mkdir(parents=True, exist_ok=True)
    session.export(path, torch.zeros(1, 3, size_px, size_px), job.recipe.name_of(size_px))
    return path
