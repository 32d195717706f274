"""What a person who asks for help is asked first: whether everything is here that edgekit needs."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from typing import Literal, TypeAlias

from edgekit.errors import EdgekitError

State: TypeAlias = Literal["ok", "missing", "broken"]
EXTRAS = {"skimage": "demo", "uvicorn": "web", "pycocotools": "evaluate", "torch": "train"}


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. "missing" is a thing one can do without, "broken" one that edgekit needs."""

    name: str
    state: State
    text: str

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def examine(config: str | None = None) -> list[Check]:
    """Look at this installation, and at a pipeline's file and its broker; never raises for what it finds."""
    here = [_python(), _runtime(), _native(), _profile(), *_zoo(), *map(_extra, EXTRAS), _cameras()]
    return here if config is None else [*here, *_pipeline(config)]


def _python() -> Check:
    here = f"Python {platform.python_version()} on {platform.machine()}, {platform.platform(terse=True)}"
    return Check("python", "ok" if sys.version_info >= (3, 11) else "broken", here)


def _runtime() -> Check:
    from edgekit.engine.interpreter import find_runtime

    return _tell("tflite engine", lambda: find_runtime()[0])


def _native() -> Check:
    from edgekit.engine import native_level

    return _tell("native engine", lambda: f"kernels for {native_level()}")


def _profile() -> Check:
    from edgekit.device import match, probe

    return _tell("device profile", lambda: f"{match(probe())} fits this machine best")


def _zoo() -> list[Check]:
    from edgekit.inference import open as open_model
    from edgekit.zoo import list_models

    def engine(name: str) -> str:
        return f"runs on {open_model(name).engine.name}"

    return [_tell(f"model {m.name}", partial(engine, m.name)) for m in list_models()]


def _extra(module: str) -> Check:
    if find_spec(module):
        return Check(f"extra {EXTRAS[module]}", "ok", f"{module} is installed")
    return Check(f"extra {EXTRAS[module]}", "missing", f"pip install 'edgekit[{EXTRAS[module]}]'")


def _cameras() -> Check:
    from pathlib import Path

    found = sorted(p.name for p in Path("/dev").glob("video*"))
    text = ", ".join(found) or "no /dev/video*: streams and files work"
    return Check("cameras", "ok" if found else "missing", text)


def _pipeline(path: str) -> list[Check]:
    from edgekit.mqtt.session import examine as try_broker
    from edgekit.mqtt.topics import Topics
    from edgekit.pipeline.fit import read_config

    try:
        config = read_config(path)
    except EdgekitError as error:
        return [Check("config", "broken", line) for line in str(error).splitlines()]
    good = Check("config", "ok", f"{path}: {len(config.cameras)} camera(s)")
    if config.mqtt.host is None:
        return [good]
    topics = Topics(config.mqtt.base, config.device.id)
    return [good, _tell("broker", lambda: try_broker(config.mqtt, topics).line())]


def _tell(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, "ok", look())
    except (EdgekitError, ImportError, OSError) as error:
        return Check(name, "broken", str(error).splitlines()[0])
