"""The child that reads one camera: as fast as it delivers, keeping only the newest picture.

Its parent is `edgekit.sources.capture.Capture`, which tells what they say to each other.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from edgekit.errors import UnavailableError
from edgekit.sources.capture import Shot
from edgekit.sources.reader import open_reader

_FAILURES = 5  # in a row are the end of a stream


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
    """The way to the parent: the shared memory and the pipe."""

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
    """A thread reads the camera, this one listens to the parent.

    Leaves by os._exit, which no blocked read can hold up.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the parent ends this one when it is done
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
        _stream(request["target"], request["fps"], post, slot)
    except Exception as error:  # the last words of a worker: whatever it was, the parent is told
        post.tell(error=str(error) or type(error).__name__)
    os._exit(1)


def _stream(target: str, fps: float | None, post: _Post, slot: Slot) -> None:
    reader, limit = open_reader(target, fps), Limit(fps)
    index = corrupt = failed = 0
    while failed < _FAILURES:
        mono_s = reader.grab()
        if mono_s is None:
            failed += 1
            time.sleep(0.02)
            continue
        failed = 0
        if not limit.takes(mono_s):
            continue
        image = reader.retrieve()
        if image is None:
            corrupt += 1
            continue
        if not index:
            post.tell(fps=reader.fps)
        time_s = time.time() - (time.monotonic() - mono_s)
        slot.offer(Shot(image, index, time_s, mono_s, corrupt))
        index += 1
    raise UnavailableError(reader.end(index))
