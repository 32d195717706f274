"""Routes the operators of a graph: what the planner knows, and how tensors change their form.

Convolutions and what stands between them work in planes (see native/ek.h), everything else on plain
tensors. A tensor is brought into the form that a reader wants the first time it is wanted.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Graph
from edgekit.plan.layout import PLAIN, PLANES, QUAD, Form, Layout, Picture, Planes, Value
from edgekit.plan.pieces import pieces
from edgekit.plan.step import Step

BY_SIXTEEN = ("avx2", "avxvnni")  # levels whose vectors look up 16 entries at a time
MAX_SPLIT = 32  # phases of planes that can be told apart
FAULTS = Value(-1 - 2**31, PLAIN)  # memory of its own that all operators which can fail share
Function = tuple[int, NDArray[np.uint8]]  # of the bytes of which tensor, and its table


@dataclass(frozen=True)
class Places:
    """Where values stand in the arena."""

    buffers: dict[Value, int]
    planes: dict[Value, Planes]

    def plain(self, tensor: int) -> int:
        return self.buffers[Value(tensor, PLAIN)]

    def of(self, value: Value) -> Planes:
        return self.planes[value]

    def pixel(self, value: Value) -> int:
        """Place of the first pixel of the first plane."""
        planes = self.planes[value]
        return self.buffers[value] + (planes.before if value.form.spread else planes.base)


@dataclass(frozen=True, eq=False)
class Node:
    """What will be some steps: the values that it reads and writes, and how it makes them."""

    number: int  # of the operator in the graph; -1 for a change of form
    reads: tuple[Value, ...]
    writes: tuple[Value, ...]
    emit: Callable[[Places], list[Step]]


class Planner:
    """Routes the operators of one graph."""

    def __init__(
        self, graph: Graph, isa: str, *, exact: bool, threads: int, ranks: Mapping[int, int]
    ) -> None:
        """`ranks` says for operators, by number, to take the kernel that many places behind the best."""
        self.graph, self.isa, self.exact, self.threads, self.ranks = graph, isa, exact, threads, ranks
        self.layout = Layout()
        self.nodes: list[Node] = []
        self.made: set[Value] = {Value(i, PLAIN) for i in graph.inputs}
        self.shared: dict[Value, Value] = {}  # plain values that are the bytes of another
        self.readers = Counter(i for op in graph.ops for i in op.inputs) + Counter(graph.outputs)
        self.producer = {i: number for number, op in enumerate(graph.ops) for i in op.outputs}
        self.reader = {i: n for n, op in enumerate(graph.ops) for i in op.inputs if self.readers[i] == 1}
        self.functions: dict[int, Function] = {}  # tensors that are functions of the bytes of another
        self.scratch: dict[Value, int] = {}  # bytes that an operator needs while it runs
        self.number = -1

    # What routes use

    def shape(self, tensor: int) -> tuple[int, ...]:
        return self.graph.tensors[tensor].shape

    def is_constant(self, tensor: int) -> bool:
        return self.graph.tensors[tensor].data is not None

    def has_planes(self, tensor: int) -> bool:
        """Whether it is in planes, or a function of what is."""
        return Value(tensor, PLANES) in self.made or tensor in self.functions

    def picture(self, tensor: int) -> Picture:
        images, height, width, channels = self.shape(tensor)
        return Picture(images, height, width, -(-channels // QUAD))

    def add_planes(self, tensor: int) -> Value:
        """Say that the tensor will exist in planes."""
        value = Value(tensor, PLANES)
        self.layout.add(value, self.picture(tensor))
        return value

    def add_slice(self, whole: Value, number: int, picture: Picture) -> Value:
        """Say that a slice of a value in planes will be written by itself; a value's slices have numbers."""
        value = Value(whole.tensor, PLANES._replace(top=1 + number))
        self.layout.add(value, picture)
        return value

    def node(
        self, reads: tuple[Value, ...], writes: tuple[Value, ...], emit: Callable[[Places], list[Step]]
    ) -> None:
        self.nodes.append(Node(self.number, reads, writes, emit))
        self.made.update(writes)

    def add_scratch(self, size_bytes: int) -> Value:
        """Memory for the operator that is being routed; it has the number of no tensor."""
        value = Value(-1 - self.number, PLAIN)
        self.scratch[value] = size_bytes
        return value

    def add_faults(self) -> Value:
        """Where operators say that the numbers which they were given are wrong."""
        self.scratch[FAULTS] = 4
        return FAULTS

    def size_bytes(self, value: Value) -> int:
        """Of a plain value or of scratch memory."""
        return self.scratch[value] if value in self.scratch else self.graph.tensors[value.tensor].size_bytes

    def share(self, value: Value, other: Value) -> None:
        """Say that a plain value is the bytes of another."""
        self.shared[value] = other
        self.made.add(value)

    def storage(self, value: Value) -> Value:
        """The value that holds the memory of this one."""
        while value in self.shared:
            value = self.shared[value]
        return value if value.form == PLAIN else self.layout.whole(value)[0]

    def want_plain(self, tensor: int) -> Value:
        value = Value(tensor, PLAIN)
        if value not in self.made:
            self._unpack(self.want_planes(tensor), value)
        return value

    def want_planes(self, tensor: int) -> Value:
        value = Value(tensor, PLANES)
        if value not in self.made and tensor in self.functions:
            return self._compute(tensor)
        if value not in self.made:
            self._pack(self.add_planes(tensor), PLANES)
        return value

    def want_spread(self, source: Value) -> Value:
        """What is in planes of quads, in planes of one channel: the same picture, to the same pitch."""
        value = Value(source.tensor, source.form._replace(spread=True))
        if value not in self.made:
            self.layout.add(value, self.layout.pictures[source])
            self.layout.tie((source, value))
            self._spread(source, value)
        return value

    def want_phases(self, tensor: int, form: Form, height: int, width: int) -> Value:
        """The tensor taken apart, each phase at least that large."""
        if self.has_planes(tensor):
            self.want_planes(tensor)
        if form.step_y * form.step_x > MAX_SPLIT:
            self.want_plain(tensor)
        if not self.splits(tensor, form):
            form = form._replace(wanted=(1 << form.step_y * form.step_x) - 1)
        value = Value(tensor, form)
        if value not in self.made:
            picture = self.picture(tensor)
            planes = picture.planes * form.wanted.bit_count()
            self.layout.add(value, Picture(picture.images, height, width, planes))
            self._split(value, form) if self.splits(tensor, form) else self._pack(value, form)
        picture = self.layout.pictures[value]
        picture.height, picture.width = max(picture.height, height), max(picture.width, width)
        return value

    def splits(self, tensor: int, form: Form) -> bool:
        """Whether the phases are made from planes, and not from the plain tensor."""
        return self.has_planes(tensor) and form.step_y * form.step_x <= MAX_SPLIT

    # Changes of form

    def _compute(self, tensor: int) -> Value:
        """Compute a function of bytes that is wanted as a picture."""
        root, entries = self.functions[tensor]
        value, out = self.want_planes(root), self.add_planes(tensor)
        self.layout.tie((value, out))
        self.node((value,), (out,), lambda places: [look_up(self, places, value, out, entries)])
        return out

    def _pack(self, value: Value, form: Form) -> None:
        tensor, number, self.number = value.tensor, self.number, -1
        source, flip = self._bytes_of(tensor)

        def emit(places: Places) -> list[Step]:
            _, rows, columns, channels = self.shape(tensor)
            fields = {
                "input": places.buffers[source], "rows": rows, "columns": columns, "channels": channels,
                "step_y": form.step_y, "step_x": form.step_x, "top": form.top, "left": form.left,
                "flip": flip, "zero_point": stored_zero(self, tensor),
            } | written(places, value)  # fmt: skip
            return [Step("pack_planes", fields)]

        self.node((source,), (value,), emit)
        self.number = number

    def _bytes_of(self, tensor: int) -> tuple[Value, int]:
        """A plain value that holds the tensor but for a flip of the highest bit."""
        flip = 0x80 if stored_flip(self.isa) else 0
        op = self.graph.ops[self.producer[tensor]] if tensor in self.producer else None
        if op and op.kind == "QUANTIZE" and Value(tensor, PLAIN) not in self.made:
            return Value(op.inputs[0], PLAIN), flip ^ 0x80
        return self.want_plain(tensor), flip

    def _unpack(self, value: Value, result: Value) -> None:
        number, self.number = self.number, -1

        def emit(places: Places) -> list[Step]:
            planes, (*_, channels) = places.of(value), self.shape(value.tensor)
            fields: dict[str, Any] = {
                "input": places.pixel(value), "input_stride": planes.stride, "input_pitch": planes.pitch,
                "images": planes.images, "height": planes.height, "width": planes.width,
                "period": planes.period, "output": places.buffers[result], "channels": channels,
                "row_bytes": channels, "flip": 0x80 if stored_flip(self.isa) else 0,
            }  # fmt: skip
            return [Step("unpack_planes", fields)]

        self.node((value,), (result,), emit)
        self.number = number

    def _spread(self, source: Value, value: Value) -> None:
        number, self.number = self.number, -1

        def emit(places: Places) -> list[Step]:
            planes, spread = places.of(source), places.of(value)
            fields: dict[str, Any] = {
                "input": places.pixel(source) - QUAD * spread.before, "input_stride": planes.stride,
                "output": places.pixel(value) - spread.before, "output_stride": spread.stride // QUAD,
                "planes": planes.planes, "pixels": spread.before + spread.pixels + spread.after,
            }  # fmt: skip
            return [Step("spread_planes", fields)]

        self.node((source,), (value,), emit)
        self.number = number

    def _split(self, value: Value, form: Form) -> None:
        source, number, self.number = Value(value.tensor, PLANES), self.number, -1

        def emit(places: Places) -> list[Step]:
            _, rows, columns, _ = self.shape(value.tensor)
            fields = {
                "rows": rows, "columns": columns, "planes": places.of(source).planes, "step_y": form.step_y,
                "step_x": form.step_x, "top": form.top, "left": form.left, "phases": form.wanted,
                "zero_point": stored_zero(self, value.tensor),
            } | read(places, source) | written(places, value)  # fmt: skip
            return [Step("split_phases", fields)]

        self.node((source,), (value,), emit)
        self.number = number


def stored_flip(isa: str) -> int:
    """What is added to an int8 value where it is stored in planes: EK_FLIP of native/ek.h.

    The scalar kernels, which every machine has, store as its other kernels do.
    """
    on_x86 = platform.machine() in ("x86_64", "AMD64") if isa == "scalar" else not isa.startswith("neon")
    return 128 if on_x86 else 0


def stored_zero(planner: Planner, tensor: int) -> int:
    points = planner.graph.tensors[tensor].zero_point
    return (0 if points is None else int(points[0])) + stored_flip(planner.isa)


def read(places: Places, value: Value) -> dict[str, Any]:
    """The fields by which a kernel on planes reads a value."""
    planes = places.of(value)
    return {
        "input": places.pixel(value), "input_stride": planes.stride, "input_pitch": planes.pitch,
        "input_period": planes.period,
    }  # fmt: skip


def written(places: Places, value: Value) -> dict[str, Any]:
    """The fields by which a kernel on planes writes a value."""
    planes = places.of(value)
    return {
        "output": places.pixel(value), "output_stride": planes.stride, "output_pitch": planes.pitch,
        "images": planes.images, "height": planes.height, "width": planes.width, "period": planes.period,
        "before": planes.before, "after": planes.after,
    }  # fmt: skip


def look_up(
    planner: Planner, places: Places, value: Value, out: Value, entries: NDArray[np.uint8] | None
) -> Step:
    """Bytes through a table, or as they are."""
    fields = read(places, value) | written(places, out)
    del fields["input_period"]
    fields |= {"planes": places.of(out).planes, "zero_point": stored_zero(planner, out.tensor)}
    if entries is not None:
        fields["table"] = stored_table(entries, stored_flip(planner.isa))
        if planner.isa in BY_SIXTEEN:
            fields["pieces"] = pieces(fields["table"])
    return Step("lut_planes", fields)


def stored_table(entries: NDArray[np.uint8], flip: int) -> NDArray[np.uint8]:
    """A table of int8 by int8, both taken as unsigned bytes, as one of stored bytes."""
    return np.ascontiguousarray(np.roll(entries, -128) ^ 0x80) if flip else entries
