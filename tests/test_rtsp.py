"""RTSP for real: GStreamer's server on loopback is read, killed, frozen, and asked with a wrong password."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from itertools import islice, pairwise

import pytest
from brokers import PATIENCE_S, until
from rtsp import FPS, SIZE, RtspServer
from scripted import Steady, revolving_model

from edgekit.config.settings import DetectConfig
from edgekit.errors import UnavailableError
from edgekit.mqtt.sink import ListSink
from edgekit.pipeline import Pipeline
from edgekit.pipeline.inbox import Camera
from edgekit.sources import LiveSource, live, open_source

SOON_S = 2.0  # of silence are too much: the ball flies at 25 pictures a second


@pytest.fixture
def server() -> Iterator[RtspServer]:
    with RtspServer() as running:
        yield running


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(live, "backoff_s", lambda *_: 0.05)
    caplog.set_level(logging.INFO, "edgekit")


def open_camera(url: str, *, wait: bool = False) -> LiveSource:
    source = open_source(url, camera="front", timeout_s=PATIENCE_S, wait=wait)
    assert isinstance(source, LiveSource)
    return source


def lose_patience(source: LiveSource) -> None:
    """The camera that runs may be silent for a short while only."""
    assert source._capture is not None
    source._capture._wait_s = SOON_S


def test_pictures_come_in_order_and_in_their_size(server: RtspServer) -> None:
    source = open_camera(server.url())
    frames = list(islice(source.frames(), 10))
    source.close()
    assert source.fps == FPS
    assert {frame.image.shape for frame in frames} == {(SIZE[1], SIZE[0], 3)}
    assert all(a.index < b.index and a.mono_s < b.mono_s for a, b in pairwise(frames))
    assert any((a.image != b.image).any() for a, b in pairwise(frames))  # the ball flies


def test_a_login_opens_it_and_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    with RtspServer("cam:s3cret") as server:
        source = open_camera(server.url("cam:s3cret"))
        frames = source.frames()
        next(frames)
        for login in ("", "cam:Wr0ng"):
            with pytest.raises(UnavailableError) as raised:
                open_camera(server.url(login))
            where = f"camera front: {server.url()}: cannot be read as a video stream"
            assert str(raised.value) == f"{where}: it refuses the user or password (401)"
        server.kill()
        frames.close()  # type: ignore[attr-defined]
        source.close()
    assert "s3cret" not in caplog.text


def test_a_path_that_is_not_there_is_said(server: RtspServer) -> None:
    with pytest.raises(UnavailableError, match=r"there is no such stream \(404\); check the path$"):
        open_camera(server.url(path="stream3"))


@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_a_server_that_goes_and_comes_back_is_read_again(
    fault: str, server: RtspServer, caplog: pytest.LogCaptureFixture
) -> None:
    source = open_camera(server.url())
    frames = source.frames()
    before = next(frames)
    if fault == "killed":
        server.kill()
    else:
        lose_patience(source)
        server.freeze()  # the connection stays open, half of it dead
    heard: list[int] = []
    is_back = threading.Event()

    def read() -> None:
        """What was under way when the server went comes first, however much that is."""
        for frame in frames:
            heard.append(frame.index)
            if is_back.is_set() and len(heard) >= 20:
                return

    reader = threading.Thread(target=read)
    reader.start()
    until(lambda: source.lost, "the loss")
    if fault == "killed":
        server.start()
    else:
        server.thaw()
    is_back.set()
    reader.join(PATIENCE_S)
    source.close()
    assert len(heard) >= 20
    assert before.index < heard[0]
    assert all(a < b for a, b in pairwise(heard))
    assert not source.lost
    assert caplog.messages[-1] == "camera front: is back"
    lost = {"killed": "the stream ended", "frozen": f"no picture for {SOON_S:g} s; check that"}[fault]
    assert caplog.messages[0].startswith(f"camera front: lost: {server.url()}: {lost}")


def test_a_camera_that_comes_later_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    server = RtspServer()
    source = open_camera(server.url(), wait=True)
    frames = source.frames()
    heard: list[int] = []
    reader = threading.Thread(target=lambda: heard.extend(frame.index for frame in islice(frames, 3)))
    reader.start()
    until(lambda: source.lost, "the first attempt")
    with server:
        reader.join(PATIENCE_S)
        source.close()
    assert len(heard) == 3
    assert caplog.messages[0].startswith("camera front: not there, edgekit goes on trying: rtsp://127.0.0.1:")
    assert caplog.messages[-1] == "camera front: is back"


def test_packets_that_are_lost_cost_pictures_and_nothing_else() -> None:
    with RtspServer(lossy=True) as server:
        source = open_camera(server.url())
        frames = source.frames()
        until(lambda: next(frames) is not None and source.corrupt > 0, "damage")
        assert len(list(islice(frames, 5))) == 5
        source.close()
    assert not source.lost


def test_a_lost_camera_is_offline_until_it_is_back_and_the_other_goes_on(server: RtspServer) -> None:
    sink, other = ListSink(), Steady("back")
    cameras = [
        Camera("front", DetectConfig(), lambda: open_camera(server.url())),
        Camera("back", DetectConfig(), lambda: other),
    ]
    pipeline = Pipeline(cameras, revolving_model([[]]), sink)
    runner = threading.Thread(target=pipeline.run)
    runner.start()

    def statuses() -> list[str]:
        return [status for camera, status in sink.statuses if camera == "front"]

    def wait_for(wanted: list[str]) -> None:
        until(lambda: statuses() == wanted, f"front to be {wanted}, it was {statuses()}")

    wait_for(["online"])
    server.kill()
    wait_for(["online", "offline"])
    seen = pipeline.states[1].frames
    until(lambda: pipeline.states[1].frames > seen + 10, "the other camera")
    until(lambda: sink.healths[-1]["state"] == "degraded", "health to tell")
    server.start()
    wait_for(["online", "offline", "online"])
    pipeline.stop()
    runner.join(PATIENCE_S)
    assert ("back", "offline") not in sink.statuses[:-2]
