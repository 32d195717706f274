"""Pictures of a place as a camera would see it: texture, noise, light, somebody who walks by."""

from __future__ import annotations

import cv2
import numpy as np

from edgekit.types import Image

WIDTH, HEIGHT = 320, 180


def place(seed: int = 0) -> Image:
    """A yard: large and small things of all shades, none of them straight black or white."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.uniform(-1, 1, (HEIGHT // size, WIDTH // size)).astype(np.float32), (WIDTH, HEIGHT),
                   interpolation=cv2.INTER_NEAREST if size > 8 else cv2.INTER_LINEAR)
        for size in (4, 12, 36)
    ]  # fmt: skip
    grey = 110 + 20 * layers[0] + 30 * layers[1] + 30 * layers[2]
    tint = np.array([0.9, 1.0, 1.1], np.float32)
    return np.asarray(np.clip(grey[..., None] * tint, 0, 255).astype(np.uint8))


def lit(view: Image, gain: float = 1.0, offset: float = 0.0) -> Image:
    """The same in another light."""
    return np.asarray(np.clip(view.astype(np.float32) * gain + offset, 0, 255).astype(np.uint8))


def noisy(view: Image, rng: np.random.Generator, sigma: float = 2.0) -> Image:
    """With the noise of a sensor."""
    noise = rng.normal(0, sigma, view.shape).astype(np.float32)
    return np.asarray(np.clip(view + noise, 0, 255).astype(np.uint8))


def with_person(view: Image, x: int, height: int = 60) -> Image:
    """Somebody in dark clothes stands with the feet near the lower edge."""
    view = view.copy()
    bottom, width = HEIGHT - 10, height * 2 // 5
    view[bottom - height : bottom, max(x, 0) : x + width] = (30, 25, 40)
    return view


def infrared(view: Image) -> Image:
    """As the camera sees it at night by its own lamp: grey, other contrasts, brighter in the middle."""
    grey = cv2.cvtColor(view, cv2.COLOR_BGR2GRAY).astype(np.float32)
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    lamp = 1.2 - 0.6 * (x**2 + y**2)
    return np.asarray(np.clip((grey * 0.7 + 20) * lamp, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2))
