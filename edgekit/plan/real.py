"""Functions of floats, for what stands behind a DEQUANTIZE; and which number along an axis is the largest.

Those that a math library computes are within one part in a million of TFLite's; the others are the same.
"""

from __future__ import annotations

import math

import numpy as np

from edgekit.plan.arithmetic import nearest
from edgekit.plan.lowering import FLOAT, Lower, Lowering, axis_of, need, type_number
from edgekit.plan.step import Step

# In the order of native/ops_plain.h
_FUNCTIONS = """
    ABS NEG SQUARE SQRT RSQRT FLOOR CEIL ROUND SIGN CLAMP LEAKY_RELU HARD_SWISH FAKE_QUANT
    EXP LOG LOGISTIC TANH ELU GELU GELU_BY_TANH SIN COS
""".split()  # noqa: SIM905
_CLAMPS = {
    "RELU": (0.0, math.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0), "RELU_0_TO_1": (0.0, 1.0)
}  # fmt: skip


def real(job: Lowering) -> list[Step]:
    job.takes(1)
    source, kind = job.inputs[0], job.op.kind
    need(source.dtype == job.result.dtype == FLOAT, f"{source.dtype} to {job.result.dtype}")
    job.shaped(source.shape)
    low, high = _CLAMPS.get(kind, (0.0, 0.0))
    step = 0.0
    if kind in _CLAMPS:
        kind = "CLAMP"
    elif kind == "LEAKY_RELU":
        low = float(job.op.options["alpha"])  # type: ignore[arg-type]
    elif kind == "GELU" and job.option("approximate"):
        kind = "GELU_BY_TANH"
    elif kind == "FAKE_QUANT":
        low, high, step = _nudged(job)
    fields = {
        **job.source(0).fields(), "output": job.output(), "count": math.prod(source.shape),
        "function": _FUNCTIONS.index(kind), "low": low, "high": high, "step": step,
    }  # fmt: skip
    return [Step("real", fields)]


def _nudged(job: Lowering) -> tuple[float, float, float]:
    """The ends and the step of a FAKE_QUANT, moved so that 0 is one of its numbers; in float32 as TFLite."""
    low, high = (np.float32(float(job.op.options[name])) for name in ("min", "max"))  # type: ignore[arg-type]
    need(low <= 0 <= high and low < high, f"a range from {low:g} to {high:g}")
    first = np.float32(bool(job.option("narrow_range")))
    last = np.float32(2 ** job.whole("num_bits") - 1)
    step = (high - low) / (last - first)
    zero = np.clip(nearest(first - low / step), first, last)
    return float((first - zero) * step), float((last - zero) * step), float(step)


def arg(job: Lowering) -> list[Step]:
    job.takes(2)
    shape, axis = job.inputs[0].shape, job.constant(1, "axes")
    need(axis.size == 1, "an axis that is no single number")
    at = axis_of(int(axis.ravel()[0]), len(shape))
    job.shaped((*shape[:at], *shape[at + 1 :]))
    need(job.result.dtype in (np.int32, np.int64), f"numbers as {job.result.dtype}")
    fields = {
        **job.source(0).fields(), "output": job.output(), "type": type_number(job.inputs[0]),
        "output_type": type_number(job.result), "least": int(job.op.kind == "ARG_MIN"),
        "outer": math.prod(shape[:at]), "count": shape[at], "inner": math.prod(shape[at + 1 :]),
    }  # fmt: skip
    return [Step("arg", fields)]


REAL: dict[str, Lower] = dict.fromkeys((*_FUNCTIONS, *_CLAMPS), real)
ARG: dict[str, Lower] = {"ARG_MAX": arg, "ARG_MIN": arg}
