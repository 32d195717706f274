"""A camera or stream read in a child process that can be killed, because a read in OpenCV can hang for ever.

`Capture` is the parent's end, `edgekit.sources.child` the child. They share a piece of memory that holds one
picture, and talk in lines of JSON over two pipes:

    parent -> child   {"target": …, "fps": …, "memory": …}, once; then one byte for each picture wanted
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
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import UnavailableError
from edgekit.sources.address import shown

if TYPE_CHECKING:
    from edgekit.types import Image

_log = logging.getLogger("edgekit.sources")
_CLOSE_S = 0.5
_CHILD = "import sys; sys.path.append(sys.argv[1]); from edgekit.sources.child import main; main()"


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A picture as the child hands it over: `index` counts those taken since the camera was opened."""

    image: Image
    index: int
    time_s: float
    mono_s: float
    corrupt: int = 0


class Capture:
    """One child that reads `target` (a device path, `csi:0`, a URL): `open` once, `read` often, then `close`.

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
    env = dict(
        os.environ, OPENCV_LOG_LEVEL="OFF", OPENCV_FFMPEG_LOGLEVEL="32"
    )  # errors, HTTP states, concealed damage
    python = os.environ.get("EDGEKIT_PYTHON", sys.executable)
    words = os.memfd_create("edgekit-words")
    try:
        return subprocess.Popen(  # noqa: S603  (our own module, by our own interpreter)
            [python, "-P", "-c", _CHILD, str(Path(__file__).resolve().parents[2])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            pass_fds=[memory],
            env=env,
            bufsize=0,
        )
    finally:
        os.close(words)
