"""How long a network takes on one core of a device, layer by layer: what the kernels are thought to cost."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgekit.device import Device
from edgekit.errors import UsageError
from edgekit.model.graph import Graph, Op
from edgekit.optimize.oneshot.layers import Layer
from edgekit.plan import costs
from edgekit.plan.fully_connected import GATHER_COST, MAX_SPARSE_ROWS, TILE
from edgekit.plan.layout import QUAD

_DEFAULT_GBPS = 2.0
_DEFAULT_MACS = 8.0
_DEPTHWISE_SHARE = 4  # its products reach that part of the peak


def cycles_per_ms(device: Device) -> float:
    """Of the fastest core. UsageError for a device of which the kernels or the clock are not known."""
    mhz = device.cores[0].max_mhz if device.cores else None
    if mhz is None or device.isa not in costs.UNITS:
        raise UsageError(
            f"device {device.name}: its clock or its kernels are not known; name another profile"
        )
    return mhz * 1000


def layer_ms(graph: Graph, layer: Layer, mask: NDArray[np.bool_], device: Device) -> float:
    """Milliseconds for a layer whose weights are zero where the mask (outputs, inputs) is false."""
    rows = math.prod(graph.tensors[layer.result].shape[:-1])
    cycles = (
        _fully_connected(mask, rows, device) if layer.window is None else _conv(mask, layer, rows, device)
    )
    return cycles / cycles_per_ms(device)


def _conv(mask: NDArray[np.bool_], layer: Layer, pixels: int, device: Device) -> float:
    apart = mask.reshape(len(mask), -1, layer.channels)
    wide = np.pad(apart, ((0, 0), (0, 0), (0, -layer.channels % QUAD)))
    quads = np.asarray(wide.reshape(len(mask), -1, QUAD).any(axis=2))
    choices = costs.choose(device.isa, quads, pixels)
    choices += costs.choose_planar(device.isa, mask.sum(axis=1), -(-layer.channels // QUAD), pixels)
    return min(choice.cycles for choice in choices)


def _fully_connected(mask: NDArray[np.bool_], rows: int, device: Device) -> float:
    """A step is four inputs of a tile of outputs; the sparse form has as many as a tile's fullest output."""
    outputs, inputs = mask.shape
    wide = np.pad(mask, ((0, -outputs % TILE), (0, -inputs % QUAD)))
    quads = wide.reshape(-1, TILE, wide.shape[1] // QUAD, QUAD).any(axis=3)
    steps = quads.shape[0] * quads.shape[2]
    if rows <= MAX_SPARSE_ROWS and inputs % QUAD == 0:
        steps = min(steps, GATHER_COST * int(quads.sum(axis=2).max(axis=1).sum()))
    return rows * steps * TILE * QUAD / (device.int8_macs_per_cycle or _DEFAULT_MACS)


def rest_ms(graph: Graph, layers: list[Layer], device: Device) -> float:
    """Milliseconds for all operators but these layers: their bytes moved, and a depthwise one's products."""
    numbers = {layer.number for layer in layers}
    return sum(_op_ms(graph, op, device) for number, op in enumerate(graph.ops) if number not in numbers)


def _op_ms(graph: Graph, op: Op, device: Device) -> float:
    ends = [i for i in (*op.inputs, *op.outputs) if i >= 0 and graph.tensors[i].data is None]
    moved = sum(graph.tensors[i].size_bytes for i in ends) / ((device.copy_gbps or _DEFAULT_GBPS) * 1e6)
    if op.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return moved
    weights, result = graph.tensors[op.inputs[1]].shape, graph.tensors[op.outputs[0]].shape
    each = weights[1] * weights[2] * (1 if op.kind.startswith("DEPTH") else weights[3])
    share = (device.int8_macs_per_cycle or _DEFAULT_MACS) / _DEPTHWISE_SHARE
    return moved + math.prod(result) * each / share / cycles_per_ms(device)
