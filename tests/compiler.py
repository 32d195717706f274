"""The C compiler of this machine, for tests that build the kernels by themselves."""

from __future__ import annotations

import platform
import shutil
import subprocess

import pytest


def own_compiler() -> str:
    """A gcc that makes programs for this very machine, or a skip."""
    gcc = shutil.which("gcc")
    if not gcc:
        pytest.skip("no gcc to build the sanitized kernels with")
    made_for = subprocess.run([gcc, "-dumpmachine"], capture_output=True, text=True, check=True).stdout
    if not made_for.startswith(platform.machine()):
        pytest.skip(f"gcc makes programs for {made_for.strip()}, not for {platform.machine()}")
    return gcc
