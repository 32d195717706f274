"""A pipeline as one verified file, brought to a device by a real ssh, switched to, committed, rolled back."""

from __future__ import annotations

import getpass
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from edgekit import zoo
from edgekit.cli import main
from edgekit.errors import ConfigError, EdgekitError, ModelError, UnavailableError, UsageError
from edgekit.kit import Contents, Deployment, Remote, agent, bundle
from edgekit.kit.wheel import make_wheel, read_wheel

CONFIG = """\
version: 1
device: {id: shed, profile: %s}
model: {name: net.tflite}
mqtt: {host: broker.lan, user: "${EDGEKIT_TEST_USER}", password: !file secret}
cameras: {front: {source: "demo:"}}
"""
QUIET = "version: 1\nmodel: net.tflite\ncameras: {front: {source: 'demo:'}}\n"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def contents(tmp_path: Path, wheel: Path) -> Contents:
    config = tmp_path / "doorbell.yaml"
    config.write_text(CONFIG % "x86-64-avx2")
    ships = zoo.list_models()[0]
    shutil.copy(ships.path, tmp_path / "net.tflite")
    shutil.copy(ships.path.with_name("card.yaml"), tmp_path / "net.yaml")
    return Contents(config, wheel=wheel)


def test_the_wheel_of_this_installation_is_whole(wheel: Path) -> None:
    _, requires = read_wheel(wheel)
    assert any(need.startswith("numpy") for need in requires)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        record = archive.read(next(n for n in names if n.endswith("/RECORD"))).decode()
    assert {"edgekit/cli.py", "edgekit/devices/raspberry-pi-4.yaml", "edgekit/pipelines/demo.yaml"} <= set(
        names
    )
    assert any(name.startswith("edgekit/_native.") for name in names)
    assert [line.split(",")[0] for line in record.splitlines()] == names


def test_a_profile_of_ones_own_is_found_beside_the_config(contents: Contents, tmp_path: Path) -> None:
    profile = resources.files("edgekit.devices") / "raspberry-pi-4.yaml"
    (tmp_path / "shed.yaml").write_bytes(profile.read_bytes())
    contents.config.write_text(CONFIG % "./shed.yaml")
    manifest = bundle(contents, tmp_path / "kit.tar")
    assert "profile.yaml" in manifest["files"]
    assert (manifest["device"], manifest["device_arch"]) == ("raspberry-pi-4", "aarch64")


def test_a_wish_to_reload_that_comes_before_python_runs_ends_nothing(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -HUP $$; echo alive\n")
    python.chmod(0o755)
    agent._write_launchers(tmp_path, str(python), {"files": {}, "model": {"file": "m"}})
    default = ["env", "--default-signal=HUP"]  # under nohup all would ignore it
    ends = {
        name: subprocess.run([*default, tmp_path / name], capture_output=True, check=False)
        for name in ("run", "edgekit")
    }
    assert (ends["run"].returncode, ends["run"].stdout) == (0, b"alive\n")
    assert ends["edgekit"].returncode == -signal.SIGHUP, "who has closed the terminal wants an end"


def test_a_damaged_model_gets_into_no_kit(contents: Contents, tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(bytes(100))
    with pytest.raises(ModelError, match=r"net\.tflite"):
        bundle(contents, tmp_path / "kit.tar")
    assert not (tmp_path / "kit.tar").exists()


def test_a_kit_holds_all_and_is_the_same_for_the_same_contents(contents: Contents, tmp_path: Path) -> None:
    manifest = bundle(contents, tmp_path / "kit.tar")
    files = {"config.yaml", "model/card.yaml", "model/model.tflite", "profile.yaml"}
    files |= {f"systemd/{kind}/edgekit.service" for kind in ("system", "user")}
    assert manifest["files"].keys() == files | {f"wheel/{contents.wheel.name}" if contents.wheel else ""}
    assert manifest["device"] == "x86-64-avx2"
    with tarfile.open(tmp_path / "kit.tar") as tar:
        packed = tar.extractfile("config.yaml")
        assert packed
        assert packed.read() == contents.config.read_bytes()
    again = bundle(contents, tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "kit.tar").read_bytes()
    assert again["id"] == manifest["id"]


def test_secrets_stay_out_and_are_named(
    contents: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = bundle(contents, tmp_path / "kit.tar")["missing"]
    assert [text.split(":")[0] for text in missing] == ["mqtt.user", "mqtt.password"]
    monkeypatch.setenv("EDGEKIT_TEST_USER", "olga-7431")
    (tmp_path / "secret").write_text("s3cr3t-5512")
    assert not bundle(contents, tmp_path / "kit.tar")["missing"]
    assert not any(word in (tmp_path / "kit.tar").read_bytes() for word in (b"olga-7431", b"s3cr3t-5512"))


def test_what_cannot_be_bundled_is_said(contents: Contents, tmp_path: Path) -> None:
    out = tmp_path / "kit.tar"
    for changed, kind, reason in (
        (replace(contents, device="raspberry-pi-44"), UsageError, "did you mean raspberry-pi-4"),
        (replace(contents, wheel=contents.config), UsageError, "expected a wheel of edgekit"),
        (replace(contents, requires=tmp_path), UsageError, "no wheels there"),
        (replace(contents, extra=[tmp_path / "ca.pem"]), UsageError, "ca.pem: no such file"),
        (replace(contents, model="nowhere.tflite"), EdgekitError, "nowhere.tflite: no such file"),
    ):
        with pytest.raises(kind, match=reason):
            bundle(changed, out)
    contents.config.write_text(CONFIG.replace("cameras", "cameraz") % "auto")
    with pytest.raises(ConfigError, match="cameraz") as told:
        bundle(contents, out)
    assert "EDGEKIT_TEST_USER" not in str(told.value)
    assert not out.exists()


def test_the_command_says_what_it_made(
    contents: Contents, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bundle", str(contents.config), "--wheel", str(contents.wheel), "-o"]
    assert main([*words, str(tmp_path / "kit.tar"), "--device", "auto"]) == 0
    told = capsys.readouterr()
    assert "doorbell-" in told.out
    assert "to be set on the device: mqtt.user" in told.err
    assert "the device finds its own" in told.err
    assert main([*words, str(tmp_path / "none" / "kit.tar")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def rewritten(kit: Path, **changed: bytes | None) -> Path:
    """The kit with files replaced, added or, for None, taken away; `_` in a name stands for `/` and `.`."""
    names = {name.replace("/", "_").replace(".", "_"): name for name in agent.verify(kit)["files"]}
    names["manifest_json"] = agent.MANIFEST
    with tarfile.open(kit) as tar:
        files = {m.name: agent._read(tar, m) for m in tar.getmembers()}
    for key, content in changed.items():
        name = names.get(key, key)
        files.pop(name, None)
        if content is not None:
            files[name] = content
    other = kit.with_name("other.tar")
    with tarfile.open(other, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return other


def test_damage_is_found(contents: Contents, tmp_path: Path) -> None:
    kit = tmp_path / "kit.tar"
    manifest = bundle(contents, kit)
    for changed, reason in (
        ({"config_yaml": b"version: 2"}, "config.yaml is damaged"),
        ({"config_yaml": None}, "config.yaml is not both"),
        ({"more": b"x"}, "more is not both"),
        ({"manifest_json": None}, "not a kit"),
        ({"manifest_json": b"[]"}, "is not one of edgekit.kit/1"),
    ):
        with pytest.raises(agent.KitError, match=reason):
            agent.verify(rewritten(kit, **changed))
    outside = json.dumps({**manifest, "files": {"../up": "0"}}).encode()
    names = {name.replace("/", "_").replace(".", "_"): None for name in manifest["files"]}
    with pytest.raises(agent.KitError, match="no plain file inside of the kit"):
        agent.verify(rewritten(kit, **names, manifest_json=outside, **{"../up": b""}))
    kit.write_bytes(kit.read_bytes()[:10000])
    with pytest.raises(UsageError, match=r"kit\.tar: (not a kit, or damaged|.* is not both in the kit)"):
        Deployment(Remote("nobody@localhost")).deploy(kit)


def test_a_kit_for_another_machine_is_refused(contents: Contents, tmp_path: Path) -> None:
    kit = tmp_path / "kit.tar"
    manifest = bundle(contents, kit)
    del manifest["id"], manifest["sha256"], manifest["bytes"]
    other = rewritten(kit, manifest_json=json.dumps({**manifest, "arch": ["m68k"]}).encode())
    with pytest.raises(agent.KitError, match="the kit's wheel is for m68k, this device is"):
        agent.install(tmp_path / "root", other, sys.executable)


# ---- over ssh ------------------------------------------------------------------------------------

SYSTEMCTL = """#!/bin/sh
# Stands for systemd: notes what it is asked; whether the service lives stands in a file.
echo "$@" >> "$HOME/asked"
case "$*" in
  *is-active*) cat "$HOME/state" ;;
  *NRestarts*) echo 0 ;;
esac
"""


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    """A real sshd on loopback that lets in who runs the tests, into a home of its own."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if not sshd or not shutil.which("ssh") or not shutil.which("ssh-keygen"):
        pytest.skip("no sshd and ssh here: apt install openssh-server openssh-client")
    if "EDGEKIT_PYTHON" in os.environ:
        pytest.skip("an emulated interpreter is no login shell's")
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    (home / "bin/python3").symlink_to(sys.executable)
    (home / "bin/systemctl").write_text(SYSTEMCTL)
    (home / "bin/systemctl").chmod(0o755)
    (home / "state").write_text("active\n")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    (tmp_path / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nPidFile none\nStrictModes no\n"
        f"AuthorizedKeysFile {tmp_path}/user.pub\nUsePAM no\nPasswordAuthentication no\n"
        f"PermitRootLogin prohibit-password\n"
        f"SetEnv HOME={home} PATH={home}/bin:/usr/bin:/bin EDGEKIT_TEST_USER=me\n"
    )
    log = (tmp_path / "sshd.log").open("w")
    daemon = subprocess.Popen([sshd, "-D", "-e", "-f", tmp_path / "sshd_config"], stderr=log)
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
    try:
        _await_port(port, daemon, tmp_path / "sshd.log")
        yield Remote(f"{getpass.getuser()}@127.0.0.1", port, tmp_path / "user", options)
    finally:
        daemon.kill()
        daemon.wait()
        log.close()


def _await_port(port: int, daemon: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and daemon.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.skip(f"sshd does not start here: {log.read_text()[-200:]}")


def test_deploy_commit_and_rollback_drill(contents: Contents, remote: Remote, tmp_path: Path) -> None:
    home, kit = tmp_path / "home", tmp_path / "kit.tar"
    (tmp_path / "secret").write_text("x")
    contents = replace(contents, extra=(tmp_path / "secret",))
    there = Deployment(remote, "~/kit", sys.executable, patience_s=0.1, service="user")
    assert there.status()["release"] is None
    for verb in (there.commit, there.rollback):
        with pytest.raises(EdgekitError, match=r"nothing is deployed|no release before"):
            verb()

    first = bundle(contents, kit)["id"]
    said = there.deploy(kit)
    assert said["release"] == first
    assert said["latency_ms"] > 0
    assert there.status() == {
        "release": first, "previous": None, "releases": [first], "trial": True, "undone": None,
        "service": "active",
    }  # fmt: skip
    unit = (home / ".config/systemd/user/edgekit.service").read_text()
    assert f'ExecStart="{home}/kit/current/run" --quiet' in unit
    assert "--user restart --no-block edgekit.service" in (home / "asked").read_text()
    assert there.commit()["release"] == first

    contents.config.write_text(contents.config.read_text().replace("shed", "barn"))
    second = bundle(contents, kit)["id"]
    (home / "state").write_text("failed\n")
    with pytest.raises(EdgekitError, match="does not work there: the service is failed"):
        there.deploy(kit)
    assert there.status()["release"] == first
    assert not there.status()["trial"]

    (home / "state").write_text("active\n")
    assert there.deploy(kit)["previous"] == first
    assert there.rollback()["release"] == first
    assert there.status()["previous"] is None
    assert there.commit()["removed"] == [second]


def test_what_is_not_committed_is_gone_when_the_device_restarts(
    contents: Contents, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, kit = tmp_path / "home", tmp_path / "kit.tar"
    contents.config.write_text(QUIET)
    there = Deployment(remote, "~/kit", sys.executable, service="none")
    first = bundle(contents, kit)["id"]
    there.deploy(kit)
    restarted = tmp_path / "boot_id"
    restarted.write_text("another boot\n")
    with monkeypatch.context() as device:
        device.setattr(agent, "BOOT_ID", restarted)
        assert agent.boot(home / "kit")["release"] == first, "there is nothing before it"
    there.commit()
    contents.config.write_text(QUIET.replace("front", "back"))
    second = bundle(contents, kit)["id"]
    there.deploy(kit)
    agent_there = home / "kit/current/site/edgekit/kit/agent.py"
    start = [sys.executable, "-I", str(agent_there), "boot", str(home / "kit")]
    subprocess.run(start, check=True)
    assert there.status()["release"] == second, "the service restarts, the device has not"
    monkeypatch.setattr(agent, "BOOT_ID", restarted)
    with agent._alone(tmp_path):
        assert agent.boot(home / "kit") == {"release": first, "left": second}
    assert {name: there.status()[name] for name in ("release", "trial", "undone")} == {
        "release": first, "trial": False, "undone": second,
    }  # fmt: skip
    with pytest.raises(EdgekitError, match=f"restarted before {second} was committed"):
        there.commit()
    assert there.deploy(kit)["previous"] == first
    assert there.commit()["release"] == second


def test_what_edgekit_requires_is_installed_from_the_kit(
    contents: Contents, remote: Remote, tmp_path: Path
) -> None:
    """The default way: a virtual environment on the device, pip without an index. The one package required
    stands for all, and shows the environment that runs this test.
    """
    contents.config.write_text(QUIET)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    paths = "\n".join(path for path in sys.path if path.endswith("-packages"))
    with zipfile.ZipFile(wheels / "stand_in-1-py3-none-any.whl", "w") as archive:
        archive.writestr("stand_in.pth", paths)
        archive.writestr(
            "stand_in-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: stand-in\nVersion: 1\n"
        )
        archive.writestr("stand_in-1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("stand_in-1.dist-info/RECORD", "")
    assert contents.wheel
    lean = tmp_path / contents.wheel.name
    with zipfile.ZipFile(contents.wheel) as whole, zipfile.ZipFile(lean, "w") as archive:
        for name in whole.namelist():
            content = whole.read(name)
            if name.endswith("METADATA"):
                content = (
                    b"Metadata-Version: 2.1\nName: edgekit\nVersion: 0.1.0\nRequires-Dist: stand-in==1\n"
                )
            archive.writestr(name, content)
    kit = tmp_path / "kit.tar"
    there = Deployment(remote, "~/kit", service="none")
    bundle(replace(contents, wheel=lean), kit)
    with pytest.raises(EdgekitError, match=r"pip install failed: .*stand-in"):
        there.deploy(kit)
    bundle(replace(contents, wheel=lean, requires=wheels), kit)
    assert there.deploy(kit)["latency_ms"] > 0
    assert len(list((tmp_path / "home/kit/venv").iterdir())) == 1


def test_a_kit_whose_model_does_not_know_its_classes_is_not_made(contents: Contents, tmp_path: Path) -> None:
    name = zoo.list_models()[0].name
    contents.config.write_text(QUIET.replace("net.tflite", name) + "detect: {labels: [submarine]}\n")
    with pytest.raises(ConfigError, match=r"yaml:4:19: detect.labels\[0\]: .* knows no 'submarine'"):
        bundle(contents, tmp_path / "kit.tar")


def test_a_release_that_does_not_work_leaves_nothing_behind(
    contents: Contents, remote: Remote, tmp_path: Path
) -> None:
    kit = tmp_path / "kit.tar"
    bundle(contents, kit)
    there = Deployment(remote, "~/kit", sys.executable, service="none")
    with pytest.raises(EdgekitError, match=r"the pipeline failed: .*secret does not exist; .*; nothing runs"):
        there.deploy(kit)
    assert there.status()["release"] is None
    contents.config.write_text(QUIET)
    card = (tmp_path / "net.yaml").rename(tmp_path / "net.away")
    bundle(contents, kit)
    with pytest.raises(EdgekitError, match=r"the pipeline failed: .*decoder.*; nothing runs"):
        there.deploy(kit)
    card.rename(tmp_path / "net.yaml")
    bundle(contents, kit)
    there = replace(there, check="test -f manifest.json && exit 3")
    with pytest.raises(EdgekitError, match=r"check .* failed: exit code 3; nothing runs, as before"):
        there.deploy(kit)


def test_a_model_that_does_not_fit_its_pipeline_is_no_release(
    contents: Contents, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever made the kit, and each service: `systemctl` here says that all is well."""
    monkeypatch.setattr(sys.modules["edgekit.kit.bundle"], "check_config", lambda *_: None)
    kit = tmp_path / "kit.tar"
    contents.config.write_text(QUIET.replace("'demo:'}", "'demo:', detect: {labels: [zebra]}}"))
    bundle(contents, kit)
    there = Deployment(remote, "~/kit", sys.executable, patience_s=0.1, service="user")
    with pytest.raises(EdgekitError, match=r"the pipeline failed: .*zebra.*nothing runs, as before"):
        there.deploy(kit)
    classifier = next(entry.name for entry in zoo.list_models() if entry.card.task == "classify")
    contents.config.write_text(QUIET)
    bundle(replace(contents, model=classifier), kit)
    with pytest.raises(EdgekitError, match=r"the pipeline failed: .*to classify"):
        replace(there, service="none").deploy(kit)


def test_one_deployment_at_a_time(remote: Remote, tmp_path: Path) -> None:
    with (
        agent._alone(tmp_path / "home/edgekit"),
        pytest.raises(EdgekitError, match="another deployment is at work"),
    ):
        Deployment(remote, service="none").status()


def test_who_is_not_there_is_unavailable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not shutil.which("ssh"):
        pytest.skip("no ssh here: apt install openssh-client")
    assert main(["deploy", "me@127.0.0.1", "status", "--port", "1"]) == UnavailableError.exit_code
    assert "me@127.0.0.1: not reachable by ssh with a key" in capsys.readouterr().err
    for words, reason in (
        (["me@host", "kat.gz"], "expected a KIT.tar, or commit"),
        (["me@host", str(tmp_path / "no.tar")], "no such kit: `edgekit bundle"),
        (["a b", "status"], "expected a device as user@host"),
    ):
        assert main(["deploy", *words]) == 2
        assert reason in capsys.readouterr().err
