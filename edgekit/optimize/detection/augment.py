"""Random scales, crops, mirrors, colours and 2x2 mosaics of photographs, a whole batch at a time.

What is drawn comes from numpy's generator, so that it is the same on every device; the device only paints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edgekit.optimize.detection.album import NOTHING, Album
from edgekit.optimize.detection.photos import PAD

VISIBLE = 0.3  # a box of which less is left after a crop is ignored
LEAST_PX = 3.0  # so is a box thinner than this
SMALL = 0.6  # photographs that shrink below this are smoothed first
ROWS = 32  # boxes come in multiples of it, so that few shapes of batches exist
PARTS = 4  # photographs of a mosaic


@dataclass(frozen=True, slots=True)
class Strength:
    """How much is varied: the share of mosaics, the range of scales, the gain of saturation and value."""

    mosaic: float = 0.5
    scale: tuple[float, float] = (0.5, 1.5)
    colour: tuple[float, float] = (0.5, 0.3)


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """b pictures of `size_px`, of up to four photographs each; a part that is not there has no area.

    `photos` (b, 4) numbers in the album; `regions` (b, 4, 4) x1, y1, x2, y2 of each part in the picture;
    `origins` (b, 4, 2) where the photograph's own corner lies; `scales` (b, 4, 2); `mirrored` (b, 4);
    `colours` (b, 2) factors of saturation and value. All lengths in pixels of the picture.
    """

    size_px: int
    photos: NDArray[np.int64]
    regions: NDArray[np.float32]
    origins: NDArray[np.float32]
    scales: NDArray[np.float32]
    mirrored: NDArray[np.bool_]
    colours: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The boxes of b pictures, g rows each: (b, g, 4) x1, y1, x2, y2 in pixels, `labels` (b, g) int64,
    `NOTHING` where a row holds no box, `ignored` (b, g) bool.
    """

    boxes: Tensor
    labels: Tensor
    ignored: Tensor


def draw(
    rng: np.random.Generator, album: Album, chosen: NDArray[np.int64], size_px: int, strength: Strength
) -> Layout:
    """One picture around each chosen photograph: alone, or as the first of a mosaic."""
    count = len(chosen)
    photos = np.concatenate((chosen[:, None], rng.integers(0, len(album), (count, PARTS - 1))), 1)
    is_mosaic = rng.random((count, 1)) < strength.mosaic
    cross = np.where(is_mosaic, rng.uniform(0.3, 0.7, (count, 2)) * size_px, size_px).round()
    (x, y), zero, end = cross.T, np.zeros(count), np.full(count, size_px)
    corners = [(zero, zero, x, y), (x, zero, end, y), (zero, y, x, end), (x, y, end, end)]
    regions = np.stack([np.stack(one, 1) for one in corners], 1)
    sides = album.sides[photos]
    fit = size_px / sides.max(2) * rng.uniform(*strength.scale, (count, PARTS))
    stretch = rng.uniform(0.9, 1.1, (count, PARTS))
    scales = np.stack((fit * stretch, fit / stretch), 2)
    slack = regions[..., 2:] - regions[..., :2] - sides * scales
    origins = regions[..., :2] + rng.uniform(np.minimum(slack, 0), np.maximum(slack, 0)).round()
    mirrored = rng.random((count, PARTS)) < 0.5
    colours = 1 + rng.uniform(-1, 1, (count, 2)) * strength.colour
    kind = np.float32
    return Layout(
        size_px, photos, regions.astype(kind), origins.astype(kind), scales.astype(kind), mirrored,
        colours.astype(kind),
    )  # fmt: skip


def paint(layout: Layout, album: Album) -> Tensor:
    """The pictures: (b, 3, size, size) float32 BGR, whole numbers of 0..255."""
    size = layout.size_px
    canvas = album.images.new_zeros((len(layout.photos), 3, size, size), dtype=torch.float32)
    for part in range(PARTS):
        regions = layout.regions[:, part]
        rows = np.flatnonzero((regions[:, 2] > regions[:, 0]) & (regions[:, 3] > regions[:, 1]))
        if len(rows):
            at = _to(rows, canvas)
            inside = _inside(_to(regions[rows], canvas), size)
            canvas[at] = torch.where(inside, _placed(layout, album, rows, part), canvas[at])
    return _recoloured(canvas + PAD, _to(layout.colours, canvas))


def _placed(layout: Layout, album: Album, rows: NDArray[np.int64], part: int) -> Tensor:
    """A part's photographs of some rows, scaled, mirrored and moved, all less the grey around them."""
    numbers = layout.photos[rows, part]
    source = album.images[_to(numbers, album.images)].float() - PAD
    scales, origins = layout.scales[rows, part], layout.origins[rows, part]
    small = np.flatnonzero(scales[:, 0] < SMALL)
    if len(small):
        at = _to(small, source)
        source[at] = functional.avg_pool2d(source[at], 3, 1, 1)
    grid = functional.affine_grid(
        _to(_inverse(layout, rows, part, album.sides[numbers], source.shape[-1], scales, origins), source),
        [len(rows), 3, layout.size_px, layout.size_px],
        align_corners=False,
    )
    return functional.grid_sample(source, grid, align_corners=False)


def _inverse(
    layout: Layout, rows: NDArray[np.int64], part: int, sides: NDArray[np.float32], square: int,
    scales: NDArray[np.float32], origins: NDArray[np.float32],
) -> NDArray[np.float32]:  # fmt: skip
    """(r, 2, 3): from places in the picture to places in the album's square, both in -1..1."""
    half = layout.size_px / 2
    slope = half / scales
    start = (half - origins) / scales  # in pixels of the photograph, of the picture's middle
    mirror = layout.mirrored[rows, part]
    start[:, 0] = np.where(mirror, sides[:, 0] - start[:, 0], start[:, 0])
    slope[:, 0] = np.where(mirror, -slope[:, 0], slope[:, 0])
    made = np.zeros((len(rows), 2, 3), np.float32)
    made[:, 0, 0], made[:, 1, 1] = slope.T * (2 / square)
    made[:, :, 2] = start * (2 / square) - 1
    return made


def _inside(regions: Tensor, size_px: int) -> Tensor:
    """(r, 1, size, size): whether a pixel belongs to the region of its row."""
    places = torch.arange(size_px, device=regions.device)
    x = (places >= regions[:, 0:1]) & (places < regions[:, 2:3])
    y = (places >= regions[:, 1:2]) & (places < regions[:, 3:4])
    return (y[:, :, None] & x[:, None, :])[:, None]


def _recoloured(images: Tensor, colours: Tensor) -> Tensor:
    """Saturation and value, as of HSV, times a factor each."""
    saturation, value = colours.reshape(-1, 2, 1, 1, 1).unbind(1)
    brightest = images.amax(1, keepdim=True)
    return ((brightest - (brightest - images) * saturation).clamp(min=0) * value).clamp(0, 255).round()


def boxes_of(layout: Layout, album: Album) -> Truth:
    """Where the boxes of the photographs lie in the pictures, on the album's device.

    Boxes are cut at the edge of their part; those almost gone are left out, those hardly left are ignored.
    """
    photos, count = layout.photos, len(layout.photos)
    own = album.boxes[photos] * np.tile(layout.scales, 2)[:, :, None]
    sides = album.sides[photos] * layout.scales
    turned = np.stack((sides[..., None, 0] - own[..., 2], sides[..., None, 0] - own[..., 0]), 3)
    own[..., 0::2] = np.where(layout.mirrored[..., None, None], turned, own[..., 0::2])
    whole = own + np.tile(layout.origins, 2)[:, :, None]
    low = np.maximum(layout.regions[..., :2], layout.origins)
    high = np.minimum(layout.regions[..., 2:], layout.origins + sides)
    cut = np.clip(whole, np.tile(low, 2)[:, :, None], np.tile(high, 2)[:, :, None])
    extent, full = cut[..., 2:] - cut[..., :2], whole[..., 2:] - whole[..., :2]
    thinnest, share = extent.min(3), extent.prod(3) / np.maximum(full.prod(3), 1e-6)
    labels = np.where(thinnest > 0.5, album.labels[photos], NOTHING)
    ignored = album.ignored[photos] | (share < VISIBLE) | (thinnest < LEAST_PX)
    return _packed(cut.reshape(count, -1, 4), labels.reshape(count, -1), ignored.reshape(count, -1), album)


def _packed(
    boxes: NDArray[np.float32], labels: NDArray[np.int64], ignored: NDArray[np.bool_], album: Album
) -> Truth:
    """The rows that hold a box first, and about as many rows as the fullest picture needs."""
    order = np.argsort(labels == NOTHING, axis=1, kind="stable")
    order = order[:, : int((labels != NOTHING).sum(1).max()) // ROWS * ROWS + ROWS]
    return Truth(
        _to(np.take_along_axis(boxes, order[..., None], 1), album.images),
        _to(np.take_along_axis(labels, order, 1), album.images),
        _to(np.take_along_axis(ignored, order, 1), album.images),
    )


def _to(values: NDArray[np.generic], like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.device, non_blocking=True)
