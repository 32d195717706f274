"""The graph of a `.tflite` as it grows: tensors, operators, layouts, paddings. `convert` fills it."""

from __future__ import annotations

import logging
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import fx, nn

from edgekit.errors import ModelError
from edgekit.model.graph import Op, Tensor
from edgekit.optimize.training.geometry import before, pair, same, shape_of
from edgekit.optimize.training.layers import FUSING, ActivationRange, Quant
from edgekit.optimize.training.quantization import ACTIVATIONS

INT8, INT32 = np.dtype(np.int8), np.dtype(np.int32)
INT8_MIN = -128
TO_NHWC, TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)
VERSIONS = {
    "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "RESHAPE": 1, "RESIZE_NEAREST_NEIGHBOR": 3,
    "RESIZE_BILINEAR": 3, "HARD_SWISH": 1, "QUANTIZE": 2, "TRANSPOSE_CONV": 4,
}  # fmt: skip
PARTS = ("chunk", "split")
ARITHMETIC = {operator.add: "ADD", operator.sub: "SUB", operator.mul: "MUL"}
MAPS: dict[type[nn.Module], str] = {
    nn.ReLU: "RELU", nn.ReLU6: "RELU6", nn.Hardswish: "HARD_SWISH", nn.Sigmoid: "LOGISTIC", nn.Tanh: "TANH",
}  # fmt: skip
KNOWN = "use what `edgekit.optimize.training.convert` lists"


_log = logging.getLogger("edgekit.optimize")


class Builder:
    """Tensors and operators of a traced network.

    `values` holds the tensor of each node that has one. A value of four axes lies as NHWC unless its node is
    in `plain`: what a reshape or a permutation made lies as torch has it.
    """

    def __init__(self, traced: fx.GraphModule) -> None:
        self.traced = traced
        self.modules = dict(traced.named_modules())
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []
        self.values: dict[fx.Node, int] = {}
        self.plain: set[fx.Node] = set()

    # ---- what stands around a node ----

    def _module(self, node: fx.Node) -> Any:
        return self.modules.get(str(node.target)) if node.op == "call_module" else None

    def _fused(self, node: fx.Node) -> bool:
        """Whether an activation is done by the operator before it."""
        if not isinstance(self._module(node), ACTIVATIONS):
            return False
        source = before(node)
        absorbs = isinstance(self._module(source), FUSING) or source.target in ARITHMETIC
        return absorbs and len(source.users) == 1

    def _activation(self, node: fx.Node) -> str:
        """The activation that is fused with a node."""
        user = next(iter(node.users))
        return MAPS[type(self._module(user))] if self._fused(user) else "NONE"

    def _quant(self, node: fx.Node) -> Quant:
        """Scale and zero point of what a node makes: of the range behind it, else of what it reads."""
        for user in node.users:
            module = self._module(user)
            if isinstance(module, ActivationRange):
                return module.quant()
            if self._fused(user):
                return self._quant(user)
        sources = [one for one in node.all_input_nodes if one in self.values]
        return self._quant_of(self.values[sources[0]])

    def _quant_of(self, index: int) -> Quant:
        tensor = self.tensors[index]
        if tensor.scale is None or tensor.zero_point is None:
            raise ModelError(f"{tensor.name} has no scale")
        return float(tensor.scale[0]), int(tensor.zero_point[0])

    def value(self, node: Any) -> int:
        if node not in self.values:
            raise ModelError(f"{node}: has no tensor in the file: {KNOWN}")
        return self.values[node]

    # ---- tensors and operators ----

    def _tensor(self, node: fx.Node, quant: Quant, name: str, *, plain: bool = False) -> int:
        shape = shape_of(node)
        if plain and len(shape) == 4:
            self.plain.add(node)
        elif len(shape) == 4:
            shape = tuple(shape[axis] for axis in TO_NHWC)
        return self._add(name, shape, quant)

    def _add(self, name: str, shape: Sequence[int], quant: Quant) -> int:
        scale, zero = np.array([quant[0]], np.float32), np.array([quant[1]], np.int64)
        self.tensors.append(Tensor(name, tuple(shape), INT8, scale, zero))
        return len(self.tensors) - 1

    def _constant(self, name: str, values: Any) -> int:
        data = np.asarray(values, np.int32)
        self.tensors.append(Tensor(name, data.shape, INT32, data=data))
        return len(self.tensors) - 1

    def _part(self, name: str, begin: Sequence[int], size: Sequence[int]) -> list[int]:
        """What SLICE takes behind the tensor."""
        return [self._constant(f"{name}_{key}", one) for key, one in (("begin", begin), ("size", size))]

    def _emit(self, kind: str, inputs: Sequence[int], node: fx.Node, options: dict[str, Any] | None = None,
              *, plain: bool = False) -> None:  # fmt: skip
        """An operator whose result is that of `node`."""
        self.values[node] = self._tensor(node, self._quant(node), node.name, plain=plain)
        self._op(kind, inputs, self.values[node], options)

    def _op(
        self, kind: str, inputs: Sequence[int], output: int, options: dict[str, Any] | None = None
    ) -> None:
        self.ops.append(Op(kind, tuple(inputs), (output,), options or {}, VERSIONS.get(kind, 2)))

    def _moved(self, source: int, order: Sequence[int], name: str) -> int:
        """A transposed copy of a tensor."""
        tensor = self.tensors[source]
        result = self._add(name, [tensor.shape[axis] for axis in order], self._quant_of(source))
        self._op("TRANSPOSE", [source, self._constant(f"{name}_order", order)], result)
        return result

    def _nhwc(self, node: Any) -> int:
        """The value of a node as kernels want it."""
        source = self.value(node)
        return self._moved(source, TO_NHWC, f"{node.name}_nhwc") if node in self.plain else source

    def _torch_order(self, node: Any) -> int:
        """The value of a node with its bytes in torch's order."""
        source = self.value(node)
        shape = self.tensors[source].shape
        if len(shape) != 4 or node in self.plain or shape[1] * shape[2] == 1 or shape[3] == 1:
            return source
        return self._moved(source, TO_NCHW, f"{node.name}_nchw")

    def _parameters(self, name: str, data: NDArray[Any], scales: NDArray[np.float32], axis: int) -> int:
        zeros = np.zeros(len(scales), np.int64)
        self.tensors.append(Tensor(name, data.shape, data.dtype, scales, zeros, axis, data))
        return len(self.tensors) - 1

    def _padded(self, source: int, sides: tuple[int, ...], window: Any, name: str) -> tuple[int, str]:
        """The tensor to slide over and its padding; an explicit PAD where neither SAME nor VALID fits.

        `sides` are left, right, top, bottom; `window` has kernel_size, stride and dilation.
        """
        if not any(sides):
            return source, "VALID"
        _, height, width, _ = self.tensors[source].shape
        size, step, gaps = pair(window.kernel_size), pair(window.stride), pair(window.dilation)
        reach = [gap * (one - 1) + 1 for one, gap in zip(size, gaps, strict=True)]
        if sides == same(width, reach[1], step[1]) + same(height, reach[0], step[0]):
            return source, "SAME"
        _log.info("%s: its padding %s is not TFLite's SAME and costs an operator PAD", name, sides)
        return self._pad_by(source, sides, name), "VALID"

    def _pad_by(self, source: int, sides: Sequence[int], name: str, lowest: bool = False) -> int:
        """A copy with margins of zeros, or of the lowest value."""
        if min(sides) < 0:
            raise ModelError(f"{name}: negative padding cuts, which is not known here")
        left, right, top, bottom = sides
        tensor, quant = self.tensors[source], self._quant_of(source)
        images, height, width, channels = tensor.shape
        shape = (images, height + top + bottom, width + left + right, channels)
        amounts = self._constant(f"{name}_margins", [[0, 0], [top, bottom], [left, right], [0, 0]])
        result = self._add(f"{name}_padded", shape, quant)
        inputs = [source, amounts]
        if lowest and quant[1] != INT8_MIN:
            fill = np.array(INT8_MIN, np.int8)
            self.tensors.append(
                Tensor(f"{name}_lowest", (), INT8, np.array([quant[0]]), np.array([quant[1]]), 0, fill)
            )
            self._op("PADV2", [*inputs, len(self.tensors) - 1], result)
        else:
            self._op("PAD", inputs, result)
        return result
