"""`.tflite` files to graphs and back: the only way by which a network enters edgekit.

`read` trusts nothing: see `flatbuffer` for the bytes and `graph` for what they mean.
`write` is its inverse: `read_bytes(write(graph)) == graph`. What a file may hold beside the network itself
(signatures, metadata, names of dynamic dimensions) plays no part in running it and is not kept. Constants
that are sparse or of 4 bits are unfolded, to int8 the latter, and written so.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ModelError
from edgekit.model.flatbuffer import Bytes, Table, root
from edgekit.model.graph import MAX_RANK, Graph, Op, Tensor
from edgekit.model.schema import (
    CUSTOM,
    DTYPES,
    ENUMS,
    IDENTIFIER,
    INT4,
    OPERATORS,
    OPTIONS_OF,
    VERSION,
    Field,
    Value,
)
from edgekit.model.sparsity import densify
from edgekit.model.writer import write

__all__ = ["Graph", "Op", "Tensor", "read", "read_bytes", "write"]

MAX_FILE_BYTES = 2**31 - 1  # what the offsets of a flatbuffer can reach
MAX_ITEMS = 65536  # tensors, operators or buffers


def read(path: str | Path) -> Graph:
    """Read a `.tflite` file. Raises ModelError, naming file and place, for whatever is wrong with it."""
    path = Path(path)
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise ModelError(f"{path}: not a file; give the path of a .tflite file")
        if info.st_size > MAX_FILE_BYTES:
            raise ModelError(f"{path}: {info.st_size} bytes; a .tflite file has at most {MAX_FILE_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}; give the path of a .tflite file") from error
    except ValueError as error:  # a null byte in it
        raise ModelError(f"{str(path)!r} is no path: {error}") from error
    return read_bytes(data, str(path))


def read_bytes(data: bytes, name: str = "model") -> Graph:
    """Read the bytes of a `.tflite` file, called `name` in messages. Raises ModelError."""
    model = root(Bytes(bytes(data), name), IDENTIFIER)
    if (version := model.scalar(0, "uint")) != VERSION:
        model.fail(f"schema version {version}; edgekit reads version {VERSION}")
    kinds = [_operator_code(table) for table in model.tables(1, "operator code", MAX_ITEMS)]
    buffers = [_buffer(table) for table in model.tables(4, "buffer", MAX_ITEMS)]
    graphs = model.tables(2, "subgraph", MAX_ITEMS)
    if len(graphs) != 1:
        model.fail(f"{len(graphs)} subgraphs; edgekit runs models that have one")
    main = graphs[0]
    tensors = [_tensor(table, buffers) for table in main.tables(0, "tensor", MAX_ITEMS)]
    ops = [_op(table, kinds) for table in main.tables(3, "operator", MAX_ITEMS)]
    inputs, outputs, description = _indices(main, 1), _indices(main, 2), model.string(3)
    ops = _without_densify(tensors, ops)
    try:
        return Graph(tuple(tensors), tuple(ops), inputs, outputs, description)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error


def _indices(table: Table, slot: int) -> tuple[int, ...]:
    return tuple(table.numbers(slot, "<i4").tolist())


def _operator_code(table: Table) -> tuple[str, int]:
    code = max(table.scalar(0, "byte"), table.scalar(3, "int"))
    if not 0 <= code < len(OPERATORS):
        table.fail(f"there is no builtin operator {code}; the file is damaged or newer than edgekit")
    kind = OPERATORS[code]
    if kind == CUSTOM:
        kind = f"{CUSTOM}:{table.string(1)}"
    return kind, table.scalar(2, "int", 1)


def _buffer(table: Table) -> memoryview:
    """The bytes of a buffer, which stand in the flatbuffer or behind it in the same file."""
    offset, size = table.scalar(1, "ulong"), table.scalar(2, "ulong")
    if offset <= 1:
        return table.blob(0)
    table.source.check(table.where, offset, size)
    return memoryview(table.source.data)[offset : offset + size]


def _tensor(table: Table, buffers: Sequence[memoryview]) -> Tensor:
    code, buffer = table.scalar(1, "byte"), table.scalar(2, "uint")
    if buffer >= max(len(buffers), 1):
        table.fail(f"there is no buffer {buffer}, only {len(buffers)}; the file is damaged")
    raw = buffers[buffer] if buffer else memoryview(b"")
    packed = code == INT4 and len(raw) > 0
    if code not in DTYPES and not packed:
        names = ENUMS["TensorType"]
        table.fail(f"type {names[code] if 0 <= code < len(names) else code} is none that edgekit runs")
    if table.scalar(10, "uint"):
        table.fail("external weights; edgekit reads those that stand in the file")
    name, shape, dtype = table.string(3), _indices(table, 0), np.dtype("int8" if packed else DTYPES[code])
    data = _data(table, raw, shape, dtype, packed) if len(raw) else None
    scale, zero_point, axis = _scales(table.table(4, f"{table.where}, quantization"))
    is_variable = table.scalar(5, "bool", False)
    try:
        return Tensor(name, shape, dtype, scale, zero_point, axis, data, is_variable)
    except ModelError as error:
        raise ModelError(f"{table.source.name}: {table.where}: {error}") from error


def _data(
    table: Table, raw: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any], packed: bool
) -> NDArray[Any]:
    """The constant in the tensor's shape: a view of the bytes where they say it plainly."""
    if len(shape) > MAX_RANK or min(shape, default=1) < 0:
        table.fail(f"{len(raw)} bytes for shape {list(shape[:MAX_RANK])}; the file is damaged")
    if sparsity := table.table(6, f"{table.where}, sparsity"):
        if packed:
            table.fail("sparse values of 4 bits; edgekit reads dense ones")
        return densify(sparsity, raw, shape, dtype)
    size = math.prod(shape) * dtype.itemsize
    if len(raw) != (-(-size // 2) if packed else size):
        table.fail(f"{len(raw)} bytes for shape {list(shape)} {dtype}; the file is damaged")
    if packed:
        table.source.unfold(table.where, size)
        return _nibbles(raw)[:size].reshape(shape)
    return np.frombuffer(raw, dtype).reshape(shape)


def _nibbles(raw: memoryview) -> NDArray[np.int8]:
    """Signed numbers of 4 bits, the low ones of each byte first."""
    packed = np.frombuffer(raw, np.int8)
    return np.stack([packed << 4 >> 4, packed >> 4], axis=1).ravel()


def _without_densify(tensors: list[Tensor], ops: list[Op]) -> list[Op]:
    """Operators but for DENSIFY, whose outputs become the constants that their inputs are by now."""
    left = []
    for op in ops:
        ends = [tensors[i] for i in (*op.inputs, *op.outputs) if 0 <= i < len(tensors)]
        is_pair = len(op.inputs) == len(op.outputs) == 1 and len(ends) == 2
        if op.kind != "DENSIFY" or not is_pair or not _are_same(*ends):
            left.append(op)
        else:
            tensors[op.outputs[0]] = replace(ends[1], data=ends[0].data)
    return left


def _are_same(constant: Tensor, result: Tensor) -> bool:
    known = constant.data is not None and result.data is None and not result.is_variable
    return known and (constant.shape, constant.dtype) == (result.shape, result.dtype)


def _scales(table: Table | None) -> tuple[NDArray[np.float32] | None, NDArray[np.int64] | None, int]:
    if table is None:
        return None, None, 0
    if table.scalar(4, "ubyte"):
        table.fail("custom quantisation; edgekit reads scales and zero points")
    scale, zero_point = table.numbers(2, "<f4"), table.numbers(3, "<i8")
    if not len(scale):
        return None, None, 0
    return scale, zero_point if len(zero_point) else None, table.scalar(6, "int")


def _op(table: Table, kinds: Sequence[tuple[str, int]]) -> Op:
    code = table.scalar(0, "uint")
    if code >= len(kinds):
        table.fail(f"there is no operator code {code}, only {len(kinds)}; the file is damaged")
    kind, version = kinds[code]
    table.where += f" {kind}"
    options: dict[str, Value] = {}
    if kind.startswith(CUSTOM + ":"):
        options = {"bytes": _custom_options(table)}
    elif kind in OPTIONS_OF:
        options = _options(table, kind)
    inputs, outputs, between = (_indices(table, slot) for slot in (1, 2, 8))
    try:
        return Op(kind, inputs, outputs, options, version, between)
    except ModelError as error:
        raise ModelError(f"{table.source.name}: {table.where}: {error}") from error


def _custom_options(table: Table) -> bytes:
    if table.scalar(9, "ulong") > 1:
        table.fail("its options stand outside the flatbuffer, which edgekit does not read")
    raw = table.blob(5)
    table.source.spend(table.where, len(raw))
    return bytes(raw)


def _options(table: Table, kind: str) -> dict[str, Value]:
    expected = OPTIONS_OF[kind]
    number = table.scalar(3, "ubyte")
    if number == 0:
        return {}
    if number != expected.number:
        table.fail(f"its options are of type {number}, not {expected.number}; the file is damaged")
    options = table.table(4, f"{table.where}, options")
    if options is None:
        return {}
    known = {item.slot for item in expected.fields}
    for slot in range(options.slots):
        if slot not in known and options.field(slot, 1) is not None and not _is_retired(kind, slot):
            options.fail(f"field {slot} is unknown; the file is newer than edgekit")
    return {item.name: _option(options, item) for item in expected.fields}


def _is_retired(kind: str, slot: int) -> bool:
    return kind == "RESIZE_BILINEAR" and slot < 2


def _option(table: Table, item: Field) -> Value:
    if item.type in ENUMS:
        return _enum(table, item)
    if item.type == "string":
        return table.string(item.slot)
    if item.type in ("ints", "floats"):
        return tuple(table.numbers(item.slot, "<i4" if item.type == "ints" else "<f4").tolist())
    value: Value = table.scalar(item.slot, item.type, item.default)
    return value


def _enum(table: Table, item: Field) -> str:
    names = ENUMS[item.type]
    value = table.scalar(item.slot, "byte", names.index(str(item.default)))
    if not 0 <= value < len(names):
        table.fail(f"{item.name} is {value}; the file is damaged or newer than edgekit")
    return str(names[value])
