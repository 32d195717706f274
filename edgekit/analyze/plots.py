"""The report's pictures, drawn by matplotlib (extra `report`) as SVG that takes its colours from the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

from edgekit.analyze import Line
from edgekit.analyze.forecast import Place
from edgekit.analyze.whatif import Scenario
from edgekit.device import Device
from edgekit.errors import MissingExtraError

# What matplotlib draws with -> what the page's style sheet calls it.
INK, MUTED, GRID = "#010101", "#010102", "#010103"
COLORS = ("#020201", "#020202", "#020203", "#020204", "#020205", "#020206")
_NAMES = {INK: "ink", MUTED: "muted", GRID: "grid"} | {c: f"c{i}" for i, c in enumerate(COLORS, 1)}
WIDTH, HEIGHT = 4.9, 3.4  # inches of 72 points: as wide as a phone, three fit a desktop
TEXT, SMALL = 12, 11  # points: what people read on a phone without bringing it nearer
FAMILIES = ("conv", "depthwise", "fc")


def draw(name: str, paint: Callable[[Any], None], height: float = HEIGHT) -> str:
    """SVG of one pair of axes that `paint` fills. Raises MissingExtraError without matplotlib."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "report") from None
    style: Any = {
        "svg.fonttype": "none", "svg.hashsalt": name, "font.size": TEXT, "text.color": INK,
        "axes.labelcolor": MUTED, "axes.edgecolor": GRID, "xtick.color": MUTED, "ytick.color": MUTED,
        "xtick.labelsize": SMALL, "ytick.labelsize": SMALL, "legend.fontsize": SMALL,
        "grid.color": GRID, "axes.spines.top": False, "axes.spines.right": False,
        "legend.frameon": False, "legend.labelcolor": INK, "axes.axisbelow": True,
    }  # fmt: skip
    with mpl.rc_context(style):
        figure = Figure((WIDTH, height), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        axes.grid(axis="y", linewidth=0.6)
        paint(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _inline(buffer.getvalue(), name)


def _inline(svg: str, name: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font: [^;\"]*?(\d[\d.]*px)[^;\"]*", r"font-size: \1", svg)
    for color, word in _NAMES.items():
        svg = svg.replace(color, f"var(--{word})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1)


def family_colors(families: Sequence[str]) -> dict[str, str]:
    """A colour for each kernel that counts; all others share the last one."""
    return {family: COLORS[FAMILIES.index(family) if family in FAMILIES else 5] for family in families}


def time_by_step(lines: Sequence[Line]) -> str:
    """Microseconds of each step."""
    colors = family_colors([line.kernel for line in lines])

    def paint(axes: Any) -> None:
        for label in (*FAMILIES, "other"):
            mine = [x for x in lines if (x.kernel if x.kernel in FAMILIES else "other") == label]
            if mine:
                steps, times = [x.step for x in mine], [x.time_us or 0 for x in mine]
                axes.bar(steps, times, width=0.8, color=colors[mine[0].kernel], label=label)
        axes.set(xlabel="step", ylabel="µs")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()

    return draw("Time of each step", paint)


def zeros_by_layer(lines: Sequence[Line]) -> str:
    """The share of zeros of each layer with weights."""
    mine = [line for line in lines if line.zeros is not None]
    patterns = list(dict.fromkeys(line.pattern for line in mine))

    def paint(axes: Any) -> None:
        for number, pattern in enumerate(patterns):
            some = [(i, 100 * (x.zeros or 0)) for i, x in enumerate(mine) if x.pattern == pattern]
            axes.bar(*zip(*some, strict=True), width=0.8, color=COLORS[number % 6], label=pattern)
        axes.set(xlabel="layer with weights", ylabel="zero, %", ylim=(0, 100))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(ncols=2, loc="upper left")

    return draw("Zeros of each layer", paint)


def roofline(lines: Sequence[Line], device: Device) -> str | None:
    """What each layer reaches, under what the device's core and its memory allow.

    Layers that were not timed stand where they could at best. None when the device's limits are not known.
    """
    peak, gbps = peak_gmacs(device), device.copy_gbps
    points = [x for x in lines if x.effective_macs and x.moved_bytes and x.kernel in FAMILIES]
    if peak is None or not points:
        return None

    def roof(intensity: float) -> float:
        return min(peak, gbps * intensity) if gbps else peak

    def paint(axes: Any) -> None:
        intensities = [x.effective_macs / x.moved_bytes for x in points]
        low, high = min(*intensities, 1.0) / 2, max(intensities) * 2
        bends = sorted({low, high, min(max(peak / gbps, low), high) if gbps else low})
        axes.plot(bends, [roof(x) for x in bends], color=INK, linewidth=1.2)
        for family in FAMILIES:
            mine = [(i, x) for i, x in zip(intensities, points, strict=True) if x.kernel == family]
            if mine:
                heights = [x.effective_macs / x.time_us / 1e3 if x.time_us else roof(i) for i, x in mine]
                color = family_colors([family])[family]
                axes.scatter([i for i, _ in mine], heights, s=16, color=color, label=family, alpha=0.85)
        axes.set(xscale="log", yscale="log", xlabel="multiply-adds a byte", ylabel="GMAC/s")
        _log_ticks(axes.xaxis, axes.yaxis)
        axes.legend(loc="lower right")

    return draw(f"Roofline of one core, {device.name}", paint)


def _log_ticks(*axes: Any) -> None:
    """1, 2, 5, 10, ... in plain numbers."""
    from matplotlib.ticker import LogLocator

    for axis in axes:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")


def peak_gmacs(device: Device) -> float | None:
    """10^9 multiply-adds a second of one core of the first group: the most that was seen, or declared."""
    seen = device.rates.get(device.isa, {}).get("layers", ())
    if seen:
        return max(float(layer["gmacs"]) for layer in seen if layer["density"] == 1)
    mhz = device.cores[0].max_mhz if device.cores else None
    return device.int8_macs_per_cycle * mhz / 1000 if device.int8_macs_per_cycle and mhz else None


def pareto(places: Sequence[Place], device: str) -> str:
    """Accuracy against latency of models with one task and metric, the front as a line.

    The name of a model stands above it and to the left, where by what a front is no other is.
    """
    best = [place for place in places if place.is_best]
    metric = places[0].metric.replace("_", " ")

    def paint(axes: Any) -> None:
        axes.scatter([p.latency_ms for p in places], [p.accuracy for p in places], s=18, color=MUTED)
        axes.plot([p.latency_ms for p in best], [p.accuracy for p in best], color=COLORS[0], marker="o")
        for place in best:
            name = place.model.partition("/")[2].replace("/", "\n")
            at = (place.latency_ms, place.accuracy)
            axes.annotate(name, at, (-3, 4), textcoords="offset points", fontsize=SMALL, ha="right")
        axes.set(xscale="log", xlabel="ms, predicted", ylabel=metric)
        _log_ticks(axes.xaxis)
        axes.set_xlim(min(p.latency_ms for p in places) / 6, 1.25 * max(p.latency_ms for p in places))
        axes.margins(y=0.25)

    return draw(f"{places[0].task}: the zoo on {device}", paint)


def what_if(
    scenarios: Sequence[Scenario], value: Callable[[Scenario], float | None], title: str, unit: str
) -> str:
    """A value over the sparsity, a line for each pattern; the network as it is as a dashed line."""
    first = value(scenarios[0])
    patterns = list(dict.fromkeys(s.pattern for s in scenarios[1:]))

    def paint(axes: Any) -> None:
        for number, pattern in enumerate(patterns):
            mine = [s for s in scenarios if s.pattern == pattern]
            places, heights = [100 * s.sparsity for s in mine], [value(s) for s in mine]
            axes.plot(places, heights, marker="o", markersize=4, color=COLORS[number], label=pattern)
        if first:
            axes.axhline(first, color=MUTED, linestyle="--", linewidth=1, label="as it is")
        axes.set(xlabel="zero, % of the layers that are pruned", ylabel=unit)
        axes.set_ylim(bottom=0)
        axes.legend()

    return draw(title, paint)
