"""The teacher: YOLOX-Nano's published weights, read from its ONNX file into a torch network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgekit.errors import MissingExtraError, ModelError
from edgekit.optimize.detection.nets import Detector, teacher_network


def load_teacher(path: Path) -> Detector:
    """Read YOLOX-Nano from ONNX; ModelError if the file is unreadable or its convolutions do not fit."""
    network = teacher_network()
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    weights = _onnx_convolutions(path)
    if len(weights) != len(convolutions):
        raise ModelError(
            f"{path}: {len(weights)} convolutions, YOLOX-Nano has {len(convolutions)}: use yolox_nano.onnx"
        )
    for number, (conv, (weight, bias)) in enumerate(zip(convolutions, weights, strict=True)):
        _assign(conv, weight, bias, f"{path}: convolution {number}")
    return network.eval().requires_grad_(False)


def _onnx_convolutions(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weight and bias of every Conv node, in the file's (execution) order."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise MissingExtraError("onnx", "train") from None
    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:
        raise ModelError(
            f"{path}: not a readable ONNX file ({type(error).__name__}): check the path"
        ) from None
    values = {tensor.name: tensor for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    if not all(
        len(node.input) == 3 and node.input[1] in values and node.input[2] in values for node in nodes
    ):
        raise ModelError(f"{path}: a convolution lacks constant weights or a bias: use yolox_nano.onnx")
    return [
        (numpy_helper.to_array(values[node.input[1]]), numpy_helper.to_array(values[node.input[2]]))
        for node in nodes
    ]


def _assign(conv: nn.Conv2d, weight: np.ndarray, bias: np.ndarray, place: str) -> None:
    if tuple(weight.shape) != tuple(conv.weight.shape) or conv.bias is None:
        raise ModelError(
            f"{place}: weights are {tuple(weight.shape)}, YOLOX-Nano has {tuple(conv.weight.shape)}"
        )
    with torch.no_grad():
        conv.weight.copy_(torch.from_numpy(weight.copy()))
        conv.bias.copy_(torch.from_numpy(bias.copy()))
