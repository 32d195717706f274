"""A file, a folder or a scene, played: each picture in turn, or by the clock."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from edgekit.sources.reel import Reel
from edgekit.types import Frame

if TYPE_CHECKING:
    from edgekit.types import Image

CLOSE_S = 2.0  # how long the end waits for the picture that is just being read


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
        self.live = self.lost = False
        self.fps: float | None = min(fps or reel.fps, reel.fps)
        self.skipped = 0
        self._reel = reel
        self._camera = camera
        self._rate = min(fps or reel.fps, reel.fps)
        self._loop = loop
        self._realtime = realtime
        self._clock = clock or Clock()
        self._closed = False
        self._stepping = threading.Lock()  # a decoder that is closed while it decodes crashes, or hangs
        self._passed = 0  # pictures of the reel, over all rounds
        self._round = 0  # pictures of this round

    @property
    def corrupt(self) -> int:
        return self._reel.corrupt

    def frames(self) -> Iterator[Frame]:
        """The frames from the start; ends with the reel, unless it loops."""
        self._passed = self._round = 0
        with self._stepping:
            if self._closed:
                return
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
        if self._stepping.acquire(timeout=CLOSE_S):
            self._reel.close()
            self._stepping.release()

    def _image_at(self, position: int) -> Image | None:
        while self._passed < position:
            if self._closed or not self._pass(self._reel.skip):
                return None
        image: Image | None = self._pass(self._reel.read)
        return image

    def _pass(self, step: Callable[[], Any]) -> Any:
        """One step of the reel, in the next round if this one is over; None at the end of all rounds."""
        with self._stepping:
            return None if self._closed else self._step(step)

    def _step(self, step: Callable[[], Any]) -> Any:
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
