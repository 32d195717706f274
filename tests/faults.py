"""The table of faults as a command: `pytest --faults` runs its tests and prints the outcome of each fault."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml


@dataclass(frozen=True)
class Fault:
    """What can go wrong, what is promised then, and the tests of that as `test_module.py::test_name`."""

    fault: str
    promise: str
    tests: list[str]


def load_faults() -> list[Fault]:
    text = Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
    return [Fault(**row) for row in yaml.safe_load(text)]


def name_of(nodeid: str) -> str:
    """`tests/test_x.py::test_y[z]` as the table names it."""
    return nodeid.partition("[")[0].rpartition("/")[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", action="store_true", help="run the tests of faults.yaml, print its outcome")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--faults"):
        wanted = {test for fault in load_faults() for test in fault.tests}
        config.hook.pytest_deselected(items=[item for item in items if name_of(item.nodeid) not in wanted])
        items[:] = [item for item in items if name_of(item.nodeid) in wanted]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.getoption("--faults"):
        return
    outcomes: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            outcomes.setdefault(name_of(report.nodeid), Counter())[outcome] += 1
    terminalreporter.section("faults")
    for fault in load_faults():
        terminalreporter.write_line(fault.fault, bold=True)
        for test in fault.tests:
            told = ", ".join(f"{n} {outcome}" for outcome, n in outcomes.get(test, {"not run": 1}).items())
            terminalreporter.write_line(f"    {told:<12} {test}")
