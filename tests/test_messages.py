"""Topics and payloads: pure functions against the shipped JSON schemas."""

from __future__ import annotations

import functools
import json
import math
from typing import Any

import numpy as np
import pytest
from brokers import MODEL, event, track
from hypothesis import given
from hypothesis import strategies as st

from edgekit.mqtt import messages
from edgekit.mqtt.messages import Stamp
from edgekit.mqtt.topics import Topics, check_id, topic_label
from edgekit.types import Crossing

jsonschema = pytest.importorskip("jsonschema")

STAMP = Stamp(
    device="pi4",
    boot_id="b7e1c0de",
    seq=4711,
    published_s=1795341791.655,
    mono_s=90311.655,
    clock_synced=True,
)
HEALTH = {
    "state": "ok",
    "uptime_s": 12.5,
    "cameras": {"front": {"fps": 5.0, "detect_fps": 4.8, "skipped": 12, "last_frame_age_s": 0.2}},
    "infer_ms": {"p50": 31.5, "p95": 40.0},
    "mem_mb": 88.5,
    "budget_mb": 150,
    "cpu": 0.4,
    "temp_c": 51.5,
    "throttled": False,
}
MQTT = {"connected": True, "reconnects": 1, "sent": 10, "undelivered": 0}
OUTBOX = {"pending": 0, "dropped": 0, "bytes": 0, "durable": False, "trouble": None}
any_box = st.tuples(*[st.floats(-1e6, 1e6)] * 4).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)


def check(name: str, payload: Any) -> None:
    """The payload, as a subscriber reads it, is what the schema says."""
    validator(name).validate(json.loads(messages.encode(payload)))


@functools.cache
def validator(name: str) -> Any:
    schema = messages.load_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_topics_stand_where_the_conventions_put_them() -> None:
    topics = Topics("edgekit", "pi4")
    assert topics.status == "edgekit/pi4/status"
    assert topics.info == "edgekit/pi4/info"
    assert topics.health == "edgekit/pi4/health"
    assert topics.gap == "edgekit/pi4/gap"
    assert topics.schema("event") == "edgekit/pi4/schema/event"
    assert topics.camera_status("front") == "edgekit/pi4/front/status"
    assert topics.events("front") == "edgekit/pi4/front/events"
    assert topics.count("front", "person") == "edgekit/pi4/front/count/person"
    assert topics.count("front", "all") == "edgekit/pi4/front/count/all"
    assert Topics("home/cams", "pi4").status == "home/cams/pi4/status"


@pytest.mark.parametrize("name", ["", "a b", "+", "#", "a/b", "$SYS", "Pi4", "x" * 65, "pi4\n", "é"])
def test_a_name_that_is_no_topic_level_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"device\.id"):
        Topics("edgekit", name)
    with pytest.raises(ValueError, match="camera"):
        Topics("edgekit", "pi4").events(name)
    if "/" not in name:
        with pytest.raises(ValueError, match=r"mqtt\.base"):
            Topics(name, "pi4")


@given(st.text(min_size=1))
def test_a_label_becomes_one_topic_level(label: str) -> None:
    level = topic_label(label)
    assert check_id("label", level) == level


def test_labels_of_two_words_are_readable() -> None:
    assert topic_label("Traffic light") == "traffic_light"


def test_labels_of_other_letters_stay_apart() -> None:
    assert len({topic_label(label) for label in ("人", "犬", "мышь", "mouse", "_")}) == 5


@pytest.mark.parametrize(
    ("time_s", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1795341791.482, "2026-11-22T10:03:11.482Z"),
        (1795341791.9996, "2026-11-22T10:03:12.000Z"),
    ],
)
def test_times_are_iso_8601_in_utc_with_milliseconds(time_s: float, text: str) -> None:
    assert messages.utc_text(time_s) == text


@pytest.mark.parametrize("time_s", [math.nan, math.inf, 1e18])
def test_a_time_that_no_calendar_has_is_refused(time_s: float) -> None:
    with pytest.raises(ValueError, match=r"cannot be published|no time of the calendar"):
        messages.utc_text(time_s)


def test_an_event_says_all_that_the_conventions_ask_for() -> None:
    payload = messages.event_payload(event(123, latency_ms={"infer": 38.4}), STAMP, MODEL)
    assert payload == {
        "schema": "edgekit.event/1",
        "type": "new",
        "id": "pi4-front-b7e1-000123",
        "seq": 4711,
        "boot_id": "b7e1c0de",
        "device": "pi4",
        "camera": "front",
        "replayed": False,
        "time": {
            "capture": "2026-11-22T10:03:11.482Z",
            "published": "2026-11-22T10:03:11.655Z",
            "capture_s": 1795341791.482,
            "published_s": 1795341791.655,
            "mono_s": 90311.482,
            "clock_synced": True,
        },
        "latency_ms": {"infer": 38.4, "total": 173.0},
        "model": MODEL,
        "before": None,
        "after": {
            "label": "person",
            "score": 0.75,
            "top_score": 0.875,
            "box": [10, 20, 110, 220],
            "box_norm": [0.0156, 0.0417, 0.1719, 0.4583],
            "area": 20000,
            "ratio": 0.5,
            "current_zones": [],
            "entered_zones": [],
            "lines": [],
            "stationary": False,
            "has_snapshot": False,
            "start_time": 1795341791.48,
            "end_time": None,
        },
    }
    check("event", payload)


def test_an_event_names_zones_and_lines() -> None:
    seen = track(zones=("drive",), entered=("yard", "drive"), lines=(Crossing("gate", "in"),))
    after = messages.event_payload(event(after=seen), STAMP, MODEL)["after"]
    assert (after["current_zones"], after["entered_zones"]) == (["drive"], ["yard", "drive"])
    assert after["lines"] == [{"id": "gate", "direction": "in"}]
    check("event", messages.event_payload(event(after=seen), STAMP, MODEL))


def test_update_and_end_carry_what_was_before() -> None:
    update = event(type="update", before=track(score=0.5), after=track(box=(0.0, 0.0, 5.0, 5.0)))
    payload = messages.event_payload(update, STAMP, MODEL)
    assert (payload["before"]["score"], payload["after"]["box"]) == (0.5, [0, 0, 5, 5])
    check("event", payload)
    end = event(type="end", before=track(), after=track(), end_s=1795341799.5)
    payload = messages.event_payload(end, STAMP, MODEL)
    assert (payload["before"]["end_time"], payload["after"]["end_time"]) == (None, 1795341799.5)
    check("event", payload)


def test_one_thing_keeps_its_id_from_new_to_end() -> None:
    first = messages.event_payload(event(7), STAMP, MODEL)
    last = messages.event_payload(event(7, type="end", before=track(), end_s=1795341799.5), STAMP, MODEL)
    assert first["id"] == last["id"]


def test_a_stage_that_the_pipeline_measured_as_total_is_kept() -> None:
    payload = messages.event_payload(event(latency_ms={"total": 50.0}), STAMP, MODEL)
    assert payload["latency_ms"] == {"total": 50.0}


@given(any_box, st.integers(1, 5000), st.integers(1, 5000))
def test_boxes_are_whole_pixels_inside_the_frame(
    box: tuple[float, float, float, float], width: int, height: int
) -> None:
    payload = messages.event_payload(
        event(after=track(box=box), frame_width=width, frame_height=height), STAMP, MODEL
    )
    left, top, right, bottom = payload["after"]["box"]
    assert 0 <= left <= right <= width
    assert 0 <= top <= bottom <= height
    assert payload["after"]["area"] == (right - left) * (bottom - top)
    check("event", payload)


def test_numbers_of_numpy_are_plain_numbers() -> None:
    box = tuple(np.array([1, 2, 3, 4], np.float32))
    seen = track(score=np.float32(0.5), box=box, stationary=np.bool_(True))
    payload = messages.event_payload(
        event(after=seen, latency_ms={"infer": np.float32(1.5)}),
        STAMP,
        {**MODEL, "density": np.float32(0.25)},
    )
    text = messages.encode(payload).decode()
    assert '"box":[1,2,3,4]' in text
    assert '"density":0.25' in text
    assert '"stationary":true' in text
    check("event", payload)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_event_with_a_number_that_is_none_is_refused(bad: float) -> None:
    for broken in (
        event(after=track(score=bad)),
        event(after=track(box=(bad, 0.0, 1.0, 1.0))),
        event(time_s=bad),
        event(mono_s=bad),
        event(latency_ms={"infer": bad}),
    ):
        with pytest.raises(ValueError, match="finite"):
            messages.event_payload(broken, STAMP, MODEL)
    with pytest.raises(ValueError, match="JSON"):
        messages.encode({"x": np.float32(bad)})


def test_what_is_no_json_at_all_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot be published"):
        messages.encode({"x": object()})


def test_json_is_compact_utf8() -> None:
    assert messages.encode({"label": "Füße", "n": [1, 2]}) == '{"label":"Füße","n":[1,2]}'.encode()


def test_info_names_the_schemas_and_where_they_are() -> None:
    info = {"config_hash": "0" * 12, "profile": "raspberry-pi-4", "models": [{"id": "m", "sha256": "0" * 64}]}
    payload = messages.info_payload(info, Topics("edgekit", "pi4"), "b7e1c0de")
    assert payload["models"] == info["models"]
    assert payload["schemas"] == messages.SCHEMAS
    assert payload["schema_topic"] == "edgekit/pi4/schema/+"
    check("info", payload)
    check("info", messages.info_payload({}, Topics("edgekit", "pi4"), "b7e1c0de"))


def test_health_matches_its_schema() -> None:
    check("health", messages.health_payload(HEALTH, MQTT, OUTBOX))
    fresh = {"fps": 0.0, "detect_fps": 0.0, "skipped": 0, "last_frame_age_s": None}
    check("health", messages.health_payload({**HEALTH, "cameras": {"front": fresh}}, MQTT, OUTBOX))


def test_a_gap_names_what_is_lost() -> None:
    payload = messages.gap_payload("pi4", "b7e1c0de", 5, 9, 1795341791.482)
    assert (payload["first_seq"], payload["last_seq"], payload["count"]) == (5, 9, 5)
    check("gap", payload)


def test_a_late_event_says_so_and_nothing_else_changes() -> None:
    tricky = event(after=track(label='"replayed":false'))
    payload = messages.encode(messages.event_payload(tricky, STAMP, MODEL))
    late = json.loads(messages.mark_replayed(payload))
    assert late == json.loads(payload) | {"replayed": True}
    check("event", late)


def test_a_disk_that_does_not_work_degrades_the_health() -> None:
    for state, told in (("ok", "degraded"), ("error", "error")):
        payload = messages.health_payload(HEALTH | {"state": state}, MQTT, OUTBOX | {"trouble": "disk full"})
        assert payload["state"] == told
        check("health", payload)


@pytest.mark.parametrize("missing", ["uptime_s", "infer_ms", "mem_mb", "cpu", "temp_c", "throttled"])
def test_the_health_schema_misses_what_is_missing(missing: str) -> None:
    health = {key: value for key, value in HEALTH.items() if key != missing}
    with pytest.raises(jsonschema.ValidationError, match=missing):
        check("health", messages.health_payload(health, MQTT, OUTBOX))


@pytest.mark.parametrize(
    "change",
    [
        {"type": "gone"},
        {"seq": 0},
        {"before": {}},
        {"after": None},
        {"boot_id": "xyz"},
        {"type": "end", "before": None},
        {"time": {}},
    ],
)
def test_the_event_schema_refuses_what_is_no_event(change: dict[str, Any]) -> None:
    payload = messages.event_payload(event(), STAMP, MODEL) | change
    with pytest.raises(jsonschema.ValidationError):
        check("event", payload)
