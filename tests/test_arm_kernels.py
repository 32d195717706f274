"""The kernels for ARM under address and undefined-behaviour sanitizers, as on a Raspberry Pi 4 and 5."""

from __future__ import annotations

import subprocess
from pathlib import Path

from compiler import SANITIZE, arm_compiler, build_sanitized, emulated, kernel_sources

TESTS = Path(__file__).resolve().parent


def test_kernels_are_clean_and_agree(tmp_path: Path) -> None:
    program = tmp_path / "check"
    sources = dict.fromkeys((*TESTS.glob("kernel_check*.c"), *kernel_sources()), SANITIZE)
    build_sanitized(program, sources, arm_compiler())
    for cpu, levels in (("cortex-a72", 2), ("cortex-a76", 3)):
        command, environment = emulated(cpu)
        done = subprocess.run(
            [*command, program], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (cpu, done.stdout + done.stderr)
        assert int(done.stdout.split()[0]) >= 1300 * levels, cpu
