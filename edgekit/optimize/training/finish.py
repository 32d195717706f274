"""What happens to the exported file itself: one-shot pruning, which needs no training framework."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from edgekit import model
from edgekit.errors import ModelError
from edgekit.optimize.oneshot.calibration import Calibration
from edgekit.optimize.oneshot.goal import Goal
from edgekit.optimize.oneshot.pattern import parse_pattern
from edgekit.optimize.oneshot.prune import prune
from edgekit.optimize.training.stages import OneShotStage


def prune_file(content: bytes, stage: OneShotStage, inputs: Tensor, say: Callable[[str], None]) -> bytes:
    """The `.tflite` pruned at once on inputs (n, c, h, w) or (n, k) as the torch network takes them."""
    graph = model.read_bytes(content)
    source = graph.tensors[graph.inputs[0]]
    if source.scale is None or source.zero_point is None:
        raise ModelError(f"{source.name}: has no scale, so that there is nothing to calibrate on")
    real = inputs.movedim(1, -1).numpy() if inputs.ndim == 4 else inputs.numpy()
    limits = np.iinfo(source.dtype)
    steps = np.rint(real / source.scale[0] + source.zero_point[0]).clip(limits.min, limits.max)
    stored = steps.astype(source.dtype)[: stage.inputs]
    goal = Goal(parse_pattern(stage.pattern), stage.sparsity)
    pruned, _ = prune(graph, Calibration([[one[None]] for one in stored]), goal, say)
    return model.write(pruned)
