"""Who watches a pipeline: the terminal's table, the live page, the service's watchdog, a test."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.pipeline.lane import CameraState, Outcome, States
from edgekit.types import Event, Frame


class Observer:
    """Every method is called in the pipeline's own thread and must return at once; each may be left out."""

    def event(self, event: Event) -> None:
        """An event has gone out."""

    def frame(self, frame: Frame, outcome: Outcome, states: States) -> None:
        """A frame has been looked at; `states` is what is so now in its camera's picture."""

    def tick(self, cameras: Sequence[CameraState]) -> None:
        """The loop has come round, a few times a second: an idle one too, one that hangs does not."""


class Observers(Observer):
    """Several as one."""

    def __init__(self, *observers: Observer | None) -> None:
        self._observers = [observer for observer in observers if observer]

    def event(self, event: Event) -> None:
        for observer in self._observers:
            observer.event(event)

    def frame(self, frame: Frame, outcome: Outcome, states: States) -> None:
        for observer in self._observers:
            observer.frame(frame, outcome, states)

    def tick(self, cameras: Sequence[CameraState]) -> None:
        for observer in self._observers:
            observer.tick(cameras)
