"""Whether the exported file computes what the network computed in training: counted output by output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgekit import engine
from edgekit.optimize.detection.batches import as_tensor
from edgekit.optimize.detection.photos import Photo, letterbox


def measure(network: nn.Module, path: Path, photos: Sequence[Photo], size_px: int) -> dict[str, Any]:
    """Share of output values that agree exactly and within 1, 2 and 4 steps, over the photographs."""
    runner = engine.load(path)
    counts = np.zeros(256, np.int64)
    for photo in photos:
        image = letterbox(photo.image, size_px)[0]
        with torch.no_grad():
            maps = network.eval()(as_tensor([image]))
        stored = (image.astype(np.int16) - 128).astype(np.int8)
        for one, found, facts in zip(maps, runner.run(stored[None]), runner.outputs, strict=True):
            wanted = np.rint(one.permute(0, 2, 3, 1).numpy() / facts.scale) + facts.zero_point
            counts += np.bincount(np.abs(wanted - found).astype(np.int64).ravel(), minlength=256)
    shares = counts.cumsum() / max(counts.sum(), 1)
    within = {f"within_{step}": round(float(shares[step]), 4) for step in (0, 1, 2, 4)}
    return {"engine": runner.name, "photos": len(photos), **within}
