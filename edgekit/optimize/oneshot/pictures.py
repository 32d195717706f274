"""Where calibration inputs come from: a folder of pictures, packed JPEG files, or arrays by input name."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ModelError, SourceError
from edgekit.inference import input_spec
from edgekit.model.tensors import TensorInfo
from edgekit.optimize.oneshot.calibration import Inputs
from edgekit.preprocess import prepare_tensor
from edgekit.sources.reel import PICTURES, read_picture

_ARRAYS = (".npz", ".npy")


def load_inputs(
    path: Path, infos: Sequence[TensorInfo], facts: dict[str, Any], most: int, warn: Callable[[str], None]
) -> list[Inputs]:
    """At most so many inputs, evenly spaced over what is there.

    `path` is a folder of pictures, or an `.npz` or `.npy` file: JPEG files in one array `jpeg` that are cut
    at `offsets`, or an array (n, ...) for each input by its name. `facts` is what the model's card says of
    its input. Pictures that cannot be read are left out and `warn` hears of them. Raises SourceError when
    nothing can be read, ModelError for pictures where the model takes none.
    """
    if path.suffix in _ARRAYS and path.is_file():
        arrays = _read_arrays(path)
        if not {"jpeg", "offsets"} <= arrays.keys():
            return _from_arrays(path, arrays, infos, most)
        return [[_tensor(image, infos, facts)] for image in _packed(path, arrays, most)]
    images = _folder(path, most, warn)
    return [[_tensor(image, infos, facts)] for image in images]


def _tensor(image: NDArray[np.uint8], infos: Sequence[TensorInfo], facts: dict[str, Any]) -> NDArray[Any]:
    try:
        return prepare_tensor(image, input_spec(infos, facts))[0]
    except ModelError as error:
        names = ", ".join(info.name for info in infos)
        raise ModelError(f"{error}; or give --calibration an .npz file with the arrays {names}") from None


def _spread(count: int, most: int) -> Iterator[int]:
    """At most so many of the numbers below `count`, evenly spaced."""
    return iter(sorted({i * count // min(most, count) for i in range(min(most, count))}))


def _folder(folder: Path, most: int, warn: Callable[[str], None]) -> list[NDArray[np.uint8]]:
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SourceError(f"{folder}: {reason}; give --calibration a folder of pictures") from None
    if not files:
        raise SourceError(f"{folder}: no pictures in it, expected {' '.join(PICTURES)}")
    images, whys = [], []
    for number in _spread(len(files), most):
        image, why = read_picture(files[number])
        if image is None:
            whys.append(f"{files[number]}: {why}")
        else:
            images.append(image)
    if not images:
        raise SourceError(f"{whys[0]}; none of {len(whys)} pictures in {folder} can be read")
    if whys:
        warn(f"{whys[0]}: left out{f', and {len(whys) - 1} more' if len(whys) > 1 else ''}")
    return images


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        found = np.load(path, allow_pickle=False)
        return dict(found) if path.suffix == ".npz" else {"": found}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise SourceError(f"{path}: not a readable array file: {' '.join(str(error).split())}") from None


def _packed(path: Path, arrays: dict[str, NDArray[Any]], most: int) -> Iterator[NDArray[np.uint8]]:
    import cv2

    raw, offsets = np.asarray(arrays["jpeg"], np.uint8), np.asarray(arrays["offsets"], np.int64)
    if len(offsets) < 2:
        raise SourceError(f"{path}: no pictures in it")
    for number in _spread(len(offsets) - 1, most):
        piece = raw[offsets[number] : offsets[number + 1]]
        image = cv2.imdecode(piece, cv2.IMREAD_COLOR) if piece.size else None
        if image is None:
            raise SourceError(f"{path}: picture {number} is damaged")
        yield np.asarray(image, np.uint8)


def _from_arrays(
    path: Path, arrays: dict[str, NDArray[Any]], infos: Sequence[TensorInfo], most: int
) -> list[Inputs]:
    if len(arrays) == len(infos) == 1:
        arrays = {infos[0].name: next(iter(arrays.values()))}
    missing = [info.name for info in infos if info.name not in arrays]
    if missing:
        raise SourceError(f"{path}: no array {missing[0]!r}, only {', '.join(sorted(arrays)) or 'none'}")
    columns = [_stored(path, info, arrays[info.name]) for info in infos]
    count = min(len(column) for column in columns)
    if not count:
        raise SourceError(f"{path}: its arrays hold no input")
    return [[column[number] for column in columns] for number in _spread(count, most)]


def _stored(path: Path, info: TensorInfo, array: NDArray[Any]) -> NDArray[Any]:
    """(n, *shape) in the input's type: real numbers are quantised, stored ones taken as they are."""
    if array.size % (int(np.prod(info.shape)) or 1) or array.dtype.kind not in "iufb":
        raise SourceError(
            f"{path}: {info.name!r} is {array.dtype} {list(array.shape)}, not n x {list(info.shape)}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise SourceError(f"{path}: {info.name!r} has numbers that are not finite")
    rows = array.reshape(-1, *info.shape)
    if rows.dtype.kind == "f" and info.dtype.kind in "iu":
        limits = np.iinfo(info.dtype)
        rows = np.clip(np.rint(rows / info.scale) + info.zero_point, limits.min, limits.max)
    return rows.astype(info.dtype)
