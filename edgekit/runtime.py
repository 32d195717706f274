"""From a config to a running pipeline: model, broker, publisher, loop, and a clean end to all."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

from edgekit.broker import EmbeddedBroker, Guard
from edgekit.commands import Commands, Verb
from edgekit.config import CameraConfig, Config, DeviceConfig, MqttConfig
from edgekit.device import Device, load_device
from edgekit.engine import estimate_memory
from edgekit.errors import BudgetError, ConfigError, EdgekitError, ModelError, UnavailableError, UsageError
from edgekit.inbox import Camera
from edgekit.inference import Model, find_file
from edgekit.inference import open as open_model
from edgekit.lane import CameraState
from edgekit.model import read
from edgekit.mqtt import Publisher
from edgekit.pipeline import Observer
from edgekit.reload import Limits, Runner, Setup
from edgekit.sources import Source, open_source
from edgekit.tally import Tally
from edgekit.zoo import check_digest, list_models

_log = logging.getLogger("edgekit.mqtt")
CONNECT_S = 10.0  # how long a start that requires a broker waits for its answer


@dataclass(frozen=True, slots=True)
class Ready:
    """What is up and running when the first frame is awaited."""

    model: Model
    device: Device
    mqtt: MqttConfig
    embedded: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run went. `signal` is the number of the signal that ended it, or None."""

    cameras: list[CameraState]
    sent: int
    signal: int | None
    restart: bool = False  # it was asked to begin anew


def run(
    config: Config,
    limits: Limits,
    *,
    require: bool = False,
    wait: bool = False,
    observer: Observer | None = None,
    on_ready: Callable[[Ready, Publisher], None] | None = None,
    reread: Callable[[], Config] | None = None,
) -> Summary:
    """Run the cameras of `config` until they end, a limit is reached or a signal comes.

    At SIGHUP, or when it is asked for over MQTT, `reread` brings the config anew.

    Raises BudgetError when the model does not fit the device, UnavailableError when a camera is not there
    (unless it is to `wait` for it) or (with `require` at the start, without it at the end) messages could not
    be delivered.
    """
    setup = prepare(config, wait=wait and not require)
    with _broker(with_outbox(config.mqtt, config.device)) as (settings, embedded):
        publisher = Publisher(
            settings, config.device.id, setup.info(), protocol="3.1.1" if embedded else "auto"
        )
        follow = None if reread is None else (lambda before: prepare(reread(), before, wait=wait))
        runner = Runner(setup, follow, publisher, observer, open_tally(config.device))
        publisher.serve(commands(runner, publisher))
        if config.mqtt.discovery.enabled:
            discovery = config.mqtt.discovery
            publisher.announce(discovery.prefix, setup.discovery(), retain=discovery.retain)
        with _signals(runner) as caught, _publishing(publisher, caught, require=require):
            if on_ready:
                on_ready(Ready(setup.model, setup.device, settings, embedded), publisher)
            if not caught:
                runner.run(limits, require=require)
    return Summary(runner.states, publisher.sent, caught[0] if caught else None, runner.restart)


def prepare(config: Config, before: Setup | None = None, *, wait: bool = False) -> Setup:
    """All that `config` needs, while `before` runs; with `wait` a camera may be absent at first.

    Raises BudgetError for a model that does not fit, ConfigError, UsageError or ModelError for what is wrong.
    """
    if before and (config.mqtt, config.device.id) != (before.config.mqtt, before.config.device.id):
        raise ConfigError("mqtt and device.id change with a restart only: restart edgekit")
    device = load_device(config.device.profile)
    budget_mb = check_memory(config, device)
    model = _reuse(config, before) or open_model(
        config.model.name, config.model.engine, config.model.threads, worker=config.model.worker
    )
    check_labels(config, model)
    cameras = [
        Camera(name, camera.detect, partial(_open, name, camera, wait=wait), camera)
        for name, camera in config.cameras.items()
    ]
    return Setup(config, device, model, budget_mb, cameras)


def _reuse(config: Config, before: Setup | None) -> Model | None:
    """The model that is open already, if it is the one that `config` asks for and its file is the same."""
    if before is None or config.model != before.config.model:
        return None
    path, _ = find_file(config.model.name)
    return before.model if check_digest(path, "") == before.model.sha256 else None


def commands(runner: Runner, publisher: Publisher) -> Commands:
    """What may be asked for over MQTT, as far as the config allows."""
    verbs: dict[str, Verb] = {
        "health": lambda _: publisher.health(),
        "reload": lambda _: runner.reload(),
        "snapshot": lambda request: runner.pipeline.snapshot(str(request.get("camera", ""))),
        "restart": lambda _: runner.ask_restart(),
    }
    allowed = runner.setup.config.mqtt.requests
    return Commands(runner.set_detect, {name: do for name, do in verbs.items() if name in allowed})


def state_folder(device: DeviceConfig) -> Path | None:
    """Where what outlives a restart is kept: the folder that is given, or systemd's $STATE_DIRECTORY."""
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return device.state or (Path(given) if given else None)


def open_tally(device: DeviceConfig) -> Tally:
    """The counts so far; without a folder to keep them in none are kept."""
    folder = state_folder(device)
    return Tally(folder / "counts.json" if folder else None)


def check_memory(config: Config, device: Device) -> float:
    """The megabytes that the model may take; refuse, before it is loaded, one that cannot fit."""
    path, _ = find_file(config.model.name)
    limit_mb, reason = float(device.kit_memory_mb), f"device {device.name}"
    if config.model.budget and config.model.budget.memory_mb < limit_mb:
        limit_mb, reason = config.model.budget.memory_mb, "model.budget.memory_mb"
    needs_mb = estimate_memory(read(path)) / 2**20
    if needs_mb <= limit_mb:
        return limit_mb
    others = [(estimate_memory(read(m.path)) / 2**20, m.name) for m in list_models()]
    fitting = [f"{name} ({mb:.1f} MB)" for mb, name in sorted(others) if mb <= limit_mb]
    hint = f"these fit: {', '.join(fitting)}" if fitting else "no model of the zoo fits: raise the budget"
    raise BudgetError(
        f"model {config.model.name} needs {needs_mb:.1f} MB, {reason} allows {limit_mb:g} MB: {hint}"
    )


def check_names(config: Config, path: str) -> None:
    """Refuse a model or a device that is not there; ConfigError names the file `path` and the key."""
    for key, find, name in (
        ("device.profile", load_device, config.device.profile),
        ("model.name", find_file, config.model.name),
    ):
        try:
            find(name)
        except (UsageError, ModelError) as error:
            raise ConfigError(f"{path}: {key}: {error}") from None


def check_labels(config: Config, model: Model) -> None:
    """Refuse labels that the model does not know, or that are not watched: they would never be seen."""
    if model.task != "detect":
        raise UsageError(f"{model.name} is a model to {model.task}: a pipeline needs one to detect")
    for name, camera in config.cameras.items():
        for label in camera.detect.labels or ():
            _check_label(f"camera {name}: model {model.name}", label, model.labels)
        for place, label in camera.labels_at():
            watched = camera.detect.labels or model.labels
            _check_label(f"camera {name}: {place}: detect.labels", label, watched)


def _check_label(who: str, label: str, known: Sequence[str]) -> None:
    from difflib import get_close_matches

    if label not in known:
        near = get_close_matches(label, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it knows {', '.join(known)}"
        raise UsageError(f"{who} knows no {label!r}: {hint}")


def _open(name: str, camera: CameraConfig, *, wait: bool) -> Source:
    return open_source(
        camera.source,
        camera=name,
        fps=camera.detect.fps,
        loop=camera.loop,
        realtime=camera.realtime,
        wait=wait,
    )


def with_outbox(mqtt: MqttConfig, device: DeviceConfig) -> MqttConfig:
    """The settings with a place for the outbox: where none is set, the folder for what outlives a restart."""
    folder = state_folder(device)
    if mqtt.outbox.path is not None or folder is None:
        return mqtt
    outbox = mqtt.outbox.model_copy(update={"path": folder / "outbox"})
    return mqtt.model_copy(update={"outbox": outbox})


@contextlib.contextmanager
def _broker(mqtt: MqttConfig) -> Iterator[tuple[MqttConfig, bool]]:
    """The settings to connect with: as given, or of an embedded broker that lives as long as this block."""
    if mqtt.host is not None:
        yield mqtt, False
        return
    with EmbeddedBroker() as broker:
        broker.start(mqtt.port)
        with Guard(broker):
            yield mqtt.model_copy(update={"host": broker.host, "port": broker.port}), True


@contextlib.contextmanager
def _publishing(publisher: Publisher, interrupted: Sequence[int], *, require: bool) -> Iterator[None]:
    """Connected if it is required; at the end, nothing that is lost is passed over in silence."""
    publisher.start()
    try:
        if require and not _connected(publisher, interrupted):
            refused = publisher.state == "refused"
            hint = (
                "check mqtt.user, mqtt.password and mqtt.tls" if refused else "start it, or correct mqtt.host"
            )
            raise UnavailableError(f"{publisher.reason}: {hint}")
        yield
    finally:
        reason = publisher.reason
        lost = publisher.stop(timeout_s=1.0)
    if publisher.kept:
        _log.warning("%s: %d events wait on disk for the next start", reason, publisher.kept)
    if lost:
        raise UnavailableError(f"{reason}: {lost} events were not delivered")


def _connected(publisher: Publisher, interrupted: Sequence[int]) -> bool:
    """Wait for the broker's answer, in steps short enough for a signal to end them; False without one."""
    until_s = time.monotonic() + CONNECT_S
    while not publisher.wait_connected(0.1):
        if time.monotonic() > until_s or publisher.state in ("refused", "unreachable"):
            return False
        if interrupted:
            break
    return True


@contextlib.contextmanager
def _signals(runner: Runner) -> Iterator[list[int]]:
    """Within the block SIGINT and SIGTERM stop the runner, and are noted in the list; SIGHUP reloads it."""
    caught: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        caught.append(number)
        runner.stop()

    def hang_up(_number: int, _frame: FrameType | None) -> None:
        threading.Thread(target=_reload, args=(runner,), name="reload", daemon=True).start()

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    wanted = {signal.SIGINT: note, signal.SIGTERM: note, signal.SIGHUP: hang_up}
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _reload(runner: Runner) -> None:
    with contextlib.suppress(EdgekitError):  # it is logged
        runner.reload()
