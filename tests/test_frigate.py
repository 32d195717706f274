"""What automations made for Frigate hear, pure and on a real broker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from brokers import MODEL, PATIENCE_S, Mosquitto, Subscriber, event, track, until

from edgekit.config.broker import MqttConfig
from edgekit.mqtt import Limits, Publisher, frigate, messages
from edgekit.mqtt.commands import Commands
from edgekit.mqtt.messages import Message, Stamp
from edgekit.mqtt.topics import Topics
from edgekit.types import Event

TOPICS = Topics("edgekit", "pi4")
STAMP = Stamp("pi4", "b7e1c0de", 1, 1795341791.655, 90311.655, clock_synced=True)
ITS_FIELDS = {  # of `before` and `after`, by Frigate's documentation
    *("id", "camera", "frame_time", "snapshot_time", "label", "top_score", "false_positive", "start_time"),
    *("end_time", "score", "box", "area", "region", "current_zones", "entered_zones", "thumbnail"),
    *("has_snapshot", "has_clip", "stationary", "motionless_count", "position_changes"),
}


def mirrored(of: Event) -> dict[str, Any]:
    message = frigate.mirror_event(messages.event_payload(of, STAMP, MODEL))
    assert (message.topic, message.retain, message.seq) == ("frigate/events", False, None)
    payload: dict[str, Any] = json.loads(message.payload)
    return payload


def test_an_event_has_all_that_frigate_documents() -> None:
    new = mirrored(event(7))
    assert new["type"] == "new"
    assert new["after"].keys() >= ITS_FIELDS
    assert new["before"] == new["after"]
    assert new["after"]["end_time"] is None
    end = mirrored(event(7, type="end", before=track(score=0.5), end_s=1795341799.5))
    assert (end["type"], end["before"]["score"], end["after"]["end_time"]) == ("end", 0.5, 1795341799.5)
    assert end["after"]["id"] == new["after"]["id"] == "pi4-front-b7e1-000007"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (TOPICS.count("front", "person"), "frigate/front/person"),
        (TOPICS.count("front", "all"), "frigate/front/all"),
        (TOPICS.zone("front", "drive", "person"), "frigate/drive/person"),
        (TOPICS.motion("front"), "frigate/front/motion"),
        (TOPICS.detect_state("front"), "frigate/front/detect/state"),
        (TOPICS.snapshot("front", "person"), "frigate/front/person/snapshot"),
        (TOPICS.camera_status("front"), None),
        (TOPICS.line("front", "gate"), None),
        (TOPICS.info, None),
        (TOPICS.schema("event"), None),
    ],
)
def test_a_state_stands_where_frigate_has_it(ours: str, theirs: str | None) -> None:
    message = frigate.mirror_state(TOPICS, Message(ours, b"1", retain=True))
    assert (message and message.topic) == theirs


def test_automations_for_frigate_hear_it_in_order(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path).start()
    switched: list[tuple[str, bool]] = []
    settings = MqttConfig(host="127.0.0.1", port=broker.port, compat="frigate")
    publisher = Publisher(settings, "pi4", {}, limits=Limits(retry_s=(0.02, 0.1)))

    def detect(camera: str, on: bool) -> bool:
        switched.append((camera, on))
        return True

    publisher.serve(Commands(detect))
    with Subscriber(broker.port, "frigate/#") as subscriber:
        with publisher:
            assert publisher.wait_connected(PATIENCE_S)
            publisher.publish_event(event(1), MODEL)
            publisher.set_count("front", "person", 1)
            subscriber.wait_for("frigate/front/person", "1")
            publisher.publish_event(event(1, type="end", before=track(), end_s=1795341799.5), MODEL)
            publisher.set_count("front", "person", 0)
            subscriber.publish("frigate/front/detect/set", "OFF")
            until(lambda: switched == [("front", False)], "the switch")
        heard = subscriber.wait(lambda _: subscriber.on("frigate/available") == ["online", "offline"])
    broker.kill()
    told = [(h.topic, h.json["type"] if h.topic.endswith("events") else h.payload) for h in heard]
    assert [each for each in told if each[0] != "frigate/front/detect/set"] == [
        ("frigate/available", "online"),
        ("frigate/events", "new"),
        ("frigate/front/person", "1"),
        ("frigate/events", "end"),
        ("frigate/front/person", "0"),
        ("frigate/available", "offline"),
    ]


def test_things_in_zones_of_one_name_add_up(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path).start()
    settings = MqttConfig(host="127.0.0.1", port=broker.port, compat="frigate")
    topic = "frigate/drive/person"
    with Subscriber(broker.port, topic) as subscriber:
        with Publisher(settings, "pi4", {}) as publisher:
            assert publisher.wait_connected(PATIENCE_S)
            for camera, number, sum_ in (("front", 2, "2"), ("back", 1, "3"), ("front", 0, "1")):
                publisher.set_zone_count(camera, "drive", "person", number)
                subscriber.wait_for(topic, sum_)
            publisher.forget(TOPICS.zone("back", "drive", "person"))  # the camera is no longer in the config
            subscriber.wait_for(topic, "0")
        assert subscriber.on(topic) == ["2", "3", "1", "0"]
    broker.kill()


def test_without_compat_nothing_is_said_there(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path).start()
    with Subscriber(broker.port, "frigate/#") as subscriber:
        with Publisher(MqttConfig(host="127.0.0.1", port=broker.port), "pi4", {}) as publisher:
            assert publisher.wait_connected(PATIENCE_S)
            publisher.publish_event(event(1), MODEL)
        assert subscriber.settle() == []
    broker.kill()
