"""What people name is opened, or refused in one line; a live source is read in a child that can be killed."""

from __future__ import annotations

import os
import threading
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import EdgekitError, MissingExtraError, SourceError, UnavailableError, UsageError
from edgekit.sources import (
    ClipSource,
    Clock,
    ListSource,
    Source,
    is_live,
    open_source,
    sample_position,
)
from edgekit.sources.reel import PictureReel, load_cv2, read_picture
from edgekit.sources.v4l2 import V4l2Reader
from edgekit.types import Frame, Image

load_cv2()  # before ffmpeg is first used, here by writing a video
PATIENCE_S = 120.0  # for what is to succeed, on an emulated machine too


def grey(level: int, width: int = 64, height: int = 48) -> Image:
    return np.full((height, width, 3), level, np.uint8)


def level(frame: Frame) -> int:
    return round(float(frame.image.mean()))


def make_video(path: Path, frames: int, fps: float = 10) -> Path:
    """A video whose frame i has the grey level 6 i."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (64, 48))
    for i in range(frames):
        video.write(grey(6 * i))
    video.release()
    return path


def make_pictures(folder: Path, names: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        cv2.imwrite(str(folder / name), grey(10 * (i + 1)))
    return folder


def play(text: str | Path, **options: Any) -> list[Frame]:
    source = open_source(str(text), camera="front", **options)
    try:
        return list(source.frames())
    finally:
        source.close()


class FakeClock(Clock):
    """Stands still but for `wait`, and for what a test adds."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0

    def wall_s(self) -> float:
        return 1_000_000.0 + self.now_s

    def mono_s(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds


class FakeReel:
    """`count` pictures; None stands for endless."""

    def __init__(self, count: int | None, fps: float = 10.0) -> None:
        self.fps = fps
        self.corrupt = 0
        self.count = count
        self.next = 0
        self.rewinds = 0
        self.read_numbers: list[int] = []

    def skip(self) -> bool:
        self.next += 1
        return self.count is None or self.next <= self.count

    def read(self) -> Image | None:
        if not self.skip():
            return None
        self.read_numbers.append(self.next - 1)
        return grey((self.next - 1) % 256)

    def rewind(self) -> None:
        self.next = 0
        self.rewinds += 1

    def end(self) -> None:
        pass

    def close(self) -> None:
        pass


# ── videos ──────────────────────────────────────────────────────────────────────────────────────────────


def test_video_gives_each_frame_once_in_video_time(tmp_path: Path) -> None:
    frames = play(make_video(tmp_path / "a.avi", 12))
    assert [frame.index for frame in frames] == list(range(12))
    assert [level(frame) for frame in frames] == pytest.approx([6 * i for i in range(12)], abs=2)
    for times in ([f.time_s for f in frames], [f.mono_s for f in frames]):
        assert np.diff(times) == pytest.approx(0.1, abs=1e-3)
    assert {frame.camera for frame in frames} == {"front"}


def test_video_has_the_rate_of_the_file_and_is_not_live(tmp_path: Path) -> None:
    source = open_source(str(make_video(tmp_path / "a.avi", 3, fps=8)), camera="front")
    assert (source.live, source.fps, source.skipped, source.corrupt) == (False, 8.0, 0, 0)
    source.close()


def test_fps_samples_a_video_evenly(tmp_path: Path) -> None:
    frames = play(make_video(tmp_path / "a.avi", 12), fps=4)
    assert [level(frame) / 6 for frame in frames] == pytest.approx([0, 3, 5, 8, 10], abs=0.4)
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert [f.mono_s - frames[0].mono_s for f in frames] == pytest.approx([0, 0.3, 0.5, 0.8, 1.0])


def test_fps_above_that_of_the_video_changes_nothing(tmp_path: Path) -> None:
    assert len(play(make_video(tmp_path / "a.avi", 5), fps=50)) == 5


def test_loop_starts_the_video_again_and_time_goes_on(tmp_path: Path) -> None:
    source = open_source(str(make_video(tmp_path / "a.avi", 3)), camera="front", loop=True)
    frames = list(islice(source.frames(), 8))
    source.close()
    assert [level(frame) for frame in frames] == pytest.approx([0, 6, 12, 0, 6, 12, 0, 6], abs=2)
    assert [frame.index for frame in frames] == list(range(8))
    assert np.diff([f.mono_s for f in frames]) == pytest.approx(0.1, abs=1e-3)


def test_frames_start_anew_with_each_call(tmp_path: Path) -> None:
    source = open_source(str(make_video(tmp_path / "a.avi", 4)), camera="front")
    assert [len(list(source.frames())) for _ in range(2)] == [4, 4]
    source.close()


def test_closed_source_ends(tmp_path: Path) -> None:
    source = open_source(str(make_video(tmp_path / "a.avi", 9)), camera="front", loop=True)
    frames = source.frames()
    next(frames)
    source.close()
    source.close()
    assert list(frames) == []


def test_video_that_breaks_off_gives_its_frames_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = make_video(tmp_path / "a.avi", 30).read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole[: len(whole) * 6 // 10])
    frames = play(cut)
    assert 5 < len(frames) < 30
    assert caplog.messages == [
        f"{cut}: stopped after {len(frames)} of 30 frames: the file is damaged or cut short"
    ]
    assert capfd.readouterr().err == ""


def test_whole_video_gives_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    play(make_video(tmp_path / "a.avi", 30))
    assert caplog.messages == []


@pytest.mark.parametrize("seed", range(25))
def test_damaged_video_gives_frames_or_one_line(
    seed: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    luck = np.random.default_rng(seed)
    data = bytearray(make_video(tmp_path / "a.avi", 6).read_bytes())
    for _ in range(int(luck.integers(1, 40))):
        data[luck.integers(0, len(data))] = luck.integers(0, 256)
    (tmp_path / "b.avi").write_bytes(data[: luck.integers(1, len(data))] if seed % 2 else data)
    said = ""
    frames: list[Frame] = []
    try:
        frames = play(tmp_path / "b.avi")
    except SourceError as error:
        said = str(error)
    assert bool(frames) != ("b.avi" in said)
    assert len(frames) <= 30
    assert "\n" not in said
    assert capfd.readouterr().err == ""


# ── real time ───────────────────────────────────────────────────────────────────────────────────────────


def test_realtime_waits_for_each_frame() -> None:
    clock = FakeClock()
    frames = list(ClipSource(FakeReel(5), camera="c", realtime=True, clock=clock).frames())
    assert [frame.mono_s for frame in frames] == pytest.approx([100.0, 100.1, 100.2, 100.3, 100.4])
    assert [frame.time_s for frame in frames] == pytest.approx([1_000_100 + i / 10 for i in range(5)])


def test_realtime_drops_what_a_slow_consumer_missed() -> None:
    clock, reel = FakeClock(), FakeReel(None)
    source = ClipSource(reel, camera="c", realtime=True, clock=clock)
    indexes = []
    for frame in islice(source.frames(), 4):
        indexes.append(frame.index)
        clock.now_s += 0.36
    assert indexes == [0, 3, 7, 10]
    assert reel.read_numbers == [0, 3, 7, 10]
    assert source.skipped == 2 + 3 + 2


def test_realtime_does_not_race_after_the_clock_when_it_was_stopped() -> None:
    clock, reel = FakeClock(), FakeReel(None)
    source = ClipSource(reel, camera="c", realtime=True, clock=clock)
    frames = source.frames()
    next(frames)
    clock.now_s += 3600
    assert next(frames).index == 11
    assert next(frames).index == 12
    assert source.skipped == 10


def test_realtime_samples_too() -> None:
    clock, reel = FakeClock(), FakeReel(10)
    frames = list(ClipSource(reel, camera="c", fps=5, realtime=True, clock=clock).frames())
    assert reel.read_numbers == [0, 2, 4, 6, 8]
    assert [frame.mono_s for frame in frames] == pytest.approx([100.0, 100.2, 100.4, 100.6, 100.8])


def test_file_is_never_dropped_without_realtime() -> None:
    clock = FakeClock()
    source = ClipSource(FakeReel(50), camera="c", clock=clock)
    seen = []
    for frame in source.frames():
        seen.append(frame.index)
        clock.now_s += 5
    assert seen == list(range(50))
    assert source.skipped == 0


def test_loop_over_nothing_ends() -> None:
    assert list(ClipSource(FakeReel(0), camera="c", loop=True, clock=FakeClock()).frames()) == []


@given(
    native=st.floats(0.5, 240),
    fps=st.floats(0.01, 240),
    k=st.integers(0, 100_000),
)
def test_sampling_takes_the_nearest_frame_and_none_twice(native: float, fps: float, k: int) -> None:
    here, after = sample_position(k, native, fps), sample_position(k + 1, native, fps)
    assert after > here
    if fps < native:
        assert abs(here - k * native / fps) <= 0.5 + 1e-6
    else:
        assert here == k


@given(count=st.integers(1, 40), fps=st.floats(0.2, 30), passes=st.integers(1, 3))
def test_sampling_a_loop_is_sampling_one_long_clip(count: int, fps: float, passes: int) -> None:
    looped, long = FakeReel(count), FakeReel(count * passes)
    numbers = [f.index for f in ClipSource(long, camera="c", fps=fps, clock=FakeClock()).frames()]
    source = ClipSource(looped, camera="c", fps=fps, loop=True, clock=FakeClock())
    assert len(list(islice(source.frames(), len(numbers)))) == len(numbers)
    assert looped.read_numbers == [number % count for number in long.read_numbers]


# ── pictures ────────────────────────────────────────────────────────────────────────────────────────────


def test_folder_comes_in_natural_order(tmp_path: Path) -> None:
    folder = make_pictures(tmp_path / "p", ["img1.jpg", "img2.jpg", "img10.jpg"])
    (folder / "notes.txt").write_text("not a picture")
    (folder / ".hidden.jpg").write_bytes(b"x")
    (folder / "sub.jpg").mkdir()
    frames = play(folder)
    assert [level(frame) for frame in frames] == pytest.approx([10, 20, 30], abs=2)
    assert np.diff([frame.mono_s for frame in frames]) == pytest.approx([1, 1])


def test_fps_is_the_pace_of_a_folder(tmp_path: Path) -> None:
    frames = play(make_pictures(tmp_path / "p", ["a.png", "b.png", "c.png"]), fps=4)
    assert [frame.mono_s - frames[0].mono_s for frame in frames] == pytest.approx([0, 0.25, 0.5])


@pytest.mark.parametrize("text", ["{p}/b*.png", "file:{p}/b1.png", "{p}/b1.png", "{p}/**/b?.png"])
def test_glob_and_single_picture(text: str, tmp_path: Path) -> None:
    folder = make_pictures(tmp_path / "p", ["a.png", "b1.png"])
    assert [level(frame) for frame in play(text.format(p=folder))] == [20]


def test_dir_prefix_names_a_folder(tmp_path: Path) -> None:
    assert len(play(f"dir:{make_pictures(tmp_path / 'p', ['a.png'])}")) == 1


def test_folder_may_be_called_like_a_video_or_hold_glob_letters(tmp_path: Path) -> None:
    for name in ("clip.mp4", "odd[1]*"):
        assert len(play(make_pictures(tmp_path / name, ["a.png", "b.png"]))) == 2


@pytest.mark.parametrize(
    "image",
    [
        np.full((20, 30), 100, np.uint8),
        np.full((20, 30), 100 * 257, np.uint16),
        np.full((20, 30, 3), 100 * 257, np.uint16),
        np.full((20, 30, 4), 100, np.uint8),
    ],
    ids=["grey", "grey16", "colour16", "alpha"],
)
def test_every_png_becomes_bgr_uint8(image: np.ndarray[Any, Any], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), image)
    (frame,) = play(tmp_path / "a.png")
    assert frame.image.shape == (20, 30, 3)
    assert frame.image.dtype == np.uint8
    assert level(frame) == 100


def test_picture_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    from PIL import Image as Pil

    picture = Pil.new("RGB", (40, 20), (200, 0, 0))
    exif = picture.getexif()
    exif[0x0112] = 6  # turn right
    picture.save(tmp_path / "a.jpg", exif=exif)
    (frame,) = play(tmp_path / "a.jpg")
    assert frame.image.shape == (40, 20, 3)


def test_sizes_may_be_mixed(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), grey(1, 10, 20))
    cv2.imwrite(str(tmp_path / "b.png"), grey(1, 30, 5))
    assert [frame.image.shape for frame in play(tmp_path)] == [(20, 10, 3), (5, 30, 3)]


def test_unreadable_pictures_are_named_counted_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = make_pictures(tmp_path / "p", ["a.jpg", "d.png", "e.jpg"])
    (folder / "b.jpg").write_text("just words")
    (folder / "c.jpg").write_bytes(b"")
    (folder / "d.png").write_bytes((folder / "d.png").read_bytes()[:-20])
    (folder / "f.jpg").symlink_to(folder / "gone.jpg")
    source = open_source(str(folder), camera="front")
    assert [level(frame) for frame in source.frames()] == pytest.approx([10, 30], abs=2)
    assert source.corrupt == 4
    assert [message.split(": ", 1)[1] for message in caplog.messages] == [
        "is a text file, not a picture; it is left out",
        "is empty (0 bytes); it is left out",
        "is damaged, or no picture; it is left out",
        "no such file or directory; it is left out",
    ]
    assert capfd.readouterr().err == ""
    source.close()


def test_unreadable_picture_is_named_once_however_often_it_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_pictures(tmp_path / "p", ["a.jpg"])
    (folder / "b.jpg").write_text("just words")
    source = open_source(str(folder), camera="front", loop=True)
    assert len(list(islice(source.frames(), 5))) == 5
    assert len(caplog.messages) == 1
    source.close()


def test_half_a_jpeg_is_no_picture(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rough = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    _, data = cv2.imencode(".jpg", rough)
    path = tmp_path / "half.jpg"
    path.write_bytes(data.tobytes()[: len(data) // 2])
    image, why = read_picture(path)
    assert image is None
    assert "damaged" in why
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
def test_damaged_picture_is_decoded_or_explained_in_silence(
    suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rough = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    _, good = cv2.imencode(suffix, rough)
    luck = np.random.default_rng(1)
    for _ in range(60):
        data = bytearray(good.tobytes())
        for _ in range(int(luck.integers(1, 12))):
            data[luck.integers(0, len(data))] = luck.integers(0, 256)
        path = tmp_path / f"a{suffix}"
        path.write_bytes(data[: luck.integers(1, len(data) + 1)])
        image, why = read_picture(path)
        assert (image is None) == bool(why)
        assert image is None or (image.ndim == 3 and image.dtype == np.uint8)
    assert capfd.readouterr().err == ""


def test_what_others_write_while_a_picture_is_decoded_is_kept(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pictures(tmp_path, ["a.png"])
    decode = cv2.imdecode

    def chatty(*args: Any) -> Any:
        os.write(2, b"Corrupt JPEG data: 3 extraneous bytes before marker 0xd9\nanother thread's line\n")
        return decode(*args)

    monkeypatch.setattr(cv2, "imdecode", chatty)
    image, why = read_picture(tmp_path / "a.png")
    assert image is not None, why
    assert capfd.readouterr().err == "another thread's line\n"


def test_reel_of_pictures_skips_without_reading(tmp_path: Path) -> None:
    reel = PictureReel([tmp_path / "missing.png"], 1.0)
    assert [reel.skip(), reel.skip()] == [True, False]
    assert reel.corrupt == 0


# ── what is refused, and how ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a bit of everything."""
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "hall.avi", 3)
    (tmp_path / "empty").mkdir()
    make_pictures(tmp_path / "bad", [])
    (tmp_path / "bad" / "a.jpg").write_text("words")
    (tmp_path / "bad" / "b.jpg").write_text("words")
    (tmp_path / "zero.mp4").touch()
    (tmp_path / "words.mp4").write_text("these are words\n" * 9)
    (tmp_path / "words.jpg").write_text("these are words\n" * 9)
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("hal.avi", SourceError, "there is no hal.avi; did you mean hall.avi?"),
        ("HALL.AVI", SourceError, "there is no HALL.AVI; did you mean hall.avi?"),
        ("xyz", SourceError, "there is no xyz; see ls ."),
        ("no/hall.avi", SourceError, "there is no no/hall.avi: there is no folder no"),
        ("x" * 300, SourceError, "x" * 300 + ": file name too long"),
        ("a\0b", SourceError, "'a\\x00b' cannot be the name of a file; name a video or a folder"),
        (
            "~nobody-of-that-name/x",
            SourceError,
            "there is no ~nobody-of-that-name/x: there is no folder ~nobody",
        ),
        ("hall.avi/x", SourceError, "hall.avi/x: not a directory"),
        ("zero.mp4", SourceError, "zero.mp4: is empty (0 bytes); copy or record it again"),
        (
            "words.mp4",
            SourceError,
            "words.mp4: is a text file, not a video; name a video, a picture or a folder",
        ),
        (
            "words.jpg",
            SourceError,
            "words.jpg: is a text file, not a picture; name a picture or a folder of pic",
        ),
        (
            "noise.mp4",
            SourceError,
            "noise.mp4: is no video that can be decoded, or it is damaged; try it in a ",
        ),
        ("pipe", SourceError, "pipe: is neither a file nor a folder; name a video, a picture or a folder"),
        ("empty", SourceError, "no pictures in empty: expected .jpg .jpeg .png "),
        (
            "bad",
            SourceError,
            "bad/a.jpg: is a text file, not a picture (and 1 more like it); name a picture or",
        ),
        ("*.gif", SourceError, "*.gif matches no pictures: expected .jpg .jpeg .png "),
        ("dir:hall.avi", SourceError, "dir:hall.avi: there is no folder hall.avi"),
        ("rstp://x/y", UsageError, "source rstp://x/y: unknown kind rstp://; did you mean rtsp://"),
        ("ftp://u:pw@x/y?k=1", UsageError, "source ftp://x/y: unknown kind ftp://; "),
        ("-", UsageError, "source -: edgekit does not read pictures from standard input; save them and name"),
        ("", UsageError, "source: is empty; name a camera, a stream, a file, a folder or demo:"),
        ("demo", UsageError, "source demo: did you mean demo: (with the colon)?"),
        ("demo:seed=x", UsageError, "source demo:seed=x: seed 'x' is not a whole number from 0 to 999999999"),
        (
            "demo:?pace=2",
            UsageError,
            "source demo:?pace=2: pace '2': expected real (as a camera) or none (at on",
        ),
        ("test:card", UsageError, "source test:card: expected test:pattern"),
        ("demo:cats", UsageError, "source demo:cats: expected demo: or demo:seed=NUMBER&pace=real|none"),
        ("demo:cats=3", UsageError, "source demo:cats=3: expected demo: or demo:seed=NUMBER&pace=real|none"),
        ("997", UnavailableError, "camera 997: there is no /dev/video997; cameras here: "),
        (
            "/dev/video997",
            UnavailableError,
            "camera /dev/video997: there is no /dev/video997; cameras here: ",
        ),
    ],
)
def test_what_cannot_be_opened_is_named_in_one_line(
    text: str, error: type[EdgekitError], message: str, shelf: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert shelf.is_dir()
    with pytest.raises(error) as raised:
        open_source(text, camera="front")
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_impossible_rate_is_refused(fps: float) -> None:
    with pytest.raises(UsageError, match=r"^fps .*: expected more than 0, at most 1000$"):
        open_source("demo:", camera="front", fps=fps)


def test_the_test_pattern_plays_like_a_camera() -> None:
    source = open_source("test:pattern", camera="front")
    assert source.live
    assert is_live("test:pattern")
    first, second = islice(source.frames(), 2)
    assert first.image.shape == (480, 640, 3)
    assert not np.array_equal(first.image, second.image)


def test_video_without_a_frame_is_refused(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "a.avi", 3).read_bytes()
    (tmp_path / "b.avi").write_bytes(whole[: whole.index(b"movi") + 8])
    with pytest.raises(SourceError, match=r"b\.avi: (no frame of it can be|is no video that can be) decoded"):
        open_source(str(tmp_path / "b.avi"), camera="front")


def test_file_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "a.avi", 2)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SourceError, match=r"a\.avi: permission denied; see ls -l "):
        open_source(str(path), camera="front")


def test_device_that_may_not_be_opened_names_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tmp_path
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UnavailableError, match=r"camera /dev/null: /dev/null may not be opened by this user"):
        open_source("/dev/null", camera="front")


def test_device_that_is_no_camera_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match=r"^camera front: /dev/null: cannot be opened; is it a camera"):
        open_source("/dev/null", camera="front", timeout_s=PATIENCE_S)


def test_a_device_that_is_waited_for_is_told_to_be_absent() -> None:
    with pytest.raises(UnavailableError, match=r"^there is no such camera; is it plugged in\?$"):
        V4l2Reader("/dev/video997")


def test_demo_without_scikit_image_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgekit\[demo\]'"):
        open_source("demo:", camera="front")


# ── lists ───────────────────────────────────────────────────────────────────────────────────────────────


def test_list_source_gives_what_it_was_given() -> None:
    ready = Frame(grey(9), "other", 7, 1.0, 2.0)
    source = ListSource([grey(1), ready, grey(3)], camera="c", fps=2)
    frames = list(source.frames())
    assert [level(frame) for frame in frames] == [1, 9, 3]
    assert frames[1] is ready
    assert [frame.mono_s for frame in (frames[0], frames[2])] == [0, 1]


def test_sources_keep_the_protocol(tmp_path: Path) -> None:
    made: list[Source] = [
        ListSource([]),
        open_source(str(make_video(tmp_path / "a.avi", 2)), camera="c"),
    ]
    for source in made:
        assert (source.live, source.skipped, source.corrupt) == (False, 0, 0)
        source.close()


class Slow:
    """A reel whose pictures take until they `may_end`."""

    fps, corrupt = 10.0, 0

    def __init__(self) -> None:
        self.reads, self.may_end, self.closed = threading.Event(), threading.Event(), threading.Event()

    def read(self) -> Image | None:
        self.reads.set()
        assert self.may_end.wait(60)
        return np.zeros((4, 4, 3), np.uint8)

    def skip(self) -> bool:
        return True

    def rewind(self) -> None:
        pass

    def end(self) -> None:
        pass

    def close(self) -> None:
        self.closed.set()


def test_a_reel_is_not_closed_while_it_reads() -> None:
    reel = Slow()
    source = ClipSource(reel, camera="front")
    reader = threading.Thread(target=lambda: list(source.frames()), daemon=True)
    reader.start()
    assert reel.reads.wait(60)
    closer = threading.Thread(target=source.close, daemon=True)
    closer.start()
    assert not reel.closed.wait(0.2)
    reel.may_end.set()
    for each in (closer, reader):
        each.join()
    assert reel.closed.is_set()
