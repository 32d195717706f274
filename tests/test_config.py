"""A pipeline's YAML file ends as a Config that cannot be wrong, or as one plain line for each mistake."""

from __future__ import annotations

import json
import os
import re
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgekit.config import (
    Config,
    ConfirmConfig,
    config_hash,
    config_schema,
    load_config,
    mask_url,
    override_config,
    parse_config,
    quick_config,
    resolved_yaml,
)
from edgekit.config.scene import TamperConfig
from edgekit.config.settings import MotionConfig
from edgekit.errors import ConfigError, UsageError

SMALLEST = "version: 1\nmodel: detect/x\ncameras: {front: {source: 'demo:'}}\n"
WHOLE = """\
version: 1
device: {id: pi4, profile: raspberry-pi-4, state: state}
model: {name: nets/cat.tflite, engine: native, threads: 4, budget: {memory_mb: 150}}
mqtt:
  host: broker.lan
  user: ${EDGEKIT_TEST_USER:-me}
  password: secret words
  tls: {ca: ca.pem, cert: /etc/me.pem, key: me.key}
  keepalive_s: 60
detect: {fps: 5, labels: [person, on], confirm: {frames: 2}, motion: {threshold: 20}}
cameras:
  on: {source: 0}
  front:
    source: rtsp://me:pass@10.0.0.5/stream2
    loop: true
    detect: {min_score: 0.25, confirm: {of: 8}}
    zones: {drive: {points: [[.1, .6], [640px, 1], [1, 1]], labels: [person], inertia: 3, loiter: 2s}}
    lines: {gate: {points: [[.2, 360px], [.8, .5]], hysteresis: .03}}
    alarms: {intruder: {when: person in drive, unless: [dog], confirm: {frames: 4, of: 6}, cooldown: 2m}}
    tamper: {covered: true, frozen: 10s, moved: true}
    snapshots: {height: 240, max_kb: 50}
  open: {source: clips, realtime: yes, detect: {fps: , labels: ~}}
"""


def parse(text: str, base_dir: Path = Path("/pipelines")) -> Config:
    return parse_config(text, "demo.yaml", base_dir)


def mistakes(text: str, base_dir: Path = Path("/pipelines")) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, base_dir)
    return str(caught.value).split("\n")


def with_camera(text: str) -> str:
    return f"version: 1\nmodel: m\ncameras:\n  front: {text}\n"


def with_mqtt(text: str) -> str:
    return f"{SMALLEST}mqtt: {text}\n"


# -- what a right file becomes ---------------------------------------------------------------------


def test_the_smallest_file_gets_every_default() -> None:
    config = parse(SMALLEST)
    assert (config.model.name, config.model.engine, config.model.threads, config.model.budget) == (
        "detect/x",
        "auto",
        1,
        None,
    )
    assert (config.mqtt.host, config.mqtt.port, config.mqtt.base, config.mqtt.tls) == (
        None,
        None,
        "edgekit",
        None,
    )
    assert (config.mqtt.user, config.mqtt.password, config.mqtt.keepalive_s) == (None, None, 30)
    detect = config.cameras["front"].detect
    assert (detect.fps, detect.min_score, detect.labels, detect.lost_s) == (None, 0.5, None, 2.0)
    assert detect.confirm is None
    assert (config.cameras["front"].loop, config.cameras["front"].realtime) == (False, False)
    assert config.device.profile == "auto"


def test_the_device_is_called_like_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for host, name in {"Pi 4.local": "pi-4", "": "edgekit", "ÄÖ": "edgekit", "x" * 80: "x" * 64}.items():
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        assert parse(SMALLEST).device.id == name


def test_paths_start_at_the_folder_of_the_file() -> None:
    config = parse(WHOLE)
    assert config.model.name == "/pipelines/nets/cat.tflite"
    assert config.mqtt.tls is not None
    assert (config.mqtt.tls.ca, config.mqtt.tls.cert) == (Path("/pipelines/ca.pem"), Path("/etc/me.pem"))
    assert parse(SMALLEST.replace("detect/x", "/a/b.tflite")).model.name == "/a/b.tflite"


def test_a_camera_inherits_detect_key_by_key() -> None:
    config = parse(WHOLE)
    front, opened, usb = (
        config.cameras["front"].detect,
        config.cameras["open"].detect,
        config.cameras["on"].detect,
    )
    assert (front.fps, front.min_score, front.labels) == (5, 0.25, ["person", "on"])
    assert front.confirm
    assert (front.confirm.frames, front.confirm.of) == (2, 8)
    assert usb == config.detect
    assert (opened.fps, opened.labels, opened.min_score) == (None, None, 0.5)


def test_zones_and_lines_of_a_camera() -> None:
    front = parse(WHOLE).cameras["front"]
    assert front.zones["drive"].points == [(0.1, 0.6), ("640px", 1.0), (1.0, 1.0)]
    assert (front.zones["drive"].inertia, front.zones["drive"].loiter) == (3, 2.0)
    assert front.lines["gate"].labels is None
    assert parse(with_camera("{source: x}")).cameras["front"].zones == {}


@pytest.mark.parametrize(
    ("detect", "motion"),
    [
        ("{}", None),
        ("{motion: false}", None),
        ("{motion: }", None),
        ("{motion: true}", MotionConfig()),
        ("{motion: yes}", MotionConfig()),
        ("{motion: {min_area: .01, heartbeat: 1m}}", MotionConfig(min_area=0.01, heartbeat=60)),
    ],
)
def test_motion_is_a_word_or_a_mapping(detect: str, motion: MotionConfig | None) -> None:
    assert parse(with_camera(f"{{source: x, detect: {detect}}}")).cameras["front"].detect.motion == motion


@pytest.mark.parametrize(
    ("tamper", "config"),
    [
        ("true", TamperConfig()),
        ("", None),
        ("off", None),
        ("{frozen: 1m, dark: no}", TamperConfig(frozen=60, dark=False)),
        ("{frozen: false}", TamperConfig(frozen=0)),
        ("{frozen: true}", TamperConfig(frozen=10)),
    ],
)
def test_tamper_is_a_word_or_a_mapping(tamper: str, config: TamperConfig | None) -> None:
    assert parse(with_camera(f"{{source: x, tamper: {tamper}}}")).cameras["front"].tamper == config


def test_a_camera_may_change_or_undo_the_motion_of_all() -> None:
    text = "version: 1\nmodel: m\ndetect: {motion: {threshold: 20, min_area: .01}}\ncameras:\n"
    text += "  a: {source: x, detect: {motion: {threshold: 40}}}\n  b: {source: x, detect: {motion: off}}\n"
    cameras = parse(text).cameras
    assert cameras["a"].detect.motion == MotionConfig(threshold=40, min_area=0.01)
    assert cameras["b"].detect.motion is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("2", 2), ("1.5s", 1.5), ("2m", 120), ("1h", 3600), ("'3'", 3)]
)
def test_a_time_has_a_unit_or_is_in_seconds(text: str, seconds: float) -> None:
    zone = f"{{points: [[0, 0], [1, 0], [1, 1]], loiter: {text}}}"
    camera = parse(with_camera(f"{{source: x, zones: {{drive: {zone}}}}}")).cameras["front"]
    assert camera.zones["drive"].loiter == seconds


def test_names_that_yaml_takes_for_something_else_work() -> None:
    text = "version: 1\nmodel: m\ncameras:\n" + "".join(
        f"  {name}: {{source: demo}}\n" for name in ["on", "no", "yes", "1", "007", "null", "true", "1e3"]
    )
    assert list(parse(text).cameras) == ["on", "no", "yes", "1", "007", "null", "true", "1e3"]


def test_the_first_camera_may_be_a_number() -> None:
    assert parse(with_camera("{source: 0}")).cameras["front"].source == "0"


@pytest.mark.parametrize(
    ("word", "value"), [("true", True), ("yes", True), ("On", True), ("off", False), ("'no'", False)]
)
def test_every_way_to_say_yes_or_no_is_understood(word: str, value: bool) -> None:
    assert parse(with_camera(f"{{source: x, loop: {word}}}")).cameras["front"].loop is value


def test_a_key_with_nothing_behind_it_means_the_default() -> None:
    config = parse("device:\nmqtt:\ndetect: {confirm: }\n" + SMALLEST)
    assert config.mqtt.port is None
    assert config.detect == config.cameras["front"].detect


@pytest.mark.parametrize(
    ("text", "port", "tls"),
    [
        ("{host: b}", 1883, False),
        ("{host: b, tls: true}", 8883, True),
        ("{host: b, tls: {}}", 8883, True),
        ("{host: b, tls: {insecure: true}}", 8883, True),
        ("{host: b, tls: false}", 1883, False),
        ("{host: b, tls: true, port: 1}", 1, True),
        ("{host: b, tls: }", 1883, False),
    ],
)
def test_tls_moves_the_default_port(text: str, port: int, tls: bool) -> None:
    mqtt = parse(with_mqtt(text)).mqtt
    assert (mqtt.port, mqtt.tls is not None) == (port, tls)


@pytest.mark.parametrize(
    ("text", "host"), [("10.0.0.5", "10.0.0.5"), ("'::1'", "::1"), ("'[fe80::1%eth0]'", "fe80::1%eth0")]
)
def test_a_broker_may_be_an_address(text: str, host: str) -> None:
    assert parse(with_mqtt(f"{{host: {text}}}")).mqtt.host == host


def test_a_config_cannot_be_changed() -> None:
    config = parse(SMALLEST)
    with pytest.raises(ValidationError, match="frozen"):
        config.version = 2  # type: ignore[assignment]


def test_aliases_and_merge_keys_work() -> None:
    text = "cameras:\n  a: &a {source: /x, loop: true}\n  b: {<<: *a, source: /y}\n  c: *a\n"
    cameras = parse("version: 1\nmodel: m\n" + text).cameras
    assert [(camera.source, camera.loop) for camera in cameras.values()] == [
        ("/x", True),
        ("/y", True),
        ("/x", True),
    ]


# -- one line for each mistake ---------------------------------------------------------------------

GOLDEN = (Path(__file__).parent / "golden" / "config_mistakes.txt").read_text(encoding="utf-8")
MISTAKES = [block.rstrip("\n").split("\n!! ") for block in GOLDEN.split("----\n")[1:]]


@pytest.mark.parametrize(
    ("text", "line"), MISTAKES, ids=[line.partition(": ")[2][:60] for _, line in MISTAKES]
)
def test_config_names_place_key_and_what_was_expected(text: str, line: str) -> None:
    assert mistakes(text + "\n") == [line]


ABSURD = "not valid YAML: a number or an escape in it is absurd"
HOSTILE = [
    ("", "demo.yaml:1:1: the file is empty, expected keys and values"),
    ("a: x\0y\n", "demo.yaml:1:5: not text: control character '\\x00'"),
    ("a: 1\nb: \x1b[31m\n", "demo.yaml:2:4: not text: control character '\\x1b'"),
    ("%YAML " + "9" * 9000 + ".1\n---\na: 1\n", f"demo.yaml:1:1: {ABSURD}"),
    (f"a: {'9' * 9000}\n{SMALLEST}", "demo.yaml:1:4: a: expected a number of a sane size"),
    ("[" * 100_000, "demo.yaml:1:33: nested too deep, expected at most 32 levels"),
    ("- " * 100_000, "demo.yaml:1:65: nested too deep, expected at most 32 levels"),
    ("x" * 1_000_001, "demo.yaml: a configuration has at most 1000 kB"),
    ("k: [" + "1, " * 20_000 + "1]\n", "demo.yaml:1:59999: too many values, expected at most 20000"),
    ("a: &a 1\nb: [" + "*a, " * 1001 + "]\n", "demo.yaml:2:4005: too many aliases, expected at most 1000"),
]


@pytest.mark.parametrize(("text", "line"), HOSTILE, ids=[line.partition(": ")[2][:60] for _, line in HOSTILE])
def test_config_refuses_what_is_no_sane_yaml(text: str, line: str) -> None:
    assert mistakes(text) == [line]


def test_a_nul_in_an_escape_is_refused() -> None:
    assert mistakes(with_camera('{source: "a\\0b"}')) == [
        "demo.yaml:4:19: cameras.front.source: expected text without NUL or half characters"
    ]
    assert mistakes(with_camera('{source: "a\\uD800b"}')) == [
        "demo.yaml:4:19: cameras.front.source: expected text without NUL or half characters"
    ]


def test_several_mistakes_are_several_lines_in_the_order_of_the_file() -> None:
    text = "cameras: {a: {sorce: x}}\nmqtt: {prot: 1, port: x}\nversion: 3\n"
    assert mistakes(text) == [
        "demo.yaml:1:1: model: missing, expected a text or a mapping (key: value)",
        "demo.yaml:1:14: cameras.a.source: missing, expected a text",
        "demo.yaml:1:15: cameras.a.sorce: unknown key, did you mean 'source'?",
        "demo.yaml:2:8: mqtt.prot: unknown key, did you mean 'port'?",
        "demo.yaml:2:23: mqtt.port: expected a whole number from 1 to 65535, not 'x'",
        "demo.yaml:3:10: version: expected 1, not 3",
    ]


def test_a_mistake_in_the_defaults_is_told_once_not_for_every_camera() -> None:
    cameras = "cameras: {a: {source: x}, b: {source: y, detect: {fps: 3}}}\n"
    text = "version: 1\nmodel: m\ndetect: {fps: -1, fsp: 2}\n" + cameras
    assert mistakes(text) == [
        "demo.yaml:3:15: detect.fps: expected a number above 0 and at most 120, not -1",
        "demo.yaml:3:19: detect.fsp: unknown key, did you mean 'fps'?",
    ]


def test_very_many_mistakes_end_in_a_count() -> None:
    lines = mistakes(SMALLEST + "".join(f"key{n}: 1\n" for n in range(500)))
    assert len(lines) == 21
    assert lines[-1] == "demo.yaml: and 480 more mistakes"


def test_long_and_many_line_values_stay_one_short_line() -> None:
    (line,) = mistakes(with_camera(f'{{source: x, loop: "{"y" * 500}\\n"}}'))
    assert line == f"demo.yaml:4:28: cameras.front.loop: expected true or false, not '{'y' * 57}...'"


# -- values from elsewhere -------------------------------------------------------------------------


def test_variables_are_filled_in_after_parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_TEST", "/7, loop: true}")
    monkeypatch.delenv("EDGEKIT_TEST_UNSET", raising=False)
    assert parse(with_camera("{source: '${EDGEKIT_TEST}'}")).cameras["front"].source == "/7, loop: true}"
    assert parse(with_camera("{source: '/a${EDGEKIT_TEST_UNSET:-b}c'}")).cameras["front"].source == "/abc"
    assert (
        parse(with_camera("{source: '/$${EDGEKIT_TEST} $x'}")).cameras["front"].source
        == "/${EDGEKIT_TEST} $x"
    )


def test_a_variable_may_hold_a_number_or_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_TEST", "2")
    config = parse(
        SMALLEST + "mqtt:\n  port: ${EDGEKIT_TEST}\n  host: b\n  user: u\n  password: ${EDGEKIT_TEST}\n"
    )
    assert config.mqtt.port == 2
    assert config.mqtt.password is not None
    assert config.mqtt.password.get_secret_value() == "2"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("${EDGEKIT_TEST_UNSET}", "environment variable EDGEKIT_TEST_UNSET is not set"),
        ("${EDGEKIT_TEST_EMPTY}", "environment variable EDGEKIT_TEST_EMPTY is empty"),
        ("${EDGEKIT_TEST_UNSET:-}", "environment variable EDGEKIT_TEST_UNSET is not set"),
        ("${1X}", "expected ${NAME} or ${NAME:-default} (write $${ for a literal ${)"),
        ("${}", "expected ${NAME} or ${NAME:-default} (write $${ for a literal ${)"),
        ("${OPEN", "expected ${NAME} or ${NAME:-default} (write $${ for a literal ${)"),
    ],
)
def test_an_unset_variable_is_an_error_never_empty(
    value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEKIT_TEST_UNSET", raising=False)
    monkeypatch.setenv("EDGEKIT_TEST_EMPTY", "")
    assert mistakes(with_camera(f"{{source: '{value}'}}")) == [
        f"demo.yaml:4:19: cameras.front.source: {told}"
    ]


def test_what_the_environment_holds_is_never_echoed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_TEST", "hush")
    lines = mistakes(
        SMALLEST + "mqtt:\n  port: ${EDGEKIT_TEST}\n  host: a ${EDGEKIT_TEST}\n  nope: ${EDGEKIT_TEST}\n"
    )
    assert (
        lines[0]
        == "demo.yaml:5:9: mqtt.port: expected a whole number from 1 to 65535, not what was filled in"
    )
    assert len(lines) == 3
    assert "hush" not in str(lines)


def test_a_literal_password_is_never_echoed() -> None:
    told = {"[hush]": "a text", "{hush: hush}": "a text", "12345678": "a text (put it into quotes)"}
    for value, expected in told.items():
        lines = mistakes(with_mqtt(f"{{host: b, user: u, password: {value}}}"))
        assert lines == [f"demo.yaml:4:36: mqtt.password: expected {expected}"]


def test_secrets_come_from_files_and_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pw").write_text("from file\n")
    (tmp_path / "mqtt_password").write_text("from systemd")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for value, password in [("!file pw", "from file"), ("!credential mqtt_password", "from systemd")]:
        config = parse(with_mqtt(f"{{host: b, user: u, password: {value}}}"), tmp_path)
        assert config.mqtt.password is not None
        assert config.mqtt.password.get_secret_value() == password


def test_a_secret_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "big").write_bytes(b"x" * 65_537)
    told = {
        "!file gone": f"{tmp_path}/gone does not exist; write it, or correct the path",
        "!file .": f"{tmp_path} is no file",
        "!file empty": f"{tmp_path}/empty is empty",
        "!file binary": f"{tmp_path}/binary is not UTF-8 text",
        "!file big": f"{tmp_path}/big has more than 64 KiB",
        "!credential x": "no systemd credentials here ($CREDENTIALS_DIRECTORY is not set),"
        " expected LoadCredential=",
    }
    for value, line in told.items():
        assert mistakes(with_mqtt(f"{{host: b, user: {value}}}"), tmp_path) == [
            f"demo.yaml:4:23: mqtt.user: {line}"
        ]


def test_a_credential_cannot_leave_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for value in ["../passwd", "/etc/passwd", "'..'", "''"]:
        assert mistakes(with_mqtt(f"{{host: b, user: !credential {value}}}")) == [
            "demo.yaml:4:23: mqtt.user: expected the plain name of a systemd credential"
        ]


# -- files -----------------------------------------------------------------------------------------


def test_load_config_reads_a_file_and_names_it_in_messages(tmp_path: Path) -> None:
    path = tmp_path / "demo.yaml"
    path.write_text("\ufeff" + SMALLEST.replace("detect/x", "x.tflite"), encoding="utf-8")
    assert load_config(path).model.name == str(tmp_path / "x.tflite")
    path.write_text("version: 1\nmodell: x\n")
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(path))}:1:1: model: missing"):
        load_config(str(path))


def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    latin, binary, pipe, big = (tmp_path / name for name in ["latin.yaml", "x.png", "pipe", "big.yaml"])
    latin.write_bytes("version: 1\nid: Büro\n".encode("latin-1"))
    binary.write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    big.write_bytes(b"#" * 5_000_000)
    os.mkfifo(pipe)
    told = {
        tmp_path / "gone.yaml": f"{tmp_path}/gone.yaml: no such file",
        tmp_path: f"{tmp_path}: is a folder, expected a YAML file",
        pipe: f"{pipe}: is not a regular file, expected a YAML file",
        latin: f"{latin}:2:6: not UTF-8 text, expected a YAML file",
        binary: f"{binary}:1:1: not UTF-8 text, expected a YAML file",
        big: f"{big}: a configuration has at most 1000 kB",
        Path("a\0b"): "'a\\x00b': cannot read it: no such path",
        Path("x" * 5000): f"'{'x' * 5000}': cannot read it: File name too long",
        latin / "below": f"'{latin}/below': cannot read it: Not a directory",
    }
    for path, line in told.items():
        with pytest.raises(ConfigError) as caught:
            load_config(path)
        assert str(caught.value) == line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_told(tmp_path: Path) -> None:
    path = tmp_path / "demo.yaml"
    path.write_text(SMALLEST)
    path.chmod(0)
    with pytest.raises(ConfigError, match="cannot read it: Permission denied"):
        load_config(path)


def test_a_config_error_ends_a_command_with_78() -> None:
    assert ConfigError.exit_code == 78


# -- without a file --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port", "tls"),
    [
        ("broker", "broker", 1883, False),
        ("broker:1884", "broker", 1884, False),
        ("10.0.0.5:1", "10.0.0.5", 1, False),
        ("[::1]:1883", "::1", 1883, False),
        ("mqtt://broker", "broker", 1883, False),
        ("mqtts://broker", "broker", 8883, True),
        ("mqtts://[fe80::1%eth0]:99/", "fe80::1%eth0", 99, True),
    ],
)
def test_quick_config_understands_a_broker(text: str, host: str, port: int, tls: bool) -> None:
    mqtt = quick_config("demo:", "m", text).mqtt
    assert (mqtt.host, mqtt.port, mqtt.tls is not None) == (host, port, tls)


def test_quick_config_is_the_config_of_the_same_yaml() -> None:
    quick = quick_config(
        "0",
        "m",
        camera="front",
        device_id="pi",
        device="x86-64-avx2",
        fps=5.0,
        labels=["cat"],
        loop=True,
        threads=2,
    )
    text = (
        "version: 1\ndevice: {id: pi, profile: x86-64-avx2}\nmodel: {name: m, threads: 2}\n"
        "detect: {fps: 5, labels: [cat]}\ncameras: {front: {source: 0, loop: on}}\n"
    )
    assert quick == parse(text)
    assert quick_config("x", "m.tflite", fps=None, min_score=None).model.name == str(Path.cwd() / "m.tflite")


INTO_YAML = "write user and password: ${NAME} into a YAML file"
ENGINES = "expected one of auto, native, tflite"
NAMES = "expected 1 to 64 of the characters a-z 0-9 _ -"
FLAGS: list[tuple[dict[str, Any], str]] = [
    ({"mqtt": "a b"}, "--mqtt: expected HOST, HOST:PORT, [::1]:PORT or mqtts://HOST, not 'a b'"),
    ({"mqtt": ""}, "--mqtt: expected HOST, HOST:PORT, [::1]:PORT or mqtts://HOST, not ''"),
    ({"mqtt": "b:0"}, "--mqtt: expected HOST, HOST:PORT, [::1]:PORT or mqtts://HOST, not 'b:0'"),
    ({"mqtt": "b:65536"}, "--mqtt: expected HOST, HOST:PORT, [::1]:PORT or mqtts://HOST, not 'b:65536'"),
    ({"mqtt": "http://b"}, "--mqtt: expected HOST, HOST:PORT, [::1]:PORT or mqtts://HOST, not 'http://b'"),
    ({"mqtt": "u:hush@b"}, "--mqtt: no login on the command line, " + INTO_YAML),
    ({"fps": 500.0}, "--fps: expected a number above 0 and at most 120, not 500.0"),
    ({"min_score": float("nan")}, "--min-score: expected a number from 0 to 1, not nan"),
    ({"engine": "nativ"}, f"--engine: {ENGINES}, not 'nativ', did you mean 'native'?"),
    ({"device_id": "Pi 4"}, f"--device-id: {NAMES}, not 'Pi 4'"),
    ({"source": "-"}, "source: expected a camera, stream, file or folder (frames do not come from a pipe)"),
    ({"source": ""}, "source: expected a text of 1 to 4096 characters"),
    ({"model": ""}, "--model: expected a text of 1 to 4096 characters"),
    ({"camera": "A b"}, f"--camera: {NAMES} as the name, did you mean 'a-b'?"),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "line"), FLAGS, ids=[line[:50] for _, line in FLAGS])
def test_quick_config_names_the_flag(flags: dict[str, Any], line: str) -> None:
    with pytest.raises(UsageError) as caught:
        quick_config(**{"source": "demo:", "model": "m", **flags})
    assert str(caught.value) == line


def test_flags_go_over_a_file_for_every_camera() -> None:
    flags = {
        "fps": 2.0,
        "labels": ["dog"],
        "loop": True,
        "device": "raspberry-pi-5",
        "memory_mb": 9,
        "engine": None,
    }
    config = override_config(parse(WHOLE), min_score=0.9, model="other", **flags)
    assert {camera.detect.fps for camera in config.cameras.values()} == {2.0}
    assert {camera.detect.min_score for camera in config.cameras.values()} == {0.9}
    assert [camera.detect.labels for camera in config.cameras.values()] == [["dog"]] * 3
    assert {camera.loop for camera in config.cameras.values()} == {True}
    assert config.cameras["front"].detect.confirm == ConfirmConfig(frames=2, of=8)
    assert (config.model.name, config.model.engine, config.device.profile) == (
        "other",
        "native",
        "raspberry-pi-5",
    )
    assert config.model.budget is not None
    assert config.model.budget.memory_mb == 9


def test_no_flags_leave_a_config_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("hush")
    text = with_camera("{source: x}") + "mqtt: {host: b, user: !file pw, password: !file pw}\n"
    config = parse(text, tmp_path)
    assert override_config(config, fps=None) == config
    assert override_config(config).mqtt.password == config.mqtt.password
    assert "hush" not in resolved_yaml(override_config(config))


@pytest.mark.parametrize(
    ("text", "port", "tls"),
    [("c", 8883, True), ("c:1", 1, True), ("mqtt://c", 1883, False), ("mqtts://c", 8883, True)],
)
def test_another_broker_keeps_login_and_encryption(text: str, port: int, tls: bool) -> None:
    mqtt = override_config(parse(WHOLE), mqtt=text).mqtt
    assert (mqtt.host, mqtt.port, mqtt.user) == ("c", port, parse(WHOLE).mqtt.user)
    assert mqtt.tls == (parse(WHOLE).mqtt.tls if tls else None)


def test_a_wrong_flag_over_a_file_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        override_config(parse(WHOLE), fps=0.0)
    assert str(caught.value) == "--fps: expected a number above 0 and at most 120, not 0.0"


# -- showing it ------------------------------------------------------------------------------------


def test_the_resolved_config_loads_again_and_holds_no_secret() -> None:
    text = resolved_yaml(parse(WHOLE))
    assert "secret words" not in text
    assert "me:pass" not in text
    assert "rtsp://***:***@10.0.0.5/stream2" in text
    again = parse(text, Path("/elsewhere"))
    assert resolved_yaml(again) == text
    assert config_hash(again) == config_hash(parse(WHOLE))
    assert again.cameras["front"].detect == parse(WHOLE).cameras["front"].detect


def test_the_resolved_config_keeps_texts_that_look_like_something_else() -> None:
    labels = [
        "1e3",
        "08",
        "010",
        "1_000",
        "12:30",
        "yes",
        "null",
        "~",
        "2026-11-22",
        "${X}",
        "$${X}",
        "a: b",
        "ö",
    ]
    quoted = json.dumps(labels).replace("${", "$${")
    config = parse(SMALLEST + f"detect: {{labels: {quoted}}}\n")
    assert config.detect.labels == labels
    assert parse(resolved_yaml(config)).detect.labels == labels


def test_what_came_from_a_secret_file_is_masked_whole(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("http://camera/hush")
    config = parse(with_camera("{source: !file url}") + "mqtt: {host: b, user: !file url}\n", tmp_path)
    assert config.cameras["front"].source == "http://camera/hush"
    assert "hush" not in resolved_yaml(config)
    assert parse(resolved_yaml(config)).mqtt.user == "***"


def test_the_hash_changes_with_the_config_but_not_with_a_secret() -> None:
    whole = config_hash(parse(WHOLE))
    assert re.fullmatch("[0-9a-f]{64}", whole)
    assert (
        config_hash(parse(WHOLE.replace("secret words", "other words").replace("me:pass", "me:word")))
        == whole
    )
    assert config_hash(parse(WHOLE.replace("fps: 5", "fps: 6"))) != whole


def test_a_printed_config_shows_no_login() -> None:
    assert "pass" not in re.sub("password", "", repr(parse(WHOLE)))
    assert "secret words" not in repr(parse(WHOLE))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("rtsp://me:pw@cam/x", "rtsp://***:***@cam/x"),
        ("no rtsp://me:p@w/o#r?d@10.0.0.5:554/x (timeout)", "no rtsp://***:***@10.0.0.5:554/x (timeout)"),
        ("http://token@cam/x and rtsp://a:b@c", "http://***:***@cam/x and rtsp://***:***@c"),
        ("http://cam/video.cgi?user=me&pwd=pw&rate=0", "http://cam/video.cgi?user=***&pwd=***&rate=0"),
        ("http://cam/x?to=me@home", "http://cam/x?to=me@home"),
        ("http://cam:8080/x", "http://cam:8080/x"),
        ("rtsp://cam/x", "rtsp://cam/x"),
        ("/dev/video0", "/dev/video0"),
        ("mail me@home", "mail me@home"),
    ],
)  # fmt: skip
def test_mask_url_hides_every_login(text: str, masked: str) -> None:
    assert mask_url(text) == masked


# -- the schema for editors ------------------------------------------------------------------------


def problems(text: str) -> list[str]:
    validator = jsonschema.Draft202012Validator(config_schema())
    return [error.message for error in validator.iter_errors(yaml.safe_load(text))]


def test_the_schema_is_a_valid_json_schema() -> None:
    schema = config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert (schema["$id"], schema["title"]) == ("urn:edgekit:schema:pipeline:1", "edgekit pipeline")
    assert json.loads(json.dumps(schema)) == schema


def test_every_field_of_the_schema_is_described() -> None:
    schema = config_schema()
    for part in [schema, *schema["$defs"].values()]:
        for choice in part.get("anyOf", [part]):
            for name, field in choice.get("properties", {}).items():
                assert field["description"], name


@pytest.mark.parametrize(
    "text",
    [
        SMALLEST,
        WHOLE.replace("  on:", "  'on':").replace(", on]", "]").replace("yes", "true"),
        with_camera("{source: 0, loop: '${LOOP}', detect: {confirm: {of: 9}}}"),
        with_mqtt("{host: b, tls: true, port: '${PORT:-1883}'}"),
        with_mqtt(""),
    ],
)
def test_the_schema_accepts_what_edgekit_accepts(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize(
    "text",
    [
        SMALLEST + "extra: 1\n",
        SMALLEST[11:],
        SMALLEST.replace("detect/x", "{name: x, treads: 1}"),
        SMALLEST.replace("detect/x", "{name: x, engine: gpu}"),
        with_mqtt("{hots: b}"),
        with_mqtt("{host: b, tls: {kee: x}}"),
        with_mqtt("{base: 'a/#'}"),
        with_camera("{source: x, detect: {fsp: 1}}"),
        with_camera("{source: x, detect: {fps: 500}}"),
        with_camera("{}"),
        with_camera("{source: x}").replace("front", "Front Door"),
        "version: 1\nmodel: m\ncameras: {}\n",
    ],
)
def test_the_schema_refuses_what_edgekit_refuses(text: str) -> None:
    assert problems(text)
    assert mistakes(text)


def test_every_pipeline_that_ships_is_valid_for_edgekit_and_for_the_schema() -> None:
    for path in resources.files("edgekit.pipelines").iterdir():
        if path.name.endswith(".yaml"):
            text = path.read_text(encoding="utf-8")
            assert parse_config(text, path.name, Path("/pipelines")).version == 1
            assert problems(text) == []


# -- anything at all -------------------------------------------------------------------------------


def only_config_or_its_error(text: str) -> None:
    try:
        config = parse(text)
    except ConfigError as error:
        lines = str(error).split("\n")
        strange = [line for line in lines if not re.match(r"demo\.yaml(:\d+:\d+)?: \S", line)]
    else:
        strange = []
        assert parse(resolved_yaml(config)).cameras.keys() == config.cameras.keys()
    assert strange == []


@given(raw=st.binary(max_size=200))
def test_arbitrary_bytes_give_a_config_or_a_config_error(
    raw: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "arbitrary.yaml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError):
        load_config(path)


@given(text=st.text(alphabet="ab:-?[]{},&*!|>'\"%@`#<= \n\t\\$~1.\u00e9\0", max_size=60))
def test_arbitrary_yaml_characters_give_a_config_or_a_config_error(text: str) -> None:
    only_config_or_its_error(text)


KEYS = [
    "version",
    "model",
    "mqtt",
    "detect",
    "cameras",
    "front",
    "source",
    "host",
    "tls",
    "confirm",
    "of",
    "labels",
]
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(KEYS)
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=20,
)


@given(data=st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_arbitrary_values_at_known_keys_give_a_config_or_a_config_error(data: dict[str, Any]) -> None:
    whole = {"version": 1, "model": "m", "cameras": {"front": {"source": "x"}}, **data}
    only_config_or_its_error(yaml.safe_dump(whole, allow_unicode=True))


@given(at=st.integers(0, len(WHOLE) - 1), length=st.integers(0, 4), new=st.text(max_size=3))
def test_a_damaged_config_gives_a_config_or_a_config_error(at: int, length: int, new: str) -> None:
    only_config_or_its_error(WHOLE[:at] + new + WHOLE[at + length :])


@examples(20)
@given(width=st.integers(2, 30), depth=st.integers(2, 40), merge=st.booleans())
def test_an_alias_bomb_stays_small(width: int, depth: int, merge: bool) -> None:
    lines = ["a0: &a0 {x: 1}" if merge else "a0: &a0 [x]"]
    for level in range(1, depth):
        above = ", ".join([f"*a{level - 1}"] * width)
        lines.append(f"a{level}: &a{level} " + (f"{{<<: [{above}]}}" if merge else f"[{above}]"))
    assert mistakes("\n".join(lines))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("clips/a.mp4", "/etc/edgekit/clips/a.mp4"),
        ("pictures/*.jpg", "/etc/edgekit/pictures/*.jpg"),
        ("file:clips/a.mp4", "file:/etc/edgekit/clips/a.mp4"),
        ("file://clips/a.mp4", "file:///etc/edgekit/clips/a.mp4"),
        ("dir:pictures", "dir:/etc/edgekit/pictures"),
        ("file:0", "file:/etc/edgekit/0"),
        ("file:///srv/a.mp4", "file:///srv/a.mp4"),
        ("dir:~/pictures", "dir:~/pictures"),
        ("/srv/a.mp4", "/srv/a.mp4"),
        ("demo:", "demo:"),
        ("rtsp://cam/1", "rtsp://cam/1"),
        ("0", "0"),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_a_relative_source_starts_at_the_folder_of_the_file(source: str, found: str) -> None:
    config = parse_config(with_camera(f"{{source: {json.dumps(source)}}}"), "a.yaml", Path("/etc/edgekit"))
    assert config.cameras["front"].source == found


def test_every_relative_path_starts_at_the_folder_of_the_file() -> None:
    folder = Path("/etc/edgekit")
    text = """version: 1
device: {id: pi, profile: ./shed.yaml, state: state}
model: {name: a.tflite, fallback: [b.tflite]}
mqtt: {host: b, tls: {ca: ca.pem, cert: c.pem, key: k.pem}, outbox: {path: outbox}}
cameras: {front: {source: a.mp4, detect: {second_look: c.tflite}}}
"""
    config = parse_config(text, "a.yaml", folder)
    front, tls = config.cameras["front"], config.mqtt.tls
    assert tls
    assert front.detect.second_look
    named = [config.device.profile, config.device.state, config.model.name, *config.model.fallback]
    named += [
        tls.ca,
        tls.cert,
        tls.key,
        config.mqtt.outbox.path,
        front.source,
        front.detect.second_look.model,
    ]
    assert [Path(str(path)).parent for path in named] == [folder] * len(named)


def test_names_are_no_paths_and_an_unknown_home_is_no_crash() -> None:
    text = "version: 1\ndevice: {id: pi, profile: %s}\nmodel: %s\ncameras: {front: {source: 0}}\n"
    config = parse_config(text % ("raspberry-pi-4", "detect/x"), "a.yaml", Path("/etc/edgekit"))
    assert (config.device.profile, config.model.name) == ("raspberry-pi-4", "detect/x")
    config = parse_config(text % ("auto", "~nobody-here/x.tflite"), "a.yaml", Path("/etc/edgekit"))
    assert config.model.name.endswith("~nobody-here/x.tflite")


def test_the_schema_for_editors_is_that_of_the_program() -> None:
    """Its text may differ between versions of pydantic; the keys of every part may not."""
    shipped = json.loads(
        resources.files("edgekit.pipelines").joinpath("edgekit.schema.json").read_text("utf-8")
    )
    assert keys_of_parts(shipped) == keys_of_parts(config_schema())


def keys_of_parts(schema: dict[str, Any]) -> dict[str, set[str]]:
    parts = {"": schema, **schema["$defs"]}
    return {
        name: {key for choice in part.get("anyOf", [part]) for key in choice.get("properties", {})}
        for name, part in parts.items()
    }


# -- the live page ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("true", (8088, "127.0.0.1", False)),
        ("8090", (8090, "127.0.0.1", False)),
        ("{port: 8090, privacy: true}", (8090, "127.0.0.1", True)),
        ("{host: '[::1]'}", (8088, "::1", False)),
        ("{host: 0.0.0.0, token: correct-horse-battery}", (8088, "0.0.0.0", False)),
    ],
)
def test_the_page_is_local_unless_a_token_guards_it(given: str, expected: tuple[int, str, bool]) -> None:
    web = parse(SMALLEST + f"web: {given}\n").web
    assert web is not None
    assert (web.port, web.host, web.privacy) == expected


def test_without_a_word_there_is_no_page() -> None:
    assert parse(SMALLEST).web is None
    assert parse(SMALLEST + "web: false\n").web is None


def test_the_flag_names_port_and_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEKIT_WEB_TOKEN", raising=False)
    web = quick_config("demo:", "m", web="8090").web
    assert web is not None
    assert (web.host, web.port) == ("127.0.0.1", 8090)
    for text in ("x", "0", "host:99999", "a b:80"):
        with pytest.raises(UsageError, match="--web: expected PORT, HOST:PORT"):
            quick_config("demo:", "m", web=text)
    with pytest.raises(UsageError, match=r"--web: others can reach 0\.0\.0\.0, expected a token as well"):
        quick_config("demo:", "m", web="0.0.0.0:8088")
    monkeypatch.setenv("EDGEKIT_WEB_TOKEN", "correct-horse-battery")
    web = quick_config("demo:", "m", web="0.0.0.0:8088").web
    assert web is not None
    assert web.token is not None
    assert web.token.get_secret_value() == "correct-horse-battery"


def test_the_flag_keeps_what_the_file_says_of_the_page() -> None:
    config = override_config(parse(SMALLEST + "web: {port: 8090, privacy: true, fps: 2}\n"), web="8091")
    assert config.web is not None
    assert (config.web.port, config.web.privacy, config.web.fps) == (8091, True, 2.0)


CAMERA = "version: 1\nmodel: m\ncameras: {a: {source: 0, %s}}\n"


@pytest.mark.parametrize(
    ("camera", "told"),
    [
        (
            "zones: {z: {points: [[0, 0], [.5, .5], [1, 1]]}}",
            "3:46: cameras.a.zones.z.points: expected points",
        ),
        ("zones: {z: {points: [[1px, 9px], [5px, 9px], [1px, 9px], [7px, 9px]]}}", "are all on one line"),
        ("alarms: {x: {when: dog or cat, unless: [car, cat]}}", "cat raises it as well, so it never is"),
    ],
)
def test_what_could_never_be_is_refused(camera: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(CAMERA % camera)
    assert told in str(error.value)


@pytest.mark.parametrize(
    "points", ["[0, 0], [1, 1], [.5, .501]", "[0, 0], [1, 1], [1, 0], [0, 1]", "[0, 0], [1px, 1px], [1, 1]"]
)
def test_a_zone_may_be_thin_crossed_or_mixed(points: str) -> None:
    assert parse(CAMERA % f"zones: {{z: {{points: [{points}]}}}}").cameras["a"].zones
