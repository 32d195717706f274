"""Where a thing stands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.config.scene import ZoneConfig, to_pixels
from edgekit.rules.zone import Zones, inside
from edgekit.types import Frame, Track

SQUARE = {"points": [[0.5, 0.5], [1, 0.5], [1, 1], [0.5, 1]]}
IN, OUT = (150.0, 90.0), (50.0, 40.0)


def zone(**other: Any) -> ZoneConfig:
    return ZoneConfig.model_validate({**SQUARE, "inertia": 1, **other})


def person(foot: tuple[float, float], missed: int = 0, label: str = "person") -> Track:
    x, y = foot
    return Track(1, label, 0.8, 0.8, (x - 5, y - 20, x + 5, y), 1000.0, 1000.0, missed=missed)


def follow(config: ZoneConfig, tracks: list[Track], fps: float = 10.0) -> list[Track]:
    """The same person, frame by frame in a picture of 200 x 100 pixels."""
    zones = Zones({"drive": config})
    image = np.zeros((100, 200, 3), np.uint8)
    frames = [Frame(image, "front", i, 1000 + i / fps, i / fps) for i in range(len(tracks))]
    return [zones.update([track], frame)[0] for track, frame in zip(tracks, frames, strict=True)]


def is_in(tracks: list[Track]) -> str:
    return "".join("x" if track.zones else "." for track in tracks)


def test_a_thing_is_where_its_bottom_centre_is() -> None:
    head_in = Track(1, "person", 0.8, 0.8, (90, 0, 110, 101), 0.0, 0.0)  # stands below the picture
    assert is_in(follow(zone(), [person(IN), person(OUT), head_in])) == "x.."


def test_inertia_asks_for_frames_in_a_row_to_enter_and_to_leave() -> None:
    way = [person(IN if step == "x" else OUT) for step in "x.xx.xxx.x..x..."]
    assert is_in(follow(zone(inertia=3), way)) == ".......xxxxxxxx."


def test_who_is_not_seen_stays_where_it_was() -> None:
    way = [person(IN), person(OUT, missed=1), person(OUT, missed=2), person(OUT)]
    assert is_in(follow(zone(), way)) == "xxx."


def test_loitering_is_timed_from_the_first_frame_inside() -> None:
    way = [person(OUT)] * 2 + [person(IN)] * 30
    assert is_in(follow(zone(inertia=3, loiter=2), way)).index("x") == 22


def test_only_the_labels_of_a_zone_are_in_it() -> None:
    way = [person(IN), person(IN, label="dog")]
    assert is_in(follow(zone(labels=["dog"]), way)) == ".x"


def test_zones_that_were_entered_are_remembered_in_order() -> None:
    everywhere = ZoneConfig.model_validate({"points": [[0, 0], [1, 0], [1, 1], [0, 1]], "inertia": 1})
    zones = Zones({"drive": zone(), "all": everywhere})
    image = np.zeros((100, 200, 3), np.uint8)
    told = [
        zones.update([person(foot)], Frame(image, "front", i, i / 10, i / 10))[0]
        for i, foot in enumerate([OUT, IN, OUT])
    ]
    assert [track.zones for track in told] == [("all",), ("drive", "all"), ("all",)]
    assert [track.entered for track in told] == [("all",), ("all", "drive"), ("all", "drive")]


def test_what_is_gone_is_forgotten() -> None:
    zones = Zones({"drive": zone()})
    frame = Frame(np.zeros((100, 200, 3), np.uint8), "front", 0, 0.0, 0.0)
    assert zones.update([person(IN)], frame)[0].entered == ("drive",)
    zones.update([], frame)
    assert zones.update([person(OUT)], frame)[0].entered == ()


def test_points_may_be_pixels() -> None:
    points = ZoneConfig.model_validate({"points": [["0px", 0], ["20px", 0.5], [1, "9px"]]}).points
    assert to_pixels(points, 200, 100) == [(0, 0), (20, 50), (200, 9)]


def test_a_hole_of_a_polygon_that_crosses_itself_is_outside() -> None:
    bow = [(0.0, 0.0), (10.0, 10.0), (10.0, 0.0), (0.0, 10.0)]
    assert [inside(x, 5.1, bow) for x in (1, 9)] == [True, True]
    assert [inside(5, y, bow) for y in (1, 9)] == [False, False]


@given(
    st.lists(st.tuples(st.floats(0.1, 10), st.floats(0, 6.28)), min_size=3, max_size=12),
    st.floats(-12, 12),
    st.floats(-12, 12),
)
def test_inside_is_what_the_winding_of_a_star_says(
    spokes: list[tuple[float, float]], x: float, y: float
) -> None:
    """Seen from inside, the corners turn once round; from outside, not at all."""
    corners = [(r * np.cos(a), r * np.sin(a)) for r, a in sorted(spokes, key=lambda spoke: spoke[1])]
    turned = 0.0
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        ax, ay, bx, by = x1 - x, y1 - y, x2 - x, y2 - y
        if min(np.hypot(ax, ay), np.hypot(bx, by)) < 1e-6 or abs(ax * by - ay * bx) < 1e-6:
            return  # on the border
        turned += np.arctan2(ax * by - ay * bx, ax * bx + ay * by)
    assert inside(x, y, corners) == (round(turned / (2 * np.pi)) % 2 == 1)


@pytest.mark.parametrize("corner", [(0, 0), (0, 10), (10, 10), (10, 0)])
def test_of_two_zones_side_by_side_every_point_is_in_one(corner: tuple[float, float]) -> None:
    x, y = corner
    quarters = [
        [(x, y), (5.0, y), (5.0, 5.0), (x, 5.0)]
        for x, y in ((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0))
    ]
    near = (5 + (x - 5) * 1e-9, 5 + (y - 5) * 1e-9)
    assert sum(inside(*near, quarter) for quarter in quarters) == 1
    assert sum(inside(5.0, 5.0, quarter) for quarter in quarters) == 1
