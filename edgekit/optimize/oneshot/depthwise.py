"""Depthwise convolutions, which stay dense: their few weights are solved anew on what they now see.

Each channel has least squares of its own, of as many unknowns as its window has places.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.optimize.oneshot.layers import Layer, Real
from edgekit.optimize.oneshot.refit import round_rows, upper_factors

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Windows:
    """Means over samples of what the channels see now, x, and of what they gave before, y.

    `hessian` (channels, places, places) is that of x less its mean, `cross` (channels, places) that with y
    less its mean.
    """

    hessian: Array
    cross: Array
    input_mean: Array  # (channels, places)
    output_mean: Array  # (channels,), without the bias


def windows_of(layer: Layer, rows: Iterable[tuple[Real, Real]]) -> Windows:
    """Of pairs of the layer's input rows (n, places * channels), now and before."""
    channels, places = layer.matrix.shape
    hessian, cross = np.zeros((channels, places, places)), np.zeros((channels, places))
    input_sum, output_sum, count = np.zeros((channels, places)), np.zeros(channels), 0
    weights = layer.real.astype(np.float32)
    for pair in rows:
        now, before = (each.reshape(-1, places, channels).transpose(2, 1, 0) for each in pair)
        wanted = (weights[:, None] @ before)[:, 0]  # (channels, n)
        hessian += now @ now.transpose(0, 2, 1)
        cross += (now @ wanted[..., None])[..., 0]
        input_sum += now.sum(axis=2)
        output_sum += wanted.sum(axis=1)
        count += now.shape[2]
    mean, given = input_sum / count, output_sum / count
    return Windows(
        hessian / count - mean[:, :, None] * mean[:, None], cross / count - mean * given[:, None], mean, given
    )


def solve(layer: Layer, seen: Windows, damping: float) -> tuple[NDArray[np.int64], Array]:
    """Whole numbers for the layer's weights, and what is to be added to its bias.

    `damping` holds the weights to what they were, by this part of the mean square of what a channel sees.
    """
    places = layer.matrix.shape[1]
    extra = damping * np.trace(seen.hessian, axis1=1, axis2=2) / places + 1e-9
    matrices = seen.hessian + extra[:, None, None] * np.eye(places)
    target = seen.cross + extra[:, None] * layer.real
    best = np.linalg.solve(matrices, target[..., None])[..., 0]
    whole = round_rows(best / layer.scale[:, None], upper_factors(matrices), layer.limits)
    real = whole * layer.scale[:, None]
    return whole, seen.output_mean - (real * seen.input_mean).sum(axis=1)
