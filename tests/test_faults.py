"""The table of faults names tests that are there."""

from __future__ import annotations

import ast
from pathlib import Path

from faults import load_faults


def test_every_fault_has_tests_and_they_are_there() -> None:
    there = {
        f"{path.name}::{node.name}"
        for path in Path(__file__).parent.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    faults = load_faults()
    assert not [test for fault in faults for test in fault.tests if test not in there]
    assert not [fault.fault for fault in faults if not fault.tests]
