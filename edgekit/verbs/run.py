"""`edgekit run`: a pipeline, until it ends."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from functools import partial
from typing import Any

from edgekit.errors import UsageError
from edgekit.verbs import add_command, at_least_one, seconds

NAMING = {"model", "device", "labels"}  # flags by which the file's own words need not hold


def add_run(commands: Any) -> None:
    parser = add_command(commands, "run", _run, "Run a pipeline: a YAML config, or one source and flags.")
    parser.add_argument("what", metavar="CONFIG|SOURCE", help="x.yaml, or demo:, 0, rtsp://…, video, folder")
    parser.add_argument("--model", help="zoo name or path of a .tflite")
    parser.add_argument("--mqtt", metavar="HOST[:PORT]", help="broker; without it an embedded one is started")
    parser.add_argument("--web", metavar="[HOST:]PORT", help="show the live page there (extra: web)")
    parser.add_argument("--engine", choices=("auto", "native", "tflite"))
    parser.add_argument("--threads", type=at_least_one)
    parser.add_argument("--device", help="device profile whose memory budget holds (default: this machine)")
    parser.add_argument("--device-id", help="name of this device in MQTT topics (default: the host name)")
    parser.add_argument("--labels", help="comma-separated classes to watch (default: all of the model)")
    parser.add_argument("--min-score", type=float, help="least score that starts a track, 0 to 1")
    parser.add_argument("--fps", type=float, help="look at most at so many frames a second")
    parser.add_argument("--loop", action="store_true", help="start a file again when it ends")
    parser.add_argument(
        "--realtime", action="store_true", help="play a file at its own pace, dropping frames"
    )
    parser.add_argument("--frames", type=at_least_one, metavar="N", help="end after N frames")
    parser.add_argument("--duration", type=seconds, metavar="TIME", help="end after 30s, 5m or 1h")
    parser.add_argument(
        "--require", action="store_true", help="end at once when a camera or the broker is absent"
    )
    parser.add_argument("--print-resolved", action="store_true", help="print the merged config and end")
    parser.add_argument(
        "--dry-run", action="store_true", help="run the models once, see that they fit the pipeline, and end"
    )
    parser.add_argument("-v", "--verbose", action="count", default=0)
    parser.add_argument("-q", "--quiet", action="store_true", help="only warnings and errors")
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
    logs.set_up(
        arguments.verbose, as_json=arguments.log_json, quiet=arguments.quiet, secrets=arguments.secrets
    )
    if arguments.dry_run:
        return _try_out(config, as_json=arguments.json, quiet=arguments.quiet)
    limits = Limits(arguments.frames, arguments.duration)
    with view.RunLog() if arguments.log_json else view.RunView(quiet=arguments.quiet) as shown:
        summary = runtime.run(
            config,
            limits,
            require=arguments.require,
            wait=_is_config(arguments.what),
            observer=shown,
            on_ready=shown.ready,
            reread=partial(_read_again, arguments) if _is_config(arguments.what) else None,
        )
    if arguments.json:
        console.print_json(view.summary_dict(summary))
    elif not arguments.quiet:
        view.print_summary(summary)
    if summary.restart:
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606  (what runs is what ran)
    return 128 + summary.signal if summary.signal else 0


def _try_out(config: Any, *, as_json: bool, quiet: bool) -> int:
    from edgekit import console, runtime

    tried = runtime.try_out(config)
    if as_json:
        console.print_json(asdict(tried))
    elif not quiet:
        sys.stdout.write(f"{tried.model} fits this pipeline: {tried.latency_ms:.1f} ms a picture\n")
    return 0


def _read_again(arguments: argparse.Namespace) -> Any:
    config = _run_config(arguments)
    arguments.secrets.learn(config)
    return config


def _run_config(arguments: argparse.Namespace) -> Any:
    from edgekit.config import load_config, override_config, quick_config
    from edgekit.pipeline.fit import read_config

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
        if arguments.print_resolved:
            return override_config(load_config(arguments.what), **flags)
        return override_config(read_config(arguments.what, names=not flags.keys() & NAMING), **flags)
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
