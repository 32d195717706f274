"""Cameras at a ribbon or a USB port. There is no such hardware where these tests run: the readers meet fake
device modules, `picamera2` and `cv2`, which do what the real ones are documented to do.
"""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path

import pytest

from edgekit.errors import UnavailableError
from edgekit.sources import LiveSource, live, open_source

PATIENCE_S = 120.0

PICAMERA2 = '''
import json, os, time
import numpy as np

class Request:
    """A picture: blue rises with its number."""

    def __init__(self, camera, number):
        self.camera, self.number = camera, number

    def get_metadata(self):
        age_ns = 250_000_000  # the picture was a quarter of a second on its way
        return {"SensorTimestamp": time.clock_gettime_ns(time.CLOCK_BOOTTIME) - age_ns}

    def make_array(self, name):
        assert name == "main" and self.camera.held == 1, "a buffer was kept"
        width, height = self.camera.config["main"]["size"]
        image = np.zeros((height, width, 3), np.uint8)
        image[:] = (self.number % 256, 20, 30)
        return image

    def release(self):
        self.camera.held -= 1

class Picamera2:
    def __init__(self, camera_num=0):
        if os.environ.get("FAKE_BUSY"):
            raise RuntimeError("Camera __init__ sequence did not complete.")
        self.held = self.number = 0

    @staticmethod
    def global_camera_info():
        return [{"Model": "imx708", "Num": 0}]

    def create_video_configuration(self, main, controls, buffer_count):
        assert main["format"] == "RGB888" and buffer_count >= 2
        return {"main": main, "controls": controls}

    def configure(self, config):
        self.config = config

    def start(self):
        self.started = True

    def capture_request(self):
        assert self.started
        if os.environ.get("FAKE_STUCK") and self.number == 2:
            time.sleep(600)
        time.sleep(self.config["controls"]["FrameDurationLimits"][0] / 1e6)
        self.held += 1
        self.number += 1
        return Request(self, self.number)
'''

CV2 = """
import os, time
import numpy as np

CAP_V4L2, CAP_FFMPEG, CAP_PROP_FPS = 200, 1900, 5

class VideoCapture:
    def __init__(self, path, backend):
        assert backend == CAP_V4L2
        self.path, self.number = path, 0

    def isOpened(self):
        return self.path == "/dev/null"

    def get(self, prop):
        return 30.0

    def grab(self):
        time.sleep(0.01)
        self.number += 1
        return not (os.environ.get("FAKE_UNPLUGGED") and self.number > 4)

    def retrieve(self):
        if self.number % 3 == 0:
            return True, np.zeros((0, 0, 3), np.uint8)
        if self.number % 5 == 0:
            return False, None
        return True, np.full((48, 64, 3), self.number % 256, np.uint8)
"""


@pytest.fixture(autouse=True)
def _fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child finds the fake modules before any others; this process keeps its own."""
    (tmp_path / "picamera2.py").write_text(PICAMERA2)
    (tmp_path / "cv2.py").write_text(CV2)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(live, "backoff_s", lambda *_: 0.0)


def open_camera(text: str, fps: float | None = None) -> LiveSource:
    source = open_source(text, camera="front", fps=fps, timeout_s=PATIENCE_S)
    assert isinstance(source, LiveSource)
    return source


def test_a_ribbon_camera_gives_its_pictures_with_the_time_of_the_sensor() -> None:
    source = open_camera("csi:0")
    frames = list(islice(source.frames(), 5))
    source.close()
    assert source.fps == 30
    assert {frame.image.shape for frame in frames} == {(720, 1280, 3)}
    assert [int(v) for v in frames[0].image[0, 0, 1:]] == [20, 30]
    blues = [int(frame.image[0, 0, 0]) for frame in frames]
    assert blues == sorted(set(blues))
    assert all(time.monotonic() - frame.mono_s > 0.25 for frame in frames)


def test_a_ribbon_camera_is_asked_for_the_size_and_rate_that_are_wanted() -> None:
    source = open_camera("csi:0?size=640x480", fps=50)
    (frame,) = islice(source.frames(), 1)
    source.close()
    assert source.fps == 50
    assert frame.image.shape == (480, 640, 3)


@pytest.mark.parametrize(
    ("text", "busy", "words"),
    [
        ("csi:1", "", "libcamera sees no such camera; cameras here: csi:0 (imx708)"),
        ("csi:0", "1", "cannot be opened: Camera __init__ sequence did not complete.; does another program"),
    ],
)
def test_a_ribbon_camera_that_cannot_be_had_is_said(
    text: str, busy: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_BUSY", busy)
    with pytest.raises(UnavailableError) as raised:
        open_camera(text)
    assert str(raised.value).startswith(f"camera front: {text}: {words}")


def test_without_picamera2_its_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "picamera2.py").write_text("raise ImportError")
    with pytest.raises(UnavailableError, match="sudo apt install python3-picamera2, and make the virtual"):
        open_camera("csi:0")


def test_a_ribbon_camera_whose_driver_hangs_is_opened_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FAKE_STUCK", "1")
    source = open_camera("csi:0")
    frames = source.frames()
    assert source._capture is not None
    source._capture._wait_s = 0.5
    first = next(frames)
    monkeypatch.delenv("FAKE_STUCK")
    assert next(frame for frame in frames if frame.index > first.index + 1)
    source.close()
    assert any("no picture for 0.5 s" in message for message in caplog.messages)


def test_a_usb_camera_is_read_and_what_is_no_picture_is_counted() -> None:
    source = open_camera("/dev/null")
    frames = list(islice(source.frames(), 6))
    source.close()
    assert source.fps == 30
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    assert not {int(frame.image[0, 0, 0]) for frame in frames} & set(range(0, 256, 3))
    assert source.corrupt >= 2


def test_a_usb_camera_that_is_unplugged_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FAKE_UNPLUGGED", "1")
    source = open_camera("/dev/null")
    frames = source.frames()
    next(frames)
    monkeypatch.delenv("FAKE_UNPLUGGED")
    assert len(list(islice(frames, 20))) == 20
    source.close()
    assert caplog.messages == [
        "camera front: lost: /dev/null: gives no more pictures; is it unplugged?",
        "camera front: is back",
    ]
