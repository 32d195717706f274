"""What work costs on an emulated Raspberry Pi 4 and 5: the ARM levels of edgekit/device/cycles.json.

python tests/bench/arm_cycles.py build/arm

Counts the instructions of the networks of `edgekit devices probe`, step by step, fits what each amount of
work takes, and prints it as JSON, in cycles at the instructions a cycle that published timings of these cores
say. `build/arm` is what `tests/arm/run.sh build/arm` has built. Takes an hour of one core.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from arm_counts import build_plugin, count

from edgekit import model, plan
from edgekit.bench.probe_nets import probe_nets
from edgekit.device import calibration
from edgekit.device.work import Work, work_of

LEVELS = {"cortex-a72": "neon", "cortex-a76": "neondot"}
PER_CYCLE = {"neon": 0.85, "neondot": 1.71}  # int8 instructions


def counted(python: Path, plugin: Path, folder: Path, isa: str) -> tuple[list[Work], list[int]]:
    """The work of all steps of all networks, and the instructions that each took."""
    works: list[Work] = []
    instructions: list[int] = []
    for number, drawn in enumerate(probe_nets()):
        path = folder / f"probe{number}.tflite"
        path.write_bytes(model.write(drawn))
        found = count(python, plugin, path, "native")
        steps = plan.build(plan.prepare(model.read(path)), isa, exact=False, threads=1).steps
        works += [work_of(step, isa) for step in steps]
        instructions += [spent for _, spent in found.steps]
        sys.stderr.write(f"{isa} {number}: {found.run / 1e6:.1f} M\n")
    return works, instructions


def cycles(isa: str, works: list[Work], instructions: list[int]) -> dict[str, list[float]]:
    """Cycles of each amount of each kind of work."""
    costs = calibration.fit(isa, works, [1e-3 * number for number in instructions]).costs_ns
    each = PER_CYCLE[isa]
    return {kind: [float(f"{cost / each:.4g}") for cost in found] for kind, found in sorted(costs.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("build", type=Path)
    build = parser.parse_args().build.resolve()
    plugin = build_plugin(build)
    found = {
        isa: cycles(isa, *counted(build / cpu / "python", plugin, build, isa)) for cpu, isa in LEVELS.items()
    }
    json.dump(found, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
