"""What there is to show of a pipeline: filled by the pipeline's thread, read by the page's."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgekit import __version__
from edgekit.config.page import WebConfig
from edgekit.config.settings import CameraConfig
from edgekit.pipeline.lane import CameraState, Outcome, States
from edgekit.pipeline.observe import Observer
from edgekit.pipeline.progress import Progress
from edgekit.types import Event, Frame, Track
from edgekit.web.picture import overlay, places, to_jpeg

EVENTS_KEPT = 30
USUAL_SIZE = (640, 360)  # of a camera that has given no picture yet


@dataclass(frozen=True, slots=True)
class Facts:
    """What does not change while a pipeline runs; `broker` is HOST:PORT."""

    device: str
    profile: str
    model: str
    engine: str
    broker: str
    cameras: Mapping[str, CameraConfig]


@dataclass(frozen=True, slots=True)
class Shot:
    """A frame and what was found in it; `number` counts what the board has seen."""

    number: int
    frame: Frame
    tracks: Sequence[Track]
    reported: frozenset[int]


def story(event: Event) -> str:
    """What has happened, for people: `came`, `entered drive`, `crossed gate, in`; "" for small changes."""
    if event.type != "update" or event.before is None:
        return "came" if event.type == "new" else "left"
    before, after = event.before, event.after
    told = [f"crossed {crossing.line}, {crossing.direction}" for crossing in after.lines[len(before.lines) :]]
    told += [f"entered {zone}" for zone in after.zones if zone not in before.zones]
    told += [f"left {zone}" for zone in before.zones if zone not in after.zones]
    if before.label != after.label:
        told.append(f"was taken for a {before.label}")
    if before.stationary != after.stationary:
        told.append("stands still" if after.stationary else "moves on")
    return ", ".join(told)


class Board(Observer):
    """The last frame of each camera, the last events, and how it all does.

    `health` gives the health message as of now (`edgekit.mqtt.messages.health_payload`), from any thread.
    """

    def __init__(
        self,
        settings: WebConfig,
        facts: Facts,
        health: Callable[[], Mapping[str, Any]],
        progress: Progress,
    ) -> None:
        self.settings = settings
        self.facts = facts
        self.progress = progress
        self.health = health
        self._cameras: dict[str, dict[str, Any]] = {}
        self._reported: dict[str, set[int]] = {}  # ids of the tracks that are reported and not gone
        self._shots: dict[str, Shot] = {}
        self._states: dict[str, States] = {}
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self._wakers: set[Callable[[], None]] = set()
        self._numbers = itertools.count(1)
        self._jpegs: dict[str, tuple[int, bytes]] = {}
        self._encoding: dict[str, asyncio.Lock] = {}
        self._closed = False

    def frame(self, frame: Frame, outcome: Outcome, states: States) -> None:
        reported = frozenset(self._reported.get(frame.camera, ()))
        self._shots[frame.camera] = Shot(next(self._numbers), frame, outcome.tracks, reported)
        self._states[frame.camera] = states
        self._wake()

    def event(self, event: Event) -> None:
        thing, reported = event.after, self._reported.setdefault(event.camera, set())
        (reported.discard if event.type == "end" else reported.add)(thing.id)
        if not (text := story(event)):
            return
        self._events.append(
            {
                "number": next(self._numbers),
                "time": round(event.time_s, 3),
                "camera": event.camera,
                "type": event.type,
                "id": thing.id,
                "label": thing.label,
                "score": round(thing.score, 3),
                "text": text,
            }
        )

    def tick(self, cameras: Sequence[CameraState]) -> None:
        self._cameras = {camera.name: asdict(camera) for camera in cameras}

    def change(self, facts: Facts) -> None:
        """Another pipeline runs from now on: what is known of the cameras does not hold any more."""
        self.facts = facts
        for known in (self._shots, self._states, self._reported, self._cameras, self._jpegs):
            known.clear()

    def close(self) -> None:
        """Nobody waits for a frame any more."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        for wake in tuple(self._wakers):
            wake()

    async def next_shot(self, camera: str, after: int, timeout_s: float) -> Shot | None:
        """The newest frame of a camera, if it is newer than number `after` or comes in time."""
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the page is gone, the pipeline is not
                loop.call_soon_threadsafe(changed.set)

        self._wakers.add(wake)
        try:
            async with asyncio.timeout(timeout_s):
                while (shot := self._newer(camera, after)) is None and not self._closed:
                    await changed.wait()
                    changed.clear()
                return shot
        except TimeoutError:
            return None
        finally:
            self._wakers.discard(wake)

    def _newer(self, camera: str, after: int) -> Shot | None:
        shot = self._shots.get(camera)
        return shot if shot and shot.number > after else None

    async def jpeg(self, shot: Shot) -> bytes:
        """The picture of a shot: made once, however many look at it."""
        camera = shot.frame.camera
        async with self._encoding.setdefault(camera, asyncio.Lock()):
            number, jpeg = self._jpegs.get(camera, (0, b""))
            if number != shot.number:
                jpeg = await asyncio.to_thread(to_jpeg, shot.frame.image, self.settings.width)
                self._jpegs[camera] = (shot.number, jpeg)
            return jpeg

    def overlay(self, shot: Shot) -> dict[str, Any]:
        """What lies over the picture of a shot."""
        return overlay(shot.number, shot.frame, shot.tracks, shot.reported)

    def figures(self) -> dict[str, Any]:
        """All but the pictures."""
        health = dict(self.health())
        health.pop("cameras", None)
        facts, settings = self.facts, self.settings
        return {
            **health,
            "version": __version__,
            "device": facts.device,
            "profile": facts.profile,
            "model": facts.model,
            "engine": facts.engine,
            "broker": facts.broker,
            "privacy": settings.privacy,
            "fps": settings.fps,
            "trouble": self.progress.trouble(),
            "cameras": [self._camera(name, camera) for name, camera in facts.cameras.items()],
            "events": list(self._events),
        }

    def _camera(self, name: str, camera: CameraConfig) -> dict[str, Any]:
        """The figures of one camera, its places and what is so in them."""
        shot = self._shots.get(name)
        size = (shot.frame.image.shape[1], shot.frame.image.shape[0]) if shot else USUAL_SIZE
        state = dict(self._cameras.get(name) or asdict(CameraState(name)))
        last_s = state.pop("last_mono_s")
        age_s = None if last_s is None else round(time.monotonic() - last_s, 2)
        return {**state, "age_s": age_s, "size": size, **self._places(name, camera, size)}

    def _places(self, name: str, scene: CameraConfig, size: tuple[int, int]) -> dict[str, Any]:
        states = self._states.get(name, {})
        drawn = places(scene, size)
        counts: dict[str, dict[str, int]] = {zone: {} for zone in drawn["zones"]}
        for (kind, *names), state in states.items():
            if kind == "zone":
                counts.setdefault(names[0], {})[names[1]] = state[0]
        crossed = {line: states.get(("line", line), (0, 0, None)) for line in drawn["lines"]}
        return {
            "zones": [
                {"name": zone, "points": points, "counts": counts[zone]}
                for zone, points in drawn["zones"].items()
            ],
            "lines": [
                {"name": line, "points": points, "in": crossed[line][0], "out": crossed[line][1]}
                for line, points in drawn["lines"].items()
            ],
            "alarms": [
                {"name": alarm, "on": bool(states.get(("alarm", alarm), (False,))[0])}
                for alarm in scene.alarms
            ],
            "motion": states.get(("motion",), (None,))[0],
            "tampered": states.get(("tamper",), (False,))[0],
        }
