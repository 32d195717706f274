"""The command line's part that asks what a device can: devices, predict."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError, UsageError
from edgekit.verbs import add_command, at_least_one, seconds


def add_devices(commands: Any) -> None:
    summary = "Device profiles, and what this machine is."
    parser = commands.add_parser("devices", help=summary, description=summary)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    add_command(verbs, "list", _list, "List the device profiles.")
    show = add_command(verbs, "show", _show, "Show a profile, or without a name probe this machine.")
    show.add_argument("name", metavar="DEVICE", nargs="?")
    probe = add_command(verbs, "probe", _probe, "Look at this machine and time its kernels (20 s at most).")
    probe.add_argument(
        "--write", nargs="?", const="", metavar="FILE", help="keep it as this machine's profile, or in FILE"
    )
    probe.add_argument("--no-time", action="store_true", help="do not time anything")
    probe.add_argument("--duration", type=seconds, default=15.0, metavar="TIME", help="how long to time")


def add_predict(commands: Any) -> None:
    summary = "Predict milliseconds and memory of models on a device, without running them."
    parser = add_command(commands, "predict", _predict, summary)
    parser.add_argument("models", metavar="MODEL", nargs="*", help="zoo names or .tflite files")
    parser.add_argument("--device", default="auto", help="device profile (default: this machine)")
    parser.add_argument("--threads", type=at_least_one, default=1)
    parser.add_argument("--isa", help="a lower ISA level of the device")
    parser.add_argument("--steps", action="store_true", help="show every step of the plan")
    parser.add_argument(
        "--check", type=Path, nargs="?", const=Path(), metavar="DIR",
        help="compare with what is measured here: the zoo and all of DIR, at every level, 1 and 2 threads; "
        "without --device this machine is probed in turns with that",
    )  # fmt: skip
    parser.add_argument("--duration", type=seconds, default=0.5, metavar="TIME", help="of --check, a network")


def _list(arguments: argparse.Namespace) -> int:
    from edgekit import console
    from edgekit.device import list_devices, load_device

    devices = [load_device(name) for name in list_devices()]
    if arguments.json:
        console.print_json([d.to_dict() for d in devices])
        return 0
    rows = [(d.name, d.title, d.isa, d.ram_mb, d.kit_memory_mb, d.tier) for d in devices]
    console.print_table("", ("device", "title", "isa", "RAM MB", "for edgekit MB", "tier"), rows)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from edgekit.device import load_device, match, probe

    machine = probe()
    profile = {} if arguments.name is None else {"profile": load_device(arguments.name).to_dict()}
    shown = {**profile, "this_machine": {**machine.to_dict(), "profile": match(machine)}}
    _print(shown, as_json=arguments.json)
    return 0


def _probe(arguments: argparse.Namespace) -> int:
    from edgekit import device

    path = None if arguments.write is None else _profile_place(arguments.write)
    here = device.probe()
    if here.emulated:
        _tell("the processor is emulated: nothing is timed")
    elif not arguments.no_time:
        here = _timed(here, arguments.duration)
    source = f"edgekit devices probe on {here.cores[0].core if here.cores else here.arch}"
    if path:
        _write(path, device.profile_facts(here, source))
        sys.stderr.write(f"{path} written\n")
    if arguments.json:
        _print({**here.to_dict(), "measured": device.measured_facts(here, source)}, as_json=True)
    else:
        _print(here.to_dict(), as_json=False)
        _print_speeds(here)
    return 0


def _timed(here: Any, duration_s: float) -> Any:
    from edgekit.bench import probing
    from edgekit.device.speeds import calibration_facts, rounded

    found, sustained = probing.probe(duration_s)
    return replace(
        here,
        kernels={level: calibration_facts(probed.calibration) for level, probed in found.items()},
        rates={level: rounded(asdict(probed.rates)) for level, probed in found.items()},
        sustained=rounded(asdict(sustained)),
        copy_gbps=rounded(probing.copy_gbps()),
        tier="measured",
    )


def _print_speeds(here: Any) -> None:
    """What was timed, as tables: the costs that predictions are made of are for files."""
    from edgekit import console
    from edgekit.bench import rates

    if not here.rates:
        return
    levels = list(here.rates)
    head = ("GMAC/s as if dense", "pattern", "density", *levels)
    console.print_table("\none core, by kernel", head, rates.layer_rows(here.rates))
    console.print_table("", ("", *levels), rates.other_rows(here.rates))
    now = here.sustained
    sys.stdout.write(
        f"copies {here.copy_gbps:.3g} GB/s; one network takes {now['cold_ms']:.3g} ms cold, "
        f"{now['sustained_ms']:.3g} ms after {now['seconds']:.3g} s of work\n"
    )


def _profile_place(given: str) -> Path:
    """Where a profile is to be written, known before the work. Raises UsageError or EdgekitError."""
    from edgekit.device import measured_file
    from edgekit.files import check_writable

    path = Path(given) if given else measured_file()
    if not given:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EdgekitError(f"cannot write {path}: {error.strerror}: give --write FILE") from None
    check_writable(path)
    return path


def _write(path: Path, facts: dict[str, Any]) -> None:
    import yaml

    from edgekit.files import write_text

    write_text(path, yaml.safe_dump(facts, sort_keys=False, width=110))


def _print(value: object, *, as_json: bool) -> None:
    from edgekit import console

    if as_json:
        console.print_json(value)
    else:
        console.print_yaml(value)


def _predict(arguments: argparse.Namespace) -> int:
    from edgekit import console, latency
    from edgekit.device import load_device
    from edgekit.inference import find_file

    if arguments.check is not None:
        return _check(arguments)
    if not arguments.models:
        raise UsageError("predict: give a MODEL, or --check")
    device = load_device(arguments.device)
    told = [
        (name, latency.predict_file(find_file(name)[0], device, arguments.threads, arguments.isa))
        for name in arguments.models
    ]
    if arguments.json:
        console.print_json([{"model": name, **prediction.to_dict()} for name, prediction in told])
        return 0
    console.print_table("", latency.COLUMNS, [prediction.row(name) for name, prediction in told])
    for name, prediction in told:
        if prediction.gaps:
            sys.stdout.write(f"{name}: not in the profile of {prediction.device}: {prediction.gaps}\n")
    for _, prediction in told if arguments.steps else ():
        rows = [
            (step.family, step.operator, f"{step.us:.1f}", step.bound, step.basis)
            for step in prediction.steps
        ]
        console.print_table("", ("step", "operator", "us", "bound", "known by"), rows)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from edgekit import console, engine
    from edgekit.bench import prediction_check
    from edgekit.device import levels_of
    from edgekit.zoo import list_models

    if arguments.models or arguments.isa or arguments.steps:
        raise UsageError("predict --check takes the zoo and DIR, at every level: no MODEL, --isa or --steps")
    if not arguments.check.is_dir():
        raise UsageError(f"predict --check {arguments.check}: there is no such folder")
    device = _to_check(arguments.device)
    paths = [entry.path for entry in list_models()] + sorted(arguments.check.glob("*.tflite"))
    levels = [level for level in engine.native_levels() if level in levels_of(device)]
    anew = arguments.device == "auto"
    found = prediction_check.compare(paths, device, levels, (1, 2), arguments.duration, _tell, anew=anew)
    if not found:
        raise UsageError(f"{arguments.check}: no network that the native engine runs")
    if arguments.json:
        console.print_json([asdict(line) for line in found])
    else:
        console.print_table("", prediction_check.COLUMNS, [line.row() for line in found])
        sys.stdout.write(prediction_check.summary(found) + "\n")
    return 0


def _to_check(name: str) -> Any:
    """The profile whose costs are checked. Raises UsageError where this machine is none of its kind."""
    from edgekit.device import load_device, probe

    device = load_device(name)
    here = probe()
    if here.emulated:
        raise UsageError(
            "predict --check: the processor is emulated: no time that is taken here says anything"
        )
    if device.arch != here.arch:
        raise UsageError(f"predict --check: {device.name} is {device.arch}, this machine {here.arch}")
    return device


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
