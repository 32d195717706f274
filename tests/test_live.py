"""A camera or stream is read in a child that can be killed, and is opened again whenever it is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from flat import Holding
from hypothesis import given
from hypothesis import strategies as st
from mjpeg import grey, jpeg, serving
from reconnects import reconnect

from edgekit.errors import EdgekitError, UnavailableError, UsageError
from edgekit.sources import LiveSource, Source, backoff_s, live, open_source, stream
from edgekit.sources.address import check_address, shown
from edgekit.sources.capture import Capture, Shot
from edgekit.sources.child import Limit, Slot
from edgekit.sources.reel import load_cv2
from edgekit.types import Frame

load_cv2()
PATIENCE_S = 120.0  # for what is to succeed, on an emulated machine too


# ── small parts of live sources ─────────────────────────────────────────────────────────────────────────


def shot(index: int) -> Shot:
    return Shot(grey(index), index, 0.0, 0.0)


def test_slot_hands_over_only_the_newest() -> None:
    sent: list[int] = []
    slot = Slot(lambda shot: sent.append(shot.index))
    for index in range(3):
        slot.offer(shot(index))
    slot.want()
    assert sent == [2]
    slot.want()
    assert sent == [2]
    slot.offer(shot(3))
    slot.offer(shot(4))
    assert sent == [2, 3]


@given(fps=st.floats(0.1, 60), gaps=st.lists(st.floats(0.001, 3), min_size=1, max_size=200))
def test_limit_takes_no_more_than_it_says(fps: float, gaps: list[float]) -> None:
    limit, times = Limit(fps), np.cumsum([5.0, *gaps])
    taken = [float(mono_s) for mono_s in times if limit.takes(float(mono_s))]
    assert taken[0] == 5.0
    for k, mono_s in enumerate(taken):
        assert mono_s - 5.0 >= k / fps - 1e-6


@pytest.mark.parametrize(("camera_fps", "fps", "expected"), [(30, 5, 50), (30, 20, 200), (25, 24, 240)])
def test_limit_reaches_its_rate(camera_fps: int, fps: int, expected: int) -> None:
    limit = Limit(fps)
    taken = sum(limit.takes(i / camera_fps) for i in range(10 * camera_fps))
    assert abs(taken - expected) <= 2


def test_no_limit_takes_all() -> None:
    limit = Limit(None)
    assert all(limit.takes(i / 1000) for i in range(100))


@given(luck=st.floats(0, 1), attempt=st.integers(0, 10_000))
def test_backoff_grows_from_one_second_to_sixty(luck: float, attempt: int) -> None:
    wait = backoff_s(attempt, luck)
    assert 0.5 <= wait <= 60
    assert backoff_s(attempt + 1, luck) >= wait
    assert backoff_s(0, 0) == 1
    assert backoff_s(99, 0) == 60


class FakeStream:
    """A stream of pictures of these types, I or P; `ahead` of them are decoded before the first comes out."""

    def __init__(self, types: str, ahead: int = 0) -> None:
        self._types, self._ahead, self._at = types, ahead, -1

    def isOpened(self) -> bool:  # noqa: N802  (OpenCV's name)
        return True

    def get(self, prop: int) -> float:
        values = {cv2.CAP_PROP_FPS: 25.0, cv2.CAP_PROP_N_THREADS: 1.0 + self._ahead}
        return values.get(prop) or float(ord(self._types[self._at]))

    def grab(self) -> bool:
        self._at += 1
        return self._at < len(self._types)

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, grey(self._at)


@pytest.mark.parametrize(
    ("types", "complaints", "ahead", "taken"),
    [
        ("IPPIPP", {}, 0, "++++++"),
        ("IPPIPP", {1: b"error while decoding MB 2 13, bytestream -5"}, 0, "+--+++"),
        ("IPPIPP", {3: b"concealing 87 DC, 87 AC, 87 MV errors in I frame"}, 0, "+++---"),
        ("IPPIPPI", {2: b"RTP: missed 3 packets"}, 1, "++----+"),  # the picture it is about is still to come
        ("IIII", {1: b"overread 8"}, 0, "+-++"),  # each JPEG stands for itself
        ("IPPP", {1: b"deprecated pixel format used"}, 0, "++++"),
    ],
)
def test_after_damage_nothing_is_taken_until_the_next_key_frame(
    types: str, complaints: dict[int, bytes], ahead: int, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = iter([complaints.get(i, b"") for i in range(len(types))])
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: FakeStream(types, ahead))
    monkeypatch.setattr(stream, "_knock", lambda _: None)
    monkeypatch.setattr(stream, "_forget_complaints", lambda: next(words))
    reader = stream.StreamReader("rtsp://cam/x")
    told = ""
    while reader.grab() is not None:
        told += "-" if reader.retrieve() is None else "+"
    assert told == taken


def test_damage_that_no_key_frame_ends_is_lived_with(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = iter([0.0, 1.0, 4.0, 7.0])
    words = iter([b"overread 8", b"", b"", b""])
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: FakeStream("PPPP"))
    monkeypatch.setattr(stream, "_knock", lambda _: None)
    monkeypatch.setattr(stream, "_forget_complaints", lambda: next(words))
    monkeypatch.setattr(time, "monotonic", lambda: next(now_s))
    reader = stream.StreamReader("rtsp://cam/x")
    taken = [reader.grab() is not None and reader.retrieve() is not None for _ in range(4)]
    assert taken == [False, False, False, True]


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("rtsp://user:secret@10.0.0.5:8554/stream2?token=secret", "rtsp://10.0.0.5:8554/stream2"),
        ("http://cam.lan/video", "http://cam.lan/video"),
        ("rtsp://a:se@cret@cam/x", "rtsp://cam/x"),
        ("/dev/video0", "/dev/video0"),
        ("rtsp://user:se/cret@cam/x", "rtsp://cam/x"),
        ("rtsp://user:se#cret@cam/x", "rtsp://…"),
        ("rtsp://user:s@e?cret@cam/x", "rtsp://…"),
        ("http://cam/x?mail=a@b&password=secret", "http://cam/x"),
        ("http://cam/x#secret", "http://cam/x"),
        ("user:secret@cam/x", "cam/x"),
        ("rtsp:/user:secret@cam/x", "cam/x"),
        ("rtsp://cam/live@hd", "rtsp://cam/live@hd"),
        ("odd@name.mp4", "odd@name.mp4"),
    ],
)
def test_secrets_of_a_stream_are_never_shown(target: str, text: str) -> None:
    assert shown(target) == text


PASSWORDS = st.text("ab1/?#@:%[]&= ", min_size=3, max_size=12).map(lambda text: f"SECRET{text}SECRET")


@given(PASSWORDS, st.sampled_from(["rtsp://u:{}@cam:554/x", "http://cam/x?user=u&pwd={}", "u:{}@cam/x"]))
def test_whatever_a_password_is_made_of_no_part_of_it_is_shown(password: str, form: str) -> None:
    address = form.format(password)
    assert "SECRET" not in shown(address)
    with contextlib.suppress(EdgekitError):
        check_address(address.replace("u:", "rtsp://u:") if form.startswith("u:") else address)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "rtsp://u:SECRET/x@cam/1",
            "source rtsp://cam/1: its host or port cannot be read; expected rtsp://user:",
        ),
        (
            "rtsp://u:SECRET#x@cam/1",
            "source rtsp://…: its host or port cannot be read; expected rtsp://user:",
        ),
        ("RTSP://cam:port/1", "source rtsp://cam:port/1: its host or port cannot be read; "),
        ("rtsp://", "source rtsp://: its host or port cannot be read; "),
        ("http://[cam/1", "source http://[cam/1: its host or port cannot be read; "),
        ("rtsp:/u:SECRET@cam/1", "source rtsp:…: expected rtsp://user:password@host/path"),
        ("u:SECRET@cam/1", "source cam/1: is it a stream? Its kind is missing: rtsp://… or http://…"),
        ("csi:front", "source csi:front: expected csi:0, or csi:0?size=1280x720"),
        ("csi:0?size=0x0", "source csi:0?size=0x0: expected csi:0, or csi:0?size=1280x720"),
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_its_secret(text: str, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        open_source(text, camera="front")
    assert str(raised.value).startswith(words)
    assert "SECRET" not in str(raised.value)


# ── live sources ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def mjpeg() -> Iterator[str]:
    """The address of a camera on loopback."""
    with serving() as server:
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def open_live(url: str, **options: Any) -> Source:
    return open_source(url, camera="front", timeout_s=PATIENCE_S, **options)


def child_of(source: Source) -> subprocess.Popen[bytes]:
    assert isinstance(source, LiveSource)
    assert source._capture is not None
    return source._capture._child


def until(true: Callable[[], bool]) -> bool:
    """Whether it becomes true while we are patient."""
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.02)
    return True


def test_live_stream_gives_frames_in_order(mjpeg: str) -> None:
    source = open_live(f"{mjpeg}/live")
    frames = list(islice(source.frames(), 5))
    source.close()
    assert source.live
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    assert all(a.index < b.index and a.mono_s < b.mono_s for a, b in pairwise(frames))
    assert source.skipped == frames[-1].index + 1 - len(frames)


def test_slow_consumer_of_a_live_stream_gets_the_newest(mjpeg: str) -> None:
    source = open_live(f"{mjpeg}/live")
    frames = source.frames()
    first = next(frames)
    before_s = time.monotonic()
    time.sleep(0.5)
    second = next(frames)
    source.close()
    assert second.mono_s > before_s
    assert source.skipped == first.index + second.index - first.index - 1


def test_closing_kills_the_child_and_frees_everything(mjpeg: str) -> None:
    source = open_live(f"{mjpeg}/live")
    frames = source.frames()
    next(frames)
    source.close()
    assert child_of(source).returncode == -signal.SIGKILL
    assert list(frames) == []
    opened = count_handles()
    for _ in range(3):
        again = Capture(f"{mjpeg}/live", timeout_s=PATIENCE_S)
        again.open()
        again.read()
        again.close()
        again.close()
    assert count_handles() == opened


def test_reconnects_leave_nothing_behind() -> None:
    """A few of the 500 that `tests/reconnects.py` makes."""
    held: list[Holding] = []
    reconnect(8, 1, lambda _, now: held.append(now))
    print(*held, sep="\n")  # noqa: T201
    assert len(held) == 8
    leak = 3  # one lost at each reconnect would be 7; other tests' leavings may come or go in this process
    assert all(late <= early + leak for late, early in zip(held[-1].counts, held[0].counts, strict=True))
    assert held[-1].rss_mb < held[0].rss_mb + 4


def count_handles() -> int:
    """Pipes and shared memory that this process holds (sockets are the test server's)."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(entry.readlink()))
    return sum(link.startswith(("pipe:", "/memfd:")) for link in links)


def test_a_picture_that_breaks_off_is_left_out_and_counted(mjpeg: str) -> None:
    whole = cv2.imdecode(np.frombuffer(jpeg("/torn", 0), np.uint8), cv2.IMREAD_COLOR)
    source = open_live(f"{mjpeg}/torn")
    frames = list(islice(source.frames(), 12))
    source.close()
    assert all(np.abs(frame.image.astype(int) - whole).mean() < 20 for frame in frames)
    assert source.corrupt >= 4


def test_a_picture_of_another_size_is_whole(mjpeg: str) -> None:
    source = open_live(f"{mjpeg}/sizes")
    frames = list(islice(source.frames(), 40))
    source.close()
    halves = [frame.image for frame in frames if np.ptp(frame.image) > 100]  # OpenCV may keep the first size
    assert len(frames) > len(halves) > 0
    for image in halves:
        middle = image.shape[1] // 2
        assert image[:, : middle - 4].max() < 30
        assert image[:, middle + 4 :].min() > 190
    assert not source.lost


def test_closing_wakes_a_consumer_that_waits(mjpeg: str) -> None:
    source = open_live(f"{mjpeg}/stall")
    seen: list[Frame] = []
    consumer = threading.Thread(target=lambda: seen.extend(source.frames()))
    consumer.start()
    assert until(lambda: bool(source.fps))
    source.close()
    consumer.join(PATIENCE_S)
    assert not consumer.is_alive()


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_silent_server_is_unavailable(scheme: str, silent: int) -> None:
    with pytest.raises(UnavailableError) as raised:
        open_source(f"{scheme}://u:pw@127.0.0.1:{silent}/x?k=pw", camera="front", timeout_s=0.5)
    name = f"camera front: {scheme}://127.0.0.1:{silent}/x"
    assert str(raised.value) == f"{name}: no picture for 0.5 s; check that it is on and reachable"


def test_server_that_is_not_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(UnavailableError, match=rf"x: port {port}: connection refused; check the address"):
        open_live(f"rtsp://127.0.0.1:{port}/x")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("404", "cannot be read as a video stream: there is no such stream (404); check the path"),
        ("403", "cannot be read as a video stream: it forbids this user to look (403)"),
        ("500", "cannot be read as a video stream: it answers with error 500"),
    ],
)
def test_refusal_of_a_server_is_told(path: str, words: str, mjpeg: str) -> None:
    with pytest.raises(UnavailableError) as raised:
        open_live(f"{mjpeg}/{path}")
    assert str(raised.value) == f"camera front: {mjpeg}/{path}: {words}"


def test_lost_stream_is_opened_again(
    mjpeg: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "backoff_s", lambda *_: 0.0)
    source = open_live(f"{mjpeg}/short")
    indexes = [frame.index for frame in islice(source.frames(), 5)]
    source.close()
    assert all(a < b for a, b in pairwise(indexes))
    assert caplog.messages[:2] == [
        f"camera front: lost: {mjpeg}/short: the stream ended",
        "camera front: is back",
    ]


def test_stalled_stream_is_opened_again(
    mjpeg: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "backoff_s", lambda *_: 0.0)
    source = open_live(f"{mjpeg}/stall")
    first = child_of(source)
    source._capture._wait_s = 0.3  # type: ignore[attr-defined]
    for _ in source.frames():
        if child_of(source) is not first:
            break
    source.close()
    assert first.returncode == -signal.SIGKILL
    assert any("no picture for 0.3 s" in message for message in caplog.messages)


def test_dead_child_is_replaced(
    mjpeg: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "backoff_s", lambda *_: 0.0)
    source = open_live(f"{mjpeg}/live")
    frames = source.frames()
    next(frames)
    os.kill(child_of(source).pid, signal.SIGKILL)
    next(frames)
    assert next(frames).index > 0
    source.close()
    assert "camera front: is back" in caplog.messages


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_child_leaves_signals_of_the_terminal_to_its_parent(number: signal.Signals, mjpeg: str) -> None:
    source = open_live(f"{mjpeg}/live")
    frames = source.frames()
    next(frames)
    child = child_of(source)
    os.kill(child.pid, number)
    indexes = [frame.index for frame in islice(frames, 3)]
    assert len(indexes) == 3
    assert child_of(source) is child
    assert child.poll() is None
    source.close()


def test_child_dies_with_a_parent_that_is_killed(mjpeg: str) -> None:
    program = (
        "import sys, time\n"
        "from edgekit.sources import open_source\n"
        f"source = open_source('{mjpeg}/live', camera='front', timeout_s={PATIENCE_S})\n"
        "print(source._capture._child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    python = os.environ.get("EDGEKIT_PYTHON", sys.executable)
    home = str(Path(live.__file__).parents[2])
    with subprocess.Popen(
        [python, "-P", "-c", program], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": home}
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    assert until(lambda: not is_running(child))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
