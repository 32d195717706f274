"""The command line: each sub-command parses, calls one function, prints."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from edgekit.errors import EdgekitError, UsageError
from edgekit.verbs import Command, seconds
from edgekit.verbs import add_command as _add
from edgekit.verbs import at_least_one as _at_least_one
from edgekit.verbs.afford import add_devices, add_predict, add_select
from edgekit.verbs.measure import add_analyze, add_benchmark
from edgekit.verbs.ship import add_bundle, add_deploy


class Terminated(BaseException):
    """SIGTERM, raised where no pipeline is there to stop in order."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is the error's own (see edgekit.errors), 130 or 143 after a signal."""
    signal.signal(signal.SIGTERM, _terminate)
    arguments = argparse.Namespace(log_json=False, secrets=None)
    try:
        build_parser().parse_args(argv, arguments)
        command: Command = arguments.command
        return command(arguments)
    except EdgekitError as error:
        from edgekit import logs

        logs.tell_error(str(error), as_json=arguments.log_json, secrets=arguments.secrets)
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
        _add_run, _add_validate, _add_schema, _add_replay, _add_explain, _add_evaluate, _add_zoo,
        add_devices, add_predict, add_select, add_benchmark, add_analyze, _add_optimize, add_bundle,
        add_deploy, _add_mqtt, _add_service, _add_doctor, _add_version,
    ):  # fmt: skip
        add(commands)
    return parser


# ---- run -----------------------------------------------------------------------------------------


def _add_run(commands: Any) -> None:
    parser = _add(commands, "run", _run, "Run a pipeline: a YAML config, or one source and flags.")
    parser.add_argument("what", metavar="CONFIG|SOURCE", help="x.yaml, or demo:, 0, rtsp://…, video, folder")
    parser.add_argument("--model", help="zoo name or path of a .tflite")
    parser.add_argument("--mqtt", metavar="HOST[:PORT]", help="broker; without it an embedded one is started")
    parser.add_argument("--web", metavar="[HOST:]PORT", help="show the live page there (extra: web)")
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
    parser.add_argument("--log-json", action="store_true", help="logs and events as a JSON object a line")


def _run(arguments: argparse.Namespace) -> int:
    from edgekit.config import resolved_yaml

    config = _run_config(arguments)
    if arguments.print_resolved:
        sys.stdout.write(resolved_yaml(config))
        return 0
    from edgekit import console, logs, runtime, view
    from edgekit.pipeline.reload import Limits

    arguments.secrets = logs.secrets_of(config)
    logs.set_up(arguments.verbose, as_json=arguments.log_json, secrets=arguments.secrets)
    limits = Limits(arguments.frames, arguments.duration)
    with view.RunLog() if arguments.log_json else view.RunView(quiet=arguments.quiet) as shown:
        summary = runtime.run(
            config,
            limits,
            require=arguments.require,
            wait=_is_config(arguments.what),
            observer=shown,
            on_ready=shown.ready,
            reread=partial(_run_config, arguments) if _is_config(arguments.what) else None,
        )
    if arguments.json:
        console.print_json(view.summary_dict(summary))
    else:
        view.print_summary(summary)
    if summary.restart:
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606  (what runs is what ran)
    return 128 + summary.signal if summary.signal else 0


def _run_config(arguments: argparse.Namespace) -> Any:
    from edgekit.config import load_config, override_config, quick_config

    given = {
        "model": arguments.model,
        "mqtt": arguments.mqtt,
        "web": arguments.web,
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
    if _is_config(arguments.what):
        return override_config(load_config(arguments.what), **flags)
    if "model" not in flags:
        flags["model"] = _default_model()
    return quick_config(arguments.what, **flags)


def _is_config(what: str) -> bool:
    """A pipeline's file, whose cameras are waited for; a source that somebody has just typed is not."""
    return what.endswith((".yaml", ".yml"))


def _default_model() -> str:
    """The zoo's most accurate detector."""
    from edgekit.zoo import list_models

    detectors = [m for m in list_models() if m.card.task == "detect"]
    if not detectors:
        raise UsageError("the zoo holds no detector: give --model FILE.tflite")
    return max(detectors, key=lambda m: m.card.facts.get("accuracy", {}).get("person_ap50", 0)).name


# ---- configs -------------------------------------------------------------------------------------


def _add_validate(commands: Any) -> None:
    parser = _add(commands, "validate", _validate, "Check pipeline configs; exit 78 names what is wrong.")
    parser.add_argument("configs", metavar="CONFIG", nargs="+")
    parser.add_argument(
        "--print-resolved", action="store_true", help="print the merged configs, secrets masked"
    )


def _validate(arguments: argparse.Namespace) -> int:
    from edgekit.config import load_config, resolved_yaml
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
            if arguments.print_resolved:
                sys.stdout.write(f"# {path}\n{resolved_yaml(config)}")
            elif not arguments.json:
                sys.stdout.write(f"{path}: ok, {len(config.cameras)} camera(s), model {config.model.name}\n")
    if arguments.json:
        from edgekit.console import print_json

        print_json({"ok": not complaints, "errors": "\n".join(complaints).splitlines()})
        return ConfigError.exit_code if complaints else 0
    if complaints:
        raise ConfigError("\n".join(complaints))
    return 0


def _add_schema(commands: Any) -> None:
    summary = "Print the JSON schema of pipeline configs, or of recipes, for editors."
    parser = _add(commands, "schema", _schema, summary, json_flag=False)
    parser.add_argument("--recipe", action="store_true", help="of recipes for edgekit optimize")


def _schema(arguments: argparse.Namespace) -> int:
    from edgekit.console import print_json

    if arguments.recipe:
        from edgekit.optimize import recipe_schema

        print_json(recipe_schema())
        return 0
    from edgekit.config import config_schema

    print_json(config_schema())
    return 0


# ---- clips ---------------------------------------------------------------------------------------


def _add_replay(commands: Any) -> None:
    parser = _add(
        commands,
        "replay",
        _replay,
        "Print what a config tells of a clip: the same each time.",
        json_flag=False,
    )
    parser.add_argument("clip", metavar="CLIP", help="a video file or a folder of pictures")
    _add_clip_flags(parser)
    parser.add_argument(
        "--expect", type=Path, metavar="EVENTS.json", help="compare with what was printed before; exit 1"
    )


def _add_explain(commands: Any) -> None:
    parser = _add(commands, "explain", _explain, "Say why a thing in a clip was reported, or was not.")
    parser.add_argument(
        "event", metavar="EVENT", nargs="?", help="an event's id in edgekit replay, or its number"
    )
    parser.add_argument("--at", metavar="TIME", help="seconds from the start of the clip: 12.5 or 1:23")
    parser.add_argument("--clip", help="a video file or a folder of pictures (default: the camera's source)")
    _add_clip_flags(parser)
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page with a strip of pictures, too"
    )


def _add_clip_flags(parser: Any) -> None:
    parser.add_argument("--config", required=True, metavar="CONFIG", help="the pipeline to run it through")
    parser.add_argument("--camera", help="which of its cameras saw the clip (default: the only one)")


def _replay(arguments: argparse.Namespace) -> int:
    from edgekit.config import load_config
    from edgekit.replay import choose_camera, compare, replay, to_text

    config = load_config(arguments.config)
    told = replay(config, choose_camera(config, arguments.camera), arguments.clip)
    if arguments.expect is None:
        sys.stdout.write(to_text(told))
        return 0
    compare(told, arguments.expect)
    sys.stdout.write(f"{arguments.clip}: {len(told)} messages, all as expected\n")
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from edgekit import console
    from edgekit.config import load_config
    from edgekit.replay import choose_camera
    from edgekit.replay.explain import explain, parse_target
    from edgekit.replay.strip import to_html

    visit, at_s = parse_target(arguments.event, arguments.at)
    config = load_config(arguments.config)
    camera = choose_camera(config, arguments.camera)
    clip = arguments.clip or config.cameras[camera].source
    told = explain(config, camera, clip, visit=visit, at_s=at_s)
    title = f"{Path(clip).name} at {told.at_s:.2f} s"
    if arguments.html:
        arguments.html.write_text(to_html(told, title), encoding="utf-8")
    if arguments.json:
        reasons = [{"stage": r.stage, "passed": r.passed, "text": r.text} for r in told.reasons]
        console.print_json({"at_s": round(told.at_s, 3), "reasons": reasons})
    else:
        rows = [(r.stage, "yes" if r.passed else "no", r.text) for r in told.reasons]
        console.print_table(title, ("stage", "let on", "what"), rows)
    return 0


# ---- models --------------------------------------------------------------------------------------


def _add_evaluate(commands: Any) -> None:
    parser = _add(
        commands,
        "evaluate",
        _evaluate,
        "Score a detector by COCO's metric (extra: evaluate), or a classifier.",
    )
    parser.add_argument("model", metavar="MODEL", help="zoo name or path of a .tflite")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DATA",
        help="classifier: .npz of pictures, or a folder with one per class",
    )
    parser.add_argument("--coco", type=Path, metavar="ANNOTATIONS.json")
    parser.add_argument("--images", type=Path, metavar="DIR", help="the photos that --coco names")
    parser.add_argument(
        "--second-look",
        metavar="CLASSIFIER",
        help="detector: count false alarms and misses without and with it",
    )
    parser.add_argument(
        "--rule",
        help="classifier: what --coco's boxes say: person (is one in the photo?) or crops (of boxes)",
    )
    parser.add_argument(
        "--first-class",
        type=int,
        default=0,
        metavar="N",
        help="output of a model without class names that is class 0",
    )
    parser.add_argument("--engine", choices=("auto", "native", "tflite"), default="auto")
    parser.add_argument("--threads", type=_at_least_one, default=1)


def _evaluate(arguments: argparse.Namespace) -> int:
    from edgekit import console, inference
    from edgekit.evaluate import evaluate

    coco = arguments.coco is not None and arguments.images is not None
    if coco == (arguments.data is not None) or (arguments.coco is None) != (arguments.images is None):
        raise UsageError("evaluate: give --coco with --images, or --data")
    model = inference.open(arguments.model, arguments.engine, arguments.threads)
    if model.task == "classify" or not coco:
        return _evaluate_classifier(model, arguments)
    if arguments.second_look:
        return _count_mistakes(model, arguments)
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


def _count_mistakes(model: Any, arguments: argparse.Namespace) -> int:
    from edgekit import console, inference
    from edgekit.config.settings import SecondLookConfig
    from edgekit.evaluate import labelled
    from edgekit.evaluate.mistakes import count_mistakes

    second = inference.open(arguments.second_look)
    config = SecondLookConfig(model=arguments.second_look)
    photos = labelled.read_photos(arguments.coco, arguments.images)
    both = count_mistakes(model, second, config, photos, progress=console.progress(f"{model.name}"))
    told = dict(zip(("alone", "second look"), both, strict=True))
    if arguments.json:
        console.print_json({k: {label: m.to_dict() for label, m in v.items()} for k, v in told.items()})
        return 0
    rows = [
        (label, how, each.things, each.missed, each.false_alarms, each.confused)
        for label in config.between
        for how, each in ((how, found[label]) for how, found in told.items())
    ]
    columns = ("label", "detector", "things", "missed", "false alarms", "of them on another")
    console.print_table(f"{model.name}, then {second.name}, {len(photos)} images", columns, rows)
    return 0


def _evaluate_classifier(model: Any, arguments: argparse.Namespace) -> int:
    from edgekit import console
    from edgekit.evaluate import confusion, labelled

    if arguments.data is not None:
        pictures = labelled.read_labelled(arguments.data)
    else:
        rule = arguments.rule or confusion.rule_of(model.labels)
        if rule is None:
            raise UsageError(f"{model.name}: give --rule: {' or '.join(labelled.RULES)}")
        pictures = labelled.read_coco(arguments.coco, arguments.images, rule)
    result = confusion.score(model, pictures, arguments.first_class, console.progress(f"{model.name}"))
    if arguments.json:
        console.print_json(result.to_dict())
    else:
        console.print_accuracy(result)
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
        (m.name, m.card.task, _accuracy(m.card.facts.get("accuracy") or {}),
         f"{m.path.stat().st_size / 2**20:.2f}", ", ".join(m.card.labels))
        for m in models
    ]  # fmt: skip
    console.print_table("", ("model", "task", "accuracy", "MB", "labels"), rows)
    return 0


def _accuracy(facts: dict[str, Any]) -> str:
    """The first figure of a card that people ask for."""
    for key, name in (("person_ap50", "person AP50"), ("top1", "top-1")):
        if key in facts:
            return f"{name} {facts[key]:.3f}"
    return "-"


def _zoo_show(arguments: argparse.Namespace) -> int:
    from edgekit import console
    from edgekit.zoo import find_model

    card = find_model(arguments.name).card
    if arguments.json:
        console.print_json(card.facts)
    else:
        console.print_yaml(card.facts)
    return 0


def _add_optimize(commands: Any) -> None:
    from edgekit.verbs import prune, train

    parser = _add(
        commands, "optimize", _optimize, "Train a model by a recipe (extra: train), or prune one as it is."
    )
    train.add_arguments(parser)
    prune.add_arguments(parser)


def _optimize(arguments: argparse.Namespace) -> int:
    from edgekit.verbs import prune, train

    return prune.run(arguments) if arguments.one_shot else train.run(arguments)


# ---- this machine and others ---------------------------------------------------------------------


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

    from edgekit import console
    from edgekit.mqtt import session
    from edgekit.mqtt.topics import Topics

    config = _broker_config(arguments)
    report = session.examine(config.mqtt, Topics(config.mqtt.base, config.device.id))
    if arguments.json:
        console.print_json(asdict(report))
    else:
        console.print_table("", ("", ""), report.rows())
    return 0


def _mqtt_watch(arguments: argparse.Namespace) -> int:
    import itertools

    from edgekit import console
    from edgekit.mqtt import session

    config = _broker_config(arguments)
    device = config.device.id if arguments.device_id else "+"
    with session.Session(config.mqtt) as broker:
        broker.subscribe([f"{config.mqtt.base}/{device}/#"])
        for message in itertools.islice(broker.received(arguments.duration), arguments.count):
            console.print_message(message.topic, message.payload, as_json=arguments.json)
    return 0


def _mqtt_clean(arguments: argparse.Namespace) -> int:
    from edgekit import console
    from edgekit.mqtt import session
    from edgekit.mqtt.discovery import discovery_topic
    from edgekit.mqtt.topics import Topics

    config = _broker_config(arguments)
    topics = Topics(config.mqtt.base, config.device.id)
    others = [discovery_topic(config.mqtt.discovery.prefix, topics)]
    forgotten = session.clean(config.mqtt, topics, others, force=arguments.force)
    if arguments.json:
        console.print_json({"forgotten": forgotten})
    else:
        sys.stdout.write("".join(f"{topic}\n" for topic in forgotten))
    return 0


def _add_service(commands: Any) -> None:
    verbs = _verbs(commands, "service", "A pipeline as a service of systemd: hardened, watched, restarted.")
    install = _add(verbs, "install", _service_install, "Install and start it; needs root.", json_flag=False)
    install.add_argument("config", metavar="CONFIG", help="a pipeline YAML that all may read")
    install.add_argument("--print", action="store_true", help="print the unit, change nothing")
    install.add_argument(
        "--credential", metavar="NAME=FILE", action="append", default=[],
        help="where `!credential NAME` of the CONFIG lies (default: /etc/credstore/NAME)",
    )  # fmt: skip
    install.add_argument("--environment", type=Path, metavar="FILE", help="NAME=VALUE lines for ${NAME}")
    status = _add(verbs, "status", _service_status, "Say how it does; exit 3 when it does not run.")
    gone = _add(
        verbs, "uninstall", _service_uninstall, "Stop it and take it away; its state stays.", json_flag=False
    )
    for verb in (install, status, gone):
        verb.add_argument("--name", default="edgekit", help="of the service (default: edgekit)")


def _service_install(arguments: argparse.Namespace) -> int:
    from edgekit.service import Service

    pairs = [text.partition("=") for text in arguments.credential]
    if not all(name and path for name, _, path in pairs):
        raise UsageError("--credential: expected NAME=FILE")
    credentials = {name: Path(path) for name, _, path in pairs}
    service = Service(Path(arguments.config), arguments.name, credentials, arguments.environment)
    if arguments.print:
        sys.stdout.write(service.text())
        return 0
    service.install()
    sys.stdout.write(f"{service.units / service.unit}: installed; see: systemctl status {service.name}\n")
    return 0


def _service_status(arguments: argparse.Namespace) -> int:
    from edgekit import console, service

    found = service.status(arguments.name)
    if arguments.json:
        console.print_json(found)
    else:
        console.print_table("", ("", ""), list(found.items()))
    return 0 if found.get("ActiveState") == "active" else 3


def _service_uninstall(arguments: argparse.Namespace) -> int:
    from edgekit import service

    path = service.uninstall(arguments.name)
    sys.stdout.write(f"{path}: removed; counts and waiting events stay in /var/lib/private/edgekit\n")
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
