"""A moving scene made of real photographs: a camera for those who have none at hand.

The photographs come inside scikit-image's wheel (extra `edgekit[demo]`); nothing is downloaded. People, a cat
and a motorcycle, cut out along their outlines, come into the picture, stay for some seconds and leave;
prints of a coffee cup and a rocket hang by, which are none of the things that the zoo's detectors know. The
light drifts and the sensor is noisy. All of it follows from the seed, and `DemoScene.card` says what is where
and when.
"""

from __future__ import annotations

import importlib.util
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import MissingExtraError, SourceError
from edgekit.sources.reel import read_picture

if TYPE_CHECKING:
    from edgekit.types import Image

WIDTH, HEIGHT = 640, 480
FPS = 10
LOOP_S = 60.0
_LOOP = int(LOOP_S * FPS)
_SEEN = 0.5  # the part of a thing that must be in the picture for `truth` to name it
_SLIDE_S = 1.5
_NOISE_MARGIN = 64

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph and how it enters the scene.

    `outline` runs along the thing, "x,y x,y …" in the photograph's own pixels; without one, the whole
    photograph is a print with a white border. `height` is that in the scene, `bottom` the row it stands on.
    `label` is None for what is there to be ignored.
    """

    file: str
    label: str | None
    height: int
    bottom: int
    outline: str = ""


PHOTOS = {
    "astronaut": Photo(
        "astronaut.png",
        "person",
        340,
        HEIGHT,
        "20,512 22,470 25,425 22,400 25,360 28,335 38,300 45,275 60,252 80,230 108,210 115,190 125,165 "
        "140,153 165,149 181,149 181,132 172,125 160,105 153,85 155,60 165,48 185,38 200,25 225,17 245,17 "
        "270,25 288,40 300,70 300,95 290,115 275,135 265,136 258,160 256,175 275,185 290,203 302,225 "
        "305,236 325,247 342,265 352,290 360,320 364,345 395,343 430,350 465,375 485,405 495,440 502,460 "
        "512,480 512,512",
    ),
    "cameraman": Photo(
        "camera.png",
        "person",
        370,
        HEIGHT,
        "219,68 192,69 172,87 161,106 150,107 130,125 116,125 77,142 59,164 27,221 18,227 16,236 5,251 "
        "5,496 16,511 89,511 98,454 106,454 117,466 132,491 138,511 150,511 148,423 141,380 173,342 "
        "204,297 214,297 235,309 250,311 280,292 291,292 291,281 303,274 299,248 302,247 304,186 273,187 "
        "273,206 262,215 245,215 240,204 243,174 236,167 236,153 243,148 259,151 260,176 266,176 272,165 "
        "264,164 264,154 276,151 276,147 267,144 269,112 243,80",
    ),
    "cat": Photo(
        "chelsea.png",
        "cat",
        240,
        HEIGHT,
        "0,300 0,235 15,200 22,170 25,140 34,115 36,75 46,45 66,20 100,7 150,1 300,1 335,6 397,0 388,18 "
        "370,45 357,72 358,95 362,120 362,150 350,180 322,215 314,245 308,270 304,300",
    ),
    "motorcycle": Photo(
        "motorcycle_left.png",
        "motorcycle",
        195,
        455,
        "92,200 97,197 130,200 147,205 138,165 137,155 146,147 163,147 170,160 205,162 232,166 255,185 "
        "285,195 325,193 352,188 392,165 357,172 358,163 390,140 410,125 425,122 445,138 462,145 468,125 "
        "480,118 492,105 496,82 510,78 520,92 543,100 540,104 522,97 535,115 555,122 565,118 580,122 "
        "580,137 565,142 562,165 550,182 552,200 560,225 580,260 600,264 625,280 645,308 642,315 660,340 "
        "672,370 682,400 683,420 670,445 645,448 610,440 570,415 540,385 520,350 513,325 506,328 506,305 "
        "515,285 503,250 497,226 478,228 470,240 480,255 475,275 478,295 470,330 455,360 430,375 395,380 "
        "350,375 345,395 350,407 340,410 332,398 338,430 325,433 328,390 322,372 285,365 262,378 235,397 "
        "200,400 165,390 140,365 125,335 121,300 128,275 145,250 150,240 125,240 110,246 102,243 110,225 "
        "92,220",
    ),
    "coffee": Photo("coffee.png", None, 150, 230),
    "rocket": Photo("rocket.jpg", None, 150, 230),
}
PEOPLE = ("astronaut", "cameraman")
OTHERS = ("cat", "motorcycle", "coffee", "rocket")


@dataclass(frozen=True, slots=True)
class Visit:
    """One coming and going of a photograph.

    Its left edge is at `from_x` at `enter_s` and before, reaches `rest_x` at `rest_s`, starts from there at
    `go_s`, and is at `to_x` from `leave_s` on; `from_x` and `to_x` lie outside the picture.
    """

    photo: str
    enter_s: float
    rest_s: float
    go_s: float
    leave_s: float
    from_x: int
    rest_x: int
    to_x: int

    def left_at(self, second: float) -> float | None:
        """The column of the left edge at this second of the loop; None when the thing is not there."""
        if not self.enter_s <= second < self.leave_s:
            return None
        times = self.enter_s, self.rest_s, self.go_s, self.leave_s
        columns = self.from_x, self.rest_x, self.rest_x, self.to_x
        sway = 2 * math.sin(second * 2.2) if self.rest_s < second < self.go_s else 0.0
        return float(np.interp(second, times, columns)) + sway


class DemoScene:
    """The scene for one seed: pictures of 640 x 480 at 10 a second, a loop of 60 seconds.

    Raises MissingExtraError when scikit-image is not installed.
    """

    fps = float(FPS)

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        folder = _find_photos()
        self._background = _make_background(folder)
        self._patches = {name: _cut_patch(folder, photo) for name, photo in PHOTOS.items()}
        self.visits = plan_visits(seed, {name: patch.width for name, patch in self._patches.items()})
        self._brighter, self._darker = _make_noise(seed)

    def frame(self, i: int) -> Image:
        """Picture number i, (480, 640, 3) uint8 BGR, the caller's own; i goes on through all loops."""
        import cv2

        image = self._background.copy()
        for name, left, top in self._things(i):
            self._patches[name].draw(image, left, top)
        turn = 2 * math.pi * (i % _LOOP) / _LOOP
        cv2.convertScaleAbs(image, image, 1 + 0.05 * math.sin(turn) + 0.02 * math.sin(7 * turn))
        row, column = divmod((i % _LOOP) * 1847 % _NOISE_MARGIN**2, _NOISE_MARGIN)
        window = np.s_[row : row + HEIGHT, column : column + WIDTH]
        cv2.add(image, self._brighter[window], image)
        cv2.subtract(image, self._darker[window], image)
        return image

    def truth(self, i: int) -> list[tuple[str, Box]]:
        """What picture i shows: label and box of each thing of which at least a half is in the picture."""
        found = []
        for name, left, top in self._things(i):
            label, patch = PHOTOS[name].label, self._patches[name]
            x1, x2 = max(left, 0), min(left + patch.width, WIDTH)
            if label and x2 - x1 >= _SEEN * patch.width:
                found.append((label, (float(x1), float(top), float(x2), float(top + patch.height))))
        return found

    def card(self) -> dict[str, Any]:
        """What comes and goes in one loop; seconds count from picture 0. Label None: there to be ignored."""
        return {
            "seed": self._seed,
            "width": WIDTH,
            "height": HEIGHT,
            "fps": FPS,
            "loop_s": LOOP_S,
            "visits": [
                {
                    "label": PHOTOS[visit.photo].label,
                    "photo": visit.photo,
                    "enter_s": visit.enter_s,
                    "leave_s": visit.leave_s,
                    "from": "left" if visit.from_x < visit.rest_x else "right",
                    "to": "left" if visit.to_x < visit.rest_x else "right",
                }
                for visit in self.visits
            ],
        }

    def _things(self, i: int) -> list[tuple[str, int, int]]:
        """Name, left and top of each thing that is there in picture i."""
        second = (i % _LOOP) / FPS
        places = []
        for visit in self.visits:
            left = visit.left_at(second)
            if left is not None:
                photo = PHOTOS[visit.photo]
                places.append((visit.photo, round(left), photo.bottom - self._patches[visit.photo].height))
        return places


def plan_visits(seed: int, widths: dict[str, int]) -> tuple[Visit, ...]:
    """Who comes when: a person first on the left, three things to each side, then one walks across.

    `widths` are those of the patches in pixels. The picture is empty at the start and the end of the loop.
    """
    luck = random.Random(seed)  # noqa: S311  (a scene, not a secret)
    people, others = list(PEOPLE), list(OTHERS)
    luck.shuffle(people)
    luck.shuffle(others)
    sides = [people[0], *others[:2]], [others[2], people[1], others[3]]
    visits = [
        visit
        for on_left, names in zip((True, False), sides, strict=True)
        for visit in _plan_side(names, widths, luck, on_left=on_left)
    ]
    visits.append(_plan_walk("cameraman", widths["cameraman"]))
    return tuple(sorted(visits, key=lambda visit: visit.enter_s))


def _plan_side(
    names: list[str], widths: dict[str, int], luck: random.Random, *, on_left: bool
) -> list[Visit]:
    """One after the other, in from this side and out to it, done before second 49."""
    visits = []
    second = 0.5 if on_left else 4.0
    for name in names:
        width = widths[name]
        outside = -width if on_left else WIDTH
        rest = WIDTH * (1 if on_left else 3) // 4 - width // 2 + luck.randint(-12, 12)
        enter = round(second + luck.uniform(0, 1.5), 1)
        rest_s = enter + _SLIDE_S
        go_s = round(rest_s + luck.uniform(6.5, 9), 1)
        leave = round(go_s + _SLIDE_S, 1)
        visits.append(Visit(name, enter, rest_s, go_s, leave, outside, rest, outside))
        second = leave + 1
    return visits


def _plan_walk(name: str, width: int) -> Visit:
    middle = (WIDTH - width) // 2
    return Visit(name, 49.0, 53.5, 53.5, 58.0, -width, middle, WIDTH)


# ── from photographs to patches ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, eq=False)
class _Patch:
    """A cut-out: `ink` is the picture times its opacity, `hole` 255 minus that; both (h, w, 3) uint8."""

    ink: Image
    hole: Image

    @property
    def height(self) -> int:
        return int(self.ink.shape[0])

    @property
    def width(self) -> int:
        return int(self.ink.shape[1])

    def draw(self, image: Image, left: int, top: int) -> None:
        """Lay the patch over `image`, in place; what lies outside is cut off."""
        import cv2

        x1, x2 = max(left, 0), min(left + self.width, image.shape[1])
        if x1 >= x2:
            return
        columns = np.s_[:, x1 - left : x2 - left]
        under = image[top : top + self.height, x1:x2]
        cv2.multiply(under, self.hole[columns], under, 1 / 255)
        cv2.add(under, self.ink[columns], under)


def _find_photos() -> Path:
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("scikit-image", "demo")
    return Path(spec.submodule_search_locations[0]) / "data"


def _read_photo(folder: Path, file: str) -> Image:
    image, why = read_picture(folder / file)
    if image is None:
        raise SourceError(
            f"{folder / file}: {why}; install it anew: pip install --force-reinstall scikit-image"
        )
    return image


def _cut_patch(folder: Path, photo: Photo) -> _Patch:
    import cv2

    image, opacity = _cut_out(_read_photo(folder, photo.file), photo.outline)
    size = round(image.shape[1] * photo.height / image.shape[0]), photo.height
    image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    if photo.outline:
        opacity = cv2.GaussianBlur(cv2.resize(opacity, size, interpolation=cv2.INTER_AREA), (0, 0), 0.9)
    else:
        opacity = np.full_like(image, 255)
        cv2.rectangle(image, (0, 0), (size[0] - 1, size[1] - 1), (225, 232, 235), 9)
    ink = cv2.multiply(image, opacity, scale=1 / 255)
    return _Patch(np.ascontiguousarray(ink, np.uint8), np.ascontiguousarray(255 - opacity, np.uint8))


def _cut_out(image: Image, points: str) -> tuple[Image, Any]:
    """The part of `image` in the box of the outline, and its opacity: 255 inside the outline, 0 outside."""
    import cv2

    opacity = np.zeros_like(image)
    if not points:
        return image, opacity
    outline = np.array([pair.split(",") for pair in points.split()], np.int32)
    cv2.fillPoly(opacity, [outline], (255, 255, 255))
    left, top, width, height = cv2.boundingRect(outline)
    part = np.s_[top : top + height, left : left + width]
    return image[part], opacity[part]


def _make_background(folder: Path) -> Image:
    """A brick wall, a little out of focus, above a ground of gravel that runs away from the camera."""
    import cv2

    wall = cv2.resize(_read_photo(folder, "brick.png"), (WIDTH, WIDTH))[:320]
    wall = cv2.GaussianBlur(wall, (0, 0), 2.0) * np.array([0.30, 0.33, 0.37]) + 60
    near, far = [[1100, 160], [-460, 160]], [[-60, 0], [700, 0]]
    corners = np.array([[0, 0], [1024, 0], [1024, 700], [0, 700]], np.float32)
    tilt = cv2.getPerspectiveTransform(corners, np.array(far + near, np.float32))
    gravel = cv2.resize(_read_photo(folder, "gravel.png"), (1024, 1024))
    ground = cv2.warpPerspective(gravel, tilt, (WIDTH, HEIGHT - 320)) * np.array([0.36, 0.41, 0.42]) + 40
    return np.vstack([wall, ground]).clip(0, 255).astype(np.uint8)


def _make_noise(seed: int) -> tuple[Image, Image]:
    """What to add to a picture and what to take from it; larger than a picture, so that it can be shifted."""
    shape = HEIGHT + _NOISE_MARGIN, WIDTH + _NOISE_MARGIN, 3
    noise = np.random.default_rng(seed).normal(0, 3, shape).round()
    return noise.clip(0, 20).astype(np.uint8), (-noise).clip(0, 20).astype(np.uint8)
