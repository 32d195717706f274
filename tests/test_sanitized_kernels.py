"""Kernels of every ISA level under address and undefined-behaviour sanitizers, in memory of their size."""

from __future__ import annotations

import subprocess
from pathlib import Path

import edgekit._native as native
import pytest
from compiler import own_compiler

TESTS = Path(__file__).resolve().parent
NATIVE = TESTS.parent / "native"


def compile_c(*arguments: str) -> None:
    flags = ["-O1", "-g", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", f"-I{NATIVE}"]
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    build = [own_compiler(), *flags, *sanitize, *arguments]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    if "cannot find" in done.stderr and "asan" in done.stderr:
        pytest.skip("gcc has no address sanitizer here")
    assert done.returncode == 0, done.stderr


def stand_in() -> list[str]:
    """The flag by which a CPU with AVX512-VNNI but without AVX-VNNI runs the latter's kernels too."""
    levels = native.cpu_levels()
    return ["-DSTAND_IN"] if "avx512vnni" in levels and "avxvnni" not in levels else []


def test_kernels_are_clean_and_agree(tmp_path: Path) -> None:
    program = str(tmp_path / "check")
    sources = [str(path) for path in NATIVE.glob("*.c") if path.name != "_native.c"]
    checks = [str(path) for path in TESTS.glob("kernel_check*.c")]
    compile_c(*stand_in(), *checks, *sources, "-lm", "-lpthread", "-o", program)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) >= 1300 * len(native.cpu_levels() + tuple(stand_in()))
