"""How much work a step of a plan is: numbers that its time is proportional to, read from its fields.

`work_of(step, isa)` gives a kind of kernel, and amounts: entries walked, vectors stored, bytes copied. What
an amount costs is known of each device by kind (see `calibration`); how many amounts a kind has and
what they mean is said here alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.device.cycles import are_worth_sharing, cycles_of
from edgekit.plan import costs
from edgekit.plan.layout import QUAD
from edgekit.plan.step import Step

FC_TILE = 16  # outputs in a unit of a fully connected layer
LUT_RUN = 4096  # bytes in a unit of a plain elementwise step
STREAM_BYTES = 24 * 1024  # a list of entries that is longer does not stay in the first cache
CACHE_LINE = 64
REAL_PRODUCTS = 8  # of float32 that take as long as a number of a kind of step that is not told apart
OTHER = "other"
# How many amounts each kind has
AMOUNTS = {
    **dict.fromkeys(("conv1", "conv4", "conv8", "conv16", "conv32", "conv_planar"), 7),
    **dict.fromkeys(
        ("depthwise1", "depthwise2", "pool_average1", "pool_average2", "pool_max1", "pool_max2"), 5
    ),
    **dict.fromkeys(("add_planes", "mul_planes", "lut_planes", "lut_planes_copy", "resize_planes"), 3),
    **dict.fromkeys(("fc", "fc_sparse", "pack_phases", "pack_planes", "split_phases", "copy"), 3),
    **dict.fromkeys(("spread_planes", "mean_planes", "lut", "softmax"), 2),
    **dict.fromkeys(("arithmetic", "quantize", "dequantize"), 1),
    **dict.fromkeys(("join_phases", "unpack_planes"), 4),
}


@dataclass(frozen=True)
class Work:
    """What a step does: `amounts` of a `kind`, in `units` that threads take; it touches `traffic_bytes`.

    Where it is too little to be `shared`, one thread does it all.
    """

    kind: str
    amounts: tuple[float, ...]
    units: int
    traffic_bytes: int
    shared: bool = True


def work_of(step: Step, isa: str) -> Work:
    """The work of one step of a plan made for the ISA level."""
    measure = _MEASURES.get(step.family, _other)
    kind, amounts, units, moved = measure(step.fields, isa)
    done = tuple(map(float, amounts))
    shared = are_worth_sharing(cycles_of(kind, done, isa), isa)
    return Work(kind, done, max(1, int(units)), int(moved) + step.constant_bytes, shared)


Measured = tuple[str, tuple[float, ...], float, float]  # kind, amounts, units, bytes read and written
Fields = dict[str, Any]


def _conv(fields: Fields, isa: str) -> Measured:
    group, quads = fields["group"], fields["channels"] // QUAD
    unit = costs.UNITS[isa]
    kind = "conv_planar" if fields.get("planar") else f"conv{group}"
    kernel = unit.planar if fields.get("planar") and unit.planar else unit.kernels[group]
    pixels = _pixels(fields)
    picture = fields["images"], fields["height"], fields["width"]
    vectors = -(-pixels // fields["vector"])
    tiles, each = costs.pieces(kernel, fields["tile"], vectors, picture, unit.pixels)
    entry = max(kernel.least_entry, kernel.fixed_entry + each * kernel.entry)
    store = kernel.fixed_store + each * kernel.store
    ones, twos, fours = _runs(fields)
    list_bytes = fields["entries"].nbytes
    amounts = (
        tiles * ones * entry, tiles * twos * entry, tiles * fours * entry, tiles * quads * store,
        vectors * quads if fields.get("has_residual") else 0, tiles * (fields["channels"] // group),
        tiles * list_bytes if list_bytes > STREAM_BYTES else 0,
    )  # fmt: skip
    blocks = -(-fields["channels"] // fields["block"])
    return kind, amounts, tiles * blocks, 2 * QUAD * pixels * quads


def _runs(fields: Fields) -> tuple[int, int, int]:
    """Entries walked one by one, in twos, in fours."""
    starts, runs, entries = fields["starts"], fields.get("runs"), len(fields["entries"])
    if runs is None or not len(runs):
        return entries, 0, 0
    fours = int(np.sum(runs[:, 0] - starts[:-1]))
    twos = int(np.sum(runs[:, 1] - runs[:, 0]))
    return entries - fours - twos, twos, fours


def _depthwise(fields: Fields, isa: str) -> Measured:
    taps = fields["window_height"] * fields["window_width"] * fields["sets"]
    planes, rows = fields["planes"], fields["images"] * fields["height"]
    pixels = _pixels(fields)
    down, along = _walks(fields, isa)
    moved = QUAD * planes * pixels * (1 + fields["stride"] ** 2)
    each = (down * taps, along * taps, down + along, rows, 1)
    return f"depthwise{fields['stride']}", tuple(planes * amount for amount in each), planes, moved


def _walks(fields: Fields, isa: str) -> tuple[int, int]:
    """Vectors of a plane that are walked down and along its rows, as native/depthwise_walk.h chooses.

    On ARM all are walked down, and told beside those of a plane without margins.
    """
    unit, width, height = costs.UNITS[isa].pixels, fields["width"], fields["height"]
    pitch, across = fields["output_pitch"], -(-width // unit)
    vectors = height * across
    if not isa.startswith("avx"):
        return fields["images"] * vectors, -(-_pixels(fields) // unit)
    one, same = fields["stride"] == 1, fields["stride"] == 1 and fields["input_pitch"] == pitch
    line = (height - 1) * pitch + width
    can_go_down = bool(fields.get("biased")) and _goes_down(fields, isa)
    if can_go_down and same and 2 * pitch == unit and fields["window_height"] == 3:
        return fields["images"] * -(-height // 2), 0
    if same and line <= (unit - 4 if can_go_down else unit) * vectors:
        return 0, fields["images"] * -(-line // unit)
    rows = height + 2 if one else height
    return (fields["images"] * rows * across, 0) if can_go_down else (0, fields["images"] * vectors)


def _goes_down(fields: Fields, isa: str) -> bool:
    """Whether there is a kernel that keeps the sums of several rows."""
    window = fields["window_height"], fields["window_width"]
    small = window[0] == 3 and window[1] <= 3
    return small or (window == (5, 5) and isa == "avx512vnni" and fields["stride"] == 1)


def _fc(fields: Fields, _isa: str) -> Measured:
    rows, depth, outputs = fields["rows"], fields["depth"], len(fields["bias"])
    tiles = outputs // FC_TILE
    if "offsets" in fields:
        return "fc_sparse", (rows * len(fields["offsets"]), rows * outputs, tiles), tiles, rows * depth
    return "fc", (rows * outputs * depth, rows * outputs, tiles), tiles, rows * (depth + outputs)


def _planes(kind: str) -> Callable[[Fields, str], Measured]:
    """Steps that go through pictures in planes, byte by byte."""

    def measure(fields: Fields, _isa: str) -> Measured:
        planes, rows = fields["planes"], fields["images"] * fields["height"]
        moved = QUAD * planes * rows * fields["width"]
        copies = kind == "lut_planes" and not len(fields.get("table", ()))
        return f"{kind}_copy" if copies else kind, (moved, planes * rows, planes), planes, 2 * moved

    return measure


def _pool_planes(fields: Fields, _isa: str) -> Measured:
    planes, rows = fields["planes"], fields["images"] * fields["height"]
    pixels = planes * rows * fields["width"]
    taps = fields["window_height"] * fields["window_width"]
    kind = "pool_average" if fields["average"] else "pool_max"
    moved = QUAD * pixels * (1 + fields["stride_y"] * fields["stride_x"])
    amounts = (pixels * taps, pixels * fields["window_height"], pixels, planes * rows, planes)
    return f"{kind}{min(2, fields['stride_x'])}", amounts, planes, moved


def _pack(fields: Fields, _isa: str) -> Measured:
    rows, steps = fields["images"] * fields["height"], fields["step_y"] * fields["step_x"]
    quads = -(-fields["channels"] // QUAD) * steps
    pixels = rows * fields["width"] * quads
    kind = "pack_phases" if steps > 1 else "pack_planes"
    thin = pixels if fields["channels"] < QUAD else 0
    return kind, (pixels, thin, rows * quads), rows, QUAD * pixels * 2


def _unpack(fields: Fields, _isa: str) -> Measured:
    rows = fields["images"] * fields["height"]
    pixels, channels = rows * fields["width"], fields["channels"]
    aligned, odd = (pixels * -(-channels // QUAD), 0) if channels % QUAD == 0 else (0, pixels * channels)
    return "unpack_planes", (aligned, odd, pixels, rows), rows, 2 * pixels * channels


def _spread(fields: Fields, _isa: str) -> Measured:
    moved = QUAD * fields["planes"] * fields["pixels"]
    return "spread_planes", (moved, fields["planes"]), fields["planes"], 2 * moved


def _split(fields: Fields, _isa: str) -> Measured:
    planes, rows, columns = fields["planes"], fields["images"] * fields["rows"], fields["columns"]
    return (
        "split_phases",
        (planes * rows * columns, planes * rows, planes),
        planes,
        8 * planes * rows * columns,
    )


def _join(fields: Fields, _isa: str) -> Measured:
    planes, rows = fields["planes"], fields["images"] * fields["height"]
    pixels = planes * rows * fields["width"]
    twos, others = (pixels, 0) if fields["step_x"] == 2 else (0, pixels)
    return "join_phases", (twos, others, planes * rows, planes), planes, 2 * QUAD * pixels


def _mean(fields: Fields, _isa: str) -> Measured:
    planes = -(-fields["channels"] // QUAD)
    pixels = fields["images"] * fields["height"] * fields["width"]
    return "mean_planes", (planes * pixels, planes * fields["images"]), planes, QUAD * planes * pixels


def _copy(fields: Fields, _isa: str) -> Measured:
    sizes = [int(size) for size in fields["sizes"]]
    runs, run = math.prod(sizes), fields["run"]
    short = run <= QUAD
    amounts = (runs, 0, 0) if short else (0, runs, runs * -(-run // CACHE_LINE))
    return "copy", amounts, sizes[0] if sizes else 1, 2 * runs * run


def _rows(kind: str) -> Callable[[Fields, str], Measured]:
    """Steps on plain tensors whose fields tell rows and columns."""

    def measure(fields: Fields, _isa: str) -> Measured:
        rows, columns = fields["rows"], fields.get("columns", fields.get("depth"))
        units = -(-rows * columns // LUT_RUN) if kind == "lut" else rows
        return kind, (rows * columns, rows), units, 2 * rows * columns

    return measure


def _elements(kind: str) -> Callable[[Fields, str], Measured]:
    """Steps that go through plain tensors, number by number."""

    def measure(fields: Fields, _isa: str) -> Measured:
        sizes = fields.get("sizes")
        count = math.prod(map(int, sizes)) if sizes is not None else fields.get("count", 0)
        return kind, (count,), max(1, count // LUT_RUN), 2 * count

    return measure


def _real_conv(fields: Fields, _isa: str) -> Measured:
    """Layers of float32 are rare: they are told by what is not told apart."""
    pixels = fields["images"] * fields["height"] * fields["width"]
    products = pixels * len(fields["weights"].reshape(-1))
    ends = (
        fields["images"] * fields["rows"] * fields["columns"] * fields["depth"] + pixels * fields["channels"]
    )
    return OTHER, (products / REAL_PRODUCTS,), pixels, 4 * ends


def _other(fields: Fields, _isa: str) -> Measured:
    """A family that is not told apart: as many numbers as its fields speak of."""
    counts = [int(fields[key]) for key in _COUNTS if isinstance(fields.get(key), int) and fields[key] > 0]
    sizes = math.prod(map(int, fields["sizes"])) if "sizes" in fields else 1
    count = math.prod(counts) * sizes
    return OTHER, (count,), 1, 2 * count


def _pixels(fields: Fields) -> int:
    """Of a plane, from the first row to the last, margins between included."""
    rows = (fields["images"] - 1) * fields["period"] + fields["height"]
    return int(rows * fields["output_pitch"])


_COUNTS = ("count", "rows", "columns", "depth", "outer", "inner", "channels", "height", "width", "images")
_MEASURES: dict[str, Callable[[Fields, str], Measured]] = {
    "conv": _conv,
    "depthwise": _depthwise,
    "fc": _fc,
    "real_conv": _real_conv,
    "add_planes": _planes("add_planes"),
    "mul_planes": _planes("mul_planes"),
    "lut_planes": _planes("lut_planes"),
    "resize_planes": _planes("resize_planes"),
    "pool_planes": _pool_planes,
    "pack_planes": _pack,
    "unpack_planes": _unpack,
    "split_phases": _split,
    "join_phases": _join,
    "spread_planes": _spread,
    "mean_planes": _mean,
    "copy": _copy,
    "lut": _rows("lut"),
    "softmax": _rows("softmax"),
    "arithmetic": _elements("arithmetic"),
    "quantize": _elements("quantize"),
    "dequantize": _elements("dequantize"),
}
