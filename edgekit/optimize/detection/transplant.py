"""The student's start: what the teacher computes, in the student's layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgekit import model
from edgekit.errors import ModelError
from edgekit.optimize.detection.losses import BOX_DIVISOR
from edgekit.optimize.detection.nets import HEAD_WIDTH, STEM_GROUPS, Detector, student_network

PHASES = ((0, 0), (1, 0), (0, 1), (1, 1))  # y and x of the pixels that the Focus stem stacks, in its order


@torch.no_grad()
def make_student(teacher: Detector, photos: Sequence[Tensor], columns: tuple[int, ...]) -> Detector:
    """A student that computes what the teacher computes, for the teacher's classes `columns`.

    A class's logit is that of the class plus that of objectness: for probabilities that differ from 1 this is
    nearly their product. `photos` (n, 3, h, w) tell the ranges of the stem's channels.
    """
    student = student_network()
    _split_stem(student, teacher, photos)
    own, given = student.trunk.state_dict(), teacher.trunk.state_dict()
    shared = {name: value for name, value in given.items() if name in own and not name.startswith("dark2.0")}
    student.trunk.load_state_dict(shared, strict=False)
    for level, source in zip(student.levels, teacher.levels, strict=True):
        level.load_state_dict(source.state_dict(), strict=False)
        _join_outputs(level.output, source, columns)
    return student


@torch.no_grad()
def from_file(path: Path) -> Detector:
    """The student that an int8 `.tflite` of an earlier training holds, zeros and all.

    Raises ModelError for an unreadable file, or one of another network.
    """
    student = student_network()
    graph = model.read(path)
    known = {tensor.name: index for index, tensor in enumerate(graph.tensors) if tensor.data is not None}
    for name, layer in student.named_modules():
        if isinstance(layer, nn.Conv2d):
            place = name.replace(".", "_")
            found = [known.get(f"{place}_{part}") for part in ("weights", "bias")]
            tensors = (None if one is None else graph.tensors[one].real for one in found)
            weight, bias = (None if one is None else torch.from_numpy(one) for one in tensors)
            order = (3, 0, 1, 2) if layer.groups > 1 else (0, 3, 1, 2)  # stored as (1, h, w, o), (o, h, w, i)
            if weight is None or bias is None or weight.permute(order).shape != layer.weight.shape:
                raise ModelError(f"{path}: its {place} is not that of a file of this detector's recipes")
            _fill(layer, weight.permute(order), bias)
    return student


def _split_stem(student: Detector, teacher: Detector, photos: Sequence[Tensor]) -> None:
    """The stem and the depthwise layer behind it, in groups of channels of like range."""
    stem, first = teacher.trunk.stem, teacher.trunk.dark2[0]
    peaks = torch.stack([stem(images).amax((0, 2, 3)) for images in photos]).amax(0)
    order = peaks.argsort()
    source: Any = stem.unit.conv
    wide = source.weight.new_zeros(len(order), 3, 6, 6)
    for number, (y, x) in enumerate(PHASES):
        wide[:, :, y::2, x::2] = source.weight[:, 3 * number : 3 * number + 3]
    for group, chosen in zip(student.trunk.stem.groups, order.split(STEM_GROUPS), strict=True):
        _fill(group[0].conv, wide[chosen], source.bias[chosen])
        _fill(group[1].conv, first.deep.conv.weight[chosen], first.deep.conv.bias[chosen])
    _fill(student.trunk.dark2[0].conv, first.point.conv.weight[:, order], first.point.conv.bias)


def _fill(layer: Any, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


def _join_outputs(output: Any, level: Any, columns: tuple[int, ...]) -> None:
    """Box rows from the box branch; class rows are class logit plus objectness logit."""
    output.weight.zero_()
    output.bias.zero_()
    stop = 4 + len(columns)
    chosen = list(columns)
    output.weight[:4, HEAD_WIDTH:] = level.box_values.weight * BOX_DIVISOR
    output.bias[:4] = level.box_values.bias * BOX_DIVISOR
    output.weight[4:stop, :HEAD_WIDTH] = level.class_logits.weight[chosen]
    output.weight[4:stop, HEAD_WIDTH:] = level.objectness.weight
    output.bias[4:stop] = level.class_logits.bias[chosen] + level.objectness.bias
