"""Whether the camera itself is all right: covered, frozen, moved, dark.

What comes slowly is the day; what comes at once and stays is a hand. The picture, averaged over a second so
that noise and whoever walks by fade, is compared with a memory of itself that stands still while something
is wrong:

* dark: a small part of the light is left;
* covered: the contours are gone;
* moved: contours are there, but elsewhere. Only their directions are compared, which neither the sun nor the
  infrared lamp turns, and only while the picture is steady: a lorry before the lens drives on;
* frozen: not a single pixel changes, but for the few of a clock. A sensor has noise; a frozen picture has
  none.
"""

from __future__ import annotations

import math

import numpy as np

from edgekit.config.scene import TamperConfig
from edgekit.pipeline.motion import Grey, small_grey
from edgekit.types import Image

EVERY_S = 0.25  # how often a frame is examined
FADE_S = 1.0  # time constant of the picture that is examined
LIGHT_S = 10.0  # time constant of the usual light and of how much contours stand out: dusk is slower
PLACE_S = 60.0  # time constant of where the contours usually are
LEARN_S = 5.0  # how long a picture is known before another can be told from it
HOLD_S = {"covered": 3.0, "moved": 5.0, "dark": 3.0}  # how long each must be so, or no longer so
ACCEPT_S = 300.0  # after which a moved camera is where it is
DARK = 0.25  # share of the usual light that is dark
COVERED = 0.3  # share of the usual contours that is covered
ALIKE = 0.7  # likeness of the contours above which they are where they were
STEADY = 0.5  # likeness of a frame to the last second above which the camera rests
LEFT = 0.2  # share of the contours that must still be where they were, whoever stands before the rest
STANDS_OUT = 1.2  # how much better they must fit there than anywhere else
FAINT = 0.3  # steepness, as a share of the mean, below which a contour counts less
WIND = 3  # pixels, of the small picture, by which the wind may shift it
FLAT = 0.5  # steepness, in levels a pixel, below which a picture has no contours to compare
CLOCK = 0.02  # share of the pixels that a clock may change
REPEATS = 5  # frames that must show the same before it is frozen
SIGNS = ("covered", "frozen", "moved", "dark")


class Hold:
    """A sign that must be there for a while before it counts, and gone for a while before it does not."""

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._since_s: float | None = None
        self.on = False
        self.on_s = 0.0

    def update(self, now: bool, mono_s: float) -> bool:
        if now == self.on:
            self._since_s = None
        elif self._since_s is None:
            self._since_s = mono_s
        elif mono_s - self._since_s >= self._hold_s:
            self.on, self.on_s, self._since_s = now, mono_s, None
        return self.on


class Frozen:
    """Whether nothing but a clock has changed for `after_s` seconds."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._last: Image | None = None
        self._changed = np.zeros((0, 0), np.bool_)
        self._since_s = 0.0
        self._repeats = 0

    def update(self, image: Image, mono_s: float) -> bool:
        step = max(image.shape[1] // 160, 1)
        sample = image[::step, ::step].copy()  # not a mean of pixels, which would take the noise away
        if self._last is None or self._last.shape != sample.shape:
            self._restart(sample, mono_s)
        self._repeats += 1
        self._changed |= (sample != self._last).any(axis=2)
        self._last = sample
        if self._changed.mean() > CLOCK:
            self._restart(sample, mono_s)
        return self._repeats >= REPEATS and mono_s - self._since_s >= self._after_s

    def _restart(self, sample: Image, mono_s: float) -> None:
        self._last, self._since_s, self._repeats = sample, mono_s, 0
        self._changed = np.zeros(sample.shape[:2], np.bool_)


class Memory:
    """What a picture usually is, and how another one compares with it."""

    def __init__(self) -> None:
        self._started_s: float | None = None
        self._mono_s = 0.0
        self._recent: Grey = np.zeros((0, 0), np.float32)
        self._light = self._contours = 0.0
        self._place: Grey = np.zeros(0, np.float32)

    def compare(self, grey: Grey, mono_s: float) -> set[str]:
        """The signs that a picture shows; without any it is remembered."""
        if self._started_s is None or self._recent.shape != grey.shape:
            self._start(grey, mono_s)
        dt_s, self._mono_s = max(mono_s - self._mono_s, 0.0), mono_s
        self._recent = self._recent + np.float32(share(dt_s, FADE_S)) * (grey - self._recent)
        light = float(self._recent.mean())
        steepness, field = contours(self._recent)
        signs = self._signs(light, steepness, likeness(field, self._place))
        steady = steepness > FLAT and likeness(contours(grey)[1], field) > STEADY
        if not signs and steady and elsewhere(field, self._place):
            signs = {"moved"}
        if not signs:
            self._light += share(dt_s, LIGHT_S) * (light - self._light)
            self._contours += share(dt_s, LIGHT_S) * (steepness - self._contours)
        if not signs and steady:
            self._place = self._place + np.float32(share(dt_s, PLACE_S)) * (field - self._place)
        return signs if mono_s - (self._started_s or 0.0) >= LEARN_S else set()

    def _start(self, grey: Grey, mono_s: float) -> None:
        self._started_s = self._mono_s = mono_s
        self._recent, self._light = grey, float(grey.mean())
        self._contours, self._place = contours(grey)

    def _signs(self, light: float, steepness: float, alike: float) -> set[str]:
        """Less light takes contours with it: those that are still where they were are not covered."""
        signs = {"dark"} if light < DARK * self._light else set()
        covered = steepness < COVERED * self._contours and alike < ALIKE
        return signs | {"covered"} if covered else signs


def share(dt_s: float, constant_s: float) -> float:
    """How much of a change a mean with a time constant takes in `dt_s` seconds."""
    return 1 - math.exp(-dt_s / constant_s)


def contours(grey: Grey) -> tuple[float, Grey]:
    """Mean steepness of a picture, and the directions of its contours, (2, height, width).

    A direction is told by twice its angle, so that it does not matter which side is the brighter one.
    """
    import cv2

    gx, gy = (cv2.Sobel(grey, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    steepness = np.hypot(gx, gy)
    mean = float(steepness.mean())
    field = np.stack([gx * gx - gy * gy, 2 * gx * gy]) / np.maximum(steepness * mean, 1e-6)
    return mean, np.asarray(field, np.float32)


def likeness(a: Grey, b: Grey) -> float:
    """Of two fields of directions: 1 the same, 0 unrelated."""
    return float((a * b).sum()) / max(_norm(a, b), 1e-6)


def elsewhere(field: Grey, usual: Grey) -> bool:
    """Whether a field of directions is not the usual one.

    Somebody who stands before half of the picture makes it unlike, but what is left of it still fits best
    where it was; of another view nothing does.
    """
    if likeness(field, usual) >= ALIKE:
        return False
    known = directions(usual)
    fits = fits_by_shift(directions(field), known) / max(float(np.hypot(*known).sum()), 1e-6)
    near = np.ix_(*[np.arange(-WIND, WIND + 1)] * 2)
    here = float(fits[near].max())
    fits[near] = 0.0
    return here < max(LEFT, STANDS_OUT * float(fits.max()))


def directions(field: Grey) -> Grey:
    """The field with all contours alike, so that one bold thing does not outweigh the rest."""
    return np.asarray(field / np.maximum(np.hypot(*field), FAINT), np.float32)


def fits_by_shift(a: Grey, b: Grey) -> Grey:
    """How well two fields fit for every shift of one; [0, 0] is no shift."""
    spectrum = (np.fft.rfft2(a) * np.conj(np.fft.rfft2(b))).sum(axis=0)
    return np.asarray(np.fft.irfft2(spectrum, a.shape[1:]), np.float32)


def _norm(a: Grey, b: Grey) -> float:
    return math.sqrt(float((a * a).sum()) * float((b * b).sum()))


class Tamper:
    """Watches the picture of one camera."""

    def __init__(self, config: TamperConfig) -> None:
        self._config = config
        self._memory = Memory()
        self._frozen = Frozen(config.frozen) if config.frozen else None
        self._holds = {sign: Hold(hold_s) for sign, hold_s in HOLD_S.items() if getattr(config, sign)}
        self._examined_s = -math.inf
        self.signs = dict.fromkeys(SIGNS, False)

    def update(self, image: Image, mono_s: float) -> dict[str, bool]:
        """What is wrong with the camera, by its picture."""
        if mono_s - self._examined_s < EVERY_S:
            return self.signs
        self._examined_s = mono_s
        seen = self._memory.compare(small_grey(image), mono_s)
        signs = {sign: hold.update(sign in seen, mono_s) for sign, hold in self._holds.items()}
        frozen = self._frozen is not None and self._frozen.update(image, mono_s)
        self.signs = dict.fromkeys(SIGNS, False) | signs | {"frozen": frozen}
        moved = self._holds.get("moved")
        if moved and moved.on and mono_s - moved.on_s >= ACCEPT_S:
            self._memory = Memory()
        return self.signs
