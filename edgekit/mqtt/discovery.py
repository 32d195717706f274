"""Home Assistant finds a device of edgekit by itself: one retained message that names all its entities.

Pure functions of a checked Config, by the rules of Home Assistant's MQTT discovery (device based). Ids come
from names of the config alone: they stay the same over versions and restarts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.mqtt.messages import CAMERA_STATUSES
from edgekit.mqtt.topics import Topics, topic_label
from edgekit.rules.groups import groups_of

if TYPE_CHECKING:
    from edgekit.config.page import WebConfig
    from edgekit.config.settings import CameraConfig, Config

Component: TypeAlias = dict[str, Any]
Named: TypeAlias = Iterator[tuple[str, Component]]  # names of the config joined by _, and an entity
_EXPIRE_S = 180  # three times the usual distance of two health messages
_URL = "https://pypi.org/project/edgekit/"


def discovery_topic(prefix: str, topics: Topics) -> str:
    """Where Home Assistant looks for it."""
    return f"{prefix}/device/{_root(topics)}/config"


def discovery_payload(
    config: Config, labels: Mapping[str, Sequence[str]], model: str, host: str
) -> dict[str, Any]:
    """All entities of a device: `labels` are the classes that each camera watches, `model` its hardware,
    `host` the name by which others find it.
    """
    from edgekit import __version__

    topics = Topics(config.mqtt.base, config.device.id)
    named = [*_of_device(topics)]
    for name, camera in config.cameras.items():
        named += _with_camera(topics, name, _of_camera(topics, name, camera, labels[name]))
    return {
        "dev": {
            "ids": [_root(topics)],
            "name": f"{_title(topics.device)} edgekit",
            "mf": "edgekit",
            "mdl": model,
            "sw": __version__,
            **_page(config.web, host),
        },
        "o": {"name": "edgekit", "sw": __version__, "url": _URL},
        "availability": [{"topic": topics.status, **_LIVE}],
        "qos": 1,
        "cmps": _components(_root(topics), named),
    }


def state_topics(payload: Mapping[str, Any]) -> set[str]:
    """Where all the states are that a discovery payload names."""
    keys = ("state_topic", "image_topic", "json_attributes_topic")
    named = [part.get(key) for part in _components_of(payload).values() for key in keys]
    return {topic for topic in named if isinstance(topic, str)}


def removals(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any] | None:
    """`new` with what only `old` has marked as gone, to be said before `new`; None when nothing is."""
    gone = {
        key: {"p": component["p"]}
        for key, component in _components_of(old).items()
        if key not in new["cmps"] and isinstance(component.get("p"), str)
    }
    return {**new, "cmps": {**new["cmps"], **gone}} if gone else None


def _components_of(payload: Mapping[str, Any]) -> dict[str, Component]:
    """Those of a payload that anybody may have made."""
    known = payload.get("cmps")
    known = known if isinstance(known, dict) else {}
    return {key: component for key, component in known.items() if isinstance(component, dict)}


def _root(topics: Topics) -> str:
    return f"{topics.base}_{topics.device}".replace("/", "_")


def _page(web: WebConfig | None, host: str) -> dict[str, str]:
    """Where the live page is, if Home Assistant's visitors can reach it."""
    if web is None or web.local:
        return {}
    name = host if web.host in ("0.0.0.0", "::") else web.host  # noqa: S104  (it is compared)
    return {"cu": f"http://[{name}]:{web.port}/" if ":" in name else f"http://{name}:{web.port}/"}


def _title(name: str) -> str:
    words = name.replace("_", " ").replace("-", " ").strip() or name
    return words[:1].upper() + words[1:]


def _components(root: str, named: Sequence[tuple[str, Component]]) -> dict[str, Component]:
    """Each under a key of its own: two names that only look alike when joined get a mark from their topic."""
    found: dict[str, Component] = {}
    for name, component in named:
        key = name
        if key in found:
            key = f"{name}_{_mark(component)}"
        entity_id = f"{component['p']}.{_slug(component.get('entity', key))}"
        known = {option: value for option, value in component.items() if option != "entity"}
        found[key] = {**known, "unique_id": f"{root}_{key}", "default_entity_id": entity_id}
    return found


def _slug(name: str) -> str:
    """As Home Assistant writes the second half of an entity id."""
    return re.sub(r"[^a-z0-9]+", "_", name).strip("_") or "edgekit"


def _mark(component: Component) -> str:
    topic = component.get("state_topic") or component.get("image_topic")
    return hashlib.sha256(f"{component['p']} {topic}".encode()).hexdigest()[:4]


def _with_camera(topics: Topics, camera: str, named: Named) -> Named:
    """Entities that are there only while the camera is; its own state and its switch always are."""
    both = [{"topic": topic, **_LIVE} for topic in (topics.status, topics.camera_status(camera))]
    for name, component in named:
        always = name.removeprefix(f"{camera}_") in {"status", "detect"}
        yield name, component if always else {**component, "availability": both, "availability_mode": "all"}


# Home Assistant knows two payloads here; `stopped`, and whatever else is not live, must mean offline to it.
_LIVE = {"value_template": "{{ 'online' if value in ['online', 'degraded'] else 'offline' }}"}


def _of_device(topics: Topics) -> Named:
    def health(name: str, value: str, **options: Any) -> Component:
        return {
            "p": "sensor",
            "name": name,
            "entity": f"{topics.device}_{name.lower()}",
            "state_topic": topics.health,
            "value_template": f"{{{{ value_json.{value} }}}}",
            "entity_category": "diagnostic",
            "expire_after": _EXPIRE_S,
            **options,
        }

    measured = {"state_class": "measurement"}
    yield "state", health("State", "state", device_class="enum", options=["ok", "degraded", "error"])
    yield "infer", health("Inference p95", "infer_ms.p95", unit_of_measurement="ms", **measured)
    yield "memory", health("Memory", "mem_mb", unit_of_measurement="MB", device_class="data_size", **measured)
    yield "pending", health("Events waiting", "outbox.pending", **measured)


def _of_camera(topics: Topics, name: str, camera: CameraConfig, labels: Sequence[str]) -> Named:
    title = _title(name)
    yield f"{name}_status", _camera_status(topics, name)
    yield (
        f"{name}_detect",
        {
            "p": "switch",
            "name": f"{title} detection",
            "state_topic": topics.detect_state(name),
            "command_topic": topics.detect_set(name),
        },
    )
    for label in (*labels, *groups_of(labels), "all"):
        yield from _counted(f"{name}_{topic_label(label)}", f"{title} {label}", topics.count(name, label))
    if _wanted(getattr(camera.detect, "motion", None)):
        yield f"{name}_motion", _binary(f"{title} motion", topics.motion(name), "motion")
    yield from _of_scene(topics, name, camera, labels)
    if _wanted(getattr(camera, "snapshots", None)):
        for label in (*labels, "all"):
            yield (
                f"{name}_{topic_label(label)}_shot",
                {
                    "p": "image",
                    "name": f"{title} {label} shot",
                    "image_topic": topics.snapshot(name, label),
                    "content_type": "image/jpeg",
                },
            )


def _of_scene(topics: Topics, name: str, camera: CameraConfig, labels: Sequence[str]) -> Named:
    """Zones, lines, alarms and tampering, as far as the config has them."""
    title = _title(name)
    for zone, settings in (getattr(camera, "zones", None) or {}).items():
        for label in getattr(settings, "labels", None) or labels:
            key = f"{name}_zone_{zone}_{topic_label(label)}"
            yield from _counted(key, f"{title} {_title(zone)} {label}", topics.zone(name, zone, label))
    for line in getattr(camera, "lines", None) or ():
        yield from _line(topics, name, line)
    for alarm in getattr(camera, "alarms", None) or ():
        yield from _alarm(topics, name, alarm)
    if _wanted(getattr(camera, "tamper", None)):
        yield (
            f"{name}_tamper",
            {
                **_binary(f"{title} tamper", topics.tamper(name), "tamper"),
                "json_attributes_topic": topics.tamper_attributes(name),
            },
        )


def _camera_status(topics: Topics, name: str) -> Component:
    return {
        "p": "sensor",
        "name": f"{_title(name)} state",
        "state_topic": topics.camera_status(name),
        "device_class": "enum",
        "options": list(CAMERA_STATUSES),
        "entity_category": "diagnostic",
    }


def _counted(key: str, title: str, topic: str) -> Named:
    """Whether something is there, and how many."""
    occupied = "{{ 'ON' if value|int(0) > 0 else 'OFF' }}"
    yield key, {**_binary(title, topic, "occupancy"), "value_template": occupied}
    yield (
        f"{key}_count",
        {
            "p": "sensor",
            "name": f"{title} count",
            "state_topic": topic,
            "state_class": "measurement",
        },
    )


def _line(topics: Topics, camera: str, line: str) -> Named:
    classes = {"in": "total_increasing", "out": "total_increasing", "net": "measurement"}
    for way, state_class in classes.items():
        yield (
            f"{camera}_line_{line}_{way}",
            {
                "p": "sensor",
                "name": f"{_title(camera)} {_title(line)} {way}",
                "state_topic": topics.line(camera, line),
                "value_template": f"{{{{ value_json['{way}'] }}}}",
                "state_class": state_class,
            },
        )


def _alarm(topics: Topics, camera: str, alarm: str) -> Named:
    title = f"{_title(camera)} {_title(alarm)}"
    yield f"{camera}_alarm_{alarm}", _binary(title, topics.alarm(camera, alarm), "safety")
    yield (
        f"{camera}_{alarm}",
        {
            "p": "event",
            "name": f"{title} event",
            "event_types": ["raised", "cleared", "tamper"],
            "state_topic": topics.alarm_event(camera, alarm),
        },
    )


def _binary(name: str, topic: str, device_class: str) -> Component:
    return {"p": "binary_sensor", "name": name, "state_topic": topic, "device_class": device_class}


def _wanted(part: object) -> bool:
    """A part of the config that may be absent, true or false, or a mapping with `enabled`."""
    return bool(part) and bool(getattr(part, "enabled", True))
