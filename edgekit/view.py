"""What a person sees while a pipeline runs, and when it has run."""

from __future__ import annotations

import logging
import shlex
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edgekit.config import MqttConfig
from edgekit.console import print_table
from edgekit.pipeline.lane import CameraState
from edgekit.pipeline.observe import Observer
from edgekit.runtime import Ready, Summary
from edgekit.types import Event

log = logging.getLogger("edgekit.run")
STATUS_STYLES = {"online": "green", "connecting": "yellow", "offline": "red"}
EVENT_STYLES = {"new": "bold green", "update": "cyan", "end": "dim"}


class RunView(Observer):
    """The Observer of a run: a live table on a terminal, one line an event elsewhere."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self._console = console or Console(stderr=True, quiet=quiet)
        self._recent: deque[Text] = deque(maxlen=8)
        self._head: Text | None = None
        self._sent: Callable[[], int] = lambda: 0
        self._live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def ready(self, ready: Ready, publisher: Any) -> None:
        """Say where everything is, then start the table."""
        self._sent = lambda: publisher.sent
        mqtt = ready.mqtt
        self._head = Text.assemble(
            ("model   ", "dim"), f"{ready.model.name} ({ready.model.engine.name} engine)\n",
            ("broker  ", "dim"), f"{mqtt.host}:{mqtt.port}{' (embedded)' if ready.embedded else ''}\n",
            ("listen  ", "dim"), listening(mqtt),
            ("\npage    ", "dim") if ready.page else "", ready.page or "",
        )  # fmt: skip
        if self._console.is_terminal:
            self._live = Live(self.picture([]), console=self._console, auto_refresh=False)
            self._live.start()
        else:
            self._console.print(self._head, soft_wrap=True)

    def event(self, event: Event) -> None:
        """One event has gone out."""
        clock = time.strftime("%H:%M:%S", time.localtime(event.time_s))
        line = Text.assemble(
            (f"{clock} ", "dim"), f"{event.camera}  ", (f"{event.type:6}", EVENT_STYLES[event.type]),
            f" {event.after.label} {event.after.score:.2f}", (f"  #{event.number}", "dim"),
        )  # fmt: skip
        if self._live:
            self._recent.append(line)
        else:
            self._console.print(line, soft_wrap=True)

    def tick(self, cameras: Sequence[CameraState]) -> None:
        """Draw the table anew."""
        if self._live:
            self._live.update(self.picture(cameras), refresh=True)

    def picture(self, cameras: Sequence[CameraState]) -> Group:
        """All that stands on the terminal, for cameras in this state."""
        table = Table(header_style="bold")
        for name in ("camera", "status"):
            table.add_column(name)
        for name in ("fps", "model ms", "latency ms", "frames", "skipped"):
            table.add_column(name, justify="right")
        table.add_column("objects", min_width=20)
        table.add_column("events", justify="right")
        for camera in cameras:
            table.add_row(*_camera_row(camera))
        sent = Text.assemble(("messages sent ", "dim"), str(self._sent()))
        return Group(self._head or Text(), table, sent, *self._recent)


def listening(mqtt: MqttConfig) -> str:
    """A command that hears what is published; a login has to be put in."""
    words = ["mosquitto_sub", "-h", str(mqtt.host), "-p", str(mqtt.port)]
    if tls := mqtt.tls:
        words += ["--cafile", str(tls.ca)] if tls.ca else ["--tls-use-os-certs"]
        words += ["--cert", str(tls.cert), "--key", str(tls.key)] if tls.cert else []
        words += ["--insecure"] if tls.insecure else []
    words += ["-u", "USER", "-P", "PASSWORD"] if mqtt.user else []
    return shlex.join([*words, "-t", f"{mqtt.base}/#", "-v"])


class RunLog(Observer):
    """The Observer of a run with `--log-json`: events, and changes of a camera, are lines of the log."""

    def __init__(self) -> None:
        self._statuses: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ready(self, ready: Ready, _publisher: Any) -> None:
        """Say where everything is."""
        broker = f"{ready.mqtt.host}:{ready.mqtt.port}"
        _say("ready", model=ready.model.name, engine=ready.model.engine.name, broker=broker, page=ready.page)

    def event(self, event: Event) -> None:
        """One event has gone out."""
        thing = event.after
        _say(
            f"{event.camera}: {event.type} {thing.label}",
            camera=event.camera,
            event=event.type,
            number=event.number,
            label=thing.label,
            score=round(thing.score, 3),
            zones=list(thing.zones),
            latency_ms=event.latency_ms.get("total"),
        )

    def tick(self, cameras: Sequence[CameraState]) -> None:
        """Tell of each camera whose status has changed."""
        for camera in cameras:
            if self._statuses.get(camera.name) != camera.status:
                self._statuses[camera.name] = camera.status
                _say(f"{camera.name}: {camera.status}", camera=camera.name, status=camera.status)


def _say(text: str, **facts: object) -> None:
    log.info("%s", text, extra={"facts": facts})


def _camera_row(camera: CameraState) -> tuple[Text | str, ...]:
    objects = ", ".join(f"{n} {label}" for label, n in sorted(camera.counts.items()) if n) or "-"
    return (
        camera.name,
        Text(camera.status, style=STATUS_STYLES.get(camera.status, "")),
        f"{camera.fps:.1f}",
        f"{camera.infer_ms:.1f}",
        f"{camera.total_ms:.1f}",
        str(camera.frames),
        str(camera.skipped),
        objects,
        str(camera.events),
    )


def print_summary(summary: Summary) -> None:
    """The result of a run, on stdout."""
    columns = ("camera", "frames", "skipped", "fps", "model ms", "latency ms", "events")
    rows = [
        (c.name, c.frames, c.skipped, f"{c.fps:.1f}", f"{c.infer_ms:.1f}", f"{c.total_ms:.1f}", c.events)
        for c in summary.cameras
    ]
    print_table("", columns, rows)
    sys.stdout.write(f"{summary.sent} messages delivered\n")


def summary_dict(summary: Summary) -> dict[str, Any]:
    """The result of a run as plain values."""
    cameras = [asdict(camera) for camera in summary.cameras]
    return {"cameras": cameras, "sent": summary.sent, "signal": summary.signal}
