"""CONV_2D and DEPTHWISE_CONV_2D in planes, an ADD that follows included."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.model.graph import Op
from edgekit.plan import costs, pack
from edgekit.plan.convolution import Layer, Window, layer_of
from edgekit.plan.fully_connected import clamp, scale_of
from edgekit.plan.layout import QUAD, Form, Margins, Picture, Planes, Value
from edgekit.plan.pack_depthwise import pack_depthwise
from edgekit.plan.pack_runs import Lists, in_runs, join_lists, with_flipped
from edgekit.plan.planner import Places, Planner, read, stored_flip, stored_zero, written
from edgekit.plan.simplify.arithmetic import fixed_point
from edgekit.plan.step import Step

Fields = dict[str, Any]
BIAS, BIAS_BITS = 1.5 * 2**23, 0x4B400000  # a float, and its bits
BIASED_REACH = 2**22  # of sums whose bits are a float's
FITTING_REACH = 2**15 - 512  # of values that fit 16 bits with a zero point
SCALE_BITS = 22
MIN_ADD_SHIFT = 11  # fewer bits of a weight could make an error of more than one
SPARSE = 0.05  # of the quads zero, from where a layer is called so
LARGE = 1 << 19  # weights, of which words are rather made twice than kept
NEAR_BYTES = 32 * 1024  # of what is read again and again, and stays in the first cache
GATHERED_PLANES, GATHERED_FROM = 32, 56 * 1024  # so many, and bytes, crowd each other out of the first cache
GATHERED_READ = 64  # times that a plane must be multiplied, for gathering it to be worth while
LISTS_BYTES = 64 * 1024  # of the channels in a unit: they stay in the second cache while tile follows tile


def convolution(planner: Planner, op: Op) -> bool:
    if not _is_fused(planner, op):
        add_convolution(planner, layer_of(planner.graph, op), planner.add_planes(op.outputs[0]))
    return True


def depthwise(planner: Planner, op: Op) -> bool:
    layer = layer_of(planner.graph, op)
    source, result = layer.source, op.outputs[0]
    if layer.channels != planner.shape(source)[3] or not layer.window.is_plain:
        grouped = replace(layer, stored=layer.stored.transpose(3, 1, 2, 0), axes=(1, 2, 3))
        add_convolution(planner, grouped, planner.add_planes(result))
        return True
    value, out = planner.want_planes(source), planner.add_planes(result)
    planner.layout.want(value, layer.window.margins(planner.shape(source), planner.shape(result)))
    if layer.window.stride_y == 1:
        planner.layout.tie((value, out))

    def emit(places: Places) -> list[Step]:
        sets, weights = pack_depthwise(layer.weights[0], planner.isa)
        window, planes = layer.window, places.of(value)
        start = places.pixel(value) - QUAD * (window.top * planes.pitch + window.left)
        fields = read(places, value) | written(places, out) | _requantised(planner, layer) | {
            "input": start, "planes": places.of(out).planes, "window_height": window.height,
            "window_width": window.width, "stride": window.stride_y, "sets": sets, "weights": weights,
        }  # fmt: skip
        if _bias_sums(planner, layer):
            fields |= _biased(fields)
        return [Step("depthwise", fields, window.words)]

    planner.node((value,), (out,), emit)
    return True


def add_convolution(
    planner: Planner, layer: Layer, out: Value, residual: Fields | None = None, label: str = ""
) -> None:
    """Plan a layer whose output is in planes; `label` stands before the note of its step."""
    window, source = layer.window, layer.source
    picture = planner.layout.pictures[out]
    if window.stride_y == window.stride_x == 1:
        value = planner.want_planes(source)
        margins = window.margins(planner.shape(source), (picture.images, picture.height, picture.width))
        planner.layout.want(value, margins, window.reach_x - 1)
    else:
        form = Form(window.stride_y, window.stride_x, window.top, window.left, window.phases)
        rows = picture.height + (window.reach_y - 1) // window.stride_y
        columns = picture.width + (window.reach_x - 1) // window.stride_x
        value = planner.want_phases(source, form, rows, columns)
        planner.layout.want(value, Margins(), (window.reach_x - 1) // window.stride_x)
    other = residual["other"] if residual else None
    planner.layout.tie((value, out) if other is None else (value, out, other))
    if _is_planar(planner, layer, planner.layout.pictures[value]):
        value = planner.want_spread(value)
    reads = (value,) if other is None else (value, other)
    rank = planner.ranks.get(planner.number, 0)
    work = _Convolution(planner, layer, value, out, residual, rank, label)
    planner.node(reads, (out,), work.emit)


def _is_planar(planner: Planner, layer: Layer, picture: Picture) -> bool:
    """Whether the layer's zeros stand so much alone that spreading its input to planes of a channel pays."""
    is_grouped = layer.stored.shape[3] != planner.shape(layer.source)[3]
    if not costs.UNITS[planner.isa].planar or is_grouped:
        return False
    nonzero, quads = [], []
    for _, part in layer.parts():
        if part.min() < -128 or part.max() > 127:
            return False
        nonzero.append(np.count_nonzero(part, axis=(1, 2, 3)))
        quads.append(pack.quads_of(part).any(axis=2))
    pixels = picture.images * picture.height * picture.width
    planar = costs.choose_planar(planner.isa, np.concatenate(nonzero), picture.planes, pixels)
    counts = costs.count_entries(planner.isa, [np.concatenate(quads)])
    shape = picture.images, picture.height, picture.width
    others = costs.choose(planner.isa, counts, layer.channels, pixels, shape, picture.planes)
    return planar[0].cycles < others[0].cycles


class _Words:
    """The weights of a layer as words: some outputs after another, with the number of the first of these.

    Those of large layers are made anew each time, as all of them at once would take much memory.
    """

    def __init__(self, layer: Layer, isa: str, shift: NDArray[np.int64]) -> None:
        self._layer, self._isa, self._shift = layer, isa, shift
        self._kept = None if layer.stored.size > LARGE else list(self._made())

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.int32]]]:
        return self._made() if self._kept is None else iter(self._kept)

    def _made(self) -> Iterator[tuple[int, NDArray[np.int32]]]:
        isa, room = self._isa, int(self._shift.max())
        evenly = 2 * max(4, *costs.UNITS[isa].kernels)  # an even number of groups for every kernel
        for some, part in self._layer.parts(evenly):
            quads = pack.quads_of(pack.align_groups(part, self._shift[some], room))
            least = -127 if isa == "neon" else -128
            yield some.start, pack.words_of(quads, narrow_pairs=isa == "avx2", least=least)


@dataclass(frozen=True, eq=False)
class _Packed:
    """The entries of a layer as fields; which share of its weights, or quads of them, is zero, which kernels
    could be had, which it got; what inverted bytes add to each bias.
    """

    zeros: float
    choices: list[costs.Choice]
    best: costs.Choice
    fields: Fields
    owed: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))


@dataclass(frozen=True, eq=False)
class _Convolution:
    """What is known of a convolution before its places are."""

    planner: Planner
    layer: Layer
    value: Value
    out: Value
    residual: Fields | None
    rank: int
    label: str

    def emit(self, places: Places) -> list[Step]:
        planner, planes = self.planner, places.of(self.out)
        channels = planes.planes * QUAD
        lists = (self._planar if self.value.form.spread else self._quads)(places, channels)
        inputs = places.of(self.value).planes
        fields = self._fields(places, channels) | _tiles(planner, planes, inputs, channels, lists)
        fields |= lists.fields
        if lists.owed.size:
            fields["bias"] = fields["bias"] + lists.owed
        return [Step("conv", fields, self.label + _note(self.layer, lists))]

    def _quads(self, places: Places, channels: int) -> _Packed:
        isa, layer = self.planner.isa, self.layer
        first, shift = self._groups(channels)
        words = _Words(layer, isa, shift)
        counts = costs.count_entries(isa, (_used(part) for _, part in words))
        choices = self._choices(places, counts, first)
        best = self._ranked(choices)
        is_short = counts[best.group] * best.group < costs.SHORT_LIST * channels
        stride, offsets, gathered = self._offsets(places, best, 0 if is_short else counts[best.group], shift)
        apart = costs.UNITS[isa].kernels[best.group].strip > 0
        parts, used = [], 0
        for start, part in words:
            some = slice(start, min(start + len(part), channels))
            count = some.stop - start
            entries = pack.pack_entries(part, first[some] * stride, offsets, best.group, count, apart=apart)
            parts.append(_in_lists(entries, isa, is_short=is_short))
            used += int(np.count_nonzero(part.any(axis=2)))  # split ones have two words
        lists = join_lists(parts, channels // best.group)
        zeros = 1 - used / (layer.channels * len(offsets))
        return _Packed(zeros, choices, best, lists.fields | gathered, lists.owed)

    def _groups(self, channels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each output the first plane of its group of inputs, and where in that the group starts."""
        inputs = self.layer.stored.shape[3]
        groups = self.planner.shape(self.layer.source)[3] // inputs
        first, shift = pack.group_starts(self.layer.channels, groups, inputs)
        return np.pad(first, (0, channels - len(first)), "edge"), shift

    def _choices(
        self, places: Places, counts: dict[int, int], first: NDArray[np.int64]
    ) -> list[costs.Choice]:
        out, inputs = places.of(self.out), places.of(self.value).planes
        shape = out.images, out.height, out.width
        could = costs.choose(self.planner.isa, counts, self.layer.channels, out.pixels, shape, inputs)
        return [c for c in could if len(first) % c.group == 0 and _fits(first, c.group)]

    def _offsets(
        self, places: Places, best: costs.Choice, entries: int, shift: NDArray[np.int64]
    ) -> tuple[int, NDArray[np.int64], Fields]:
        """Of what a tile reads: the bytes from plane to plane, the place of each quad, and the fields of
        gathered input, which may be worth while for so many entries in runs.
        """
        planes = places.of(self.value)
        plane, pixel = _taps(self.layer.window, places, self.value)
        gathered = _gathered(self.planner, planes, best.tile, entries * best.group, pixel)
        stride = gathered.get("gathered", planes.stride)
        depth = self.layer.stored.shape[3] + int(shift.max())
        quads = np.arange(-(-depth // QUAD)) * stride
        return stride, ((plane * stride + QUAD * pixel)[:, None] + quads).reshape(-1), gathered

    def _planar(self, places: Places, channels: int) -> _Packed:
        layer, planes = self.layer, places.of(self.value)
        plane, pixel = _taps(layer.window, places, self.value)
        stride, inputs = planes.stride // QUAD, layer.stored.shape[3]
        offsets = (QUAD * plane * stride + pixel)[:, None] + np.arange(inputs) * stride
        used = (layer.stored != layer.weight_zero).reshape(layer.channels, -1)
        pixels = places.of(self.out).pixels
        choices = costs.choose_planar(self.planner.isa, used.sum(axis=1), planes.planes, pixels)
        parts = [
            pack.pack_planar(part.reshape(len(part), -1), offsets.reshape(-1)) for _, part in layer.parts()
        ]
        entries = pack.join_entries(parts, channels)
        fields = entries.fields | {"planar": 1}
        return _Packed(1 - float(used.mean()), choices, self._ranked(choices), fields)

    def _ranked(self, choices: list[costs.Choice]) -> costs.Choice:
        return choices[min(max(self.rank, 0), len(choices) - 1)]

    def _fields(self, places: Places, channels: int) -> Fields:
        fields = read(places, self.value) | written(places, self.out)
        del fields["input_period"]
        fields |= _requantised(self.planner, self.layer, channels)
        if _bias_sums(self.planner, self.layer):
            fields |= _biased(fields)
        return fields | _residual(places, self.residual) if self.residual else fields


def _gathered(planner: Planner, planes: Planes, tile: int, words: int, pixel: NDArray[np.int64]) -> Fields:
    """The fields of input that a tile gathers, if that is worth while for so many words of weights.

    `pixel` is that of each tap.
    """
    unit = costs.UNITS[planner.isa]
    before, behind = QUAD * max(0, -int(pixel.min())), QUAD * max(0, int(pixel.max()))
    size = QUAD * unit.pixels * (tile + -(-(before + behind) // (QUAD * unit.pixels)))
    is_far = planes.planes >= GATHERED_PLANES and planes.planes * planes.stride >= GATHERED_FROM
    if not is_far or words < GATHERED_READ * planes.planes or size * planes.planes > unit.gathered:
        return {}
    return {"gathered": size, "gathered_planes": planes.planes, "gathered_before": before}


def _used(words: NDArray[np.int32]) -> NDArray[np.bool_]:
    return np.asarray(words != 0).reshape(len(words), -1)


def _fits(starts: NDArray[np.int64], group: int) -> bool:
    """Whether the outputs of each group read the same inputs."""
    return bool(np.all(starts.reshape(-1, group) == starts[::group, None]))


def _tiles(planner: Planner, planes: Planes, inputs: int, channels: int, lists: _Packed) -> Fields:
    best = lists.best
    vector = costs.UNITS[planner.isa].pixels * (QUAD if best.is_planar else 1)
    tile = best.tile * (1 if "gathered" in lists.fields else _abreast(planner, best, inputs))
    tiles = -(-planes.pixels // (vector * tile))
    pieces = max(1, -(-lists.fields["entries"].nbytes // LISTS_BYTES))
    if planner.threads > 1 and tiles * pieces < 4 * planner.threads:
        pieces = -(-4 * planner.threads // tiles)
    block = _block(channels, max(8, best.group), pieces)
    return {"channels": channels, "group": best.group, "vector": vector, "tile": tile, "block": block}


def _abreast(planner: Planner, best: costs.Choice, inputs: int) -> int:
    """Tiles in a unit: several where what they read of that many planes stays in the first cache."""
    unit = costs.UNITS[planner.isa]
    together = 1 if best.is_planar else unit.kernels[best.group].abreast
    tile_bytes = QUAD * unit.pixels * best.tile * inputs
    return together if together * tile_bytes <= NEAR_BYTES else 1


def _in_lists(entries: pack.Entries, isa: str, *, is_short: bool) -> Lists:
    if (isa != "avx2" or is_short) and not (isa == "neon" and entries.group == 1):
        return Lists(entries)
    if isa != "avx2" or entries.group > QUAD:
        return Lists(*in_runs(entries, isa))
    return with_flipped(entries)


def _note(layer: Layer, lists: _Packed) -> str:
    best, zero = lists.best, f"{lists.zeros:.0%} of"
    if best.is_planar:
        return f"{layer.window.words}, sparse, planar, {best.tile} vectors a tile, {zero} weights zero"
    kind = "sparse 1x4" if best.group == 1 and lists.zeros >= SPARSE else f"dense {best.group}x4"
    others = {choice.group: choice.cycles for choice in reversed(lists.choices) if choice.group != best.group}
    against = ", ".join(f"{g}x4 {cycles / best.cycles:.2f}x the time" for g, cycles in sorted(others.items()))
    words = f"{layer.window.words}, {kind}, {best.tile} vectors a tile, {zero} quads zero"
    return f"{words}; {against}" if against else words


def _block(channels: int, least: int, pieces: int) -> int:
    """Output channels in a unit, for about so many units a tile; a multiple of `least`."""
    return max(least, -(-channels // (least * pieces)) * least)


def _taps(window: Window, places: Places, value: Value) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each tap of a window the plane of its first quad, and its pixel, from output pixel 0's."""
    form, planes = value.form, places.of(value)
    y = np.arange(window.height) * window.dilation_y
    x = np.arange(window.width) * window.dilation_x
    if form.step_y * form.step_x == 1:
        plane = np.zeros((len(y), len(x)), np.int64)
        pixel = (y[:, None] - window.top) * planes.pitch + x - window.left
    else:
        phase = y[:, None] % form.step_y * form.step_x + x % form.step_x
        present = [bit for bit in range(form.step_y * form.step_x) if form.wanted >> bit & 1]
        plane = np.searchsorted(present, phase) * (planes.planes // len(present))
        pixel = y[:, None] // form.step_y * planes.pitch + x // form.step_x
    return plane.reshape(-1), pixel.reshape(-1)


def _bias_sums(planner: Planner, layer: Layer) -> bool:
    """Whether sums may be read as the bits of floats: they stay small, and biased zero points are floats."""
    low, high = layer.reach(stored_flip(planner.isa))
    small = low.min() >= -BIASED_REACH and high.max() < BIASED_REACH
    return not planner.exact and bool(small) and bool(layer.multiplier.max() <= 1)


def _biased(fields: Fields) -> Fields:
    """Fields that save the kernel a conversion: see `biased` in native/ops_conv.h."""
    zero_point = fields["zero_point"] - fields["scale"].astype(np.float64) * BIAS
    return {
        "biased": 1, "bias": fields["bias"] + np.int32(BIAS_BITS),
        "biased_zero_point": zero_point.astype(np.float32),
    }  # fmt: skip


def short_scale(scale: NDArray[np.float64]) -> NDArray[np.float32]:
    """Scales in float32 with two bits to spare: 1.5 * 2^23 of them and 255 more are floats too."""
    mantissa, exponent = np.frexp(scale)
    rounded = np.rint(np.ldexp(mantissa, SCALE_BITS))
    return np.asarray(np.ldexp(rounded, exponent - SCALE_BITS), np.float32)


def _requantised(planner: Planner, layer: Layer, channels: int | None = None) -> Fields:
    """The fields of EK_REQUANTISE for that many channels; the bias takes in the zero point."""
    flip = stored_flip(planner.isa)
    outputs = layer.channels
    channels = channels or -(-outputs // QUAD) * QUAD
    bias = layer.bias - (layer.zero_in + flip) * layer.sums
    fields: Fields = {
        "zero_point": layer.zero_out + flip, "low": layer.low + flip, "high": layer.high + flip,
        "bias": _filled(bias, channels, np.int32),
        "scale": _filled(short_scale(layer.multiplier), channels, np.float32),
        "fits16": bool(np.max(np.abs(layer.reach(flip)) * layer.multiplier) < FITTING_REACH),
    }  # fmt: skip
    if planner.exact:
        pairs = np.array([fixed_point(float(m)) for m in layer.multiplier], np.int32)
        fields |= {
            "exact": 1, "multiplier": _filled(pairs[:, 0], channels, np.int32),
            "shift": _filled(pairs[:, 1], channels, np.int32),
        }  # fmt: skip
    return fields


def _filled(vector: NDArray[Any], size: int, dtype: type[np.generic]) -> NDArray[Any]:
    whole = np.zeros(size, dtype)
    whole[: len(vector)] = vector
    return whole


def add_weights(planner: Planner, op: Op, own: int, other: int) -> Fields | None:
    """The whole weights of z = (own * a + other * b + bias) >> shift; None if they would be too coarse."""
    result = planner.graph.tensors[op.outputs[0]]
    factors = [scale_of(planner.graph.tensors[i]) / scale_of(result) for i in (own, other)]
    if op.kind == "SUB":
        factors[1 if op.inputs[1] == other else 0] *= -1
    shift = min(22, 14 - max(math.frexp(abs(f))[1] for f in factors))
    if shift < MIN_ADD_SHIFT:
        return None
    weights = [round(f * 2**shift) for f in factors]
    zeros = [stored_zero(planner, i) for i in (own, other)]
    bias = (stored_zero(planner, op.outputs[0]) << shift) + (1 << (shift - 1))
    bias -= sum(w * z for w, z in zip(weights, zeros, strict=True))
    low, high = clamp(str(op.options["fused_activation_function"]), result)
    flip = stored_flip(planner.isa)
    return {"weights": weights, "bias": bias, "shift": shift, "low": low + flip, "high": high + flip}


def _residual(places: Places, residual: Fields) -> Fields:
    other = residual["other"]
    return {
        "has_residual": 1, "residual": places.pixel(other), "residual_stride": places.of(other).stride,
        "residual_own": residual["weights"][0], "residual_other": residual["weights"][1],
        "residual_bias": residual["bias"], "residual_shift": residual["shift"],
        "residual_low": residual["low"], "residual_high": residual["high"],
        "residual_zero_point": residual["zero_point"],
    }  # fmt: skip


def fused_convolution(planner: Planner, op: Op) -> Op | None:
    """The convolution that takes this ADD into its stores: the later one of those that nobody else reads."""
    if planner.exact or len(op.inputs) != 2 or op.kind not in ("ADD", "SUB"):
        return None
    first, second = op.inputs
    if first == second or planner.shape(first) != planner.shape(second) or len(planner.shape(first)) != 4:
        return None
    numbers = [planner.producer.get(i, -1) for i in (first, second) if planner.readers[i] == 1]
    fitting = [n for n in numbers if n >= 0 and planner.graph.ops[n].kind == "CONV_2D"]
    if not fitting or planner.is_constant(first) or planner.is_constant(second):
        return None
    return planner.graph.ops[max(fitting)] if add_weights(planner, op, first, second) else None


def _is_fused(planner: Planner, op: Op) -> bool:
    reader = planner.reader.get(op.outputs[0])
    return reader is not None and fused_convolution(planner, planner.graph.ops[reader]) is op


def add_into_convolution(planner: Planner, op: Op, convolution: Op) -> None:
    own = convolution.outputs[0]
    other = op.inputs[0] if op.inputs[1] == own else op.inputs[1]
    weights = add_weights(planner, op, own, other)
    assert weights is not None  # noqa: S101  what can be fused has weights
    layer = layer_of(planner.graph, convolution)
    weights |= {"other": planner.want_planes(other), "zero_point": stored_zero(planner, op.outputs[0])}
    add_convolution(planner, layer, planner.add_planes(op.outputs[0]), weights)
