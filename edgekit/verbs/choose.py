"""`edgekit select`: the model that a device should run."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from typing import Any

from edgekit.errors import BudgetError, EdgekitError, UsageError
from edgekit.verbs import add_command, at_least_one, seconds, words

ALL = "all"
GRID = ("device", "budget ms", "picked", "accuracy", "ms", "range", "memory MB", "why not")


def add_select(commands: Any) -> None:
    summary = "Pick the model of the zoo that keeps a device's budgets; exit 3 if none does."
    parser = add_command(commands, "select", _select, summary)
    parser.add_argument("--task", required=True, choices=("detect", "classify"))
    parser.add_argument("--labels", type=words, default=[], help="classes that the model must know")
    parser.add_argument(
        "--device", type=words, default=["auto"], metavar="NAMES",
        help="device profile (default: this machine), several with commas between, or all",
    )  # fmt: skip
    parser.add_argument(
        "--also", type=words, default=[], metavar="MODELS",
        help="models beside the zoo's: .tflite files with a card beside each, or folders of them",
    )  # fmt: skip
    parser.add_argument("--threads", type=at_least_one, default=1)
    parser.add_argument(
        "--max-latency-ms", type=_numbers, default=[None], metavar="MS", help="or several, for a table"
    )
    parser.add_argument("--max-memory-mb", type=float, metavar="MB")
    parser.add_argument("--min-accuracy", type=float, metavar="0..1")
    parser.add_argument("--prefer", choices=("accuracy", "latency", "memory"), default="accuracy")
    proofs = parser.add_mutually_exclusive_group()
    proofs.add_argument("--verify", action="store_true", help="measure the picked model here, cold and hot")
    proofs.add_argument(
        "--hindsight", action="store_true",
        help="measure all models here, and tell what the choice cost; without a budget for many of them",
    )  # fmt: skip
    parser.add_argument(
        "--duration",
        type=seconds,
        metavar="TIME",
        help="of --verify (60s), of --hindsight for each model (2s)",
    )


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in words(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number of milliseconds, not {text!r}") from None


def _select(arguments: argparse.Namespace) -> int:
    from edgekit import select
    from edgekit.device import list_devices, load_device

    wishes = [
        select.Wish(
            arguments.task, tuple(arguments.labels), budget, arguments.max_memory_mb,
            arguments.min_accuracy, arguments.prefer, arguments.threads,
        )
        for budget in arguments.max_latency_ms
    ]  # fmt: skip
    names = [each for name in arguments.device for each in (list_devices() if name == ALL else [name])]
    devices = [load_device(name) for name in names]
    if len(wishes) * len(devices) == 1:
        return (_hindsight if arguments.hindsight else _one)(wishes[0], devices[0], arguments)
    if arguments.verify or arguments.hindsight:
        raise UsageError("--verify and --hindsight measure here: give one device and one budget")
    return _grid(wishes, devices, _models(arguments), as_json=arguments.json)


def _one(wish: Any, device: Any, arguments: argparse.Namespace) -> int:
    from edgekit import console, select
    from edgekit.device import probe

    found = select.select(wish, device, _models(arguments))
    proof = _verify(found.picked, arguments) if arguments.verify else None
    is_here = probe().arch == device.arch
    if arguments.json:
        told = [entry.to_dict() for entry in found.candidates]
        measured = asdict(proof) if proof else None
        console.print_json({"picked": found.picked.name, "candidates": told, "measured": measured})
    else:
        console.print_table("", select.COLUMNS, [entry.row() for entry in found.candidates])
        sys.stdout.write(f"picked {_said(found.picked)}\n")
        if found.picked.gaps:
            sys.stdout.write(f"not in the profile of {device.name}: {found.picked.gaps}\n")
        if arguments.device == ["auto"] and found.picked.tier == "modelled":
            sys.stdout.write(
                "modelled after a CPU like this: `edgekit devices probe --write` measures this one\n"
            )
        if proof:
            sys.stdout.write(proof.line + ("" if is_here else f"; this machine is no {device.name}") + "\n")
    if proof and is_here and wish.latency_ms and max(proof.cold_ms, proof.sustained_ms) > wish.latency_ms:
        raise BudgetError(
            f"{found.picked.name} takes {max(proof.cold_ms, proof.sustained_ms):.1f} ms here, "
            f"the budget is {wish.latency_ms:g} ms: raise it or run `edgekit devices probe --write` first"
        )
    return 0


def _said(picked: Any) -> str:
    return f"{picked.name} ({picked.doubt})" if picked.doubt else str(picked.name)


def _models(arguments: argparse.Namespace) -> list[Any]:
    """The zoo's, and those that are named beside."""
    from edgekit.inference import carded
    from edgekit.zoo import list_models

    return [*list_models(), *(found for name in arguments.also for found in carded(name))]


def _verify(picked: Any, arguments: argparse.Namespace) -> Any:
    from edgekit.bench import sustained
    from edgekit.device import probe

    if probe().emulated:
        raise EdgekitError("--verify measures: the processor is emulated, its times say nothing")
    path = next(entry.path for entry in _models(arguments) if entry.name == picked.name)
    return sustained.measure(path, arguments.threads, arguments.duration or 60.0)


def _grid(wishes: list[Any], devices: list[Any], models: list[Any], *, as_json: bool) -> int:
    """A line for each device and budget; BudgetError where none has a model."""
    from edgekit import console, select

    told = []
    for device in devices:
        known = select.candidates(replace(wishes[0], latency_ms=None), device, models)
        told += [(device.name, wish.latency_ms, *_pick(wish, device, known)) for wish in wishes]
    if as_json:
        keys = ("device", "budget_ms", "picked", "reason")
        lines = [dict(zip(keys, line, strict=True)) for line in told]
        console.print_json([{**x, "picked": x["picked"] and x["picked"].to_dict()} for x in lines])
    else:
        console.print_table("", GRID, [_grid_row(*line) for line in told])
    if not any(picked for _, _, picked, _ in told):
        raise BudgetError("no model fits any of these budgets on any of these devices: raise one")
    return 0


def _pick(wish: Any, device: Any, known: Any) -> tuple[Any, str]:
    from edgekit import select

    try:
        return select.pick(wish, device, known).picked, ""
    except BudgetError:
        judged = [select.judge(entry, wish, device) for entry in known]
        return None, ", ".join(min(judged, key=lambda entry: (len(entry.misses), entry.latency_ms)).misses)


def _grid_row(device: str, budget_ms: float | None, picked: Any, reason: str) -> list[str]:
    budget = "" if budget_ms is None else f"{budget_ms:g}"
    if picked is None:
        return [device, budget, "none", "", "", "", "", reason]
    name, accuracy, ms, span, memory = picked.row()[:5]
    return [device, budget, name, accuracy, ms, span, memory, picked.doubt]


def _hindsight(wish: Any, device: Any, arguments: argparse.Namespace) -> int:
    from edgekit import console
    from edgekit.bench import hindsight
    from edgekit.device import probe

    here = probe()
    if here.emulated:
        raise EdgekitError("--hindsight measures: the processor is emulated, its times say nothing")
    if here.arch != device.arch:
        raise UsageError(
            f"--hindsight measures here: {device.name} is {device.arch}, this machine {here.arch}"
        )
    models = _models(arguments)
    found = hindsight.hindsight(wish, device, arguments.duration or 2.0, models, told=_say)
    if arguments.json:
        console.print_json([{**asdict(one), "kept": one.kept, "cost": one.cost} for one in found])
    else:
        console.print_table("", hindsight.COLUMNS, [one.row() for one in found])
        sys.stdout.write(hindsight.summary(found) + "\n")
    return 0


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
