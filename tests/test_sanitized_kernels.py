"""Kernels of every ISA level under address and undefined-behaviour sanitizers, in memory of their size."""

from __future__ import annotations

import subprocess
from pathlib import Path

import edgekit._native as native
from compiler import SANITIZE, arm_compiler, build_sanitized, emulated, kernel_sources

TESTS = Path(__file__).resolve().parent


def stand_in() -> list[str]:
    """The flag by which a CPU with AVX512-VNNI but without AVX-VNNI runs the latter's kernels too."""
    levels = native.cpu_levels()
    return ["-DSTAND_IN"] if "avx512vnni" in levels and "avxvnni" not in levels else []


def sources(*flags: str) -> dict[Path, list[str]]:
    return {path: [*SANITIZE, *flags] for path in (*TESTS.glob("kernel_check*.c"), *kernel_sources())}


def test_kernels_are_clean_and_agree(tmp_path: Path) -> None:
    program = tmp_path / "check"
    build_sanitized(program, sources(*stand_in()))
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) >= 1300 * len(native.cpu_levels() + tuple(stand_in()))


def test_so_are_those_of_an_emulated_raspberry_pi(tmp_path: Path) -> None:
    program = tmp_path / "check"
    build_sanitized(program, sources(), arm_compiler())
    for cpu, levels in (("cortex-a72", 2), ("cortex-a76", 3)):
        command, environment = emulated(cpu)
        done = subprocess.run(
            [*command, program], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (cpu, done.stdout + done.stderr)
        assert int(done.stdout.split()[0]) >= 1300 * levels, cpu
