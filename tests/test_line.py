"""Lines count what a person would count.

`EDGEKIT_THOROUGH=1 pytest -s tests/test_line.py` walks 10 400 streets and prints how many counts are wrong.
"""

from __future__ import annotations

import os
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from walks import HEIGHT, HYSTERESIS, WIDTH, make_street, track_street

from edgekit.config.scene import LineConfig
from edgekit.rules.line import KEEP_S, Lines, passes
from edgekit.types import Crossing, Frame, Track

CASES = 2600 if "EDGEKIT_THOROUGH" in os.environ else 100 if "EDGEKIT_PYTHON" in os.environ else 500  # a seed
IMAGE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
ACROSS = LineConfig.model_validate({"points": [[0.25, 0.5], [0.75, 0.5]]})  # in: downwards


def frame(number: int, fps: float = 10.0) -> Frame:
    return Frame(IMAGE, "front", number, 1000 + number / fps, number / fps)


def person(x: float, y: float, id_: int = 1, missed: int = 0, label: str = "person") -> Track:
    return Track(id_, label, 0.8, 0.8, (x - 20, y - 100, x + 20, y), 1000.0, 1000.0, missed=missed)


def count(frames: list[list[Track]], line: LineConfig = ACROSS, least: int = 1) -> tuple[int, int]:
    lines = Lines({"gate": line}, least)
    for number, tracks in enumerate(frames):
        lines.update(tracks, frame(number))
    return lines.totals["gate"]["in"], lines.totals["gate"]["out"]


def walk(*rows: float, x: float = 320.0, label: str = "person") -> list[list[Track]]:
    """From row to row in steps of 40 pixels at most."""
    steps = [np.linspace(a, b, int(abs(b - a) // 40) + 1, endpoint=False) for a, b in pairwise(rows)]
    return [[person(x, float(y), label=label)] for y in [*np.concatenate(steps), rows[-1]]]


@pytest.mark.parametrize("seed", range(4))
def test_the_count_is_the_truth_for_every_street(seed: int) -> None:
    wrong, crossings, people = [], 0, 0
    for case in range(CASES):
        rng = np.random.default_rng([seed, case])
        street = make_street(rng)
        line = LineConfig.model_validate({"points": street.ends, "hysteresis": HYSTERESIS})
        lines = Lines({"gate": line})
        told: Counter[str] = Counter()
        for number, tracks in enumerate(track_street(street, rng)):
            lines.update(tracks, frame(number, street.fps))
        told.update(lines.totals["gate"])
        crossings += sum(street.truth().values())
        people += len(street.walks)
        if dict(told) != street.truth():
            wrong.append((case, dict(told), street.truth()))
    print(f"\n{CASES} streets, {people} people, {crossings} true crossings, {len(wrong)} wrong counts")  # noqa: T201
    assert wrong == []


def test_right_of_the_line_is_in_and_left_of_it_out() -> None:
    assert count(walk(300, 330, 360, 390, 420)) == (1, 0)  # downwards over a line from left to right
    assert count(walk(420, 390, 360, 330, 300)) == (0, 1)
    assert count(walk(300, 420, 300, 420)) == (2, 1)


def test_jitter_within_the_hysteresis_counts_nothing() -> None:
    assert count(walk(300, *[350, 370] * 50, 300)) == (0, 0)
    assert count(walk(300, *[350, 370] * 50, 420)) == (1, 0)


def test_who_comes_out_of_nothing_on_the_line_has_crossed_nothing() -> None:
    assert count(walk(362, 380, 400, 420)) == (0, 0)


def test_who_walks_round_the_end_of_the_line_has_not_crossed_it() -> None:
    round_it = [(900, 300), (960, 300), (1000, 330), (1000, 360), (1000, 400), (940, 420)]
    assert count([[person(x, y)] for x, y in round_it]) == (0, 0)


def test_who_goes_in_through_the_line_and_back_round_it_is_in_once() -> None:
    way = [(900, 300), (900, 360), (900, 420), (960, 420), (1000, 420), (1000, 360), (1000, 300)]
    assert count([[person(x, y)] for x, y in way]) == (1, 0)


def test_two_ids_that_are_swapped_on_the_line_count_both() -> None:
    down, up = [300, 320, 340, 360, 380, 400, 420], [420, 400, 380, 360, 340, 320, 300]
    ids = [(1, 2)] * 3 + [(2, 1)] * 4
    frames = [[person(400, y, a), person(800, z, b)] for y, z, (a, b) in zip(down, up, ids, strict=True)]
    assert count(frames) == (1, 1)


def test_who_is_lost_before_the_line_and_found_behind_it_has_crossed() -> None:
    before, after = walk(280, 300, 320, 340), [[person(320, y, 9)] for y in (400, 420, 440)]
    assert count([*before, *[[]] * 5, *after]) == (1, 0)
    assert count([*before, *[[person(320, 700, missed=1)]] * 5, *after]) == (1, 0)  # whatever is guessed


def test_a_jump_that_nobody_can_make_is_somebody_else() -> None:
    assert count([[person(320, y)] for y in (100, 100, 100, 700, 700, 700)]) == (0, 0)


def test_who_left_the_picture_is_not_found_again_in_another() -> None:
    leaves = [[person(330, 340 - 20 * i, 1)] for i in range(13)]
    assert count([*leaves[::-1], [], [person(330, 345, 2)], [person(330, 380, 2)]], ACROSS) == (0, 0)


def test_a_thing_counts_once_it_is_confirmed() -> None:
    assert count(walk(300, 420), least=6) == (0, 0)  # seen in five frames
    assert count(walk(300, 420, 425), least=6) == (1, 0)


def test_only_the_labels_of_the_line_count() -> None:
    dogs = LineConfig(points=ACROSS.points, labels=["dog"])
    assert count(walk(300, 420), dogs) == (0, 0)
    assert count(walk(300, 420, label="dog"), dogs) == (1, 0)


def test_a_track_knows_what_it_has_crossed() -> None:
    lines = Lines({"gate": ACROSS})
    frames = walk(300, 420, 300)
    told = [lines.update(tracks, frame(i))[0].lines for i, tracks in enumerate(frames)]
    both = (Crossing("gate", "in"), Crossing("gate", "out"))
    assert (told[0], told[3], told[-1]) == ((), both[:1], both)
    missed = lines.update([person(320, 500, missed=1)], frame(7))
    assert missed[0].lines == told[-1]


def test_nobody_is_remembered_for_long() -> None:
    lines = Lines({"gate": ACROSS})
    for number in range(200):
        lines.update([person(320, 300, number)] if number % 40 == 0 else [], frame(number))
    assert len(lines._walkers) <= 1
    assert KEEP_S < 4.0


@pytest.mark.parametrize(
    ("before", "after", "passed"),
    [((5, -1), (5, 1), 1), ((5, 1), (5, -1), -1), ((5, -1), (5, 0), 1), ((5, 0), (5, 1), 0),
     ((-1, -1), (-1, 1), 0), ((11, -1), (11, 1), 0), ((0, -1), (0, 1), 1), ((10, -1), (10, 1), 0)],
)  # fmt: skip
def test_a_step_passes_between_the_ends_only(
    before: tuple[float, float], after: tuple[float, float], passed: int
) -> None:
    assert passes(before, after, [(0, 0), (10, 0)]) == passed
