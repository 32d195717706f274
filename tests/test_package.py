"""What a user installs: one wheel for every Python from 3.11 on, and a source archive that builds."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import edgekit._native as native
import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD_TOOLS = ("build", "setuptools", "Cython", "wheel")
DATA = (".json", ".tflite", ".txt", ".yaml")
PYTHON = os.environ.get("EDGEKIT_PYTHON", sys.executable)


def names(folder: Path, pattern: str) -> set[str]:
    return {path.name for path in folder.glob(pattern)}


def test_yaml_files_are_found_where_the_package_is_installed() -> None:
    for name in ("devices", "pipelines"):
        installed = {item.name for item in files(f"edgekit.{name}").iterdir()}
        assert names(ROOT / name, "*.yaml") <= installed


def test_the_extension_is_of_the_stable_abi() -> None:
    assert native.__file__.endswith(".abi3.so")


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source archive, and the wheel that was built out of it, from nothing but pyproject.toml."""
    if missing := [tool for tool in BUILD_TOOLS if find_spec(tool) is None]:
        pytest.skip(f"{', '.join(missing)} not installed: pip install build setuptools cython wheel")
    out = tmp_path_factory.mktemp("dist")
    command = [PYTHON, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    complaints = [
        line for line in (done.stdout + done.stderr).splitlines() if "native/" in line and "warning:" in line
    ]
    assert not complaints
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


def test_the_wheel_is_for_every_python_from_3_11_on(archives: tuple[Path, Path]) -> None:
    assert "-cp311-abi3-linux_" in archives[1].name


def test_the_wheel_holds_what_a_user_needs(archives: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(archives[1]) as wheel:
        inside = set(wheel.namelist())
    wanted = {"edgekit/_native.abi3.so", "edgekit/py.typed", "edgekit/zoo/__init__.py"}
    wanted |= {f"edgekit/devices/{name}" for name in names(ROOT / "devices", "*.yaml")}
    wanted |= {f"edgekit/pipelines/{name}" for name in names(ROOT / "pipelines", "*.yaml")}
    data = [path for path in (ROOT / "edgekit").rglob("*") if path.suffix in DATA]
    wanted |= {path.relative_to(ROOT).as_posix() for path in data}
    assert not wanted - inside
    assert not [name for name in inside if name.endswith((".c", ".h", ".pyx"))]


def test_the_source_archive_holds_every_c_file_and_header(archives: tuple[Path, Path]) -> None:
    with tarfile.open(archives[0]) as archive:
        inside = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    sources = {f"native/{path.name}" for path in (ROOT / "native").iterdir() if path.name != "_native.c"}
    assert not {name for name in sources if name.endswith((".c", ".h", ".pyx"))} - inside
