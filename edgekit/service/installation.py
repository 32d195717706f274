"""The installation of a pipeline as a service of systemd, and its state."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from edgekit.config import Config
from edgekit.config.document import read_document
from edgekit.errors import EdgekitError, UnavailableError, UsageError
from edgekit.pipeline.fit import read_config
from edgekit.service import reach
from edgekit.service.unit import unit_text

UNITS = Path("/etc/systemd/system")
CREDENTIALS = Path("/etc/credstore")
SHOWN = (
    "LoadState",
    "ActiveState",
    "SubState",
    "StatusText",
    "MainPID",
    "NRestarts",
    "Result",
    "MemoryCurrent",
)


@dataclass(frozen=True, slots=True)
class Service:
    """A pipeline's file as a service. `credentials` are files by name, for `!credential name` in the file;
    `environment` is a file of NAME=VALUE lines, for `${NAME}`.
    """

    config: Path
    name: str = "edgekit"
    credentials: Mapping[str, Path] = field(default_factory=dict)
    environment: Path | None = None
    units: Path = UNITS

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", self.name):
            raise UsageError(f"--name: expected 1 to 64 of the characters A-Z a-z 0-9 _ -, not {self.name!r}")

    @property
    def unit(self) -> str:
        """The name that systemctl takes."""
        return f"{self.name}.service"

    def text(self) -> str:
        """The unit file. Raises ConfigError when the pipeline's file is wrong, as the service would."""
        config = self.config.absolute()
        used, files, _ = self._read()
        more = [
            f"LoadCredential={name}:{_escaped(str(path.absolute()))}" for name, path in sorted(used.items())
        ]
        if self.environment:
            more.append(f"EnvironmentFile={_escaped(str(self.environment.absolute()))}")
        command = [sys.executable, "-m", "edgekit", "run", str(config), "--quiet"]
        start = " ".join(map(_quoted, command))
        places = [way for named in files for way in (named.path, named.path.resolve())]
        home = "read-only" if any(reach.lies_in(path, reach.HOMES) for path in places) else "yes"
        return unit_text(_escaped(config.stem), start, more, state=self.name, home=home)

    def faults(self) -> list[str]:
        """What the service would not see, could not read or could not write, a line for each."""
        _, files, config = self._read()
        return [*reach.faults(files), *reach.faults_of_state(config, self.name)]

    def install(self) -> None:
        """Have it started now and at each boot. Raises as `text`, and without root or systemd."""
        text = self.text()
        if faults := self.faults():
            raise UsageError("\n".join(faults))
        _need_systemd()
        _need_root("install")
        path = self.units / self.unit
        new = path.with_name(f".{path.name}.new")
        try:
            new.write_text(text, encoding="utf-8")
            new.replace(path)
        except OSError as error:
            raise UnavailableError(f"{path}: cannot be written: {error.strerror}") from None
        _systemctl("daemon-reload")
        _systemctl("enable", self.unit)
        _systemctl("restart", "--no-block", self.unit)

    def _read(self) -> tuple[dict[str, Path], list[reach.Named], Config]:
        """The pipeline's file as the service would read it: its credentials, all files, and what it says."""
        config = self.config.absolute()
        names = read_document(config).credentials
        used = {name: CREDENTIALS / name for name in names} | dict(self.credentials)
        with _as_in_service(used, self.environment) as loaded:
            found = read_config(self.config)
            named = list(reach.named_files(found, read_document(config)))
        programs = (("python", Path(sys.executable)), ("edgekit", Path(__file__)))
        files = [reach.Named(key, path, home="/opt/edgekit") for key, path in programs]
        files.append(reach.Named("CONFIG", config))
        return used, files + [each for each in named if each.path.parent != loaded], found


def uninstall(name: str, units: Path = UNITS) -> Path:
    """Stop a service and take its unit away; its state stays. The unit's file is returned."""
    path = units / f"{name}.service"
    if not path.is_file():
        raise UsageError(f"{path}: there is no such service")
    _need_systemd()
    _need_root("uninstall")
    _systemctl("disable", "--now", path.name)
    path.unlink()
    _systemctl("daemon-reload")
    return path


def status(name: str) -> dict[str, str]:
    """What systemd knows of a service, by property. Raises UnavailableError where there is none."""
    _need_systemd()
    out = _systemctl("show", f"{name}.service", f"--property={','.join(SHOWN)}")
    found = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
    if found.get("LoadState") == "not-found":
        raise UnavailableError(f"there is no service {name}: sudo edgekit service install CONFIG")
    return found


@contextmanager
def _as_in_service(credentials: Mapping[str, Path], environment: Path | None) -> Iterator[Path]:
    """With the credentials, in the folder that is given, and the environment that systemd would give."""
    before = dict(os.environ)
    with TemporaryDirectory() as folder:
        for name, path in credentials.items():
            if not path.is_file():
                raise UsageError(
                    f"credential {name}: no file {path}: put it there, or --credential {name}=FILE"
                )
            (Path(folder) / name).symlink_to(path.absolute())
        os.environ.update(_environment(environment) | {"CREDENTIALS_DIRECTORY": folder})
        try:
            yield Path(folder)
        finally:
            os.environ.clear()
            os.environ.update(before)


def _environment(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--environment {path}: cannot be read: {error}") from None
    pairs = (line.strip().split("=", 1) for line in lines if "=" in line and line.strip()[0] not in "#;")
    return {name.strip(): value.strip().strip("\"'") for name, value in pairs}


def _need_root(verb: str) -> None:
    if os.geteuid() != 0:
        again = f"sudo {sys.executable} -m edgekit service {verb} …"
        raise UsageError(f"only root can do that: {again}, or --print to see the unit")


def _need_systemd() -> None:
    if not shutil.which("systemctl") or not Path("/run/systemd/system").is_dir():
        raise UnavailableError("this machine is not run by systemd: --print shows the unit all the same")


def _systemctl(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603  (the words are our own)
        ["systemctl", *arguments],  # noqa: S607  (wherever the system keeps it)
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise EdgekitError(f"systemctl {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _escaped(text: str) -> str:
    """Systemd takes % for the start of a specifier."""
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    word = _escaped(word).replace("$", "$$")
    if not word or set(word) & set(" \t'\"\\"):
        word = '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return word
