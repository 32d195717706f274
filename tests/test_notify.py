"""What systemd hears of a service, over a real socket."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import PATIENCE_S
from scripted import Steady, blank_frames, revolving_model

from edgekit.config.settings import DetectConfig
from edgekit.mqtt import ListSink
from edgekit.pipeline import Pipeline
from edgekit.pipeline.inbox import Camera
from edgekit.pipeline.lane import EVERY_FRAME, CameraState, Outcome
from edgekit.pipeline.observe import Observer, Observers
from edgekit.pipeline.progress import Progress
from edgekit.service.notify import Notifier
from edgekit.types import Detections

ONLINE = CameraState("front", "online", fps=9.8)
OFFLINE = CameraState("front", "offline")


class Systemd:
    """The other end of the socket, and a clock that a test turns."""

    def __init__(self, address: str, watchdog_pid: int | None = None) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)
        self.now_s, self.connected = 1000.0, False
        self.progress = Progress(lambda: self.now_s)
        environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000000"}
        if watchdog_pid:
            environment["WATCHDOG_PID"] = str(watchdog_pid)
        self.notifier = Notifier(self.progress, lambda: self.connected, environment, lambda: self.now_s)

    def close(self) -> None:
        self._socket.close()

    def heard(self) -> list[str]:
        """All lines that have come since the last call."""
        lines: list[str] = []
        while True:
            try:
                lines += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return lines

    def frame(self) -> None:
        outcome = Outcome(EVERY_FRAME, Detections.empty(), [], [], [])
        self.progress.frame(blank_frames(1)[0], outcome, {})

    def turn(self, camera: CameraState, seconds: float = 0.0) -> None:
        """So many seconds pass, then the loop comes round."""
        self.now_s += seconds
        for observer in (self.progress, self.notifier):
            observer.tick([camera])


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@edgekit-test-{os.getpid()}"
    made = Systemd(address)
    yield made
    made.close()


def test_ready_comes_after_the_first_frame(systemd: Systemd) -> None:
    systemd.turn(CameraState("front"))
    assert "READY=1" not in systemd.heard()
    systemd.frame()
    systemd.turn(ONLINE, 0.25)
    assert "READY=1" in systemd.heard()
    systemd.turn(ONLINE, 0.25)
    assert "READY=1" not in systemd.heard()


def test_ready_comes_after_the_first_connection(systemd: Systemd) -> None:
    systemd.connected = True
    systemd.turn(OFFLINE)
    assert "READY=1" in systemd.heard()


def test_a_start_without_camera_and_broker_is_given_more_time(systemd: Systemd) -> None:
    for _ in range(10):
        systemd.turn(OFFLINE, 30)
        assert "EXTEND_TIMEOUT_USEC=60000000" in systemd.heard()


def test_the_watchdog_is_fed_at_half_its_patience(systemd: Systemd) -> None:
    fed = []
    for _ in range(240):  # a minute
        systemd.frame()
        systemd.turn(ONLINE, 0.25)
        fed += [line for line in systemd.heard() if line == "WATCHDOG=1"]
    assert len(fed) == 2


def test_a_loop_that_turns_without_frames_is_no_progress(systemd: Systemd) -> None:
    systemd.frame()
    systemd.turn(ONLINE)
    systemd.heard()
    heard = []
    for _ in range(400):  # 100 s of an idle loop, while the camera counts as online
        systemd.turn(ONLINE, 0.25)
        heard.append(systemd.heard())
    assert not any("WATCHDOG=1" in lines for lines in heard[250:])
    assert any("camera front counts as online" in line for lines in heard[240:] for line in lines)
    systemd.frame()
    systemd.turn(ONLINE, 0.25)
    assert "WATCHDOG=1" in systemd.heard()


@pytest.mark.parametrize("stage", ["model", "broker", "page"])
def test_a_stage_that_hangs_starves_the_watchdog_until_it_goes_on(stage: str, tmp_path: Path) -> None:
    """The real loop, whose model, sink or observer does not come back."""
    freeze, frozen, thaw = threading.Event(), threading.Event(), threading.Event()

    def hang(inner: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if freeze.is_set():
                frozen.set()
                thaw.wait(PATIENCE_S)
            return inner(*arguments)

        return call

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE_S)
        told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000"}
        progress, model, sink, page = (
            Progress(),
            revolving_model([[("person", (10, 10, 30, 50), 0.9)]]),
            ListSink(),
            Observer(),
        )
        notifier = Notifier(progress, lambda: True, told)
        hung: tuple[Any, str] = {
            "model": (model.engine, "run"),
            "broker": (sink, "publish_health"),
            "page": (page, "tick"),
        }[stage]
        setattr(*hung, hang(getattr(*hung)))
        pipeline = Pipeline(
            [Camera("front", DetectConfig(), lambda: Steady("front"))],
            model,
            sink,
            Observers(page, progress, notifier),
        )
        loop = threading.Thread(target=pipeline.run)
        loop.start()
        try:
            wait_for_ping(systemd)
            freeze.set()
            pipeline._next_health_s = 0.0
            assert frozen.wait(PATIENCE_S)
            drain(systemd)
            time.sleep(0.6)  # the loop would have come round twice, and the watchdog been fed as often
            assert drain(systemd) == []
            freeze.clear()
            thaw.set()
            wait_for_ping(systemd)
        finally:
            thaw.set()
            pipeline.stop()
            loop.join()


def wait_for_ping(systemd: socket.socket) -> None:
    while b"WATCHDOG=1" not in systemd.recv(4096):
        pass


def drain(systemd: socket.socket) -> list[bytes]:
    """What has come since."""
    heard = []
    systemd.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            heard.append(systemd.recv(4096))
    systemd.settimeout(PATIENCE_S)
    return heard


def test_a_camera_that_is_known_to_be_gone_is_waited_for(systemd: Systemd) -> None:
    systemd.frame()
    systemd.turn(ONLINE)
    systemd.heard()
    for _ in range(20):
        systemd.turn(OFFLINE, 30)
        assert "WATCHDOG=1" in systemd.heard()


def test_the_status_tells_people_how_it_does(systemd: Systemd) -> None:
    systemd.connected = True
    systemd.turn(ONLINE)
    assert "STATUS=front 9.8 fps; broker connected" in systemd.heard()
    systemd.turn(OFFLINE, 20)
    assert "STATUS=front offline; broker connected" in systemd.heard()


def test_the_end_is_told(systemd: Systemd) -> None:
    with systemd.notifier:
        pass
    assert "STOPPING=1" in systemd.heard()


def test_without_a_socket_it_is_silent_and_a_dead_one_does_no_harm(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "nobody")}):
        with Notifier(Progress(), lambda: True, environment) as notifier:
            notifier.tick([ONLINE])
