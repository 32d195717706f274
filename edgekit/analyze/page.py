"""The report as one HTML file: no script, nothing loaded from elsewhere, light or dark as its reader is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from edgekit import __version__
from edgekit.analyze import Line, Report, plots
from edgekit.analyze.compare import COLUMNS as COMPARISON_COLUMNS
from edgekit.analyze.compare import Comparison
from edgekit.analyze.forecast import Forecast, Place
from edgekit.analyze.whatif import COLUMNS as SCENARIO_COLUMNS
from edgekit.analyze.whatif import Scenario, how_spread
from edgekit.device import Device
from edgekit.latency import ms_text

MOST_LABELS = 3  # that are named above a plot


@dataclass(frozen=True)
class Findings:
    """All that a report may hold; `zoo` and `forecasts` are by the names of the devices."""

    report: Report
    file_bytes: int
    here: Device
    devices: Sequence[Device] = ()
    forecasts: Sequence[Forecast] = ()
    zoo: Sequence[Sequence[Place]] = ()
    scenarios: Sequence[Scenario] = ()
    comparisons: Sequence[Comparison] = ()


def render(found: Findings) -> str:
    """The page. Raises MissingExtraError without matplotlib."""
    title = escape(found.report.title)
    style = files("edgekit.analyze").joinpath("page.css").read_text(encoding="utf-8")
    parts = [
        _head(found), _layers_in_plots(found), _devices(found), *_what_if(found), _comparison(found),
        _layers(found.report),
    ]  # fmt: skip
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + f"\n<footer>edgekit {__version__}. Predicted figures come from the plan and the profile of a "
        "device; modelled ones rest on nothing that was measured there.</footer>\n</body>\n</html>\n"
    )


def _head(found: Findings) -> str:
    report = found.report
    macs, effective = (sum(getattr(x, key) for x in report.lines) for key in ("macs", "effective_macs"))
    weighted = [x for x in report.lines if x.zeros is not None]
    facts = [
        ("steps", str(len(report.lines))),
        ("multiply-adds, dense", f"{macs / 1e6:.1f} M"),
        ("without zeros", f"{effective / 1e6:.1f} M"),
        ("layers with weights", str(len(weighted))),
        ("file", _size(found.file_bytes)),
        ("weights, packed", _size(report.constant_bytes)),
        ("arena", _size(report.arena_bytes)),
    ]
    if report.total_us:
        facts.insert(0, ("here, measured", f"{report.total_us / 1000:.3f} ms"))
        facts.append(("speed as if dense", f"{macs / report.total_us / 1000:.0f} GMAC/s"))
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return f'<h1>{escape(report.title)}</h1>\n<dl class="facts">{cells}</dl>'


def _size(count: int) -> str:
    return f"{count / 2**20:.2f} MB" if count >= 2**20 else f"{count / 1024:.0f} kB"


def _layers_in_plots(found: Findings) -> str:
    lines = found.report.lines
    drawn: list[tuple[str, str | None]] = []
    if found.report.total_us:
        drawn.append(("Time of each step on this machine, by kernel", plots.time_by_step(lines)))
    if any(line.zeros is not None for line in lines):
        drawn.append(("Zeros of each layer, by how they lie", plots.zeros_by_layer(lines)))
    if found.report.total_us:
        caption = "Roofline: what layers reach here, below the fastest dense layer and copies of memory"
        drawn.append((caption, plots.roofline(lines, found.here)))
    untimed = [Line(**{**vars(line), "time_us": None}) for line in lines]
    for device in found.devices:
        caption = f"Roofline: what layers could reach on one core of {device.name}"
        drawn.append((caption, plots.roofline(untimed, device)))
    return f"<h2>Layers</h2>\n{_figures(drawn)}"


def _figures(drawn: Iterable[tuple[str, str | None]]) -> str:
    shown = "".join(
        f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>\n" for caption, svg in drawn if svg
    )
    return f'<div class="plots">\n{shown}</div>'


def _devices(found: Findings) -> str:
    if not found.devices:
        return ""
    rows = [
        [
            d.title, d.isa, ms_text(told.latency_ms),
            f"{ms_text(told.low_ms)}-{ms_text(told.high_ms)}", told.tier,
            f"{told.memory_bytes / 2**20:.1f}", str(d.kit_memory_mb),
        ]
        for d, told in zip(found.devices, found.forecasts, strict=True)
    ]  # fmt: skip
    head = ("device", "kernels", "ms", "range", "tier", "memory MB", "of MB")
    drawn = [
        (f"Pareto front: the zoo's models to {what} on {device.name}", plots.pareto(mine, device.name))
        for device, places in zip(found.devices, found.zoo, strict=False)
        for what, mine in _by_group(places)
    ]
    return f"<h2>Devices</h2>\n{_table(head, rows)}<p></p>\n{_figures(drawn)}"


def _by_group(places: Sequence[Place]) -> Iterator[tuple[str, list[Place]]]:
    """Models that can be compared, with what they are for."""
    for group in dict.fromkeys(place.group for place in places):
        task, _, labels = group
        more = f" and {len(labels) - MOST_LABELS} more" if len(labels) > MOST_LABELS else ""
        what = f"{task} {', '.join(labels[:MOST_LABELS])}{more}"
        yield what, [place for place in places if place.group == group]


def _what_if(found: Findings) -> list[str]:
    parts = []
    for device in dict.fromkeys(scenario.device for scenario in found.scenarios):
        mine = [scenario for scenario in found.scenarios if scenario.device == device]
        drawn = [
            ("Latency, predicted", plots.what_if(mine, lambda s: s.latency_ms, f"latency {device}", "ms")),
            ("File", plots.what_if(mine, lambda s: s.file_bytes / 1024, f"file {device}", "kB")),
            ("Memory", plots.what_if(mine, lambda s: s.memory_bytes / 2**20, f"memory {device}", "MB")),
        ]
        told, about_loss = len(SCENARIO_COLUMNS) - (mine[0].loss is None), ""
        if mine[0].loss is not None:
            about_loss = " A loss says by how much the outputs of the layers would change; less is better."
            drawn.append(
                (
                    "Loss of the layers, one-shot",
                    plots.what_if(mine, lambda s: s.loss, f"loss {device}", "loss"),
                )
            )
        parts.append(
            f"<h2>What if it were pruned, on {escape(device)}</h2>\n"
            "<p>Nothing was trained: the plan tells latency, file and memory of each sparsity and pattern, "
            f"the file as edgekit writes it. {how_spread(mine).capitalize()}.{about_loss}</p>\n"
            f"{_figures(drawn)}<p></p>\n{_table(SCENARIO_COLUMNS[:told], [s.row()[:told] for s in mine])}"
        )
    return parts


def _comparison(found: Findings) -> str:
    if not found.comparisons:
        return ""
    rows = [each.row() for each in found.comparisons]
    return (
        "<h2>The optimised model</h2>\n"
        "<p>Beside what was predicted from the dense network for its sparsity and pattern.</p>\n"
        f"{_table(COMPARISON_COLUMNS, rows)}"
    )


def _layers(report: Report) -> str:
    most = max((line.share or 0 for line in report.lines), default=0) or 1
    rows = []
    for line in report.lines:
        cells = line.row()
        share = cells[-2]
        if line.share is not None:
            share = f'<span class="bar" style="width:{4 * line.share / most:.2f}rem"></span>{escape(share)}'
        rows.append([*map(escape, cells[:-2]), share, escape(cells[-1])])
    from edgekit.analyze import COLUMNS

    return f"<h2>Each step: its kernel and why</h2>\n{_table(COLUMNS, rows, escaped=True)}"


_WORDS = {"model", "operator", "output", "kernel", "pattern", "why", "device", "kernels", "tier"}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, escaped: bool = False) -> str:
    kinds = ["text" if name == "why" else "" if name in _WORDS else "number" for name in head]
    names = "".join(f'<th class="{kind}">{escape(name)}</th>' for kind, name in zip(kinds, head, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="{kind}">{cell if escaped else escape(cell)}</td>'
            for kind, cell in zip(kinds, row, strict=True)
        )
        + "</tr>\n"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{names}</tr></thead><tbody>\n{body}</tbody></table></div>'
