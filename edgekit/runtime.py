"""From a config to a running pipeline: model, broker, publisher, loop, and a clean end to all."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

import numpy as np

from edgekit.config import CameraConfig, Config, DeviceConfig, MqttConfig
from edgekit.device import Device, load_device
from edgekit.errors import ConfigError, EdgekitError, UnavailableError
from edgekit.inference import Model, find_file
from edgekit.inference import open as open_model
from edgekit.mqtt import Publisher
from edgekit.mqtt.broker import EmbeddedBroker, Guard
from edgekit.mqtt.commands import Commands, Verb
from edgekit.mqtt.link import place
from edgekit.mqtt.tls import tls_context
from edgekit.pipeline.fit import check_labels, check_memory, choose_model, open_seconds
from edgekit.pipeline.inbox import Camera
from edgekit.pipeline.lane import CameraState
from edgekit.pipeline.observe import Observer, Observers
from edgekit.pipeline.progress import Progress
from edgekit.pipeline.reload import Limits, Runner, Setup
from edgekit.pipeline.tally import Tally
from edgekit.service.notify import Notifier
from edgekit.sources import Source, open_source
from edgekit.web import Board, Facts, serve
from edgekit.zoo import check_digest

_log = logging.getLogger("edgekit.mqtt")
GREY, TRIALS = (480, 640), 7  # height and width of the picture that a model is tried on, and how often
CONNECT_S = 10.0  # how long a start that requires a broker waits for its answer


@dataclass(frozen=True, slots=True)
class Ready:
    """What is up and running when the first frame is awaited; `page` is the live page's address."""

    model: Model
    device: Device
    mqtt: MqttConfig
    embedded: bool
    page: str | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run went. `signal` is the number of the signal that ended it, or None."""

    cameras: list[CameraState]
    sent: int
    signal: int | None
    restart: bool = False  # it was asked to begin anew


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a trial: milliseconds from a picture to what is in it, and how large the process was."""

    model: str
    latency_ms: float
    peak_rss_mb: float


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
        progress = Progress()
        notifier = Notifier(progress, lambda: publisher.state == "connected")
        board = None
        if config.web:
            facts = _facts(setup, settings)
            board = Board(config.web, facts, lambda: publisher.health(runner.pipeline.health()), progress)
        watching = Observers(observer, progress, notifier, board)
        runner = Runner(setup, follow, publisher, watching, open_tally(config.device))
        if board:
            runner.on_change = lambda new: board.change(_facts(new, settings))
        publisher.serve(commands(runner, publisher))
        if config.mqtt.discovery.enabled:
            discovery = config.mqtt.discovery
            publisher.announce(discovery.prefix, setup.discovery(), retain=discovery.retain)
        with (
            _signals(runner) as caught,
            serve(board) as page,
            _publishing(publisher, caught, require=require),
            notifier,
        ):
            if on_ready:
                on_ready(Ready(setup.model, setup.device, settings, embedded, page), publisher)
            if not caught:
                runner.run(limits, require=require)
    return Summary(runner.states, publisher.sent, caught[0] if caught else None, runner.restart)


def prepare(config: Config, before: Setup | None = None, *, wait: bool = False) -> Setup:
    """All that `config` needs, while `before` runs; with `wait` a camera may be absent at first.

    Raises BudgetError for a model that does not fit, ConfigError, UsageError or ModelError for what is wrong.
    """
    if before and _fixed(config) != _fixed(before.config):
        raise ConfigError("mqtt, web, device.id and device.state change with a restart only: restart edgekit")
    device = load_device(config.device.profile)
    config = choose_model(config, device)
    budget_mb = check_memory(config, device)
    model = _reuse(config, before) or open_model(
        config.model.name, config.model.engine, config.model.threads, worker=config.model.worker
    )
    fallbacks = [
        open_model(name, "auto", config.model.threads, worker=config.model.worker)
        for name in config.model.fallback
    ]
    for each in (model, *fallbacks):
        check_labels(config, each)
    seconds = open_seconds(config)
    cameras = [
        Camera(name, camera.detect, partial(_open, name, camera, wait=wait), camera, seconds.get(name))
        for name, camera in config.cameras.items()
    ]
    return Setup(config, device, model, budget_mb, cameras, fallbacks)


def try_out(config: Config) -> Tried:
    """Load the models of `config` and run them on a grey picture: no camera, no broker.

    Raises what `prepare` does, ConfigError for certificates that do not load, and ModelError for a model
    whose outputs are not those that its card tells.
    """
    setup = prepare(config, wait=True)
    if config.mqtt.tls:
        tls_context(config.mqtt.tls)
    grey = np.full((*GREY, 3), 128, np.uint8)
    for model in setup.fallbacks:
        model.detect(grey)
    for camera in setup.cameras:
        if camera.second:
            camera.second.classify(grey)
    times_ms: list[float] = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        setup.model.detect(grey)
        times_ms.append(1e3 * (time.perf_counter() - start))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Tried(setup.model.name, round(float(np.median(times_ms)), 3), round(peak_mb, 1))


def _fixed(config: Config) -> tuple[object, ...]:
    return config.mqtt, config.web, config.device.id, config.device.state


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
    obeyed: dict[str, Verb] = {name: do for name, do in verbs.items() if name in allowed}
    return Commands(runner.set_detect, obeyed, slow=frozenset({"reload"}))


def state_folder(device: DeviceConfig) -> Path | None:
    """Where what outlives a restart is kept: the folder that is given, or systemd's $STATE_DIRECTORY."""
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return device.state or (Path(given) if given else None)


def open_tally(device: DeviceConfig) -> Tally:
    """The counts so far; without a folder to keep them in none are kept."""
    folder = state_folder(device)
    return Tally(folder / "counts.json" if folder else None)


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


def _facts(setup: Setup, mqtt: MqttConfig) -> Facts:
    return Facts(
        device=setup.config.device.id,
        profile=setup.device.name,
        model=setup.model.name,
        engine=setup.model.engine.name,
        broker=place(mqtt),
        cameras=setup.config.cameras,
    )


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
            raise UnavailableError(publisher.reason)
        yield
    finally:
        reason = publisher.reason
        lost = publisher.stop(timeout_s=1.0)
    if publisher.kept:
        _log.warning("%d events wait on disk for the next start: %s", publisher.kept, reason)
    if lost:
        raise UnavailableError(f"{lost} events were not delivered: {reason}")


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
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)
    try:
        yield caught
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in before.items():
            signal.signal(number, handler)


def _reload(runner: Runner) -> None:
    with contextlib.suppress(EdgekitError):  # it is logged
        runner.reload()
