"""Real brokers and a real subscriber for the tests of MQTT."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edgekit.types import Event, Track

PATIENCE_S = 600.0 if "EDGEKIT_PYTHON" in os.environ else 60.0  # a deadline: an emulated machine is slow
MODEL = {"id": "detect/tiny/dense_int8", "sha256": "5" * 64, "engine": "native", "isa": "avx2"}


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that has no event of its own."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline_s:
            pytest.fail(f"waited in vain for {what}")
        time.sleep(0.005)


def mosquitto_program() -> str:
    """Its path; a test that needs it is skipped where it is not installed."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    return found or pytest.skip("mosquitto is not installed: apt-get install mosquitto")


class Mosquitto:
    """Debian's broker on a free port; `lines` are added to its configuration."""

    protocol = "auto"

    def __init__(self, folder: Path, *lines: str, anonymous: bool = True) -> None:
        self._program = mosquitto_program()
        self.port = free_port()
        self._process: subprocess.Popen[str] | None = None
        self._config = folder / f"mosquitto-{self.port}.conf"
        user = ["user root"] if os.geteuid() == 0 else []  # or it could not read the folder of the test
        self._config.write_text(
            "\n".join(
                [
                    *user,
                    f"listener {self.port} 127.0.0.1",
                    f"allow_anonymous {str(anonymous).lower()}",
                    "persistence false",
                    *lines,
                ]
            )
        )

    def start(self) -> Self:
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._config)], stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        running = threading.Event()
        self._reader = threading.Thread(target=_drain, args=(self._process.stderr, running))
        self._reader.start()
        assert running.wait(PATIENCE_S), "mosquitto did not start"
        return self

    def kill(self) -> None:
        """As a power cut: no goodbye, nothing kept."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            self._process = None

    stop = kill


def _drain(stream: IO[str], running: threading.Event) -> None:
    with stream:
        for line in stream:
            if line.rstrip().endswith("running"):
                running.set()


class Relay:
    """A way to a broker that the test opens and cuts; one connection at a time."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._ends: tuple[socket.socket, ...] = ()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        server = socket.create_server(("127.0.0.1", self.port))
        self._ends = (server,)
        self._thread = threading.Thread(target=self._serve, args=(server,))
        self._thread.start()

    def cut(self) -> None:
        if self._thread is None:
            return
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._thread = None

    def _serve(self, server: socket.socket) -> None:
        with server, contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                with client, socket.create_connection(("127.0.0.1", self._target)) as upstream:
                    self._ends = (server, client, upstream)
                    _pump(client, upstream)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()


def _pump(client: socket.socket, upstream: socket.socket) -> None:
    """Carry bytes both ways until one side ends."""
    other = {client: upstream, upstream: client}
    while True:
        for end in select.select([client, upstream], [], [])[0]:
            data = end.recv(65536)
            if not data:
                return
            other[end].sendall(data)


class Heard(NamedTuple):
    topic: str
    payload: str
    retained: bool  # it was kept by the broker from before the subscription
    qos: int

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


class Subscriber:
    """Hears everything below `topic`, in order."""

    def __init__(self, port: int, topic: str = "#", **login: str) -> None:
        self.heard: list[Heard] = []
        self._news = threading.Condition()
        self._marks = 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        if login:
            self._client.username_pw_set(**login)
        self._client.on_message = self._on_message
        subscribed = threading.Event()
        self._client.on_connect = lambda client, *_: client.subscribe([(topic, 1), ("mark", 1)]) and None
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert subscribed.wait(PATIENCE_S)

    def wait(self, enough: Callable[[list[Heard]], object]) -> list[Heard]:
        """All that was heard, as soon as it is `enough`."""
        with self._news:
            if not self._news.wait_for(lambda: enough(self.heard), PATIENCE_S):
                pytest.fail(f"waited in vain, heard only {[(h.topic, h.payload[:40]) for h in self.heard]}")
            return list(self.heard)

    def wait_for(self, topic: str, payload: str | None = None) -> list[Heard]:
        return self.wait(lambda all_: any(h.topic == topic and payload in (None, h.payload) for h in all_))

    def settle(self) -> list[Heard]:
        """All that was published before this call: a mark of our own comes after it."""
        self._marks += 1
        mark = str(self._marks)
        self._client.publish("mark", mark, 1)
        return [h for h in self.wait_for("mark", mark) if h.topic != "mark"]

    def wipe(self) -> None:
        """Make the broker forget all that it retains."""
        for topic in {h.topic for h in self.settle() if h.retained}:
            self._client.publish(topic, b"", 1, retain=True)
        self.settle()

    def publish(self, topic: str, payload: str, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, 1, retain).wait_for_publish(PATIENCE_S)

    def on(self, topic: str) -> list[str]:
        """The payloads heard on one topic so far."""
        with self._news:
            return [h.payload for h in self.heard if h.topic == topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._client.on_message = None  # parts the two, so that the client's sockets close with it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        heard = Heard(message.topic, message.payload.decode(errors="replace"), message.retain, message.qos)
        with self._news:
            self.heard.append(heard)
            self._news.notify_all()


@contextlib.contextmanager
def embedded() -> Iterator[Any]:
    """The embedded broker, on a free port."""
    pytest.importorskip("amqtt", reason="amqtt is not installed")
    from edgekit.mqtt.broker import EmbeddedBroker

    with EmbeddedBroker() as broker:
        broker.start(free_port())
        yield broker


@contextlib.contextmanager
def borrowed(broker: Any) -> Iterator[Any]:
    """A broker that several tests use in turn: it runs, and has nothing retained when the next one comes."""
    if not broker.alive:
        broker.start(broker.port)
    yield broker
    if broker.alive:
        with Subscriber(broker.port) as subscriber:
            subscriber.wipe()


def track(label: str = "person", **changes: Any) -> Track:
    """Something at (10, 20) to (110, 220)."""
    values = {"id": 1, "label": label, "score": 0.75, "top_score": 0.875, "box": (10.0, 20.0, 110.0, 220.0)}
    return Track(**{**values, "start_s": 1795341791.48, "seen_s": 1795341791.98, **changes})


def event(number: int = 1, **changes: Any) -> Event:
    """The first sight of it, on camera `front` of 640 by 480 pixels."""
    values: dict[str, Any] = {
        "type": "new",
        "camera": "front",
        "number": number,
        "before": None,
        "after": track(),
    }
    values |= {"frame_width": 640, "frame_height": 480, "time_s": 1795341791.482, "mono_s": 90311.482}
    return Event(**{**values, **changes})
