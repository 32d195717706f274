"""Reads the tables of a flatbuffer that nobody trusts.

A flatbuffer is a web of offsets. Each one is checked here before it is followed, so that whatever the
bytes say, the answer is a value or a `ModelError` that names file and place. What the file holds is
given out as views into its bytes; nothing is allocated by what it claims. Because many offsets may point
at the same bytes, or its constants be sparse, a small file could unfold into a huge one: budgets end that.
"""

from __future__ import annotations

import struct
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ModelError

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_I32 = struct.Struct("<i")
_READINGS_OF_A_BYTE = 4  # tables and strings are shared by writers that deduplicate, but not often
_UNFOLDING = 100  # a sparse file is smaller than what it stands for, but not by more than this
_SCALARS = {
    "bool": struct.Struct("<?"),
    "byte": struct.Struct("<b"),
    "ubyte": struct.Struct("<B"),
    "int": _I32,
    "uint": _U32,
    "long": struct.Struct("<q"),
    "ulong": struct.Struct("<Q"),
    "float": struct.Struct("<f"),
}


class Bytes:
    """The bytes of a file, its name for messages, and how much of it may still be read."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name = data, name
        self._budget = 65536 + _READINGS_OF_A_BYTE * len(data)
        self._room = 65536 + _UNFOLDING * len(data)

    def fail(self, where: str, what: str) -> NoReturn:
        raise ModelError(f"{self.name}: {where}: {what}")

    def check(self, where: str, start: int, size: int) -> None:
        """Fail unless bytes `start` to `start + size` lie in the file."""
        if start < 0 or size < 0 or start + size > len(self.data):
            self.fail(where, f"bytes {start} to {start + size} of a file of {len(self.data)}; it is damaged")

    def unpack(self, form: struct.Struct, where: str, start: int) -> Any:
        self.check(where, start, form.size)
        return form.unpack_from(self.data, start)[0]

    def spend(self, where: str, size: int) -> None:
        self._budget -= size
        if self._budget < 0:
            self.fail(where, "the same bytes are used again and again; the file is damaged or hostile")

    def unfold(self, where: str, size: int) -> None:
        """Ask for the room for what stands in the file in a denser way."""
        self._room -= size
        if self._room < 0:
            self.fail(where, f"it unfolds to {size} bytes, too many for a file of {len(self.data)}")

    def offset(self, where: str, start: int) -> int:
        """Follow the offset that stands at `start`."""
        step = self.unpack(_U32, where, start)
        if step == 0:
            self.fail(where, f"the offset at byte {start} is zero; the file is damaged")
        return start + int(step)

    def vector(self, where: str, start: int, item_size: int) -> tuple[int, int]:
        """First byte and length of the vector at `start`."""
        count = int(self.unpack(_U32, where, start))
        self.check(where, start + 4, count * item_size)
        return start + 4, count


def root(source: Bytes, identifier: bytes) -> Table:
    """Open the table that the file starts with."""
    if len(source.data) < 8 or source.data[4:8] != identifier:
        source.fail("byte 4", f"no {identifier.decode()} there; this is not a .tflite file")
    return Table(source, source.offset("the model", 0), "the model")


class Table:
    """One table of the file. `where` names it in messages; a field is asked for by its slot."""

    def __init__(self, source: Bytes, start: int, where: str) -> None:
        self.source, self.start, self.where = source, start, where
        self._vtable = start - source.unpack(_I32, where, start)
        self._vtable_size = source.unpack(_U16, where, self._vtable)
        self._size = source.unpack(_U16, where, self._vtable + 2)
        source.check(where, self._vtable, self._vtable_size)
        source.check(where, start, self._size)
        source.spend(where, self._vtable_size + self._size)

    @property
    def slots(self) -> int:
        """How many slots the table may hold; those beyond are absent."""
        return max(0, int(self._vtable_size) // 2 - 2)

    def fail(self, what: str) -> NoReturn:
        self.source.fail(self.where, what)

    def field(self, slot: int, size: int) -> int | None:
        """Place of a field of `size` bytes, None if it is absent."""
        if slot >= self.slots:
            return None
        offset = int(self.source.unpack(_U16, self.where, self._vtable + 4 + 2 * slot))
        if not offset:
            return None
        if offset < 4 or offset + size > self._size:
            self.fail(f"field {slot} lies outside its table; the file is damaged")
        return self.start + offset

    def scalar(self, slot: int, kind: str, default: Any = 0) -> Any:
        form = _SCALARS[kind]
        place = self.field(slot, form.size)
        return default if place is None else self.source.unpack(form, self.where, place)

    def table(self, slot: int, where: str) -> Table | None:
        place = self.field(slot, 4)
        return None if place is None else Table(self.source, self.source.offset(where, place), where)

    def _vector(self, slot: int, item_size: int) -> tuple[int, int]:
        place = self.field(slot, 4)
        if place is None:
            return 0, 0
        where = f"{self.where}, field {slot}"
        return self.source.vector(where, self.source.offset(where, place), item_size)

    def tables(self, slot: int, noun: str, most: int) -> list[Table]:
        """The tables of a vector of them, called `noun 0`, `noun 1`, ...; at most `most`."""
        start, count = self._vector(slot, 4)
        if count > most:
            self.fail(f"{count} {noun}s, and {most} are the most that edgekit reads")
        places = range(start, start + 4 * count, 4)
        names = [f"{noun} {i}" for i in range(count)]
        return [Table(self.source, self.source.offset(n, p), n) for n, p in zip(names, places, strict=True)]

    def numbers(self, slot: int, dtype: str) -> NDArray[Any]:
        """A vector of numbers, as an own array."""
        kind = np.dtype(dtype)
        start, count = self._vector(slot, kind.itemsize)
        self.source.spend(self.where, count * kind.itemsize)
        return np.frombuffer(self.source.data, kind, count, start).copy() if count else np.zeros(0, kind)

    def blob(self, slot: int) -> memoryview:
        """A vector of bytes, as a view into the file."""
        start, count = self._vector(slot, 1)
        return memoryview(self.source.data)[start : start + count]

    def string(self, slot: int) -> str:
        raw = bytes(self.blob(slot))
        self.source.spend(self.where, len(raw))
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self.fail(f"the text of field {slot} is not UTF-8; the file is damaged")
