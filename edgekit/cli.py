"""The command line: `edgekit.verbs` has the sub-commands; each parses, calls one function, prints."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from edgekit.errors import EdgekitError
from edgekit.verbs import Command
from edgekit.verbs.afford import add_devices, add_predict
from edgekit.verbs.broker import add_mqtt
from edgekit.verbs.choose import add_select
from edgekit.verbs.clips import add_explain, add_replay
from edgekit.verbs.configs import add_schema, add_validate
from edgekit.verbs.machine import add_doctor, add_service, add_version, version_line
from edgekit.verbs.measure import add_analyze, add_benchmark
from edgekit.verbs.models import add_optimize, add_zoo
from edgekit.verbs.run import add_run
from edgekit.verbs.score import add_evaluate
from edgekit.verbs.ship import add_bundle, add_deploy


class Terminated(BaseException):
    """SIGTERM, raised where no pipeline is there to stop in order."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is the error's own (see edgekit.errors), 130 or 143 after a signal."""
    signal.signal(signal.SIGTERM, _terminate)
    arguments = argparse.Namespace(log_json=False, secrets=None)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
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
    parser.add_argument("--version", action="version", version=version_line())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (
        add_run, add_validate, add_schema, add_replay, add_explain, add_evaluate, add_zoo,
        add_devices, add_predict, add_select, add_benchmark, add_analyze, add_optimize, add_bundle,
        add_deploy, add_mqtt, add_service, add_doctor, add_version,
    ):  # fmt: skip
        add(commands)
    return parser
