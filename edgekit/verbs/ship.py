"""`edgekit bundle` and `edgekit deploy`: a pipeline as one file, and its way onto a device."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError
from edgekit.verbs import add_command, at_least_one, seconds

VERBS = ("commit", "rollback", "status")


def add_bundle(commands: Any) -> None:
    parser = add_command(
        commands, "bundle", _bundle, "Pack a pipeline for a device: wheel, model, config, profile and unit."
    )
    parser.add_argument("config", metavar="CONFIG", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("kit.tar"), metavar="KIT.tar")
    parser.add_argument("--device", help="profile that goes along (default: the config's)")
    parser.add_argument("--model", help="zoo name or .tflite that stands for the config's model")
    parser.add_argument(
        "--wheel", type=Path, metavar="FILE", help="edgekit's wheel for the device (default: of this machine)"
    )
    parser.add_argument(
        "--requires", type=Path, metavar="DIR", help="wheels of all it requires, for a device off the network"
    )
    parser.add_argument(
        "--add", type=Path, action="append", default=[], metavar="FILE", help="a file that the config names"
    )


def _bundle(arguments: argparse.Namespace) -> int:
    from edgekit import console
    from edgekit.files import check_writable
    from edgekit.kit import Contents, bundle

    check_writable(arguments.out)
    contents = Contents(
        arguments.config, arguments.device, arguments.model, arguments.wheel, arguments.requires,
        tuple(arguments.add),
    )  # fmt: skip
    manifest = bundle(contents, arguments.out)
    if manifest["device"] == "auto":
        sys.stderr.write("edgekit: no profile in it, the device finds its own; --device NAME puts one in\n")
    elif (arch := manifest["device_arch"]) not in manifest["arch"]:
        sys.stderr.write(f"edgekit: the device is {arch}, the wheel is not; --wheel FILE takes one that is\n")
    for line in manifest["missing"]:
        sys.stderr.write(f"edgekit: to be set on the device: {line}\n")
    if arguments.json:
        console.print_json(manifest)
    else:
        size = manifest["bytes"] / 2**20
        sys.stdout.write(f"{arguments.out}: {manifest['id']}, {size:.1f} MB, sha256 {manifest['sha256']}\n")
    return 0


def add_deploy(commands: Any) -> None:
    parser = add_command(
        commands, "deploy", _deploy, "Bring a kit to a device by ssh; then commit it or roll it back."
    )
    parser.add_argument("target", metavar="USER@HOST")
    parser.add_argument(
        "what",
        metavar="KIT.tar|commit|rollback|status",
        nargs="?",
        default="kit.tar",
        help="default: kit.tar",
    )
    parser.add_argument("--port", type=at_least_one, help="ssh's port there")
    parser.add_argument("--identity", "-i", type=Path, metavar="FILE", help="key to log in with")
    parser.add_argument("--ssh", action="append", default=[], metavar="OPTION", help="as for ssh -o")
    parser.add_argument(
        "--root", default="~/edgekit", metavar="DIR", help="folder there (default: ~/edgekit)"
    )
    parser.add_argument(
        "--python", default="", help="interpreter there that has what edgekit requires (default: makes one)"
    )
    parser.add_argument(
        "--patience", type=seconds, default=10.0, metavar="TIME", help="how long the service must stay up"
    )
    parser.add_argument(
        "--check", default="", metavar="COMMAND", help="one more health check there: must end with 0"
    )
    parser.add_argument(
        "--service",
        choices=("auto", "system", "user", "none"),
        default="auto",
        help="whose systemd starts it",
    )


def _deploy(arguments: argparse.Namespace) -> int:
    from edgekit import console
    from edgekit.kit import Deployment, Remote

    target, what = arguments.target, arguments.what
    if what not in VERBS and target.endswith(".tar"):
        target, what = what, target
    if what not in VERBS and not what.endswith(".tar"):
        raise UsageError(f"{what}: expected a KIT.tar, or {', '.join(VERBS)}")
    remote = Remote(target, arguments.port, arguments.identity, arguments.ssh)
    there = Deployment(
        remote, arguments.root, arguments.python, arguments.patience, arguments.check, arguments.service
    )
    said = getattr(there, what)() if what in VERBS else there.deploy(Path(what))
    if arguments.json:
        console.print_json(said)
    else:
        sys.stdout.write(_in_words(target, what, said))
    return 0


def _in_words(target: str, what: str, said: dict[str, Any]) -> str:
    release = said["release"] or "nothing"
    before = f", before it {said['previous']}" if said.get("previous") else ""
    if what == "status":
        state = ", waits for commit or rollback" if said["trial"] else ""
        if said["undone"]:
            state = f", as the device restarted before {said['undone']} was committed"
        return f"{target}: {release} (service: {said['service']}){state}{before}\n"
    if what == "commit":
        return f"{target}: {release} is committed{before}\n"
    start = "" if said["service"] != "none" else "; no systemd there: start current/run yourself"
    done = f"{target}: {release} runs, {said['latency_ms']} ms a picture{before}{start}\n"
    return done if what == "rollback" else done + f"now: edgekit deploy {target} commit, or rollback\n"
