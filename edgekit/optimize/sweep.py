"""Many trainings with other values of a recipe, found by Optuna; any number of processes join one study.

    version: 1
    recipe: recipe.yaml
    trials: 20
    goals: {accuracy: maximize, macs_left: minimize}

Parameters
----------
      stages.1.prune.sparsity: {low: 0.5, high: 0.9}
      stages.1.prune.pattern: {choices: [1x4, unstructured]}

Each process takes a trial when it has none, until as many as `trials` are complete. A process that dies
leaves a trial that no longer says that it lives; another takes it over and goes on from its checkpoint.

"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from edgekit.config.complaint import check, similar
from edgekit.config.document import read_document
from edgekit.config.fields import Bool, Duration, Float, Id, Int, Part, PlaceError, Text
from edgekit.errors import ConfigError, DivergedError, EdgekitError, MissingExtraError

BEAT = "beat_s"  # of a trial: when it last said that it lives, in seconds since 1970
FOLDER = "folder"
RESULTS = "results"
DIVERGED = "diverged"  # of a trial: that its loss became no number


class Parameter(Part):
    """The values that a key of the recipe may take: numbers between two, or a list."""

    low: Float | None = None
    high: Float | None = None
    log: Bool = Field(default=False, description="Even on a logarithmic scale.")
    whole: Bool = Field(default=False, description="Whole numbers alone.")
    choices: list[Any] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _is_one(self) -> Parameter:
        if (self.choices is None) == (self.low is None) or (self.low is None) != (self.high is None):
            raise PlaceError((), "expected low and high, or choices")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise PlaceError(("low",), f"{self.low:g} is more than high, {self.high:g}")
        return self

    def draw(self, trial: Any, name: str) -> Any:
        if self.choices is not None:
            texts = [json.dumps(one) for one in self.choices]
            return json.loads(trial.suggest_categorical(name, texts))
        if self.whole:
            return trial.suggest_int(name, int(self.low or 0), int(self.high or 0), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)


class Sweep(Part):
    """A study: which recipe, which of its values, how many trainings, what is good."""

    version: Literal[1]
    recipe: Text = Field(description="The recipe that is varied; relative to this file.")
    study: Id = Field(default="sweep", description="Name of the study in its storage.")
    storage: Text = Field(
        default="sweep.journal",
        description="A .journal file that all processes can reach, or the URL of a database, like "
        "postgresql://host/name.",
    )
    trials: Int = Field(ge=1, le=10**6, description="Complete trainings, by all processes together.")
    goals: dict[Literal["accuracy", "size_bytes", "gzip_bytes", "macs_left", "latency_ms"],
                Literal["maximize", "minimize"]] = Field(
        default={"accuracy": "maximize"}, min_length=1, description="More than one: the best trade-offs."
    )  # fmt: skip
    parameters: dict[Text, Parameter] = Field(min_length=1, description="Keys of the recipe, with dots.")
    patience: Duration = Field(
        default=300.0, gt=0, description="A trial that said nothing for so long is dead and taken over."
    )
    seed: Int | None = Field(default=None, ge=0, le=2**31 - 1)


def sweep(
    path: Path,
    data_dir: Path | None,
    out_dir: Path,
    say: Callable[[str], None],
    accelerator: str = "auto",
) -> list[dict[str, Any]]:
    """Take part in a sweep until it is complete; returns the best trials, each with its folder and figures.

    Raises ConfigError for the sweep and its recipe, MissingExtraError without optuna.
    """
    document = read_document(path)
    plan = check(document, Sweep)
    recipe_path = path.parent / plan.recipe
    base = _recipe(recipe_path)
    for name in plan.parameters:
        _find(base, name, f"{path}: parameters")
    run = _Sweep(plan, recipe_path, path.parent, data_dir, out_dir, say, accelerator)
    run.take_part()
    best = run.best()
    if not best:
        raise ConfigError(f"{path}: parameters: every training has diverged: allow lower learning rates")
    return best


def _recipe(path: Path) -> dict[str, Any]:
    data = read_document(path).data
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a recipe, a mapping")
    return data


def _find(recipe: Any, name: str, place: str) -> tuple[Any, str | int]:
    """The mapping or list that holds the value called `name`, and its key there."""
    *above, last = name.split(".")
    holder = recipe
    for step in above:
        holder = _child(holder, step, name, place)
    if isinstance(holder, list):
        _child(holder, last, name, place)
        return holder, int(last)
    if not isinstance(holder, dict):
        raise ConfigError(f"{place}: {name}: the recipe has no such key")
    return holder, last


def _child(holder: Any, step: str, name: str, place: str) -> Any:
    if isinstance(holder, list) and step.isdecimal() and int(step) < len(holder):
        return holder[int(step)]
    if isinstance(holder, dict) and step in holder:
        return holder[step]
    known = holder if isinstance(holder, dict) else ()
    raise ConfigError(f"{place}: {name}: the recipe has no {step!r} there{similar(step, known)}")


class _Sweep:
    def __init__(
        self, plan: Sweep, recipe_path: Path, folder: Path, data_dir: Path | None,
        out_dir: Path, say: Callable[[str], None], accelerator: str,
    ) -> None:  # fmt: skip
        self.plan, self.base, self.recipe_path = plan, _recipe(recipe_path), recipe_path
        self.data_dir, self.out_dir, self.say = data_dir or recipe_path.parent, out_dir, say
        self.accelerator = accelerator
        self.optuna = _optuna()
        sampler = self.optuna.samplers.TPESampler(seed=plan.seed, constant_liar=True)
        self.study = self.optuna.create_study(
            storage=self._storage(folder), study_name=plan.study, directions=list(plan.goals.values()),
            load_if_exists=True, sampler=sampler,
        )  # fmt: skip

    def _storage(self, folder: Path) -> Any:
        if "://" in self.plan.storage:
            return self.optuna.storages.RDBStorage(self.plan.storage)
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage

        path = folder / self.plan.storage
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))

    def take_part(self) -> None:
        """Run trials until enough are complete; wait where others run the last ones."""
        while self._over() < self.plan.trials:
            self._bury_the_dead()
            if self._over() + self._count("RUNNING") < self.plan.trials:
                self._trial(self.study.ask())
            else:
                time.sleep(min(self.plan.patience / 4, 5.0))

    def _trials(self, state: str) -> list[Any]:
        return list(self.study.get_trials(deepcopy=False, states=(self.optuna.trial.TrialState[state],)))

    def _count(self, state: str) -> int:
        return len(self._trials(state))

    def _over(self) -> int:
        """Trials that ended by themselves: complete, or diverged, which their values would do again."""
        return self._count("COMPLETE") + sum(DIVERGED in one.user_attrs for one in self._trials("FAIL"))

    def _bury_the_dead(self) -> None:
        """Give up trials whose process is gone, and let their values be tried again."""
        for trial in self._trials("RUNNING"):
            begun = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
            if time.time() - trial.user_attrs.get(BEAT, begun) < self.plan.patience:
                continue
            try:
                self.study.tell(trial.number, state=self.optuna.trial.TrialState.FAIL)
            except (ValueError, RuntimeError):
                continue  # another process was faster
            if trial.params:
                self.study.enqueue_trial(trial.params)
            self.say(f"trial {trial.number} is dead: its values are tried again")

    def _trial(self, trial: Any) -> None:
        try:
            found = self._run(trial)
            if found is None:
                return
            self.study.tell(trial, [found[goal] for goal in self.plan.goals])
        except self.optuna.exceptions.UpdateFinishedTrialError:
            self.say(f"trial {trial.number} took so long to say that it lives that another process has it")
            return
        self.say(f"trial {trial.number}: " + " ".join(f"{goal} {found[goal]:g}" for goal in self.plan.goals))

    def _run(self, trial: Any) -> dict[str, float] | None:
        """Train and tell the figures; None for a training that diverged, which a sweep may try."""
        from edgekit.optimize import Lines, optimize

        with self._beating(trial):
            values = {name: one.draw(trial, name) for name, one in self.plan.parameters.items()}
            digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
            folder = self.out_dir / f"trial-{digest}"
            trial.set_user_attr(FOLDER, str(folder))
            self.say(f"trial {trial.number}: {values}")
            recipe = self._write(folder, values)
            quiet = Lines(lambda _text: None)
            try:
                path, *_ = optimize(
                    recipe, self.data_dir, None, folder, watch=quiet, accelerator=self.accelerator
                )
            except DivergedError as error:
                trial.set_user_attr(DIVERGED, str(error))
                self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
                self.say(f"trial {trial.number}: {error}")
                return None
            except EdgekitError:
                self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
                raise
            found = figures(path.with_name("report.json"))
            trial.set_user_attr(RESULTS, found)
        return found

    def _write(self, folder: Path, values: dict[str, Any]) -> Path:
        """The recipe with the trial's values, in the trial's folder."""
        recipe = json.loads(json.dumps(self.base))
        for name, value in values.items():
            holder, key = _find(recipe, name, str(self.recipe_path))
            holder[key] = value
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
        return path

    @contextmanager
    def _beating(self, trial: Any) -> Iterator[None]:
        """Say every now and then that this trial lives."""
        over = threading.Event()

        def beat() -> None:
            with contextlib.suppress(self.optuna.exceptions.UpdateFinishedTrialError):
                while not over.wait(self.plan.patience / 4):
                    trial.set_user_attr(BEAT, time.time())

        trial.set_user_attr(BEAT, time.time())
        thread = threading.Thread(target=beat, name="beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def best(self) -> list[dict[str, Any]]:
        """The trials that no other beats in every goal."""
        return [
            {
                "trial": one.number,
                "values": one.params,
                **one.user_attrs[RESULTS],
                FOLDER: one.user_attrs[FOLDER],
            }
            for one in self.study.best_trials
        ]


def figures(path: Path) -> dict[str, float]:
    """What a goal may name, from a run's report."""
    report = json.loads(path.read_text(encoding="utf-8"))
    file = {key: report["file"][key] for key in ("size_bytes", "gzip_bytes", "macs_left")}
    return {"accuracy": report["after"]["accuracy"], **file, "latency_ms": report["latency"][0]["ms"]}


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise MissingExtraError("optuna", "sweep") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
