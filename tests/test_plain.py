"""What operators on plain tensors have in common: hostile steps do no harm, refusals say why."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import edgekit._native as native
import numpy as np
from compiler import SANITIZE, build_sanitized, kernel_sources
from single import FLOAT, INT8, INT32, UINT8, constant, refuses, single, tensor
from strategies import layer
from test_postprocess import detector

from edgekit.model.graph import Graph
from edgekit.plan import plain
from edgekit.plan.lowering import FAULT, SCRATCH
from edgekit.plan.step import Step

FAMILIES = {
    "fc", "copy", "lut", "gather", "arithmetic", "pair", "binary", "quantize", "dequantize", "requantize",
    "cast", "reduce", "pool", "softmax", "softmax_float", "bilinear", "postprocess", "matmul",
    "transpose_conv", "arg", "l2norm", "real", "select", "pick", "topk", "cumsum", "log_softmax",
    "log_softmax_int8", "scatter", "forbid", "real_conv",
}  # fmt: skip
PICTURE = (2, 6, 5, 9)
ROWS = tensor((4, 70))
SMALL, LARGE = tensor((3, 1, 5)), tensor((3, 4, 5))
FLOATS, ONE = tensor((4, 70), FLOAT), tensor(())
WINDOW = {"filter_height": 3, "filter_width": 2, "stride_h": 2, "stride_w": 1, "padding": "SAME"}


def graphs() -> list[Graph]:
    """One of each kind, so that every family of steps is there."""
    picture, larger = tensor(PICTURE), tensor((2, 11, 9, 9))
    half = tensor((4, 70), np.dtype(np.int16), 0.01, 0)
    weights = tensor((7, 3, 3, 9), INT8, 0.01, 0, np.ones((7, 3, 3, 9)))
    return [
        layer(5, 30, 20),
        single("TRANSPOSE", [picture, constant([0, 3, 1, 2])], [tensor((2, 9, 6, 5))]),
        single("PAD", [picture, constant([[0, 0], [1, 2], [3, 0], [0, 1]])], [tensor((2, 9, 8, 10))]),
        single("MIRROR_PAD", [picture, constant([[0, 0], [2, 1], [1, 1], [0, 0]])], [tensor((2, 9, 7, 9))]),
        single("TANH", [ROWS], [ROWS]),
        single("ADD", [SMALL, LARGE], [LARGE]),
        single("PRELU", [LARGE, SMALL], [LARGE]),
        single("SUB", [FLOATS, FLOATS], [FLOATS]),
        single("QUANTIZE", [FLOATS], [ROWS]),
        single("QUANTIZE", [half], [ROWS]),
        single("DEQUANTIZE", [half], [FLOATS]),
        single("CAST", [FLOATS], [tensor((4, 70), np.dtype(np.int64))]),
        single("MEAN", [picture, constant([1, 2])], [tensor((2, 9))]),
        single("AVERAGE_POOL_2D", [picture], [tensor((2, 3, 5, 9))], **WINDOW),
        single("SOFTMAX", [ROWS], [tensor((4, 70), INT8, 1 / 256, -128)], beta=1.0),
        single("SOFTMAX", [FLOATS], [FLOATS], beta=1.0),
        single("LOG_SOFTMAX", [ROWS], [tensor((4, 70), INT8, 1 / 16, 127)]),
        single("LOG_SOFTMAX", [tensor((4, 70), UINT8)], [tensor((4, 70), UINT8, 1 / 16, 255)]),
        single("RESIZE_BILINEAR", [picture, constant([11, 9])], [larger], half_pixel_centers=True),
        single("BATCH_MATMUL", [LARGE, tensor((1, 5, 8))], [tensor((3, 4, 8), INT8, 0.3)]),
        single(
            "TRANSPOSE_CONV", [constant([2, 12, 10, 7]), weights, picture],
            [tensor((2, 12, 10, 7), INT8, 0.3)],
            padding="SAME", stride_h=2, stride_w=2,
        ),
        single("ARG_MAX", [picture, constant(1)], [tensor((2, 5, 9), INT32)]),
        single("L2_NORMALIZATION", [ROWS], [tensor((4, 70), INT8, 1 / 128, 0)]),
        single("EXP", [FLOATS], [FLOATS]),
        single("ONE_HOT", [tensor((4,), INT32), constant(9), ONE, ONE], [tensor((4, 9))], axis=-1),
        single("GATHER_ND", [picture, tensor((5, 2), INT32)], [tensor((5, 5, 9))]),
        single("TOPK_V2", [ROWS, constant(6)], [tensor((4, 6)), tensor((4, 6), INT32)]),
        single(
            "SCATTER_ND", [tensor((5, 2), INT32), tensor((5, 9)), constant([6, 5, 9])], [tensor((6, 5, 9))]
        ),
        single("DIV", [ROWS, ROWS], [ROWS], fused_activation_function="NONE"),
        single("CUMSUM", [FLOATS, constant(0)], [FLOATS], exclusive=True),
        *real_layers(),
        detector(20),
        detector(20, UINT8, use_regular_nms=True),
    ]  # fmt: skip


def real_layers() -> list[Graph]:
    """Layers of floats: of all channels, of groups of them, depthwise, fully connected."""

    def floats(*shape: int) -> Any:
        return tensor(shape, FLOAT, data=np.ones(shape))

    options: dict[str, Any] = {
        "padding": "SAME", "stride_h": 2, "stride_w": 1, "dilation_h_factor": 1, "dilation_w_factor": 2
    }  # fmt: skip
    source, result = tensor((2, 6, 5, 9), FLOAT), tensor((2, 3, 5, 72), FLOAT)
    layers = [
        single("CONV_2D", [source, floats(72, 3, 2, depth), floats(72)], [result], **options)
        for depth in (9, 3)
    ]
    deep = [source, floats(1, 3, 2, 72), floats(72)]
    layers.append(single("DEPTHWISE_CONV_2D", deep, [result], depth_multiplier=8, **options))
    return [*layers, single("FULLY_CONNECTED", [FLOATS, floats(5, 70)], [tensor((4, 5), FLOAT)])]


def steps_of(graph: Graph) -> Iterator[tuple[Step, int]]:
    """The steps of the one operator, its tensors one behind another in an arena; and the bytes of that."""
    op, places, end = graph.ops[0], {}, 0
    own = {SCRATCH: plain.scratch(graph, op), FAULT: 4}
    for i in (*graph.inputs, *op.outputs, SCRATCH, FAULT):
        size = own[i] if i in own else graph.tensors[i].size_bytes
        places[i], end = end, end + -(-size // native.ALIGNMENT) * native.ALIGNMENT
    for step in plain.lower(graph, op, places.__getitem__):
        yield step, end


def mutants(step: Step, rng: np.random.Generator, count: int) -> Iterator[Step]:
    """Steps with one or two numbers changed: by a little, or to what no sane step has."""
    for _ in range(count):
        fields = dict(step.fields)
        for name in rng.choice(list(fields), rng.integers(1, 3)):
            fields[name] = spoilt(fields[name], rng)
        yield Step(step.family, fields)


def spoilt(value: Any, rng: np.random.Generator) -> Any:
    if isinstance(value, np.ndarray):
        flat = value.reshape(-1)
        if not flat.size or rng.random() < 0.3:
            return flat[: max(0, flat.size - int(rng.integers(0, 3)))].copy()
        flat = flat.copy()
        info = np.finfo(flat.dtype) if flat.dtype.kind == "f" else np.iinfo(flat.dtype)
        at = rng.integers(flat.size)
        near = np.clip(float(flat[at]) + float(rng.integers(-3, 4)), float(info.min) / 2, float(info.max) / 2)
        flat[at] = rng.choice([info.min, info.max, 0]) if rng.random() < 0.3 else near
        return flat
    odd = [0, -1, 1, 2**31 - 1, -(2**31), 64, 4096, value + 1, value - 1, value * 2, value + 64, value + 4]
    odd = [n for n in odd if abs(n) < 2**31]
    return odd[rng.integers(len(odd))]


def packed(step: Step, arena_bytes: int) -> bytes:
    """The operation as plain_check.c reads it."""
    parts = [struct.pack("<qq", native.families().index(step.family), arena_bytes)]
    for name, letter, is_array in native.fields(step.family):
        value = step.fields.get(name, 0)
        if is_array:
            raw = value.tobytes() if isinstance(value, np.ndarray) else b""
            parts.append(struct.pack("<q", len(raw)) + raw)
        else:
            parts.append(struct.pack("<d", value) if letter in "fd" else struct.pack("<q", int(value)))
    return b"".join(parts)


def build_check(program: Path) -> None:
    """Sanitized but for the kernels of families that no step here has: those take longest to compile."""
    apart = "conv_", "depthwise_"
    sanitize = [*SANITIZE, "-fno-sanitize=alignment", "-fwrapv"]
    flags = {path: ["-O0"] if path.name.startswith(apart) else sanitize for path in kernel_sources()}
    build_sanitized(program, {Path(__file__).with_name("plain_check.c"): sanitize, **flags})


def test_every_family_is_among_the_graphs() -> None:
    assert {step.family for graph in graphs() for step, _ in steps_of(graph)} == FAMILIES


def test_hostile_steps_do_no_harm(tmp_path: Path) -> None:
    rng, good, all_ = np.random.default_rng(1), 0, []
    for graph in graphs():
        for step, arena_bytes in steps_of(graph):
            good += 1
            all_ += [packed(s, arena_bytes) for s in (step, *mutants(step, rng, 150))]
    file = tmp_path / "operations"
    file.write_bytes(b"".join(all_))
    program = tmp_path / "check"
    build_check(program)
    done = subprocess.run([program, file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    passed, refused = map(int, done.stdout.split())
    assert passed + refused == len(all_)
    assert passed >= good
    assert refused > len(all_) // 4


def test_what_cannot_be_done_is_named() -> None:
    byte = tensor((2, 3))
    assert (
        refuses(single("TRANSPOSE", [byte, tensor((2,), INT32)], [byte]))
        == "axes that are no constant whole numbers"
    )
    assert refuses(single("TRANSPOSE", [byte, constant([1, 0])], [byte])) == "an output [2, 3], not [3, 2]"
    assert refuses(single("RESHAPE", [byte], [tensor((2, 3), INT8, 0.9)])) == "another scale or zero point"
    assert refuses(single("SLICE", [byte, constant([0, 0])], [byte])) == "2 inputs"
    assert refuses(single("TANH", [byte], [tensor((0, 3))])) == "an output without elements"
    assert refuses(single("UNIQUE", [byte], [byte])) == "not among the native kernels"
