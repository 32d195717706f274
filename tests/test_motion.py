"""The detector looks when and where something moves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from views import HEIGHT, WIDTH, infrared, lit, noisy, place, with_person

from edgekit.config.settings import MotionConfig
from edgekit.pipeline.motion import Background, Gate, Look, Motion, region_of
from edgekit.types import Image

CONFIG = MotionConfig()
YARD = place()
FPS = 10.0


def watch(views: list[Image], config: MotionConfig = CONFIG) -> list[Motion]:
    background = Background(config)
    return [background.update(view, i / FPS) for i, view in enumerate(views)]


def gate(views: list[Image], places: tuple[tuple[float, float, float, float], ...] = ()) -> list[Look]:
    watched = Gate(CONFIG)
    return [watched.update(view, i / FPS, places, (96, 96)) for i, view in enumerate(views)]


def noise(count: int, view: Image = YARD, sigma: float = 3.0) -> list[Image]:
    rng = np.random.default_rng(1)
    return [noisy(view, rng, sigma) for _ in range(count)]


def test_noise_is_no_motion() -> None:
    assert all(not motion.boxes and not motion.switched for motion in watch(noise(50))[1:])


def test_somebody_who_walks_is_in_the_box() -> None:
    views = [noisy(with_person(YARD, x), np.random.default_rng(x)) for x in range(20, 200, 6)]
    motions = watch([*noise(10), *views])[11:]
    for x, motion in zip(range(26, 200, 6), motions, strict=True):
        x1, y1, x2, y2 = np.array(motion.boxes).T
        assert x1.min() <= x + 12 <= x2.max()
        assert y1.min() <= HEIGHT - 40 <= y2.max()
        assert not motion.switched


def test_who_stands_still_or_has_gone_stops_to_be_motion() -> None:
    stays = watch([*noise(10), *noise(60, with_person(YARD, 100))])
    assert stays[10].boxes
    assert not any(motion.boxes for motion in stays[-30:])
    leaves = watch([*noise(60, with_person(YARD, 100)), *noise(60)])
    assert leaves[60].boxes
    assert not any(motion.boxes for motion in leaves[-30:])


@pytest.mark.parametrize(
    "to", [lit(YARD, 0.4), lit(YARD, 1.6), infrared(YARD)], ids=["off", "on", "infrared"]
)
def test_a_switched_light_is_told_as_such_and_then_all_is_quiet(to: Image) -> None:
    motions = watch([*noise(20), *noise(30, to)])
    assert motions[20].switched or not motions[20].boxes
    assert not any(motion.boxes for motion in motions[1:])


def test_a_cloud_is_no_motion() -> None:
    gains = np.concatenate([np.linspace(1, 0.5, 30), np.linspace(0.5, 1.2, 30)])
    rng = np.random.default_rng(3)
    assert not any(m.boxes for m in watch([noisy(lit(YARD, gain), rng) for gain in gains])[1:])


def test_somebody_in_a_flickering_light_is_still_seen() -> None:
    views = [with_person(lit(YARD, 1 + 0.1 * (i % 2)), 20 + 6 * i) for i in range(20)]
    assert all(motion.boxes for motion in watch([*noise(5), *views])[6:])


def test_threshold_and_area_are_those_of_the_config() -> None:
    views = [*noise(5), with_person(YARD, 100)]
    assert watch(views)[-1].boxes
    assert not watch(views, MotionConfig(threshold=200))[-1].boxes
    assert not watch(views, MotionConfig(min_area=0.5))[-1].boxes


def test_another_resolution_starts_anew() -> None:
    motions = watch([YARD, YARD, np.ascontiguousarray(YARD[:100]), np.ascontiguousarray(YARD[:100])])
    assert [motion.switched for motion in motions] == [True, False, True, False]


def test_the_gate_looks_at_first_then_at_every_heartbeat() -> None:
    looks = gate(noise(160))
    assert [(i, look.reason) for i, look in enumerate(looks) if look.open] == [
        (0, "light"), (50, "heartbeat"), (100, "heartbeat"), (150, "heartbeat"),
    ]  # fmt: skip
    assert {look.reason for look in looks if not look.open} == {"nothing moved"}


def test_the_gate_stays_open_for_a_while_after_motion() -> None:
    looks = gate([*noise(10), *[with_person(YARD, x) for x in range(20, 80, 6)], *noise(60)])
    reasons = [look.reason for look in looks]
    assert set(reasons[10:20]) == {"motion"}
    assert reasons.count("hold") == 10
    assert "nothing moved" in reasons[40:]


def test_who_is_not_done_with_is_looked_at() -> None:
    looks = gate(noise(10), ((100.0, 100.0, 120.0, 150.0),))
    assert [look.reason for look in looks[1:]] == ["unsettled"] * 9
    region = looks[5].region
    assert region
    assert (region[0] <= 100, region[2] >= 120) == (True, True)


def test_the_region_holds_what_moves_and_the_heartbeat_sees_all() -> None:
    looks = gate([*noise(10), *[with_person(YARD, x) for x in range(20, 260, 6)], *noise(60)])
    regions = [look.region for look in looks if look.reason == "motion"]
    assert sum(region is not None for region in regions) > len(regions) / 2
    assert [look.region for look in looks if look.reason in ("heartbeat", "light", "hold")].count(None) > 2
    gaps = np.diff([i for i, look in enumerate(looks) if look.open and look.region is None])
    assert gaps.max() <= CONFIG.heartbeat * FPS


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.3), st.floats(0, 0.3)), min_size=1,
             max_size=4),
    st.sampled_from([(WIDTH, HEIGHT), (1920, 1080), (64, 64)]),
)  # fmt: skip
def test_a_region_is_inside_the_frame_and_around_every_box(
    boxes: list[tuple[float, float, float, float]], size: tuple[int, int]
) -> None:
    width, height = size
    pixels = [(x * width, y * height, min(x + w, 1) * width, min(y + h, 1) * height) for x, y, w, h in boxes]
    region = region_of(pixels, width, height, (96, 96))
    if region is None:
        return
    left, top, right, bottom = region
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert right - left >= min(96, width)
    for x1, y1, x2, y2 in pixels:
        assert left <= x1 + 1
        assert top <= y1 + 1
        assert right >= x2 - 1
        assert bottom >= y2 - 1
