"""`edgekit service`, `doctor` and `version`: this machine and this installation."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError
from edgekit.verbs import add_command, add_verbs


def add_service(commands: Any) -> None:
    verbs = add_verbs(
        commands, "service", "A pipeline as a service of systemd: hardened, watched, restarted."
    )
    install = add_command(
        verbs, "install", _service_install, "Install and start it; needs root.", json_flag=False
    )
    install.add_argument("config", metavar="CONFIG", help="a pipeline YAML that all may read")
    install.add_argument("--print", action="store_true", help="print the unit, change nothing")
    install.add_argument(
        "--credential", metavar="NAME=FILE", action="append", default=[],
        help="where `!credential NAME` of the CONFIG lies (default: /etc/credstore/NAME)",
    )  # fmt: skip
    install.add_argument("--environment", type=Path, metavar="FILE", help="NAME=VALUE lines for ${NAME}")
    status = add_command(verbs, "status", _service_status, "Say how it does; exit 3 when it does not run.")
    gone = add_command(
        verbs, "uninstall", _service_uninstall, "Stop it and take it away; its state stays.", json_flag=False
    )
    for verb in (install, status, gone):
        verb.add_argument("--name", default="edgekit", help="of the service (default: edgekit)")


def _service_install(arguments: argparse.Namespace) -> int:
    from edgekit.service.installation import Service

    pairs = [text.partition("=") for text in arguments.credential]
    if not all(name and path for name, _, path in pairs):
        raise UsageError("--credential: expected NAME=FILE")
    credentials = {name: Path(path) for name, _, path in pairs}
    service = Service(Path(arguments.config), arguments.name, credentials, arguments.environment)
    if arguments.print:
        sys.stdout.write(service.text())
        sys.stderr.write("".join(f"edgekit: {fault}\n" for fault in service.faults()))
        return 0
    service.install()
    sys.stdout.write(f"{service.units / service.unit}: installed; see: systemctl status {service.name}\n")
    return 0


def _service_status(arguments: argparse.Namespace) -> int:
    from edgekit import console
    from edgekit.service import installation

    found = installation.status(arguments.name)
    if arguments.json:
        console.print_json(found)
    else:
        console.print_table("", ("", ""), list(found.items()))
    return 0 if found.get("ActiveState") == "active" else 3


def _service_uninstall(arguments: argparse.Namespace) -> int:
    from edgekit.service import installation

    path = installation.uninstall(arguments.name)
    kept = f"/var/lib/private/{arguments.name}"
    sys.stdout.write(f"{path}: removed; counts and waiting events stay in {kept}\n")
    return 0


def add_doctor(commands: Any) -> None:
    doctor = add_command(commands, "doctor", _doctor, "Check this installation and say what to mend.")
    doctor.add_argument("config", metavar="CONFIG", nargs="?", help="a pipeline YAML, and its broker")


def _doctor(arguments: argparse.Namespace) -> int:
    from edgekit import console, doctor

    checks = doctor.examine(arguments.config)
    if arguments.json:
        console.print_json([check.to_dict() for check in checks])
    else:
        console.print_table("", ("check", "state", "what"), [(c.name, c.state, c.text) for c in checks])
    return 1 if any(check.state == "broken" for check in checks) else 0


def add_version(commands: Any) -> None:
    add_command(commands, "version", _version, "Print the version.")


def _version(arguments: argparse.Namespace) -> int:
    if not arguments.json:
        sys.stdout.write(version_line() + "\n")
        return 0
    import platform

    from edgekit import __version__
    from edgekit.console import print_json

    print_json({"edgekit": __version__, "python": platform.python_version(), "machine": platform.machine()})
    return 0


def version_line() -> str:
    from edgekit import __version__

    return f"edgekit {__version__}"
