"""The same clip through the same config says the same, byte for byte: `replay` and `compare`.

All clocks are the clip's own, which starts with the year 2000; how long a stage took is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from edgekit.config import CameraConfig, Config
from edgekit.device import load_device
from edgekit.errors import CheckError, UsageError
from edgekit.inference import Model
from edgekit.inference import open as open_model
from edgekit.mqtt import messages
from edgekit.mqtt.messages import Stamp
from edgekit.mqtt.states import States
from edgekit.mqtt.topics import Topics
from edgekit.pipeline import Pipeline
from edgekit.pipeline.fit import check_labels, choose_model, open_seconds
from edgekit.pipeline.inbox import Camera
from edgekit.sources import Source, is_live, open_source
from edgekit.types import Event, Frame

START_S = 946_684_800.0  # 2000-01-01T00:00:00Z
BOOT_ID = "00000000"
SHOWN, WIDTH = 20, 160  # lines, and characters of one, of a comparison


@dataclass(frozen=True, slots=True)
class Message:
    """What would have been published."""

    topic: str
    payload: Any


class Recorder(States):
    """A Sink that writes down every message, as it would be published at the clip's own time."""

    def __init__(self, topics: Topics) -> None:
        super().__init__(topics)
        self.messages: list[Message] = []
        self._retained: dict[str, bytes] = {}
        self._seq = 0

    def publish_event(self, event: Event, model: Mapping[str, Any]) -> None:
        """Without latencies and kernels: how long it took, and on what, is not what was seen."""
        self._seq += 1
        stamp = Stamp(self.topics.device, BOOT_ID, self._seq, event.time_s, event.mono_s, clock_synced=True)
        event = replace(event, latency_ms={"total": 0.0})
        seen_by = {key: fact for key, fact in model.items() if key != "isa"}
        payload = messages.event_payload(event, stamp, seen_by)
        self._note(self.topics.events(event.camera), messages.encode(payload))

    def publish_alarm(self, camera: str, alarm: str, event_type: str, details: Mapping[str, Any]) -> None:
        """At the time of the frame."""
        if "visit" in details:
            event = messages.visit_id(self.topics.device, camera, BOOT_ID, details["visit"])
            details = {"event": event, **details}
        details = {**details, "time": details["capture"]}
        payload = messages.alarm_payload(
            camera, alarm, event_type, details, device=self.topics.device, now_s=0
        )
        self._note(self.topics.alarm_event(camera, alarm), messages.encode(payload))

    def publish_health(self, health: Mapping[str, Any]) -> None:
        """Of the machine, not of the clip: left out."""

    def set_snapshot(self, camera: str, label: str, jpeg: bytes) -> None:  # noqa: ARG002  (States' signature)
        """That there is one: its bytes are the encoder's, another version of which makes others."""
        self.messages.append(Message(self.topics.snapshot(camera, label), "image/jpeg"))

    def _retain(self, topic: str, payload: bytes, qos: int = 1) -> None:  # noqa: ARG002  (States' signature)
        if self._retained.get(topic) != payload:
            self._retained[topic] = payload
            self._note(topic, payload)

    def _note(self, topic: str, payload: bytes) -> None:
        text = payload.decode()
        self.messages.append(Message(topic, json.loads(text) if text[:1] in "{[0123456789" else text))


class ClipClock:
    """A source whose frames have the clip's own time."""

    def __init__(self, inner: Source) -> None:
        self.live = self.lost = False
        self.skipped = 0
        self._inner = inner

    @property
    def fps(self) -> float | None:
        return self._inner.fps

    @property
    def corrupt(self) -> int:
        return self._inner.corrupt

    def frames(self) -> Iterator[Frame]:
        start_s = None
        for frame in self._inner.frames():
            start_s = frame.mono_s if start_s is None else start_s
            passed_s = round(frame.mono_s - start_s, 6)
            yield replace(frame, time_s=START_S + passed_s, mono_s=passed_s)

    def close(self) -> None:
        self._inner.close()


def replay(config: Config, camera: str, clip: str) -> list[Message]:
    """All that a camera of `config` would publish if it saw the clip."""
    model = open_clip_model(config)
    recorder = Recorder(Topics(config.mqtt.base, config.device.id))
    settings = config.cameras[camera]
    second = open_seconds(config).get(camera)
    source = partial(_clip_source, clip, settings, camera)
    seen = Camera(camera, settings.detect, source, settings, second)
    Pipeline([seen], model, recorder).run()
    return recorder.messages


def _clip_source(clip: str, settings: CameraConfig, camera: str) -> Source:
    return ClipClock(open_clip(clip, settings, camera))


def open_clip(clip: str, settings: CameraConfig, camera: str) -> Source:
    """A file or folder as the camera would give it: every frame, at the camera's rate."""
    if is_live(clip):
        what = "a video file or a folder of pictures, which is the same each time"
        raise UsageError(f"{clip} is no clip: expected {what}")
    return open_source(clip, camera=camera, fps=settings.detect.fps)


def open_clip_model(config: Config) -> Model:
    """The model of the config, which must know all that the config asks for."""
    config = choose_model(config, load_device(config.device.profile))
    model = open_model(config.model.name, config.model.engine, config.model.threads)
    check_labels(config, model)
    return model


def choose_camera(config: Config, name: str | None) -> str:
    """The camera of that name, or the only one. Raises UsageError."""
    names = list(config.cameras)
    if name in names:
        return name
    if name is None and len(names) == 1:
        return names[0]
    raise UsageError(f"--camera: expected one of {', '.join(names)}" + (f", not {name!r}" if name else ""))


def to_text(told: Sequence[Message]) -> str:
    """A JSON array with a message a line."""
    lines = [
        json.dumps({"topic": m.topic, "payload": m.payload}, ensure_ascii=False, separators=(",", ":"))
        for m in told
    ]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def compare(told: Sequence[Message], path: Path) -> None:
    """Raises CheckError with a line for each message that is not as in the file `path`."""
    differences = list(_differences(read_messages(path), told))
    if differences:
        shown, rest = differences[:SHOWN], len(differences) - SHOWN
        more = [f"... and {rest} more"] if rest > 0 else []
        raise CheckError("\n".join([f"{path}: {len(differences)} messages differ", *shown, *more]))


def read_messages(path: Path) -> list[Message]:
    """What `to_text` wrote. Raises UsageError."""
    try:
        expected = json.loads(path.read_text("utf-8"))
        return [Message(each["topic"], each["payload"]) for each in expected[:]]  # only of a list
    except FileNotFoundError:
        raise UsageError(
            f"{path}: no such file: write it with edgekit replay CLIP --config C > {path}"
        ) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        what = "a JSON list of messages with topic and payload"
        raise UsageError(f"{path}: expected what edgekit replay prints, {what}") from None


def _differences(expected: Sequence[Message], told: Sequence[Message]) -> Iterator[str]:
    """`- ` what is missing, `+ ` what was not expected, `~ ` what is otherwise in a message."""
    lines = [[_line(message) for message in each] for each in (expected, told)]
    for kind, a1, a2, b1, b2 in SequenceMatcher(None, lines[0], lines[1], autojunk=False).get_opcodes():
        if kind != "equal":
            for want, got in zip_longest(expected[a1:a2], told[b1:b2]):
                yield from _difference(want, got)


def _difference(want: Message | None, got: Message | None) -> Iterator[str]:
    if want and got and want.topic == got.topic and isinstance(want.payload, dict) and want != got:
        wanted, given = _flat(want.payload), _flat(got.payload)
        keys = [key for key in {**wanted, **given} if wanted.get(key) != given.get(key)]
        parts = [f"{key} expected {wanted.get(key)!r}, not {given.get(key)!r}" for key in keys[:4]]
        yield f"~ {want.topic}: {'; '.join(parts)}"
        return
    yield from (f"{sign} {_shorten(_line(each))}" for sign, each in (("-", want), ("+", got)) if each)


def _flat(payload: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in payload.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
    return flat


def _line(message: Message) -> str:
    return f"{message.topic} {json.dumps(message.payload, ensure_ascii=False, sort_keys=True)}"


def _shorten(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."
