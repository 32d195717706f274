"""A table of bytes as sixteen parabolas and a correction, for CPUs that look up sixteen entries at a time.

Entry 16 b + p is `base[b] + (slope[b] * p + bend[b] * bow[p] >> SHIFT) + extra`, modulo 256; the extra is 0
or 1. The bow is one for the table: it takes the form that the table's curves have.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int32]

PIECE = 16  # entries
SHIFT = 5
_TOPS = (14, 9, 22)  # of the bow, one after the other
# Slopes and bends around those of least squares, the farther ones for pieces that the others do not serve
_NEAR = tuple(np.array(list(product(range(-a, a + 1), range(-b, b + 1)))) for a, b in ((1, 2), (5, 8)))
_PLACES = np.arange(PIECE)
_LINE = np.stack([np.ones(PIECE), _PLACES], 1)
_SLOPE = np.linalg.pinv(_LINE)[1]  # of the line of least squares
_BENT = np.eye(PIECE) - _LINE @ np.linalg.pinv(_LINE)  # what that line leaves
_ARCH = _PLACES * (PIECE - 1 - _PLACES)


def pieces(table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(96,) base, slope, bend, bow and the bits `extra` of a table (256,), or (0,) where it has no such form.

    Bit b of byte p of the last 32, or b - 8 of byte 16 + p, is that of entry 16 b + p.
    """
    values = table.reshape(PIECE, PIECE).astype(np.int32)
    for top in _TOPS:
        bow = _bow(values, top)
        factors = _factors(values, bow)
        if factors is not None:
            return _packed(values, factors, bow)
    return np.zeros(0, np.uint8)


def _bow(values: Numbers, top: int) -> Numbers:
    """(16,) the mean form of what bends in the pieces, from 0 at the ends to `top`."""
    bent = values @ _BENT
    form = bent @ _ARCH @ bent
    form = form - np.linspace(form[0], form[-1], PIECE)
    return np.rint(np.maximum(form, 0) * (top / max(float(form.max()), 1e-9))).astype(np.int32)


def _factors(values: Numbers, bow: Numbers) -> Numbers | None:
    """(16, 2) slope and bend of each piece with which its rests differ by one at most, if all have such."""
    bends = values @ (_BENT @ bow) / max(float(bow @ _BENT @ bow), 1e-9)
    slopes = values @ _SLOPE - bends * (bow @ _SLOPE)
    best = np.rint(np.stack([slopes, bends], 1) * (1 << SHIFT)).astype(np.int32)
    for near in _NEAR:
        unserved = np.flatnonzero(np.ptp(_rests(values, best, bow), axis=1) > 1)
        tried = best[unserved, None] + near
        spread = np.ptp(_rests(values[unserved, None], tried, bow), axis=2)
        best[unserved] = tried[np.arange(len(unserved)), spread.argmin(1)]
    fits = np.ptp(_rests(values, best, bow), axis=1) <= 1
    return best if fits.all() and np.abs(best).max() <= 127 else None


def _rests(values: Numbers, factors: Numbers, bow: Numbers) -> Numbers:
    """What slope and bend (..., 2) leave of pieces (..., 16)."""
    risen = factors[..., :1] * _PLACES + factors[..., 1:] * bow >> SHIFT
    return np.asarray(values - np.clip(risen, -128, 127), np.int32)


def _packed(values: Numbers, factors: Numbers, bow: Numbers) -> NDArray[np.uint8]:
    rests = _rests(values, factors, bow)
    base = rests.min(1)
    extra = (rests - base[:, None]).reshape(2, 8, PIECE).astype(bool)
    bits = np.packbits(extra, axis=1, bitorder="little")
    parts = (base, factors[:, 0], factors[:, 1], bow, bits)
    return np.concatenate([part.ravel().astype(np.int64) & 255 for part in parts]).astype(np.uint8)
