"""Labelled pictures for classifiers: packed JPEGs, a folder for each class, or COCO's boxes by a rule.

A rule turns the boxes of photographs into pictures with one label each. `person` asks of the whole photo
whether someone is in it, as visual wake words do (Chowdhery et al. 2019; MLPerf Tiny): a box of a person
covers more than 0.5 % of it. `crops` cuts every box out, as a second look at a detection sees it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.config.complaint import similar
from edgekit.errors import SourceError, UsageError
from edgekit.preprocess import crop_box
from edgekit.types import Image

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
PERSON_SHARE = 0.005  # of the photo's area that a person's box must pass
CROP_MARGIN = 0.1  # of a box's sides that a crop shows around it
CROP_MIN_SIDE = 20.0  # pixels of the photo; a smaller box shows nothing that could be named
PERSON_NAMES = ("no person", "person")
CROP_NAMES = ("person", "dog", "cat", "vehicle", "other")
VEHICLES = frozenset({"bicycle", "car", "motorcycle", "bus", "train", "truck"})


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pictures with a label each. `labels` (n,) int64 are numbers of `names`; `named` tells whether the data
    itself says what its classes are called; `read(i)` decodes picture i as (h, w, 3) uint8 BGR.
    """

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    read: Callable[[int], Image]
    named: bool = True

    def __len__(self) -> int:
        return len(self.labels)


def read_labelled(path: Path) -> Labelled:
    """The pictures of a .npz file, or of a folder with a folder for each class.

    SourceError, naming the file, for what cannot be read; a picture is decoded when it is asked for.
    """
    if path.suffix == ".npz":
        return _packed(path)
    if path.is_dir():
        return _folders(path)
    if not path.exists():
        raise SourceError(f"{path}: there is no such file or folder")
    raise SourceError(f"{path}: expected a .npz file, or a folder with a folder of pictures for each class")


# ---- packed ------------------------------------------------------------------------------------------


def _packed(path: Path) -> Labelled:
    """`jpeg` (all files joined), `offsets` (n + 1) and `labels`, or `x` (n, h, w, 3) uint8 RGB and `y`."""
    content = _arrays(path)
    labels = content.get("labels", content.get("y"))
    if labels is None or not ({"jpeg", "offsets"} <= content.keys() or "x" in content):
        raise SourceError(f"{path}: expected the arrays jpeg, offsets and labels, or x and y")
    count = len(content["x"]) if "x" in content else len(content["offsets"]) - 1
    if not count or labels.shape != (count,) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise SourceError(f"{path}: {count} pictures and labels of shape {labels.shape}: expected one each")
    classes = content.get("classes")
    names = np.arange(labels.max() + 1) if classes is None else classes
    if labels.max() >= len(names):
        raise SourceError(f"{path}: label {labels.max()} of only {len(names)} classes")
    read = _array_reader(path, content["x"]) if "x" in content else _jpeg_reader(path, content)
    return Labelled(tuple(map(str, names.tolist())), labels.astype(np.int64), read, classes is not None)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except Exception as error:  # a damaged archive fails in numpy, zipfile or zlib, each in its own way
        raise SourceError(f"{path}: not a readable .npz file: {' '.join(str(error).split())[:100]}") from None


def _array_reader(path: Path, arrays: NDArray[Any]) -> Callable[[int], Image]:
    if arrays.dtype != np.uint8 or arrays.ndim != 4 or arrays.shape[3] != 3:
        raise SourceError(f"{path}: x is {arrays.dtype} {arrays.shape}: expected uint8 (n, height, width, 3)")
    return lambda i: np.ascontiguousarray(arrays[i, ..., ::-1])


def _jpeg_reader(path: Path, content: dict[str, NDArray[Any]]) -> Callable[[int], Image]:
    jpeg, spans = content["jpeg"], list(itertools.pairwise(content["offsets"].tolist()))
    if any(not 0 <= start < end <= len(jpeg) for start, end in spans):
        raise SourceError(f"{path}: offsets do not rise from 0 to the {len(jpeg)} bytes of jpeg")
    return lambda i: _decoded(jpeg[slice(*spans[i])], f"{path}: picture {i}")


# ---- folders -----------------------------------------------------------------------------------------


def _folders(path: Path) -> Labelled:
    folders = sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))
    if len(folders) < 2:
        raise SourceError(f"{path}: {len(folders)} folders: expected one folder of pictures for each class")
    files = [sorted(f for f in one.rglob("*") if f.suffix.lower() in SUFFIXES) for one in folders]
    empty = next((one for one, found in zip(folders, files, strict=True) if not found), None)
    if empty is not None:
        raise SourceError(f"{empty}: no pictures: expected {', '.join(sorted(SUFFIXES))} files")
    labels = np.repeat(np.arange(len(files), dtype=np.int64), [len(one) for one in files])
    joined = [file for one in files for file in one]
    return Labelled(tuple(one.name for one in folders), labels, lambda i: read_picture(joined[i]))


@lru_cache(maxsize=4)  # the boxes of one photo follow each other
def read_picture(path: Path) -> Image:
    """A picture file as (h, w, 3) uint8 BGR. SourceError, naming it, where it is none."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}: is this the folder of the pictures?") from None
    return _decoded(content, str(path))


def _decoded(content: NDArray[np.uint8], place: str) -> Image:
    import cv2

    image: Any = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    if image is None:
        raise SourceError(f"{place}: not a readable picture: mend it or take it away")
    return np.asarray(image, np.uint8)


# ---- COCO --------------------------------------------------------------------------------------------


def read_annotations(path: Path) -> dict[str, Any]:
    """A COCO annotation file, as far as its three lists. SourceError when it is none."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: not readable COCO annotations: {error}") from None
    lists = ("images", "annotations", "categories")
    if not isinstance(facts, dict) or not all(isinstance(facts.get(key), list) for key in lists):
        raise SourceError(f"{path}: COCO annotations are a JSON object with the lists {', '.join(lists)}")
    if not facts["images"]:
        raise SourceError(f"{path}: names no image")
    return facts


@dataclass(frozen=True)
class Photo:
    """A photo of a COCO file: its size in pixels and its boxes (name of the category, x y w h, crowd)."""

    path: Path
    width: float
    height: float
    boxes: tuple[tuple[str, tuple[float, float, float, float], bool], ...]


def read_photos(annotations: Path, images: Path) -> list[Photo]:
    """The photos that a COCO file names, in its order. SourceError for a file that is not as COCO's are."""
    facts = read_annotations(annotations)
    try:
        names = {one["id"]: str(one["name"]) for one in facts["categories"]}
        boxes: dict[Any, list[Any]] = {one["id"]: [] for one in facts["images"]}
        for one in facts["annotations"]:
            x, y, w, h = map(float, one["bbox"])
            boxes[one["image_id"]].append((names[one["category_id"]], (x, y, w, h), bool(one.get("iscrowd"))))
        return [
            Photo(
                images / one["file_name"], float(one["width"]), float(one["height"]), tuple(boxes[one["id"]])
            )
            for one in facts["images"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{annotations}: not as COCO annotations are: {error!r}") from None


def read_coco(annotations: Path, images: Path, rule: str) -> Labelled:
    """The pictures that `rule` makes of a COCO file and the folder of its photos.

    UsageError for an unknown rule, SourceError for a file that is not as COCO's are or gives no picture.
    """
    if rule not in RULES:
        raise UsageError(f"there is no rule {rule!r}{similar(rule, RULES)}: expected {' or '.join(RULES)}")
    made = RULES[rule](read_photos(annotations, images))
    if not len(made):
        raise SourceError(f"{annotations}: the rule {rule} finds no picture in it")
    return made


def has_person(photo: Photo) -> bool:
    """Whether a person's box covers more than 0.5 % of the photo."""
    least = PERSON_SHARE * photo.width * photo.height
    return any(name == "person" and w * h > least for name, (_, _, w, h), _ in photo.boxes)


def _by_person(photos: list[Photo]) -> Labelled:
    labels = np.array([has_person(photo) for photo in photos], np.int64)
    return Labelled(PERSON_NAMES, labels, lambda i: read_picture(photos[i].path))


def crop_name(category: str) -> str:
    """The class of the second look that a COCO category belongs to."""
    if category in VEHICLES:
        return "vehicle"
    return category if category in CROP_NAMES else "other"


def _by_crop(photos: list[Photo]) -> Labelled:
    """Every box that is no crowd and of a size to be seen."""
    found = [
        (photo.path, (x, y, x + w, y + h), CROP_NAMES.index(crop_name(name)))
        for photo in photos
        for name, (x, y, w, h), crowd in photo.boxes
        if not crowd and min(w, h) >= CROP_MIN_SIDE
    ]
    labels = np.array([label for _, _, label in found], np.int64)
    return Labelled(
        CROP_NAMES, labels, lambda i: crop_box(read_picture(found[i][0]), found[i][1], CROP_MARGIN)
    )


RULES: dict[str, Callable[[list[Photo]], Labelled]] = {"person": _by_person, "crops": _by_crop}
RULE_NAMES = {"person": PERSON_NAMES, "crops": CROP_NAMES}
