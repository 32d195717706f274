"""`edgekit replay` and `edgekit explain`: what a config tells of a clip, and why."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from edgekit.verbs import add_command


def add_replay(commands: Any) -> None:
    parser = add_command(
        commands,
        "replay",
        _replay,
        "Print what a config tells of a clip: the same each time.",
        json_flag=False,
    )
    parser.add_argument("clip", metavar="CLIP", help="a video file or a folder of pictures")
    _add_clip_flags(parser)
    parser.add_argument(
        "--expect", type=Path, metavar="EVENTS.json", help="compare with what was printed before; exit 3"
    )


def add_explain(commands: Any) -> None:
    parser = add_command(commands, "explain", _explain, "Say why a thing in a clip was reported, or was not.")
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
    from edgekit.pipeline.fit import read_config
    from edgekit.replay import choose_camera, compare, replay, to_text

    config = read_config(arguments.config, connects=False)
    told = replay(config, choose_camera(config, arguments.camera), arguments.clip)
    if arguments.expect is None:
        sys.stdout.write(to_text(told))
        return 0
    compare(told, arguments.expect)
    sys.stdout.write(f"{arguments.clip}: {len(told)} messages, all as expected\n")
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from edgekit import console
    from edgekit.files import check_writable, write_text
    from edgekit.pipeline.fit import read_config
    from edgekit.replay import choose_camera
    from edgekit.replay.explain import explain, parse_target
    from edgekit.replay.strip import to_html

    visit, at_s = parse_target(arguments.event, arguments.at)
    if arguments.html:
        check_writable(arguments.html)
    config = read_config(arguments.config, connects=False)
    camera = choose_camera(config, arguments.camera)
    clip = arguments.clip or config.cameras[camera].source
    told = explain(config, camera, clip, visit=visit, at_s=at_s)
    title = f"{Path(clip).name} at {told.at_s:.2f} s"
    if arguments.html:
        write_text(arguments.html, to_html(told, title))
    if arguments.json:
        reasons = [{"stage": r.stage, "passed": r.passed, "text": r.text} for r in told.reasons]
        console.print_json({"at_s": round(told.at_s, 3), "reasons": reasons})
    else:
        rows = [(r.stage, "yes" if r.passed else "no", r.text) for r in told.reasons]
        console.print_table(title, ("stage", "let on", "what"), rows)
    return 0
