"""Home Assistant's discovery: every payload against a rule set written from its documentation."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.config import parse_config
from edgekit.mqtt import messages
from edgekit.mqtt.discovery import discovery_payload, discovery_topic, removals, state_topics
from edgekit.mqtt.topics import Topics

LABELS = ["person", "dog", "traffic light"]
TOPICS = Topics("edgekit", "pi4")
LIVE = "{{ 'online' if value in ['online', 'degraded'] else 'offline' }}"

# ---- the rules -----------------------------------------------------------------------------------

SHARED = {
    *("p", "name", "unique_id", "default_entity_id", "device_class", "entity_category", "expire_after"),
    *("availability", "availability_mode", "json_attributes_topic", "icon", "enabled_by_default", "qos"),
}
PLATFORMS = {  # what each must have, and what it may have beside that and SHARED
    "binary_sensor": ({"state_topic"}, {"value_template", "payload_on", "payload_off", "off_delay"}),
    "sensor": ({"state_topic"}, {"value_template", "state_class", "unit_of_measurement", "options"}),
    "switch": (
        {"command_topic"},
        {"state_topic", "payload_on", "payload_off", "value_template", "optimistic"},
    ),
    "event": ({"state_topic", "event_types"}, {"value_template"}),
    "image": ({"image_topic"}, {"content_type", "image_encoding"}),
}
DEVICE_CLASSES = {
    "binary_sensor": {
        "motion",
        "occupancy",
        "problem",
        "connectivity",
        "tamper",
        "safety",
        "presence",
        "running",
    },
    "sensor": {"enum", "data_size", "duration", "temperature", "timestamp"},
    "event": {"motion", "doorbell", "button"},
    "switch": {"outlet", "switch"},
    "image": set[str](),
}
NO_EXPIRY = {"switch", "event", "image"}
DEVICE_KEYS = {"ids", "cns", "name", "mf", "mdl", "sw", "hw", "sn", "cu", "sa", "via_device", "mdl_id"}


def check_topic(topic: str) -> None:
    """A topic to publish to: no wildcard, no empty level, nothing reserved."""
    assert re.fullmatch(r"[a-zA-Z0-9_-]+(/[a-zA-Z0-9_-]+)*", topic), topic


def check_root(topic: str, payload: dict[str, Any]) -> None:
    assert re.fullmatch(r"[\w/-]+/device/[a-zA-Z0-9_-]+/config", topic), topic
    assert payload["dev"].keys() <= DEVICE_KEYS
    assert payload["dev"]["ids"], "a device needs an identifier"
    assert payload["o"]["name"], "the origin needs a name"
    assert payload["o"].keys() <= {"name", "sw", "url"}
    assert payload.keys() <= {"dev", "o", "cmps", "availability", "availability_mode", "qos", "encoding"}
    assert payload["cmps"], "a device without components is refused"


def check_component(key: str, component: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", key), key
    platform = component["p"]
    must, may = PLATFORMS[platform]
    assert must <= component.keys(), f"{key}: misses {must - component.keys()}"
    assert component.keys() <= must | may | SHARED, f"{key}: {component.keys() - must - may - SHARED}"
    assert not {"dev", "o"} & component.keys(), "device and origin stand in the root only"
    assert component["unique_id"]
    assert re.fullmatch(rf"{platform}\.[a-z0-9]+(_[a-z0-9]+)*", component["default_entity_id"])
    for option, value in component.items():
        if option.endswith("_topic"):
            check_topic(value)
    assert component.get("device_class") is None or component["device_class"] in DEVICE_CLASSES[platform]
    assert component.get("entity_category") in (None, "diagnostic", "config")
    assert not (platform in NO_EXPIRY and "expire_after" in component)
    check_sensor(component)
    check_availability(component)


def check_sensor(component: dict[str, Any]) -> None:
    """The documented contradictions of sensors and events."""
    enum = component.get("device_class") == "enum"
    if component["p"] == "sensor":
        assert enum == ("options" in component), "options are those of an enum, and an enum has some"
        assert not (enum and ("state_class" in component or "unit_of_measurement" in component))
        assert component.get("state_class") in (None, "measurement", "total", "total_increasing")
    if component["p"] == "event":
        assert component["event_types"]
        assert len(set(component["event_types"])) == len(component["event_types"])


def check_availability(component: dict[str, Any]) -> None:
    assert component.get("availability_mode", "latest") in ("all", "any", "latest")
    for each in component.get("availability", []):
        assert each.keys() <= {"topic", "payload_available", "payload_not_available", "value_template"}
        check_topic(each["topic"])
        if not {"value_template", "payload_not_available"} & each.keys():
            pytest.fail(f"{each['topic']}: `stopped` and `disabled` would leave the entity available")


def check(topic: str, payload: dict[str, Any]) -> None:
    """By the rules, as a subscriber reads it."""
    payload = json.loads(messages.encode(payload))
    check_root(topic, payload)
    check_availability(payload)
    for key, component in payload["cmps"].items():
        check_component(key, component)
    ids = [component["unique_id"] for component in payload["cmps"].values()]
    assert len(set(ids)) == len(ids)


# ---- configs -------------------------------------------------------------------------------------


@dataclass
class Camera:
    """A camera with all that a config may say of it, now or later."""

    detect: Any
    zones: dict[str, Any]
    lines: dict[str, Any]
    alarms: dict[str, Any]
    tamper: Any = None
    snapshots: Any = None


def camera(**changes: Any) -> Camera:
    values: dict[str, Any] = {"detect": SimpleNamespace(motion=None), "zones": {}, "lines": {}, "alarms": {}}
    return Camera(**{**values, **changes})


def config(cameras: dict[str, Any], base: str = "edgekit", device: str = "pi4") -> Any:
    return SimpleNamespace(
        mqtt=SimpleNamespace(base=base), device=SimpleNamespace(id=device), cameras=cameras, web=None
    )


def payload_of(cameras: dict[str, Any], **names: str) -> dict[str, Any]:
    return discovery_payload(
        config(cameras, **names), dict.fromkeys(cameras, LABELS), "Raspberry Pi 4B", "pi4"
    )


FULL = camera(
    detect=SimpleNamespace(motion=SimpleNamespace(threshold=30)),
    zones={"drive": SimpleNamespace(labels=["person"]), "yard": SimpleNamespace(labels=None)},
    lines={"gate": SimpleNamespace()},
    alarms={"intruder": SimpleNamespace()},
    tamper=SimpleNamespace(covered=True),
    snapshots=SimpleNamespace(enabled=True),
)


def test_a_plain_config_makes_entities_that_home_assistant_takes() -> None:
    text = "version: 1\nmodel: detect/x\ndevice: {id: pi4}\ncameras: {front: {source: 'demo:'}}\n"
    real = parse_config(text, "demo.yaml", Path("/pipelines"))
    payload = discovery_payload(real, {"front": ["person", "dog"]}, "Raspberry Pi 4B", "pi4")
    check(discovery_topic("homeassistant", TOPICS), payload)
    assert payload["dev"]["ids"] == ["edgekit_pi4"]
    person = payload["cmps"]["front_person"]
    assert person == {
        "p": "binary_sensor",
        "name": "Front person",
        "unique_id": "edgekit_pi4_front_person",
        "default_entity_id": "binary_sensor.front_person",
        "device_class": "occupancy",
        "state_topic": "edgekit/pi4/front/count/person",
        "value_template": "{{ 'ON' if value|int(0) > 0 else 'OFF' }}",
        "availability": [
            {"topic": "edgekit/pi4/status", "value_template": LIVE},
            {"topic": "edgekit/pi4/front/status", "value_template": LIVE},
        ],
        "availability_mode": "all",
    }
    assert set(payload["cmps"]) == {
        *("state", "infer", "memory", "pending", "front_status", "front_detect"),
        *("front_person", "front_person_count", "front_dog", "front_dog_count"),
        *("front_animal", "front_animal_count", "front_all", "front_all_count"),
    }
    assert "cu" not in payload["dev"]
    assert "availability" not in payload["cmps"]["front_detect"]  # what is switched off can be switched on


@pytest.mark.parametrize(
    ("web", "address"),
    [
        ("{host: 0.0.0.0, port: 80, token: correct-horse}", "http://pi4:80/"),
        ("{host: '::', token: correct-horse}", "http://pi4:8088/"),
        ("{host: shed.lan, token: correct-horse}", "http://shed.lan:8088/"),
        ("{host: 'fd00::7', token: correct-horse}", "http://[fd00::7]:8088/"),
        ("8088", None),
        ("false", None),
    ],
)
def test_a_page_that_others_reach_is_where_the_device_is_set_up(web: str, address: str | None) -> None:
    text = f"version: 1\nmodel: detect/x\nweb: {web}\ncameras: {{front: {{source: 'demo:'}}}}\n"
    real = parse_config(text, "demo.yaml", Path("/pipelines"))
    payload = discovery_payload(real, {"front": ["person"]}, "PC", "pi4")
    check(discovery_topic("homeassistant", TOPICS), payload)
    assert payload["dev"].get("cu") == address


def test_kinds_of_things_are_entities_unless_they_are_classes() -> None:
    def keys(*labels: str) -> set[str]:
        payload = discovery_payload(config({"a": camera()}), {"a": labels}, "PC", "pi4")
        return {key for key in payload["cmps"] if key in ("a_animal", "a_vehicle", "a_person")}

    assert keys("person", "cat") == {"a_person", "a_animal"}
    assert keys("bus", "cat", "dog") == {"a_vehicle", "a_animal"}
    assert keys("vehicle", "car", "robot") == {"a_vehicle"}
    assert keys("robot") == set()


def test_whatever_a_config_has_becomes_an_entity() -> None:
    payload = payload_of({"front": FULL})
    check(discovery_topic("homeassistant", TOPICS), payload)
    topics = {c.get("state_topic") or c.get("image_topic") for c in payload["cmps"].values()}
    place = "edgekit/pi4/front"
    assert {
        *(
            f"{place}/motion",
            f"{place}/line/gate",
            f"{place}/alarm/intruder",
            f"{place}/alarm/intruder/event",
        ),
        *(
            f"{place}/tamper",
            f"{place}/snapshot/person",
            f"{place}/zone/drive/person",
            f"{place}/zone/yard/dog",
        ),
        *(f"{place}/count/traffic_light", f"{place}/detect/state"),
    } <= topics
    assert f"{place}/zone/drive/dog" not in topics
    assert payload["cmps"]["front_tamper"]["json_attributes_topic"] == f"{place}/tamper/attributes"


@pytest.mark.parametrize("off", [None, False, SimpleNamespace(enabled=False)])
def test_what_is_switched_off_is_no_entity(off: Any) -> None:
    payload = payload_of({"front": camera(tamper=off, snapshots=off)})
    assert not {c["device_class"] for c in payload["cmps"].values() if "device_class" in c} & {"tamper"}
    assert "image" not in {c["p"] for c in payload["cmps"].values()}


names = st.text("ab_-", min_size=1, max_size=4)


@given(st.lists(names, min_size=1, max_size=4, unique=True), st.lists(names, max_size=3, unique=True), names)
def test_no_two_entities_are_confused_whatever_the_names(
    cameras: list[str], zones: list[str], device: str
) -> None:
    scene = camera(
        zones={zone: SimpleNamespace(labels=None) for zone in zones},
        alarms={zone: SimpleNamespace() for zone in zones},
        lines={zone: SimpleNamespace() for zone in zones},
        snapshots=True,
    )
    topics = Topics("home/edgekit", device)
    payload = payload_of(dict.fromkeys(cameras, scene), base="home/edgekit", device=device)
    check(discovery_topic("homeassistant", topics), payload)
    assert payload == payload_of(dict.fromkeys(cameras, scene), base="home/edgekit", device=device)


def test_ids_do_not_change_when_something_is_added() -> None:
    before, after = payload_of({"front": camera()}), payload_of({"back": FULL, "front": FULL})
    for key, component in before["cmps"].items():
        assert after["cmps"][key]["unique_id"] == component["unique_id"]


def test_what_is_gone_is_taken_away_before_the_rest_is_said() -> None:
    old, new = payload_of({"front": FULL}), payload_of({"front": camera()})
    interim = removals(old, new)
    assert interim is not None
    assert interim["cmps"]["front_tamper"] == {"p": "binary_sensor"}
    assert interim["cmps"]["front_person"] == new["cmps"]["front_person"]
    assert removals(new, new) is None
    assert removals(new, old) is None


@pytest.mark.parametrize("cmps", [None, {"x": 1}, {"x": {"p": 1}}, [], "x"])
def test_a_strange_old_message_takes_nothing_away(cmps: Any) -> None:
    assert removals({"cmps": cmps}, payload_of({"front": camera()})) is None
    assert removals({}, payload_of({"front": camera()})) is None
    assert state_topics({"cmps": cmps}) == set()


@pytest.mark.parametrize(
    "change",
    [
        {"state_topic": "edgekit/+/x"},
        {"p": "sensor", "device_class": "enum"},
        {"device_class": "nonsense"},
        {"dev": {}},
        {"default_entity_id": "sensor.Front"},
        {"state_topic": None},
    ],
)
def test_the_rules_refuse_what_home_assistant_would(change: dict[str, Any]) -> None:
    component = payload_of({"front": camera()})["cmps"]["front_person"] | change
    component = {key: value for key, value in component.items() if value is not None}
    with pytest.raises(AssertionError):
        check_component("front_person", component)


HOME_ASSISTANT = """
import asyncio, importlib, json, sys
from homeassistant.components.mqtt import discovery, schemas
from homeassistant.core import HomeAssistant
from homeassistant.helpers import frame

def plain(part):
    part = discovery.MQTTDiscoveryPayload(part)
    discovery._replace_all_abbreviations(part)
    return part

async def check(payload):
    frame.async_setup(HomeAssistant("/tmp"))
    root = plain(payload)
    components = root.pop("components")
    shared = {key: root[key] for key in schemas.SHARED_OPTIONS if key in root}
    schemas.DEVICE_DISCOVERY_SCHEMA({**root, "components": {}})
    for key, component in components.items():
        component = plain(component)
        platform = importlib.import_module(f"homeassistant.components.mqtt.{component.pop('platform')}")
        whole = {**shared, **component, "device": root["device"], "origin": root["origin"]}
        ignored = set(whole) - set(platform.DISCOVERY_SCHEMA(whole)) - {"default_entity_id"}
        assert not ignored, (key, ignored)

asyncio.run(check(json.load(sys.stdin)))
"""


def test_home_assistant_itself_takes_it() -> None:
    """$EDGEKIT_HOMEASSISTANT is a Python that has the package homeassistant, 2024.12 or newer."""
    python = os.environ.get("EDGEKIT_HOMEASSISTANT")
    if python is None:
        pytest.skip("set EDGEKIT_HOMEASSISTANT to a Python that has Home Assistant")
    payload = messages.encode(payload_of({"front": FULL, "back": camera()}))
    done = subprocess.run([python, "-c", HOME_ASSISTANT], input=payload, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
