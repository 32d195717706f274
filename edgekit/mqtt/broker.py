"""A small MQTT broker in a process of its own, for a machine that has none."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

from edgekit.errors import UnavailableError

_log = logging.getLogger("edgekit.mqtt")
_PORT = 1883
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 0.8
_CONNECT = b"\x10\x19\0\4MQTT\4\2\0\x1e\0\redgekit-guard"  # a clean session of 30 s
_CONNACK = b"\x20\2\0\0"
_RUN = "import sys; sys.path.append(sys.argv.pop(1)); from edgekit.mqtt.hub import main; main()"


class EmbeddedBroker:
    """amqtt behind 127.0.0.1, for this machine's programs only; any MQTT client may connect, without a login.

    It speaks MQTT 3.1.1: give `protocol` to the Publisher, which then does not try MQTT 5 first. It keeps
    nothing on disk. It ignores Ctrl-C and SIGTERM, so that the program which started it can still publish its
    farewell, and ends with that program in every case, `kill -9` included.
    """

    host = "127.0.0.1"
    protocol: Literal["3.1.1"] = "3.1.1"

    def __init__(self) -> None:
        self.port = 0  # known after start()
        self._process: subprocess.Popen[bytes] | None = None
        self._changing = threading.Lock()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self, port: int | None = None) -> None:
        """Start and wait until clients can connect. `port` None: 1883, or the next one that is free.

        Raises UnavailableError when the port is taken or amqtt does not start.
        """
        with _listen(port) as listener, tempfile.TemporaryFile() as complaints:
            self.port = listener.getsockname()[1]
            self._process = _spawn(listener, complaints)
            try:
                self._wait_ready(complaints)
            except BaseException:
                self._kill()
                raise

    def stop(self) -> None:
        """End it; what was published is delivered first, within a second."""
        with self._changing:
            if self._process is None:
                return
            assert self._process.stdin is not None  # noqa: S101  (_spawn made it)
            self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_TIMEOUT_S)
            self._kill()

    def answers(self, timeout_s: float) -> bool:
        """Whether a client that connects hears from it in time."""
        try:
            with socket.create_connection((self.host, self.port), timeout_s) as client:
                client.sendall(_CONNECT)
                return client.recv(len(_CONNACK)) == _CONNACK
        except OSError:
            return False

    def restart(self) -> None:
        """Start it again on its port, whatever has become of it. Raises UnavailableError as `start` does."""
        with self._changing:
            self._kill()
            self.start(self.port)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_ready(self, complaints: IO[bytes]) -> None:
        assert self._process is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        output = self._process.stdout
        answers = select.select([output], [], [], _START_TIMEOUT_S)[0]
        if answers and output.readline() == b"ready\n":
            return
        self._process.kill()
        complaints.seek(0)
        lines = complaints.read().decode(errors="replace").strip().splitlines()
        why = lines[-1] if lines else f"its process ended with {self._process.wait()}"
        raise UnavailableError(
            f"the embedded broker did not start: {why}; set mqtt.host to use another broker"
        )

    def _kill(self) -> None:
        """Leave no process and no pipe behind."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


class Guard(threading.Thread):
    """Starts an embedded broker again when its process has died, or does not answer for `answer_s`.

    It looks every `every_s`; a broker that cannot be started is tried again after a growing while. What the
    broker had retained is gone: edgekit itself tells everything again when it connects.
    """

    def __init__(self, broker: EmbeddedBroker, *, every_s: float = 5.0, answer_s: float = 20.0) -> None:
        super().__init__(name="broker-guard", daemon=True)
        self._broker, self._every_s, self._answer_s = broker, every_s, answer_s
        self._ended = threading.Event()

    def run(self) -> None:
        failures = 0
        while not self._ended.wait(min(60.0, self._every_s * 2.0**failures)):
            if self._broker.alive and self._broker.answers(self._answer_s):
                continue
            if self._ended.is_set():
                return
            why = "hangs" if self._broker.alive else "has died"  # maybe while it was asked
            _log.warning("the embedded broker %s and is started again", why)
            try:
                self._broker.restart()
                failures = 0
            except UnavailableError as error:
                failures = min(failures + 1, 10)
                _log.warning("%s", error)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self.join(1.0)  # it may wait for an answer that will not come


def _listen(port: int | None) -> socket.socket:
    """A listening socket on 127.0.0.1; bound here, so that who gets the port is decided once."""
    for candidate in [port] if port is not None else [*range(_PORT, _PORT + 100), 0]:
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((EmbeddedBroker.host, candidate))
            listener.listen(128)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise UnavailableError(
                    f"port {candidate} on {EmbeddedBroker.host} cannot be opened: {error.strerror}; "
                    "set mqtt.port to another one"
                ) from error
        else:
            return listener
    raise UnavailableError(
        f"port {port} on {EmbeddedBroker.host} is in use: set mqtt.port to another one, "
        f"or mqtt.host: {EmbeddedBroker.host} to use the broker that is there"
    )


def _spawn(listener: socket.socket, complaints: IO[bytes]) -> subprocess.Popen[bytes]:
    """The process of `edgekit.mqtt.hub`; it sees this one's end as the end of its standard input."""
    python = os.environ.get("EDGEKIT_PYTHON", sys.executable)
    root = str(Path(__file__).resolve().parents[2])
    return subprocess.Popen(  # noqa: S603  (our own interpreter)
        [python, "-P", "-c", _RUN, root, str(listener.fileno())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaints,
        pass_fds=[listener.fileno()],
        start_new_session=True,
    )
