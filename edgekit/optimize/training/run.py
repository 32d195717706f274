"""Runs a whole training by a recipe: epochs, scores, checkpoints, the exported file, the report.

What is trained comes as a `Task`. The same seed gives the same file, whether or not the run was interrupted:
batches depend on the seed, the epoch and their number alone, and so does every other draw.
"""

from __future__ import annotations

import io
import itertools
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from edgekit.errors import ConfigError, DivergedError
from edgekit.files import make_folder, write_bytes
from edgekit.optimize.training.accelerator import layout, maker, title
from edgekit.optimize.training.divergence import LOOK, check_loss
from edgekit.optimize.training.modifiers import SHOWN
from edgekit.optimize.training.quantization import calibrate, is_quantized, ranges
from edgekit.optimize.training.recording import Gradients
from edgekit.optimize.training.sensitivity import complaint, keep_floats, rounding_errors
from edgekit.optimize.training.session import Session, wrap
from edgekit.optimize.training.settings import OptimizerSettings, RunSettings
from edgekit.optimize.training.showing import choose_inputs
from edgekit.optimize.training.stages import Schedule

CHECKPOINT = "checkpoint.pt"
Batch = tuple[Tensor, Tensor]  # inputs, and what the loss wants


class Task(Protocol):
    """What is trained, on what, and how good it is."""

    steps_per_epoch: int

    def network(self) -> nn.Module:
        """The network to start from; its weights are drawn from torch's generator."""
        ...

    def batches(self, epoch: int, first: int) -> Iterator[Batch]:
        """The batches of an epoch from number `first`; the same for the same epoch and number."""
        ...

    def loss(self, outputs: Any, wanted: Tensor) -> Tensor:
        """A mean over the batch."""
        ...

    def teacher(self) -> nn.Module | None:
        """What stages `distill` without a teacher of their own learn from."""
        ...

    def score(self, network: nn.Module) -> dict[str, float]:
        """Figures on the validation data, the most important first."""
        ...


class Watch(Protocol):
    """Hears how a run goes on: the progress bars of a terminal, or nothing."""

    def epoch(self, epoch: int, epochs: int, steps: int) -> None: ...
    def step(self, done: int, loss: float) -> None: ...
    def say(self, text: str) -> None: ...


@dataclass
class History:
    """What happened, epoch by epoch; epoch 0 is before the training."""

    epochs: list[dict[str, Any]] = field(default_factory=list)
    trained: str = ""  # on what the last step was made
    loss_sum: float = 0.0
    loss_count: int = 0

    def add(self, session: Session, epoch: int, scores: dict[str, float]) -> dict[str, Any]:
        masked = session.masks.masks.values()
        zeros, weights = sum(int((m == 0).sum()) for m in masked), sum(m.numel() for m in masked)
        row: dict[str, Any] = {
            "epoch": epoch,
            "loss": self.loss_sum / self.loss_count if self.loss_count else None,
            "learning_rate": session.param_groups[0]["lr"],
            "sparsity": zeros / weights if weights else 0.0,
            "quantized": is_quantized(session.model),
            **scores,
        }
        self.epochs.append(row)
        self.loss_sum, self.loss_count = 0.0, 0
        return row


@dataclass(frozen=True, eq=False)
class Outcome:
    """A finished run: the trained network, what happened, and the bytes of its file if it ends in int8."""

    network: nn.Module
    history: History
    content: bytes | None
    seconds: float


def run(
    task: Task, schedule: Schedule, settings: RunSettings, out_dir: Path, watch: Watch,
    device: torch.device, *, resume: bool = True,
) -> Outcome:  # fmt: skip
    """Train, with a checkpoint in `out_dir` every few minutes and after an interruption.

    Raises ConfigError for a recipe that does not fit, KeyboardInterrupt after the checkpoint of an
    interruption, DivergedError when the loss, a gradient or a weight is no number any more; the checkpoint is
    then one from before.
    """
    torch.manual_seed(settings.seed)
    before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        return _Run(task, schedule, settings, out_dir, watch, device).go(resume=resume)
    finally:
        torch.set_num_threads(before)


class _Run:
    def __init__(
        self, task: Task, schedule: Schedule, settings: RunSettings, out_dir: Path, watch: Watch,
        device: torch.device,
    ) -> None:  # fmt: skip
        make_folder(out_dir)
        self.task, self.settings, self.out_dir, self.watch, self.device = (
            task,
            settings,
            out_dir,
            watch,
            device,
        )
        self.layout = layout(device, bfloat16=settings.bfloat16)
        network = task.network().to(device, memory_format=self.layout)
        optimizer, teacher = optimizer_of(network, settings.optimizer), task.teacher()
        if teacher is not None:
            teacher.to(device, memory_format=self.layout)
        self.session = wrap(network, optimizer, schedule, task.steps_per_epoch, teacher)
        self.gradients = Gradients(self.session, self._loss, device)
        self.losses: list[Tensor] = []
        self.history = History()
        self.spent = 0.0

    def go(self, *, resume: bool) -> Outcome:
        if resume:
            self._restore()
        self.begun = self.saved = time.monotonic()
        self.watch.say(title(self.device))
        network, steps = self.session.model, self.task.steps_per_epoch
        with interruptible() as stopped, told_with(self.out_dir / CHECKPOINT):
            if not self.history.epochs:
                self._score(0)
            while len(self.history.epochs) <= self.session.epochs:
                epoch = len(self.history.epochs) - 1
                self.watch.epoch(epoch, self.session.epochs, steps)
                network.train()
                first = self.session.steps - epoch * steps
                for number, batch in enumerate(self.task.batches(epoch, first), first + 1):
                    self._step(batch, number)
                    self._save_when_due(stopped)
                self._score(epoch + 1)
            self._save()
        self.session.finish()
        network.cpu()  # the file is written there
        if is_quantized(network):
            self._tell_what_breaks()
        content = self.session.content(self._inputs(), self.settings.name) if is_quantized(network) else None
        return Outcome(network.eval(), self.history, content, self._seconds())

    def _tell_what_breaks(self) -> None:
        """Name the part of the network that int8 is too coarse for, if there is one."""
        inputs = choose_inputs(self.task.batches(0, 0), SHOWN).float()
        if line := complaint(rounding_errors(self.session.model, inputs)):
            self.watch.say(line)

    def _inputs(self) -> Tensor:
        """Inputs of the first epoch, as many as the file's one-shot pruning wants."""
        stages = [stage.one_shot for stage in self.session.schedule.stages if stage.one_shot]
        count = max((stage.inputs for stage in stages), default=1)
        even = max((stage.even for stage in stages), default=0.0)
        return choose_inputs(self.task.batches(0, 0), count, even)

    def _calibrate(self) -> None:
        """Set the ranges of a network that is quantised without a step of training in int8."""
        network = self.session.model
        if is_quantized(network) and any(not one.is_set for one in ranges(network)):
            batches = [inputs for inputs, _ in itertools.islice(self.task.batches(0, 0), 8)]
            calibrate(network, batches)
            most = max(stage.quantize.keep_float for stage in self.session.schedule.stages if stage.quantize)
            if lines := keep_floats(network, batches[0][:SHOWN].float(), most):
                calibrate(network, batches)
            for line in lines:
                self.watch.say(line)

    def _step(self, batch: Batch, number: int) -> None:
        torch.manual_seed(self.settings.seed * 1_000_003 + self.session.steps)  # for dropout and the like
        self.history.trained = maker(self.device)
        self.losses.append(self.gradients(*batch))
        self.session.step()
        if self.device.type == "cpu" or len(self.losses) >= LOOK:
            self._look(number)

    def _loss(self, images: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        network = self.session.model
        low = self.settings.bfloat16 and not is_quantized(network)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=low):
            outputs = network(images.contiguous(memory_format=self.layout))
        loss = self.task.loss(outputs, wanted)
        return loss, loss

    def _look(self, number: int) -> None:
        """Read the losses since the last look, of which the last is that of step `number` of the epoch."""
        values = torch.stack(self.losses).tolist() if self.losses else []
        self.losses.clear()
        for done, value in enumerate(values, number - len(values) + 1):
            check_loss(value, self.session)
            self.history.loss_sum += value
            self.history.loss_count += 1
            self.watch.step(done, value)

    def _score(self, epoch: int) -> None:
        self._look(self.task.steps_per_epoch)
        self._calibrate()
        scores = self.task.score(self.session.model.eval())
        row = self.history.add(self.session, epoch, scores)
        shown = " ".join(f"{key} {value:.4f}" for key, value in scores.items())
        loss = "" if row["loss"] is None else f" loss {row['loss']:.4f}"
        self.watch.say(
            f"epoch {epoch}/{self.session.epochs}{loss} {shown} zeros {row['sparsity']:.3f} "
            f"{'int8' if row['quantized'] else 'float'} {self._seconds():.0f} s"
        )

    def _seconds(self) -> float:
        return self.spent + time.monotonic() - self.begun

    # ---- checkpoints ----

    def _save_when_due(self, stopped: list[int]) -> None:
        if stopped or time.monotonic() - self.saved >= self.settings.checkpoint_s:
            self._save()
        if stopped:
            self.watch.say(f"stopped; the same command goes on from {self.out_dir / CHECKPOINT}")
            raise KeyboardInterrupt

    def _save(self) -> None:
        """Write the checkpoint so that an interruption leaves the old one or the new one."""
        self.saved = time.monotonic()
        self._look(self.session.steps % self.task.steps_per_epoch)
        state = {
            "session": self.session.state_dict(),
            "settings": self.settings.model_dump_json(),
            "history": vars(self.history),
            "seconds": self._seconds(),
        }
        content = io.BytesIO()  # so that a full disk is told as such
        torch.save(state, content)
        write_bytes(self.out_dir / CHECKPOINT, content.getvalue())

    def _restore(self) -> None:
        path = self.out_dir / CHECKPOINT
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except Exception as error:
            raise ConfigError(f"{path}: not a readable checkpoint: delete it to start anew") from error
        session, own = self.session, RunSettings.model_validate_json(state["settings"])
        same = own.same_result(self.settings)
        if not same or state["session"]["recipe"] != session.schedule.model_dump_json():
            raise ConfigError(f"{path}: made by another recipe: give another --out, or delete the file")
        session.load_state_dict(state["session"])
        self.history = History(**state["history"])
        self.spent = state["seconds"]
        self.watch.say(f"going on from step {session.steps}")


@contextmanager
def told_with(checkpoint: Path) -> Iterator[None]:
    """Let a training that diverges say what is left of it, too."""
    try:
        yield
    except DivergedError as error:
        kept = f"; {checkpoint} is from before and was kept" if checkpoint.exists() else ""
        raise DivergedError(f"{error}, and give another --out{kept}") from None


def optimizer_of(network: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """The optimiser of a recipe: weights of layers decay; biases and batch norms do not."""
    deep = [one for one in network.parameters() if one.ndim > 1]
    flat = [one for one in network.parameters() if one.ndim <= 1]
    groups = [{"params": deep, "weight_decay": settings.weight_decay}, {"params": flat, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if settings.kind == "adamw":
        return torch.optim.AdamW(groups, lr=settings.learning_rate)
    return torch.optim.SGD(groups, settings.learning_rate, settings.momentum, nesterov=settings.momentum > 0)


def interruptible() -> AbstractContextManager[list[int]]:
    """Within it SIGINT and SIGTERM only fill the list, so that a step is always finished."""
    return _interruptible()


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    stopped: list[int] = []

    def stop(number: int, _frame: object) -> None:
        if stopped:
            raise KeyboardInterrupt
        stopped.append(number)

    try:
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread, which alone hears signals
        before = {}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
