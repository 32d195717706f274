"""What a run says at its end: `report.json`, and `report.html`, one file that needs nothing else.

Curves are drawn by matplotlib where it is installed (extra: report), else they are tables.
"""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import model
from edgekit.device import load_device
from edgekit.device.speeds import calibration_of
from edgekit.errors import ConfigError, UsageError
from edgekit.files import write_text
from edgekit.model.graph import Graph
from edgekit.model.layers import WEIGHTED, multiply_adds
from edgekit.optimize.training.stages import Schedule

STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #4a90d9; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .2rem .7rem; text-align: right; }
th { border-bottom: 2px solid var(--line); } td { border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } img { max-width: 100%; background: #fff; }
.bar { display: inline-block; height: .7em; background: var(--bar); } .scroll { overflow-x: auto; }
pre { overflow-x: auto; padding: .7rem; border: 1px solid var(--line); }
"""


def layers(graph: Graph) -> list[dict[str, Any]]:
    """Of each layer with weights: name, kind, number of weights, share of zeros, of zero 1x4 blocks, MACs."""
    rows = []
    for op in graph.ops:
        weights = graph.tensors[op.inputs[1]] if op.kind in WEIGHTED else None
        if weights is None or weights.data is None:
            continue
        zero = np.asarray(weights.data) == (weights.zero_point[0] if weights.zero_point is not None else 0)
        blocks = zero.reshape(-1, 4).all(1) if zero.shape[-1] % 4 == 0 else zero
        rows.append(
            {
                "name": weights.name.removesuffix("_weights"),
                "kind": op.kind.lower() + (" on float32" if weights.dtype.kind == "f" else ""),
                "weights": zero.size,
                "zeros": float(zero.mean()),
                "zero_blocks_1x4": float(blocks.mean()),
                "macs": multiply_adds(graph, op),
            }
        )
    return rows


def facts(content: bytes) -> dict[str, Any]:
    """Size and sparsity of a model's file."""
    rows = layers(model.read_bytes(content))
    weights = sum(row["weights"] for row in rows)
    macs = sum(row["macs"] for row in rows)
    return {
        "size_bytes": len(content),
        "gzip_bytes": len(gzip.compress(content, 9, mtime=0)),
        "weights": weights,
        "zeros": sum(row["weights"] * row["zeros"] for row in rows) / max(weights, 1),
        "macs": macs,
        "macs_left": round(sum(row["macs"] * (1 - row["zeros"]) for row in rows)),
        "layers": rows,
    }


def dense_row(history: Sequence[dict[str, Any]], schedule: Schedule) -> dict[str, Any]:
    """The epoch before anything was taken from the network: its figures are those to hold."""
    kinds = ("prune", "sparse_train", "quantize", "transfer")
    starts = [stage.span.start for stage in schedule.stages if stage.kind in kinds]
    last = math.floor(min(starts, default=schedule.epochs))
    dense = [row for row in history if row["epoch"] <= last and not row["quantized"]]
    return dense[-1] if dense else history[0]


def latency(path: Path, devices: Sequence[str]) -> list[dict[str, Any]]:
    """Milliseconds of one picture on one core: measured on this machine, modelled on the devices."""
    from edgekit.bench import Settings, benchmark
    from edgekit.optimize.auto import model_ms

    measured = benchmark([path], settings=Settings(seconds=0.5, warmup=0.1)).results[0]
    here = {"device": "this machine", "ms": measured.median_ms, "how": f"measured, {measured.runtime}"}
    graph = model.read(path)
    others = [
        {"device": name, "ms": model_ms(graph, load_device(name)), "how": "modelled, one core"}
        for name in devices
    ]
    return [here, *others]


def check_devices(recipe: Schedule, devices: Sequence[str]) -> None:
    """ConfigError for a device that the report could not judge, before anything is trained."""
    for number, name in enumerate(devices):
        try:
            device = load_device(name)
            calibration_of(device, device.isa)
        except UsageError as error:
            raise ConfigError(f"{recipe.where('devices', number)}: {error}") from None


def write_report(facts: dict[str, Any], out_dir: Path) -> list[Path]:
    """Write both forms; returns their paths."""
    as_json, as_html = out_dir / "report.json", out_dir / "report.html"
    write_text(as_json, json.dumps(facts, indent=1, allow_nan=False) + "\n")
    write_text(as_html, _page(facts))
    return [as_json, as_html]


def _page(facts: dict[str, Any]) -> str:
    name = html.escape(str(facts["name"]))
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{name}</title><style>{STYLE}</style>",
        f"<meta name=viewport content='width=device-width'><h1>{name}</h1>",
        _table(("", "before", "after"), _summary(facts)),
        "<h2>Course</h2>",
        _curves(facts["history"]) or _history(facts["history"]),
        "<h2>Layers</h2>",
        _table(("layer", "kind", "weights", "zeros", "", "zero 1x4 blocks", "MACs"), _layer_rows(facts)),
    ]
    if facts.get("latency"):
        rows = [(one["device"], f"{one['ms']:.2f}", one["how"]) for one in facts["latency"]]
        parts += ["<h2>Latency</h2>", _table(("device", "ms", ""), rows)]
    recipe = html.escape(str(facts.get("recipe", "")))
    return "\n".join([*parts, f"<h2>Recipe</h2><pre>{recipe}</pre></html>\n"])


def _summary(facts: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Each score before and after, then the sizes."""
    before, after = facts["before"], facts["after"]
    rows = [(key, f"{before[key]:.4f}", f"{value:.4f}") for key, value in after.items()]
    file = facts["file"]
    rows += [
        ("weights that are zero", f"{facts.get('zeros_before', 0):.1%}", f"{file['zeros']:.1%}"),
        ("multiplications", f"{file['macs'] / 1e6:.2f} M", f"{file['macs_left'] / 1e6:.2f} M"),
        ("file", f"{4 * file['weights'] / 1000:.0f} kB as float32", f"{file['size_bytes'] / 1000:.0f} kB"),
        ("file, gzip", "", f"{file['gzip_bytes'] / 1000:.0f} kB"),
        ("training", "", f"{facts['seconds'] / 60:.1f} min"),
    ]
    agreement = facts.get("agreement")
    if agreement:
        rows.append(("outputs within 1 step of training", "", f"{agreement['within_1']:.2%}"))
    return rows


def _layer_rows(facts: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            row["name"],
            row["kind"],
            f"{row['weights']}",
            f"{row['zeros']:.1%}",
            f"<span class=bar style='width:{80 * row['zeros']:.0f}px'></span>",
            f"{row['zero_blocks_1x4']:.1%}",
            f"{row['macs'] / 1e6:.2f} M",
        )
        for row in facts["file"]["layers"]
    ]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{one}" for one in heads)
    lines = ["<tr>" + "".join(f"<td>{_cell(one)}" for one in row) for row in rows]
    return f"<div class=scroll><table><tr>{head}\n" + "\n".join(lines) + "</table></div>"


def _cell(text: str) -> str:
    return text if text.startswith("<span class=bar") else html.escape(text)


def _history(history: Sequence[dict[str, Any]]) -> str:
    keys = list(history[0])
    rows = [[f"{row[k]:.4g}" if isinstance(row[k], float) else str(row[k]) for k in keys] for row in history]
    return _table(keys, rows)


def _curves(history: Sequence[dict[str, Any]]) -> str:
    """Loss, score and sparsity over the epochs as one picture inside the page; empty without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return ""
    score = next(key for key in history[0] if key not in _NO_SCORES)
    figure = Figure(figsize=(9, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    epochs = [row["epoch"] for row in history]
    upper.plot(epochs, [row[score] for row in history], label=score)
    upper.plot(epochs, [row["sparsity"] for row in history], label="zeros of the pruned layers")
    lower.plot(epochs[1:], [row["loss"] for row in history[1:]], color="tab:red", label="loss")
    quantized = [row["epoch"] for row in history if row["quantized"]]
    for axes in (upper, lower):
        if quantized:
            axes.axvspan(quantized[0], quantized[-1], alpha=0.12, label="int8")
        axes.grid(alpha=0.3)
        axes.legend()
    lower.set_xlabel("epoch")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    encoded = base64.b64encode(picture.getvalue()).decode()
    return f"<img alt='curves of the training' src='data:image/png;base64,{encoded}'>"


_NO_SCORES = {"epoch", "loss", "learning_rate", "sparsity", "quantized"}
