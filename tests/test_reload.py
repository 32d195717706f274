"""A config that changes while it runs: what is wrong with it stops nothing, and nothing of the old stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest
import yaml
from brokers import PATIENCE_S, Heard, Mosquitto, Subscriber, free_port, until
from jsonschema import Draft202012Validator
from scripted import Seen, blank_frames, scripted_model

from edgekit import zoo
from edgekit.config import Config, parse_config, resolved_yaml
from edgekit.device import load_device
from edgekit.errors import ConfigError, EdgekitError, UnavailableError, UsageError
from edgekit.mqtt import ListSink, messages
from edgekit.pipeline.inbox import Camera
from edgekit.pipeline.reload import Limits, Runner, Setup
from edgekit.pipeline.tally import Tally
from edgekit.runtime import commands, prepare
from edgekit.types import Frame

TEXT = "version: 1\nmodel: m\ndetect: {confirm: {frames: 1, of: 1}}\ncameras: {%s: {source: 0%s}}\n"
PYTHON = os.environ.get("EDGEKIT_PYTHON", sys.executable)
PERSON: Seen = ("person", (10, 10, 30, 50), 0.9)


class Endless:
    """A live camera before which a person stands."""

    live, fps, skipped, corrupt, lost = True, 10.0, 0, 0, False

    def __init__(self, camera: str) -> None:
        self.closed = threading.Event()
        self._frame = blank_frames(1, camera)[0]

    def frames(self) -> Iterator[Frame]:
        while not self.closed.wait(0.002):
            yield self._frame

    def close(self) -> None:
        self.closed.set()


class Broker(ListSink):
    """A Publisher that only remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.infos: list[Mapping[str, Any]] = []
        self.forgotten: list[str] = []
        self.announced: list[Mapping[str, Any]] = []
        self.config_errors: list[str | None] = []

    def report_config(self, error: str | None) -> None:
        self.config_errors.append(error)

    def inform(self, info: Mapping[str, Any]) -> None:
        self.infos.append(info)

    def forget(self, topic: str) -> None:
        self.forgotten.append(topic)

    def announce_again(self, payload: Mapping[str, Any]) -> None:
        self.announced.append(payload)

    def health(self) -> dict[str, Any]:
        return {}


def setup_of(camera: str, more: str = "") -> Setup:
    config = parse_config(TEXT % (camera, more), "demo.yaml", Path("/"))
    cameras = [Camera(camera, config.detect, lambda: Endless(camera), config.cameras[camera])]
    return Setup(config, load_device("raspberry-pi-4"), scripted_model([[PERSON]] * 100_000), 100.0, cameras)


class Running:
    """A Runner in a thread of its own; `setups` follow one another, an error among them is raised."""

    def __init__(self, *setups: Setup | EdgekitError) -> None:
        first, *rest = setups
        assert isinstance(first, Setup)
        self._rest = iter(rest)
        self.broker = Broker()
        self.runner = Runner(first, self._reread, self.broker, None, Tally())  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self.runner.run, args=(Limits(),), kwargs={"require": False})

    def _reread(self, _before: Setup) -> Setup:
        setup = next(self._rest)
        if isinstance(setup, EdgekitError):
            raise setup
        return setup

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.stop()
        self._thread.join()

    def wait_for_visit(self, camera: str, number: int) -> None:
        until(lambda: (camera, number) in [(e.camera, e.number) for e in self.broker.events], "a visit")


def test_a_good_config_takes_over_and_nothing_of_the_old_one_stays() -> None:
    with Running(setup_of("front", ", tamper: true"), setup_of("back")) as running:
        running.wait_for_visit("front", 1)
        answer = running.runner.reload()
        assert running.broker.infos[-1]["config_hash"] == answer["config_hash"]
        running.wait_for_visit("back", 1)
    broker = running.broker
    assert answer["cameras"] == ["back"]
    assert broker.statuses[:3] == [("front", "online"), ("front", "offline"), ("back", "online")]
    gone = {topic.rpartition("/front/")[2] for topic in broker.forgotten}
    assert {"status", "detect/state", "tamper", "tamper/attributes", "count/person"} <= gone
    assert not [topic for topic in broker.forgotten if "/back/" in topic]
    assert "back_status" in broker.announced[-1]["cmps"]
    ends = [e.camera for e in broker.events if e.type == "end"]
    assert ends == ["front", "back"]


def test_a_bad_config_leaves_the_old_one_running_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    wrong = ConfigError("demo.yaml:3:1: cameras: expected at least one")
    with Running(setup_of("front"), wrong) as running:
        running.wait_for_visit("front", 1)
        with pytest.raises(ConfigError):
            running.runner.reload()
        frames = running.runner.states[0].frames
        until(lambda: running.runner.states[0].frames > frames, "the old one to go on")
    assert "the one that runs goes on: demo.yaml:3:1: cameras" in caplog.text
    assert running.broker.statuses == [("front", "online"), ("front", "offline")]
    assert not running.broker.infos
    assert running.broker.config_errors == ["demo.yaml:3:1: cameras: expected at least one"]


def test_numbers_of_visits_and_a_switch_outlive_a_reload() -> None:
    with Running(setup_of("front"), setup_of("front"), setup_of("front")) as running:
        running.wait_for_visit("front", 1)
        running.runner.reload()
        running.wait_for_visit("front", 2)
        running.runner.set_detect("front", False)
        until(lambda: running.runner.states[0].status == "disabled", "the switch")
        before = running.runner.pipeline
        running.runner.reload()
        until(lambda: running.runner.pipeline is not before and bool(running.runner.pipeline.disabled), "it")
    assert [e.number for e in running.broker.events if e.type == "new"] == [1, 2]


def test_a_run_that_ends_is_told_to_who_waits_for_a_new_config() -> None:
    with Running(setup_of("front"), setup_of("back")) as running:
        running.wait_for_visit("front", 1)
        running.runner._stopped = True  # the moment before its pipeline is stopped
        with pytest.raises(UnavailableError, match="the config is for the next start"):
            running.runner.reload()


def test_without_a_file_there_is_nothing_to_read_again() -> None:
    runner = Runner(setup_of("front"), None, Broker(), None, Tally())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="without a config file"):
        runner.reload()


def test_a_config_without_a_governor_has_a_health_that_matches_its_schema() -> None:
    setup = setup_of("front", "}}\ngovernor: false\n#")
    health = Runner(setup, None, Broker(), None, Tally()).pipeline.health()  # type: ignore[arg-type]
    assert health.keys() >= set(messages.load_schema("health")["required"]) - {"mqtt", "outbox"}


def demo(**parts: Any) -> Config:
    settings = {"version": 1, "model": zoo.list_models()[0].name, "cameras": {"front": {"source": "demo:"}}}
    return parse_config(yaml.safe_dump(settings | parts), "demo.yaml", Path("/"))


def test_what_is_as_before_stays_open_and_what_cannot_change_is_told() -> None:
    before = prepare(demo())
    assert prepare(demo(detect={"fps": 2}), before).model is before.model
    assert prepare(demo(model={"name": before.model.name, "threads": 2}), before).model is not before.model
    with pytest.raises(ConfigError, match="restart edgekit"):
        prepare(demo(mqtt={"host": "elsewhere"}), before)
    with pytest.raises(ConfigError, match="restart edgekit"):
        prepare(demo(device={"state": "elsewhere"}), before)
    with pytest.raises(UsageError, match="no 'persn'"):
        prepare(demo(detect={"labels": ["persn"]}), before)
    assert set(before.info()) == {"config_hash", "profile", "profile_hash", "models"}
    assert before.info() == prepare(demo()).info()


def test_a_restart_is_for_those_who_allow_it() -> None:
    broker = Broker()
    runner = Runner(setup_of("front"), None, broker, None, Tally())  # type: ignore[arg-type]
    assert set(commands(runner, broker).verbs) == {"health", "reload", "snapshot"}  # type: ignore[arg-type]
    allowed = setup_of("front", "}}\nmqtt: {requests: [restart]}\n#")
    runner = Runner(allowed, None, broker, None, Tally())  # type: ignore[arg-type]
    assert commands(runner, broker).slow == {"reload"}  # type: ignore[arg-type]
    commands(runner, broker).verbs["restart"]({})  # type: ignore[arg-type]
    runner.run(Limits(), require=False)
    assert runner.restart


def test_reload_snapshot_and_restart_over_a_broker(tmp_path: Path) -> None:
    """A process of its own, asked by SIGHUP and by MQTT."""
    pytest.importorskip("skimage", reason="needs the extra edgekit[demo]")
    broker = Mosquitto(tmp_path).start()
    path = tmp_path / "demo.yaml"

    def write(**camera: Any) -> None:
        mqtt = {"host": "127.0.0.1", "port": broker.port, "requests": ["reload", "snapshot", "restart"]}
        settings = {"version": 1, "device": {"id": "pi"}, "model": zoo.list_models()[0].name, "mqtt": mqtt}
        path.write_text(yaml.safe_dump(settings | {"cameras": {"front": {"source": "demo:", **camera}}}))

    def ask(verb: str, **request: Any) -> dict[str, Any]:
        transaction = len(subscriber.on(f"edgekit/pi/response/{verb}"))
        subscriber.publish(f"edgekit/pi/request/{verb}", json.dumps({"transaction": transaction, **request}))
        subscriber.wait(lambda _: len(subscriber.on(f"edgekit/pi/response/{verb}")) > transaction)
        answer: dict[str, Any] = json.loads(subscriber.on(f"edgekit/pi/response/{verb}")[-1])
        Draft202012Validator(messages.load_schema("response")).validate(answer)
        assert answer["transaction"] == transaction
        return answer

    write()
    command = [PYTHON, "-P", "-m", "edgekit", "run", str(path), "-q"]
    try:
        with (
            Subscriber(broker.port, "edgekit/#") as subscriber,
            subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process,
        ):
            subscriber.wait_for("edgekit/pi/front/status", "online")
            subscriber.wait_for("edgekit/pi/health")
            assert "switched off" in ask("snapshot", camera="front")["error"]
            write(tampr=True)
            answer = ask("reload")
            assert (answer["status"], "did you mean 'tamper'" in answer["error"]) == ("error", True)
            subscriber.wait(lambda _: "did you mean 'tamper'" in str(health(subscriber)["config_error"]))
            assert health(subscriber)["state"] == "degraded"
            write(tamper=True, snapshots=True)
            process.send_signal(signal.SIGHUP)
            subscriber.wait_for("edgekit/pi/front/tamper")
            subscriber.wait(lambda _: health(subscriber)["config_error"] is None)
            subscriber.wait_for("edgekit/pi/front/status", "online")
            until(lambda: ask("snapshot", camera="front")["status"] == "ok", "a picture")
            subscriber.wait(lambda heard: any(h.topic.endswith("snapshot/all") for h in heard))
            write(snapshots=True)
            answer = ask("reload")
            assert answer["data"]["config_hash"] == infos(subscriber)[-1]["config_hash"]
            subscriber.wait_for("edgekit/pi/front/tamper", "")
            first = boot_of(subscriber.heard)
            assert ask("restart")["status"] == "ok"
            subscriber.wait(lambda heard: boot_of(heard) != first and is_online(heard))
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE_S)
    finally:
        broker.kill()
    assert process.returncode == 130, err
    assert "the config is not taken" in err
    assert len({info["config_hash"] for info in infos(subscriber)}) == 3
    for info in infos(subscriber):
        Draft202012Validator(messages.load_schema("info")).validate(info)


def test_a_reload_that_is_asked_for_before_the_pipeline_runs_is_done_then(tmp_path: Path) -> None:
    """The signal comes as soon as edgekit's own code can do something about it."""
    pytest.importorskip("skimage", reason="needs the extra edgekit[demo]")
    path = tmp_path / "demo.yaml"
    mqtt = {"host": "127.0.0.1", "port": free_port()}
    path.write_text(resolved_yaml(demo(mqtt=mqtt)))
    hang_up = "import os, signal, sys, edgekit.__main__ as it; os.kill(os.getpid(), signal.SIGHUP)"
    command = [PYTHON, "-P", "-c", f"{hang_up}; sys.exit(it.main())", "run", str(path), "--frames", "1", "-v"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "a new config runs" in ended.stderr


def health(subscriber: Subscriber) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(subscriber.on("edgekit/pi/health")[-1])
    Draft202012Validator(messages.load_schema("health")).validate(told)
    return told


def infos(subscriber: Subscriber) -> list[dict[str, Any]]:
    return [json.loads(text) for text in subscriber.on("edgekit/pi/info")]


def boot_of(heard: list[Heard]) -> str:
    return next(str(h.json["boot_id"]) for h in reversed(heard) if h.topic == "edgekit/pi/info")


def is_online(heard: list[Heard]) -> bool:
    """The camera of the last start: that before it said `offline` at its end."""
    return [h.payload for h in heard if h.topic == "edgekit/pi/front/status"][-1] == "online"
