"""What subscribers may ask for, on real brokers: switching detection, requests, Home Assistant's birth."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from brokers import PATIENCE_S, Mosquitto, Subscriber, until
from jsonschema import Draft202012Validator

from edgekit.config.broker import MqttConfig
from edgekit.errors import UsageError
from edgekit.mqtt import Limits, Publisher, messages
from edgekit.mqtt.commands import Clerk, Commands
from edgekit.mqtt.link import Received
from edgekit.mqtt.messages import Message

SOON = Limits(retry_s=(0.02, 0.1), jitter_s=(0.0, 0.01))
DISCOVERY = "homeassistant/device/edgekit_pi4/config"
ONE = {"p": "sensor", "state_topic": "a"}


class Office:
    """A Clerk whose work is noted; `load` takes until it `may_end`."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.switched: list[tuple[str, bool]] = []
        self.answers: list[tuple[str, dict[str, Any]]] = []
        verbs = {"health": self._health, "fail": self._fail, "crash": self._crash, "load": self._load}
        self.commands = Commands(self._detect, verbs, slow=frozenset({"load"}))
        self.clerk = Clerk("edgekit/pi4", self.commands, self._answer)

    def hear(self, topic: str, payload: bytes, *, retained: bool = False) -> bool:
        return self.clerk.hear(Received(topic, payload, retained))

    def _detect(self, camera: str, on: bool) -> bool:
        self.switched.append((camera, on))
        return camera == "front"

    def _health(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"state": "ok"}

    def _fail(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        raise UsageError("that makes no sense: rtsp://me:s3cret@cam/1")

    def _crash(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        raise RuntimeError("nobody thought of it")

    def _load(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        assert self.may_end.wait(PATIENCE_S)
        return {}

    def _answer(self, message: Message) -> None:
        answer = json.loads(message.payload)
        Draft202012Validator(messages.load_schema("response")).validate(answer)
        self.answers.append((message.topic, answer))


def test_detection_is_switched_by_on_and_off_only(caplog: pytest.LogCaptureFixture) -> None:
    office = Office()
    for payload in (b"OFF", b"on", b"ON ", b"1", b"", b"\xff", b"ON" * 1000, b"false"):
        assert office.hear("edgekit/pi4/front/detect/set", payload)
    assert office.switched == [("front", False), ("front", True), ("front", True)]
    assert sum("expected ON or OFF" in line for line in caplog.messages) == 5
    office.hear("edgekit/pi4/back/detect/set", b"ON")
    assert "no such camera" in caplog.messages[-1]


def test_a_retained_command_is_not_obeyed(caplog: pytest.LogCaptureFixture) -> None:
    office = Office()
    assert office.hear("edgekit/pi4/front/detect/set", b"OFF", retained=True)
    assert office.hear("edgekit/pi4/request/health", b"{}", retained=True)
    assert (office.switched, office.answers) == ([], [])
    assert sum("not obeyed" in line for line in caplog.messages) == 2


@pytest.mark.parametrize(
    ("request_", "transaction"),
    [(b"", None), (b"{}", None), (b'{"transaction": "a1"}', "a1"), (b'{"transaction": 7}', 7)],
)
def test_a_request_is_answered_with_its_transaction(request_: bytes, transaction: object) -> None:
    office = Office()
    office.hear("edgekit/pi4/request/health", request_)
    topic, answer = office.answers[0]
    assert topic == "edgekit/pi4/response/health"
    assert (answer["status"], answer["data"], answer.get("transaction")) == (
        "ok",
        {"state": "ok"},
        transaction,
    )


@pytest.mark.parametrize(
    ("verb", "payload", "error"),
    [
        ("health", b"[]", "expected a JSON object"),
        ("health", b"{", "expected a JSON object"),
        ("health", b"[" * 60_000, "expected a JSON object"),
        ("health", b"\xff\xfe", "expected a JSON object"),
        ("health", b" " * 70_000, "a request has at most 65536 bytes"),
        ("fail", b'{"transaction": {"a": 1}}', "that makes no sense: rtsp://***:***@cam/1"),
    ],
)
def test_a_bad_request_is_answered_with_an_error(verb: str, payload: bytes, error: str) -> None:
    office = Office()
    office.hear(f"edgekit/pi4/request/{verb}", payload)
    topic, answer = office.answers[0]
    assert topic == f"edgekit/pi4/response/{verb}"
    assert (answer["status"], answer["error"]) == ("error", error)
    assert "transaction" not in answer


def test_an_unknown_verb_is_answered_where_its_answer_is_awaited() -> None:
    office = Office()
    office.hear("edgekit/pi4/request/explode", b'{"transaction": "x"}')
    topic, answer = office.answers[0]
    assert topic == "edgekit/pi4/response/explode"
    assert answer["error"] == "no request 'explode', there are crash, fail, health, load"
    assert answer["transaction"] == "x"


def test_what_fails_in_an_unknown_way_is_answered_too(caplog: pytest.LogCaptureFixture) -> None:
    office = Office()
    office.hear("edgekit/pi4/request/crash", b'{"transaction": "x"}')
    answer = office.answers[0][1]
    assert (answer["status"], answer["transaction"]) == ("error", "x")
    assert answer["error"] == "RuntimeError('nobody thought of it'): the log has more"
    assert "nobody thought of it" in caplog.text


def test_what_is_slow_holds_nothing_up_and_is_done_once_at_a_time() -> None:
    office = Office()
    for number in (1, 2):
        office.hear("edgekit/pi4/request/load", b'{"transaction": %d}' % number)
    office.hear("edgekit/pi4/request/health", b'{"transaction": 3}')
    office.may_end.set()
    until(lambda: len(office.answers) == 3, "the slow one")
    told = [(answer["transaction"], answer["error"]) for _, answer in office.answers]
    assert told == [(2, "load is under way: ask again when it is done"), (3, ""), (1, "")]
    office.hear("edgekit/pi4/request/load", b"{}")
    until(lambda: len(office.answers) == 4, "the next")
    assert office.answers[3][1]["status"] == "ok"


@pytest.mark.parametrize(
    "topic", ["edgekit/pi4/status", "edgekit/pi5/request/health", "edgekit/pi4/a/b/detect/set", "x", ""]
)
def test_what_is_no_command_is_left_alone(topic: str) -> None:
    assert not Office().hear(topic, b"ON")


# ---- on a broker ---------------------------------------------------------------------------------


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path).start()
    yield broker
    broker.kill()


@contextlib.contextmanager
def serving(port: int, office: Office, payload: Mapping[str, Any], **options: Any) -> Iterator[Publisher]:
    publisher = Publisher(MqttConfig(host="127.0.0.1", port=port), "pi4", {}, limits=SOON)
    publisher.serve(office.commands)
    publisher.announce("homeassistant", payload, **options)
    with publisher:
        assert publisher.wait_connected(PATIENCE_S), publisher.reason
        yield publisher


def test_commands_come_over_the_broker(mosquitto: Mosquitto) -> None:
    office = Office()
    with Subscriber(mosquitto.port) as subscriber:
        subscriber.publish("edgekit/pi4/front/detect/set", "OFF", retain=True)
        with serving(mosquitto.port, office, {"cmps": {}}) as publisher:
            publisher.set_detect("front", True)
            subscriber.wait_for("edgekit/pi4/front/detect/state", "ON")
            subscriber.publish("edgekit/pi4/front/detect/set", "OFF")
            until(lambda: office.switched == [("front", False)], "the switch")
            publisher.set_detect("front", False)
            subscriber.publish("edgekit/pi4/request/health", '{"transaction": "t"}')
            heard = subscriber.wait_for("edgekit/pi4/response/health")
            assert subscriber.on("edgekit/pi4/front/detect/state") == ["ON", "OFF"]
            answer = next(h for h in heard if h.topic.endswith("response/health"))
            assert (answer.json["transaction"], answer.retained) == ("t", False)
        assert office.switched == [("front", False)]


def test_discovery_is_there_before_online_and_again_when_home_assistant_starts(mosquitto: Mosquitto) -> None:
    payload = {"cmps": {"a": ONE}}
    with Subscriber(mosquitto.port) as subscriber, serving(mosquitto.port, Office(), payload):
        topics = [h.topic for h in subscriber.wait_for("edgekit/pi4/status", "online")]
        assert topics.index(DISCOVERY) < topics.index("edgekit/pi4/status")
        subscriber.publish("homeassistant/status", "offline")
        subscriber.publish("homeassistant/status", "online")
        subscriber.wait(lambda heard: sum(h.topic == DISCOVERY for h in heard) == 2)
        with Subscriber(mosquitto.port, DISCOVERY) as late:
            assert late.wait_for(DISCOVERY)[0].json == payload


def test_without_retain_discovery_is_said_and_not_kept(mosquitto: Mosquitto) -> None:
    payload = {"cmps": {"a": ONE}}
    with Subscriber(mosquitto.port) as early, serving(mosquitto.port, Office(), payload, retain=False):
        early.wait_for(DISCOVERY)
        with Subscriber(mosquitto.port, DISCOVERY) as late:
            assert late.settle() == []


def test_what_a_former_start_announced_is_taken_away(mosquitto: Mosquitto) -> None:
    with serving(mosquitto.port, Office(), {"cmps": {"a": ONE, "b": ONE}}):
        pass
    with Subscriber(mosquitto.port, DISCOVERY) as subscriber:
        subscriber.wait_for(DISCOVERY)
        with serving(mosquitto.port, Office(), {"cmps": {"a": ONE}}):
            heard = subscriber.wait(lambda heard: len(heard) == 4)
    said = [h.json["cmps"] for h in heard]
    assert said[1:] == [{"a": ONE}, {"a": ONE, "b": {"p": "sensor"}}, {"a": ONE}]


def test_states_of_what_is_no_longer_there_are_forgotten(mosquitto: Mosquitto) -> None:
    own, kept, foreign = (
        "edgekit/pi4/shed/count/person",
        "edgekit/pi4/front/count/person",
        "edgekit/pi40/count",
    )
    topics = {"a": own, "b": kept, "c": foreign}
    parts = {name: {"p": "sensor", "state_topic": topic} for name, topic in topics.items()}
    with serving(mosquitto.port, Office(), {"cmps": parts}) as publisher:
        publisher.set_count("shed", "person", 1)
        publisher.set_count("front", "person", 2)
    with Subscriber(mosquitto.port) as subscriber:
        subscriber.publish(foreign, "7", retain=True)
        with serving(mosquitto.port, Office(), {"cmps": {"b": parts["b"]}}):
            subscriber.wait_for(own, "")
    with Subscriber(mosquitto.port, "edgekit/#") as late:
        found = {h.topic: h.payload for h in late.settle() if "count" in h.topic}
    assert found == {foreign: "7", kept: "2"}


def test_a_broker_that_lets_nobody_subscribe_still_hears(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic write #\n")
    broker = Mosquitto(tmp_path, f"acl_file {rules}").start()
    try:
        with serving(broker.port, Office(), {"cmps": {}}) as publisher:
            assert publisher.state == "connected"
    finally:
        broker.kill()
