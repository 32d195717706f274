"""The work of a training's steps; on a GPU recorded and replayed, as launching its kernels one by one takes
longer than they do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from edgekit.optimize.training.accelerator import coarse_products
from edgekit.optimize.training.quantization import is_quantized
from edgekit.optimize.training.session import Session

WARM = 3  # steps of a kind before it is recorded, in which libraries choose their kernels

_log = logging.getLogger("edgekit.optimize")
Losses = Callable[..., tuple[Tensor, Tensor]]  # what to descend, and what to tell
Shapes = tuple[torch.Size, ...]


class Gradients:
    """Fills the gradients of a session's network: those of `losses(*inputs)`, a function of tensors.

    What `losses` reads besides its inputs must stay where it is in memory while no stage begins or ends.
    """

    def __init__(self, session: Session, losses: Losses, device: torch.device) -> None:
        self.session, self.losses = session, losses
        self.phase = session.phase
        self.recorder = Recorder(self._fill) if device.type == "cuda" else None

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The second of the losses, as a value."""
        if self.recorder is None:
            self.session.zero_grad()
            return self._fill(*inputs)
        if self.phase != self.session.phase:
            self.phase = self.session.phase
            self.recorder.forget()
            self.session.zero_grad()
        return self.recorder(*inputs)

    def _fill(self, *inputs: Tensor) -> Tensor:
        self.session.zero_grad(set_to_none=False)  # a recording adds to the same tensors each time
        with coarse_products(on=not is_quantized(self.session.model)):
            loss, told = self.losses(*inputs)
        with coarse_products():
            loss.backward()
        return told.detach()


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A CUDA graph with the tensors that it reads and the one that it writes."""

    graph: Any
    inputs: tuple[Tensor, ...]
    output: Tensor

    def __call__(self, inputs: tuple[Tensor, ...]) -> Tensor:
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.graph.replay()
        return self.output.clone()


@dataclass
class Recorder:
    """Calls a function of tensors: from the fourth call of the same shapes on by a recording of its kernels.

    All calls are on one stream, as autograd remembers on which stream it added to a gradient.
    """

    function: Callable[..., Tensor]
    calls: dict[Shapes, int] = field(default_factory=dict)
    recordings: dict[Shapes, Recording] = field(default_factory=dict)
    is_able: bool = True

    def __post_init__(self) -> None:
        self.stream, self.pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()

    def forget(self) -> None:
        self.calls.clear()
        self.recordings.clear()

    def __call__(self, *inputs: Tensor) -> Tensor:
        outside = torch.cuda.current_stream()
        self.stream.wait_stream(outside)
        with torch.cuda.stream(self.stream):
            output = self._called(inputs)
        outside.wait_stream(self.stream)
        return output

    def _called(self, inputs: tuple[Tensor, ...]) -> Tensor:
        shapes = tuple(one.shape for one in inputs)
        self.calls[shapes] = self.calls.get(shapes, 0) + 1
        if self.is_able and self.calls[shapes] > WARM and shapes not in self.recordings:
            self._record(shapes, inputs)
        if shapes in self.recordings:
            return self.recordings[shapes](inputs)
        return self.function(*inputs)

    def _record(self, shapes: Shapes, inputs: tuple[Tensor, ...]) -> None:
        """Record without running; what cannot be recorded goes on being launched kernel by kernel."""
        own, graph = tuple(one.clone() for one in inputs), torch.cuda.CUDAGraph()
        try:
            # other threads, which make the next batches, may allocate meanwhile
            with torch.cuda.graph(graph, self.pool, self.stream, capture_error_mode="thread_local"):
                output = self.function(*own)
        except RuntimeError as error:
            self.is_able = False
            torch.cuda.synchronize()
            _log.warning("steps run kernel by kernel: %s", " ".join(str(error).split())[:200])
            return
        self.recordings[shapes] = Recording(graph, own, output)
