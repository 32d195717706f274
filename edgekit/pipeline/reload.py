"""A config that changes while it runs: one pipeline after another into the same publisher.

The new one is prepared while the old one goes on, so that what cannot be run never stops what does.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgekit.config import Config, config_hash, mask_url
from edgekit.device import Device
from edgekit.device.machine import Thermometer
from edgekit.errors import EdgekitError, UnavailableError, UsageError
from edgekit.inference import Model
from edgekit.mqtt import Publisher
from edgekit.mqtt.discovery import discovery_payload, state_topics
from edgekit.pipeline.allowance import Allowance
from edgekit.pipeline.governor import Governor
from edgekit.pipeline.inbox import Camera
from edgekit.pipeline.lane import CameraState
from edgekit.pipeline.loop import Pipeline
from edgekit.pipeline.observe import Observer
from edgekit.pipeline.tally import Tally

log = logging.getLogger("edgekit.reload")
LOOK_S = 0.1  # a signal handler that ends the run cannot wake who waits


@dataclass(frozen=True, slots=True)
class Limits:
    """When a run ends by itself; None means never."""

    frames: int | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class Setup:
    """A config with all that it takes to run it, checked."""

    config: Config
    device: Device
    model: Model
    budget_mb: float
    cameras: Sequence[Camera] = field(default_factory=tuple)
    fallbacks: Sequence[Model] = ()

    def held_mb(self) -> float:
        """The memory of all its models."""
        return sum(each.memory_mb for each in (self.model, *self.fallbacks))

    def info(self) -> dict[str, object]:
        """What the info message tells of it."""
        return {
            "config_hash": config_hash(self.config),
            "profile": self.device.name,
            "profile_hash": self.device.digest(),
            "models": [{"id": each.name, "sha256": each.sha256} for each in (self.model, *self.fallbacks)],
        }

    def discovery(self) -> dict[str, Any]:
        """What Home Assistant is told of it."""
        labels = {
            name: [
                label for label in self.model.labels if label in (camera.detect.labels or self.model.labels)
            ]
            for name, camera in self.config.cameras.items()
        }
        return discovery_payload(self.config, labels, self.device.title, socket.gethostname())


class Runner:
    """Runs the pipeline of a setup, and of each that follows.

    `reread` makes the next setup out of the present one, or raises EdgekitError; None: nothing can follow.
    """

    def __init__(
        self,
        setup: Setup,
        reread: Callable[[Setup], Setup] | None,
        publisher: Publisher,
        observer: Observer | None,
        tally: Tally,
    ) -> None:
        self.setup = setup
        self.restart = False
        self.on_change: Callable[[Setup], None] = lambda _: None  # called before the next one runs
        self._reread, self._publisher, self._observer, self._tally = reread, publisher, observer, tally
        self._next: Setup | None = None
        self._stopped = self._over = False
        self._reloading, self._changed = threading.Lock(), threading.Condition()
        self.pipeline = self._pipeline()

    @property
    def states(self) -> list[CameraState]:
        """The cameras as they stand."""
        return self.pipeline.states

    def set_detect(self, camera: str, on: bool) -> bool:
        """As of the pipeline that runs."""
        return self.pipeline.set_detect(camera, on)

    def stop(self) -> None:
        """End `run`; safe from a signal handler."""
        self._stopped = True
        self.pipeline.stop()

    def ask_restart(self) -> dict[str, object]:
        """End `run`, and let who called it know that it is to begin anew."""
        self.restart = True
        self.stop()
        return {}

    def run(self, limits: Limits, *, require: bool) -> None:
        """As Pipeline.run, over all setups."""
        try:
            self._run(limits, require=require)
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _run(self, limits: Limits, *, require: bool) -> None:
        until_s = None if limits.duration_s is None else time.monotonic() + limits.duration_s
        done = 0
        while not self._stopped:
            rest_s = None if until_s is None else max(until_s - time.monotonic(), 0.0)
            frames = None if limits.frames is None else limits.frames - done
            try:
                self.pipeline.run(frames=frames, duration_s=rest_s, require=require)
            except EdgekitError as error:
                if self._next is None or self._stopped:
                    raise
                log.warning("%s", error)
            done += sum(state.frames for state in self.states)
            if not self._change():
                return

    def reload(self) -> dict[str, object]:
        """Read the config again and wait until it runs; what is wrong with it is logged and raised.

        From any thread but that of `run`, which goes on while models are loaded here.
        """
        with self._reloading:
            setup = self._read_again()
            with self._changed:
                self._next = setup
                self.pipeline.stop()
                self._changed.wait_for(lambda: self._next is None or self._over)
                if self._next is not None:
                    raise UnavailableError("edgekit ends: the config is for the next start")
        return {"config_hash": config_hash(setup.config), "cameras": list(setup.config.cameras)}

    def _read_again(self) -> Setup:
        try:
            if self._reread is None:
                raise UsageError("edgekit runs without a config file: there is nothing to read again")
            setup = self._reread(self.setup)
        except EdgekitError as error:
            log.error("the config is not taken, the one that runs goes on: %s", error)  # noqa: TRY400  (a line)
            self._publisher.report_config(mask_url(str(error)))
            raise
        self._publisher.report_config(None)
        return setup

    def _change(self) -> bool:
        """Take what `reload` has prepared, or is about to, and tell of it; False when there is nothing."""
        with self._changed:
            while self._reloading.locked() and self._next is None and not self._stopped:
                self._changed.wait(LOOK_S)
            if self._next is None or self._stopped:
                return False
            self._take(self._next)
            self._next = None
            self._changed.notify_all()
        return True

    def _take(self, setup: Setup) -> None:
        before, self.setup = self.setup, setup
        disabled = self.pipeline.disabled
        self.on_change(setup)
        self.pipeline = self._pipeline()
        for camera in disabled:
            self.pipeline.set_detect(camera, False)
        self._publisher.inform(setup.info())
        discovery = setup.discovery()
        for topic in sorted(state_topics(before.discovery()) - state_topics(discovery)):
            self._publisher.forget(topic)
        self._publisher.announce_again(discovery)
        log.info("a new config runs: %s", config_hash(setup.config)[:12])

    def _pipeline(self) -> Pipeline:
        setup = self.setup
        budget = setup.config.model.budget
        return Pipeline(
            setup.cameras,
            setup.model,
            self._publisher,
            self._observer,
            self._tally,
            Governor(setup.config.governor, [setup.model, *setup.fallbacks], Thermometer()),
            Allowance(budget.latency_ms if budget else None, setup.budget_mb, setup.held_mb),
        )
