"""One-shot pruning of any int8 or uint8 `.tflite`: numpy and calibration inputs, no training framework.

`one_shot` is the door for files, `edgekit.optimize.oneshot.prune.prune` that for graphs.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from edgekit import model
from edgekit.errors import EdgekitError, ModelError
from edgekit.inference import find_file
from edgekit.model.graph import Graph
from edgekit.model.tensors import describe
from edgekit.optimize.oneshot.calibration import Calibration
from edgekit.optimize.oneshot.goal import Goal
from edgekit.optimize.oneshot.pictures import load_inputs
from edgekit.optimize.oneshot.prune import prune
from edgekit.optimize.oneshot.report import Report

__all__ = ["Calibration", "Goal", "Report", "one_shot", "prune"]

MOST_INPUTS = 512


def one_shot(
    name: str, calibration: Path, out: Path, goal: Goal, progress: Callable[[str], None],
    *, most_inputs: int = MOST_INPUTS, sparse_file: bool = True,
) -> Report:  # fmt: skip
    """Prune the model called `name` (of the zoo, or a path) and write it to `out`, whole or not at all.

    For `calibration` see `edgekit.optimize.oneshot.pictures`. With `sparse_file` weights are written in
    TFLite's sparse encoding where that is smaller. Raises UsageError, ModelError, SourceError, BudgetError,
    and EdgekitError when `out` cannot be written, before the work.
    """
    path, card = find_file(name)
    graph = model.read(path)
    check_quantised(graph, name)
    _check_writable(out)
    facts = card.input if card else {}
    inputs = load_inputs(calibration, describe(graph, graph.inputs), facts, most_inputs, progress)
    pruned, report = prune(graph, Calibration(inputs), goal, progress)
    _write(out, model.write(pruned, sparse=sparse_file))
    return report


def check_quantised(graph: Graph, name: str) -> None:
    """Raises ModelError for a float model."""
    weights = [t for t in graph.tensors if t.data is not None and t.data.ndim > 1]
    if not any(t.dtype.itemsize == 1 and t.scale is not None for t in weights):
        kinds = ", ".join(sorted({str(t.dtype) for t in weights})) or "none"
        raise ModelError(f"{name}: its weights are {kinds}: quantise it to int8 first, then prune it")


def _check_writable(out: Path) -> None:
    if out.is_dir():
        raise EdgekitError(f"{out}: is a folder; name the file to write")
    try:
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise EdgekitError(f"{out.parent}: cannot write there: {error.strerror}") from None


def _write(out: Path, content: bytes) -> None:
    """Through a file beside it, so that nobody ever sees half a model."""
    part = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        part.write_bytes(content)
        part.replace(out)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise EdgekitError(f"{out}: cannot write it: {error.strerror}") from None
