"""Pictures in a row: a video file, a folder of pictures, the demo scene. What `sources.ClipSource` plays."""

from __future__ import annotations

import logging
import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgekit.errors import SourceError

if TYPE_CHECKING:
    from edgekit.types import Image

_log = logging.getLogger("edgekit.reel")

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
UNKNOWN_FPS = 25.0  # what a video plays at when its file does not say
MAX_FPS = 1000.0


class Reel(Protocol):
    """Pictures in a row at a steady rate: what ClipSource plays.

    `read` decodes the next picture, `skip` passes over it as cheaply as it can; both say None or False at
    the end. `end` is called when the last one was passed.
    """

    @property
    def fps(self) -> float: ...
    @property
    def corrupt(self) -> int: ...
    def read(self) -> Image | None: ...
    def skip(self) -> bool: ...
    def rewind(self) -> None: ...
    def end(self) -> None: ...
    def close(self) -> None: ...


def load_cv2() -> Any:
    """OpenCV, and its ffmpeg, told to be silent: what is wrong is said by edgekit, in one line.

    Who wants to hear them sets OPENCV_LOG_LEVEL and OPENCV_FFMPEG_LOGLEVEL. ffmpeg listens only before its
    first use, so this is how every module that touches a video gets at OpenCV.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 27))  # 134 megapixels, 400 MB
    import cv2

    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


_decoding = threading.Lock()
_COMPLAINTS = re.compile(
    rb"^(Corrupt JPEG|Premature end|Invalid|Unsupported|libpng|\w*: Warning|TIFF).*\n?", re.MULTILINE
)
_HARMLESS = re.compile(rb"extraneous bytes before marker|[Ww]arning")


def _decode(cv2: Any, data: bytes) -> tuple[Image | None, str]:
    """The picture, and what libjpeg or libpng wrote to standard error about it.

    They complain there and nowhere else, and a JPEG that breaks off in the middle is decoded to a half grey
    picture with nothing but such a complaint to tell it from a good one. So standard error is caught for
    that moment; what others write in the meantime is passed on.
    """
    with _decoding:
        words, stderr = os.memfd_create("edgekit-stderr"), os.dup(2)
        os.dup2(words, 2)
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        finally:
            os.dup2(stderr, 2)
            said = os.pread(words, 65536, 0)
            os.write(2, _COMPLAINTS.sub(b"", said))
            os.close(words)
            os.close(stderr)
    serious = [m[0] for m in _COMPLAINTS.finditer(said) if not _HARMLESS.search(m[0])]
    return image, serious[0].decode(errors="replace").strip().lower() if serious else ""


def read_picture(path: Path) -> tuple[Image | None, str]:
    """The picture as (height, width, 3) BGR uint8, turned as its EXIF says, and ""; or None and why not."""
    cv2 = load_cv2()
    try:
        data = path.read_bytes()
    except OSError as error:
        return None, words_of(error)
    if not data:
        return None, "is empty (0 bytes)"
    try:
        image, complaint = _decode(cv2, data)
    except cv2.error:
        return None, "is too large or damaged"
    if image is None:
        return None, "is a text file, not a picture" if is_text(data[:1024]) else "is damaged, or no picture"
    return (None, f"is damaged ({complaint})") if complaint else (image, "")


def is_text(head: bytes) -> bool:
    """Whether the start of a file is plain text, which no video or picture is (a playlist is, and may name
    files and hosts that nobody asked for).
    """
    try:
        return all(letter.isprintable() or letter.isspace() for letter in head.decode("ascii"))
    except UnicodeDecodeError:
        return False


def words_of(error: OSError) -> str:
    """`permission denied` instead of `[Errno 13] Permission denied: 'x'`."""
    return os.strerror(error.errno).lower() if error.errno else str(error)


class VideoReel:
    """The frames of a video file. Raises SourceError when OpenCV's ffmpeg cannot make sense of it."""

    def __init__(self, path: Path) -> None:
        self._cv2 = load_cv2()
        self._path = path
        self.corrupt = 0
        self._passed = 0
        self._warned = False
        self._video = self._open()
        fps = self._video.get(self._cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= MAX_FPS else UNKNOWN_FPS

    def _open(self) -> Any:
        video = self._cv2.VideoCapture(str(self._path), self._cv2.CAP_FFMPEG)
        if not video.isOpened():
            raise SourceError(
                f"{self._path}: is no video that can be decoded, or it is damaged; try it in a player, "
                "or convert it: ffmpeg -i IN OUT.mp4"
            )
        return video

    def read(self) -> Image | None:
        while self.skip():
            good, image = self._video.retrieve()
            if good and image is not None and image.size and image.ndim == 3:
                return np.ascontiguousarray(image, np.uint8)
            self.corrupt += 1
        return None

    def skip(self) -> bool:
        good = bool(self._video.grab())
        self._passed += int(good)
        return good

    def rewind(self) -> None:
        self._video.release()
        self._video = self._open()
        self._passed = 0

    def end(self) -> None:
        count = self._video.get(self._cv2.CAP_PROP_FRAME_COUNT)  # an estimate in some formats
        if count > 0 and count - self._passed > 1 + count // 100 and not self._warned:
            self._warned = True
            _log.warning(
                "%s: stopped after %d of %d frames: the file is damaged or cut short",
                self._path,
                self._passed,
                count,
            )

    def close(self) -> None:
        self._video.release()


class PictureReel:
    """The pictures of a folder, one frame each. One that cannot be read is named, counted and passed over."""

    def __init__(self, paths: list[Path], fps: float) -> None:
        self._paths = paths
        self.fps = fps
        self.corrupt = 0
        self._next = 0
        self._warned: set[Path] = set()

    def read(self) -> Image | None:
        while self._next < len(self._paths):
            path = self._paths[self._next]
            self._next += 1
            image, why = read_picture(path)
            if image is not None:
                return image
            self.corrupt += 1
            if path not in self._warned:
                self._warned.add(path)
                _log.warning("%s: %s; it is left out", path, why)
        return None

    def skip(self) -> bool:
        self._next += 1
        return self._next <= len(self._paths)

    def rewind(self) -> None:
        self._next = 0

    def end(self) -> None:
        pass

    def close(self) -> None:
        pass


class Scene(Protocol):
    """What makes picture number `i`, for any i."""

    @property
    def fps(self) -> float: ...
    def frame(self, i: int) -> Image: ...


class SceneReel:
    """A scene made by rules, which never ends."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.fps = scene.fps
        self.corrupt = 0
        self._next = 0

    def read(self) -> Image | None:
        self._next += 1
        return self._scene.frame(self._next - 1)

    def skip(self) -> bool:
        self._next += 1
        return True

    def rewind(self) -> None:
        self._next = 0

    def end(self) -> None:
        pass

    def close(self) -> None:
        pass
