"""A real clip, one person at a time: the visits that are reported against those that a person saw.

`pytest -s tests/test_clip.py` prints both side by side.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from scripted import Noting

from edgekit import inference, zoo
from edgekit.inbox import Camera
from edgekit.mqtt import ListSink
from edgekit.pipeline import Pipeline
from edgekit.settings import DetectConfig
from edgekit.sources import open_source

TRUTH = yaml.safe_load(
    (Path(__file__).parent / "golden" / "one-by-one-visits.yaml").read_text(encoding="utf-8")
)
Span = tuple[float, float]  # seconds from the start of the clip


def watch(clip: Path) -> list[Span]:
    """Start and end of each visit of a person that a pipeline with the default settings reports."""
    sink = ListSink()
    source = Noting(open_source(str(clip), camera="hall"))
    camera = Camera("hall", DetectConfig(labels=["person"]), lambda: source)
    Pipeline([camera], inference.open(zoo.list_models()[0].name), sink).run()
    visits = [event.after for event in sink.events if event.type == "end"]
    return sorted((visit.start_s - source.first_s, visit.seen_s - source.first_s) for visit in visits)


def meet(a: Span, b: Span) -> bool:
    return a[0] < b[1] and b[0] < a[1]


@pytest.mark.skipif("EDGEKIT_PYTHON" in os.environ, reason="1394 frames take too long on an emulated CPU")
def test_every_visit_of_the_clip_is_reported(shared: Path) -> None:
    reported = watch(shared / "data" / "clips" / TRUTH["clip"])
    true = [(visit["first"] / TRUTH["fps"], visit["last"] / TRUTH["fps"]) for visit in TRUTH["visits"]]
    print(f"\n{len(true)} true visits, {len(reported)} reported")  # noqa: T201
    for visit in true:
        found = [span for span in reported if meet(span, visit)]
        print(f"{visit[0]:6.1f} to {visit[1]:5.1f} s: {[(round(a, 1), round(b, 1)) for a, b in found]}")  # noqa: T201
        assert found, f"nobody was reported between {visit[0]} and {visit[1]} s"
    assert all(any(meet(span, visit) for visit in true) for span in reported), "a person who is not there"
    assert abs(len(reported) - len(true)) <= 1
