"""The main job from end to end: `edgekit run` in a process of its own, heard by a real MQTT client."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from scripted import Noting

from edgekit import inference, messages, zoo
from edgekit.broker import EmbeddedBroker
from edgekit.demo import DemoScene
from edgekit.inbox import Camera
from edgekit.mqtt import ListSink
from edgekit.pipeline import Pipeline
from edgekit.settings import DetectConfig
from edgekit.sources import open_source

PYTHON = os.environ.get("EDGEKIT_PYTHON", sys.executable)
EMULATED = "EDGEKIT_PYTHON" in os.environ
WAIT_S = 120.0  # an emulated ARM is slow; a run that works never waits so long
pytest.importorskip("skimage", reason="needs the extra edgekit[demo]")


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as started:
        started.start()
        yield started


class Listener:
    """A subscriber that keeps all it hears, in order."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        self._queue: queue.Queue[tuple[str, bytes, bool]] = queue.Queue()
        ready = queue.Queue[bool]()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: ready.put(True)
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("edgekit/#", qos=1)
        self._client.loop_start()
        ready.get(timeout=WAIT_S)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self._queue.put((message.topic, bytes(message.payload), message.retain))

    def wait_for(self, wanted: Callable[[str, bytes], bool]) -> None:
        """Listen until a message is as `wanted`."""
        while True:
            topic, payload, retained = self._queue.get(timeout=WAIT_S)
            self.heard.append((topic, payload, retained))
            if wanted(topic, payload):
                return

    def payloads(self, topic: str) -> list[bytes]:
        return [payload for heard, payload, _ in self.heard if heard == topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def listener(broker: EmbeddedBroker) -> Iterator[Listener]:
    client = Listener(broker.port)
    yield client
    client.close()


def start(*argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PYTHON, "-m", "edgekit", "run", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def status_is(text: bytes) -> Callable[[str, bytes], bool]:
    return lambda topic, payload: topic.endswith("/status") and topic.count("/") == 2 and payload == text


def test_the_demo_is_reported_as_its_card_says() -> None:
    """One loop of the scene: who is reported, and when, against what is where, and when."""
    card = DemoScene(0).card()
    source = Noting(open_source("demo:seed=0&pace=none", camera="front"))
    sink = ListSink()
    model = inference.open(zoo.list_models()[0].name)
    camera = Camera("front", DetectConfig(), lambda: source)
    seconds = 20 if EMULATED else card["loop_s"]  # an emulated CPU takes its time; the first visit must do
    Pipeline([camera], model, sink).run(frames=int(seconds * card["fps"]))
    ends = [event for event in sink.events if event.type == "end"]
    seen = [(e.after.label, e.after.start_s - source.first_s, e.after.seen_s - source.first_s) for e in ends]
    persons = [v for v in card["visits"] if v["label"] == "person" and v["leave_s"] < seconds]
    assert persons
    for visit in persons:
        starts = [
            start_s
            for label, start_s, end_s in seen
            if label == "person" and start_s < visit["leave_s"] and end_s > visit["enter_s"]
        ]
        assert starts, f"not reported: {visit}"
        assert visit["enter_s"] - 1 <= min(starts) <= visit["enter_s"] + 2.5
    assert len([label for label, *_ in seen if label == "person"]) <= len(persons) + 1
    assert {label for label, *_ in seen} <= {"person", "cat", "motorcycle", "bicycle"}  # alike, the last two


def test_a_config_runs_and_is_heard(broker: EmbeddedBroker, listener: Listener, tmp_path: Path) -> None:
    config = tmp_path / "demo.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "version": 1,
                "device": {"id": "pi"},
                "model": zoo.list_models()[0].name,
                "mqtt": {"host": "127.0.0.1", "port": broker.port},
                "cameras": {"front": {"source": "demo:pace=none"}},
            }
        )
    )
    process = start(str(config), "--frames", "80", "--json")
    listener.wait_for(status_is(b"stopped"))
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    assert json.loads(out)["cameras"][0]["frames"] == 80
    heard = [(topic, payload) for topic, payload, _ in listener.heard]
    assert [p for t, p in heard if t == "edgekit/pi/status"] == [b"online", b"stopped"]
    events = [json.loads(p) for p in listener.payloads("edgekit/pi/front/events")]
    checker = Draft202012Validator(messages.load_schema("event"))
    for event in events:
        checker.validate(event)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["type"], events[0]["after"]["label"]) == ("new", "person")
    assert {e["id"] for e in events if e["type"] == "new"} == {e["id"] for e in events if e["type"] == "end"}
    counts = listener.payloads("edgekit/pi/front/count/person")
    assert (counts[0], b"1" in counts, counts[-1]) == (b"0", True, b"0")
    assert listener.payloads("edgekit/pi/front/status")[-2:] == [b"online", b"offline"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_in_order(
    number: signal.Signals, code: int, broker: EmbeddedBroker, listener: Listener
) -> None:
    process = start("demo:", "--mqtt", f"127.0.0.1:{broker.port}", "-q")
    listener.wait_for(lambda topic, payload: topic.endswith("/camera/status") and payload == b"online")
    process.send_signal(number)
    listener.wait_for(status_is(b"stopped"))
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == code
    assert err == ""


def test_without_a_host_the_embedded_broker_serves() -> None:
    with start("demo:") as process:
        assert process.stderr
        line = next(line for line in iter(process.stderr.readline, "") if line.startswith("listen"))
        listener = Listener(int(line.split(" -p ")[1].split()[0]))
        listener.wait_for(lambda topic, _: topic.endswith("/events"))
        process.send_signal(signal.SIGINT)
        listener.wait_for(status_is(b"stopped"))
        listener.close()
        process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
