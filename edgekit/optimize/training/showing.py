"""Which of the training data the one-shot pruning of a finished file is shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor


def choose_inputs(batches: Iterable[tuple[Tensor, Any]], count: int, even: float = 0.0) -> Tensor:
    """The first inputs of the batches; with `even` a share of them as evenly over the classes as can be.

    What is rare is otherwise hardly seen, and its features are the first to go. `even` needs batches whose
    second part is the number of each input's class, and goes through all of them.
    """
    first = count - round(even * count)
    plain: list[Tensor] = []
    kinds: dict[int, list[Tensor]] = defaultdict(list)
    for inputs, wanted in batches:
        rest = inputs[max(0, first - len(plain)) :]
        plain += inputs[: len(inputs) - len(rest)]
        if first == count and len(plain) == count:
            break
        if even:
            _sort_in(kinds, rest, wanted[len(inputs) - len(rest) :], count - first)
    turns = zip_longest(*(kinds[kind] for kind in sorted(kinds)))
    evenly = [one for turn in turns for one in turn if one is not None]
    return torch.stack(plain + evenly[: count - first]).cpu()


def _sort_in(kinds: dict[int, list[Tensor]], inputs: Tensor, classes: Tensor, most: int) -> None:
    numbers: Sequence[int] = classes.tolist()
    for one, kind in zip(inputs, numbers, strict=True):
        if len(kinds[kind]) < most:
            kinds[kind].append(one)
