"""Writes a graph as a `.tflite` file, on the `flatbuffers` package; `edgekit.model.write` is its door."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ModelError
from edgekit.model.graph import Graph, Op, Tensor
from edgekit.model.schema import (
    CUSTOM,
    DTYPE_CODES,
    ENUMS,
    IDENTIFIER,
    LARGEST_DEPRECATED_CODE,
    OPERATOR_CODES,
    OPTIONS_OF,
    VERSION,
    Field,
)
from edgekit.model.sparsity import Folded, fold

_ALIGNMENT = 16  # of constant data, for kernels that read it by vectors
_SPARSE_BYTES = 512  # that a sparse constant takes beside its numbers: tables, and an operator
_WEIGHTED = ("CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "TRANSPOSE_CONV")
_SCALARS = {
    "bool": flatbuffers.Builder.PrependBoolSlot,
    "byte": flatbuffers.Builder.PrependInt8Slot,
    "ubyte": flatbuffers.Builder.PrependUint8Slot,
    "int": flatbuffers.Builder.PrependInt32Slot,
    "uint": flatbuffers.Builder.PrependUint32Slot,
    "long": flatbuffers.Builder.PrependInt64Slot,
    "ulong": flatbuffers.Builder.PrependUint64Slot,
    "float": flatbuffers.Builder.PrependFloat32Slot,
    "offset": flatbuffers.Builder.PrependUOffsetTRelativeSlot,
}
_Slot = tuple[int, str, Any, Any]  # slot, a word of _SCALARS, value, the default that is left out


def write(graph: Graph, *, sparse: bool = False) -> bytes:
    """The bytes of a `.tflite` file with one subgraph. ModelError for an operator it cannot express.

    With `sparse` weights of int8 stand in TFLite's sparse encoding, a DENSIFY behind them, where that is
    smaller; `edgekit.model.read_bytes` gives the same constants either way.
    """
    graph, folded = _with_densify(graph) if sparse else (graph, {})
    builder = flatbuffers.Builder(4096 + sum(t.size_bytes for t in graph.tensors if t.data is not None))
    codes = sorted({(op.kind, op.version) for op in graph.ops})
    buffers = [_table(builder, [])]  # buffer 0 is empty by convention: that of tensors without data
    tensors = [_tensor(builder, t, buffers, folded.get(number)) for number, t in enumerate(graph.tensors)]
    ops = [_op(builder, number, op, codes) for number, op in enumerate(graph.ops)]
    subgraph = _subgraph(builder, graph, tensors, ops)
    slots = [
        _offset(1, _tables(builder, [_operator_code(builder, *code) for code in codes])),
        _offset(2, _tables(builder, [subgraph])),
        _offset(3, builder.CreateString(graph.description)),
        _offset(4, _tables(builder, buffers)),
    ]
    builder.Finish(_table(builder, [(0, "uint", VERSION, 0), *slots]), IDENTIFIER)
    return bytes(memoryview(builder.Bytes)[builder.Head() :])


def _offset(slot: int, value: int) -> _Slot:
    return slot, "offset", value, 0


def _table(builder: flatbuffers.Builder, slots: Sequence[_Slot]) -> int:
    builder.StartObject(max((slot for slot, *_ in slots), default=-1) + 1)
    for slot, kind, value, default in slots:
        _SCALARS[kind](builder, slot, value, default)
    return int(builder.EndObject())


def _tables(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _numbers(builder: flatbuffers.Builder, values: Sequence[Any] | NDArray[Any], dtype: str) -> int:
    return int(builder.CreateNumpyVector(np.asarray(values, dtype)))


def _bytes(builder: flatbuffers.Builder, raw: bytes, alignment: int) -> int:
    builder.StartVector(1, len(raw), alignment)
    start = builder.Head() - len(raw)
    builder.head = start
    builder.Bytes[start : start + len(raw)] = raw
    return int(builder.EndVector())


def _with_densify(graph: Graph) -> tuple[Graph, dict[int, Folded]]:
    """The graph with sparse twins of weights and the operators that unfold them, first; the twins folded."""
    tensors, ops, folded = list(graph.tensors), [], {}
    for index in sorted({op.inputs[1] for op in graph.ops if op.kind in _WEIGHTED and len(op.inputs) > 1}):
        tensor = graph.tensors[index]
        if index in graph.outputs or not _may_fold(tensor):
            continue
        twin = fold(np.asarray(tensor.data))
        if twin.size_bytes + _SPARSE_BYTES < tensor.size_bytes:
            folded[len(tensors)] = twin
            ops.append(Op("DENSIFY", (len(tensors),), (index,)))
            tensors.append(replace(tensor, name=f"{tensor.name} sparse"))
            tensors[index] = replace(tensor, data=None)
    return replace(graph, tensors=tuple(tensors), ops=(*ops, *graph.ops)), folded


def _may_fold(tensor: Tensor) -> bool:
    """Whether TFLite's zero is this tensor's: it unfolds int8, and to stored zeros, from one value on."""
    if tensor.data is None or tensor.dtype != np.int8 or not tensor.shape:
        return False
    return bool(tensor.data.any()) and not np.any(tensor.zero_point)


def _tensor(
    builder: flatbuffers.Builder, tensor: Tensor, buffers: list[int], folded: Folded | None = None
) -> int:
    """Write a tensor; its constant data goes to a new buffer at the end of `buffers`."""
    buffer = 0
    if tensor.data is not None:
        data = tensor.data if folded is None else folded.values
        buffers.append(_table(builder, [_offset(0, _bytes(builder, data.tobytes(), _ALIGNMENT))]))
        buffer = len(buffers) - 1
    slots = [
        _offset(0, _numbers(builder, tensor.shape, "<i4")),
        (1, "byte", DTYPE_CODES[tensor.dtype], 0),
        (2, "uint", buffer, 0),
        _offset(3, builder.CreateString(tensor.name)),
        (5, "bool", tensor.is_variable, False),
        (8, "bool", True, False),
    ]
    if tensor.scale is not None:
        slots.append(_offset(4, _scales(builder, tensor)))
    if folded is not None:
        slots.append(_offset(6, _sparsity(builder, tensor.shape, folded)))
    return _table(builder, slots)


def _sparsity(builder: flatbuffers.Builder, shape: tuple[int, ...], folded: Folded) -> int:
    """All axes dense but the last, which is compressed; blocks are an axis of their own below it."""
    rank, inner = len(shape), [folded.block] if folded.block > 1 else []
    levels = [_table(builder, [(1, "int", size, 0)]) for size in shape[:-1]]
    segments, indices = (_index_vector(builder, v) for v in (folded.segments, folded.indices))
    kinds = [(slot, "ubyte", kind, 0) for slot, (kind, _) in ((2, segments), (4, indices))]
    places = [_offset(slot, place) for slot, (_, place) in ((3, segments), (5, indices))]
    levels.append(_table(builder, [(0, "byte", 1, 0), *kinds, *places]))
    levels += [_table(builder, [(1, "int", size, 0)]) for size in inner]
    order = _numbers(builder, range(rank + len(inner)), "<i4")
    blocked = _numbers(builder, [rank - 1] * len(inner), "<i4")
    return _table(builder, [_offset(0, order), _offset(1, blocked), _offset(2, _tables(builder, levels))])


def _index_vector(builder: flatbuffers.Builder, numbers: NDArray[Any]) -> tuple[int, int]:
    """The number of its type in the schema's union, and the table that holds the vector."""
    kind = {4: 1, 2: 2, 1: 3}[numbers.dtype.itemsize]
    return kind, _table(builder, [_offset(0, _bytes_of(builder, numbers))])


def _bytes_of(builder: flatbuffers.Builder, numbers: NDArray[Any]) -> int:
    """A vector that starts at a multiple of four bytes, as the schema wants these."""
    raw = numbers.astype(numbers.dtype.newbyteorder("<")).tobytes()
    builder.StartVector(numbers.dtype.itemsize, len(numbers), 4)
    start = builder.Head() - len(raw)
    builder.head = start
    builder.Bytes[start : start + len(raw)] = raw
    return int(builder.EndVector())


def _scales(builder: flatbuffers.Builder, tensor: Tensor) -> int:
    scale = _numbers(builder, tensor.scale, "<f4")  # type: ignore[arg-type]
    zero_point = _numbers(builder, tensor.zero_point, "<i8")  # type: ignore[arg-type]
    return _table(builder, [_offset(2, scale), _offset(3, zero_point), (6, "int", tensor.axis, 0)])


def _operator_code(builder: flatbuffers.Builder, kind: str, version: int) -> int:
    name, _, custom = kind.partition(":")
    code = OPERATOR_CODES[name]
    slots: list[_Slot] = [
        (0, "byte", min(code, LARGEST_DEPRECATED_CODE), 0),
        (2, "int", version, 1),
        (3, "int", code, 0),
    ]
    if name == CUSTOM:
        slots.append(_offset(1, builder.CreateString(custom)))
    return _table(builder, slots)


def _op(builder: flatbuffers.Builder, number: int, op: Op, codes: Sequence[tuple[str, int]]) -> int:
    if not op.is_known:
        raise ModelError(f"operator {number} {op.kind}: its options are unknown, so it cannot be written")
    slots = [
        (0, "uint", codes.index((op.kind, op.version)), 0),
        _offset(1, _numbers(builder, op.inputs, "<i4")),
        _offset(2, _numbers(builder, op.outputs, "<i4")),
    ]
    if op.intermediates:
        slots.append(_offset(8, _numbers(builder, op.intermediates, "<i4")))
    if op.is_custom:
        slots.append(_offset(5, _bytes(builder, op.options["bytes"], _ALIGNMENT)))  # type: ignore[arg-type]
    elif table := OPTIONS_OF[op.kind].number:
        slots += [(3, "ubyte", table, 0), _offset(4, _options(builder, op))]
    return _table(builder, slots)


def _options(builder: flatbuffers.Builder, op: Op) -> int:
    return _table(
        builder, [_option(builder, item, op.options[item.name]) for item in OPTIONS_OF[op.kind].fields]
    )


def _option(builder: flatbuffers.Builder, item: Field, value: Any) -> _Slot:
    if item.type in ENUMS:
        names = ENUMS[item.type]
        return item.slot, "byte", names.index(value), names.index(str(item.default))
    if item.type in ("ints", "floats"):
        return _offset(
            item.slot, _numbers(builder, value, "<i4" if item.type == "ints" else "<f4") if value else 0
        )
    if item.type == "string":
        return _offset(item.slot, builder.CreateString(value))
    return item.slot, item.type, value, item.default


def _subgraph(builder: flatbuffers.Builder, graph: Graph, tensors: Sequence[int], ops: Sequence[int]) -> int:
    slots = [
        _offset(0, _tables(builder, tensors)),
        _offset(1, _numbers(builder, graph.inputs, "<i4")),
        _offset(2, _numbers(builder, graph.outputs, "<i4")),
        _offset(3, _tables(builder, ops)),
        _offset(4, builder.CreateString("main")),
    ]
    return _table(builder, slots)
