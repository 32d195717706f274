"""Small facts about nodes, windows and paddings that the export needs."""

from __future__ import annotations

from typing import Any

from torch import fx

from edgekit.errors import ModelError
from edgekit.optimize.training.layers import QuantConv2d, QuantConvTranspose2d


def before(node: fx.Node) -> Any:
    """The node that is the first argument."""
    return node.args[0]


def shape_of(node: Any) -> tuple[int, ...]:
    """The shape of a node's value as torch has it."""
    return tuple(node.meta["tensor_meta"].shape)


def pair(value: Any) -> tuple[int, int]:
    return (value[0], value[1]) if isinstance(value, tuple | list) else (value, value)


def both(padding: Any) -> tuple[int, int, int, int]:
    """Torch's padding of height and width as left, right, top, bottom."""
    height, width = pair(padding)
    return width, width, height, height


def sides_of(conv: QuantConv2d) -> tuple[int, ...]:
    """Left, right, top, bottom."""
    if conv.padding == "valid":
        return 0, 0, 0, 0
    if conv.padding != "same":
        return both(conv.padding)
    totals = [gap * (size - 1) for gap, size in zip(conv.dilation, conv.kernel_size, strict=True)]
    return totals[1] // 2, totals[1] - totals[1] // 2, totals[0] // 2, totals[0] - totals[0] // 2


def same(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """What TFLite's SAME pads before and after an axis."""
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def transposed_padding(
    conv: QuantConvTranspose2d, source: tuple[int, int], wanted: tuple[int, int]
) -> tuple[str, tuple[int, int]]:
    """TFLite's padding of a transposed convolution and the height and width that it makes with it.

    That is what is wanted, or more of it, of which the layer's padding is to be cut off. SAME cuts what a
    convolution of the same window from the output to the input would pad.
    """
    size, step, cut = pair(conv.kernel_size), pair(conv.stride), pair(conv.padding)
    axes = list(zip(source, wanted, size, step, cut, strict=True))
    if cut == (0, 0):
        return "VALID", wanted
    if all(-(-n // s) == count and same(n, k, s)[0] == c for count, n, k, s, c in axes):
        return "SAME", wanted
    whole = [max((count - 1) * s + k, c + n) for count, n, k, s, c in axes]
    return "VALID", (whole[0], whole[1])


def check_pool(node: fx.Node, pool: Any) -> None:
    if pool.ceil_mode:
        raise ModelError(f"{node.name}: a pool with ceil_mode has no int8 form: pad the input instead")


def window(pool: Any, padding: str) -> dict[str, Any]:
    size, step = pair(pool.kernel_size), pair(pool.stride)
    return {
        "padding": padding,
        "stride_w": step[1],
        "stride_h": step[0],
        "filter_width": size[1],
        "filter_height": size[0],
    }


def order_of(node: fx.Node, rank: int) -> list[int]:
    """The axes of a permute or transpose, in the order that they take."""
    given = node.args[1:] if len(node.args) > 1 else tuple(node.kwargs.values())
    if node.target == "transpose":
        order = list(range(rank))
        one, other = (int(axis) % rank for axis in given)
        order[one], order[other] = order[other], order[one]
        return order
    axes: Any = given[0] if len(given) == 1 and isinstance(given[0], tuple | list) else given
    return [int(axis) % rank for axis in axes]


def part_begin(node: fx.Node) -> list[int]:
    """Where the part of a split tensor that a node reads begins."""
    split: Any = node.args[0]
    axis = split.args[2] if len(split.args) > 2 else split.kwargs.get("dim", 0)
    sizes = [one.shape for one in split.meta["tensor_meta"]]
    index: Any = node.args[1]
    begin = [0] * len(sizes[0])
    begin[axis % len(begin)] = sum(one[axis] for one in sizes[: index % len(sizes)])
    return begin


def range_begin(node: fx.Node) -> list[int]:
    """Where the ranges begin that a node takes of a tensor. ModelError for steps and single indices."""
    shape, given = shape_of(node.args[0]), node.args[1]
    ranges: Any = given if isinstance(given, tuple) else (given,)
    if any(not isinstance(one, slice) or one.step not in (None, 1) for one in ranges):
        raise ModelError(f"{node.name}: takes {given} of a tensor: only ranges without steps are known")
    begin = [one.indices(size)[0] for one, size in zip(ranges, shape, strict=False)]
    return begin + [0] * (len(shape) - len(begin))
