"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from examples import examples
from faults import pytest_addoption, pytest_collection_modifyitems, pytest_terminal_summary
from hypothesis import settings

__all__ = ["pytest_addoption", "pytest_collection_modifyitems", "pytest_terminal_summary", "shared"]

if "PYTEST_XDIST_WORKER" in os.environ:  # side by side, threads that wait for one another only spin
    os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("edgekit", examples(100))
settings.load_profile("edgekit")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are CPUs: tests of brokers, cameras and other processes mostly wait."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photographs, clips and models: $EDGEKIT_SHARED, or `shared` beside the checkout."""
    named = os.environ.get("EDGEKIT_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(f"no test data at {folder}: set EDGEKIT_SHARED to the folder that holds data/")
    return folder
