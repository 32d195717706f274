"""Which weights are zero: patterns of sparsity, choice by magnitude, masks that hold through a training.

Weights are seen as (output channels, kernel places, input channels), the order in which a `.tflite` file
stores them, so that a block of 1x4 is four consecutive bytes of the file. Those of transposed convolutions,
which torch keeps with the input channels first, are turned before and after.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Pattern:
    """Blocks of `outputs` x `inputs` channels (0: all) that go or stay whole, or `keep` of `of` inputs."""

    outputs: int = 1
    inputs: int = 1
    keep: int = 0
    of: int = 0

    @staticmethod
    def parse(text: str) -> Pattern:
        """The pattern that a recipe calls `text`; see `stages.PATTERN`."""
        if text == "unstructured":
            return Pattern()
        if text == "channels":
            return Pattern(1, 0)
        if ":" in text:
            keep, of = map(int, text.split(":"))
            return Pattern(keep=keep, of=of)
        outputs, inputs = text.split("x")
        return Pattern(int(outputs), 0 if inputs == "all" else int(inputs))


def stored_order(weight: Tensor) -> Tensor:
    """(o, i, kh, kw) or (o, i) to (o, places, i)."""
    wide = weight.reshape(*weight.shape[:2], -1)
    return wide.transpose(1, 2)


def torch_order(stored: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `stored_order`."""
    return stored.transpose(1, 2).reshape(shape).contiguous()


def blocks(values: Tensor, pattern: Pattern) -> Tensor:
    """Values (o, places, i) summed over the blocks of a pattern: (o / outputs, places, i / inputs)."""
    outputs, inputs, places = _block(values, pattern)
    if pattern.inputs == 0:
        values = values.reshape(len(values), 1, -1)
    padded = functional.pad(values, (0, -values.shape[2] % inputs, 0, 0, 0, -values.shape[0] % outputs))
    return padded.reshape(-1, outputs, places, padded.shape[2] // inputs, inputs).sum((1, 4))


def spread(chosen: Tensor, pattern: Pattern, shape: torch.Size) -> Tensor:
    """What `blocks` gathered, copied to every weight of the block: (o, places, i) of `shape`."""
    outputs = pattern.outputs
    if pattern.inputs == 0:
        inputs = shape[1] * shape[2]
        return chosen.repeat_interleave(outputs, 0)[: shape[0]].expand(-1, 1, inputs).reshape(shape)
    wide = chosen.repeat_interleave(outputs, 0).repeat_interleave(pattern.inputs, 2)
    return wide[: shape[0], :, : shape[2]]


def _block(values: Tensor, pattern: Pattern) -> tuple[int, int, int]:
    if pattern.inputs == 0:
        return pattern.outputs, values.shape[1] * values.shape[2], 1
    return pattern.outputs, pattern.inputs, values.shape[1]


def choose(
    weights: list[Tensor], sparsity: float, pattern: Pattern, *, together: bool, relative: bool = True
) -> list[Tensor]:
    """Masks (1 keeps) that make the share `sparsity` of the weights zero, those of least magnitude.

    With `together` all layers are compared, by squares in units of the layer's mean if `relative`;
    else each layer gets the same share. N:M goes towards its share by keeping ever fewer of every M.
    """
    if pattern.of:
        return [_keep_of(weight, sparsity, pattern) for weight in weights]
    seen = [_scores(weight, pattern, relative=relative) for weight in weights]
    scores, sizes = [one for one, _ in seen], [size for _, size in seen]
    if together:
        gone = _weakest(torch.cat([one.ravel() for one in scores]), torch.cat(sizes), sparsity)
        parts = list(gone.split([one.numel() for one in scores]))
    else:
        parts = [_weakest(one.ravel(), size, sparsity) for one, size in zip(scores, sizes, strict=True)]
    masks = []
    for weight, score, part in zip(weights, scores, parts, strict=True):
        kept = ~part.reshape(score.shape)
        if not kept.any():
            kept.view(-1)[score.argmax()] = True  # a layer keeps its strongest block
        shape = stored_order(weight).shape
        masks.append(torch_order(spread(kept.to(weight.dtype), pattern, shape), weight.shape))
    return masks


def _scores(weight: Tensor, pattern: Pattern, *, relative: bool) -> tuple[Tensor, Tensor]:
    """Mean square of each block, if `relative` in units of the layer's; and how many weights each has."""
    stored = stored_order(weight.detach()).square()
    sizes = blocks(torch.ones_like(stored), pattern)
    unit = stored.mean().clamp(min=1e-30) if relative else 1.0
    return blocks(stored, pattern) / sizes / unit, sizes.ravel()


def contributions(weight: Tensor, power: Tensor) -> Tensor:
    """Square roots of what each weight adds to the energy of its output, as a share of what all of them add.

    `power` (i,) is the mean square of each input channel: weights times the size of what they multiply (Sun
    et al. 2023, A Simple and Effective Pruning Approach for Large Language Models), summed over a row to 1.
    """
    outputs, inputs = weight.shape[:2]
    groups = power.numel() // inputs
    rows = power.clamp(min=1e-30).sqrt().reshape(groups, inputs).repeat_interleave(outputs // groups, 0)
    seen = weight.detach() * rows.reshape(outputs, inputs, *[1] * (weight.ndim - 2))
    energy = seen.square().flatten(1).sum(1).clamp(min=1e-30).sqrt()
    return seen / energy.reshape(-1, *[1] * (weight.ndim - 1))


def _weakest(scores: Tensor, sizes: Tensor, sparsity: float) -> Tensor:
    """Which blocks of least score hold at most the share `sparsity` of the weights; of equals the first."""
    order = torch.argsort(scores, stable=True)
    within = sizes[order].cumsum(0) <= sparsity * sizes.sum() + 1e-3
    gone = torch.zeros_like(scores, dtype=torch.bool)
    gone[order] = within
    return gone


def _keep_of(weight: Tensor, sparsity: float, pattern: Pattern) -> Tensor:
    """The mask that keeps the strongest of every `of` consecutive input channels."""
    stored = stored_order(weight.detach()).abs()
    of = pattern.of
    padded = functional.pad(stored, (0, -stored.shape[2] % of), value=-1.0)
    groups = padded.reshape(*stored.shape[:2], -1, of)
    kept = max(pattern.keep, math.ceil(of * (1 - sparsity) - 1e-6))
    chosen = torch.zeros_like(groups).scatter_(3, groups.topk(kept, 3).indices, 1.0)
    mask = chosen.reshape(*stored.shape[:2], -1)[:, :, : stored.shape[2]]
    return torch_order(mask, weight.shape)


def densities(shapes: list[torch.Size], density: float, distribution: str) -> list[float]:
    """Share of weights that each layer keeps: the same, or `erk`, in proportion to the sum of its sizes over
    their product (Evci et al. 2020), so that small layers stay denser; what exceeds 1 goes to the others.
    """
    if distribution == "uniform":
        return [density] * len(shapes)
    counts = [shape.numel() for shape in shapes]
    budget = density * sum(counts)
    dense: set[int] = set()
    while True:
        free = [i for i in range(len(shapes)) if i not in dense]
        left = budget - sum(counts[i] for i in dense)
        factor = left / max(sum(sum(shapes[i]) for i in free), 1)
        over = {i for i in free if factor * sum(shapes[i]) > counts[i]}
        if not over:
            return [1.0 if i in dense else factor * sum(shapes[i]) / counts[i] for i in range(len(shapes))]
        dense |= over


def moved(mask: Tensor, weight: Tensor, gradient: Tensor, fraction: float, pattern: Pattern) -> Tensor:
    """A mask with as many blocks, where `fraction` of them went from the weakest to where the gradient is
    steepest (RigL, Evci et al. 2020). What comes starts at zero.
    """
    stored = stored_order(mask)
    alive = blocks(stored, pattern) > 0
    strength = blocks(stored_order(weight.detach()).square() * stored, pattern)
    steepness = blocks(stored_order(gradient).square(), pattern)
    count = round(float(alive.sum()) * fraction)
    kept = _top(torch.where(alive, strength, -1.0), int(alive.sum()) - count)
    grown = _top(torch.where(kept, -1.0, steepness), count)
    return torch_order(spread((kept | grown).to(mask.dtype), pattern, stored.shape), mask.shape)


def _top(scores: Tensor, count: int) -> Tensor:
    """Where the `count` largest stand."""
    chosen = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    chosen[torch.argsort(scores.ravel(), descending=True, stable=True)[:count]] = True
    return chosen.reshape(scores.shape)


class Masks:
    """The masks of a network by the names of its layers, and what pruned weights would be by now.

    `settle` after a step of the optimiser makes pruned weights zero; those of layers that may regrow are
    kept in `hidden` and come back for the next step by `reveal`, whose gradients were taken at zero (the
    feedback of Lin et al. 2020).
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.masks: dict[str, Tensor] = {}
        self.hidden: dict[str, Tensor] = {}

    def weight(self, name: str) -> Tensor:
        weight: Any = self.model.get_submodule(name).weight
        return weight

    def turned(self, name: str, values: Tensor) -> Tensor:
        """Values of a layer's weights with the output channels first; and back again."""
        turn = isinstance(self.model.get_submodule(name), nn.ConvTranspose2d)
        return values.transpose(0, 1).contiguous() if turn else values

    def set(self, name: str, mask: Tensor, *, regrow: bool = False) -> None:
        """Take a mask over, output channels first; without `regrow` it is final until the next call."""
        mask = self.turned(name, mask)
        self.masks[name] = mask
        if regrow:
            self.hidden.setdefault(name, torch.zeros_like(mask))
        else:
            self.hidden.pop(name, None)

    @torch.no_grad()
    def reveal(self) -> None:
        if self.hidden:
            torch._foreach_add_([self.weight(name) for name in self.hidden], list(self.hidden.values()))

    @torch.no_grad()
    def settle(self) -> None:
        if not self.masks:
            return
        weights = {name: self.weight(name) for name in self.masks}
        kept = torch._foreach_mul(list(weights.values()), list(self.masks.values()))  # noqa: SLF001
        for name, own in zip(weights, kept, strict=True):
            if name in self.hidden:
                self.hidden[name] = weights[name] - own
        torch._foreach_copy_(list(weights.values()), kept)

    def freeze(self, names: list[str]) -> None:
        for name in names:
            self.hidden.pop(name, None)

    def sparsity(self) -> dict[str, float]:
        """Share of zeros of each masked layer."""
        return {name: float((mask == 0).float().mean()) for name, mask in self.masks.items()}

    def state(self) -> dict[str, Any]:
        return {"masks": dict(self.masks), "hidden": dict(self.hidden)}

    def restore(self, state: dict[str, Any]) -> None:
        self.masks, self.hidden = dict(state["masks"]), dict(state["hidden"])
