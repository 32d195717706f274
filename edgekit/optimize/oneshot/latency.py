"""How long a network takes on one core of a device, layer by layer, as `edgekit.latency` predicts it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit import latency, plan
from edgekit.device import Device
from edgekit.model.graph import Graph
from edgekit.optimize.oneshot.layers import Layer, bias_of, replaced

Mask = NDArray[np.bool_]


def layer_ms(graph: Graph, layer: Layer, mask: Mask, device: Device) -> float:
    """Milliseconds for a layer whose weights are zero where the mask (outputs, inputs) is false."""
    thinned = replaced(graph, layer, layer.matrix * mask, bias_of(graph, layer))
    return latency.operator_ms(thinned, device, layer.number)


def times_ms(graph: Graph, layer: Layer, masks: Sequence[Mask], device: Device) -> NDArray[np.float64]:
    """Milliseconds for a layer with each of the masks."""
    return np.array([layer_ms(graph, layer, mask, device) for mask in masks])


def network_ms(graph: Graph, device: Device) -> float:
    """Milliseconds for all of a network."""
    return latency.predict(plan.prepare(graph), device).latency_ms


def rest_ms(graph: Graph, layers: Sequence[Layer], device: Device) -> float:
    """Milliseconds for all of the network but these layers."""
    now_ms = (layer_ms(graph, layer, layer.matrix != 0, device) for layer in layers)
    return max(0.0, network_ms(graph, device) - sum(now_ms))
