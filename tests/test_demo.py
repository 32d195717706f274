"""The demo scene is a camera that sees what its card says, the same for each seed, round after round."""

from __future__ import annotations

import importlib.util
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import SourceError
from edgekit.sources import ClipSource, Clock, open_source

if importlib.util.find_spec("skimage") is None:
    pytest.skip("scikit-image is not installed: pip install 'edgekit[demo]'", allow_module_level=True)

from edgekit.sources import demo
from edgekit.sources.demo import FPS, HEIGHT, LOOP_S, PHOTOS, WIDTH, DemoScene, plan_visits

LOOP = int(LOOP_S * FPS)
WIDTHS = {"astronaut": 338, "cameraman": 251, "cat": 318, "motorcycle": 314, "coffee": 225, "rocket": 225}


@pytest.fixture(scope="module")
def scene() -> DemoScene:
    return DemoScene(0)


def test_frames_follow_from_the_seed(scene: DemoScene) -> None:
    same, other = DemoScene(0), DemoScene(1)
    for i in (0, 77, 333):
        assert np.array_equal(scene.frame(i), same.frame(i))
        assert not np.array_equal(scene.frame(i), other.frame(i))


def test_a_frame_does_not_depend_on_those_before(scene: DemoScene) -> None:
    late = scene.frame(300).copy()
    scene.frame(5)
    assert np.array_equal(scene.frame(300), late)


def test_frames_have_the_shape_of_the_card(scene: DemoScene) -> None:
    card, image = scene.card(), scene.frame(100)
    assert image.shape == (card["height"], card["width"], 3)
    assert image.dtype == np.uint8
    assert (card["fps"], card["loop_s"], card["seed"]) == (scene.fps, 60.0, 0)


def test_a_frame_belongs_to_the_caller(scene: DemoScene) -> None:
    before = scene.frame(42).copy()
    scene.frame(42)[:] = 0
    assert np.array_equal(scene.frame(42), before)


def test_the_loop_has_no_seam(scene: DemoScene) -> None:
    assert np.array_equal(scene.frame(LOOP + 123), scene.frame(123))
    assert scene.truth(LOOP + 123) == scene.truth(123)
    step = np.abs(scene.frame(LOOP).astype(int) - scene.frame(LOOP - 1)).mean()
    assert step < 5  # noise alone


def test_noise_and_light_change_from_frame_to_frame(scene: DemoScene) -> None:
    empty = [scene.frame(i).astype(int) for i in (0, 1)]
    assert 1 < np.abs(empty[0] - empty[1]).mean() < 8
    light = [float(scene.frame(i).mean()) for i in (0, LOOP - 1)]
    assert abs(light[0] - light[1]) < 1


@pytest.mark.parametrize("seed", [0, 1, 2, 12345])
def test_each_thing_changes_the_picture_where_the_truth_says(seed: int) -> None:
    scene = DemoScene(seed)
    empty = scene.frame(0).astype(int)
    for i in range(0, LOOP, 37):
        changed = np.abs(scene.frame(i).astype(int) - empty).mean(axis=2) > 25
        for _, (x1, y1, x2, y2) in scene.truth(i):
            assert changed[int(y1) : int(y2), int(x1) : int(x2)].mean() > 0.3
        if not scene._things(i):
            assert changed.mean() < 0.001


@given(seed=st.integers(0, 999_999_999))
def test_every_plan_has_people_animals_vehicles_and_an_empty_seam(seed: int) -> None:
    visits = plan_visits(seed, WIDTHS)
    labels = [PHOTOS[visit.photo].label for visit in visits]
    assert labels.count("person") == 3
    assert labels.count("cat") == labels.count("motorcycle") == 1
    assert labels.count(None) == 2
    for visit in visits:
        assert 0 < visit.enter_s < visit.rest_s <= visit.go_s < visit.leave_s < LOOP_S
        width = WIDTHS[visit.photo]
        assert visit.from_x in (-width, WIDTH)
        assert visit.to_x in (-width, WIDTH)
    assert visits[0].enter_s <= 2.0
    assert PHOTOS[visits[0].photo].label == "person"


@given(seed=st.integers(0, 999_999_999))
def test_no_two_things_share_a_side(seed: int) -> None:
    for side in (-1, 1):
        stays = [
            (visit.enter_s, visit.leave_s)
            for visit in plan_visits(seed, WIDTHS)
            if (visit.rest_x + WIDTHS[visit.photo] / 2 - WIDTH / 2) * side > 50
        ]
        assert len(stays) == 3
        assert all(before[1] < after[0] for before, after in pairwise(stays))


def test_truth_is_within_the_picture_and_the_visits_of_the_card(scene: DemoScene) -> None:
    for i in range(LOOP):
        now = [
            visit["label"]
            for visit in scene.card()["visits"]
            if visit["enter_s"] <= i / FPS < visit["leave_s"]
        ]
        for label, (x1, y1, x2, y2) in scene.truth(i):
            assert label in now
            assert 0 <= x1 < x2 <= WIDTH
            assert 0 <= y1 < y2 <= HEIGHT


def test_someone_walks_across(scene: DemoScene) -> None:
    (walk,) = [v for v in scene.card()["visits"] if v["from"] != v["to"]]
    middle = [
        (box[0] + box[2]) / 2
        for i in range(int(walk["enter_s"] * FPS), int(walk["leave_s"] * FPS))
        for _, box in scene.truth(i)
    ]
    assert middle == sorted(middle)
    assert middle[0] < WIDTH / 4 < 3 * WIDTH / 4 < middle[-1]


def test_damaged_photograph_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brick.png").write_bytes(b"")
    monkeypatch.setattr(demo, "_find_photos", lambda: tmp_path)
    with pytest.raises(SourceError, match=r"brick\.png: is empty \(0 bytes\); install it anew: pip install"):
        DemoScene(0)


# ── as a source ─────────────────────────────────────────────────────────────────────────────────────────


def test_demo_is_live_and_named() -> None:
    source = open_source("demo:", camera="demo")
    assert (source.live, source.fps) == (True, 10.0)
    frame = next(source.frames())
    assert (frame.camera, frame.index, frame.image.shape) == ("demo", 0, (480, 640, 3))
    source.close()


@pytest.mark.parametrize("text", ["demo:seed=7&pace=none", "demo:?seed=7&pace=none"])
def test_unpaced_demo_gives_each_frame_in_its_own_time(text: str) -> None:
    source = open_source(text, camera="demo")
    frames = list(islice(source.frames(), 30))
    source.close()
    assert not source.live
    assert [frame.index for frame in frames] == list(range(30))
    assert np.diff([frame.mono_s for frame in frames]) == pytest.approx(0.1)
    assert np.array_equal(frames[29].image, DemoScene(7).frame(29))


def test_demo_goes_on_after_its_loop() -> None:
    source = open_source("demo:pace=none", camera="demo", fps=0.1)
    frames = list(islice(source.frames(), 14))
    source.close()
    assert np.array_equal(frames[1].image, frames[7].image)
    assert frames[13].mono_s - frames[0].mono_s == pytest.approx(130)


def test_fps_limits_the_demo() -> None:
    source = open_source("demo:pace=none", camera="demo", fps=5)
    frames = list(islice(source.frames(), 4))
    source.close()
    assert np.array_equal(frames[3].image, DemoScene(0).frame(6))


def test_slow_consumer_of_the_demo_gets_the_newest() -> None:
    source = open_source("demo:", camera="demo")
    assert isinstance(source, ClipSource)
    clock = source._clock = JumpingClock()
    frames = source.frames()
    next(frames)
    clock.now_s += 0.75
    assert next(frames).index == 7
    assert source.skipped == 6
    source.close()


class JumpingClock(Clock):
    now_s = 0.0

    def mono_s(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
