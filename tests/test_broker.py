"""The embedded broker: its process, its port, and the manners that amqtt alone lacks."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from brokers import PATIENCE_S, Heard, Subscriber, borrowed, embedded, free_port, until

from edgekit.errors import UnavailableError
from edgekit.mqtt import broker as module
from edgekit.mqtt.broker import EmbeddedBroker, Guard

pytest.importorskip("amqtt", reason="amqtt is not installed")

ACCEPTED, UNACCEPTABLE_PROTOCOL = b"\x20\2\0\0", b"\x20\2\0\1"


@pytest.fixture(scope="module")
def own_broker() -> Iterator[EmbeddedBroker]:
    with embedded() as started:
        yield started


@pytest.fixture
def broker(own_broker: EmbeddedBroker) -> Iterator[EmbeddedBroker]:
    with borrowed(own_broker) as started:
        yield started


def text(value: bytes) -> bytes:
    return struct.pack("!H", len(value)) + value


def packet(kind: int, body: bytes) -> bytes:
    """An MQTT packet of at most 16383 bytes."""
    low, high = len(body) % 128, len(body) // 128
    return bytes([kind, low | 128, high] if high else [kind, low]) + body


def connect_packet(client_id: bytes, *, level: int = 4, keepalive_s: int = 60, will: bytes = b"") -> bytes:
    """CONNECT with a clean session; `will` is a topic that gets `offline`, QoS 1, retained."""
    properties = b"\0" if level == 5 else b""
    head = text(b"MQTT") + bytes([level, 0b0010_1110 if will else 0b10]) + struct.pack("!H", keepalive_s)
    last = properties + text(will) + text(b"offline") if will else b""
    return packet(0x10, head + properties + text(client_id) + last)


class Raw:
    """A client of bytes."""

    def __init__(self, port: int, first: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.socket.sendall(first)

    def receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := self.socket.recv(size - len(data))):
            data += more
        return data

    def hung_up(self) -> bool:
        """Wait for the end of the connection, and for nothing else."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def test_a_taken_port_is_an_error_when_asked_for_and_passed_over_when_not(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedBroker() as second:
        with pytest.raises(UnavailableError) as caught:
            second.start(broker.port)
        assert str(caught.value) == (
            f"port {broker.port} on 127.0.0.1 is in use: set mqtt.port to another one, "
            "or mqtt.host: 127.0.0.1 to use the broker that is there"
        )
        monkeypatch.setattr(module, "_PORT", broker.port)
        second.start()
        assert second.port != broker.port
        assert second.alive
        assert broker.alive


def test_a_port_that_may_not_be_opened_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "listen", refuse)
    with pytest.raises(
        UnavailableError, match=r"port \d+ on 127\.0\.0\.1 cannot be opened: Permission denied"
    ):
        EmbeddedBroker().start(free_port())


def test_it_listens_on_this_machine_only(broker: EmbeddedBroker) -> None:
    socket.create_connection(("127.0.0.1", broker.port)).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", broker.port))


def test_a_start_that_fails_tells_why_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho first >&2\necho 'no amqtt here' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("EDGEKIT_PYTHON", str(broken))
    failed = EmbeddedBroker()
    with pytest.raises(
        UnavailableError, match=r"the embedded broker did not start: no amqtt here; set mqtt\.host"
    ):
        failed.start(free_port())
    assert failed.pid is None
    broken.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(UnavailableError, match="its process ended with"):
        failed.start(free_port())


def test_ctrl_c_and_sigterm_do_not_end_it_and_stop_does(broker: EmbeddedBroker) -> None:
    pid = broker.pid
    assert pid is not None
    assert os.getsid(pid) != os.getsid(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    with Subscriber(broker.port) as subscriber:
        subscriber.settle()
    assert broker.alive
    broker.stop()
    assert not broker.alive
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    broker.stop()


PARENT = """
import sys
sys.path.insert(0, sys.argv[1])
from edgekit.mqtt.broker import EmbeddedBroker, Guard
broker = EmbeddedBroker()
broker.start(int(sys.argv[2]))
print("started", flush=True)
sys.stdin.read()
"""


def test_it_ends_with_its_parent_also_on_kill_9() -> None:
    python = os.environ.get("EDGEKIT_PYTHON", sys.executable)
    root, port = str(Path(module.__file__).parents[2]), free_port()
    with subprocess.Popen(
        [python, "-c", PARENT, root, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"started\n"
        socket.create_connection(("127.0.0.1", port)).close()
        parent.kill()
    until(lambda: not listens(port), "the broker to end with its parent")


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_what_was_acknowledged_before_the_stop_is_delivered(broker: EmbeddedBroker) -> None:
    with Subscriber(broker.port, "t") as subscriber, Raw(broker.port, connect_packet(b"raw")) as raw:
        assert raw.receive(4) == ACCEPTED
        publish = [
            packet(0x32, text(b"t") + struct.pack("!H", number) + b"%d" % number) for number in range(1, 501)
        ]
        raw.socket.sendall(b"".join(publish))
        assert len(raw.receive(2000)) == 2000  # all PUBACKs
        broker.stop()
        heard = subscriber.wait(lambda all_: len(all_) == 500)
    assert [h.payload for h in heard] == [str(number) for number in range(1, 501)]


def test_the_end_waits_until_nothing_is_on_its_way() -> None:
    from edgekit.mqtt.hub import finish

    class Busy:
        looks = iter([True, True, False])

        @property
        def busy(self) -> bool:
            return next(self.looks)

    asyncio.run(finish(Busy()))
    assert list(Busy.looks) == []


def test_mqtt_5_is_answered_with_no_also_when_there_is_a_will(broker: EmbeddedBroker) -> None:
    for will in (b"", b"status"):
        with Raw(broker.port, connect_packet(b"five", level=5, will=will)) as raw:
            assert raw.receive(5) == UNACCEPTABLE_PROTOCOL  # and nothing after it


@pytest.mark.parametrize(
    "junk", [b"", b"\x10", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 64, b"\x10\xff\xff\xff\xff\xff", b"\x10\0\0"]
)
def test_what_is_no_mqtt_is_hung_up_on(junk: bytes, broker: EmbeddedBroker) -> None:
    with Raw(broker.port, junk) as raw:
        raw.socket.shutdown(socket.SHUT_WR)
        assert raw.hung_up()
    assert broker.alive
    with Subscriber(broker.port) as subscriber:
        subscriber.settle()


def test_retained_messages_go_to_those_who_asked_and_once(broker: EmbeddedBroker) -> None:
    with Subscriber(broker.port, "r/#") as first, Raw(broker.port, connect_packet(b"raw")) as raw:
        assert raw.receive(4) == ACCEPTED
        raw.socket.sendall(packet(0x33, text(b"r/1") + b"\0\1value"))
        first.wait_for("r/1", "value")
        assert raw.receive(4) == b"\x40\2\0\1"  # its PUBACK
        with Raw(broker.port, connect_packet(b"deaf")) as deaf:
            deaf.socket.sendall(b"\xc0\0")  # PINGREQ: its answer is the next packet, if nothing was pushed
            assert deaf.receive(6) == ACCEPTED + b"\xd0\0"
        with Subscriber(broker.port, "r/#") as late:
            assert late.settle() == [Heard("r/1", "value", True, 1)]
        raw.socket.sendall(packet(0x33, text(b"r/1") + b"\0\2"))  # empty: forget it
        assert raw.receive(4) == b"\x40\2\0\2"
        with Subscriber(broker.port, "r/#") as later:
            assert later.settle() == []


def test_a_client_that_falls_silent_is_declared_dead(broker: EmbeddedBroker) -> None:
    hangs = connect_packet(b"hangs", keepalive_s=1, will=b"status")
    with Subscriber(broker.port) as subscriber, Raw(broker.port, hangs) as raw:
        assert raw.receive(4) == ACCEPTED
        subscriber.wait_for("status", "offline")
        assert raw.hung_up()


def test_a_subscriber_that_does_not_read_harms_nobody(broker: EmbeddedBroker) -> None:
    subscribe = packet(0x82, b"\0\1" + text(b"t") + b"\1")
    with (
        Subscriber(broker.port, "t") as subscriber,
        Raw(broker.port, connect_packet(b"asleep") + subscribe) as asleep,
    ):
        assert asleep.receive(9) == ACCEPTED + b"\x90\3\0\1\1"
        with Raw(broker.port, connect_packet(b"raw")) as raw:
            assert raw.receive(4) == ACCEPTED
            total, body = 1200, b"x" * 15000
            for number in range(1, total + 1):  # 18 MB: more than the kernel keeps for it
                raw.socket.sendall(packet(0x32, text(b"t") + struct.pack("!H", number) + body))
                assert raw.receive(4) == b"\x40\2" + struct.pack("!H", number)
            subscriber.wait(lambda all_: len(all_) == total)
        assert len(asleep.receive(total * len(body))) < total * len(body)  # it was cut off: here it ends


@pytest.mark.parametrize(("number", "words"), [(signal.SIGKILL, "has died"), (signal.SIGSTOP, "hangs")])
def test_a_broker_that_dies_or_hangs_is_started_again(
    number: signal.Signals, words: str, broker: EmbeddedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    first = broker.pid
    assert broker.answers(PATIENCE_S)
    assert first is not None
    os.kill(first, number)
    if number == signal.SIGKILL:
        until(lambda: not broker.alive, "its end")  # the kernel takes a moment
    with Guard(broker, every_s=0.01, answer_s=0.5):
        until(lambda: broker.pid != first and broker.alive, "the second broker")
    assert caplog.messages[0] == f"the embedded broker {words} and is started again"
    with Subscriber(broker.port) as subscriber:
        subscriber.publish("hello", "again")
        subscriber.wait_for("hello", "again")


def test_a_broker_whose_port_was_taken_meanwhile_is_tried_again(
    broker: EmbeddedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    broker._kill()
    with socket.create_server(("127.0.0.1", broker.port)), Guard(broker, every_s=0.01):
        until(lambda: len(caplog.messages) >= 2, "the first attempt")
    assert f"port {broker.port} on 127.0.0.1 is in use" in caplog.messages[1]
    assert not broker.alive
