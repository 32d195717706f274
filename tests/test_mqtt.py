"""The publisher on real brokers: mosquitto, and the embedded one."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import (
    MODEL,
    PATIENCE_S,
    Heard,
    Mosquitto,
    Relay,
    Subscriber,
    borrowed,
    embedded,
    event,
    free_port,
    until,
)

from edgekit import doctor
from edgekit.cli import main
from edgekit.config import parse_config, resolved_yaml
from edgekit.config.settings import DeviceConfig
from edgekit.errors import ConfigError
from edgekit.mqtt import Clock, Limits, ListSink, Publisher, Sink, machine_hash, messages
from edgekit.mqtt.link import Ending
from edgekit.runtime import with_outbox

jsonschema = pytest.importorskip("jsonschema")
settings = pytest.importorskip("edgekit.config.settings", reason="pydantic is not installed")

INFO = {"config_hash": "c0ffee", "profile": "raspberry-pi-4", "models": [{"id": "m", "sha256": "0" * 64}]}
HEALTH = {"state": "ok", "uptime_s": 1.0, "infer_ms": {"p50": 1.0, "p95": 2.0}, "mem_mb": 80.0}
HEALTH |= {"cpu": 0.5, "temp_c": None, "throttled": False}
SOON = Limits(retry_s=(0.02, 0.1))
STATUS, EVENTS = "edgekit/pi4/status", "edgekit/pi4/front/events"


@pytest.fixture(scope="module")
def own_broker() -> Iterator[Any]:
    with embedded() as started:
        yield started


@pytest.fixture(params=["mosquitto", "embedded"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A running broker that retains nothing yet: `.port`, `.protocol`, `.stop()`."""
    if request.param == "embedded":
        with borrowed(request.getfixturevalue("own_broker")) as started:
            yield started
        return
    mosquitto = Mosquitto(tmp_path)
    yield mosquitto.start()
    mosquitto.kill()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Makes mosquittos with more configuration; stops them in the end."""
    made: list[Mosquitto] = []

    def make(*lines: str, **options: Any) -> Mosquitto:
        made.append(Mosquitto(tmp_path, *lines, **options))
        return made[-1]

    yield make
    for each in made:
        each.kill()


def mqtt(port: int, **values: Any) -> Any:
    return settings.MqttConfig(host="127.0.0.1", port=port, **values)


def publisher(
    port: int, *, device: str = "pi4", limits: Limits = SOON, protocol: Any = "auto", **values: Any
) -> Publisher:
    return Publisher(mqtt(port, **values), device, INFO, boot_id="b7e1c0de", limits=limits, protocol=protocol)


@contextlib.contextmanager
def connected(port: int, **options: Any) -> Iterator[Publisher]:
    with publisher(port, **options) as started:
        assert started.wait_connected(PATIENCE_S), started.reason
        yield started


def seqs(heard: list[Heard]) -> list[int]:
    return [h.json["seq"] for h in heard if h.topic == EVENTS]


def count_of(topic: str, number: int) -> Callable[[list[Heard]], bool]:
    return lambda heard: sum(h.topic == topic for h in heard) >= number


def test_both_sinks_are_sinks() -> None:
    sinks: list[Sink] = [ListSink(), publisher(free_port())]
    for sink in sinks:
        sink.publish_event(event(), MODEL)
        sink.set_camera_status("front", "online")
        sink.set_count("front", "person", 1)
        sink.set_motion("front", on=True)
        sink.publish_health(HEALTH)
    remembers = sinks[0]
    assert isinstance(remembers, ListSink)
    assert [e.number for e in remembers.events] == [1]
    assert remembers.statuses == [("front", "online")]
    assert remembers.counts == [("front", "person", 1)]


def test_state_comes_before_online_and_online_before_events(broker: Any) -> None:
    with Subscriber(broker.port) as subscriber:
        early = publisher(broker.port, protocol=broker.protocol)
        early.publish_event(event(), MODEL)
        early.set_camera_status("front", "online")
        early.set_count("front", "person", 0)
        early.publish_health(HEALTH)
        with early:
            topics = [h.topic for h in subscriber.wait_for(EVENTS)]
    prefix = "edgekit/pi4/"
    birth = [t.removeprefix(prefix) for t in topics[: topics.index(STATUS)]]
    assert birth[0] == "info"
    assert set(birth) == {
        *("info", *(f"schema/{name}" for name in messages.SCHEMAS)),
        *("front/status", "front/count/person", "health"),
    }
    assert topics[len(birth) :] == [STATUS, EVENTS]


def test_a_late_subscriber_gets_every_state_once_and_no_event(broker: Any) -> None:
    with connected(broker.port, protocol=broker.protocol) as pub, Subscriber(broker.port) as early:
        pub.set_camera_status("front", "degraded")
        pub.set_count("front", "person", 1)
        pub.set_count("front", "person", 2)
        pub.publish_event(event(), MODEL)
        early.wait_for(EVENTS)
        with Subscriber(broker.port, "edgekit/#") as late:
            heard = late.settle()
        values = {h.topic: h.payload for h in heard}
        assert len(heard) == len(values) == 4 + len(messages.SCHEMAS)
        assert all(h.retained for h in heard)
        assert values["edgekit/pi4/front/status"] == "degraded"
        assert values["edgekit/pi4/front/count/person"] == "2"
        assert values[STATUS] == "online"
        assert EVENTS not in values


def test_every_message_matches_its_schema_as_published(broker: Any) -> None:
    with Subscriber(broker.port) as subscriber, connected(broker.port, protocol=broker.protocol) as pub:
        pub.publish_event(event(), MODEL)
        pub.publish_event(event(type="end", before=event().after, end_s=1795341799.0), MODEL)
        pub.publish_health(HEALTH)
        pub.publish_alarm("front", "intruder", "raised", {"visit": 1, "label": "person", "score": 0.75})
        pub.set_line("front", "gate", 12, 9, "2026-11-22T10:03:11.482Z")
        subscriber.wait_for("edgekit/pi4/health")
        subscriber.wait_for("edgekit/pi4/front/line/gate")
        subscriber.wait(count_of(EVENTS, 2))
        heard = subscriber.wait_for("edgekit/pi4/front/alarm/intruder/event")
    schemas = {h.topic.split("/")[-1]: h.json for h in heard if "/schema/" in h.topic}
    assert schemas.keys() == messages.SCHEMAS.keys()
    alarm = next(h.json for h in heard if h.topic == "edgekit/pi4/front/alarm/intruder/event")
    assert alarm["event"] == "pi4-front-b7e1-000001"
    topics = {
        EVENTS: "event",
        "edgekit/pi4/info": "info",
        "edgekit/pi4/health": "health",
        "edgekit/pi4/front/alarm/intruder/event": "alarm",
        "edgekit/pi4/front/line/gate": "line",
    }
    for topic, name in topics.items():
        published = [h.json for h in heard if h.topic == topic]
        assert published
        for payload in published:
            jsonschema.Draft202012Validator(schemas[name]).validate(payload)


def test_every_state_has_its_topic_and_is_retained(mosquitto: Callable[..., Mosquitto]) -> None:
    broker = mosquitto().start()
    with connected(broker.port) as pub, Subscriber(broker.port) as early:
        pub.set_motion("front", on=True)
        pub.set_zone_count("front", "drive", "person", 2)
        pub.set_line("front", "gate", 12, 9, "2026-11-22T10:03:11Z")
        pub.set_alarm("front", "intruder", on=True)
        pub.set_tamper("front", on=False, attributes={"covered": False})
        pub.set_snapshot("front", "person", b"\xff\xd8 no text")
        pub.set_detect("front", on=False)
        pub.publish_alarm("front", "intruder", "raised", {})
        early.wait_for("edgekit/pi4/front/alarm/intruder/event")
        with Subscriber(broker.port, "edgekit/pi4/front/#") as late:
            heard = {h.topic.removeprefix("edgekit/pi4/front/"): h for h in late.settle()}
    line = '{"in":12,"out":9,"net":3,"since":"2026-11-22T10:03:11Z"}'
    assert {topic: h.payload for topic, h in heard.items() if topic != "snapshot/person"} == {
        "motion": "ON",
        "zone/drive/person": "2",
        "line/gate": line,
        "alarm/intruder": "ON",
        "tamper": "OFF",
        "tamper/attributes": '{"covered":false}',
        "detect/state": "OFF",
    }
    assert heard["snapshot/person"].qos == 0


def test_events_are_gapless_and_in_order_from_many_threads(broker: Any) -> None:
    def publish(pub: Publisher) -> None:
        for number in range(25):
            pub.publish_event(event(number), MODEL)

    with Subscriber(broker.port) as subscriber, connected(broker.port, protocol=broker.protocol) as pub:
        threads = [threading.Thread(target=publish, args=(pub,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        heard = subscriber.wait(count_of(EVENTS, 100))
        assert seqs(heard) == list(range(1, 101))
        assert all(h.qos == 1 and not h.retained for h in heard if h.topic == EVENTS)
        until(lambda: pub.undelivered == 0, "the last acknowledgement")


def test_states_are_published_on_change_only(broker: Any) -> None:
    with connected(broker.port, protocol=broker.protocol) as pub, Subscriber(broker.port) as subscriber:
        topic = "edgekit/pi4/front/count/all"
        for number in (3, 3, 3, 4):
            pub.set_count("front", "all", number)
            pub.set_camera_status("front", "online")
            subscriber.wait(lambda heard, number=number: Heard(topic, str(number), False, 1) in heard)  # type: ignore[misc]
        subscriber.settle()
        assert subscriber.on(topic) == ["3", "4"]
        assert subscriber.on("edgekit/pi4/front/status") == ["online"]


def test_an_end_comes_before_the_count_that_falls(broker: Any) -> None:
    count = "edgekit/pi4/front/count/person"
    with Subscriber(broker.port) as subscriber, connected(broker.port, protocol=broker.protocol) as pub:
        for number in range(1, 30):
            pub.publish_event(event(number), MODEL)
            pub.set_count("front", "person", 1)
            pub.publish_event(event(number, type="end", before=event().after, end_s=1795341799.0), MODEL)
            pub.set_count("front", "person", 0)
        pub.set_camera_status("front", "offline")
        heard = subscriber.wait_for("edgekit/pi4/front/status")
    present = 0
    for each in heard:
        if each.topic == EVENTS:
            present += 1 if each.json["type"] == "new" else -1
        elif each.topic == count:
            assert int(each.payload) == present
    assert [h.topic for h in heard][-2:] == [count, "edgekit/pi4/front/status"]


def test_a_clean_stop_delivers_what_waits_says_stopped_and_leaves_no_will(broker: Any) -> None:
    with Subscriber(broker.port) as subscriber:
        pub = publisher(broker.port, protocol=broker.protocol)
        for number in range(200):
            pub.publish_event(event(number), MODEL)
        pub.start()
        assert pub.stop(PATIENCE_S) == 0
        assert (pub.state, pub.undelivered) == ("stopped", 0)
        heard = subscriber.settle()
        assert len(seqs(heard)) == 200
        assert heard[-1].payload == "stopped"
        assert subscriber.on(STATUS) == ["online", "stopped"]
    with Subscriber(broker.port, STATUS) as late:
        assert late.wait_for(STATUS)[0] == Heard(STATUS, "stopped", True, 1)
    assert pub.stop() == 0


CHILD = """
import sys
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
from edgekit.mqtt import Publisher
settings = SimpleNamespace(host="127.0.0.1", port=int(sys.argv[2]), base="edgekit", keepalive_s=30)
settings.user = settings.password = settings.tls = settings.compat = None
settings.outbox = SimpleNamespace(path=None, max_age=60.0)
with Publisher(settings, "pi4", {}, protocol=sys.argv[3]) as publisher:
    print(publisher.wait_connected(60), flush=True)
    sys.stdin.read()
"""


def test_kill_9_makes_the_broker_say_offline(broker: Any) -> None:
    python = os.environ.get("EDGEKIT_PYTHON", sys.executable)
    root = str(Path(messages.__file__).parents[2])
    with Subscriber(broker.port) as subscriber:
        command = [python, "-c", CHILD, root, str(broker.port), broker.protocol]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"True\n"
            child.send_signal(signal.SIGKILL)
        heard = subscriber.wait_for(STATUS, "offline")
        assert [h.payload for h in heard if h.topic == STATUS] == ["online", "offline"]
    with Subscriber(broker.port, STATUS) as late:
        assert late.wait_for(STATUS)[0] == Heard(STATUS, "offline", True, 1)


def test_a_broker_that_comes_later_gets_everything_in_order(
    tmp_path: Path, broker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    port = broker.port
    broker.stop()
    with publisher(port, protocol=broker.protocol) as pub:
        until(lambda: pub.state == "unreachable", "unreachable")
        assert pub.reason.startswith(f"no MQTT broker at 127.0.0.1:{port}: Connection refused: start it, or")
        pub.set_count("front", "person", 1)
        for number in range(30):
            pub.publish_event(event(number), MODEL)
        assert pub.undelivered == 30
        assert not pub.wait_connected(0)
        broker.start(*([port] if broker.protocol == "3.1.1" else []))
        assert pub.wait_connected(PATIENCE_S)
        told = [record.levelname for record in caplog.records if record.message == pub.reason]
        assert told == ["WARNING"]  # as the trouble before it
        assert pub.stop(PATIENCE_S) == 0
        assert pub.sent >= 30
    assert sum("no MQTT broker" in line for line in caplog.messages) == 1


def test_a_broker_that_lost_everything_is_told_everything_again(
    mosquitto: Callable[..., Mosquitto], caplog: pytest.LogCaptureFixture
) -> None:
    broker = mosquitto().start()
    with connected(broker.port) as pub:
        pub.set_count("front", "person", 1)
        pub.set_camera_status("front", "online")
        pub.publish_health(HEALTH)
        pub.publish_event(event(1), MODEL)
        until(lambda: pub.undelivered == 0, "the first event")
        broker.kill()
        until(lambda: pub.state == "unreachable", "the loss")
        assert f"lost the connection to 127.0.0.1:{broker.port}: it was closed" in caplog.text
        pub.set_count("front", "person", 2)
        for number in range(2, 12):
            pub.publish_event(event(number), MODEL)
        broker.start()
        with Subscriber(broker.port) as subscriber:
            assert pub.wait_connected(PATIENCE_S)
            until(lambda: pub.undelivered == 0, "the events of the outage")
            heard = subscriber.settle()
        values = {h.topic.removeprefix("edgekit/pi4/"): h.payload for h in heard}
        assert values["front/count/person"] == "2"
        assert values["front/status"] == "online"
        assert values["status"] == "online"
        assert {"info", "schema/event", "schema/info", "schema/health"} <= values.keys()
        connection = next(h.json["mqtt"] for h in heard if h.topic == "edgekit/pi4/health")
        assert connection["connected"]
        assert connection["undelivered"] == 10
        pub.publish_health(HEALTH | {"uptime_s": 2.0})
        with Subscriber(broker.port, "edgekit/pi4/health") as late:
            late.wait(lambda all_: any(h.json["mqtt"]["reconnects"] == 1 for h in all_))


def test_events_of_an_outage_follow_online_in_order(broker: Any) -> None:
    with Relay(broker.port) as relay, Subscriber(broker.port) as subscriber:
        with publisher(relay.port, protocol=broker.protocol) as pub:
            until(lambda: pub.state == "unreachable", "unreachable")
            for number in range(100):
                pub.publish_event(event(number), MODEL)
            relay.open()
            heard = subscriber.wait(count_of(EVENTS, 100))
        assert seqs(heard) == list(range(1, 101))
        assert [h.topic for h in heard].index(STATUS) < [h.topic for h in heard].index(EVENTS)


def test_events_cross_many_cuts_in_order(broker: Any) -> None:
    with Relay(broker.port) as relay, Subscriber(broker.port) as subscriber:
        with publisher(relay.port, protocol=broker.protocol) as pub:
            for part in range(5):
                for number in range(60):
                    pub.publish_event(event(number), MODEL)
                relay.open()
                subscriber.wait(count_of(EVENTS, part * 60 + 10))  # somewhere in the middle of it
                relay.cut()
            relay.open()
            until(lambda: pub.undelivered == 0, "all to be acknowledged")
        heard = seqs(subscriber.settle())
    assert sorted(set(heard)) == list(range(1, 301))
    firsts = [seq for at, seq in enumerate(heard) if seq not in heard[:at]]
    assert firsts == sorted(firsts)  # what is sent twice (QoS 1) does not overtake


def test_reconnects_leave_nothing_behind(broker: Any) -> None:
    """Threads and open files are the same after many connections as after a few."""
    with Relay(broker.port) as relay, publisher(relay.port, protocol=broker.protocol) as pub:
        used = []
        for _ in range(60):
            relay.open()
            assert pub.wait_connected(PATIENCE_S)
            used.append((threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))))
            relay.cut()
            until(lambda: pub.state == "unreachable", "the loss")
        assert used[-1] <= max(used[5:15])


def test_the_oldest_events_give_way_and_are_counted(broker: Any, caplog: pytest.LogCaptureFixture) -> None:
    limits = Limits(events=5, retry_s=(0.02, 0.1))
    with (
        Relay(broker.port) as relay,
        Subscriber(broker.port) as subscriber,
        publisher(relay.port, limits=limits, protocol=broker.protocol) as pub,
    ):
        until(lambda: pub.state == "unreachable", "unreachable")
        for number in range(8):
            pub.publish_event(event(number), MODEL)
        assert pub.undelivered == 8
        assert [line for line in caplog.messages if "dropped" in line] == [
            f"1 events dropped, oldest first: 5 wait for the broker; {pub.reason}"
        ]
        relay.open()
        heard = subscriber.wait(count_of(EVENTS, 5))
        assert seqs(heard) == [4, 5, 6, 7, 8]
        assert all(h.json["replayed"] for h in heard if h.topic == EVENTS)
        told = [h.topic for h in heard if h.topic in (STATUS, "edgekit/pi4/gap", EVENTS)]
        assert told[:3] == [STATUS, "edgekit/pi4/gap", EVENTS]
        gap = next(h for h in heard if h.topic == "edgekit/pi4/gap")
        assert (gap.json["first_seq"], gap.json["last_seq"], gap.qos, gap.retained) == (1, 3, 1, False)
        until(lambda: pub.undelivered == 3, "only the dropped ones")


def test_an_event_that_is_no_json_takes_no_number(broker: Any) -> None:
    with Subscriber(broker.port) as subscriber, connected(broker.port, protocol=broker.protocol) as pub:
        with pytest.raises(ValueError, match="finite"):
            pub.publish_event(event(time_s=float("nan")), MODEL)
        with pytest.raises(ValueError, match="camera"):
            pub.publish_event(event(camera="a/b"), MODEL)
        with pytest.raises(ValueError, match="camera status"):
            pub.set_camera_status("front", "asleep")
        pub.publish_event(event(), MODEL)
        assert seqs(subscriber.wait_for(EVENTS)) == [1]


def passwords(folder: Path) -> str:
    """A password file of mosquitto that lets in `cam` with `s3cret`."""
    program = shutil.which("mosquitto_passwd")
    if program is None:
        pytest.skip("mosquitto_passwd is not installed: apt-get install mosquitto")
    path = folder / "passwords"
    subprocess.run([program, "-b", "-c", str(path), "cam", "s3cret"], check=True, capture_output=True)
    return f"password_file {path}"


def test_a_refused_login_is_said_and_is_no_connection(
    tmp_path: Path, mosquitto: Callable[..., Mosquitto], caplog: pytest.LogCaptureFixture
) -> None:
    broker = mosquitto(passwords(tmp_path), anonymous=False).start()
    wrong: dict[str, Any] = {"user": "cam", "password": "wrong"}
    for login, who in (({}, "a client without mqtt.user"), (wrong, "user cam")):
        with publisher(broker.port, **login) as pub:
            pub.publish_event(event(), MODEL)
            until(lambda pub=pub: pub.state == "refused", "refused")  # type: ignore[misc]
            assert pub.reason.startswith(f"127.0.0.1:{broker.port} refused the login of {who}: ")
            assert not pub.wait_connected(0)
            assert pub.stop() == 1
    assert "wrong" not in caplog.text
    with connected(broker.port, user="cam", password="s3cret") as pub:
        assert pub.state == "connected"


def test_a_topic_that_is_not_allowed_is_said(
    tmp_path: Path, mosquitto: Callable[..., Mosquitto], caplog: pytest.LogCaptureFixture
) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic write edgekit/pi4/info\ntopic read #\n")
    broker = mosquitto(f"acl_file {rules}").start()
    with publisher(broker.port) as pub:
        pub.publish_event(event(1), MODEL)
        pub.publish_event(event(2), MODEL)
        until(lambda: pub.state == "refused", "the refusal")
        until(lambda: any(EVENTS in line for line in caplog.messages), "that of an event")
        assert "does not let a client without mqtt.user publish to edgekit/pi4/status" in pub.reason
        assert not pub.wait_connected(0)
        assert pub.stop() == 2
    assert sum(EVENTS in line for line in caplog.messages) == 1
    loud = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert sum("not published to" in record.message for record in loud) == 3  # not one for each topic


def openssl(folder: Path, *arguments: str) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    subprocess.run([program, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Authorities ca and other; by ca: server and expired for 127.0.0.1, elsewhere for example.org."""
    folder = tmp_path_factory.mktemp("certificates")
    ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ca", "other"):
        openssl(
            folder,
            "req",
            "-x509",
            *ec,
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.pem",
            "-subj",
            f"/CN={name}",
        )
    for name, host, days in (
        ("server", "IP:127.0.0.1", 30),
        ("elsewhere", "DNS:example.org", 30),
        ("expired", "IP:127.0.0.1", -1),
    ):
        openssl(folder, "req", *ec, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "san").write_text(f"subjectAltName={host}")
        signed = (
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-extfile",
            "san",
            "-days",
            str(days),
        )
        openssl(
            folder, "x509", "-req", "-in", f"{name}.csr", *signed, "-extfile", "san", "-out", f"{name}.pem"
        )
    return folder


def tls_lines(folder: Path, name: str = "server") -> list[str]:
    return [f"certfile {folder}/{name}.pem", f"keyfile {folder}/{name}.key"]


def test_tls_trusts_the_given_authority(certificates: Path, mosquitto: Callable[..., Mosquitto]) -> None:
    broker = mosquitto(*tls_lines(certificates)).start()
    with connected(broker.port, tls={"ca": certificates / "ca.pem"}) as pub:
        for number in range(50):
            pub.publish_event(event(number), MODEL)
        until(lambda: pub.undelivered == 0, "50 events over TLS")
        assert pub.stop() == 0


@pytest.mark.parametrize(
    ("server", "authority", "why"),
    [
        ("server", "other.pem", "unable to get local issuer certificate: set mqtt.tls.ca to"),
        ("elsewhere", "ca.pem", "is not valid for '127.0.0.1': set mqtt.host to"),
        ("expired", "ca.pem", "certificate has expired: renew it, unless this machine's clock is wrong"),
    ],
)
def test_tls_trusts_nobody_else(
    server: str, authority: str, why: str, certificates: Path, mosquitto: Callable[..., Mosquitto]
) -> None:
    broker = mosquitto(*tls_lines(certificates, server)).start()
    with publisher(broker.port, tls={"ca": certificates / authority}) as pub:
        until(lambda: pub.state == "refused", "refused")
        assert "no trusted TLS connection" in pub.reason
        assert why in pub.reason


@pytest.mark.parametrize(
    ("server", "state", "words"),
    [
        ("server", "ok", "speaks MQTT 5, encryption TLSv1.3"),
        ("expired", "broken", "no trusted TLS connection: certificate has expired"),
    ],
)
def test_the_doctor_says_how_the_broker_is(
    server: str, state: str, words: str, tmp_path: Path, certificates: Path,
    mosquitto: Callable[..., Mosquitto],
) -> None:  # fmt: skip
    broker = mosquitto(*tls_lines(certificates, server)).start()
    config = tmp_path / "a.yaml"
    config.write_text(
        "version: 1\nmodel: detect/edgenano-025-320-coco10/dense_int8\ncameras: {a: {source: 'demo:'}}\n"
        f"mqtt: {{host: 127.0.0.1, port: {broker.port}, tls: {{ca: {certificates / 'ca.pem'}}}}}\n"
    )
    found = {check.name: check for check in doctor.examine(str(config))}
    assert found["config"].state == "ok"
    assert found["broker"].state == state
    assert words in found["broker"].text
    config.write_text("version: 2")
    wrong = [check for check in doctor.examine(str(config)) if check.name == "config"]
    assert [check.state for check in wrong] == ["broken"] * 3  # version, model, cameras


def test_tls_shows_a_certificate_to_a_broker_that_wants_one(
    certificates: Path, mosquitto: Callable[..., Mosquitto]
) -> None:
    wants = ["require_certificate true", f"cafile {certificates}/ca.pem"]
    broker = mosquitto(*tls_lines(certificates), *wants).start()
    ours = {"cert": certificates / "elsewhere.pem", "key": certificates / "elsewhere.key"}
    with connected(broker.port, tls={"ca": certificates / "ca.pem", **ours}) as pub:
        assert pub.state == "connected"
    with publisher(broker.port, tls={"ca": certificates / "ca.pem"}) as pub:
        until(lambda: pub.state == "unreachable", "unreachable")
        assert pub.reason.endswith("does it want mqtt.tls.cert?")
    strange = {"cert": certificates / "other.pem", "key": certificates / "other.key"}
    with publisher(broker.port, tls={"ca": certificates / "ca.pem", **strange}) as pub:
        until(lambda: pub.state == "unreachable", "unreachable")
        assert pub.reason.endswith("does it trust mqtt.tls.cert?")


def test_tls_insecure_connects_and_warns(
    certificates: Path, mosquitto: Callable[..., Mosquitto], caplog: pytest.LogCaptureFixture
) -> None:
    broker = mosquitto(*tls_lines(certificates, "elsewhere")).start()
    with connected(broker.port, tls={"insecure": True}):
        assert "mqtt.tls.insecure: the certificate of the broker is not checked" in caplog.messages


def test_plain_at_a_port_for_tls_is_told_to_set_tls(
    certificates: Path, mosquitto: Callable[..., Mosquitto]
) -> None:
    with publisher(mosquitto(*tls_lines(certificates)).start().port) as pub:
        until(lambda: pub.state == "unreachable", "unreachable")
        assert pub.reason.endswith("is it a port for TLS? then set mqtt.tls: true")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_tls_at_what_speaks_none_is_told_to_look_at_the_port(answer: bytes, certificates: Path) -> None:
    broker = Scripted(answer)
    with publisher(broker.port, tls={"ca": certificates / "ca.pem"}) as pub:
        until(lambda: pub.state == "unreachable", "unreachable")
        assert pub.reason.startswith(f"127.0.0.1:{broker.port} does not speak TLS (")
        assert "is it the port without encryption? set mqtt.port" in pub.reason
    broker.stop()


def test_tls_at_a_broker_without_is_told_to_look_at_the_port(
    certificates: Path, mosquitto: Callable[..., Mosquitto]
) -> None:
    with publisher(mosquitto().start().port, tls={"ca": certificates / "ca.pem"}) as pub:
        until(lambda: pub.state == "unreachable", "unreachable")
        assert "is it the port without encryption? set mqtt.port" in pub.reason


def test_a_certificate_that_does_not_load_is_a_mistake_in_the_config(
    tmp_path: Path, certificates: Path
) -> None:
    (tmp_path / "text.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"mqtt\.tls\.ca: .*text\.pem"):
        publisher(1, tls={"ca": tmp_path / "text.pem"})
    with pytest.raises(ConfigError, match=r"mqtt\.tls\.key: .*ca\.key is not .* key of .*server\.pem"):
        publisher(1, tls={"cert": certificates / "server.pem", "key": certificates / "ca.key"})


@pytest.mark.parametrize(
    ("name", "file", "why"),
    [
        ("ca", "nowhere.pem", "is no readable PEM certificate: there is no such file"),
        ("ca", "text.pem", "is no readable PEM certificate: no certificate or crl found"),
        ("ca", "pipe", "is no readable PEM certificate: it is no file"),
        ("cert", "server.key", "is no readable PEM certificate: no certificate or crl found"),
        ("key", "ca.key", "is not the readable PEM key of {}/server.pem: key values mismatch"),
        ("key", "locked.key", "is not the readable PEM key of {}/server.pem: it has a passphrase, "),
    ],
)
def test_a_certificate_that_cannot_be_used_is_told_where_the_config_names_it(
    name: str, file: str, why: str, tmp_path: Path, certificates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for each in ("ca.pem", "ca.key", "server.pem", "server.key"):
        shutil.copy(certificates / each, tmp_path)
    (tmp_path / "text.pem").write_text("no certificate")
    os.mkfifo(tmp_path / "pipe")
    openssl(tmp_path, "ec", "-in", "server.key", "-aes128", "-passout", "pass:secret", "-out", "locked.key")
    files = {"ca": "ca.pem", "cert": "server.pem", "key": "server.key", name: file}
    lines = ["version: 1", "model: detect/edgenano-025-320-coco10/dense_int8", "cameras: {a: {source: 0}}"]
    lines += ["mqtt:", "  host: broker", "  tls:", *(f"    {key}: {value}" for key, value in files.items())]
    config = tmp_path / "a.yaml"
    config.write_text("\n".join(lines))
    place = f"{config}:{7 + list(files).index(name)}:{7 + len(name)}"
    for verb in (["validate"], ["run", "--dry-run"], ["run"]):
        assert main([*verb, str(config)]) == 78
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"edgekit: {place}: mqtt.tls.{name}: {tmp_path / file} {why.format(tmp_path)}")
    main(["replay", "nowhere", "--config", str(config)])  # who replays a clip needs no broker
    assert "nowhere" in capsys.readouterr().err


def test_mqtt_5_is_tried_first_and_3_1_1_taken(broker: Any) -> None:
    version = "3.1.1" if broker.protocol == "3.1.1" else "5"
    with connected(broker.port) as pub:
        assert pub.reason == f"connected to 127.0.0.1:{broker.port} (MQTT {version})"
        assert pub.state == "connected"


def test_a_broker_that_lacks_the_protocol_asked_for_refuses(own_broker: Any) -> None:
    with borrowed(own_broker) as broker, publisher(broker.port, protocol="5") as pub:
        until(lambda: pub.state == "refused", "refused")
        assert pub.reason == f"127.0.0.1:{broker.port} does not speak MQTT 5"


def test_both_protocols_are_tried_on_a_broker_that_says_nothing() -> None:
    broker = Scripted(b"")
    with publisher(broker.port) as pub:
        until(lambda: len(broker.connects) >= 4, "four attempts")
        broker.stop()
        assert pub.state == "unreachable"
    assert [connect[connect.index(b"MQTT") + 4] for connect in broker.connects[:4]] == [5, 4, 5, 4]


def test_two_of_one_name_do_not_fight_for_ever(mosquitto: Callable[..., Mosquitto]) -> None:
    broker = mosquitto().start()
    with connected(broker.port) as first, connected(broker.port) as second:
        until(lambda: first.client_id != second.client_id, "one to take another name")
        for pub in (first, second):
            pub.publish_event(event(), MODEL)
            until(lambda pub=pub: pub.undelivered == 0, "both to be heard")  # type: ignore[misc]


class Scripted:
    """A broker that gives each CONNECT the same `answer` (none: hangs up), and remembers what it heard."""

    def __init__(self, answer: bytes) -> None:
        self.connects: list[bytes] = []
        self.heard = b""
        self._answer = answer
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                with client:
                    self.connects.append(client.recv(4096))
                    client.sendall(self._answer)
                    while self._answer and (data := client.recv(4096)):
                        self.heard += data

    def stop(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()


def test_a_session_taken_over_is_said_and_not_fought_for(caplog: pytest.LogCaptureFixture) -> None:
    said = b"\xe0\6\x8e\4\x1f\0\1x"  # DISCONNECT with a reason string: paho 2.1 overlooks a bare code
    broker = Scripted(b"\x20\3\0\0\0" + said)
    pub = publisher(broker.port, limits=Limits(retry_s=(0.01, 60.0)))
    first = pub.client_id
    with pub:
        until(lambda: len(broker.connects) >= 2, "the second attempt")
        broker.stop()
    assert first.encode() in broker.connects[0]
    assert pub.client_id.startswith(f"{first}-")
    lines = [line for line in caplog.messages if "has taken the client id" in line and "give each" in line]
    assert lines[0].startswith(
        f"127.0.0.1:{broker.port}: another client has taken the client id {first}; going on as "
    )


def test_a_broker_that_limits_messages_without_a_word_gets_the_small_ones(
    mosquitto: Callable[..., Mosquitto], caplog: pytest.LogCaptureFixture
) -> None:
    broker = mosquitto("message_size_limit 3000").start()
    with Subscriber(broker.port) as subscriber, connected(broker.port) as pub:
        pub.publish_event(event(), MODEL)
        subscriber.wait(count_of(EVENTS, 1))
    assert "it may limit the size of messages" in caplog.text


def test_a_message_larger_than_the_broker_takes_is_not_sent(
    mosquitto: Callable[..., Mosquitto], caplog: pytest.LogCaptureFixture
) -> None:
    broker = mosquitto("max_packet_size 8000").start()
    huge = {f"stage{number}": 1.0 for number in range(1000)}
    with Subscriber(broker.port) as subscriber, connected(broker.port) as pub:
        for latency_ms in ({}, huge, huge, {}):
            pub.publish_event(event(latency_ms=latency_ms), MODEL)
        assert seqs(subscriber.wait(count_of(EVENTS, 2))) == [1, 4]
        subscriber.wait(count_of("edgekit/pi4/gap", 2))  # who counts knows what is missing
        until(lambda: pub.undelivered == 2, "the two that do not fit")
        assert [h.payload for h in subscriber.settle() if h.topic == STATUS] == ["online"]
    refused = [line for line in caplog.messages if line.startswith(f"not published to {EVENTS}: ")]
    assert len(refused) == 1
    assert f"bytes are more than 127.0.0.1:{broker.port} takes" in refused[0]


def test_a_stop_without_a_broker_tells_what_was_not_delivered() -> None:
    idle = publisher(free_port())
    idle.publish_event(event(), MODEL)
    assert idle.stop() == 1  # never started
    with publisher(free_port()) as pub:
        pub.publish_event(event(), MODEL)
        assert pub.stop() == 1
        assert (pub.state, pub.stop()) == ("stopped", 1)


@pytest.mark.parametrize(("host", "place"), [("broker.lan", "broker.lan:7"), ("::1", "[::1]:7")])
def test_a_broker_that_has_not_answered_yet_is_named(host: str, place: str) -> None:
    pub = Publisher(settings.MqttConfig(host=host, port=7), "pi4", INFO)
    assert pub.reason == f"{place} has not answered yet"


def test_a_stop_does_not_wait_for_a_broker_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        pub = publisher(mute.getsockname()[1])
        pub.publish_event(event(), MODEL)
        pub.start()
        accepted, _ = mute.accept()
        with accepted:
            assert accepted.recv(1) == b"\x10"  # CONNECT
            assert pub.stop(0.05) == 1
            assert pub.state == "stopped"
            accepted.settimeout(PATIENCE_S)
            assert accepted.recv(4096)[-7:] == b"offline"  # the rest of it, with the will
            assert accepted.recv(4096) == b""  # hung up


def test_a_hurried_stop_still_says_stopped_and_leaves_the_will_to_a_deaf_broker() -> None:
    broker = Scripted(b"\x20\3\0\0\0")  # accepts, and acknowledges nothing
    pub = publisher(broker.port)
    for number in range(100):
        pub.publish_event(event(number), MODEL)
    pub.start()
    until(lambda: broker.heard.count(b"edgekit.info/1") > 0, "the first message")
    assert pub.stop(0.6) == 100
    broker.stop()
    assert broker.heard.endswith(b"stopped")  # no DISCONNECT after it


def test_a_run_shorter_than_the_first_connection_delivers_all_the_same(broker: Any) -> None:
    with Subscriber(broker.port) as subscriber:
        pub = publisher(broker.port)  # the embedded broker makes it try twice
        pub.publish_event(event(), MODEL)
        pub.start()
        assert pub.stop(PATIENCE_S) == 0
        assert [h.topic for h in subscriber.settle()][-3:] == [STATUS, EVENTS, STATUS]


@pytest.mark.parametrize(("code", "state"), [(0x88, "unreachable"), (0x8A, "refused")])
def test_a_busy_broker_is_not_taken_for_one_that_says_no(code: int, state: str) -> None:
    broker = Scripted(answer=b"\x20\x03\0" + bytes([code]) + b"\0")
    with publisher(broker.port) as pub:
        until(lambda: pub.state == state, state)
        assert f"127.0.0.1:{broker.port} refused the connection: " in pub.reason
        assert not pub.wait_connected(0)
        broker.stop()


def test_a_second_start_is_a_mistake(broker: Any) -> None:
    with (
        connected(broker.port, protocol=broker.protocol) as pub,
        pytest.raises(RuntimeError, match="started once"),
    ):
        pub.start()


def test_the_clock_of_the_event_is_the_one_given(broker: Any) -> None:
    clock = Clock(wall_s=lambda: 1795341791.655, mono_s=lambda: 90311.655, synced=lambda: False)
    pub = Publisher(mqtt(broker.port), "pi4", INFO, protocol=broker.protocol, clock=clock)
    with Subscriber(broker.port) as subscriber, pub:
        pub.publish_event(event(), MODEL)
        heard = subscriber.wait_for(EVENTS)[-1].json
    assert heard["time"]["published"] == "2026-11-22T10:03:11.655Z"
    assert heard["time"]["clock_synced"] is False
    assert heard["latency_ms"]["total"] == 173.0
    assert heard["boot_id"] == pub.boot_id
    assert len(pub.boot_id) == 8


def test_a_clock_that_jumps_changes_times_and_nothing_else(broker: Any) -> None:
    """A Pi without a clock of its own: 1970 first, then NTP sets it right, a day too far, and back."""
    wall_s, mono_s = iter([0.0, 1795341791.0, 1795428191.0, 1795341792.0] * 2), iter(range(90311, 90330))
    clock = Clock(wall_s=lambda: next(wall_s), mono_s=lambda: float(next(mono_s)), synced=lambda: False)
    pub = Publisher(mqtt(broker.port), "pi4", INFO, protocol=broker.protocol, clock=clock)
    with Subscriber(broker.port) as subscriber, pub:
        for number in range(1, 5):
            pub.publish_event(event(number, mono_s=90309.5 + number), MODEL)
        heard = [h.json for h in subscriber.wait(count_of(EVENTS, 4)) if h.topic == EVENTS]
    assert [e["seq"] for e in heard] == [1, 2, 3, 4]
    assert len({e["id"] for e in heard}) == 4
    assert [e["latency_ms"]["total"] for e in heard] == [500.0] * 4
    assert heard[0]["time"]["published"] == "1970-01-01T00:00:00.000Z"
    assert not any(e["time"]["clock_synced"] for e in heard)


def test_a_refusal_is_not_retried_soon() -> None:
    pub = publisher(1, limits=Limits(retry_s=(1.0, 60.0)))
    assert 45 <= (pub._courier._after(Ending("refused", "no"), steady=False) or 0) <= 60
    waits = [pub._courier._after(Ending("unreachable", "x"), steady=False) or 0 for _ in range(8)]
    assert 0.7 < waits[0] < 1.3
    assert 45 <= waits[-1] <= 60


def test_a_login_comes_from_a_credential_and_is_never_shown(
    tmp_path: Path,
    mosquitto: Callable[..., Mosquitto],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = mosquitto(passwords(tmp_path), anonymous=False).start()
    (tmp_path / "mqtt_password").write_text("s3cret\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for secret in ("!credential mqtt_password", "!file mqtt_password"):
        text = f"mqtt: {{host: 127.0.0.1, port: {broker.port}, user: cam, password: {secret}}}\n"
        text += "version: 1\nmodel: x\ncameras: {front: {source: 'demo:'}}\n"
        config = parse_config(text, "x.yaml", tmp_path)
        with Subscriber(broker.port, username="cam", password="s3cret") as subscriber:
            with Publisher(config.mqtt, "pi4", INFO, limits=SOON) as pub:
                assert pub.wait_connected(PATIENCE_S), pub.reason
            assert not any("s3cret" in h.payload for h in subscriber.settle())
        assert "s3cret" not in resolved_yaml(config)
    assert "s3cret" not in caplog.text


def test_each_run_has_a_boot_id_of_its_own() -> None:
    ids = {Publisher(mqtt(1), "pi4", INFO).boot_id for _ in range(3)}
    assert len(ids) == 3


def test_the_machine_is_the_same_at_each_start_and_says_whether_its_clock_is_set() -> None:
    assert machine_hash() == machine_hash()
    assert int(machine_hash(), 16) >= 0
    assert Clock().synced() in (True, False)


def test_the_folder_for_what_outlives_a_restart_keeps_the_outbox_unless_the_config_says_where(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    nowhere, data = DeviceConfig(), DeviceConfig(state=Path("/data"))
    assert with_outbox(mqtt(1), nowhere).outbox.path is None
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/edgekit:/var/lib/other")
    assert with_outbox(mqtt(1), nowhere).outbox.path == Path("/var/lib/edgekit/outbox")
    own = mqtt(1, outbox={"path": "/data/outbox", "max_mb": 8})
    assert with_outbox(own, data).outbox == own.outbox
    assert with_outbox(mqtt(1), data).outbox.path == Path("/data/outbox")


@pytest.fixture(autouse=True)
def _all_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edgekit.mqtt")
