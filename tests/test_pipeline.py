"""The one loop, with lists at both ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from scripted import Seen, blank_frames, scripted_model

from edgekit.config.scene import ConfirmConfig, SceneConfig
from edgekit.config.settings import DetectConfig, MotionConfig
from edgekit.errors import SourceError, UnavailableError
from edgekit.mqtt import ListSink
from edgekit.pipeline import Pipeline, loop
from edgekit.pipeline.allowance import Allowance
from edgekit.pipeline.inbox import Camera, Inbox
from edgekit.pipeline.lane import CameraState
from edgekit.pipeline.observe import Observer
from edgekit.pipeline.tally import Tally
from edgekit.sources import ListSource, Source
from edgekit.types import Crossing, Event, Frame

PERSON: Seen = ("person", (10, 10, 30, 50), 0.9)
DOG: Seen = ("dog", (40, 30, 60, 50), 0.8)
DETECT = DetectConfig(confirm=ConfirmConfig(frames=2, of=3), lost_s=0.5)


def run(
    seen: Sequence[Sequence[Seen]], detect: DetectConfig = DETECT, frames: int | None = None
) -> tuple[ListSink, list[CameraState]]:
    sink = ListSink()
    camera = Camera("front", detect, lambda: ListSource(blank_frames(len(seen))))
    pipeline = Pipeline([camera], scripted_model(seen), sink)
    pipeline.run(frames=frames)
    return sink, pipeline.states


def types(sink: ListSink) -> list[tuple[str, str]]:
    return [(event.type, event.after.label) for event in sink.events]


def test_a_visit_is_reported_from_its_confirmation_to_its_end() -> None:
    sink, states = run([[], [PERSON], [PERSON], [PERSON], *[[]] * 10])
    assert types(sink) == [("new", "person"), ("end", "person")]
    new, end = sink.events
    assert (new.time_s, end.time_s) == (
        1000.2,
        1000.9,
    )  # seen twice by 0.2 s, last at 0.3, lost after 0.5 more
    assert new.after.box == pytest.approx((10, 10, 30, 50), abs=0.5)
    assert (states[0].frames, states[0].events, states[0].status) == (14, 2, "offline")


def test_what_is_still_there_when_the_source_ends_gets_its_end() -> None:
    sink, _ = run([[PERSON]] * 4)
    assert types(sink) == [("new", "person"), ("end", "person")]


def test_in_a_folder_of_pictures_each_one_counts() -> None:
    sink = ListSink()
    camera = Camera("front", DetectConfig(), lambda: ListSource(blank_frames(1), fps=1.0))
    Pipeline([camera], scripted_model([[PERSON]]), sink).run()
    assert types(sink) == [("new", "person"), ("end", "person")]


def test_counts_are_published_at_start_on_change_and_at_the_end() -> None:
    sink, _ = run([[PERSON, DOG]] * 3)
    persons = [number for camera, label, number in sink.counts if label == "person"]
    total = [number for camera, label, number in sink.counts if label == "all"]
    assert persons == [0, 1, 0]
    assert total == [0, 2, 0]


def test_what_is_not_there_is_counted_as_none() -> None:
    _, states = run([[]], DETECT.model_copy(update={"labels": ["dog", "person"]}))
    assert states[0].counts == {"dog": 0, "person": 0}


def test_camera_status_is_online_from_the_first_frame_to_the_last() -> None:
    sink, _ = run([[]] * 3)
    assert sink.statuses == [("front", "online"), ("front", "offline")]


def test_only_watched_labels_count() -> None:
    sink, _ = run([[PERSON, DOG]] * 4, DETECT.model_copy(update={"labels": ["dog"]}))
    assert types(sink) == [("new", "dog"), ("end", "dog")]
    assert {label for _, label, _ in sink.counts} == {"dog", "animal", "all"}


def test_kinds_of_things_are_counted_too() -> None:
    sink, _ = run([[PERSON, DOG]] * 4, DETECT)
    seen = {label: max(n for _, one, n in sink.counts if one == label) for _, label, _ in sink.counts}
    assert (seen["person"], seen["dog"], seen["animal"], seen["all"]) == (1, 1, 1, 2)
    assert sink.counts[-1][2] == 0


SCENE = SceneConfig.model_validate(
    {
        "zones": {"yard": {"points": [[0, 0.5], [1, 0.5], [1, 1], [0, 1]], "labels": ["person"]}},
        "lines": {"gate": {"points": [[0, 0.7], [1, 0.7]]}},
        "alarms": {"intruder": {"when": "person in yard"}},
    }
)


class History(ListSink):
    """Remembers what the zone and the line were, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.zone: list[int] = []
        self.line: list[tuple[int, int, str]] = []

    def set_zone_count(self, camera: str, zone: str, label: str, number: int) -> None:
        self.zone.append(number)

    def set_line(self, camera: str, line: str, crossed_in: int, crossed_out: int, since: str) -> None:
        self.line.append((crossed_in, crossed_out, since))


def watch_scene(feet: Sequence[float], tally: Tally | None = None) -> History:
    """A person whose feet are in these rows, frame by frame."""
    sink = History()
    camera = Camera("front", DETECT, lambda: ListSource(blank_frames(len(feet))), SCENE)
    seen: list[list[Seen]] = [[("person", (20, foot - 24, 36, foot), 0.9)] for foot in feet]
    Pipeline([camera], scripted_model(seen), sink, tally=tally).run()
    return sink


WALK = [28.0, 28.0, *range(30, 62, 2), 60.0, 60.0]


def test_zones_and_lines_are_told_as_states_and_in_events() -> None:
    sink = watch_scene(WALK)
    since = "1970-01-01T00:16:40.000Z"
    assert sink.zone == [0, 1, 0]
    assert sink.line == [(0, 0, since), (1, 0, since)]
    end = sink.events[-1].after
    assert (end.zones, end.entered, end.lines) == (("yard",), ("yard",), (Crossing("gate", "in"),))
    assert sink.events[1].after.zones == ("yard",)


def test_an_alarm_is_told_once_and_cleared_when_the_visit_ends() -> None:
    sink = watch_scene(WALK)
    assert [(camera, name, kind) for camera, name, kind, _ in sink.alarms] == [
        ("front", "intruder", "raised"), ("front", "intruder", "cleared"),
    ]  # fmt: skip
    assert sink.states["alarm", "front", "intruder"] is False
    details = sink.alarms[0][3]
    assert (details["visit"], details["label"], details["zones"], details["lines"]) == (
        1,
        "person",
        ["yard"],
        [],
    )
    assert details["since"] == "1970-01-01T00:16:40.000Z"


def test_counts_of_a_line_go_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    watch_scene(WALK, Tally(path))
    assert [crossed_in for crossed_in, _, _ in watch_scene(WALK, Tally(path)).line] == [1, 2]


def test_where_nothing_moves_only_the_heartbeat_is_looked_at() -> None:
    sink, states = run([[]] * 60, DETECT.model_copy(update={"motion": MotionConfig()}))
    assert (states[0].frames, states[0].looked) == (60, 2)  # the first frame and one after 5 s
    assert sink.states["motion", "front"] is False


def test_a_thing_that_stands_still_is_there_although_nobody_looks() -> None:
    detect = DETECT.model_copy(update={"motion": MotionConfig(), "lost_s": 1.0})
    sink, states = run([[PERSON]] * 200, detect)
    assert [(e.type, e.time_s) for e in sink.events if e.type != "update"] == [
        ("new", 1000.1), ("end", 1019.9),
    ]  # fmt: skip
    assert sink.events[-1].end_s == pytest.approx(1019.9)
    assert states[0].looked < 60  # until it is known to stand still, then by heartbeat


def test_a_frozen_camera_is_degraded() -> None:
    scene = SceneConfig.model_validate(
        {"tamper": {"frozen": "2s"}, "alarms": {"intruder": {"when": "person"}}}
    )
    sink = ListSink()
    camera = Camera("front", DETECT, lambda: ListSource(blank_frames(40)), scene)
    Pipeline([camera], scripted_model([[]] * 40), sink).run()
    assert [status for _, status in sink.statuses] == ["online", "degraded", "offline"]
    signs = {"covered": False, "frozen": True, "moved": False, "dark": False}
    assert sink.states["tamper", "front"] == (True, signs)
    told = {"signs": ["frozen"], "capture": "1970-01-01T00:16:42.100Z"}
    assert sink.alarms == [("front", "intruder", "tamper", told)]


def test_the_frame_limit_is_exact() -> None:
    _, states = run([[PERSON]] * 10, frames=4)
    assert states[0].frames == 4


def test_events_carry_model_and_latency() -> None:
    sink, _ = run([[PERSON]] * 3)
    assert sink.models[0] == {"id": "scripted", "sha256": "0" * 64, "engine": "list"}
    assert set(sink.events[0].latency_ms) == {"capture", "queue", "preprocess", "infer", "track", "total"}
    assert all(ms >= 0 for ms in sink.events[0].latency_ms.values())


def test_health_says_when_a_camera_is_gone() -> None:
    sink = ListSink()
    good = Camera("front", DETECT, lambda: ListSource(blank_frames(300)))
    pipeline = Pipeline([Camera("back", DETECT, no_camera), good], scripted_model([[]] * 300), sink)
    with pytest.raises(UnavailableError):
        pipeline.run()
    assert "degraded" in [health["state"] for health in sink.healths]


def test_uptime_is_that_of_the_process_whatever_config_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STARTED_S", time.monotonic() - 1000)
    reloaded = Pipeline([Camera("front", DETECT, no_camera)], scripted_model([[]]), ListSink())
    assert cast("float", reloaded.health()["uptime_s"]) >= 1000


def test_a_broken_budget_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.pipeline.loop.EVERY_S", 0.0)
    sink = ListSink()
    camera = Camera("front", DETECT, lambda: ListSource(blank_frames(30)))
    Pipeline([camera], scripted_model([[]] * 30), sink, allowance=Allowance(1e-9)).run()
    assert [told["over_budget"] for told in sink.healths] == [False, True]


def test_health_names_every_camera() -> None:
    sink, _ = run([[]] * 3)
    assert {health["state"] for health in sink.healths} == {"ok"}
    assert sink.healths[-1]["cameras"]["front"]["skipped"] == 0
    assert sink.healths[-1]["mem_mb"] > 1


def test_damaged_frames_are_counted_in_health() -> None:
    source, sink = ListSource(blank_frames(3)), ListSink()
    source.corrupt = 7
    pipeline = Pipeline([Camera("front", DETECT, lambda: source)], scripted_model([[]] * 3), sink)
    pipeline.run()
    assert pipeline.health()["cameras"]["front"]["corrupt"] == 7  # type: ignore[index]


def test_two_cameras_take_turns_and_keep_their_own_tracks() -> None:
    sink = ListSink()
    cameras = [
        Camera(name, DETECT, lambda name=name: ListSource(blank_frames(6, name)))  # type: ignore[misc]
        for name in ("front", "back")
    ]
    Pipeline(cameras, scripted_model([[PERSON]] * 12), sink).run()
    assert sorted((e.camera, e.type, e.number) for e in sink.events) == [
        ("back", "end", 1), ("back", "new", 1), ("front", "end", 1), ("front", "new", 1),
    ]  # fmt: skip


class Broken:
    """A source that fails after two frames."""

    live, lost, fps, skipped, corrupt = False, False, None, 0, 0

    def frames(self) -> Iterator[Frame]:
        yield from blank_frames(2)
        raise SourceError("clip.mp4: cannot be decoded")

    def close(self) -> None:
        pass


def no_camera() -> Source:
    raise UnavailableError("camera 7: there is no /dev/video7")


def test_a_failing_source_ends_the_run_with_its_error_after_its_frames() -> None:
    sink = ListSink()
    pipeline = Pipeline([Camera("front", DETECT, Broken)], scripted_model([[PERSON]] * 2), sink)
    with pytest.raises(SourceError, match=r"clip\.mp4: cannot be decoded"):
        pipeline.run()
    assert types(sink) == [("new", "person"), ("end", "person")]
    assert sink.statuses[-1] == ("front", "offline")


def test_one_absent_camera_does_not_stop_the_other() -> None:
    sink = ListSink()
    good = Camera("front", DETECT, lambda: ListSource(blank_frames(5)))
    pipeline = Pipeline([Camera("back", DETECT, no_camera), good], scripted_model([[PERSON]] * 5), sink)
    with pytest.raises(UnavailableError, match="video7"):
        pipeline.run()
    assert types(sink) == [("new", "person"), ("end", "person")]
    assert ("back", "offline") in sink.statuses


class Endless:
    """A live source that never stops by itself."""

    live, lost, fps, skipped, corrupt = True, False, 10.0, 0, 0

    def __init__(self) -> None:
        self.closed = threading.Event()

    def frames(self) -> Iterator[Frame]:
        while not self.closed.wait(0.001):
            yield blank_frames(1)[0]

    def close(self) -> None:
        self.closed.set()


class Fickle(Endless):
    """A live source that is away whenever `lost` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = False

    def frames(self) -> Iterator[Frame]:
        for frame in super().frames():
            if not self.lost:
                yield frame


def test_a_camera_that_is_away_is_offline_and_what_it_saw_has_ended() -> None:
    source, sink = Fickle(), ListSink()
    pipeline = Pipeline([Camera("front", DETECT, lambda: source)], scripted_model([[PERSON]] * 50_000), sink)
    steps = iter([("new", "online", True), ("end", "offline", False), ("new", "online", False)])
    step = next(steps)

    class Director(Observer):
        def tick(self, cameras: Sequence[CameraState]) -> None:
            nonlocal step
            kind, status, lost = step
            if sink.events and (sink.events[-1].type, sink.statuses[-1]) == (kind, ("front", status)):
                source.lost = lost
                step = next(steps, step)
                if len(sink.statuses) == 3:
                    pipeline.stop()

    pipeline._observer = Director()
    pipeline.run(duration_s=60)
    assert [status for _, status in sink.statuses] == ["online", "offline", "online", "offline"]
    assert [event.type for event in sink.events if event.type != "update"] == ["new", "end", "new", "end"]


def test_stop_ends_a_live_run_and_closes_its_source() -> None:
    source, sink = Endless(), ListSink()
    pipeline = Pipeline([Camera("front", DETECT, lambda: source)], scripted_model([[PERSON]] * 500), sink)

    class StopAfterFirst(Observer):
        def event(self, event: Event) -> None:
            pipeline.stop()

    pipeline._observer = StopAfterFirst()
    pipeline.run()
    assert source.closed.is_set()
    assert types(sink) == [("new", "person"), ("end", "person")]


def test_require_gives_up_at_once_when_a_camera_is_absent() -> None:
    source = Endless()
    cameras = [Camera("front", DETECT, lambda: source), Camera("back", DETECT, no_camera)]
    with pytest.raises(UnavailableError):
        Pipeline(cameras, scripted_model([[]] * 5000), ListSink()).run(require=True)
    assert source.closed.is_set()


def test_duration_ends_a_live_run() -> None:
    source = Endless()
    pipeline = Pipeline([Camera("front", DETECT, lambda: source)], scripted_model([[]] * 5000), ListSink())
    pipeline.run(duration_s=0.1)
    assert source.closed.is_set()


class Bursts(Endless):
    """A live source that makes a picture for each permit, and writes its number into it."""

    def __init__(self) -> None:
        super().__init__()
        self.permits = threading.Semaphore(1)
        self.delivered = 0

    def frames(self) -> Iterator[Frame]:
        for frame in blank_frames(200):
            self.permits.acquire()
            if self.closed.is_set():
                return
            yield replace(frame, image=np.full_like(frame.image, frame.index))
            self.delivered = frame.index + 1

    def close(self) -> None:
        super().close()
        self.permits.release()


def test_a_slow_detector_is_always_given_the_newest_frame() -> None:
    source, seen, newest = Bursts(), list[int](), list[int]()
    model = scripted_model([[]] * 20)
    look = model.engine.run

    def slow(x: Any) -> Any:
        """Seven pictures come while it looks."""
        seen.append(int(np.asarray(x).max()) + 128)
        newest.append(seen[-1] + 7)
        source.permits.release(7)
        while source.delivered < newest[-1] + 1 and not source.closed.is_set():
            time.sleep(0.001)
        return look(x)

    model.engine.run = slow  # type: ignore[method-assign]
    pipeline = Pipeline([Camera("front", DETECT, lambda: source)], model, ListSink())
    pipeline.run(frames=20)
    assert seen[1:] == newest[:-1]
    assert pipeline.states[0].skipped == 20 * 6


@pytest.mark.parametrize("motion", [None, MotionConfig()])
def test_frames_of_any_size_are_looked_at(motion: MotionConfig | None) -> None:
    noise = np.random.default_rng(0)
    sizes = [(64, 64), (48, 96), (1, 1), (1, 500), (700, 2), (64, 64), (720, 1280), (3, 3)]
    frames = [noise.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    sink = ListSink()
    scene = SceneConfig.model_validate({"tamper": True, "snapshots": True})
    camera = Camera("front", DetectConfig(motion=motion), lambda: ListSource(frames, camera="front"), scene)
    pipeline = Pipeline([camera], scripted_model([[PERSON]] * len(sizes)), sink)
    pipeline.run()
    assert pipeline.states[0].frames == len(sizes)


def test_a_clock_that_jumps_changes_no_visit() -> None:
    """The clock of the wall goes a day ahead, and two back; the one that durations come from does not."""
    steady = blank_frames(80)
    jumps = [replace(f, time_s=f.time_s + (86_400 if f.index < 20 else -86_400)) for f in steady[10:]]
    seen = [[PERSON] if i % 40 < 15 else [] for i in range(80)]
    told = []
    for frames in (steady, steady[:10] + jumps):
        sink = ListSink()
        scene = SceneConfig.model_validate(
            {
                "zones": {"yard": {"points": [[0, 0], [1, 0], [1, 1], [0, 1]], "loiter": "1s"}},
                "alarms": {"guest": {"when": "person in yard", "cooldown": "3s"}},
            }
        )
        camera = Camera("front", DETECT, lambda frames=frames: ListSource(frames), scene)  # type: ignore[misc]
        Pipeline([camera], scripted_model(seen), sink).run()
        alarms = [(name, kind) for _, name, kind, _ in sink.alarms]
        told.append(([(e.type, e.number, e.after.zones, e.mono_s) for e in sink.events], alarms))
    assert told[0] == told[1]
    assert [kind for kind, *_ in told[0][0] if kind != "update"] == ["new", "end", "new", "end"]


def test_in_the_inbox_the_newest_frame_of_a_live_camera_wins() -> None:
    inbox = Inbox(["front"])
    frames = blank_frames(3)
    for frame in frames:
        assert inbox.put(frame, overwrite=True)
    found = inbox.take(0)
    assert found
    assert found[0] is frames[2]
    assert inbox.overwritten == {"front": 2}
    assert inbox.take(0) is None


def test_in_the_inbox_a_file_waits_for_its_turn() -> None:
    inbox = Inbox(["front"])
    frames = blank_frames(20)
    feeder = threading.Thread(target=lambda: [inbox.put(f, overwrite=False) for f in frames])
    feeder.start()
    taken = [found[0].index for _ in frames if (found := inbox.take(5))]
    feeder.join()
    assert taken == list(range(20))


def test_the_inbox_takes_cameras_in_turn() -> None:
    inbox = Inbox(["a", "b"])
    order = []
    for _ in range(3):
        for name in "ab":
            inbox.put(blank_frames(1, name)[0], overwrite=True)
        for _ in "ab":
            found = inbox.take(0)
            assert found
            order.append(found[0].camera)
    assert order == ["a", "b"] * 3
