"""Which part of a network suffers most when it is rounded to int8."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekit.errors import ModelError
from edgekit.optimize.training.distillation import as_tuple
from edgekit.optimize.training.layers import FUSING, ActivationRange, QuantScale
from edgekit.optimize.training.quantization import RANGES, graph_of, ranges
from edgekit.optimize.training.tracing import EXTRA

BREAKS = 0.5  # what one part may do to the outputs, in what all others do; these may have followed its errors
LEAST = 1e-2  # of the outputs' variance: what no figure of a network tells


def keep_floats(model: nn.Module, images: Tensor, most: int) -> list[str]:
    """Let up to `most` parts that int8 breaks stay float32; returns a line on each.

    The network's input and output stay int8 all the same. Ranges are to be observed anew where any part is:
    those behind it have seen what int8 made of it.
    """
    from edgekit import plan
    from edgekit.optimize.training.convert import build

    lines: list[str] = []
    for _ in range(most):
        errors = rounding_errors(model, images)
        broken = broken_part(errors)
        if not broken or not _keep_float(model, _parts(model)[broken], images[:1]):
            break
        lines.append(f"{_described(errors)}: it stays float32")
    if lines:
        if reason := plan.refusal(plan.prepare(build(model, images[:1]))):
            lines.append(f"the native engine cannot run {reason}: the tflite engine does")
        for one in ranges(model):
            one.seen = False
    return lines


def _keep_float(model: nn.Module, part: Any, image: Tensor) -> bool:
    """Let a part, and what shares its scale, be float32 if the network can be written so."""
    from edgekit.optimize.training.convert import build

    whole = part.group if isinstance(part, ActivationRange) else [part]
    for one in whole:
        one.rounds = False
    try:
        build(model, image)
    except ModelError:
        for one in whole:
            one.rounds = True
    return not part.rounds


@torch.no_grad()
def rounding_errors(model: nn.Module, images: Tensor) -> dict[str, float]:
    """What rounding the weights of one layer, or one tensor, alone does to the outputs of a quantised model.

    The mean squared error over the variance, the worst first. Tensors are named by what gives them. Ranges
    must be set.
    """
    parts = _parts(model)
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with _rounding(parts.values(), on=False):
            wanted = as_tuple(model(images))
            errors = {name: _alone(model, part, images, wanted) for name, part in parts.items()}
    finally:
        for module, was in training.items():
            module.training = was
    return dict(sorted(errors.items(), key=lambda pair: -pair[1]))


def broken_part(errors: dict[str, float]) -> str:
    """The part that does more harm than half of all others together; empty where there is none."""
    worst = next(iter(errors), "")
    others = sum(errors.values()) - errors.get(worst, 0.0)
    return worst if worst and errors[worst] >= LEAST and errors[worst] > BREAKS * others else ""


def complaint(errors: dict[str, float]) -> str:
    """A line about the part that int8 breaks; empty where there is none."""
    if not broken_part(errors):
        return ""
    return f"{_described(errors)}: a ReLU6 or a batch norm there makes its range narrower"


def _described(errors: dict[str, float]) -> str:
    worst = next(iter(errors))
    others = sum(errors.values()) - errors[worst]
    return (
        f"int8 is too coarse for {worst}: rounding it alone errs by {errors[worst]:.2g} of the outputs' "
        f"variance, all else by {others:.2g}"
    )


def _parts(model: nn.Module) -> dict[str, Any]:
    """All that is rounded, by name; what stays float32 is not."""
    graph, parts = graph_of(model), {}
    for node in graph.graph.nodes:
        module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, (*FUSING, QuantScale)):
            parts[f"the weights of {node.target}"] = module
        elif isinstance(module, ActivationRange):
            name = f"what {_giver(graph, node.args[0])} gives"
            parts[name if name not in parts else f"{name} ({node.name})"] = module
    return {name: part for name, part in parts.items() if part.rounds}


def _giver(graph: fx.GraphModule, source: Any) -> str:
    """What the author of a network calls the part that makes what a range rounds."""
    if source.op != "call_module":
        return str(source.name)
    target = str(source.target)
    if target.startswith(RANGES):
        return _giver(graph, source.args[0])
    if target.startswith(EXTRA):
        return f"{type(graph.get_submodule(target)).__name__} of {_giver(graph, source.args[0])}"
    return target


def _alone(model: nn.Module, part: Any, images: Tensor, wanted: tuple[Tensor, ...]) -> float:
    part.rounds = True
    found = as_tuple(model(images))
    part.rounds = False
    errors = [
        float((now - then).square().mean() / then.var(correction=0).clamp(min=1e-12))
        for now, then in zip(found, wanted, strict=True)
    ]
    return sum(errors) / len(errors)


@contextmanager
def _rounding(parts: Any, *, on: bool) -> Iterator[None]:
    for part in parts:
        part.rounds = on
    try:
        yield
    finally:
        for part in parts:
            part.rounds = not on
