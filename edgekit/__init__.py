"""edgekit: neural networks on small CPUs. `edgekit.open(name).detect(image)` is the shortest way in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.errors import EdgekitError

if TYPE_CHECKING:
    from edgekit.engine import Engine, load
    from edgekit.inference import Model, open  # noqa: A004  (edgekit.open reads like Image.open)
    from edgekit.types import Detections

__all__ = ["Detections", "EdgekitError", "Engine", "Model", "__version__", "load", "open"]
__version__ = "0.1.0"

_HOMES = {
    "Detections": "edgekit.types",
    "Engine": "edgekit.engine",
    "Model": "edgekit.inference",
    "load": "edgekit.engine",
    "open": "edgekit.inference",
}


def __getattr__(name: str) -> object:
    """Load each public name when it is first used, so that `import edgekit` costs nothing."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
