"""Steps of a training that a GPU replays: a small network's kernels end sooner than Python asks for the next.

A step is recorded once per shape of its first input (a CUDA graph) and replayed from then on, with other
values in the same places. So a step must not look at values, and what it returns holds until it is replayed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.optimize.training.quantization import is_quantized, ranges

EAGER = 2  # steps that are run before one is recorded: they set the ranges of a network that has become int8
WARM = 3  # runs beside the main stream, as CUDA graphs want

Results = tuple[Tensor, ...]
Step = Callable[..., Results]


class Recorder:
    """Runs steps of the training of `model`: on the CPU as they are, on a GPU by recordings."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.form: Any = None
        self.met: Counter[Any] = Counter()
        self.recordings: dict[Any, Recording] = {}

    def run(self, step: Step, *inputs: Tensor) -> Results:
        """The results of `step(*inputs)`, and the gradients that it leaves in the model's parameters."""
        if inputs[0].device.type != "cuda":
            return step(*inputs)
        if self.form != (form := self._form()):
            self.form = form
            self.met.clear()
            self.recordings.clear()
        key = (step.__name__, inputs[0].shape)
        self.met[key] += 1
        if self.met[key] <= EAGER:
            return step(*inputs)
        if key not in self.recordings:
            self.recordings[key] = Recording(self.model, step, inputs)
        return self.recordings[key].replay(inputs)

    def _form(self) -> tuple[bool, bool]:
        """What decides which kernels a step has: whether the model is int8 and its ranges still move."""
        return is_quantized(self.model), any(one.observing for one in ranges(self.model))


class Recording:
    """One step as a CUDA graph, with the places of its inputs, results and gradients."""

    def __init__(self, model: nn.Module, step: Step, inputs: tuple[Tensor, ...]) -> None:
        self.inputs = [one.clone() for one in inputs]
        parameters = list(model.parameters())
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM):
                _forget(parameters)
                step(*self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        _forget(parameters)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):  # others make the next batches
            self.results = step(*self.inputs)
        self.gradients = [(one, one.grad) for one in parameters if one.grad is not None]

    def replay(self, inputs: tuple[Tensor, ...]) -> Results:
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.graph.replay()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        return self.results


def _forget(parameters: list[nn.Parameter]) -> None:
    for one in parameters:
        one.grad = None
