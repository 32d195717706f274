"""`edgekit mqtt test`, `watch` and `clean` on a real broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import MODEL, PATIENCE_S, Mosquitto, Subscriber, embedded, event, free_port

from edgekit import console
from edgekit.cli import main
from edgekit.config.broker import MqttConfig
from edgekit.mqtt import Publisher

DISCOVERY = "homeassistant/device/edgekit_pi4/config"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    broker = Mosquitto(tmp_path).start()
    yield broker.port
    broker.kill()


def flags(port: int) -> list[str]:
    return ["--mqtt", f"127.0.0.1:{port}", "--device-id", "pi4"]


def leave_traces(port: int) -> None:
    """As a device that ran and was stopped."""
    publisher = Publisher(MqttConfig(host="127.0.0.1", port=port), "pi4", {})
    publisher.announce("homeassistant", {"cmps": {}})
    with publisher:
        publisher.publish_event(event(), MODEL)
        assert publisher.wait_connected(PATIENCE_S)


def test_a_broker_that_can_be_had_is_described(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mqtt", "test", *flags(port), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["broker"] == f"127.0.0.1:{port}"
    assert (report["mqtt"], report["tls"], report["user"]) == ("5", None, None)
    assert report["round_trip_ms"] >= 0
    assert main(["mqtt", "test", *flags(port)]) == 0
    assert "there and back" in capsys.readouterr().out


def test_an_older_broker_is_tried_by_its_own_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    with embedded() as broker:
        assert main(["mqtt", "test", *flags(broker.port), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mqtt"] == "3.1.1"


def test_a_broker_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    for verb in ("test", "watch", "clean"):
        assert main(["mqtt", verb, *flags(port)]) == 69
        why = f"127.0.0.1:{port}: Connection refused: start it, or correct mqtt.host and mqtt.port"
        assert capsys.readouterr().err == f"edgekit: no MQTT broker at {why}\n"


def test_without_a_broker_the_command_asks_for_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "a.yaml"
    config.write_text("version: 1\nmodel: x\ncameras: {front: {source: 'demo:'}}\n")
    for argv in (["mqtt", "test"], ["mqtt", "test", str(config)]):
        assert main(argv) == 2
        assert "which broker?" in capsys.readouterr().err


def test_the_config_says_which_broker(tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "a.yaml"
    config.write_text(
        "version: 1\nmodel: x\ncameras: {front: {source: 'demo:'}}\n"
        f"mqtt: {{host: 127.0.0.1, port: {port}}}\n"
    )
    assert main(["mqtt", "test", str(config), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["broker"] == f"127.0.0.1:{port}"


def test_a_topic_that_is_not_allowed_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic read #\n")
    broker = Mosquitto(tmp_path, f"acl_file {rules}").start()
    try:
        assert main(["mqtt", "test", *flags(broker.port)]) == 1
    finally:
        broker.kill()
    assert "does not let us publish to edgekit/pi4/probe" in capsys.readouterr().err


@pytest.mark.parametrize("from_config", [False, True])
def test_watch_prints_what_is_said_of_the_device(from_config: bool, port: int, tmp_path: Path) -> None:
    python = os.environ.get("EDGEKIT_PYTHON", sys.executable)
    config = tmp_path / "home.yaml"
    config.write_text(
        f"version: 1\ndevice: {{id: pi4}}\nmodel: x\nmqtt: {{host: 127.0.0.1, port: {port}}}\n"
        "cameras: {front: {source: 'rtsp://${CAMERA_LOGIN}@cam/1'}}\n"
    )
    which = [str(config)] if from_config else flags(port)
    command = [python, "-P", "-m", "edgekit", "mqtt", "watch", *which, "--count", "3", "--json"]
    with Subscriber(port) as subscriber:
        subscriber.publish("edgekit/pi4/status", "online", retain=True)
        subscriber.publish("edgekit/other/status", "online", retain=True)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline()]  # the retained one: it listens
            subscriber.publish("edgekit/pi4/schema/event", "{}")
            subscriber.publish("edgekit/pi4/front/count/all", "3")
            subscriber.publish("edgekit/pi4/front/events", '{"seq":1}')
            lines += process.stdout.readlines()
    assert process.returncode == 0
    assert [json.loads(line) for line in lines] == [
        {"topic": "edgekit/pi4/status", "payload": "online"},
        {"topic": "edgekit/pi4/front/count/all", "payload": 3},
        {"topic": "edgekit/pi4/front/events", "payload": {"seq": 1}},
    ]


@pytest.mark.parametrize("as_json", [False, True])
def test_watch_obeys_nothing_that_a_payload_says_to_the_terminal(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "\x1b]0;title\x07 \x9b2J \x7f \u202e \U000e0041 two\nlines\r Tür 犬 🐈"
    console.print_message("t\x1bopic", text.encode(), as_json=as_json)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.isprintable()
    assert "Tür 犬 🐈" in line
    assert r"\u001b]0;title\u0007 \u009b2J \u007f \u202e" in line
    if as_json:
        assert json.loads(line) == {"topic": "t\x1bopic", "payload": text}


def test_clean_makes_the_broker_forget_the_device_and_no_other(
    port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_traces(port)
    with Subscriber(port) as subscriber:
        subscriber.publish("edgekit/pi5/status", "stopped", retain=True)
    assert main(["mqtt", "clean", *flags(port), "--json"]) == 0
    forgotten = json.loads(capsys.readouterr().out)["forgotten"]
    assert {"edgekit/pi4/status", "edgekit/pi4/info", DISCOVERY} <= set(forgotten)
    with Subscriber(port) as late:
        assert [h.topic for h in late.settle()] == ["edgekit/pi5/status"]
    assert main(["mqtt", "clean", *flags(port)]) == 0
    assert capsys.readouterr().out == ""


def test_clean_forgets_what_was_said_for_frigates_friends_too(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "a.yaml"
    config.write_text(
        "version: 1\nmodel: m\ndevice: {id: pi4}\ncameras: {front: {source: x}}\n"
        f"mqtt: {{host: 127.0.0.1, port: {port}, compat: frigate}}\n"
    )
    ours = ["edgekit/pi4/front/count/person", "frigate/front/person", "frigate/available"]
    with Subscriber(port) as subscriber:
        for topic in [*ours, "frigate/back/person"]:
            subscriber.publish(topic, "1", retain=True)
    assert main(["mqtt", "clean", str(config)]) == 0
    assert capsys.readouterr().out.split() == sorted(ours)
    with Subscriber(port) as late:
        assert [h.topic for h in late.settle()] == ["frigate/back/person"]


def test_a_device_that_is_online_is_not_cleaned_away(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    with Subscriber(port) as subscriber:
        subscriber.publish("edgekit/pi4/status", "online", retain=True)
    assert main(["mqtt", "clean", *flags(port)]) == 1
    assert "pi4 is online: stop it first, or use --force" in capsys.readouterr().err
    assert main(["mqtt", "clean", *flags(port), "--force"]) == 0
    assert capsys.readouterr().out == "edgekit/pi4/status\n"
