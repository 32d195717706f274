"""Batches of augmented photographs, made by one thread while the network works on the last one."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgekit.optimize.detection.album import Album
from edgekit.optimize.detection.augment import Strength, Truth, boxes_of, draw, paint


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """`images` is (n, 3, h, w) float32 BGR 0..255; `truth` holds the boxes of each."""

    images: Tensor
    truth: Truth


def as_tensor(images: Sequence[np.ndarray]) -> Tensor:
    """(h, w, 3) uint8 images of one size to (n, 3, h, w) float32."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()


def epoch_batches(
    album: Album, batch: int, sizes_px: Sequence[int], strength: Strength, seeds: tuple[int, ...]
) -> Iterator[Batch]:
    """All photographs once, shuffled, in full batches of one size each; the same for the same seeds."""
    order = np.random.default_rng(seeds).permutation(len(album))
    for step in range(len(album) // batch):
        rng = np.random.default_rng((*seeds, step))
        chosen = order[step * batch : (step + 1) * batch]
        layout = draw(rng, album, chosen, int(rng.choice(sizes_px)), strength)
        yield Batch(paint(layout, album), boxes_of(layout, album))


def ahead(batches: Iterator[Batch], depth: int = 4) -> Iterator[Batch]:
    """The same batches, made up to `depth` ahead by a thread; its exceptions are raised here."""
    made: queue.Queue[Batch | Exception | None] = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        last: Exception | None = None
        try:
            for batch in batches:
                _offer(made, batch, stop)
                if stop.is_set():
                    return
        except Exception as error:
            last = error
        _offer(made, last, stop)

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        while (batch := made.get()) is not None:
            if isinstance(batch, Exception):
                raise batch
            yield batch
    finally:
        stop.set()
        thread.join()


def _offer(
    made: queue.Queue[Batch | Exception | None], item: Batch | Exception | None, stop: threading.Event
) -> None:
    """Put an item into the queue unless the reader has gone."""
    while not stop.is_set():
        with contextlib.suppress(queue.Full):
            made.put(item, timeout=0.2)
            return
