"""The house keeps its order: imports point down, heavy packages keep their rooms, public names are listed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import edgekit

PACKAGE = Path(edgekit.__file__).parent

# From the ground up. A room (a module, or a package) may import those of earlier lines, and of its own line.
FLOORS = """
errors
types files
config
model
plan
device
latency
preprocess decode
track
rules
engine zoo
select
sources
mqtt
inference
pipeline
bench analyze evaluate optimize
pareto
service web
runtime doctor kit
replay
console
logs view
verbs
cli
__main__
"""
FLOOR = {name: level for level, line in enumerate(FLOORS.split("\n")) for name in line.split()}

# A package that may be imported only by these modules.
ROOMS = {
    "_native": {"engine"},
    "ai_edge_litert": {"engine"},
    "tflite_runtime": {"engine"},
    "paho": {"mqtt"},
    "picamera2": {"sources"},
    "amqtt": {"mqtt"},
    "pycocotools": {"evaluate", "optimize"},
    "skimage": {"sources"},
    "starlette": {"web"},
    "uvicorn": {"web"},
    "prometheus_client": {"web"},
    "torch": {"optimize"},
    "onnx": {"optimize"},
    "onnxruntime": {"bench", "optimize"},
    "openvino": {"bench"},
    "optuna": {"optimize"},
    "matplotlib": {"analyze", "optimize", "pareto"},
}


def modules() -> dict[str, Path]:
    """File of each module of the package, named by its room: optimize/*.py are all `optimize`."""
    return {
        path.relative_to(PACKAGE).with_suffix("").as_posix(): path
        for path in PACKAGE.rglob("*.py")
        if path != PACKAGE / "__init__.py"
    }


def room(name: str) -> str:
    return name.split("/", maxsplit=1)[0]


def imported(path: Path, *, loading: bool = False) -> set[str]:
    """Dotted names of all that a file imports, wherever in it, or only as it is loaded."""
    names: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if loading else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_module_has_a_floor() -> None:
    assert {room(name) for name in modules()} - {"devices", "pipelines"} <= FLOOR.keys()


def test_imports_point_down() -> None:
    upward = [
        f"{name} imports {target}"
        for name, path in modules().items()
        for target in imported(path)
        if target.startswith("edgekit.")
        and (below := target.split(".")[1]) in FLOOR
        and FLOOR[below] > FLOOR[room(name)]
    ]
    assert not upward


def test_no_ring_of_modules() -> None:
    """No module reaches itself by what it imports as it is loaded; the doors of packages do not count."""
    below: dict[str, set[str]] = {}
    for name, path in modules().items():
        found = (target.removeprefix("edgekit.") for target in imported(path, loading=True))
        below[name.replace("/", ".")] = {part for one in found for part in (one, one.rpartition(".")[0])}
    known = {name for name in below if not name.endswith("__init__")}
    TopologicalSorter({name: below[name] & known for name in known}).prepare()  # CycleError names the ring


def test_heavy_packages_stay_in_their_rooms() -> None:
    strays = [
        f"{name} imports {package}"
        for name, path in modules().items()
        for target in imported(path)
        for package, rooms in ROOMS.items()
        if package in target.split(".")[:2] and room(name) not in rooms
    ]
    assert not strays


def test_public_names_exist_and_are_all() -> None:
    assert set(edgekit.__all__) == {
        "Detections", "EdgekitError", "Engine", "Model", "__version__", "load", "open",
    }  # fmt: skip
    assert all(getattr(edgekit, name) is not None for name in edgekit.__all__)


def test_the_zoo_is_listed_without_heavy_packages() -> None:
    code = (
        "import sys; from edgekit.cli import main; code = main(['zoo', 'list']); "
        "heavy = {'cv2', 'torch', 'paho', 'amqtt', 'ai_edge_litert', 'uvicorn'} & sys.modules.keys(); "
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    python = os.environ.get("EDGEKIT_PYTHON", sys.executable)
    done = subprocess.run([python, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
