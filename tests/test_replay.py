"""A clip says the same each time, and each stage can tell why."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from jsonschema import Draft202012Validator
from scripted import Seen, scripted_model
from views import noisy, place, with_person

from edgekit import zoo
from edgekit.cli import main
from edgekit.config import Config, parse_config
from edgekit.config.scene import SnapshotConfig
from edgekit.errors import CheckError, UsageError
from edgekit.mqtt import messages
from edgekit.replay import Message, compare, explain, to_text
from edgekit.replay import clip as replay
from edgekit.replay.strip import to_html

TEXT = """\
version: 1
device: {id: pi}
model: m
detect: {labels: [person, dog], motion: true}
cameras:
  front:
    source: 0
    zones: {yard: {points: [[0, .5], [1, .5], [1, 1], [0, 1]], labels: [person], inertia: 2}}
    lines: {gate: {points: [[.5, 0], [.5, 1]]}}
    alarms: {intruder: {when: person in yard, unless: [dog], confirm: {frames: 4, of: 6}, cooldown: 1m}}
    tamper: true
"""
FRAMES = 60
WALK = range(10, 40)  # frames in which a person walks from left to right


def seen_in(frame: int) -> list[Seen]:
    """By the detector, in its 64 x 64 pixels; the picture is 320 x 180 and scaled down by 5."""
    if frame not in WALK:
        return []
    x = (frame - 10) * 8 / 5
    doubtful = frame in (10, 11)
    return [("person", (x, 22, x + 6, 34), 0.3 if doubtful else 0.9)]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A folder of pictures."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "clip"
    folder.mkdir()
    for i in range(FRAMES):
        view = with_person(place(), (i - 10) * 8) if i in WALK else place()
        cv2.imwrite(str(folder / f"{i:03d}.png"), noisy(view, rng))
    return folder


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Config:
    """A pipeline whose model knows what is in the clip, when all of it is looked at."""
    text = TEXT.replace("motion: true", "motion: {heartbeat: 50ms}, fps: 10")

    def model(_config: Config) -> object:
        return scripted_model([seen_in(i) for i in range(FRAMES)])

    monkeypatch.setattr(replay, "open_clip_model", model)
    monkeypatch.setattr(explain, "open_clip_model", model)
    return parse_config(text, "demo.yaml", Path("/pipelines"))


def stages(told: explain.Explanation, stage: str) -> list[tuple[str, bool]]:
    return [(reason.text, reason.passed) for reason in told.reasons if reason.stage == stage]


def test_a_clip_says_the_same_each_time(config: Config, clip: Path) -> None:
    first, second = (to_text(replay.replay(config, "front", str(clip))) for _ in range(2))
    assert first == second
    told = [Message(each["topic"], each["payload"]) for each in json.loads(first)]
    events = [m.payload for m in told if m.topic.endswith("/events")]
    kinds = [(event["type"], event["after"]["lines"]) for event in events]
    assert kinds[0] == ("new", [])
    assert kinds[-1] == ("end", [{"id": "gate", "direction": "out"}])
    topics = {m.topic.removeprefix("edgekit/pi/front/") for m in told}
    assert {"events", "alarm/intruder/event", "alarm/intruder", "line/gate", "zone/yard/person", "motion",
            "tamper", "status", "count/person"} <= topics  # fmt: skip


def test_a_picture_is_told_without_its_bytes(config: Config, clip: Path) -> None:
    front = config.cameras["front"].model_copy(update={"snapshots": SnapshotConfig()})
    config = config.model_copy(update={"cameras": {"front": front}})
    told = json.loads(to_text(replay.replay(config, "front", str(clip))))
    assert {"topic": "edgekit/pi/front/snapshot/person", "payload": "image/jpeg"} in told


def test_every_message_of_a_replay_is_what_its_schema_says(config: Config, clip: Path) -> None:
    schemas = {"/events": "event", "/event": "alarm", "/line/gate": "line", "/tamper/attributes": "tamper"}
    checked = set()
    for message in replay.replay(config, "front", str(clip)):
        for end, name in schemas.items():
            if message.topic.endswith(end):
                Draft202012Validator(messages.load_schema(name)).validate(message.payload)
                checked.add(name)
    assert checked == {"event", "alarm", "line", "tamper"}


def test_a_clip_needs_no_secrets_of_camera_and_broker(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "demo.yaml"
    settings = yaml.safe_load(TEXT) | {"model": zoo.list_models()[0].name}
    settings["cameras"]["front"]["source"] = "rtsp://${CAMERA_LOGIN}@cam/1"
    settings["web"] = {"host": "0.0.0.0", "token": "${PAGE_TOKEN}"}
    text = yaml.safe_dump(settings)
    path.write_text(text + "mqtt: {host: b, user: '${MQTT_USER}', password: !credential mqtt}\n")
    assert main(["replay", str(clip), "--config", str(path)]) == 0
    path.write_text(text.replace("id: pi", "id: ${DEVICE}"))
    assert main(["replay", str(clip), "--config", str(path)]) == 78
    assert "environment variable DEVICE is not set" in capsys.readouterr().err


def test_times_of_a_replay_are_those_of_the_clip(config: Config, clip: Path) -> None:
    events = [m.payload for m in replay.replay(config, "front", str(clip)) if m.topic.endswith("/events")]
    assert events[0]["time"]["capture"] == "2000-01-01T00:00:01.400Z"
    assert events[0]["latency_ms"] == {"total": 0.0}
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


TOLD = [Message("a/count", 1), Message("a/events", {"type": "new", "after": {"score": 0.9, "label": "dog"}})]


@pytest.mark.parametrize(
    ("kept", "lines"),
    [
        ([TOLD[0]], ['+ a/events {"after": {"label": "dog", "score": 0.9}, "type": "new"}']),
        ([*TOLD, TOLD[0]], ["- a/count 1"]),
        ([Message("a/count", 2), TOLD[1]], ["- a/count 2", "+ a/count 1"]),
        (
            [TOLD[0], Message("a/events", {"type": "new", "after": {"score": 0.8, "label": "dog"}})],
            ["~ a/events: after.score expected 0.8, not 0.9"],
        ),
        ([Message(f"b/{i}", i) for i in range(30)], None),
    ],
)
def test_each_difference_is_told(kept: list[Message], lines: list[str] | None, tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_text(to_text(kept))
    with pytest.raises(CheckError) as caught:
        compare(TOLD, path)
    first, *rest = str(caught.value).splitlines()
    assert first.startswith(f"{path}: ")
    assert rest == lines if lines else rest[-1] == "... and 12 more"
    assert caught.value.exit_code == 3


def test_what_is_as_expected_passes(tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_text(to_text(TOLD))
    compare(TOLD, path)


@pytest.mark.parametrize("text", [None, "", "{}", "[1]", "\0"])
def test_a_file_of_something_else_is_no_expectation(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    if text is not None:
        path.write_text(text)
    why = "no such file" if text is None else "expected what edgekit replay prints, a JSON list"
    with pytest.raises(UsageError, match=rf"events\.json: {why}"):
        compare(TOLD, path)


@pytest.mark.parametrize("live", ["demo:", "rtsp://127.0.0.1:9/x", "0", "/dev/video997", "csi:0"])
def test_a_live_source_is_no_clip(live: str, config: Config) -> None:
    with pytest.raises(UsageError, match=f"{live} is no clip: expected a video file or a folder"):
        replay.open_clip(live, config.cameras["front"], "front")


def test_the_camera_is_the_only_one_or_named(config: Config) -> None:
    assert replay.choose_camera(config, None) == "front"
    with pytest.raises(UsageError, match="--camera: expected one of front, not 'back'"):
        replay.choose_camera(config, "back")


def test_a_visit_is_explained_when_it_was_reported(config: Config, clip: Path) -> None:
    told = explain.explain(config, "front", str(clip), visit=1, at_s=None)
    assert told.at_s == pytest.approx(1.4)
    assert stages(told, "motion")[0][1]
    ((text, passed),) = stages(told, "detector")
    assert text.startswith("person 0.90")
    assert text.endswith(": detect.min_score is 0.5")
    assert passed
    assert stages(told, "confirm") == [
        ("track 1 person: surely seen in 3 of the last 5 looks, detect.confirm asks for 3: visit 1", True)
    ]
    assert stages(told, "zone") == [("track 1 person: in yard (inertia 2 frames)", True)]
    assert stages(told, "line") == [("track 1 person: has not crossed gate (hysteresis 0.03)", False)]
    assert stages(told, "alarm") == [
        (
            "intruder (person in yard): the condition held in 1 of 6 frames for a visit, confirm asks for 4",
            False,
        )
    ]


def test_what_stopped_a_thing_is_named_with_its_threshold(config: Config, clip: Path) -> None:
    told = explain.explain(config, "front", str(clip), visit=None, at_s=1.0)
    ((text, passed),) = stages(told, "detector")
    assert text.endswith("below detect.min_score 0.5, keeps a track but starts none")
    assert not passed
    assert stages(told, "track") == []
    later = explain.explain(config, "front", str(clip), visit=None, at_s=2.2)
    assert stages(later, "alarm") == [("intruder (person in yard): is raised", True)]


def test_a_frame_that_nobody_looked_at_says_so(config: Config, clip: Path) -> None:
    slow = config.model_copy(deep=True)
    motion = slow.cameras["front"].detect.motion
    assert motion
    object.__setattr__(motion, "heartbeat", 60.0)
    told = explain.explain(slow, "front", str(clip), visit=None, at_s=0.5)
    assert [reason.stage for reason in told.reasons] == ["motion", "alarm"]
    assert told.reasons[0].text.startswith(
        "not looked at: 0.00% of the picture changed by more than threshold 30"
    )
    assert not told.reasons[0].passed


def test_the_strip_is_around_the_moment_and_a_page_of_its_own(config: Config, clip: Path) -> None:
    told = explain.explain(config, "front", str(clip), visit=None, at_s=3.2)
    times = [moment.at_s for moment in told.strip]
    assert [min(times), max(times)] == pytest.approx([0.2, 5.9])
    page = to_html(told, "clip <3>")
    assert page.count("data:image/jpeg;base64,") == 8
    assert "clip &lt;3&gt;" in page
    assert "http" not in page


def test_what_is_not_there_is_a_usage_error(config: Config, clip: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no visit 7 in its 5\.9 s"):
        explain.explain(config, "front", str(clip), visit=7, at_s=None)
    with pytest.raises(UsageError, match=r"ends after 5\.9 s, there is nothing at 60 s"):
        explain.explain(config, "front", str(clip), visit=None, at_s=60.0)


@pytest.mark.parametrize(
    ("event", "at", "target"),
    [("pi4-front-b7e1-000123", None, (123, None)), ("7", None, (7, None)), (None, "12.5", (None, 12.5)),
     (None, "1:23", (None, 83.0)), (None, "4s", (None, 4.0))],
)  # fmt: skip
def test_a_target_is_an_event_or_a_time(
    event: str | None, at: str | None, target: tuple[object, object]
) -> None:
    assert explain.parse_target(event, at) == target


@pytest.mark.parametrize(
    ("event", "at"), [(None, None), ("1", "1"), ("x", None), (None, "noon"), ("0", None)]
)
def test_a_target_that_is_none_is_a_usage_error(event: str | None, at: str | None) -> None:
    with pytest.raises(UsageError):
        explain.parse_target(event, at)


def test_the_commands_print_compare_and_explain(
    config: Config, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, kept, page = tmp_path / "demo.yaml", tmp_path / "events.json", tmp_path / "page.html"
    settings = yaml.safe_load(TEXT)
    settings |= {"model": zoo.list_models()[0].name, "detect": {"labels": ["person", "dog"], "fps": 10}}
    path.write_text(yaml.safe_dump(settings))
    assert main(["replay", str(clip), "--config", str(path)]) == 0
    kept.write_text(capsys.readouterr().out)
    assert main(["replay", str(clip), "--config", str(path), "--expect", str(kept)]) == 0
    assert capsys.readouterr().out.endswith("messages, all as expected\n")
    kept.write_text(kept.read_text().replace('"new"', '"end"'))
    assert main(["replay", str(clip), "--config", str(path), "--expect", str(kept)]) == 3
    assert "type expected 'end', not 'new'" in capsys.readouterr().err
    assert (
        main(["explain", "1", "--clip", str(clip), "--config", str(path), "--html", str(page), "--json"]) == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert told["reasons"][0]["stage"] == "motion"
    assert page.read_text().startswith("<!doctype html>")
    absent = tmp_path / "absent" / "page.html"
    assert main(["explain", "1", "--clip", str(clip), "--config", str(path), "--html", str(absent)]) == 2
    assert "make it first" in capsys.readouterr().err
