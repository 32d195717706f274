"""What people name, opened: `open_source(text, camera=...)`."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from urllib.parse import parse_qsl

from edgekit.errors import MissingExtraError, SourceError, UnavailableError, UsageError
from edgekit.sources.address import STREAMS, check_address, shown
from edgekit.sources.clip import ClipSource
from edgekit.sources.live import LiveSource
from edgekit.sources.paths import ask, check_path, natural, nearest, open_path
from edgekit.sources.pattern import TestPattern
from edgekit.sources.reel import MAX_FPS, Scene, SceneReel
from edgekit.sources.source import Source

PREFIXES = ("demo", "test", "csi", "file", "dir")
PATTERN = "test:pattern"


def open_source(
    text: str,
    *,
    camera: str,
    fps: float | None = None,
    loop: bool = False,
    realtime: bool = False,
    timeout_s: float = 10.0,
    wait: bool = False,
) -> Source:
    """Open what people name, and decode one picture so that a wrong name fails here.

    `text` is one of: `demo:` (or `demo:seed=3`, `demo:seed=3&pace=none`), `test:pattern`, a camera `0` or
    `/dev/video0`, `csi:0` (or `csi:0?size=1920x1080`), `rtsp://…` or `http://…`, a video file, a picture, a
    folder or a glob of pictures; `file:` and `dir:` may stand before a path. `fps` samples a video down
    evenly, limits what is taken from a camera, and is the pace of a folder (1 a second unless given). `loop`
    starts a file again at its end. `realtime` plays a file by the clock and drops what comes too late;
    otherwise each frame of a file is delivered, and its times advance by 1/fps, whatever the clock does. The
    demo scene plays in real time unless `pace=none`, the test pattern always. `timeout_s` is how long a
    camera or stream may stay silent; with `wait` one that is not there yet is waited for like one that was
    lost.

    Raises UsageError for words that name nothing, SourceError for a file or folder that cannot be read,
    UnavailableError for a camera or stream that is not there (unless `wait`), MissingExtraError for a demo
    without scikit-image.
    """
    if fps is not None and not 0 < fps <= MAX_FPS:
        raise UsageError(f"fps {fps:g}: expected more than 0, at most {MAX_FPS:g}")
    if text == "-":
        raise UsageError(
            "source -: edgekit does not read pictures from standard input; "
            "save them and name the file or folder, or name a stream such as rtsp://…"
        )
    if _is_demo(text):
        return _open_demo(text.partition(":")[2], camera, fps)
    if text == PATTERN:
        return _in_real_time(TestPattern(), camera, fps)
    if target := _live_target(text, wait=wait):
        return LiveSource(target, camera=camera, fps=fps, timeout_s=timeout_s, wait=wait)
    reel = open_path(_path(text), fps)
    return ClipSource(reel, camera=camera, fps=fps, loop=loop, realtime=realtime)


def check_source(text: str) -> None:
    """Raise UsageError or SourceError where `open_source` would for a file or folder that is not there.

    Cameras and streams may come later.
    """
    if not _is_demo(text) and not is_live(text):
        check_path(_path(text))


def is_live(text: str) -> bool:
    """Whether its pictures come when they come: a camera, a stream, or what plays as one."""
    if _is_demo(text):
        return "pace=none" not in text
    return text == PATTERN or _live_target(text, wait=True) is not None


def _is_demo(text: str) -> bool:
    return text.startswith("demo:")


def _live_target(text: str, *, wait: bool) -> str | None:
    """What the reader of a camera or stream is given, if `text` names one."""
    scheme = text.partition(":")[0].lower()
    if scheme in STREAMS:
        return check_address(text)
    if scheme == "csi":
        if not re.fullmatch(r"csi:\d(\?size=[1-9]\d{1,3}x[1-9]\d{1,3})?", text):
            raise UsageError(f"source {text}: expected csi:0, or csi:0?size=1280x720")
        return text
    path = f"/dev/video{text}" if re.fullmatch(r"\d{1,3}", text) else text
    if not path.startswith("/dev/"):
        return None
    if not wait:
        _check_device(text, path)
    return path


def _check_device(text: str, path: str) -> None:
    """Raise UnavailableError for a device that is not there, or not ours."""
    if not ask(Path.exists, path):
        here = " ".join(map(str, sorted(Path("/dev").glob("video*"), key=natural))) or "none"
        raise UnavailableError(
            f"camera {text}: there is no {path}; cameras here: {here} (see ls /dev/video*)"
        )
    if not os.access(path, os.R_OK | os.W_OK):
        raise UnavailableError(
            f"camera {text}: {path} may not be opened by this user; "
            "join its group: sudo usermod -aG video $USER"
        )


def _path(text: str) -> str:
    """The path that `text` names; UsageError for what is none and names nothing else."""
    scheme, _, rest = text.partition(":")
    if scheme in ("file", "dir") and rest:
        path = rest.removeprefix("//")
        if scheme == "dir" and not ask(Path.is_dir, path):
            raise SourceError(f"{text}: there is no folder {path}{nearest(Path(path))}")
        return path
    if not text.strip():
        raise UsageError("source: is empty; name a camera, a stream, a file, a folder or demo:")
    if text == "demo" and not ask(Path.exists, text):
        raise UsageError("source demo: did you mean demo: (with the colon)?")
    if scheme == "test" and not ask(Path.exists, text):
        raise UsageError(f"source {text}: expected {PATTERN}")
    if "://" in text and not ask(Path.exists, text):
        known = [f"{name}://" for name in STREAMS] + [f"{name}:" for name in PREFIXES]
        near = difflib.get_close_matches(f"{scheme}://", known, 1, 0.6)
        hint = f"did you mean {near[0]}" if near else f"expected a path or one of {' '.join(known)}"
        raise UsageError(f"source {shown(text)}: unknown kind {scheme}://; {hint}")
    if shown(text) != text and not ask(Path.exists, text):
        raise UsageError(f"source {shown(text)}: is it a stream? Its kind is missing: rtsp://… or http://…")
    return text


def _open_demo(query: str, camera: str, fps: float | None) -> Source:
    """`demo:`, `demo:seed=3`, `demo:?seed=3&pace=none`."""
    given = dict(parse_qsl(query.removeprefix("?"), keep_blank_values=True))
    unknown = set(given) - {"seed", "pace"}
    pace, seed = given.get("pace", "real"), given.get("seed", "0")
    if unknown or (query.strip("?") and not given):
        raise UsageError(f"source demo:{query}: expected demo: or demo:seed=NUMBER&pace=real|none")
    if not re.fullmatch(r"\d{1,9}", seed):
        raise UsageError(f"source demo:{query}: seed {seed!r} is not a whole number from 0 to 999999999")
    if pace not in ("real", "none"):
        raise UsageError(f"source demo:{query}: pace {pace!r}: expected real (as a camera) or none (at once)")
    try:
        from edgekit.sources.demo import DemoScene

        scene = DemoScene(int(seed))
    except ImportError:
        raise MissingExtraError("scikit-image", "demo") from None
    if pace == "real":
        return _in_real_time(scene, camera, fps)
    return ClipSource(SceneReel(scene), camera=camera, fps=fps)


def _in_real_time(scene: Scene, camera: str, fps: float | None) -> Source:
    source = ClipSource(SceneReel(scene), camera=camera, fps=fps, realtime=True)
    source.live = True
    return source
