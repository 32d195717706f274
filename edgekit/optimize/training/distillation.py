"""A teacher beside the labels: what the network learns from another network's outputs and features.

The loss of a training loop stays as it is. The teacher's part enters with the gradient: a forward hook sees
input and output, and what flows back through the output is `(1 - weight)` of the loop's gradient plus
`weight` of the gradient of the likeness to the teacher. The loop's loss must be a mean over the batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.config.fields import PlaceError
from edgekit.errors import ConfigError

Outputs = tuple[tuple[Tensor, ...], dict[str, Tensor]]  # outputs, and features by their names


def likeness(own: Tensor, wanted: Tensor, kind: str, temperature: float) -> Tensor:
    """The loss of outputs beside the teacher's, a mean over the batch; classes stand on axis 1."""
    own, wanted = own.float(), wanted.float()
    if kind == "values":
        return functional.mse_loss(own, wanted)
    if kind == "sigmoid":
        asked = (wanted / temperature).sigmoid()
        return functional.binary_cross_entropy_with_logits(own / temperature, asked) * temperature**2
    log_own = functional.log_softmax(own / temperature, 1)
    log_wanted = functional.log_softmax(wanted / temperature, 1)
    apart = functional.kl_div(log_own, log_wanted, reduction="none", log_target=True).sum(1)
    return apart.mean() * temperature**2


def feature_likeness(own: Tensor, wanted: Tensor) -> Tensor:
    """Squared difference in units of the teacher's variance; of maps with other channels, of where they are
    active: attention transfer (Zagoruyko and Komodakis 2017). Maps of other sizes are averaged to the
    smaller one.
    """
    own, wanted = own.float(), wanted.float()
    if own.ndim == 4 and own.shape[2:] != wanted.shape[2:]:
        size = [min(a, b) for a, b in zip(own.shape[2:], wanted.shape[2:], strict=True)]
        own, wanted = (functional.adaptive_avg_pool2d(one, size) for one in (own, wanted))
    if own.shape != wanted.shape:
        own, wanted = _attention(own), _attention(wanted)
    return (own - wanted).square().mean() / wanted.var().clamp(min=1e-6)


def _attention(maps: Tensor) -> Tensor:
    if maps.ndim != 4:
        raise ConfigError(f"features of shape {list(maps.shape[1:])} cannot be compared: name maps of images")
    return functional.normalize(maps.square().mean(1).flatten(1))


class TorchTeacher:
    """A torch module as teacher, in evaluation and without gradients."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module.eval().requires_grad_(requires_grad=False)
        self.seen: dict[str, Tensor] = {}

    @staticmethod
    def copy_of(model: nn.Module) -> TorchTeacher:
        """A network as it is now, without the hooks that it has."""
        twin = copy.deepcopy(model)
        twin._forward_hooks.clear()  # noqa: SLF001  (torch has no public way)
        return TorchTeacher(twin)

    def watch(self, names: list[str]) -> None:
        """Keep the outputs of these layers. PlaceError where one does not exist."""
        for name in names:
            self._layer(name).register_forward_hook(self._keep(name))

    def _layer(self, name: str) -> nn.Module:
        from edgekit.config.complaint import similar

        known = dict(self.module.named_modules())
        if name not in known:
            raise PlaceError(("features",), f"the teacher has no layer {name!r}{similar(name, known)}")
        return known[name]

    def _keep(self, name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            self.seen[name] = output

        return hook

    @torch.no_grad()
    def __call__(self, inputs: tuple[Any, ...]) -> Outputs:
        on_gpu = inputs[0].device.type == "cuda"  # where bfloat16 is fast, and opinions need no more
        with torch.autocast("cuda", torch.bfloat16, enabled=on_gpu):
            outputs = self.module(*inputs)
        return as_tuple(outputs), self.seen


def as_tuple(outputs: Any) -> tuple[Tensor, ...]:
    """The tensors among a network's outputs, in order."""
    if isinstance(outputs, Tensor):
        return (outputs,)
    if isinstance(outputs, Mapping):
        outputs = tuple(outputs.values())
    return (
        tuple(one for part in outputs for one in as_tuple(part)) if isinstance(outputs, tuple | list) else ()
    )
