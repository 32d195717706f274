"""One frame as the page shows it: a JPEG, and what lies over it as shares of width and height."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from edgekit.config.scene import SceneConfig, to_pixels
from edgekit.types import Frame, Image, Track

MOST_THINGS = 64  # what lies over a picture travels in a header of bounded size
QUALITY = 80


def to_jpeg(image: Image, width: int) -> bytes:
    """The (height, width, 3) BGR `image` as JPEG, scaled down to at most `width` pixels."""
    import cv2

    height_now, width_now = image.shape[:2]
    if width_now > width:
        height = max(1, round(height_now * width / width_now))
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return bytes(jpeg)


def overlay(number: int, frame: Frame, tracks: Sequence[Track], reported: Collection[int]) -> dict[str, Any]:
    """The things of frame `number`: `missed` are those that are awaited, but not seen in it, `unsure` those
    whose ids are not `reported`.
    """
    height, width = frame.image.shape[:2]
    inside = [t for t in tracks if t.box[0] < width and t.box[1] < height and t.box[2] > 0 and t.box[3] > 0]
    surest = sorted(inside, key=lambda track: -track.score)[:MOST_THINGS]
    return {
        "number": number,
        "time": round(frame.time_s, 3),
        "size": [width, height],
        "things": [_thing(track, width, height, sure=track.id in reported) for track in surest],
    }


def _thing(track: Track, width: int, height: int, *, sure: bool) -> dict[str, Any]:
    x1, y1, x2, y2 = track.box
    return {
        "id": track.id,
        "label": track.label,
        "score": round(track.score, 3),
        "box": _shares([(x1, y1), (x2, y2)], width, height),
        "missed": track.missed > 0,
        "unsure": not sure,
        "zones": list(track.zones),
    }


def places(scene: SceneConfig, size: tuple[int, int]) -> dict[str, dict[str, Any]]:
    """Zones and lines of a camera whose pictures are of `size` (width, height)."""
    return {
        kind: {name: _shares(to_pixels(part.points, *size), *size) for name, part in parts.items()}
        for kind, parts in (("zones", scene.zones), ("lines", scene.lines))
    }


def _shares(points: Sequence[tuple[float, float]], width: int, height: int) -> list[list[float]]:
    return [[round(_within(x / width), 4), round(_within(y / height), 4)] for x, y in points]


def _within(share: float) -> float:
    return min(max(float(share), 0.0), 1.0)
