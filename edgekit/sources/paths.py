"""Videos, pictures, folders and globs of pictures, found and looked into: `open_path(path, fps) -> Reel`."""

from __future__ import annotations

import difflib
import glob
import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from edgekit.errors import SourceError
from edgekit.sources.reel import PICTURES, PictureReel, Reel, VideoReel, is_text, read_picture, words_of

PICTURES_FPS = 1.0  # the pace of a folder


def open_path(path: str, fps: float | None) -> Reel:
    """The reel of a video, a picture, a folder or a glob, after one picture of it was decoded."""
    place = _place(path)
    if (pictures := _find_pictures(path)) is not None:
        return _open_pictures(pictures, fps)
    _check_file(place)
    if place.suffix.lower() in PICTURES:
        return _open_pictures([place], fps)
    reel = VideoReel(place)
    if not reel.skip():
        raise SourceError(f"{place}: no frame of it can be decoded; the video is damaged or cut short")
    reel.rewind()
    return reel


def check_path(path: str) -> None:
    """Raise SourceError where `open_path` would without a look into pictures and videos."""
    if _find_pictures(path) is None:
        _check_file(_place(path))


def _place(path: str) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111  (Path's raises for a user that is not there)


def _is_glob(path: str) -> bool:
    return glob.has_magic(path) and not ask(Path.exists, _place(path))


def _find_pictures(path: str) -> list[Path] | None:
    """What a folder or a glob holds, one or more; None for the path of a file."""
    place = _place(path)
    if _is_glob(path):
        found = [Path(name) for name in glob.glob(str(place), recursive=True)]  # noqa: PTH207  (Path.glob needs a base)
        none = f"{path} matches no pictures"
    elif ask(Path.is_dir, place):
        found, none = _list_folder(place), f"no pictures in {place}"
    else:
        return None
    if not (pictures := _pictures(found)):
        raise SourceError(f"{none}: expected {' '.join(PICTURES)}")
    return pictures


def _list_folder(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise SourceError(f"{folder}: {words_of(error)}; see ls -ld {folder}") from None


def _pictures(paths: Iterable[Path]) -> list[Path]:
    files = (path for path in paths if path.suffix.lower() in PICTURES and not ask(Path.is_dir, path))
    return sorted((path for path in files if not path.name.startswith(".")), key=natural)


def _open_pictures(paths: list[Path], fps: float | None) -> Reel:
    whys = []
    for path in paths:
        image, why = read_picture(path)
        if image is not None:
            return PictureReel(paths, fps or PICTURES_FPS)
        whys.append(f"{path}: {why}")
    rest = f" (and {len(paths) - 1} more like it)" if len(paths) > 1 else ""
    raise SourceError(f"{whys[0]}{rest}; name a picture or a folder of pictures that opens in a viewer")


def _check_file(path: Path) -> None:
    """Raise SourceError for a file that no decoder need be asked about."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise SourceError(f"there is no {path}{nearest(path)}") from None
    except OSError as error:
        raise SourceError(f"{path}: {words_of(error)}") from None
    except ValueError:
        raise SourceError(f"{str(path)!r} cannot be the name of a file; name a video or a folder") from None
    if not stat.S_ISREG(mode):
        raise SourceError(f"{path}: is neither a file nor a folder; name a video, a picture or a folder")
    head = _read_head(path)
    if not head:
        raise SourceError(f"{path}: is empty (0 bytes); copy or record it again")
    if path.suffix.lower() not in PICTURES and is_text(head):
        raise SourceError(f"{path}: is a text file, not a video; name a video, a picture or a folder")


def _read_head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1024)
    except OSError as error:
        raise SourceError(f"{path}: {words_of(error)}; see ls -l {path}") from None


def ask(question: Callable[[Path], bool], path: str | Path) -> bool:
    """Path.exists or Path.is_dir, with no for what the system will not even look at."""
    try:
        return question(Path(path))
    except (OSError, ValueError):
        return False


def natural(path: str | Path) -> list[tuple[int, int, str]]:
    """Sorts img2 before img10."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def nearest(path: Path) -> str:
    """`; did you mean …` with the name nearest to `path` in its folder, or where the way to it breaks off."""
    folder = path.parent
    if not ask(Path.is_dir, folder):
        return f": there is no folder {folder}"
    try:
        names = [entry.name for entry in folder.iterdir()]
    except OSError:
        return ""
    match = difflib.get_close_matches(path.name, names, 1, 0.7)
    same = [name for name in names if name.lower() == path.name.lower()]
    hint = same or match
    return f"; did you mean {folder / hint[0]}?" if hint else "; see ls " + str(folder)
