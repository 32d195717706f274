"""Kernels of every ISA level under address and undefined-behaviour sanitizers, in memory of their size."""

from __future__ import annotations

import subprocess
from pathlib import Path

import edgekit._native as native
from compiler import SANITIZE, build_sanitized, kernel_sources

TESTS = Path(__file__).resolve().parent


def stand_in() -> list[str]:
    """The flag by which a CPU with AVX512-VNNI but without AVX-VNNI runs the latter's kernels too."""
    levels = native.cpu_levels()
    return ["-DSTAND_IN"] if "avx512vnni" in levels and "avxvnni" not in levels else []


def test_kernels_are_clean_and_agree(tmp_path: Path) -> None:
    program = tmp_path / "check"
    flags = [*SANITIZE, *stand_in()]
    build_sanitized(program, dict.fromkeys((*TESTS.glob("kernel_check*.c"), *kernel_sources()), flags))
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) >= 1300 * len(native.cpu_levels() + tuple(stand_in()))
