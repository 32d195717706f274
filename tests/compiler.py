"""The C compiler of this machine, for tests that build the kernels by themselves."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

NATIVE = Path(__file__).resolve().parents[1] / "native"
FLAGS = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", f"-I{NATIVE}"]
ARM = "aarch64-linux-gnu"
SANITIZE = ["-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def own_compiler() -> str:
    """A gcc that makes programs for this very machine, or a skip."""
    gcc = shutil.which("gcc")
    if not gcc:
        pytest.skip("no gcc to build the sanitized kernels with")
    made_for = subprocess.run([gcc, "-dumpmachine"], capture_output=True, text=True, check=True).stdout
    if not made_for.startswith(platform.machine()):
        pytest.skip(f"gcc makes programs for {made_for.strip()}, not for {platform.machine()}")
    return gcc


def arm_compiler() -> str:
    """A gcc that makes programs for a Raspberry Pi, on a machine that emulates one, or a skip."""
    gcc = shutil.which(f"{ARM}-gcc")
    if not gcc or not shutil.which("qemu-aarch64"):
        pytest.skip(f"no {ARM}-gcc and qemu-aarch64 to emulate a Raspberry Pi with")
    return gcc


def emulated(cpu: str) -> tuple[list[str], dict[str, str]]:
    """The command before a program of `arm_compiler` that runs it as on that CPU, and its environment."""
    command = ["qemu-aarch64", "-L", f"/usr/{ARM}", "-cpu", cpu]
    return command, {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}  # leaks are looked for by ptrace


def build_sanitized(program: Path, sources: Mapping[Path, Sequence[str]], gcc: str = "") -> None:
    """A program of C files, each compiled with the flags it is given, all of them at the same time."""
    gcc = gcc or own_compiler()

    def compile_c(source: Path) -> str:
        out = program.with_name(f"{source.stem}.o")
        run_gcc(gcc, *FLAGS, *sources[source], "-c", str(source), "-o", str(out))
        return str(out)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_c, sources))
    run_gcc(gcc, *SANITIZE, *objects, "-lm", "-lpthread", "-o", str(program))


def run_gcc(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "cannot find" in done.stderr and "asan" in done.stderr:
        pytest.skip("gcc has no address sanitizer here")
    assert done.returncode == 0, done.stderr


def kernel_sources() -> list[Path]:
    return sorted(path for path in NATIVE.glob("*.c") if path.name != "_native.c")
