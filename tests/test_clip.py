"""A real clip, one person at a time: the visits that are reported against those that a person saw.

`pytest -s tests/test_clip.py` prints both side by side, and what the motion gate saves.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml
from scripted import Noting

from edgekit import inference
from edgekit.config.settings import DetectConfig, MotionConfig
from edgekit.mqtt.sink import ListSink
from edgekit.pipeline import Pipeline
from edgekit.pipeline.inbox import Camera
from edgekit.pipeline.lane import CameraState
from edgekit.sources import open_source

TRUTH = yaml.safe_load(
    (Path(__file__).parent / "golden" / "one-by-one-visits.yaml").read_text(encoding="utf-8")
)
Span = tuple[float, float]  # seconds from the start of the clip


def watch(clip: Path, detect: DetectConfig) -> tuple[list[Span], CameraState, float]:
    """Start and end of each visit of a person that a pipeline reports, what it did, and its CPU seconds."""
    sink = ListSink()
    source = Noting(open_source(str(clip), camera="hall"))
    model = inference.open("detect/edgenano-025-320-coco10/dense_int8")
    pipeline = Pipeline([Camera("hall", detect, lambda: source)], model, sink)
    before_s = time.process_time()
    pipeline.run()
    cpu_s = time.process_time() - before_s
    visits = [event.after for event in sink.events if event.type == "end"]
    spans = sorted((visit.start_s - source.first_s, visit.seen_s - source.first_s) for visit in visits)
    return spans, pipeline.states[0], cpu_s


def meet(a: Span, b: Span) -> bool:
    return a[0] < b[1] and b[0] < a[1]


BRIEF_S = 0.3
SLOW = pytest.mark.skipif("EDGEKIT_PYTHON" in os.environ, reason="takes too long on an emulated CPU")
PERSONS = DetectConfig(labels=["person"])
GATED = PERSONS.model_copy(update={"motion": MotionConfig()})


@SLOW
@pytest.mark.parametrize("detect", [PERSONS, GATED], ids=["every frame", "motion"])
def test_every_visit_of_the_clip_is_reported(detect: DetectConfig, shared: Path) -> None:
    reported, state, cpu_s = watch(shared / "data" / "clips" / TRUTH["clip"], detect)
    true = [(visit["first"] / TRUTH["fps"], visit["last"] / TRUTH["fps"]) for visit in TRUTH["visits"]]
    print(f"\n{len(true)} true visits, {len(reported)} reported; {saving(state, cpu_s)}")  # noqa: T201
    for visit in true:
        found = [span for span in reported if meet(span, visit)]
        print(f"{visit[0]:6.1f} to {visit[1]:5.1f} s: {[(round(a, 1), round(b, 1)) for a, b in found]}")  # noqa: T201
        assert found, f"nobody was reported between {visit[0]} and {visit[1]} s"
    assert all(any(meet(span, visit) for visit in true) for span in reported), "a person who is not there"
    assert abs(len(reported) - len(true)) <= 1
    assert state.looked < (0.75 if detect.motion else 1.01) * state.frames


@SLOW
def test_cars_are_reported_alike_with_and_without_the_motion_gate(shared: Path) -> None:
    clip = shared / "data" / "clips" / "intel_car-detection.mp4"
    every, all_state, all_cpu_s = watch(clip, DetectConfig())
    gated, state, cpu_s = watch(clip, DetectConfig(motion=MotionConfig()))
    print(f"\n{len(every)} visits: {saving(all_state, all_cpu_s)}")  # noqa: T201
    print(f"{len(gated)} visits: {saving(state, cpu_s)}")  # noqa: T201
    for some, others in (
        (every, gated),
        (gated, every),
    ):  # what is seen for a moment hangs on which frame it is
        lasting = [(start_s, end_s) for start_s, end_s in some if end_s - start_s >= BRIEF_S]
        assert lasting
        assert all(any(meet(a, b) for b in others) for a in lasting)
    assert state.looked < 0.75 * state.frames


def saving(state: CameraState, cpu_s: float) -> str:
    return f"{state.looked} of {state.frames} frames looked at, {cpu_s:.1f} s of CPU"
