"""Frames from a camera, a stream, a video, a folder or the demo scene: `open_source(text, camera=...)`."""

from __future__ import annotations

import difflib
import glob
import logging
import math
import os
import random
import re
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl

from edgekit.capture import Capture, shown
from edgekit.errors import MissingExtraError, SourceError, UnavailableError, UsageError
from edgekit.reel import (
    MAX_FPS,
    PICTURES,
    PictureReel,
    Reel,
    SceneReel,
    VideoReel,
    is_text,
    read_picture,
    words_of,
)
from edgekit.types import Frame

if TYPE_CHECKING:
    from edgekit.types import Image

_log = logging.getLogger("edgekit.sources")

STREAMS = ("rtsp", "rtsps", "http", "https")
PREFIXES = ("demo", "file", "dir")
PICTURES_FPS = 1.0


class Source(Protocol):
    """Where frames come from. One consumer at a time; `close` may be called from any thread, and twice.

    `live` is true when the newest frame wins, so that a slow consumer misses frames; a file is never
    dropped unless it plays in real time. `fps` is the nominal rate of `frames`, None when unknown.
    `skipped` counts frames that came too fast for the consumer, `corrupt` those that could not be decoded.
    """

    @property
    def live(self) -> bool: ...
    @property
    def fps(self) -> float | None: ...
    @property
    def skipped(self) -> int: ...
    @property
    def corrupt(self) -> int: ...
    def frames(self) -> Iterator[Frame]: ...
    def close(self) -> None: ...


def open_source(
    text: str,
    *,
    camera: str,
    fps: float | None = None,
    loop: bool = False,
    realtime: bool = False,
    timeout_s: float = 10.0,
) -> Source:
    """Open what people name, and decode one picture so that a wrong name fails here.

    `text` is one of: `demo:` (or `demo:seed=3`, `demo:seed=3&pace=none`), a camera `0` or `/dev/video0`,
    `rtsp://…` or `http://…`, a video file, a picture, a folder or a glob of pictures; `file:` and `dir:` may
    stand before a path. `fps` samples a video down evenly, limits what is taken from a camera, and is the
    pace of a folder (1 a second unless given). `loop` starts a file again at its end. `realtime` plays a
    file by the clock and drops what comes too late; otherwise each frame of a file is delivered, and its
    times advance by 1/fps, whatever the clock does. The demo scene plays in real time unless `pace=none`.
    `timeout_s` is how long a camera or stream may stay silent.

    Raises UsageError for words that name nothing, SourceError for a file or folder that cannot be read,
    UnavailableError for a camera or stream that is not there, MissingExtraError for a demo without
    scikit-image.
    """
    if fps is not None and not 0 < fps <= MAX_FPS:
        raise UsageError(f"fps {fps:g}: expected more than 0, at most {MAX_FPS:g}")
    scheme, _, rest = text.partition(":")
    device = _device(text)
    if text == "-":
        raise UsageError(
            "source -: edgekit does not read pictures from standard input; "
            "save them and name the file or folder, or name a stream such as rtsp://…"
        )
    if scheme == "demo" and text != "demo":
        return _open_demo(rest, camera, fps)
    if device or (scheme in STREAMS and rest.startswith("//")):
        return LiveSource(device or text, camera=camera, fps=fps, timeout_s=timeout_s)
    if scheme in ("file", "dir") and rest:
        path = rest.removeprefix("//")
        if scheme == "dir" and not _is(Path.is_dir, path):
            raise SourceError(f"{text}: there is no folder {path}{_near(Path(path))}")
    else:
        path = text
        _check_scheme(text, scheme)
    reel = _open_reel(path, fps)
    return ClipSource(reel, camera=camera, fps=fps, loop=loop, realtime=realtime)


# ── what a text names ───────────────────────────────────────────────────────────────────────────────────


def _device(text: str) -> str | None:
    """The device path of a camera that `text` names; UnavailableError when it is not there."""
    path = f"/dev/video{text}" if re.fullmatch(r"\d{1,3}", text) else text
    if not path.startswith("/dev/"):
        return None
    if not _is(Path.exists, path):
        here = " ".join(map(str, sorted(Path("/dev").glob("video*"), key=_natural))) or "none"
        raise UnavailableError(
            f"camera {text}: there is no {path}; cameras here: {here} (see ls /dev/video*)"
        )
    if not os.access(path, os.R_OK | os.W_OK):
        raise UnavailableError(
            f"camera {text}: {path} may not be opened by this user; "
            "join its group: sudo usermod -aG video $USER"
        )
    return path


def _check_scheme(text: str, scheme: str) -> None:
    if not text.strip():
        raise UsageError("source: is empty; name a camera, a stream, a file, a folder or demo:")
    if text == "demo" and not _is(Path.exists, text):
        raise UsageError("source demo: did you mean demo: (with the colon)?")
    known = [f"{name}://" for name in STREAMS] + [f"{name}:" for name in PREFIXES]
    if "://" in text and not _is(Path.exists, text):
        near = difflib.get_close_matches(f"{scheme}://", known, 1, 0.6)
        hint = f"did you mean {near[0]}" if near else f"expected a path or one of {' '.join(known)}"
        raise UsageError(f"source {shown(text)}: unknown kind {scheme}://; {hint}")


def _is(question: Callable[[Path], bool], path: str | Path) -> bool:
    """Path.exists or Path.is_dir, with no for what the system will not even look at."""
    try:
        return question(Path(path))
    except (OSError, ValueError):
        return False


def _natural(path: str | Path) -> list[tuple[int, int, str]]:
    """Sorts img2 before img10."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def _near(path: Path) -> str:
    """`; did you mean …` with the name nearest to `path` in its folder, or where the way to it breaks off."""
    folder = path.parent
    if not _is(Path.is_dir, folder):
        return f": there is no folder {folder}"
    try:
        names = [entry.name for entry in folder.iterdir()]
    except OSError:
        return ""
    match = difflib.get_close_matches(path.name, names, 1, 0.7)
    same = [name for name in names if name.lower() == path.name.lower()]
    hint = same or match
    return f"; did you mean {folder / hint[0]}?" if hint else "; see ls " + str(folder)


def _open_reel(path: str, fps: float | None) -> Reel:
    """The reel of a video, a picture, a folder or a glob, after one picture of it was decoded."""
    place = Path(os.path.expanduser(path))  # noqa: PTH111  (Path's raises for a user that is not there)
    if glob.has_magic(path) and not _is(Path.exists, place):
        found = [Path(name) for name in glob.glob(str(place), recursive=True)]  # noqa: PTH207  (Path.glob needs a base)
        return _open_pictures(_pictures(found), f"{path} matches no pictures", fps)
    if _is(Path.is_dir, place):
        return _open_pictures(_pictures(_list_folder(place)), f"no pictures in {place}", fps)
    _check_file(place)
    if place.suffix.lower() in PICTURES:
        return _open_pictures([place], "", fps)
    reel = VideoReel(place)
    if not reel.skip():
        raise SourceError(f"{place}: no frame of it can be decoded; the video is damaged or cut short")
    reel.rewind()
    return reel


def _list_folder(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise SourceError(f"{folder}: {words_of(error)}; see ls -ld {folder}") from None


def _pictures(paths: Iterable[Path]) -> list[Path]:
    files = (path for path in paths if path.suffix.lower() in PICTURES and not _is(Path.is_dir, path))
    return sorted((path for path in files if not path.name.startswith(".")), key=_natural)


def _open_pictures(paths: list[Path], none: str, fps: float | None) -> Reel:
    if not paths:
        raise SourceError(f"{none}: expected {' '.join(PICTURES)}")
    whys = []
    for path in paths:
        image, why = read_picture(path)
        if image is not None:
            return PictureReel(paths, fps or PICTURES_FPS)
        whys.append(f"{path}: {why}")
    rest = f" (and {len(paths) - 1} more like it)" if len(paths) > 1 else ""
    raise SourceError(f"{whys[0]}{rest}; name a picture or a folder of pictures that opens in a viewer")


def _check_file(path: Path) -> None:
    """Raise SourceError for a file that no decoder need be asked about."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise SourceError(f"there is no {path}{_near(path)}") from None
    except OSError as error:
        raise SourceError(f"{path}: {words_of(error)}") from None
    except ValueError:
        raise SourceError(f"{str(path)!r} cannot be the name of a file; name a video or a folder") from None
    if not stat.S_ISREG(mode):
        raise SourceError(f"{path}: is neither a file nor a folder; name a video, a picture or a folder")
    head = _read_head(path)
    if not head:
        raise SourceError(f"{path}: is empty (0 bytes); copy or record it again")
    if path.suffix.lower() not in PICTURES and is_text(head):
        raise SourceError(f"{path}: is a text file, not a video; name a video, a picture or a folder")


def _read_head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1024)
    except OSError as error:
        raise SourceError(f"{path}: {words_of(error)}; see ls -l {path}") from None


def _open_demo(query: str, camera: str, fps: float | None) -> Source:
    """`demo:`, `demo:seed=3`, `demo:?seed=3&pace=none`."""
    given = dict(parse_qsl(query.removeprefix("?"), keep_blank_values=True))
    unknown = set(given) - {"seed", "pace"}
    pace, seed = given.get("pace", "real"), given.get("seed", "0")
    if unknown or (query.strip("?") and not given):
        raise UsageError(f"source demo:{query}: expected demo: or demo:seed=NUMBER&pace=real|none")
    if not re.fullmatch(r"\d{1,9}", seed):
        raise UsageError(f"source demo:{query}: seed {seed!r} is not a whole number from 0 to 999999999")
    if pace not in ("real", "none"):
        raise UsageError(f"source demo:{query}: pace {pace!r}: expected real (as a camera) or none (at once)")
    try:
        from edgekit.demo import DemoScene

        scene = DemoScene(int(seed))
    except ImportError:
        raise MissingExtraError("scikit-image", "demo") from None
    source = ClipSource(SceneReel(scene), camera=camera, fps=fps, realtime=pace == "real")
    source.live = pace == "real"
    return source


# ── playing ─────────────────────────────────────────────────────────────────────────────────────────────


class Clock:
    """The time, and waiting for it; tests put their own in its place."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def wall_s(self) -> float:
        return time.time()

    def mono_s(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until `stop`."""
        self._stop.wait(seconds)

    def stop(self) -> None:
        self._stop.set()


def sample_position(k: int, native_fps: float, fps: float | None) -> int:
    """The number of the frame that comes k-th when `native_fps` is sampled down to `fps`: the nearest one."""
    if fps is None or fps >= native_fps:
        return k
    return math.floor(k * native_fps / fps + 0.5)


class ClipSource:
    """Plays a reel: each of its frames in turn, or by the clock when `realtime`.

    Frame.index counts the frames after sampling by `fps`; it has gaps only where a frame came too late in
    real time. Without `realtime` the times are those of the video: start + position / native fps.
    """

    def __init__(
        self,
        reel: Reel,
        *,
        camera: str,
        fps: float | None = None,
        loop: bool = False,
        realtime: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.live = False
        self.fps: float | None = min(fps or reel.fps, reel.fps)
        self.skipped = 0
        self._reel = reel
        self._camera = camera
        self._rate = min(fps or reel.fps, reel.fps)
        self._loop = loop
        self._realtime = realtime
        self._clock = clock or Clock()
        self._closed = False
        self._passed = 0  # pictures of the reel, over all rounds
        self._round = 0  # pictures of this round

    @property
    def corrupt(self) -> int:
        return self._reel.corrupt

    def frames(self) -> Iterator[Frame]:
        """The frames from the start; ends with the reel, unless it loops."""
        self._passed = self._round = 0
        self._reel.rewind()
        wall_s, mono_s = self._clock.wall_s(), self._clock.mono_s()
        pace = _Pace(self._rate, mono_s)
        k = 0
        while not self._closed:
            if self._realtime:
                late = pace.wait(k, self._clock)
                self.skipped += late
                k += late
            position = sample_position(k, self._reel.fps, self._rate)
            image = None if self._closed else self._image_at(position)
            if image is None:
                return
            passed_s = position / self._reel.fps
            if self._realtime:
                times = self._clock.wall_s(), self._clock.mono_s()
            else:
                times = wall_s + passed_s, mono_s + passed_s
            yield Frame(image, self._camera, k, *times)
            k += 1

    def close(self) -> None:
        self._closed = True
        self._clock.stop()
        self._reel.close()

    def _image_at(self, position: int) -> Image | None:
        while self._passed < position:
            if self._closed or not self._pass(self._reel.skip):
                return None
        image: Image | None = self._pass(self._reel.read)
        return image

    def _pass(self, step: Callable[[], Any]) -> Any:
        """One step of the reel, in the next round if this one is over; None at the end of all rounds."""
        got = step()
        if got is None or got is False:
            self._reel.end()
            if not self._loop or not self._round:
                return None
            self._round = 0
            self._reel.rewind()
            got = step()
            if got is None or got is False:
                return None
        self._round += 1
        self._passed += 1
        return got


class _Pace:
    """When frame k is due, and how many are late."""

    def __init__(self, rate: float, start_s: float) -> None:
        self._rate = rate
        self._start_s = start_s

    def wait(self, k: int, clock: Clock) -> int:
        """Wait until frame `k` is due; the number of frames from there on that are too late already.

        That number stays under a second's worth: after a longer stop (or with a decoder too slow for the
        video) the clip goes on from there instead of racing after the clock.
        """
        ahead_s = self._start_s + k / self._rate - clock.mono_s()
        if ahead_s > 0:
            clock.wait(ahead_s)
            return 0
        late = math.floor(-ahead_s * self._rate)
        most = math.ceil(self._rate)
        if late > most:
            self._start_s += (late - most) / self._rate
        return min(late, most)


class ListSource:
    """Frames from a list: the source of tests, and of scripts that have their pictures already.

    Takes images, (height, width, 3) uint8 BGR, or Frames as they are. Times advance by 1/fps from 0.
    """

    def __init__(self, images: Iterable[Image | Frame], *, camera: str = "camera", fps: float = 10.0) -> None:
        self.live = False
        self.fps: float | None = fps
        self.skipped = 0
        self.corrupt = 0
        self._images = list(images)
        self._camera = camera
        self._closed = False

    def frames(self) -> Iterator[Frame]:
        for index, image in enumerate(self._images):
            if self._closed:
                return
            if isinstance(image, Frame):
                yield image
            else:
                yield Frame(image, self._camera, index, index / (self.fps or 1), index / (self.fps or 1))

    def close(self) -> None:
        self._closed = True


# ── live ────────────────────────────────────────────────────────────────────────────────────────────────


def backoff_s(attempt: int, luck: float, *, first_s: float = 1.0, last_s: float = 60.0) -> float:
    """How long to wait before attempt 0, 1, 2 …: doubles from first_s to last_s.

    `luck` in 0..1 takes off up to a half, so that many clients of one camera do not come back in step.
    """
    return float(min(last_s, first_s * 2.0 ** min(attempt, 30))) * (1 - luck / 2)


class LiveSource:
    """A camera or stream, read in a child process; it is opened again whenever it is lost after the start.

    `target` is a device path or a URL. Raises UnavailableError when it cannot be opened at first.
    """

    def __init__(
        self, target: str, *, camera: str, fps: float | None = None, timeout_s: float = 10.0
    ) -> None:
        self.live = True
        self.skipped = 0
        self.corrupt = 0
        self._target = target
        self._camera = camera
        self._limit_fps = fps
        self._timeout_s = timeout_s
        self._clock = Clock()
        self._lock = threading.Lock()
        self._closed = False
        self._camera_fps: float | None = None
        self._capture = self._start()
        try:
            self._camera_fps = self._capture.open()
        except UnavailableError as error:
            self.close()
            raise UnavailableError(f"camera {camera}: {error}") from None

    @property
    def fps(self) -> float | None:
        known = [fps for fps in (self._limit_fps, self._camera_fps) if fps]
        return min(known, default=None)

    def frames(self) -> Iterator[Frame]:
        """The newest frame each time, for ever; a camera that is lost is waited for."""
        made = 0  # frames that the camera made, over all the times that it was opened
        while not self._closed:
            spoilt = 0
            first = made
            try:
                while True:
                    shot = self._capture.read()
                    index = first + shot.index
                    self.skipped += index - made
                    self.corrupt += shot.corrupt - spoilt
                    made, spoilt = index + 1, shot.corrupt
                    yield Frame(shot.image, self._camera, index, shot.time_s, shot.mono_s)
            except UnavailableError as error:
                if not self._closed:
                    _log.warning("camera %s: lost: %s", self._camera, error)
            self._reopen()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._clock.stop()
            self._capture.close()

    def _start(self) -> Capture:
        return Capture(self._target, fps=self._limit_fps, timeout_s=self._timeout_s)

    def _reopen(self) -> None:
        attempt = 0
        while not self._closed:
            self._capture.close()
            self._clock.wait(backoff_s(attempt, random.random()))  # noqa: S311  (jitter, not a secret)
            with self._lock:
                if self._closed:
                    return
                self._capture = self._start()
            try:
                self._camera_fps = self._capture.open()
            except UnavailableError as error:
                attempt += 1
                _log.info("camera %s: still not there: %s", self._camera, error)
            else:
                _log.warning("camera %s: is back", self._camera)
                return
