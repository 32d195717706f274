"""The device's end of a deployment. It is sent over ssh and run there: nothing but Python's own library.

    <root>/releases/<id>/    a kit, unpacked, with `site/` (its wheel) and `run` and `edgekit` to start it
    <root>/current           -> the release that runs
    <root>/previous          -> the one that was committed before it
    <root>/trial             is there while `current` waits for a commit: the boot that it was deployed in
    <root>/undone            names a release that the device has restarted without, as it was not committed
    <root>/env               NAME=value lines for the service: secrets stay on the device
    <root>/credentials/      files for `!credential NAME`
    <root>/venv/<hash>/      what the wheel needs, shared by all releases that need the same

Every verb prints one JSON object; with "error" in it, it failed and nothing has changed. The service calls
`boot` before it starts: a release that was not committed before the device restarted makes way for the one
before it, so that a device which it takes off the network comes back by its switch.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

SCHEMA = "edgekit.kit/1"
MANIFEST = "manifest.json"
UNIT = "edgekit.service"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
OLDEST = (3, 11)
MAX_BYTES = 4 * 2**30
START_S = 90.0  # as in the unit
Said = dict[str, Any]


class KitError(Exception):
    """One line: what is wrong with a kit or on the device."""


def unit_path(kind: str) -> str:
    """Where a kit keeps its unit for the systemd of the "system" or of a "user"."""
    return f"systemd/{kind}/{UNIT}"


# ---- the kit -------------------------------------------------------------------------------------


def verify(kit: Path) -> Said:
    """The manifest of a kit whose every file is as it says. Raises KitError."""
    try:
        with tarfile.open(kit) as tar:
            return _verify(kit.name, tar)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise KitError(f"{kit.name}: not a kit, or damaged: {error}") from None


def _verify(name: str, tar: tarfile.TarFile) -> Said:
    members = tar.getmembers()
    files = {member.name: member for member in members}
    if MANIFEST not in files or len(files) != len(members):
        raise KitError(f"{name}: not a kit: it needs one {MANIFEST} and no file twice")
    manifest = _manifest(name, _read(tar, files.pop(MANIFEST)))
    listed = manifest["files"]
    if set(listed) != set(files):
        odd = min(set(listed) ^ set(files))
        raise KitError(f"{name}: {odd} is not both in the kit and in its manifest")
    if sum(member.size for member in members) > MAX_BYTES:
        raise KitError(f"{name}: more than {MAX_BYTES // 2**30} GB")
    for path, member in files.items():
        if not member.isreg() or not _is_inside(path):
            raise KitError(f"{name}: {path!r} is no plain file inside of the kit")
        if hashlib.sha256(_read(tar, member)).hexdigest() != listed[path]:
            raise KitError(f"{name}: {path} is damaged: its hash is not that of the manifest")
    return manifest


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member) if member.isreg() else None
    if file is None:
        raise KitError(f"{member.name!r} is no plain file")
    return file.read()


def _manifest(name: str, raw: bytes) -> Said:
    try:
        manifest = json.loads(raw)
        good = manifest["schema"] == SCHEMA and isinstance(manifest["files"], dict)
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise KitError(f"{name}: its {MANIFEST} is not one of {SCHEMA}")
    manifest["id"] = f"{manifest['name']}-{hashlib.sha256(raw).hexdigest()[:12]}"
    return dict(manifest)


def _is_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts and "\\" not in path and bool(pure.parts)


# ---- installing ----------------------------------------------------------------------------------


def install(root: Path, kit: Path, python: str) -> Said:
    """Unpack a kit beside what runs; that goes on. `python` has what edgekit needs; "" makes it so here."""
    if sys.version_info < OLDEST:
        raise KitError(f"edgekit needs Python 3.11, this device's python3 is {platform.python_version()}")
    manifest = verify(kit)
    machine = platform.machine()
    if machine not in manifest["arch"] and "any" not in manifest["arch"]:
        raise KitError(f"the kit's wheel is for {', '.join(manifest['arch'])}, this device is {machine}: "
                       "bundle with --wheel FILE")  # fmt: skip
    release = root / "releases" / manifest["id"]
    if not release.is_dir():
        fresh = release.with_name("." + release.name)
        shutil.rmtree(fresh, ignore_errors=True)
        _unpack(kit, fresh)
        _write_launchers(fresh, python or _environment(root, fresh, manifest), manifest)
        fresh.rename(release)
    kit.unlink()
    return {"release": manifest["id"]}


def _unpack(kit: Path, folder: Path) -> None:
    """A verified kit's files, and those of its wheel."""
    with tarfile.open(kit) as tar:
        for member in tar.getmembers():
            target = folder / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_read(tar, member))
    for wheel in folder.glob("wheel/*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            if not all(_is_inside(name) for name in archive.namelist()):
                raise KitError(f"{wheel.name}: files outside of the wheel")
            archive.extractall(folder / "site")  # noqa: S202  (all names are looked at)


def _environment(root: Path, release: Path, manifest: Said) -> str:
    """The interpreter of a virtual environment with all that the wheel requires."""
    needs = "\n".join([sys.version, *sorted(manifest["requires"])])
    folder = root / "venv" / hashlib.sha256(needs.encode()).hexdigest()[:12]
    done = folder / "complete"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        _call([sys.executable, "-m", "venv", "--system-site-packages", str(folder)], "venv")
        offline = ["--no-index"] if manifest["offline"] else []
        found = ["--find-links", str(release / "wheels")] if (release / "wheels").is_dir() else []
        words = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", *offline, *found]
        _call([str(folder / "bin/python"), *words, *manifest["requires"]], "pip install")
        done.touch()
    return str(folder / "bin/python")


def _call(command: list[str], name: str, **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # noqa: S603
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise KitError(f"{name} failed: {said[-1][:300]}")
    return str(done.stdout)


_LAUNCHER = """#!/bin/sh
# Starts the release that this file belongs to.
{first}here=$(dirname "$(readlink -f "$0")")
export PYTHONPATH="$here/site" CREDENTIALS_DIRECTORY="${{CREDENTIALS_DIRECTORY-$here/../../credentials}}"
cd "$here" && exec {python} -P -m edgekit {words}"$@"
"""


def _write_launchers(release: Path, python: str, manifest: Said) -> None:
    device = "--device profile.yaml " if "profile.yaml" in manifest["files"] else ""
    run = f"run config.yaml --model {manifest['model']['file']} {device}"
    quoted = "'" + python.replace("'", "'\\''") + "'"
    early = "trap '' HUP  # until edgekit can defer it: Python takes a while to start\n"
    for name, words, first in (("edgekit", "", ""), ("run", run, early)):
        file = release / name
        file.write_text(_LAUNCHER.format(python=quoted, words=words, first=first))
        file.chmod(0o755)


# ---- switching -----------------------------------------------------------------------------------


def switch(root: Path, release: str, service: Service, patience_s: float, check: str) -> Said:
    """Make a release the current one, start it, look whether it works; if not, all is as it was before."""
    before, committed = _target(root, "current"), _target(root, "previous")
    on_trial = (root / "trial").exists()
    if not (root / "releases" / release).is_dir():
        raise KitError(f"there is no release {release} on the device")
    (root / "trial").write_text(_boot_id(), encoding="ascii")
    (root / "undone").unlink(missing_ok=True)
    if before and before != release and not on_trial:
        _link(root, "previous", before)
    _link(root, "current", release)
    try:
        service.restart()
        health = examine(root, service, patience_s, check)
    except KitError as error:
        _restore(root, service, before, committed, on_trial=on_trial)
        back = f"back to {before}" if before else "nothing runs, as before"
        raise KitError(f"{release} does not work there: {error}; {back}") from None
    return {"release": release, "previous": _target(root, "previous"), "service": service.kind, **health}


def _restore(
    root: Path,
    service: Service,
    before: str | None,
    committed: str | None,
    *,
    on_trial: bool,
) -> None:
    _link(root, "current", before)
    _link(root, "previous", committed)
    if not on_trial:
        (root / "trial").unlink()
    if before:
        service.restart()
    else:
        service.stop()


def commit(root: Path) -> Said:
    """Keep the current release; those that are neither it nor the previous one go."""
    current, previous = _target(root, "current"), _target(root, "previous")
    if not current:
        raise KitError("nothing is deployed here yet")
    if undone := _undone(root):
        raise KitError(f"the device restarted before {undone} was committed, and runs {current} again: "
                       "deploy it anew")  # fmt: skip
    (root / "trial").unlink(missing_ok=True)
    kept = {current, previous}
    gone = [folder for folder in (root / "releases").iterdir() if folder.name not in kept]
    for folder in gone:
        shutil.rmtree(folder)
    return {"release": current, "previous": previous, "removed": sorted(folder.name for folder in gone)}


def rollback(root: Path, service: Service, patience_s: float, check: str) -> Said:
    """Make the previous release the current one again."""
    current, previous = _target(root, "current"), _target(root, "previous")
    if not previous:
        raise KitError("there is no release before this one to go back to")
    _link(root, "current", previous)
    _link(root, "previous", None)
    (root / "trial").unlink(missing_ok=True)
    service.restart()
    return {"release": previous, "left": current, "service": service.kind,
            **examine(root, service, patience_s, check)}  # fmt: skip


def boot(root: Path) -> Said:
    """Before a start of the service: the release before is current again when the device has restarted since
    this one was switched to, and nobody has committed it.
    """
    trial, current, previous = root / "trial", _target(root, "current"), _target(root, "previous")
    if not previous or not trial.exists() or trial.read_text(encoding="ascii") == _boot_id():
        return {"release": current}
    with _alone(root):
        (root / "undone").write_text(current or "", encoding="utf-8")
        _link(root, "current", previous)
        _link(root, "previous", None)
        trial.unlink()
    return {"release": previous, "left": current}


def _boot_id() -> str:
    return BOOT_ID.read_text(encoding="ascii").strip()


def _undone(root: Path) -> str | None:
    file = root / "undone"
    return file.read_text(encoding="utf-8") if file.exists() else None


def status(root: Path, service: Service) -> Said:
    """What is deployed."""
    releases = root / "releases"
    names = sorted(f.name for f in releases.iterdir() if f.name[0] != ".") if releases.is_dir() else []
    return {
        "release": _target(root, "current"), "previous": _target(root, "previous"), "releases": names,
        "trial": (root / "trial").exists(), "undone": _undone(root), "service": service.state(),
    }  # fmt: skip


def _target(root: Path, name: str) -> str | None:
    link = root / name
    return link.readlink().name if link.is_symlink() else None


def _link(root: Path, name: str, release: str | None) -> None:
    """Point a link at a release, in one step that nobody sees half done; without one it goes."""
    link = root / name
    if release is None:
        link.unlink(missing_ok=True)
        return
    fresh = root / f".{name}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path("releases") / release)
    fresh.replace(link)


# ---- does it work --------------------------------------------------------------------------------


def examine(root: Path, service: Service, patience_s: float, check: str) -> Said:
    """Whether the model fits the pipeline, the service stays up, and the user's own check is content."""
    release = root / "current"
    words = [str(release / "run"), "--dry-run", "--json"]
    tried = json.loads(_call(words, "the pipeline", env=_with_env(root)))
    service.watch(patience_s)
    if check:
        _call(["/bin/sh", "-c", check], f"check {check!r}", cwd=release)
    manifest = json.loads((release / MANIFEST).read_text(encoding="utf-8"))
    return {"edgekit": manifest["edgekit"], "latency_ms": tried["latency_ms"],
            "peak_rss_mb": tried["peak_rss_mb"]}  # fmt: skip


def _with_env(root: Path) -> dict[str, str]:
    """The environment with the lines of <root>/env, as the service gets it."""
    file = root / "env"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    pairs = (line.split("=", 1) for line in map(str.strip, lines) if "=" in line and line[0] not in "#;")
    return {**os.environ, **{name.strip(): value.strip().strip("\"'") for name, value in pairs}}


class Service:
    """The systemd unit: `kind` is "system", "user" or "none". Asked for "auto" it is root's or the user's,
    and "none" where there is no systemd.
    """

    def __init__(self, root: Path, kind: str) -> None:
        self._root = root
        os.environ.setdefault("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
        self.kind = ("user" if os.getuid() else "system") if kind == "auto" else kind
        self._command = ["systemctl", "--user"] if self.kind == "user" else ["systemctl"]
        if self.kind != "none" and not self._answers():
            if kind != "auto":
                raise KitError(f"no systemd answers there for a {kind} service; --service none goes without")
            self.kind = "none"

    def _answers(self) -> bool:
        return bool(shutil.which("systemctl")) and not self._run("show-environment").returncode

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._command, *words], capture_output=True, text=True, check=False)  # noqa: S603

    def restart(self) -> None:
        """Write the unit of the current release and start it anew."""
        if self.kind == "none":
            return
        folder = Path(
            "/etc/systemd/system" if self.kind == "system" else Path.home() / ".config/systemd/user"
        )
        folder.mkdir(parents=True, exist_ok=True)
        text = (self._root / "current" / unit_path(self.kind)).read_text(encoding="utf-8")
        (folder / UNIT).write_text(text.replace("@ROOT@", str(self._root).replace("%", "%%")), "utf-8")
        if self.kind == "system":
            self._root.chmod(0o755)  # the service is a user of its own
        if self.kind == "user" and shutil.which("loginctl"):  # or it would end when the user logs out
            subprocess.run(["loginctl", "enable-linger"], capture_output=True, check=False)  # noqa: S607
        for words in (["daemon-reload"], ["enable", UNIT], ["restart", "--no-block", UNIT]):
            _call([*self._command, *words], f"systemctl {words[0]}")

    def stop(self) -> None:
        if self.kind != "none":
            self._run("disable", "--now", UNIT)

    def state(self) -> str:
        return self._run("is-active", UNIT).stdout.strip() if self.kind != "none" else "none"

    def watch(self, patience_s: float) -> None:
        """Raises KitError when the service does not start, or does not stay up for so long."""
        if self.kind == "none":
            return
        restarts, begin, up_s = self._restarts(), time.monotonic(), None
        while up_s is None or time.monotonic() < up_s + patience_s:
            state = self.state()
            late = up_s is None and time.monotonic() > begin + START_S
            if late or state not in ("active", "activating") or self._restarts() != restarts:
                raise KitError(f"the service is {state}: {self._last_line()}")
            if up_s is None and state == "active":
                up_s = time.monotonic()
            time.sleep(min(0.5, patience_s))

    def _restarts(self) -> str:
        return self._run("show", "-p", "NRestarts", "--value", UNIT).stdout

    def _last_line(self) -> str:
        who = ["--user"] if self.kind == "user" else []
        words = ["journalctl", *who, "-u", UNIT, "-n", "20", "-o", "cat", "--no-pager"]
        if not shutil.which("journalctl"):
            return "no journal"
        said = subprocess.run(words, capture_output=True, text=True, check=False).stdout  # noqa: S603
        lines = [line for line in said.splitlines() if line.startswith("edgekit: ")]
        return lines[-1][:300] if lines else "see journalctl"


# ---- one verb ------------------------------------------------------------------------------------


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One deployment at a time."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise KitError(
                "another deployment is at work on this device; try again when it is done"
            ) from None
        yield


def prepare(root: Path) -> Said:
    """A folder for the kit that comes."""
    incoming = root / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    incoming.chmod(stat.S_IRWXU)
    return {"incoming": str(incoming), "rsync": bool(shutil.which("rsync"))}


def _health(root: Path, given: Said) -> tuple[Service, float, str]:
    return Service(root, given["service"]), given["patience_s"], given["check"]


VERBS: dict[str, Callable[[Path, Said], Said]] = {
    "prepare": lambda root, _: prepare(root),
    "install": lambda root, given: install(root, root / "incoming" / given["kit"], given["python"]),
    "switch": lambda root, given: switch(root, given["release"], *_health(root, given)),
    "commit": lambda root, _: commit(root),
    "rollback": lambda root, given: rollback(root, *_health(root, given)),
    "status": lambda root, given: status(root, Service(root, given["service"])),
}


def main(verb: str, root: str, given: str = "{}") -> int:
    """Do one verb and print what came of it. `boot` is called while `switch` restarts the service, too."""
    os.umask(0o022)
    folder = Path(os.path.abspath(Path(root).expanduser()))  # noqa: PTH100  (links in it stay as they are)
    try:
        if verb == "boot":
            said = boot(folder)
        else:
            with _alone(folder):
                said = VERBS[verb](folder, json.loads(given))
    except (KitError, OSError) as error:
        said = {"error": str(error)}
    sys.stdout.write(json.dumps(said) + "\n")
    return 1 if "error" in said else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
