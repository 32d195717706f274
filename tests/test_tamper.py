"""Attacks on a camera are told; the day, the night and the weather are not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from views import HEIGHT, WIDTH, infrared, lit, noisy, place, with_person

from edgekit.config.scene import TamperConfig
from edgekit.pipeline.tamper import ACCEPT_S, SIGNS, Hold, Tamper
from edgekit.sources import open_source
from edgekit.types import Image

FPS = 4.0
YARDS = [place(seed) for seed in range(2)]


NOISE = np.random.default_rng(5).normal(0, 1, (16, HEIGHT, WIDTH, 3)).astype(np.float32)


def watch(
    views: Iterable[Image], config: TamperConfig | None = None, sigma: float = 2.0, fps: float = FPS
) -> list[set[str]]:
    """The signs after each picture; every one has noise, none that of its neighbours."""
    tamper = Tamper(config or TamperConfig())
    told = []
    for i, view in enumerate(views):
        height, width = view.shape[:2]
        noise = sigma * np.roll(NOISE[i % 16, :height, :width], i, axis=1)
        signs = tamper.update(cv2.add(view, noise, dtype=cv2.CV_8U) if sigma else view, i / fps)
        told.append({sign for sign, on in signs.items() if on})
    return told


def seconds(view: Image, duration_s: float) -> list[Image]:
    return [view] * int(duration_s * FPS)


def turned(view: Image, pixels: int) -> Image:
    """The camera looks a little to the side, where there is something else."""
    return np.concatenate([view[:, pixels:], place(77)[:, :pixels]], axis=1)


def blurred(view: Image) -> Image:
    return np.asarray(cv2.GaussianBlur(view, (0, 0), 25))


ATTACKS: dict[str, tuple[set[str], Callable[[Image], Image]]] = {
    "tape": ({"covered", "dark"}, lambda view: lit(view, 0, 3)),
    "light off": ({"dark"}, lambda view: lit(view, 0.1, 1)),
    "hand": ({"covered"}, lambda view: np.full_like(view, (70, 80, 120))),
    "paint": ({"covered"}, lambda view: np.full_like(view, 230)),
    "cloth": ({"covered"}, blurred),
    "turned far": ({"moved"}, lambda view: place(50)),
    "turned a little": ({"moved"}, lambda view: turned(view, 20)),
    "tilted": ({"moved"}, lambda view: np.ascontiguousarray(np.roll(view, 30, axis=0))),
    "upside down": ({"moved"}, lambda view: np.ascontiguousarray(view[::-1, ::-1])),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_told_within_seconds_and_its_end_too(attack: str) -> None:
    signs, change = ATTACKS[attack]
    yard = YARDS[len(attack) % 2]
    told = watch([*seconds(yard, 12), *seconds(change(yard), 14), *seconds(yard, 12)])
    before, attacked, after = (told[int(a * FPS) : int(b * FPS)] for a, b in ((0, 12), (20, 26), (34, 38)))
    assert set.union(*before, *after) == set()
    assert all(each == signs for each in attacked)


def test_a_cover_by_night_is_told_too() -> None:
    night = lit(YARDS[0], 0.25)
    assert watch([*seconds(night, 12), *seconds(np.full_like(night, 9), 8)])[-1] >= {"covered"}


def light(yard: Image, start: float, end: float, duration_s: float) -> Iterator[Image]:
    """The light goes from one level to another, a picture a second."""
    return (lit(yard, gain) for gain in np.geomspace(start, end, int(duration_s)))


@pytest.mark.parametrize("dusk_s", [60, 300])
def test_a_day_and_a_night_are_no_attack(dusk_s: int) -> None:
    """Dusk to deep night, dawn; another dusk, the infrared lamp, and the colours of the morning again."""
    yard = YARDS[1]
    night = [*light(yard, 1, 0.04, dusk_s), *[lit(yard, 0.02)] * 60, *light(yard, 0.04, 1, dusk_s)]
    lamp = [*light(yard, 1, 0.2, dusk_s), *[infrared(yard)] * 60, *[yard] * 60]
    assert set.union(*watch([*night, *lamp], fps=1)) == set()


def test_a_night_without_any_light_leaves_the_morning_where_it_was() -> None:
    yard = YARDS[0]
    dark = [*light(yard, 1, 0.02, 120), *[lit(yard, 0)] * 300, *light(yard, 0.02, 1, 120)]
    told = watch(dark, TamperConfig(covered=False, dark=False, frozen=0), fps=1)
    assert set.union(*told) == set()


def lightning(yard: Image) -> list[Image]:
    dark = lit(yard, 0.3)
    flash = [lit(yard, 2.0, 60), np.full_like(yard, 255), lit(yard, 1.4, 30)]
    return [*seconds(dark, 10), *[view for _ in range(5) for view in (*flash, *seconds(dark, 2))]]


def passing(yard: Image) -> list[Image]:
    return [*seconds(yard, 10), *[with_person(yard, x, 150) for x in range(-60, WIDTH, 8)], *seconds(yard, 5)]


def parked(yard: Image) -> list[Image]:
    """A van stays before a third of the picture."""
    van = yard.copy()
    van[40:, : WIDTH // 3] = (200, 205, 210)
    return [*seconds(yard, 20), *seconds(van, 30)]


def bold(yard: Image) -> list[Image]:
    """Somebody in a bright pattern stays before half of a pale place."""
    pale = lit(yard, 0.25, 80)
    pattern = cv2.resize(lit(place(60), 2, -110), (int(1.7 * WIDTH), int(1.7 * HEIGHT)))
    view = pale.copy()
    view[HEIGHT // 4 :, : WIDTH // 2] = pattern[HEIGHT // 4 : HEIGHT, : WIDTH // 2]
    return [*seconds(pale, 12), *seconds(view, 20), *seconds(pale, 5)]


def shadows(yard: Image) -> list[Image]:
    """Half of the picture falls into shadow, and comes out again."""
    gain = np.ones((HEIGHT, WIDTH, 1), np.float32)
    gain[:, WIDTH // 2 :] = 0.5
    shaded = (yard * gain).astype(np.uint8)
    return [*seconds(yard, 12), *seconds(shaded, 15), *seconds(yard, 15)]


def trembling(yard: Image) -> list[Image]:
    """The wind moves the camera by a hundredth of the picture."""
    rng = np.random.default_rng(8)
    return [np.roll(yard, tuple(rng.integers(-3, 4, 2)), axis=(0, 1)) for _ in range(120)]


def lorry(yard: Image) -> list[Image]:
    """It passes close by, slowly, and for some seconds there is nothing else to see."""
    side = np.concatenate([place(seed) for seed in (60, 61, 62)], axis=1)
    views = []
    for x in range(-WIDTH, 3 * WIDTH, 24):
        view = yard.copy()
        seen = side[:, max(0, 2 * WIDTH - x) : 3 * WIDTH - x]
        left = max(0, x - 2 * WIDTH)
        view[:, left : left + seen.shape[1]] = seen[:, : WIDTH - left]
        views.append(view)
    return [*seconds(yard, 10), *views, *seconds(yard, 10)]


QUIET: dict[str, Callable[[Image], Iterable[Image]]] = {
    "infrared, then day": lambda yard: [*seconds(infrared(yard), 20), *seconds(yard, 20)],
    "day, then infrared": lambda yard: [*seconds(yard, 20), *seconds(infrared(yard), 20)],
    "lightning": lightning,
    "lamp on": lambda yard: [*seconds(lit(yard, 0.4), 12), *seconds(lit(yard, 1.5), 20)],
    "lamp off": lambda yard: [*seconds(yard, 12), *seconds(lit(yard, 0.4), 20)],
    "somebody passes": passing,
    "a van": parked,
    "a lorry": lorry,
    "somebody bold": bold,
    "shadows": shadows,
    "wind": trembling,
}


@pytest.mark.parametrize("course", QUIET)
def test_nothing_is_told_of_what_is_no_attack(course: str) -> None:
    assert set.union(*watch(QUIET[course](YARDS[len(course) % 2]))) == set()


def with_clock(view: Image, second: int) -> Image:
    view = view.copy()
    cv2.putText(view, f"12:00:{second:02d}", (5, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (255, 255, 255))
    return view


def test_a_frozen_picture_is_told_and_its_end_at_once() -> None:
    rng = np.random.default_rng(1)
    told = watch([*seconds(YARDS[0], 20), *[noisy(YARDS[0], rng) for _ in range(4)]], sigma=0)
    assert next(i / FPS for i, signs in enumerate(told) if signs == {"frozen"}) == 10.0
    assert told[-5:] == [{"frozen"}, set(), set(), set(), set()]


def test_a_frozen_picture_is_told_though_its_clock_goes_on() -> None:
    views = [with_clock(YARDS[0], int(i / FPS) % 60) for i in range(int(40 * FPS))]
    assert all(signs == {"frozen"} for signs in watch(views, sigma=0)[int(15 * FPS) :])
    assert set.union(*watch(views, sigma=0.5)) == set()  # a still yard is not frozen


def test_one_picture_before_and_after_a_gap_is_not_frozen_yet() -> None:
    told = watch(seconds(YARDS[0], 2), sigma=0, fps=0.1)
    assert [bool(signs) for signs in told] == [False] * 4 + [True] * 4


@pytest.mark.parametrize("clip", ["one-by-one-person", "car", "bottle"])
def test_a_real_clip_shows_no_attack_until_one_is_made(clip: str, shared: Path) -> None:
    path = shared / "data" / "clips" / f"intel_{clip}-detection.mp4"
    frames = list(islice(open_source(str(path), camera="hall", fps=FPS).frames(), 120))
    tamper = Tamper(TamperConfig())
    for frame in frames:
        assert not any(tamper.update(frame.image, frame.mono_s).values())
    for i in range(40):
        aside = np.ascontiguousarray(np.roll(frames[i].image, 60, axis=1))
        signs = tamper.update(aside, frames[-1].mono_s + (i + 1) / FPS)
    assert signs == dict.fromkeys(SIGNS, False) | {"moved": True}


def test_only_what_is_asked_for_is_told() -> None:
    config = TamperConfig.model_validate({"covered": False, "frozen": False, "moved": False, "dark": False})
    rest = [lit(YARDS[0], 0, 3), np.full_like(YARDS[0], 90), place(50)]
    views = [*seconds(YARDS[0], 20), *[view for each in rest for view in seconds(each, 10)]]
    assert set.union(*watch(views, config, sigma=0)) == set()


def test_a_camera_that_stays_where_it_was_moved_to_is_accepted() -> None:
    told = watch([*[YARDS[0]] * 20, *[place(50)] * int(ACCEPT_S + 30)], fps=1)
    assert told[40] == {"moved"}
    assert told[-1] == set()


def test_another_resolution_is_no_attack() -> None:
    small = np.ascontiguousarray(cv2.resize(YARDS[0], (200, 150)))
    assert set.union(*watch([*seconds(YARDS[0], 10), *seconds(small, 10)])) == set()


def test_a_sign_must_last_to_come_and_to_go() -> None:
    hold = Hold(3.0)
    now = [0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0]
    assert [int(hold.update(bool(n), float(i))) for i, n in enumerate(now)] == [
        0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0,
    ]  # fmt: skip
