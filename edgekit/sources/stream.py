"""A stream from the network: RTSP, or MJPEG and others over HTTP, by OpenCV's ffmpeg."""

from __future__ import annotations

import os
import re
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from edgekit.errors import UnavailableError
from edgekit.sources.address import PORTS
from edgekit.sources.reader import picture, rate

if TYPE_CHECKING:
    from edgekit.types import Image

_STATES = {
    "401": "it refuses the user or password (401)",
    "403": "it forbids this user to look (403)",
    "404": "there is no such stream (404); check the path",
}
_KEY_FRAME = ord("I")
_UNHEALED_S = 5.0  # damage that no key frame mends for so long is lived with

# What ffmpeg's decoders and its RTP receiver say of a picture that has holes.
_DAMAGE = re.compile(
    rb"error while decoding|overread|bad vlc|concealing|bytestream|damaged|corrupt|truncated|incomplete"
    rb"|missed \d+ packets|[Mm]issing reference|reference picture missing|Could not find ref|co located POCs"
    rb"|Invalid NAL|Error splitting|error \w+ at|decode_slice|no frame!|mb_skip_run|out of range|EOI missing"
)


class StreamReader:
    """Reads the stream at `url`.

    A picture that ffmpeg has complained about is damaged, and so are those after it up to the next key frame,
    which are built upon it. The decoder works ahead in threads, so a complaint may come some pictures early.
    """

    def __init__(self, url: str) -> None:
        import cv2

        _knock(url)
        self._stream = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
        if not self._stream.isOpened():
            raise UnavailableError(f"cannot be read as a video stream{_reason(_complaints())}")
        self.fps = rate(float(self._stream.get(cv2.CAP_PROP_FPS)))
        self._frame_type = getattr(cv2, "CAP_PROP_FRAME_TYPE", None)
        self._ahead = max(0, int(self._stream.get(cv2.CAP_PROP_N_THREADS)) - 1)
        self._grabbed = 0
        self._heal_from = 0  # the first picture that may end the damage
        self._damaged_s: float | None = None  # since when

    def grab(self) -> float | None:
        good = self._stream.grab()
        if not good:
            return None
        now_s = time.monotonic()
        self._grabbed += 1
        self._mind_damage(_forget_complaints(), now_s)
        return now_s

    def retrieve(self) -> Image | None:
        return None if self._damaged_s is not None else picture(*self._stream.retrieve())

    def end(self, pictures: int) -> str:
        return "the stream ended" if pictures else f"opens, but gives no picture{_reason(_complaints())}"

    def _mind_damage(self, complaints: bytes, now_s: float) -> None:
        if _DAMAGE.search(complaints):
            self._heal_from = self._grabbed + self._ahead + 1
            self._damaged_s = now_s if self._damaged_s is None else self._damaged_s
        elif self._damaged_s is not None:
            healed = self._grabbed >= self._heal_from and self._is_key()
            if healed or now_s - self._damaged_s > _UNHEALED_S:
                self._damaged_s = None

    def _is_key(self) -> bool:
        """Whether the picture depends on no other; an OpenCV that cannot tell is taken to say yes."""
        return self._frame_type is None or int(self._stream.get(self._frame_type)) == _KEY_FRAME


def _knock(url: str) -> None:
    """Connect once and hang up: the system's words for what fails here are clearer than ffmpeg's."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme, 80)
    try:
        socket.create_connection((host, port)).close()
    except socket.gaierror:
        raise UnavailableError(f"no host is called {host!r}; check the name and the network") from None
    except OSError as error:
        words = os.strerror(error.errno).lower() if error.errno else str(error)
        raise UnavailableError(f"port {port}: {words}; check the address and that it is on") from None


def _complaints() -> bytes:
    """What ffmpeg has written to standard error, which is a file in memory."""
    return os.pread(2, 65536, 0)


def _forget_complaints() -> bytes:
    """The same, and an empty file for the next."""
    words = _complaints()
    if words:
        os.ftruncate(2, 0)
        os.lseek(2, 0, os.SEEK_SET)
    return words


def _reason(words: bytes) -> str:
    """What ffmpeg wrote, boiled down to what the user can act on."""
    state = re.search(r"(?:HTTP error|failed:) (\d{3})", words.decode(errors="replace"))
    if state:
        return f": {_STATES.get(state[1], f'it answers with error {state[1]}')}"
    return "; check its address, or try it in a player such as ffplay or VLC"
