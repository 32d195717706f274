"""What may be said of the place that a camera looks at: its zones and its lines.

Points are shares of the picture's width and height, `[0.5, 0.25]`, or its pixels, `["640px", "180px"]`; they
may be mixed. Shares survive a change of the camera's resolution.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

from pydantic import Field, GetPydanticSchema, PlainValidator, field_validator

from edgekit.fields import Duration, Float, Id, Int, Part, Text, to_number

Coordinate: TypeAlias = float | str
Points: TypeAlias = list[tuple[float, float]]

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
    raise ValueError("expected [x, y], each from 0 to 1 or in pixels like 120px")


def _coordinate(value: object) -> Coordinate | None:
    number = to_number(value)
    if isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number <= 1:
        return float(number)
    return value if isinstance(value, str) and _PIXELS.fullmatch(value) else None


def _schema_of_point(_core: Any, _handler: Any) -> dict[str, Any]:
    return {"type": "array", "items": _COORDINATE, "minItems": 2, "maxItems": 2}


Point: TypeAlias = Annotated[
    tuple[Coordinate, Coordinate],
    PlainValidator(_point),
    GetPydanticSchema(get_pydantic_json_schema=_schema_of_point),
]
Labels: TypeAlias = Annotated[list[Text], Field(min_length=1)]


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


class SceneConfig(Part):
    """What a camera looks at."""

    zones: dict[Id, ZoneConfig] = Field(
        default_factory=dict, max_length=64, description="Parts of the picture, by name."
    )
    lines: dict[Id, LineConfig] = Field(
        default_factory=dict, max_length=64, description="Lines whose crossings are counted, by name."
    )

    def labels_at(self) -> list[tuple[str, str]]:
        """Each class that is named in the scene, after the place where it is named: `zones.drive`."""
        places = {f"zones.{name}": zone.labels for name, zone in self.zones.items()}
        places |= {f"lines.{name}": line.labels for name, line in self.lines.items()}
        return [(place, label) for place, labels in places.items() for label in labels or ()]
