"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from faults import pytest_addoption, pytest_collection_modifyitems, pytest_terminal_summary
from hypothesis import settings

__all__ = ["pytest_addoption", "pytest_collection_modifyitems", "pytest_terminal_summary", "shared"]

EXAMPLES = {"EDGEKIT_THOROUGH": 1000, "EDGEKIT_PYTHON": 20}  # an emulated CPU takes its time
examples = next((count for name, count in EXAMPLES.items() if name in os.environ), 100)
settings.register_profile("edgekit", deadline=None, max_examples=examples)  # no test asserts on time
settings.load_profile("edgekit")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photographs, clips and models: $EDGEKIT_SHARED, or `shared` beside the checkout."""
    named = os.environ.get("EDGEKIT_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(f"no test data at {folder}: set EDGEKIT_SHARED to the folder that holds data/")
    return folder
