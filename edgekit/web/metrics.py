"""What Prometheus is told at `/metrics`: read when it asks, so that nothing is counted twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from edgekit.web.board import Board

_CAMERA_COUNTERS = {
    "frames": ("frames", "Frames that came."),
    "looked": ("frames_looked", "Frames that the detector looked at."),
    "skipped": ("frames_skipped", "Frames that were never looked at."),
    "corrupt": ("frames_corrupt", "Frames that came damaged."),
    "events": ("events", "Events that were published."),
}
_CAMERA_GAUGES = {
    "fps": "Frames a second.",
    "detect_fps": "Frames a second that the detector looks at.",
}


class _Collector:
    """Turns a board's figures into metrics."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterable[Metric]:
        figures = self._board.figures()
        facts = {name: str(figures[name]) for name in ("version", "device", "profile", "model", "engine")}
        yield InfoMetricFamily("edgekit", "What runs.", value=facts)
        yield _gauge("progressing", "1 while frames are looked at.", figures["trouble"] is None)
        yield from _device(figures)
        yield from _cameras(figures["cameras"])
        yield from _places(figures["cameras"])


def _device(figures: Mapping[str, Any]) -> Iterable[Metric]:
    outbox, mqtt = figures["outbox"], figures["mqtt"]
    yield _gauge("uptime_seconds", "Since the start.", figures.get("uptime_s", 0))
    yield _gauge("memory_bytes", "Resident memory.", figures.get("mem_mb", 0) * 2**20)
    yield _gauge("model_memory_bytes", "What the models hold.", figures.get("model_mb", 0) * 2**20)
    yield _gauge("model_budget_bytes", "Most that the models may.", (figures.get("budget_mb") or 0) * 2**20)
    for name, key, text in (
        ("inference_seconds", "infer_ms", "Time of the detector, last frames."),
        ("latency_seconds", "latency_ms", "From capture to the end, last frames."),
    ):
        quantiles = GaugeMetricFamily(f"edgekit_{name}", text, labels=["quantile"])
        for quantile, percentile in (("0.5", "p50"), ("0.95", "p95")):
            quantiles.add_metric([quantile], (figures.get(key, {}).get(percentile) or 0) / 1000)
        yield quantiles
    yield _gauge("mqtt_connected", "1 while the broker is there.", mqtt["connected"])
    yield _counter("mqtt_reconnects", "Connections after the first.", mqtt["reconnects"])
    yield _counter("mqtt_messages_sent", "Messages that the broker has acknowledged.", mqtt["sent"])
    yield _gauge("outbox_pending", "Events that wait for the broker.", outbox["pending"])
    yield _gauge("outbox_bytes", "Their place on disk.", outbox["bytes"])
    yield _counter("outbox_dropped", "Events that are lost.", outbox["dropped"])


def _cameras(cameras: list[dict[str, Any]]) -> Iterable[Metric]:
    for key, (name, text) in _CAMERA_COUNTERS.items():
        counter = CounterMetricFamily(f"edgekit_camera_{name}", text, labels=["camera"])
        for camera in cameras:
            counter.add_metric([camera["name"]], camera[key])
        yield counter
    for name, text in _CAMERA_GAUGES.items():
        gauge = GaugeMetricFamily(f"edgekit_camera_{name}", text, labels=["camera"])
        for camera in cameras:
            gauge.add_metric([camera["name"]], camera[name])
        yield gauge
    online = GaugeMetricFamily("edgekit_camera_online", "1 while it gives frames.", labels=["camera"])
    age = GaugeMetricFamily("edgekit_camera_frame_age_seconds", "Since its last frame.", labels=["camera"])
    for camera in cameras:
        online.add_metric([camera["name"]], camera["status"] in ("online", "degraded"))
        if camera["age_s"] is not None:
            age.add_metric([camera["name"]], camera["age_s"])
    yield online
    yield age


def _places(cameras: list[dict[str, Any]]) -> Iterable[Metric]:
    objects = GaugeMetricFamily("edgekit_objects", "Things in the picture.", labels=["camera", "label"])
    zones = GaugeMetricFamily("edgekit_zone_objects", "Things in a zone.", labels=["camera", "zone", "label"])
    lines = CounterMetricFamily(
        "edgekit_line_crossings", "Crossings of a line.", labels=["camera", "line", "direction"]
    )
    alarms = GaugeMetricFamily("edgekit_alarm", "1 while it is raised.", labels=["camera", "alarm"])
    for camera in cameras:
        for label, number in camera["counts"].items():
            objects.add_metric([camera["name"], label], number)
        for zone in camera["zones"]:
            for label, number in zone["counts"].items():
                zones.add_metric([camera["name"], zone["name"], label], number)
        for line in camera["lines"]:
            for direction in ("in", "out"):
                lines.add_metric([camera["name"], line["name"], direction], line[direction])
        for alarm in camera["alarms"]:
            alarms.add_metric([camera["name"], alarm["name"]], alarm["on"])
    yield from (objects, zones, lines, alarms)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"edgekit_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"edgekit_{name}", text, value=value)


def exposition(board: Board, accept: str) -> tuple[bytes, str]:
    """The metrics in the form that the `Accept` header asks for, and its content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(board))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
