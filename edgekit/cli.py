"""The command line: each sub-command parses, calls one function, prints."""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from edgekit import device_commands
from edgekit.errors import EdgekitError, UsageError

Command = Callable[[argparse.Namespace], int]


class Terminated(BaseException):
    """SIGTERM, raised where no pipeline is there to stop in order."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is the error's own (see edgekit.errors), 130 or 143 after a signal."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        arguments = build_parser().parse_args(argv)
        command: Command = arguments.command
        return command(arguments)
    except EdgekitError as error:
        sys.stderr.write("".join(f"edgekit: {line}\n" for line in str(error).splitlines()))
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Terminated:
        return 128 + signal.SIGTERM
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone, as in `edgekit zoo list | head -1`
        return 128 + signal.SIGPIPE


def _terminate(_number: int, _frame: object) -> NoReturn:
    raise Terminated


def build_parser() -> argparse.ArgumentParser:
    """All sub-commands with their flags."""
    parser = argparse.ArgumentParser(
        prog="edgekit", description="Neural networks on small CPUs: cameras in, detections on MQTT out."
    )
    parser.add_argument("--version", action="version", version=_version_line())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (
        _add_run, _add_validate, _add_schema, _add_evaluate, _add_zoo, _add_devices,
        _add_predict, _add_select, _add_benchmark, _add_analyze, _add_optimize, _add_mqtt,
        _add_doctor, _add_version,
    ):  # fmt: skip
        add(commands)
    return parser


def _add(commands: Any, name: str, command: Command, summary: str, *, json_flag: bool = True) -> Any:
    parser = commands.add_parser(name, help=summary, description=summary)
    parser.set_defaults(command=command)
    if json_flag:
        parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    return parser


# ---- run -----------------------------------------------------------------------------------------


def _add_run(commands: Any) -> None:
    parser = _add(commands, "run", _run, "Run a pipeline: a YAML config, or one source and flags.")
    parser.add_argument("what", metavar="CONFIG|SOURCE", help="x.yaml, or demo:, 0, rtsp://…, video, folder")
    parser.add_argument("--model", help="zoo name or path of a .tflite")
    parser.add_argument("--mqtt", metavar="HOST[:PORT]", help="broker; without it an embedded one is started")
    parser.add_argument("--engine", choices=("auto", "native", "tflite"))
    parser.add_argument("--threads", type=_at_least_one)
    parser.add_argument("--device", help="device profile whose memory budget holds (default: this machine)")
    parser.add_argument("--device-id", help="name of this device in MQTT topics (default: the host name)")
    parser.add_argument("--labels", help="comma-separated classes to watch (default: all of the model)")
    parser.add_argument("--min-score", type=float, help="least score that starts a track, 0 to 1")
    parser.add_argument("--fps", type=float, help="look at most at so many frames a second")
    parser.add_argument("--loop", action="store_true", help="start a file again when it ends")
    parser.add_argument(
        "--realtime", action="store_true", help="play a file at its own pace, dropping frames"
    )
    parser.add_argument("--frames", type=_at_least_one, metavar="N", help="end after N frames")
    parser.add_argument("--duration", type=seconds, metavar="TIME", help="end after 30s, 5m or 1h")
    parser.add_argument(
        "--require", action="store_true", help="end at once when a camera or the broker is absent"
    )
    parser.add_argument("--print-resolved", action="store_true", help="print the merged config and end")
    parser.add_argument("-v", "--verbose", action="count", default=0)
    parser.add_argument("-q", "--quiet", action="store_true", help="no table, no event lines")


def _run(arguments: argparse.Namespace) -> int:
    from edgekit.config import resolved_yaml

    config = _run_config(arguments)
    if arguments.print_resolved:
        sys.stdout.write(resolved_yaml(config))
        return 0
    from edgekit import console, runtime, view

    console.set_up_logging(arguments.verbose)
    limits = runtime.Limits(arguments.frames, arguments.duration)
    with view.RunView(quiet=arguments.quiet) as shown:
        summary = runtime.run(config, limits, require=arguments.require, observer=shown, on_ready=shown.ready)
    if arguments.json:
        console.print_json(view.summary_dict(summary))
    else:
        view.print_summary(summary)
    return 128 + summary.signal if summary.signal else 0


def _run_config(arguments: argparse.Namespace) -> Any:
    from edgekit.config import load_config, override_config, quick_config

    given = {
        "model": arguments.model,
        "mqtt": arguments.mqtt,
        "engine": arguments.engine,
        "threads": arguments.threads,
        "device": arguments.device,
        "device_id": arguments.device_id,
        "labels": arguments.labels.split(",") if arguments.labels else None,
        "min_score": arguments.min_score,
        "fps": arguments.fps,
        "loop": arguments.loop or None,
        "realtime": arguments.realtime or None,
    }
    flags = {key: value for key, value in given.items() if value is not None}
    if arguments.what.endswith((".yaml", ".yml")):
        return override_config(load_config(arguments.what), **flags)
    if "model" not in flags:
        flags["model"] = _default_model()
    return quick_config(arguments.what, **flags)


def _default_model() -> str:
    """The zoo's most accurate detector."""
    from edgekit.zoo import list_models

    detectors = [m for m in list_models() if m.card.task == "detect"]
    if not detectors:
        raise UsageError("the zoo holds no detector: give --model FILE.tflite")
    return max(detectors, key=lambda m: m.card.facts.get("accuracy", {}).get("person_ap50", 0)).name


def seconds(text: str) -> float:
    """`30`, `30s`, `500ms`, `5m` or `1h` -> seconds; argparse turns the error into a usage line."""
    units = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", text)
    if not found or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"expected a time like 30s, 5m or 1h, not {text!r}")
    return float(found[1]) * units[found[2] or ""]


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, not {text!r}")
    return int(text)


# ---- configs -------------------------------------------------------------------------------------


def _add_validate(commands: Any) -> None:
    parser = _add(commands, "validate", _validate, "Check pipeline configs; exit 78 names what is wrong.")
    parser.add_argument("configs", metavar="CONFIG", nargs="+")


def _validate(arguments: argparse.Namespace) -> int:
    from edgekit.config import load_config
    from edgekit.errors import ConfigError
    from edgekit.runtime import check_names

    complaints: list[str] = []
    for path in arguments.configs:
        try:
            config = load_config(path)
            check_names(config, path)
        except ConfigError as error:
            complaints.append(str(error))
        else:
            if not arguments.json:
                sys.stdout.write(f"{path}: ok, {len(config.cameras)} camera(s), model {config.model.name}\n")
    if arguments.json:
        from edgekit.console import print_json

        print_json({"ok": not complaints, "errors": "\n".join(complaints).splitlines()})
        return ConfigError.exit_code if complaints else 0
    if complaints:
        raise ConfigError("\n".join(complaints))
    return 0


def _add_schema(commands: Any) -> None:
    _add(
        commands,
        "schema",
        _schema,
        "Print the JSON schema of pipeline configs, for editors.",
        json_flag=False,
    )


def _schema(_arguments: argparse.Namespace) -> int:
    from edgekit.config import config_schema
    from edgekit.console import print_json

    print_json(config_schema())
    return 0


# ---- models --------------------------------------------------------------------------------------


def _add_evaluate(commands: Any) -> None:
    parser = _add(commands, "evaluate", _evaluate, "Score a detector by COCO's metric (extra: evaluate).")
    parser.add_argument("model", metavar="MODEL", help="zoo name or path of a .tflite")
    parser.add_argument("--coco", required=True, type=Path, metavar="ANNOTATIONS.json")
    parser.add_argument("--images", required=True, type=Path, metavar="DIR")
    parser.add_argument("--engine", choices=("auto", "native", "tflite"), default="auto")
    parser.add_argument("--threads", type=_at_least_one, default=1)


def _evaluate(arguments: argparse.Namespace) -> int:
    from edgekit import console, inference
    from edgekit.evaluate import evaluate

    model = inference.open(arguments.model, arguments.engine, arguments.threads)
    result = evaluate(model, arguments.coco, arguments.images, console.progress(f"{model.name}"))
    if arguments.json:
        console.print_json(result.to_dict())
        return 0
    rows = [
        (name, f"{v['ap']:.3f}", f"{v['ap50']:.3f}", int(v["boxes"])) for name, v in result.labels.items()
    ]
    rows.append(("all", f"{result.ap:.3f}", f"{result.ap50:.3f}", sum(r[3] for r in rows)))
    title = f"{result.model} ({result.engine}), {result.images} images"
    console.print_table(title, ("label", "AP", "AP50", "boxes"), rows)
    return 0


def _add_zoo(commands: Any) -> None:
    verbs = _verbs(commands, "zoo", "The models that ship with edgekit.")
    _add(verbs, "list", _zoo_list, "List the models of the zoo.")
    _add(verbs, "show", _zoo_show, "Show a model's card.").add_argument("name", metavar="MODEL")


def _verbs(commands: Any, name: str, summary: str) -> Any:
    parser = commands.add_parser(name, help=summary, description=summary)
    return parser.add_subparsers(title="verbs", metavar="VERB", required=True)


def _zoo_list(arguments: argparse.Namespace) -> int:
    from edgekit import console
    from edgekit.zoo import list_models

    models = list_models()
    if arguments.json:
        console.print_json([{"name": m.name, "path": str(m.path), **m.card.facts} for m in models])
        return 0
    rows = [
        (m.name, m.card.task, m.card.facts.get("accuracy", {}).get("person_ap50", "-"),
         f"{m.path.stat().st_size / 2**20:.2f}", ", ".join(m.card.labels))
        for m in models
    ]  # fmt: skip
    console.print_table("", ("model", "task", "person AP50", "MB", "labels"), rows)
    return 0


def _zoo_show(arguments: argparse.Namespace) -> int:
    from edgekit import console
    from edgekit.zoo import find_model

    card = find_model(arguments.name).card
    if arguments.json:
        console.print_json(card.facts)
    else:
        console.print_yaml(card.facts)
    return 0


def _add_benchmark(commands: Any) -> None:
    parser = _add(commands, "benchmark", _benchmark, "Time models side by side: interleaved runs, medians.")
    parser.add_argument("models", metavar="MODEL", nargs="+", help="zoo names or paths of .tflite files")
    parser.add_argument("--engine", default="auto", help="comma-separated: auto, native, tflite")
    parser.add_argument("--threads", default="1", help="comma-separated numbers of threads")
    parser.add_argument("--duration", type=seconds, default=2.0, metavar="TIME", help="per model and engine")
    parser.add_argument("--warmup", type=seconds, default=0.5, metavar="TIME")


def _benchmark(arguments: argparse.Namespace) -> int:
    from edgekit import bench, console

    engines = arguments.engine.split(",")
    threads = [int(n) for n in arguments.threads.split(",") if n.isdecimal()]
    if not threads or set(engines) - {"auto", "native", "tflite"}:
        raise UsageError("--engine takes auto, native, tflite and --threads whole numbers, comma-separated")
    results = bench.benchmark(arguments.models, engines, threads, arguments.duration, arguments.warmup)
    if arguments.json:
        console.print_json([r.to_dict() for r in results])
    else:
        console.print_table("", bench.COLUMNS, [r.row() for r in results])
    return 0


def _add_analyze(commands: Any) -> None:
    parser = _add(
        commands,
        "analyze",
        _analyze,
        "Show a model's plan on the native engine: each layer's kernel and why.",
    )
    parser.add_argument("model", metavar="MODEL", help="zoo name or path of a .tflite")
    parser.add_argument("--isa", help="plan for this level of kernels (default: the best of this machine)")
    parser.add_argument("--threads", type=_at_least_one, default=1)
    parser.add_argument("--exact", action="store_true", help="the bytes of TFLite's reference kernels")
    parser.add_argument("--no-time", action="store_true", help="do not run it: for another machine's isa")


def _analyze(arguments: argparse.Namespace) -> int:
    from edgekit import analyze, console

    report = analyze.analyze(
        arguments.model, arguments.isa, arguments.threads, exact=arguments.exact, timed=not arguments.no_time
    )
    if arguments.json:
        console.print_json(report.to_dict())
    else:
        console.print_table(report.title, analyze.COLUMNS, [line.row() for line in report.lines])
        sys.stdout.write(report.summary + "\n")
    return 0


def _add_optimize(commands: Any) -> None:
    parser = _add(
        commands, "optimize", _optimize, "Train a model by a recipe (extra: train).", json_flag=False
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe YAML, or the name of one that ships")
    parser.add_argument(
        "--data", required=True, type=Path, metavar="DIR", help="images/ and annotations_*.json"
    )
    parser.add_argument("--teacher", type=Path, metavar="FILE", help="ONNX model to distil from")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("-v", "--verbose", action="count", default=1)


def _optimize(arguments: argparse.Namespace) -> int:
    from edgekit import console
    from edgekit.optimize import optimize

    console.set_up_logging(arguments.verbose)
    path = optimize(arguments.recipe, arguments.data, arguments.teacher, arguments.out)
    sys.stdout.write(f"{path}\n")
    return 0


# ---- this machine and others ---------------------------------------------------------------------


def _add_devices(commands: Any) -> None:
    device_commands.add_devices(
        _verbs(commands, "devices", "Device profiles, and what this machine is."), _add, seconds
    )


def _add_predict(commands: Any) -> None:
    summary = "Predict milliseconds and memory of models on a device, without running them."
    parser = _add(commands, "predict", device_commands.predict_command, summary)
    device_commands.add_predict(parser, seconds, _at_least_one)


def _add_select(commands: Any) -> None:
    summary = "Pick the model of the zoo that keeps a device's budgets; exit 3 if none does."
    parser = _add(commands, "select", device_commands.select_command, summary)
    device_commands.add_select(parser, seconds, _at_least_one)


def _add_mqtt(commands: Any) -> None:
    verbs = _verbs(commands, "mqtt", "The broker: can it be had, what is said, what is left there.")
    test = _add(verbs, "test", _mqtt_test, "Connect as a pipeline would, publish, hear it; exit 69 if not.")
    watch = _add(verbs, "watch", _mqtt_watch, "Print what edgekit says, as it is said.")
    clean = _add(verbs, "clean", _mqtt_clean, "Make the broker forget a device, and Home Assistant with it.")
    for verb in (test, watch, clean):
        verb.add_argument("config", metavar="CONFIG", nargs="?", help="a pipeline YAML, for its mqtt section")
        verb.add_argument("--mqtt", metavar="HOST[:PORT]", help="the broker, instead of or over the config's")
        verb.add_argument("--device-id", help="the device (default: that of the config, or the host name)")
    watch.add_argument("--count", type=_at_least_one, metavar="N", help="end after N messages")
    watch.add_argument("--duration", type=seconds, metavar="TIME", help="end when nothing came for so long")
    clean.add_argument("--force", action="store_true", help="although the device is online")


def _broker_config(arguments: argparse.Namespace) -> Any:
    """The config whose broker is meant."""
    from edgekit.config import load_config, override_config, quick_config

    flags = {"mqtt": arguments.mqtt, "device_id": arguments.device_id}
    given = {key: value for key, value in flags.items() if value is not None}
    if arguments.config:
        config = override_config(load_config(arguments.config), **given)
    else:
        config = quick_config("demo:", "none", **given)
    if config.mqtt.host is None:
        raise UsageError("which broker? give a CONFIG with mqtt.host, or --mqtt HOST")
    return config


def _mqtt_test(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from edgekit import console, session
    from edgekit.topics import Topics

    config = _broker_config(arguments)
    report = session.examine(config.mqtt, Topics(config.mqtt.base, config.device.id))
    if arguments.json:
        console.print_json(asdict(report))
    else:
        console.print_table("", ("", ""), report.rows())
    return 0


def _mqtt_watch(arguments: argparse.Namespace) -> int:
    import itertools

    from edgekit import console, session

    config = _broker_config(arguments)
    device = config.device.id if arguments.device_id else "+"
    with session.Session(config.mqtt) as broker:
        broker.subscribe([f"{config.mqtt.base}/{device}/#"])
        for message in itertools.islice(broker.received(arguments.duration), arguments.count):
            console.print_message(message.topic, message.payload, as_json=arguments.json)
    return 0


def _mqtt_clean(arguments: argparse.Namespace) -> int:
    from edgekit import console, session
    from edgekit.discovery import discovery_topic
    from edgekit.topics import Topics

    config = _broker_config(arguments)
    topics = Topics(config.mqtt.base, config.device.id)
    others = [discovery_topic(config.mqtt.discovery.prefix, topics)]
    forgotten = session.clean(config.mqtt, topics, others, force=arguments.force)
    if arguments.json:
        console.print_json({"forgotten": forgotten})
    else:
        sys.stdout.write("".join(f"{topic}\n" for topic in forgotten))
    return 0


def _add_doctor(commands: Any) -> None:
    _add(commands, "doctor", _doctor, "Check this installation and say what to mend.")


def _doctor(arguments: argparse.Namespace) -> int:
    from edgekit import console, doctor

    checks = doctor.examine()
    if arguments.json:
        console.print_json([check.to_dict() for check in checks])
    else:
        console.print_table("", ("check", "state", "what"), [(c.name, c.state, c.text) for c in checks])
    return 1 if any(check.state == "broken" for check in checks) else 0


def _add_version(commands: Any) -> None:
    _add(commands, "version", _version, "Print the version.")


def _version(arguments: argparse.Namespace) -> int:
    if not arguments.json:
        sys.stdout.write(_version_line() + "\n")
        return 0
    import platform

    from edgekit import __version__
    from edgekit.console import print_json

    print_json({"edgekit": __version__, "python": platform.python_version(), "machine": platform.machine()})
    return 0


def _version_line() -> str:
    from edgekit import __version__

    return f"edgekit {__version__}"
