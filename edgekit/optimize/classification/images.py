"""Labelled pictures for classifiers, decoded once and kept in memory; batches of them, changed by chance."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SourceError
from edgekit.optimize.classification.recipe import AugmentConfig

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


@dataclass(frozen=True, eq=False)
class Pictures:
    """`images` (n, size, size, 3) uint8 RGB, `labels` (n,) int64, `names` of the classes in order."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, indices: NDArray[np.int64]) -> Pictures:
        return Pictures(self.images[indices], self.labels[indices], self.names)

    def split(self, share: float, seed: int) -> tuple[Pictures, Pictures]:
        """All but a share of every class, and that share: at least one picture of each class."""
        order = np.random.default_rng((seed, 1)).permutation(len(self))
        chosen: list[int] = []
        for label in range(len(self.names)):
            members = order[self.labels[order] == label]
            chosen += members[: max(1, round(share * len(members)))].tolist()
        apart = np.isin(np.arange(len(self)), chosen)
        return self.part(np.flatnonzero(~apart)), self.part(np.flatnonzero(apart))


def load(path: Path, size: int) -> Pictures:
    """Read a .npz file or a folder per class. SourceError, naming the file, for what cannot be read."""
    if path.suffix == ".npz":
        return _from_npz(path, size)
    if path.is_dir():
        return _from_folders(path, size)
    raise SourceError(f"{path}: expected a .npz file or a folder with one folder per class")


def _from_npz(path: Path, size: int) -> Pictures:
    """`jpeg`, `offsets` and `labels`, or `x` (n, h, w, 3) uint8 and `y`; `classes` are the names."""
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {key: file[key] for key in file.files}
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: not a readable .npz file: {' '.join(str(error).split())[:100]}") from None
    labels = content.get("labels", content.get("y"))
    if labels is None or not ({"jpeg", "offsets"} <= content.keys() or "x" in content):
        raise SourceError(f"{path}: expected arrays jpeg, offsets and labels, or x and y")
    labels = labels.astype(np.int64)
    names = content.get("classes", np.arange(labels.max(initial=0) + 1)).tolist()
    if "x" in content:
        images = [_square(image, size) for image in content["x"]]
    else:
        images = [_decode(path, number, one, size) for number, one in enumerate(_files(content))]
    if len(images) != len(labels) or not images:
        raise SourceError(f"{path}: {len(images)} pictures and {len(labels)} labels")
    return Pictures(np.stack(images), labels, tuple(map(str, names)))


def _files(content: dict[str, NDArray[Any]]) -> Iterator[NDArray[np.uint8]]:
    ends = content["offsets"]
    return (content["jpeg"][start:end] for start, end in itertools.pairwise(ends))


def _from_folders(path: Path, size: int) -> Pictures:
    folders = sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))
    if len(folders) < 2:
        raise SourceError(f"{path}: {len(folders)} folders: expected one folder of pictures for each class")
    images, labels = [], []
    for label, folder in enumerate(folders):
        files = sorted(one for one in folder.rglob("*") if one.suffix.lower() in SUFFIXES)
        if not files:
            raise SourceError(f"{folder}: no pictures: expected .jpg, .png, .bmp or .webp files")
        for file in files:
            images.append(_decode(file, None, np.fromfile(file, np.uint8), size))
            labels.append(label)
    names = tuple(folder.name for folder in folders)
    return Pictures(np.stack(images), np.array(labels, np.int64), names)


def _decode(path: Path, number: int | None, content: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    import cv2

    image: Any = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    if image is None:
        place = path if number is None else f"{path}: picture {number}"
        raise SourceError(f"{place}: not a readable picture: mend it or take it away")
    return _square(image[..., ::-1], size)


def _square(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The whole picture stretched to a square, as a classifier sees it on a device."""
    import cv2

    if image.shape[:2] == (size, size):
        return np.ascontiguousarray(image)
    way = cv2.INTER_AREA if min(image.shape[:2]) > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(image), (size, size), interpolation=way), np.uint8)


def batches(
    pictures: Pictures, batch: int, augment: AugmentConfig, seed: int, epoch: int, first: int = 0
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Full batches of all pictures in a new order, from number `first` on; each by a seed of its own."""
    order = np.random.default_rng((seed, 2, epoch)).permutation(len(pictures))
    for number in range(first, len(pictures) // batch):
        chosen = order[number * batch : (number + 1) * batch]
        rng = np.random.default_rng((seed, 3, epoch, number))
        yield changed(pictures.images[chosen], augment, rng), pictures.labels[chosen]


def changed(images: NDArray[np.uint8], augment: AugmentConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Pictures (n, h, w, 3) moved, zoomed, mirrored and lit by chance."""
    flips = rng.random(len(images)) < 0.5 * augment.flip
    moves = rng.uniform(-augment.shift, augment.shift, (len(images), 2))
    zooms = 1 - rng.uniform(0, augment.zoom, len(images))
    lights = rng.uniform(-augment.light, augment.light, (len(images), 2))
    made = [
        _change(image, bool(flip), move, float(zoom), light)
        for image, flip, move, zoom, light in zip(images, flips, moves, zooms, lights, strict=True)
    ]
    return np.stack(made)


def _change(
    image: NDArray[np.uint8], flip: bool, move: NDArray[np.float64], zoom: float, light: Sequence[float]
) -> NDArray[np.uint8]:
    import cv2

    if flip:
        image = image[:, ::-1]
    size = image.shape[0]
    if zoom < 1:
        start, end = (1 - zoom) * size / 2, zoom
        way = np.array([[end, 0, start + move[1] * size], [0, end, start + move[0] * size]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        image = cv2.warpAffine(
            np.ascontiguousarray(image), way, (size, size), flags=flags, borderValue=(128, 128, 128)
        )
    else:
        image = _moved(image, *(round(float(one) * size) for one in move))
    if light[0] or light[1]:
        bright = (image.astype(np.float32) - 128) * (1 + light[0]) + 128 * (1 + light[1])
        image = bright.clip(0, 255).astype(np.uint8)
    return image


def _moved(image: NDArray[np.uint8], down: int, right: int) -> NDArray[np.uint8]:
    """The picture moved by whole pixels; what comes in is grey."""
    size = image.shape[0]
    canvas = np.full_like(image, 128)
    rows = slice(max(down, 0), size + min(down, 0))
    columns = slice(max(right, 0), size + min(right, 0))
    canvas[rows, columns] = image[
        max(-down, 0) : size + min(-down, 0), max(-right, 0) : size + min(-right, 0)
    ]
    return canvas
