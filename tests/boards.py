"""A live page without a pipeline behind it: a board that a test fills by hand."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from brokers import free_port

from edgekit.config.page import WebConfig
from edgekit.config.settings import CameraConfig
from edgekit.mqtt.messages import health_payload
from edgekit.pipeline.lane import EVERY_FRAME, CameraState, Outcome, States
from edgekit.pipeline.progress import Progress
from edgekit.types import Detections, Event, Frame, Track
from edgekit.web import Board, Facts, serve

pytest.importorskip("uvicorn", reason="needs the extra edgekit[web]")

WIDTH, HEIGHT = 320, 180
PLACES = {
    "zones": {
        "drive": {"points": [[0.1, 0.5], [0.9, 0.5], [0.9, 1], [0.1, 1]]},
        "far_right": {"points": [[0.95, 0], [1, 0], [1, 0.4], [0.95, 0.4]]},
    },
    "lines": {"gate": {"points": [["0px", "60px"], ["160px", "180px"]]}},
    "alarms": {"intruder": {"when": "person in drive"}},
}
STATES: States = {
    ("zone", "drive", "person"): (1,),
    ("line", "gate"): (3, 2, "2026-11-22T10:03:11.482Z"),
    ("alarm", "intruder"): (True,),
    ("motion",): (True,),
}
MQTT = {"connected": True, "reconnects": 1, "sent": 42, "undelivered": 0}
OUTBOX = {"pending": 7, "dropped": 2, "bytes": 4096, "durable": True, "trouble": None}
HEALTH = {
    "uptime_s": 61.0,
    "infer_ms": {"p50": 12.0, "p95": 20.0},
    "latency_ms": {"p50": 30.0, "p95": 45.0},
    "mem_mb": 96.0,
    "model_mb": 9.3,
    "budget_mb": 150.0,
    "cpu": 0.4,
    "temp_c": 51.5,
    "throttled": False,
}


def person(score: float = 0.87) -> Track:
    return Track(7, "person", score, score, (64, 45, 160, 171), 1000.0, 1001.0, zones=("drive",))


@dataclass
class Filled:
    """The board, and the pipeline's part of filling it; `clock_s` is what `Progress` takes for the time."""

    settings: WebConfig
    clock_s: float = 100.0
    frames: Iterator[int] = field(default_factory=itertools.count)
    config_error: str | None = None

    def __post_init__(self) -> None:
        front = CameraConfig.model_validate({"source": "demo:", **PLACES})
        cameras = {"front": front, "back": CameraConfig(source="demo:")}
        facts = Facts(
            "shed", "raspberry-pi-4", "detect/tiny/dense_int8", "native", "broker.lan:1883", cameras
        )
        self.progress = Progress(lambda: self.clock_s)
        self.board = Board(self.settings, facts, self.health, self.progress)
        self.status = {"front": "online", "back": "offline"}

    def health(self) -> dict[str, Any]:
        return health_payload(HEALTH, MQTT, OUTBOX, config_error=self.config_error)

    def see(self, *tracks: Track, grey: int = 114) -> Frame:
        """One frame of the front camera goes through the pipeline."""
        image = np.full((HEIGHT, WIDTH, 3), grey, np.uint8)
        frame = Frame(image, "front", next(self.frames), time.time(), time.monotonic())
        outcome = Outcome(EVERY_FRAME, Detections.empty(), list(tracks), [], [])
        for observer in (self.progress, self.board):
            observer.frame(frame, outcome, STATES)
        self.turn()
        return frame

    def turn(self) -> None:
        """The loop comes round."""
        front = CameraState(
            "front", self.status["front"], 10, 8, 1, 0, 0, 2, {"person": 1}, 5.0, 4.0, 12.0, 30.0, 1.0
        )
        cameras = [front, replace(CameraState("back"), status=self.status["back"])]
        for observer in (self.progress, self.board):
            observer.tick(cameras)

    def tell(self, kind: Any, track: Track, before: Track | None = None) -> None:
        self.board.event(Event(kind, "front", 1, before, track, WIDTH, HEIGHT, 1001.0, 1.0))


@contextlib.contextmanager
def page(**settings: Any) -> Iterator[tuple[Filled, str]]:
    """A page that is served, and its address without the slash at its end."""
    given = {"port": free_port(), **settings}
    filled = Filled(WebConfig.model_validate(given))
    with serve(filled.board):
        yield filled, f"http://127.0.0.1:{given['port']}"
