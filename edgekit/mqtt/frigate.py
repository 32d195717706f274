"""`mqtt.compat: frigate`: what automations made for Frigate listen to, besides edgekit's own.

Pure functions from edgekit's topics and payloads to those below `frigate/`. Only what edgekit knows is there:
no thumbnails, no clips. A connection has one will, so `frigate/available` tells of a clean end only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from edgekit.mqtt.messages import Message, encode
from edgekit.mqtt.topics import Topics

PREFIX = "frigate"
AVAILABLE = f"{PREFIX}/available"
_TOPICS = (  # below <base>/<device>/ -> below frigate/
    (re.compile(r"([^/]+)/count/([^/]+)"), r"\1/\2"),
    (re.compile(r"[^/]+/zone/([^/]+)/([^/]+)"), r"\1/\2"),
    (re.compile(r"([^/]+)/(motion|detect/state)"), r"\1/\2"),
    (re.compile(r"([^/]+)/snapshot/([^/]+)"), r"\1/\2/snapshot"),
)


def mirror_state(topics: Topics, message: Message) -> Message | None:
    """The same state where Frigate publishes it; None for one that Frigate does not have."""
    below = message.topic.removeprefix(f"{topics.base}/{topics.device}/")
    for pattern, theirs in _TOPICS:
        if found := pattern.fullmatch(below):
            return Message(f"{PREFIX}/{found.expand(theirs)}", message.payload, message.qos, retain=True)
    return None


class Zones:
    """Frigate's zones are those of all cameras: what stands in zones of one name adds up."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[str, bytes]] = {}  # their topic -> ours -> what was last told there

    def join(self, ours: Message, theirs: Message) -> Message:
        """`theirs`, with what all of ours that are told there come to."""
        parts = self._parts.setdefault(theirs.topic, {})
        parts[ours.topic] = ours.payload
        told = [part for part in parts.values() if part]
        if len(parts) == 1:
            return theirs
        return replace(theirs, payload=b"%d" % sum(map(int, told)) if told else b"")


def mirrored(topics: Topics, ours: Iterable[str]) -> set[str]:
    """Where the states of `ours` are told a second time, and that they are."""
    mirrors = (mirror_state(topics, Message(topic, b"", retain=True)) for topic in ours)
    return {AVAILABLE, *(each.topic for each in mirrors if each)}


def mirror_event(payload: Mapping[str, Any]) -> Message:
    """An event of edgekit as `frigate/events` tells it; `before` is never empty there."""
    after = _track(payload, payload["after"])
    before = _track(payload, payload["before"]) if payload["before"] else after
    event = {"type": payload["type"], "replayed": payload["replayed"], "before": before, "after": after}
    return Message(f"{PREFIX}/events", encode(event))


def _track(payload: Mapping[str, Any], track: Mapping[str, Any]) -> dict[str, Any]:
    known = {
        key: track[key]
        for key in (
            *("label", "score", "top_score", "box", "area", "ratio", "stationary", "has_snapshot"),
            *("current_zones", "entered_zones", "start_time", "end_time"),
        )
    }
    return {
        "id": payload["id"],
        "camera": payload["camera"],
        "frame_time": payload["time"]["capture_s"],
        "snapshot_time": payload["time"]["capture_s"],
        "sub_label": None,
        "false_positive": False,
        "region": track["box"],
        "active": not track["stationary"],
        "motionless_count": 0,
        "position_changes": 0,
        "attributes": {},
        "thumbnail": None,
        "has_clip": False,
        **known,
    }
