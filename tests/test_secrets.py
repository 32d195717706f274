"""Secrets planted everywhere, and everything that edgekit says searched for them."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from brokers import Mosquitto, Subscriber, free_port, until

from edgekit import cli, logs, zoo
from edgekit.config import load_config
from edgekit.verbs.run import _read_again

PYTHON = os.environ.get("EDGEKIT_PYTHON", sys.executable)
PLANTED = {
    "password": "Pw-Broker-11aa",
    "token": "Tok-Page-22bb-long-enough",
    "camera": "Cam%2FPass@33cc",
    "query": "Query-Pass-44dd",
    "file": "rtsp://File-User-55ee:File-Pass-66ff@127.0.0.1:9/x",
}
PIECES = (
    "Pw-Broker",
    "11aa",
    "Tok-Page",
    "22bb",
    "Cam/Pass",
    "Cam%2FPass",
    "33cc",
    "Query-Pass",
    "44dd",
    "55ee",
    "66ff",
)


def config(folder: Path, port: int, page: int) -> Path:
    (folder / "source").write_text(PLANTED["file"])
    (folder / "password").write_text(PLANTED["password"] + "\n")
    path = folder / "pipeline.yaml"
    path.write_text(
        f"""version: 1
device: {{id: pi}}
model: {zoo.list_models()[0].name}
mqtt: {{host: 127.0.0.1, port: {port}, user: porch, password: !file password}}
web: {{port: {page}, token: {PLANTED["token"]}}}
cameras:
  demo: {{source: "demo:"}}
  typed: {{source: "rtsp://admin:{PLANTED["camera"]}@127.0.0.1:9/stream"}}
  asked: {{source: "http://127.0.0.1:9/snap.jpg?user=admin&password={PLANTED["query"]}"}}
  filed: {{source: !file source}}
"""
    )
    return path


def check(text: str) -> None:
    found = [piece for piece in PIECES if piece in text]
    assert not found, f"{found} in {text}"


def edgekit(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [PYTHON, "-P", "-m", "edgekit", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_is_printed_of_a_config_holds_no_secret(tmp_path: Path) -> None:
    path = str(config(tmp_path, 1, free_port()))
    for arguments in (("validate", "--print-resolved", path), ("run", "--print-resolved", path)):
        done = edgekit(*arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("***") >= 5
        check(done.stdout + done.stderr)
    (tmp_path / "again.yaml").write_text(edgekit("validate", "--print-resolved", path).stdout)
    assert load_config(tmp_path / "again.yaml").web is not None


def test_mistakes_beside_a_secret_do_not_show_it(tmp_path: Path) -> None:
    path = config(tmp_path, 1, free_port())
    for wrong, right in (
        ("token: Tok", "tokn: Tok"),
        ('source: "rtsp', 'sorce: "rtsp'),
        ("port: 1,", "port: x,"),
    ):
        (tmp_path / "bad.yaml").write_text(path.read_text().replace(wrong, right))
        done = edgekit("validate", str(tmp_path / "bad.yaml"))
        assert done.returncode == 78
        check(done.stdout + done.stderr)


def test_an_address_that_cannot_be_read_does_not_show_its_password(tmp_path: Path) -> None:
    (tmp_path / "address").write_text("rtsp://admin:Cam/Pass@33cc@127.0.0.1:9/stream")
    for source in ("rtsp://admin:Cam/Pass@33cc@127.0.0.1:9/stream", "!file address"):
        camera = f"cameras: {{front: {{source: {source}}}}}\n"
        (tmp_path / "bad.yaml").write_text(f"version: 1\nmodel: {zoo.list_models()[0].name}\n{camera}")
        done = edgekit("validate", str(tmp_path / "bad.yaml"))
        assert (done.returncode, "bad.yaml:3:27: cameras.front.source: " in done.stderr) == (78, True)
        check(done.stdout + done.stderr)


def test_what_a_run_says_holds_no_secret(tmp_path: Path) -> None:
    """Logs at their loudest, messages, the page, the metrics and the last words."""
    pytest.importorskip("skimage", reason="needs the extra edgekit[demo]")
    pytest.importorskip("uvicorn", reason="needs the extra edgekit[web]")
    broker = Mosquitto(tmp_path).start()
    page = free_port()
    path = config(tmp_path, broker.port, page)
    command = [PYTHON, "-P", "-m", "edgekit", "run", str(path), "-vv", "--log-json"]
    with Subscriber(broker.port, "#") as subscriber:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            subscriber.wait_for("edgekit/pi/demo/status", "online")
            key = {"Authorization": f"Bearer {PLANTED['token']}"}
            for place in ("figures", "metrics", "healthz"):
                check(httpx.get(f"http://127.0.0.1:{page}/{place}", headers=key).text)
            until(lambda: bool(subscriber.on("edgekit/pi/demo/events")), "an event")
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
            process.communicate()
        said = subscriber.settle()
    broker.kill()
    assert [h for h in said if h.topic == "edgekit/pi/info"]
    check("\n".join(f"{h.topic} {h.payload!r}" for h in said))
    check(out + err)
    facts = [json.loads(line) for line in err.splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(fact) for fact in facts)
    assert "new" in {fact.get("event") for fact in facts}
    assert any(fact.get("camera") == "demo" and fact.get("status") == "online" for fact in facts)


def test_secrets_of_a_config_that_is_read_again_are_masked_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pipeline.yaml"
    plain = f"version: 1\nmodel: {zoo.list_models()[0].name}\ncameras: {{front: {{source: 'demo:'}}}}\n"
    path.write_text(plain)
    arguments = cli.build_parser().parse_args(["run", str(path)])
    arguments.secrets = logs.secrets_of(load_config(path))
    logger = logging.getLogger("edgekit")
    try:
        logs.set_up(0, secrets=arguments.secrets)
        config(tmp_path, 1, 8088)
        _read_again(arguments)
        path.write_text(plain)
        _read_again(arguments)  # what was secret once stays so
        for value in PLANTED.values():
            logger.warning("a library says: %s", value)
    finally:
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
    err = capsys.readouterr().err
    assert len(err.splitlines()) == len(PLANTED)
    check(err)


@pytest.mark.parametrize("as_json", [True, False])
def test_what_is_known_to_be_secret_is_masked_wherever_it_turns_up(
    as_json: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = logs.secrets_of(load_config(config(tmp_path, 1, 8088)))
    logger = logging.getLogger("edgekit")
    try:
        logs.set_up(2, as_json=as_json, secrets=secrets)
        for name, value in PLANTED.items():
            logger.warning("a library says: %s\nand more: %s", name, value)
        error = RuntimeError(PLANTED["password"])
        logger.error("failed with %s", PLANTED["token"], exc_info=error)
        logs.tell_error(f"last words: {PLANTED['camera']}", as_json=as_json, secrets=secrets)
    finally:
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
    err = capsys.readouterr().err
    check(err)
    assert len(err.splitlines()) == len(PLANTED) + 2  # one line for each fact
    assert "RuntimeError" in err
