"""The command line, as one types it: output, messages and exit codes."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from edgekit import logs
from edgekit.cli import main
from edgekit.config import MqttConfig
from edgekit.verbs import seconds
from edgekit.view import listening


@pytest.fixture(autouse=True)
def _logger_as_it_was() -> Iterator[None]:
    """A command sets up logging for its process; here the process goes on."""
    yield
    logger = logging.getLogger("edgekit")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)


GOOD = "version: 1\nmodel: x.tflite\ncameras: {front: {source: 'demo:'}}\n"


def fails(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    """Exit code and the lines on stderr of a command that must say what is wrong, and print no result."""
    try:
        code = main(argv)
    except SystemExit as end:  # argparse's own way out
        code = int(str(end.code))
    captured = capsys.readouterr()
    assert code != 0
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return code, captured.err


def test_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("edgekit 0.")
    assert main(["version", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"edgekit", "python", "machine"}


def test_no_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, err = fails(capsys)
    assert code == 2
    assert "COMMAND" in err


def test_validate_says_ok_per_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "x.tflite").touch()
    assert main(["validate", str(tmp_path / "a.yaml")]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'a.yaml'}: ok, 1 camera(s)")


def test_validate_names_file_line_and_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(GOOD + "detct: {fps: 5}\n")
    code, err = fails(capsys, "validate", str(bad))
    assert code == 78
    assert f"{bad}:4:1: detct" in err
    assert "did you mean" in err


def test_validate_as_json_lists_the_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(GOOD + "detct: {fps: 5}\nversion: 1\n")
    assert main(["validate", "--json", str(bad)]) == 78
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert answer["errors"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "device: {profile: pi4}\n",
            "4:19: device.profile: unknown device 'pi4': did you mean raspberry-pi-4?",
        ),
        ("", "2:8: model.name: {folder}/x.tflite: no such file"),
    ],
)
def test_validate_looks_for_model_and_device(
    line: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "a.yaml"
    config.write_text(GOOD + line)
    code, err = fails(capsys, "validate", str(config))
    assert code == 78
    assert f"{config}:{words.format(folder=tmp_path)}" in err


NANO = "detect/edgenano-025-224-coco10/dense_int8"
CAMERAS = """version: 1
model: NANO
detect: {labels: [person, dgo]}
cameras:
  front:
    source: 'demo:'
    zones: {drive: {points: [[0, 0], [1, 0], [0, 1]], labels: [cat]}}
    alarms: {intruder: {when: persn in drive, unless: [dog]}}
    detect: {second_look: NANO}
  back: {source: 'demo:', detect: {labels: [dog]}, lines: {gate: {points: [[0, 0], [1, 0]], labels: [car]}}}
"""
MISTAKES = [
    "3:27: detect.labels[1]: model NANO knows no 'dgo': did you mean dog?",
    "7:64: cameras.front.zones.drive.labels[0]: detect.labels knows no 'cat': it knows person, dgo",
    "8:31: cameras.front.alarms.intruder.when: detect.labels knows no 'persn': did you mean person?",
    "8:56: cameras.front.alarms.intruder.unless[0]: detect.labels knows no 'dog': did you mean dgo?",
    "9:27: cameras.front.detect.second_look.model: NANO is a model to detect, expected one to classify",
    "10:102: cameras.back.lines.gate.labels[0]: detect.labels knows no 'car': it knows dog",
]


@pytest.mark.parametrize("verb", [["validate"], ["run", "--quiet"], ["service", "install", "--print"]])
def test_classes_that_nobody_looks_for_are_told_where_they_stand(
    verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "a.yaml"
    config.write_text(CAMERAS.replace("NANO", NANO))
    code, err = fails(capsys, *verb, str(config))
    assert code == 78
    assert err.splitlines() == [f"edgekit: {config}:{line}".replace("NANO", NANO) for line in MISTAKES]


def test_a_dry_run_checks_what_a_start_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "a.yaml"
    config.write_text(f"version: 1\nmodel: {NANO}\ncameras: {{a: {{source: /dev/video99}}}}\n")
    assert main(["run", "--dry-run", str(config)]) == 0
    assert capsys.readouterr().out.startswith(f"{NANO} fits this pipeline")
    code, err = fails(capsys, "run", "--dry-run", str(config), "--labels", "persn")
    assert (code, "did you mean person?" in err) == (2, True)


@pytest.mark.parametrize("flags", [[], ["--device", "raspberry-pi-4"]])
@pytest.mark.parametrize("verb", ["validate", "run"])
def test_files_that_are_not_there_are_told_where_the_config_names_them(
    verb: str, flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if verb == "validate" and flags:
        return
    config = tmp_path / "a.yaml"
    config.write_text(
        f"version: 1\nmodel: {NANO}\nmqtt: {{host: b, tls: {{ca: ca.pem, cert: c.pem, key: k.pem}}}}\n"
        "cameras:\n  a: {source: clip.mp4}\n  b: {source: 'dir:pictures'}\n  c: {source: '*.jpg'}\n"
        "  d: {source: /dev/video99}\n  e: {source: .}\n"
    )
    code, err = fails(capsys, verb, *flags, str(config))
    assert code == 78
    gone = "there is no such file; copy it there, or correct the path"
    expected = [
        f"3:27: mqtt.tls.ca: {tmp_path}/ca.pem is no readable PEM certificate: {gone}",
        f"3:41: mqtt.tls.cert: {tmp_path}/c.pem is no readable PEM certificate: {gone}",
        f"3:53: mqtt.tls.key: {tmp_path}/k.pem is no readable PEM key: {gone}",
        f"5:15: cameras.a.source: there is no {tmp_path}/clip.mp4; see ls {tmp_path}",
        f"6:15: cameras.b.source: dir:{tmp_path}/pictures: there is no folder {tmp_path}/pictures; see ls",
        f"7:15: cameras.c.source: {tmp_path}/*.jpg matches no pictures: expected .jpg",
        f"9:15: cameras.e.source: no pictures in {tmp_path}: expected .jpg",
    ]
    lines = err.splitlines()
    assert len(lines) == len(expected)
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(f"edgekit: {config}:{start}")


def test_quiet_prints_warnings_and_errors_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((64, 64, 3), 128, np.uint8))
    config = tmp_path / "a.yaml"
    config.write_text(f"version: 1\nmodel: {NANO}\ncameras: {{a: {{source: a.png}}}}\n")
    for flags in ([], ["--dry-run"], ["--log-json"]):
        assert main(["run", "-q", *flags, str(config)]) == 0
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == ("", "")
    assert main(["run", "-q", "--json", str(config)]) == 0
    assert json.loads(capsys.readouterr().out)["cameras"][0]["frames"] == 1


def test_schema_is_a_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert "cameras" in json.loads(capsys.readouterr().out)["properties"]


def test_zoo_list_and_show_agree(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "list", "--json"]) == 0
    models = json.loads(capsys.readouterr().out)
    assert models
    assert main(["zoo", "show", models[0]["name"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sha256"] == models[0]["sha256"]
    assert main(["zoo", "list"]) == 0
    assert models[0]["name"] in capsys.readouterr().out
    assert main(["zoo", "show", models[0]["name"]]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["sha256"] == models[0]["sha256"]


def test_an_unknown_model_gets_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    main(["zoo", "list", "--json"])
    name = json.loads(capsys.readouterr().out)[0]["name"]
    code, err = fails(capsys, "zoo", "show", name + "x")
    assert code == 2
    assert f"did you mean {name}?" in err


def test_devices_list_holds_the_pis(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "list", "--json"]) == 0
    names = {d["name"] for d in json.loads(capsys.readouterr().out)}
    assert {"raspberry-pi-4", "raspberry-pi-5", "raspberry-pi-zero-2-w"} <= names
    assert main(["devices", "list"]) == 0
    assert "raspberry-pi-4" in capsys.readouterr().out


def test_devices_show_probes_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "show", "raspberry-pi-4", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["profile"]["name"] == "raspberry-pi-4"
    assert shown["this_machine"]["profile"]
    assert fails(capsys, "devices", "show", "") == (2, "edgekit: unknown device '': edgekit devices list\n")
    code, err = fails(capsys, "devices", "show", "pi4")
    assert code == 2
    assert "raspberry-pi-4" in err


def test_doctor_finds_this_installation_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    assert {"ok"} == {c["state"] for c in json.loads(capsys.readouterr().out) if "engine" in c["name"]}


@pytest.mark.parametrize(
    ("text", "value"), [("30", 30), ("30s", 30), ("500ms", 0.5), ("5m", 300), ("1.5h", 5400)]
)
def test_times_are_read_as_people_write_them(text: str, value: float) -> None:
    assert seconds(text) == value


def text_as_picture(folder: Path) -> str:
    (folder / "note.jpg").write_text("not a picture")
    return str(folder / "note.jpg")


def broken_video(folder: Path) -> str:
    (folder / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + b"\0" * 200)
    return str(folder / "clip.mp4")


def empty_folder(folder: Path) -> str:
    (folder / "empty").mkdir()
    return str(folder / "empty")


def picture(folder: Path) -> str:
    cv2.imwrite(str(folder / "a.png"), np.zeros((40, 60, 3), np.uint8))
    return str(folder / "a.png")


def truncated_model(folder: Path) -> str:
    (folder / "cut.tflite").write_bytes(bytes.fromhex("1800000054464c33"))
    return str(folder / "cut.tflite")


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda d: [str(d / "none.mp4")], 1, "none.mp4"),
        (lambda d: [broken_video(d)], 1, "clip.mp4"),
        (lambda d: [empty_folder(d)], 1, "empty"),
        (lambda d: [text_as_picture(d)], 1, "note.jpg"),
        (lambda d: ["97"], 69, "/dev/video97"),
        (lambda d: ["-"], 2, "do not come from a pipe"),
        (lambda d: ["rtps://x/y"], 2, "rtsp"),
        (lambda d: [str(d / "none.yaml")], 78, "none.yaml"),
        (lambda d: [picture(d), "--frames", "-1"], 2, "1 or more"),
        (lambda d: [picture(d), "--duration", "soon"], 2, "30s, 5m or 1h"),
        (lambda d: [picture(d), "--threads", "0"], 2, "1 or more"),
        (lambda d: [picture(d), "--min-score", "7"], 2, "min-score"),
        (lambda d: [picture(d), "--labels", "persn"], 2, "did you mean person?"),
        (lambda d: [picture(d), "--device", "raspberry-pi-44"], 2, "did you mean raspberry-pi-4"),
        (lambda d: [picture(d), "--model", truncated_model(d)], 1, "cut.tflite"),
        (lambda d: [picture(d), "--model", str(d / "no.tflite")], 1, "no.tflite"),
        (lambda d: [picture(d), "--model", "detect/nothing"], 2, "edgekit zoo list"),
        (lambda d: [picture(d), "--mqtt", "host:port"], 2, "HOST"),
        (lambda d: [picture(d), "--mqtt", "127.0.0.1:9", "--require"], 69, "127.0.0.1:9"),
    ],
    ids=lambda value: None if callable(value) else str(value),
)
def test_bad_input_gets_one_clear_line(
    make: object, code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    got, err = fails(capsys, "run", "-q", *make(tmp_path))  # type: ignore[operator]
    lines = [line for line in err.splitlines() if line.startswith("edgekit")]
    assert got == code
    assert words in lines[-1]
    assert len(lines) == 1


def test_a_config_that_is_no_yaml_is_refused_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nmodel: [unclosed\n")
    code, err = fails(capsys, "run", str(bad))
    assert code == 78
    assert f"{bad}:" in err


def test_a_model_too_large_for_the_budget_is_refused_and_says_what_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "a.yaml"
    main(["zoo", "list", "--json"])
    name = json.loads(capsys.readouterr().out)[0]["name"]
    model = f"model: {{name: {name}, budget: {{memory_mb: 1}}}}\n"
    config.write_text("version: 1\n" + model + "cameras: {a: {source: 'demo:'}}\n")
    code, err = fails(capsys, "run", str(config))
    assert code == 3
    assert "model.budget.memory_mb allows 1 MB" in err


def test_print_resolved_shows_the_merged_config_and_masks_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAM_PASS", "hunter2")
    config = tmp_path / "a.yaml"
    config.write_text(
        "version: 1\nmodel: x.tflite\nmqtt: {host: broker.lan, user: me, password: '${CAM_PASS}'}\n"
        "cameras: {front: {source: 'rtsp://me:${CAM_PASS}@cam/1'}}\n"
    )
    assert main(["run", str(config), "--print-resolved", "--fps", "3"]) == 0
    out = capsys.readouterr().out
    assert "hunter2" not in out
    assert yaml.safe_load(out)["cameras"]["front"]["detect"]["fps"] == 3


def test_who_wants_to_listen_is_told_what_the_broker_wants() -> None:
    assert listening(MqttConfig(host="broker", port=1)) == "mosquitto_sub -h broker -p 1 -t 'edgekit/#' -v"
    tls = {"ca": "/a ca.pem", "cert": "/c.pem", "key": "/c.key"}
    told = listening(MqttConfig(host="broker", port=1, tls=tls, user="cam", password="s3cret"))  # type: ignore[arg-type]
    asked = "--cafile '/a ca.pem' --cert /c.pem --key /c.key -u USER -P PASSWORD -t 'edgekit/#' -v"
    assert told == f"mosquitto_sub -h broker -p 1 {asked}"
    assert "--tls-use-os-certs" in listening(MqttConfig(host="broker", tls=True))  # type: ignore[arg-type]


def test_a_line_of_the_log_goes_to_what_is_stderr_then(monkeypatch: pytest.MonkeyPatch) -> None:
    logger, gone, here = logging.getLogger("edgekit"), io.StringIO(), io.StringIO()
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    monkeypatch.setattr(sys, "stderr", gone)
    logs.set_up(0)
    gone.close()
    monkeypatch.setattr(sys, "stderr", here)
    logger.warning("camera %s is lost", "\x1b[2J")
    assert here.getvalue() == "WARNING camera \\u001b[2J is lost\n"


def test_a_model_that_is_chosen_when_it_runs_has_no_name_yet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "home.yaml"
    config.write_text("version: 1\nmodel: {task: detect}\ncameras: {front: {source: 0}}\n")
    assert main(["validate", str(config)]) == 0
    assert capsys.readouterr().out == f"{config}: ok, 1 camera(s), model of the zoo that fits\n"


def test_every_shipped_pipeline_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    pipelines = sorted(Path(__file__).parents[1].glob("pipelines/*.yaml"))
    assert pipelines
    assert main(["validate", *map(str, pipelines)]) == 0
    assert capsys.readouterr().out.count(": ok, ") == len(pipelines)
