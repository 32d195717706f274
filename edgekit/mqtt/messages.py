"""What edgekit says on MQTT: what stands in each message. Pure functions, no socket.

The JSON schema of every message ships as `edgekit/schemas/<name>.schema.json`, and a device publishes it
(retained) under `<base>/<device>/schema/<name>`, so that a subscriber needs nothing but the broker.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from edgekit.mqtt.topics import Topics
from edgekit.types import Event, Track


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One MQTT message, ready to go. Two are never equal: each is sent and acknowledged for itself.

    What waits in an outbox has more: `seq`, the number of an event; `key`, its place in the order; `since_s`,
    the `Boot.now_s()` at which it began to wait; `lost`, for a message about events that are gone, how many:
    `seq` is then the last of them.
    """

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    seq: int | None = None
    key: int = 0
    since_s: float = 0.0
    lost: int = 0


ONLINE, OFFLINE, STOPPED = "online", "offline", "stopped"
CAMERA_STATUSES = ("online", "offline", "degraded", "disabled")
SCHEMAS = {
    "event": "edgekit.event/1",
    "gap": "edgekit.gap/1",
    "info": "edgekit.info/1",
    "health": "edgekit.health/1",
    "alarm": "edgekit.alarm/1",
    "line": "edgekit.line/1",
    "tamper": "edgekit.tamper/1",
    "response": "edgekit.response/1",
}


def utc_text(time_s: float) -> str:
    """Seconds since the epoch as ISO-8601 UTC with milliseconds: `2026-11-22T10:03:11.482Z`."""
    try:
        moment = datetime.fromtimestamp(round(_finite(time_s), 3), UTC)
    except (OverflowError, OSError) as error:
        raise ValueError(f"{time_s} is no time of the calendar") from error
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def encode(payload: Mapping[str, Any]) -> bytes:
    """Compact UTF-8 JSON. Numbers of numpy become plain ones; NaN and Infinity raise ValueError."""
    return json.dumps(
        payload, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_plain_number
    ).encode()


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the publisher, and only it, knows about one event when it leaves.

    `seq` counts the events of the device without a gap, from 1. `published_s` is seconds since the epoch.
    `mono_s` is the monotonic clock at the same moment.
    """

    device: str
    boot_id: str
    seq: int
    published_s: float
    mono_s: float
    clock_synced: bool
    replayed: bool = False


def visit_id(device: str, camera: str, boot_id: str, number: int) -> str:
    """`<device>-<camera>-<4 hex of the boot id>-<number>`: no clock in it, so a clock jump repeats none."""
    return f"{device}-{camera}-{boot_id[:4]}-{number:06d}"


def event_payload(event: Event, stamp: Stamp, model: Mapping[str, Any]) -> dict[str, Any]:
    """The message of one event, schema `edgekit.event/1`. `model` says who saw it: id, sha256, engine, isa.

    Raises ValueError for a number that is not finite.
    """
    return {
        "schema": SCHEMAS["event"],
        "type": event.type,
        "id": visit_id(stamp.device, event.camera, stamp.boot_id, event.number),
        "seq": stamp.seq,
        "boot_id": stamp.boot_id,
        "device": stamp.device,
        "camera": event.camera,
        "replayed": stamp.replayed,
        "time": {
            "capture": utc_text(event.time_s),
            "published": utc_text(stamp.published_s),
            "capture_s": _rounded(event.time_s, 3),
            "published_s": _rounded(stamp.published_s, 3),
            "mono_s": _rounded(event.mono_s, 3),
            "clock_synced": stamp.clock_synced,
        },
        "latency_ms": _latency_ms(event, stamp),
        "model": dict(model),
        "before": event.before and track_payload(event.before, event, end_s=None),
        "after": track_payload(event.after, event, end_s=event.end_s),
    }


def mark_replayed(payload: bytes) -> bytes:
    """An event's payload, as `encode` made it, that says that it is late or may have come before."""
    return payload.replace(b'"replayed":false', b'"replayed":true', 1)


def track_payload(track: Track, event: Event, *, end_s: float | None) -> dict[str, Any]:
    """One track as subscribers of Frigate know it; `box` in whole pixels of the frame, `box_norm` in 0..1."""
    width, height = event.frame_width, event.frame_height
    box = _clipped(track.box, width, height)
    box_width, box_height = box[2] - box[0], box[3] - box[1]
    return {
        "label": track.label,
        "score": _rounded(track.score, 4),
        "top_score": _rounded(track.top_score, 4),
        "box": box,
        "box_norm": [round(pixel / size, 4) for pixel, size in zip(box, (width, height) * 2, strict=True)],
        "area": box_width * box_height,
        "ratio": round(box_width / box_height, 2) if box_height else 0.0,
        "current_zones": list(track.zones),
        "entered_zones": list(track.entered),
        "lines": [{"id": crossing.line, "direction": crossing.direction} for crossing in track.lines],
        **({} if track.verify is None else {"verify": _verify_payload(track.verify)}),
        "stationary": bool(track.stationary),
        "has_snapshot": event.has_snapshot,
        "start_time": _rounded(track.start_s, 3),
        "end_time": None if end_s is None else _rounded(end_s, 3),
    }


def _verify_payload(chances: Mapping[str, float]) -> dict[str, Any]:
    rounded = {label: _rounded(chance, 4) for label, chance in chances.items()}
    return {**rounded, "verdict": max(chances, key=chances.__getitem__)}


def info_payload(info: Mapping[str, Any], topics: Topics, boot_id: str) -> dict[str, Any]:
    """Who this device is, `edgekit.info/1`; `info` brings config_hash, profile, models [{id, sha256}]."""
    from edgekit import __version__

    return {
        "schema": SCHEMAS["info"],
        "version": __version__,
        "device": topics.device,
        "boot_id": boot_id,
        "config_hash": None,
        "profile": None,
        "profile_hash": None,
        "models": [],
        **info,
        "schemas": dict(SCHEMAS),
        "schema_topic": topics.schema("+"),
    }


def line_payload(crossed_in: int, crossed_out: int, since: str) -> dict[str, Any]:
    """How often a line was crossed, `edgekit.line/1`."""
    return {"in": crossed_in, "out": crossed_out, "net": crossed_in - crossed_out, "since": since}


def alarm_payload(
    camera: str, alarm: str, event_type: str, details: Mapping[str, Any], *, device: str, now_s: float
) -> dict[str, Any]:
    """What an alarm did, `edgekit.alarm/1`; `details` say more: event, label, score, zone..."""
    return {
        "event_type": event_type,
        "schema": SCHEMAS["alarm"],
        "device": device,
        "camera": camera,
        "alarm": alarm,
        "replayed": False,
        "time": utc_text(now_s),
        **details,
    }


def gap_payload(device: str, boot_id: str, first: int, last: int, now_s: float) -> dict[str, Any]:
    """Events that will never come, `edgekit.gap/1`: those with the numbers `first` to `last`."""
    return {
        "schema": SCHEMAS["gap"],
        "device": device,
        "boot_id": boot_id,
        "first_seq": first,
        "last_seq": last,
        "count": last - first + 1,
        "time": utc_text(now_s),
    }


def health_payload(
    health: Mapping[str, Any],
    mqtt: Mapping[str, Any],
    outbox: Mapping[str, Any],
    *,
    config_error: str | None = None,
) -> dict[str, Any]:
    """How the device does, `edgekit.health/1`: the pipeline, and the publisher's `mqtt` and `outbox`;
    `config_error` is why the last config that was read is not the one that runs.
    """
    known = {
        "state": "ok",
        "cameras": {},
        "budget_mb": None,
        "budget_ms": None,
        "over_budget": False,
        **health,
    }
    if (outbox["trouble"] or config_error) and known["state"] == "ok":
        known["state"] = "degraded"
    return {**known, "outbox": dict(outbox), "mqtt": dict(mqtt), "config_error": config_error}


def response_payload(
    request: Mapping[str, Any], *, data: Mapping[str, Any] | None = None, error: str = ""
) -> dict[str, Any]:
    """What came of a request, `edgekit.response/1`; its `transaction` comes back."""
    answer = {
        "schema": SCHEMAS["response"],
        "status": "error" if error else "ok",
        "data": dict(data or {}),
        "error": error,
    }
    if isinstance(request.get("transaction"), str | int):
        answer["transaction"] = request["transaction"]
    return answer


def load_schema(name: str) -> dict[str, Any]:
    """The JSON schema of a message, by its name in SCHEMAS."""
    text = resources.files("edgekit").joinpath("schemas", f"{name}.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _latency_ms(event: Event, stamp: Stamp) -> dict[str, float]:
    """The stages that the pipeline measured, and `total` from capture to now unless it was measured too."""
    total_ms = max(0.0, (stamp.mono_s - event.mono_s) * 1000)
    return {stage: _rounded(ms, 2) for stage, ms in {"total": total_ms, **event.latency_ms}.items()}


def _clipped(box: tuple[float, float, float, float], width: int, height: int) -> list[int]:
    x1, y1, x2, y2 = (round(_finite(pixel)) for pixel in box)
    left, top = min(max(x1, 0), width), min(max(y1, 0), height)
    return [left, top, min(max(x2, left), width), min(max(y2, top), height)]


def _rounded(number: float, digits: int) -> float:
    return round(_finite(number), digits)


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(f"{number} cannot be published: JSON knows finite numbers only")
    return float(number)


def _plain_number(value: object) -> Any:
    """A scalar of numpy is no number to json; its `item()` is."""
    item = getattr(value, "item", None)
    if item is None:
        raise TypeError(f"{type(value).__name__} {value!r} cannot be published as JSON")
    return item()
