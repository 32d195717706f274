"""What may be said of the place that a camera looks at: its zones, its lines, its alarms; and of the
camera that looks.

Points are shares of the picture's width and height, `[0.5, 0.25]`, or its pixels, `["640px", "180px"]`; they
may be mixed. Shares survive a change of the camera's resolution.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    GetPydanticSchema,
    PlainValidator,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema

from edgekit.config.condition import parse_condition
from edgekit.config.fields import (
    Bool,
    Duration,
    Float,
    Id,
    Int,
    Part,
    PlaceError,
    Text,
    either,
    from_bool,
    to_bool,
    to_number,
)

Coordinate: TypeAlias = float | str
Points: TypeAlias = list[tuple[float, float]]

_POINT = "[x, y], each from 0 to 1 or in pixels like 120px"
_PIXELS = re.compile(r"([0-9]{1,5})px")
_COORDINATE = {
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": 1},
        {"type": "string", "pattern": r"^([0-9]{1,5}px|\$\{.*)$"},
    ]
}


def to_pixels(points: Sequence[tuple[Coordinate, Coordinate]], width: int, height: int) -> Points:
    """The points in pixels of a picture of `width` x `height`."""
    return [(_scaled(x, width), _scaled(y, height)) for x, y in points]


def _scaled(value: Coordinate, size: int) -> float:
    return float(value.removesuffix("px")) if isinstance(value, str) else value * size


def _point(value: object) -> tuple[Coordinate, Coordinate]:
    if isinstance(value, list | tuple) and len(value) == 2:
        x, y = (_coordinate(part) for part in value)
        if x is not None and y is not None:
            return x, y
    raise ValueError(f"expected {_POINT}")


def _coordinate(value: object) -> Coordinate | None:
    number = to_number(value)
    if isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number <= 1:
        return float(number)
    return value if isinstance(value, str) and _PIXELS.fullmatch(value) else None


def _frozen_time(value: object) -> object:
    """`frozen: true` takes the default, `false` and 0 turn it off."""
    word = to_bool(value)
    return {True: 10.0, False: 0.0}[word] if isinstance(word, bool) else value


def _schema_of_point(_core: Any, _handler: Any) -> dict[str, Any]:
    return {
        "type": "array",
        "items": _COORDINATE,
        "minItems": 2,
        "maxItems": 2,
        "patternErrorMessage": _POINT,
    }


Point: TypeAlias = Annotated[
    tuple[Coordinate, Coordinate],
    PlainValidator(_point),
    GetPydanticSchema(get_pydantic_json_schema=_schema_of_point),
]
Labels: TypeAlias = Annotated[list[Text], Field(min_length=1)]


def _are_in_line(points: Sequence[tuple[Coordinate, Coordinate]]) -> bool:
    """Whether none lies beside the line from the first to another; shares and pixels do not compare."""
    if len({type(each) for point in points for each in point}) > 1:
        return False
    (x0, y0), *others = to_pixels(points, 1, 1)
    x1, y1 = next(each for each in others if each != (x0, y0))
    return all(abs((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) < 1e-9 for x, y in others)


class ZoneConfig(Part):
    """A part of the picture; a thing is where its bottom centre is: where it stands."""

    points: list[Point] = Field(min_length=3, max_length=64, description="Corners, in order: [x, y] each.")
    labels: Labels | None = Field(default=None, description="Classes that count here; unset: all watched.")
    inertia: Int = Field(
        default=3, ge=1, le=64, description="Frames in a row that must show a thing inside, or outside again."
    )
    loiter: Duration = Field(
        default=0.0, ge=0, le=86_400, description="How long a thing must stay inside before it counts: 2s."
    )

    @field_validator("points")
    @classmethod
    def _differ(cls, points: list[Point]) -> list[Point]:
        if len(set(points)) < 3:
            raise ValueError("expected at least 3 different points")
        if _are_in_line(points):
            raise ValueError("expected points around an area, and these are all on one line")
        return points


class LineConfig(Part):
    """A line that things cross: `in` is from its left to its right, as seen from the first point."""

    points: list[Point] = Field(min_length=2, max_length=2, description="Its two ends: [x, y] each.")
    labels: Labels | None = Field(default=None, description="Classes that count; unset: all watched.")
    hysteresis: Float = Field(
        default=0.03,
        ge=0,
        le=0.5,
        description="Distance beyond the line that makes a crossing, as a share of the picture's height.",
    )

    @field_validator("points")
    @classmethod
    def _differ(cls, points: list[Point]) -> list[Point]:
        if points[0] == points[1]:
            raise ValueError("expected two different points")
        return points


class ConfirmConfig(Part):
    """A thing is reported once it was seen in `frames` of its last `of` frames."""

    frames: Int = Field(default=3, ge=1, le=64, description="Frames that must show the thing.")
    of: Int = Field(default=5, ge=1, le=64, description="Out of so many last frames.")

    @model_validator(mode="after")
    def _fit(self) -> ConfirmConfig:
        if self.frames > self.of:
            raise ValueError(f"frames is {self.frames}, expected at most of, which is {self.of}")
        return self


class AlarmConfirmConfig(ConfirmConfig):
    """As ConfirmConfig, for an alarm."""

    verify: Literal["person_vs_animal"] | None = Field(
        default=None, description="person_vs_animal: not while detect.second_look takes it for another thing."
    )


class AlarmConfig(Part):
    """Something to be told of at once."""

    when: Text = Field(
        description="What raises it: person in drive, car or truck, any crosses gate in.",
    )
    unless: list[Text] = Field(
        default_factory=list,
        max_length=64,
        description="Classes whose presence (in the zone, if when names one) keeps it from being raised.",
    )
    confirm: AlarmConfirmConfig | None = Field(
        default=None, description="In how many frames it must be so; unset: as detect.confirm."
    )
    cooldown: Duration = Field(
        default=60.0, ge=0, le=604_800, description="Time after an alarm in which it is not raised again: 2m."
    )

    @field_validator("when")
    @classmethod
    def _parse(cls, when: str) -> str:
        parse_condition(when)
        return when


class TamperConfig(Part):
    """Signs that something is wrong with the camera itself; `tamper: true` watches for all of them."""

    covered: Bool = Field(default=True, description="Something is before the lens.")
    frozen: Annotated[Duration, Field(ge=0, le=86_400), BeforeValidator(_frozen_time)] = Field(
        default=10.0,
        json_schema_extra={"type": ["number", "string", "boolean"]},
        description="Time after which a picture that does not change is frozen: 10s, or false.",
    )
    moved: Bool = Field(default=True, description="It looks elsewhere.")
    dark: Bool = Field(default=True, description="The light is gone at once.")

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return either({"type": "boolean"}, dict(handler.resolve_ref_schema(handler(core))))


class SnapshotConfig(Part):
    """Whether pictures leave the device, and how large they are; `snapshots: true` takes all defaults."""

    enabled: Bool = Field(default=True, description="Publish the best picture of each kind of thing.")
    height: Int = Field(default=270, ge=32, le=2160, description="Most rows of a picture.")
    max_kb: Int = Field(
        default=100,
        ge=4,
        le=10_240,
        description="Most KiB of a picture; a larger one is not sent.",
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return either({"type": "boolean"}, dict(handler.resolve_ref_schema(handler(core))))


class SceneConfig(Part):
    """What a camera looks at."""

    zones: dict[Id, ZoneConfig] = Field(
        default_factory=dict, max_length=64, description="Parts of the picture, by name."
    )
    lines: dict[Id, LineConfig] = Field(
        default_factory=dict, max_length=64, description="Lines whose crossings are counted, by name."
    )
    alarms: dict[Id, AlarmConfig] = Field(
        default_factory=dict, max_length=64, description="What to be told of at once, by name."
    )
    tamper: Annotated[TamperConfig | None, BeforeValidator(from_bool)] = Field(
        default=None, description="Watch the camera itself: true, or a mapping; unset: do not."
    )
    snapshots: Annotated[SnapshotConfig | None, BeforeValidator(from_bool)] = Field(
        default=None, description="Publish pictures: true, or a mapping; unset: none leaves the device."
    )

    @model_validator(mode="after")
    def _find_places(self) -> SceneConfig:
        """An alarm may name only zones and lines that are there."""
        for name, alarm in self.alarms.items():
            condition = parse_condition(alarm.when)
            _expect_place(name, "zone", condition.zone, self.zones)
            _expect_place(name, "line", condition.line, self.lines)
            for i, label in enumerate(alarm.unless):
                if condition.labels and label in condition.labels:
                    raise PlaceError(
                        ("alarms", name, "unless", i), f"{label} raises it as well, so it never is"
                    )
        return self

    def labels_at(self) -> list[tuple[tuple[str | int, ...], str]]:
        """Each class that is named in the scene, after its place: `("zones", "drive", "labels", 0)`."""
        named: dict[tuple[str | int, ...], Sequence[str]] = {}
        for name, zone in self.zones.items():
            named["zones", name, "labels"] = zone.labels or ()
        for name, line in self.lines.items():
            named["lines", name, "labels"] = line.labels or ()
        for name, alarm in self.alarms.items():
            named["alarms", name, "unless"] = alarm.unless
        found: list[tuple[tuple[str | int, ...], str]]
        found = [((*at, i), label) for at, labels in named.items() for i, label in enumerate(labels)]
        for name, alarm in self.alarms.items():
            found += [(("alarms", name, "when"), label) for label in parse_condition(alarm.when).labels or ()]
        return found


def _expect_place(alarm: str, kind: str, place: str | None, known: Mapping[str, object]) -> None:
    if place is not None and place not in known:
        near = get_close_matches(place, known, 1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise PlaceError(("alarms", alarm, "when"), f"there is no {kind} {place!r} here{hint}")
