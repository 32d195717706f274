"""A camera or stream read in a child process that can be killed, because a read in OpenCV can hang for ever.

`Capture` is the parent's end, `main` the child. They share one page of memory that
holds one picture, and talk in lines of JSON over two pipes:

    parent -> child   {"target": …, "device": …, "fps": …}, once; then one byte for each picture wanted
    child -> parent   {"fps": …} once the first picture is there; {"index": …, "height": …, …} for each
                      picture; {"error": …} as its last words

The child reads the camera as fast as it delivers and keeps only the newest picture: nothing ever queues.
It ends when its standard input closes or its parent is gone, so not even `kill -9` leaves it behind.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from edgekit.errors import UnavailableError

if TYPE_CHECKING:
    from edgekit.types import Image

_log = logging.getLogger("edgekit.capture")
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_CLOSE_S = 0.5
_CHILD = "import sys; sys.path.append(sys.argv[1]); from edgekit.capture import main; main()"


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A picture as the child hands it over: `index` counts those taken since the camera was opened."""

    image: Image
    index: int
    time_s: float
    mono_s: float
    corrupt: int = 0


def shown(target: str) -> str:
    """`target` as it may stand in a message or a log: without user, password and query."""
    url = urlsplit(target)
    if not url.scheme or not url.netloc:
        return target
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


# ── the parent's end ────────────────────────────────────────────────────────────────────────────────────


class Capture:
    """One child that reads `target`, a device path or a URL: `open` once, `read` often, `close` always.

    `fps` limits the pictures that are taken; `timeout_s` is the longest wait for the first picture, and
    for each later one on top of 1/fps. `open` and `read` raise UnavailableError when there is none in time,
    or when the child says why there will be none. `close` may come from another thread, and ends them.
    """

    def __init__(self, target: str, *, fps: float | None = None, timeout_s: float = 10.0) -> None:
        self._target = shown(target)
        self._request = {"target": target, "fps": fps}
        self._timeout_s = timeout_s
        self._wait_s = timeout_s + (1 / fps if fps else 0)
        self._heard = b""
        self._busy = threading.Lock()
        self._memory = os.memfd_create("edgekit-picture")
        self._map: mmap.mmap | None = None
        try:
            self._child = _start_child(self._memory)
        except OSError as error:
            os.close(self._memory)
            raise UnavailableError(f"{self._target}: no reader can be started: {error}") from None

    def open(self) -> float | None:
        """Wait until the first picture is there; the nominal frames per second, None when unknown."""
        with self._busy:
            self._tell(json.dumps({**self._request, "memory": self._memory}).encode() + b"\n")
            fps: float | None = self._hear(self._timeout_s)["fps"]
        return fps

    def read(self) -> Shot:
        """The newest picture that was not handed over yet; waits for the next when there is none."""
        with self._busy:
            self._tell(b"n")
            told = self._hear(self._wait_s)
            shape = told["height"], told["width"], 3
            image = np.frombuffer(self._mapped(int(np.prod(shape))), np.uint8).reshape(shape).copy()
        return Shot(image, told["index"], told["time_s"], told["mono_s"], told["corrupt"])

    def close(self) -> None:
        """Kill the child, at once and for good; wakes a thread that waits in `read`."""
        self._child.kill()
        try:
            self._child.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            _log.warning("%s: the reader does not end: its driver is stuck", self._target)
        if self._busy.acquire(timeout=_CLOSE_S):
            self._release()
            self._busy.release()

    def _release(self) -> None:
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    def _mapped(self, size: int) -> memoryview:
        if self._map is None or len(self._map) < size:
            if self._map is not None:
                self._map.close()
            self._map = mmap.mmap(self._memory, size, prot=mmap.PROT_READ)
        return memoryview(self._map)[:size]

    def _tell(self, data: bytes) -> None:
        pipe = self._child.stdin
        if pipe is None or pipe.closed:
            raise UnavailableError(f"{self._target}: is closed")
        try:
            os.write(pipe.fileno(), data)
        except BrokenPipeError:
            _log.debug("%s: the reader is gone; its last words follow", self._target)

    def _hear(self, timeout_s: float) -> dict[str, Any]:
        pipe = self._child.stdout
        if pipe is None or pipe.closed:
            raise UnavailableError(f"{self._target}: is closed")
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        end_s = time.monotonic() + timeout_s
        while b"\n" not in self._heard:
            if not poll.poll(max(0.0, end_s - time.monotonic()) * 1000):
                raise UnavailableError(
                    f"{self._target}: no picture for {timeout_s:g} s; check that it is on and reachable"
                )
            chunk = os.read(pipe.fileno(), 65536)
            if not chunk:
                raise UnavailableError(f"{self._target}: the reader ended ({self._child.poll()})")
            self._heard += chunk
        line, _, self._heard = self._heard.partition(b"\n")
        told: dict[str, Any] = json.loads(line)
        if "error" in told:
            raise UnavailableError(f"{self._target}: {told['error']}")
        return told


def _start_child(memory: int) -> subprocess.Popen[bytes]:
    env = dict(os.environ, OPENCV_LOG_LEVEL="OFF", OPENCV_FFMPEG_LOGLEVEL="24")  # 24: errors and HTTP states
    python = os.environ.get("EDGEKIT_PYTHON", sys.executable)
    words = os.memfd_create("edgekit-words")
    try:
        return subprocess.Popen(  # noqa: S603  (our own module, by our own interpreter)
            [python, "-P", "-c", _CHILD, str(Path(__file__).resolve().parents[1])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            pass_fds=[memory],
            env=env,
            bufsize=0,
        )
    finally:
        os.close(words)


# ── the child's end ─────────────────────────────────────────────────────────────────────────────────────


class Slot:
    """Holds the newest picture until it is wanted, and gives it away once.

    `offer` and `want` come from different threads; `send` is called when both a picture and a wish for
    one are there.
    """

    def __init__(self, send: Callable[[Shot], None]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._shot: Shot | None = None
        self._wanted = False

    def offer(self, shot: Shot) -> None:
        with self._lock:
            self._shot = shot
            self._match()

    def want(self) -> None:
        with self._lock:
            self._wanted = True
            self._match()

    def _match(self) -> None:
        if self._wanted and self._shot is not None:
            shot, self._shot, self._wanted = self._shot, None, False
            self._send(shot)


class Limit:
    """Says which pictures to take so that no more than `fps` a second come, evenly spaced; None takes all."""

    def __init__(self, fps: float | None) -> None:
        self._step_s = 1 / fps if fps else 0.0
        self._due_s = float("-inf")

    def takes(self, mono_s: float) -> bool:
        """Whether the picture made at `mono_s` is one to take; call it with rising times."""
        if mono_s < self._due_s:
            return False
        self._due_s += self._step_s
        if self._due_s <= mono_s:
            self._due_s = mono_s + self._step_s
        return True


class _Post:
    """The child's way to the parent: the shared memory and the pipe."""

    def __init__(self, pipe: int, memory: int) -> None:
        self._pipe = pipe
        self._memory = memory
        self._map: mmap.mmap | None = None

    def tell(self, **words: object) -> None:
        os.write(self._pipe, json.dumps(words).encode() + b"\n")

    def send(self, shot: Shot) -> None:
        size = shot.image.nbytes
        if self._map is None or len(self._map) < size:
            os.ftruncate(self._memory, size)
            self._map = mmap.mmap(self._memory, size)
        np.copyto(np.frombuffer(self._map, np.uint8, size).reshape(shot.image.shape), shot.image)
        height, width = shot.image.shape[:2]
        self.tell(
            height=height,
            width=width,
            index=shot.index,
            time_s=shot.time_s,
            mono_s=shot.mono_s,
            corrupt=shot.corrupt,
        )


def main() -> None:
    """The child: a thread reads the camera, this one listens to the parent.

    Leaves by os._exit, which no blocked read can hold up.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    pipe = os.dup(1)
    os.dup2(2, 1)
    request = json.loads(_read_line(0))
    post = _Post(pipe, request["memory"])
    slot = Slot(post.send)
    threading.Thread(target=_read_camera, args=(request, post, slot), daemon=True).start()
    poll = select.poll()
    poll.register(0, select.POLLIN)
    while os.getppid() == parent:
        if poll.poll(1000):
            if not os.read(0, 1):
                break
            slot.want()
    os._exit(0)


def _read_line(fd: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(fd, 1)
        if not byte:
            os._exit(0)
        line += byte
    return line


def _read_camera(request: dict[str, Any], post: _Post, slot: Slot) -> None:
    try:
        _stream(request["target"], Limit(request["fps"]), post, slot)
    except Exception as error:  # the last words of a worker: whatever it was, the parent is told
        post.tell(error=str(error) or type(error).__name__)
    os._exit(1)


def _stream(target: str, limit: Limit, post: _Post, slot: Slot) -> None:
    camera = _open_camera(target)
    index, corrupt, failed = 0, 0, 0
    while failed < 5:
        if not camera.grab():
            failed += 1
            time.sleep(0.02)
            continue
        failed = 0
        time_s, mono_s = time.time(), time.monotonic()
        if not limit.takes(mono_s):
            continue
        image = _retrieve(camera)
        if image is None:
            corrupt += 1
            continue
        if not index:
            post.tell(fps=_rate(camera))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # nobody reads what ffmpeg says from here on
        slot.offer(Shot(image, index, time_s, mono_s, corrupt))
        index += 1
    raise UnavailableError("the stream ended" if index else f"opens, but gives no picture{_reason()}")


def _retrieve(camera: Any) -> Image | None:
    good, image = camera.retrieve()
    if not good or image is None or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        return None
    return np.ascontiguousarray(image, np.uint8)


def _rate(camera: Any) -> float | None:
    import cv2

    fps = float(camera.get(cv2.CAP_PROP_FPS))
    return fps if 0 < fps <= 1000 else None


def _open_camera(target: str) -> Any:
    """The opened cv2.VideoCapture; raises UnavailableError saying what the matter is."""
    import cv2

    if "://" in target:
        _knock(target)
        camera = cv2.VideoCapture(target, cv2.CAP_FFMPEG)
        if not camera.isOpened():
            raise UnavailableError(f"cannot be read as a video stream{_reason()}")
    else:
        camera = cv2.VideoCapture(target, cv2.CAP_V4L2)
        if not camera.isOpened():
            raise UnavailableError("cannot be opened; is it a camera, and does another program use it?")
    return camera


def _knock(target: str) -> None:
    """Connect once and hang up: the system's words for what fails here are clearer than ffmpeg's."""
    url = urlsplit(target)
    host, port = url.hostname or "", url.port or _PORTS.get(url.scheme, 80)
    try:
        socket.create_connection((host, port)).close()
    except socket.gaierror:
        raise UnavailableError(f"no host is called {host!r}; check the name and the network") from None
    except OSError as error:
        words = os.strerror(error.errno).lower() if error.errno else str(error)
        raise UnavailableError(f"port {port}: {words}; check the address and that it is on") from None


def _reason() -> str:
    """What ffmpeg wrote to standard error, boiled down to what the user can act on."""
    words = os.pread(2, 65536, 0).decode(errors="replace")
    state = re.search(r"(?:HTTP error|failed:) (\d{3})", words)
    if state:
        return f": {_STATES.get(state[1], f'it answers with error {state[1]}')}"
    return "; check its address, or try it in a player such as ffplay or VLC"


_STATES = {
    "401": "it refuses the user or password (401)",
    "403": "it forbids this user to look (403)",
    "404": "there is no such stream (404); check the path",
}
