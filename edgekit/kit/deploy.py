"""A kit's way onto a device: ssh runs the device's end of it (`edgekit.kit.agent`), rsync brings the kit."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError, UnavailableError, UsageError
from edgekit.kit import agent

SSH_FAILED = 255
CONNECT_S = 15


@dataclass(frozen=True)
class Remote:
    """A device as ssh knows it; `options` are words for ssh itself."""

    target: str
    port: int | None = None
    identity: Path | None = None
    options: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.target or self.target.startswith("-") or any(c.isspace() for c in self.target):
            raise UsageError(f"{self.target!r}: expected a device as user@host")

    def ssh(self) -> list[str]:
        """The command up to the target; it never asks for a password."""
        port = ["-p", str(self.port)] if self.port else []
        identity = ["-i", str(self.identity)] if self.identity else []
        options = [word for option in self.options for word in ("-o", option)]
        return ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}", *port, *identity, *options]

    def run(self, command: Sequence[str], content: bytes = b"") -> bytes:
        """What a command on the device prints; `content` is its input. Raises as told in `_explain`."""
        words = [*self.ssh(), self.target, "--", shlex.join(command)]
        done = _run(words, content)
        if done.returncode and not done.stdout.strip():
            raise self._explain(done.returncode, done.stderr)
        return done.stdout

    def copy(self, file: Path, folder: str, *, rsync: bool) -> None:
        """Bring a file into a folder of the device; by rsync what is there already need not travel."""
        if rsync and shutil.which("rsync"):
            done = _run(
                ["rsync", "--partial", "--chmod=F600", "-e", shlex.join(self.ssh()), str(file),
                 f"{self.target}:{shlex.quote(folder)}/"]
            )  # fmt: skip
            if done.returncode:
                raise self._explain(done.returncode, done.stderr)
        else:
            place = shlex.quote(f"{folder}/{file.name}")
            self.run(["/bin/sh", "-c", f"cat >{place} && echo done"], file.read_bytes())

    def _explain(self, code: int, stderr: bytes) -> EdgekitError:
        """UnavailableError when the device cannot be reached, EdgekitError when it cannot do it."""
        lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
        said = lines[-1].strip()[:300] if lines else f"exit code {code}"
        if code == SSH_FAILED:
            return UnavailableError(f"{self.target}: not reachable by ssh with a key: {said}")
        return EdgekitError(f"{self.target}: {said}")


def _run(command: Sequence[str], content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, input=content, capture_output=True, check=False)  # noqa: S603
    except FileNotFoundError:
        raise EdgekitError(f"{command[0]} is not installed: apt install openssh-client") from None


@dataclass(frozen=True)
class Deployment:
    """A device's releases below the folder `root` there.

    `python` is an interpreter there that has everything edgekit requires ("": a virtual environment is made).
    A release works when its model runs, its service stays up for `patience_s` and `check`, a command of the
    user's, ends with 0. `service` is "system", "user", "none" or "auto".
    """

    remote: Remote
    root: str = "~/edgekit"
    python: str = ""
    patience_s: float = 10.0
    check: str = ""
    service: str = "auto"

    def deploy(self, kit: Path) -> dict[str, Any]:
        """Bring a kit there and switch to it; it waits for `commit` then.

        Raises UsageError for a file that is no sound kit, UnavailableError when the device is not reached,
        EdgekitError when the release does not work there: what ran before runs again.
        """
        if not kit.is_file():
            raise UsageError(f"{kit}: no such kit: `edgekit bundle CONFIG -o {kit}` makes one")
        try:
            manifest = agent.verify(kit)
        except agent.KitError as error:
            raise UsageError(str(error)) from None
        place = self._ask("prepare")
        content = kit.read_bytes()
        named = f"{manifest['id']}-{hashlib.sha256(content).hexdigest()[:12]}.tar"
        self._send(kit, place, named)
        self._ask("install", kit=named, python=self.python)
        return {
            **self._ask("switch", release=manifest["id"], **self._health()),
            "missing": manifest["missing"],
        }

    def _send(self, kit: Path, place: dict[str, Any], named: str) -> None:
        self.remote.copy(kit, place["incoming"], rsync=place["rsync"])
        here = f"{place['incoming']}/{kit.name}"
        self.remote.run(["mv", "-f", "--", here, f"{place['incoming']}/{named}"])

    def commit(self) -> dict[str, Any]:
        """Keep the current release for good. Raises EdgekitError when there is none."""
        return self._ask("commit")

    def rollback(self) -> dict[str, Any]:
        """Back to the release before. Raises EdgekitError when there is none."""
        return self._ask("rollback", **self._health())

    def status(self) -> dict[str, Any]:
        """What is deployed there."""
        return self._ask("status", service=self.service)

    def _health(self) -> dict[str, Any]:
        return {"patience_s": self.patience_s, "check": self.check, "service": self.service}

    def _ask(self, verb: str, **given: Any) -> dict[str, Any]:
        code = Path(agent.__file__).read_bytes()
        said = self.remote.run(["python3", "-I", "-", verb, self.root, json.dumps(given)], code)
        try:
            told = json.loads(said.splitlines()[-1])
        except (ValueError, IndexError):
            raise EdgekitError(
                f"{self.remote.target}: an answer that makes no sense: {said[:100]!r}"
            ) from None
        if "error" in told:
            raise EdgekitError(f"{self.remote.target}: {told['error']}")
        return dict(told)
