"""`edgekit benchmark` and `edgekit analyze`: what a model costs, measured and explained."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from edgekit.verbs import add_command, at_least_one, seconds, thread_counts, words


def add_benchmark(commands: Any) -> None:
    parser = add_command(
        commands, "benchmark", _benchmark, "Time models and engines side by side: interleaved runs, medians."
    )
    parser.add_argument(
        "models", metavar="MODEL", nargs="+", help="zoo name, file, or model.tflite=model.onnx for rivals"
    )
    engines = "comma-separated: auto, native, tflite, onnxruntime, openvino"
    parser.add_argument("--engine", type=words, default=["auto"], metavar="NAMES", help=engines)
    parser.add_argument("--threads", type=thread_counts, default=[1], metavar="N,N", help="such as 1,2")
    parser.add_argument(
        "--isa", type=words, default=[None], metavar="LEVELS", help="lower native to these: scalar, avx2, …"
    )
    parser.add_argument("--duration", type=seconds, default=2.0, metavar="TIME", help="for each candidate")
    parser.add_argument("--warmup", type=seconds, default=0.5, metavar="TIME", help="before, for each")
    parser.add_argument("--profile", action="store_true", help="also the time of each layer")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the turns")
    parser.add_argument("-x", "--export", type=Path, metavar="FILE.json", help="write everything as JSON")


def _benchmark(arguments: argparse.Namespace) -> int:
    from edgekit import bench, console
    from edgekit.files import check_writable, write_text

    if arguments.export:
        check_writable(arguments.export)
    settings = bench.Settings(arguments.duration, arguments.warmup, arguments.seed, arguments.profile)
    found = bench.benchmark(arguments.models, arguments.engine, arguments.threads, arguments.isa, settings)
    if arguments.export:
        write_text(arguments.export, console.as_json(found.to_dict()))
    for skipped in found.skipped:
        sys.stderr.write(f"edgekit: {skipped.engine} is left out: {skipped.reason}\n")
    if arguments.json:
        console.print_json(found.to_dict())
    else:
        _print(found)
    return 0


def _print(found: Any) -> None:
    from edgekit import bench, console

    console.print_table("", bench.COLUMNS, found.rows())
    for head, rows in found.ratio_tables():
        console.print_table("", head, rows)
    for number, result in enumerate(found.results, 1):
        if result.layers:
            title = f"{number} {result.model}, {result.runtime}, threads: {result.threads}"
            console.print_table(title, bench.LAYER_COLUMNS, result.layer_rows())


def add_analyze(commands: Any) -> None:
    parser = add_command(
        commands,
        "analyze",
        _analyze,
        "Show a model's plan on the native engine: each layer's kernel and why.",
    )
    parser.add_argument("model", metavar="MODEL", help="zoo name or path of a .tflite")
    parser.add_argument("--isa", help="plan for this level of kernels (default: the best of this machine)")
    parser.add_argument("--threads", type=at_least_one, default=1)
    parser.add_argument("--exact", action="store_true", help="the bytes of TFLite's reference kernels")
    parser.add_argument("--no-time", action="store_true", help="do not run it: for another machine's isa")
    parser.add_argument(
        "--device", type=words, default=[], metavar="NAMES", help="comma-separated: what it would take there"
    )
    parser.add_argument(
        "--what-if",
        metavar="sparsity=A..B",
        help="predict it pruned: sparsity=0.5..0.95, or sparsity=0.5,0.8",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="DIR",
        help="pictures: what-if and comparisons prune as one-shot does, and tell the loss of the layers",
    )
    parser.add_argument(
        "--compare",
        action="append",
        default=[],
        metavar="MODEL",
        help="an optimised one beside the prediction",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a report (extra: report)")


def _analyze(arguments: argparse.Namespace) -> int:
    from edgekit import analyze, console
    from edgekit.analyze.study import Questions, study
    from edgekit.files import check_writable, write_text

    if arguments.html:
        check_writable(arguments.html)
    asked = Questions(
        arguments.device, arguments.what_if, arguments.calibration, arguments.compare,
        zoo=arguments.html is not None,
    )  # fmt: skip
    report = analyze.analyze(
        arguments.model, arguments.isa, arguments.threads, exact=arguments.exact, timed=not arguments.no_time
    )
    found = study(arguments.model, report, asked, _say)
    if arguments.html:
        write_text(arguments.html, found.html())
    if arguments.json:
        console.print_json(found.to_dict())
    else:
        _print_study(found)
    return 0


def _say(text: str) -> None:
    """Progress, on a terminal only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text[:100]}")
        sys.stderr.flush()


def _print_study(found: Any) -> None:
    from edgekit import analyze, console
    from edgekit.analyze import compare, whatif
    from edgekit.latency import ms_text

    _say("")
    report = found.report
    console.print_table(report.title, analyze.COLUMNS, [line.row() for line in report.lines])
    sys.stdout.write(report.summary + "\n")
    for device, told in zip(found.devices, found.forecasts, strict=True):
        span = f"({ms_text(told.low_ms)}-{ms_text(told.high_ms)}, {told.tier})"
        memory = f"{told.memory_bytes / 2**20:.1f} MB of {device.kit_memory_mb} MB"
        sys.stdout.write(f"{device.name}: {ms_text(told.latency_ms)} ms on one core {span}, {memory}\n")
        mine = [s.row() for s in found.scenarios if s.device == device.name]
        if mine:
            console.print_table(f"\nwhat if it were pruned, on {device.name}", whatif.COLUMNS, mine)
            sys.stdout.write(f"{whatif.how_spread(found.scenarios)}\n")
    if found.comparisons:
        console.print_table("", compare.COLUMNS, [c.row() for c in found.comparisons])
