"""The main job from end to end: `edgekit run` in a process of its own, heard by a real MQTT client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from brokers import Heard, Mosquitto, Subscriber, embedded
from jsonschema import Draft202012Validator
from scripted import Noting

from edgekit import inference, zoo
from edgekit.config.settings import DetectConfig
from edgekit.mqtt import ListSink, messages
from edgekit.pipeline import Pipeline
from edgekit.pipeline.inbox import Camera
from edgekit.sources import open_source
from edgekit.sources.demo import DemoScene

PYTHON = os.environ.get("EDGEKIT_PYTHON", sys.executable)
EMULATED = "EDGEKIT_PYTHON" in os.environ
WAIT_S = 600.0 if EMULATED else 60.0  # a run that works never waits so long
pytest.importorskip("skimage", reason="needs the extra edgekit[demo]")


@pytest.fixture(params=["mosquitto", "embedded"])
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """The port of a broker that runs on 127.0.0.1."""
    if request.param == "embedded":
        with embedded() as broker:
            yield broker.port
        return
    mosquitto = Mosquitto(tmp_path).start()
    yield mosquitto.port
    mosquitto.kill()


def start(*argv: str) -> subprocess.Popen[str]:
    command = [PYTHON, "-P", "-m", "edgekit", "run", *argv]  # -P: not the checkout, if it is not installed
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_demo_is_reported_as_its_card_says() -> None:
    """One loop of the scene: who is reported, and when, against what is where, and when."""
    card = DemoScene(0).card()
    fps = 2.0 if EMULATED else None  # an emulated CPU takes its time: few frames, and the first visit must do
    seconds = 20.0 if EMULATED else card["loop_s"]
    source = Noting(open_source("demo:seed=0&pace=none", camera="front", fps=fps))
    sink = ListSink()
    model = inference.open("detect/edgenano-025-320-coco10/dense_int8")
    camera = Camera("front", DetectConfig(), lambda: source)
    Pipeline([camera], model, sink).run(frames=int(seconds * (fps or card["fps"])))
    ends = [event for event in sink.events if event.type == "end"]
    seen = [(e.after.label, e.after.start_s - source.first_s, e.after.seen_s - source.first_s) for e in ends]
    persons = [v for v in card["visits"] if v["label"] == "person" and v["leave_s"] < seconds]
    assert persons
    for visit in persons:
        starts = [
            start_s
            for label, start_s, end_s in seen
            if label == "person" and start_s < visit["leave_s"] and end_s > visit["enter_s"]
        ]
        assert starts, f"not reported: {visit}"
        assert visit["enter_s"] - 1 <= min(starts) <= visit["enter_s"] + 2.5
    assert len([label for label, *_ in seen if label == "person"]) <= len(persons) + 1
    assert {label for label, *_ in seen} <= {"person", "cat", "motorcycle", "bicycle"}  # alike, the last two


def test_a_config_runs_and_is_heard(port: int, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "version": 1,
        "device": {"id": "pi"},
        "model": zoo.list_models()[0].name,
        "mqtt": {"host": "127.0.0.1", "port": port},
        "cameras": {"front": {"source": "demo:pace=none"}},
    }
    config = tmp_path / "demo.yaml"
    config.write_text(yaml.safe_dump(settings))
    with (
        Subscriber(port, "edgekit/#") as subscriber,
        start(str(config), "--frames", "80", "--json") as process,
    ):
        heard = subscriber.wait_for("edgekit/pi/status", "stopped")
        out, err = process.communicate(timeout=WAIT_S)
        with Subscriber(port, "homeassistant/#") as late:
            check_discovery(late.settle())
    assert process.returncode == 0, err
    assert [h.topic.rpartition("/")[2] for h in heard][-3:] == ["all", "status", "status"]
    assert json.loads(out)["cameras"][0]["frames"] == 80
    assert subscriber.on("edgekit/pi/status") == ["online", "stopped"]
    assert subscriber.on("edgekit/pi/front/status") == ["online", "offline"]
    counts = subscriber.on("edgekit/pi/front/count/person")
    assert (counts[0], "1" in counts, counts[-1]) == ("0", True, "0")
    check_events([json.loads(payload) for payload in subscriber.on("edgekit/pi/front/events")])


def check_discovery(heard: list[Heard]) -> None:
    """Home Assistant would find the device, and each state topic it is sent to."""
    assert [h.topic for h in heard] == ["homeassistant/device/edgekit_pi/config"]
    components = heard[0].json["cmps"]
    assert components["front_person"]["state_topic"] == "edgekit/pi/front/count/person"
    assert components["front_detect"]["command_topic"] == "edgekit/pi/front/detect/set"


def test_detection_is_switched_off_and_on_while_it_runs(port: int) -> None:
    flags = ["--mqtt", f"127.0.0.1:{port}", "--device-id", "pi", "-q"]
    place = "edgekit/pi/camera"
    with Subscriber(port, "edgekit/#") as subscriber, start("demo:", *flags) as process:
        subscriber.wait_for(f"{place}/status", "online")
        subscriber.publish(f"{place}/detect/set", "OFF")
        subscriber.wait_for(f"{place}/status", "disabled")
        subscriber.wait_for(f"{place}/detect/state", "OFF")
        subscriber.publish(f"{place}/detect/set", "ON")
        subscriber.wait(lambda _: subscriber.on(f"{place}/status")[-2:] == ["disabled", "online"])
        subscriber.publish("edgekit/pi/request/health", "")
        subscriber.wait_for("edgekit/pi/response/health")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=WAIT_S)
    assert subscriber.on(f"{place}/detect/state") == ["ON", "OFF", "ON"]


def test_events_of_a_run_without_a_broker_come_with_the_next(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    settings: dict[str, Any] = {
        "version": 1,
        "device": {"id": "pi"},
        "model": zoo.list_models()[0].name,
        "mqtt": {"host": "127.0.0.1", "port": broker.port, "outbox": {"path": "outbox"}},
        "cameras": {"front": {"source": "demo:pace=none"}},
    }
    config = tmp_path / "demo.yaml"
    config.write_text(yaml.safe_dump(settings))
    with start(str(config), "--frames", "80") as process:
        _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    assert "events wait on disk for the next start" in err
    broker.start()
    with Subscriber(broker.port, "edgekit/#") as subscriber:
        with start(str(config), "--frames", "80") as process:
            _, err = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0, err
        subscriber.wait_for("edgekit/pi/status", "stopped")
        events = [json.loads(payload) for payload in subscriber.on("edgekit/pi/front/events")]
    broker.kill()
    check_events(events)
    boots = [event["boot_id"] for event in events]
    assert len(set(boots)) == 2
    assert all(event["replayed"] for event in events if event["boot_id"] == boots[0])


def test_the_camera_of_a_config_is_waited_for_and_that_of_a_command_line_is_not(tmp_path: Path) -> None:
    source = "rtsp://cam:s3cret@127.0.0.1:9/stream"  # nobody listens there
    broker = {"host": "127.0.0.1", "port": 9}
    cameras = {"front": {"source": source}}
    settings = {"version": 1, "model": zoo.list_models()[0].name, "mqtt": broker, "cameras": cameras}
    config = tmp_path / "a.yaml"
    config.write_text(yaml.safe_dump(settings))
    with start(str(config), "-q") as process:
        assert process.stderr
        line = next(line for line in process.stderr if "camera front" in line)
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=WAIT_S)
    assert process.returncode == 143
    assert "not there, edgekit goes on trying: rtsp://127.0.0.1:9/stream: port 9: connection refused" in line
    with start(source, "-q", "--mqtt", "127.0.0.1:9") as process:
        out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 69
    assert "s3cret" not in line + rest + out + err


def check_events(events: list[dict[str, Any]]) -> None:
    """Gapless, by the schema, and every visit that began has ended; the first is that of a person."""
    checker = Draft202012Validator(messages.load_schema("event"))
    for event in events:
        checker.validate(event)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["type"], events[0]["after"]["label"]) == ("new", "person")
    begun, ended = ({e["id"] for e in events if e["type"] == kind} for kind in ("new", "end"))
    assert begun == ended


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_in_order(number: signal.Signals, code: int, port: int) -> None:
    flags = ["--mqtt", f"127.0.0.1:{port}", "--device-id", "pi", "-q"]
    with Subscriber(port, "edgekit/#") as subscriber, start("demo:", *flags) as process:
        subscriber.wait_for("edgekit/pi/camera/status", "online")
        process.send_signal(number)
        subscriber.wait_for("edgekit/pi/status", "stopped")
        _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == code
    assert err == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_edgekit_is_loaded_ends_it_without_a_word(number: signal.Signals, code: int) -> None:
    early = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's jobs in the background ignore it
class Impatient:
    def find_spec(self, name, *_):
        if name == "edgekit.verbs":
            os.kill(os.getpid(), {number:d})
sys.meta_path.insert(0, Impatient())
sys.argv = ["edgekit", "version"]
from edgekit.__main__ import main
sys.exit(main())
"""
    done = subprocess.run([PYTHON, "-c", early], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_without_a_host_the_embedded_broker_serves() -> None:
    with start("demo:", "--device-id", "pi") as process:
        assert process.stderr
        line = next(line for line in iter(process.stderr.readline, "") if line.startswith("listen"))
        with Subscriber(int(line.split(" -p ")[1].split()[0]), "edgekit/#") as subscriber:
            subscriber.wait_for("edgekit/pi/camera/events")
            process.send_signal(signal.SIGINT)
            subscriber.wait_for("edgekit/pi/status", "stopped")
        process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
