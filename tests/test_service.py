"""`edgekit service`: the unit, what systemd thinks of it, and what it says where it cannot be installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from edgekit.cli import main
from edgekit.errors import ConfigError, EdgekitError, UnavailableError, UsageError
from edgekit.service import installation, reach
from edgekit.service.installation import Service
from edgekit.service.unit import unit_of_kit

GOOD = "version: 1\nmodel: detect/edgenano-025-224-coco10/dense_int8\ncameras: {front: {source: 'demo:'}}\n"
SECRET = GOOD + "mqtt: {host: broker.lan, user: '${MQTT_USER}', password: !credential mqtt_password}\n"
HIGHEST_EXPOSURE = 2.5  # of 10, as systemd-analyze counts: "OK" below 4.5, cameras and a network are needed


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "porch 50%.yaml"
    path.write_text(GOOD)
    return path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    command = [program, "--no-pager", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def unit_file(folder: Path, unit: Service) -> Path:
    path = folder / unit.unit
    path.write_text(unit.text())
    return path


def test_systemd_finds_no_fault_with_the_unit(config: Path, tmp_path: Path) -> None:
    path = unit_file(tmp_path, Service(config))
    done = analyze("verify", "--man=no", str(path))
    assert (done.returncode, [line for line in done.stderr.splitlines() if path.name in line]) == (0, [])


def test_systemd_calls_it_well_guarded(config: Path, tmp_path: Path) -> None:
    path = unit_file(tmp_path, Service(config))
    threshold = str(int(HIGHEST_EXPOSURE * 10))
    done = analyze("security", "--offline=yes", f"--threshold={threshold}", str(path))
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze cannot judge a file")
    assert done.returncode == 0, done.stdout[-800:] + done.stderr


@pytest.mark.parametrize("of_user", [False, True])
def test_systemd_finds_no_fault_with_the_unit_of_a_kit(of_user: bool, tmp_path: Path) -> None:
    path, root = tmp_path / "edgekit.service", tmp_path / "a kit"
    (root / "current").mkdir(parents=True)
    (root / "current/run").touch(0o755)
    path.write_text(unit_of_kit("porch", ["mqtt_password"], of_user=of_user).replace("@ROOT@", str(root)))
    done = analyze("verify", "--man=no", str(path))
    assert (done.returncode, [line for line in done.stderr.splitlines() if path.name in line]) == (0, [])
    assert ("LoadCredential=mqtt_password:" in path.read_text()) is not of_user
    done = analyze("security", "--offline=yes", "--threshold=35", str(path))
    assert of_user or done.returncode == 0 or "unrecognized option" in done.stderr, done.stdout[-800:]


def test_the_unit_says_what_it_must(config: Path) -> None:
    text = Service(config).text()
    for line in ("Type=notify", "WatchdogSec=60", "DynamicUser=yes", "StateDirectory=edgekit",
                 "SupplementaryGroups=video", "ProtectSystem=strict", "NoNewPrivileges=yes",
                 "RestartPreventExitStatus=78 2", "MemoryMax=75%"):  # fmt: skip
        assert f"\n{line}\n" in text
    assert f'edgekit run "{config.parent}/porch 50%%.yaml" --quiet\n' in text


def test_secrets_come_as_credentials_and_never_stand_in_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, key, environment = (tmp_path / name for name in ("pipeline.yaml", "key", "environment"))
    config.write_text(SECRET)
    key.write_text("hunter2-hunter2\n")
    environment.write_text("# the login\nMQTT_USER=porch-user\n")
    with pytest.raises(UsageError, match="credential mqtt_password: no file /etc/credstore/mqtt_password"):
        Service(config).text()
    with pytest.raises(ConfigError, match="environment variable MQTT_USER is not set"):
        Service(config, credentials={"mqtt_password": key}).text()
    text = Service(config, credentials={"mqtt_password": key}, environment=environment).text()
    assert f"\nLoadCredential=mqtt_password:{key}\n" in text
    assert f"\nEnvironmentFile={environment}\n" in text
    assert "hunter2" not in text
    assert "porch-user" not in text
    assert "MQTT_USER" not in os.environ
    assert "CREDENTIALS_DIRECTORY" not in os.environ


def test_a_wrong_pipeline_is_not_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(GOOD + "modle: x\n")
    assert main(["service", "install", "--print", str(bad)]) == 78
    assert "did you mean 'model'?" in capsys.readouterr().err


def test_print_shows_the_unit_and_changes_nothing(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["service", "install", "--print", "--name", "porch", str(config)]) == 0
    assert capsys.readouterr().out.startswith("[Unit]\nDescription=edgekit: porch 50%%")
    assert not (installation.UNITS / "porch.service").exists()


def test_a_name_cannot_leave_the_folder_of_the_units(config: Path) -> None:
    with pytest.raises(UsageError, match="--name"):
        Service(config, name="../evil")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, ...]]:
    """A machine run by systemd, whose systemctl only listens."""
    said: list[tuple[str, ...]] = []

    def listen(*arguments: str) -> str:
        said.append(arguments)
        return "LoadState=loaded\nActiveState=failed\nStatusText=front offline\n"

    monkeypatch.setattr(installation, "_systemctl", listen)
    monkeypatch.setattr(installation, "_need_systemd", lambda: None)
    monkeypatch.setattr(Service, "faults", lambda self: [])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return said


def test_it_is_installed_started_and_taken_away(
    config: Path, tmp_path: Path, machine: list[tuple[str, ...]]
) -> None:
    unit = Service(config, units=tmp_path)
    unit.install()
    assert (tmp_path / "edgekit.service").read_text() == unit.text()
    assert machine == [
        ("daemon-reload",), ("enable", "edgekit.service"), ("restart", "--no-block", "edgekit.service"),
    ]  # fmt: skip
    installation.uninstall("edgekit", units=tmp_path)
    assert machine[3:] == [("disable", "--now", "edgekit.service"), ("daemon-reload",)]
    assert list(tmp_path.glob("*.service*")) == []


def test_status_is_3_while_it_does_not_run(
    machine: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["service", "status"]) == 3
    assert "front offline" in capsys.readouterr().out


def test_without_root_it_says_what_to_do(
    config: Path, machine: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match=r"only root can do that: sudo .* service install"):
        Service(config).install()


def test_without_systemd_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UnavailableError, match="not run by systemd"):
        installation.status("edgekit")


def test_what_systemctl_refuses_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho 'Access denied' >&2\nexit 4\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(EdgekitError, match="systemctl enable x: Access denied"):
        installation._systemctl("enable", "x")


@pytest.fixture
def porch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that all may enter, as if it did not lie in /tmp, with a clip, a password, and a key."""
    monkeypatch.setattr(reach, "OWN_TMP", ("/var/tmp",))
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        for file in ("clip.mp4", "password", "client.key"):
            (folder / file).write_bytes(b"secret" if file != "clip.mp4" else b"\0")
        yield folder


def faults(*files: reach.Named) -> list[str]:
    return list(reach.faults(files))


def test_what_the_service_can_read_is_no_fault(porch: Path) -> None:
    assert faults(reach.Named("a", porch / "clip.mp4"), reach.Named("b", porch)) == []


def test_what_is_closed_to_the_service_is_told_with_what_to_do(porch: Path) -> None:
    clip = porch / "clip.mp4"
    clip.chmod(0o640)
    another = "the service is another user, to whom"
    assert faults(reach.Named("x.source", clip)) == [
        f"x.source: {another} {clip} is closed: put it in /etc/edgekit, or chmod o+r {clip}"
    ]
    porch.chmod(0o750)
    assert faults(reach.Named("x.source", clip)) == [
        f"x.source: {another} {porch} is closed: put it in /etc/edgekit, or chmod o+x {porch}"
    ]
    assert f"chmod o+rx {porch}" in faults(reach.Named("x.source", porch))[0]


def test_what_lies_in_tmp_is_hidden_also_behind_a_link(porch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (porch / "link").symlink_to(porch / "clip.mp4")
    monkeypatch.setattr(reach, "OWN_TMP", (str(porch / "clip.mp4"),))
    (line,) = faults(reach.Named("x.source", porch / "link"))
    assert line.startswith(f"x.source: {porch}/clip.mp4 is hidden from the service, whose /tmp is its own: ")


def test_all_files_of_a_config_are_looked_at_and_secrets_may_become_credentials(porch: Path) -> None:
    config = porch / "pipeline.yaml"
    config.write_text(
        f"{GOOD.replace('demo:', 'clip.mp4')}mqtt: {{host: broker, user: u, password: !file password, "
        "tls: {cert: client.pem, key: client.key}}\n"
    )
    make_certificate(porch)
    for name in ("clip.mp4", "password", "client.key"):
        (porch / name).chmod(0o600)
    told = {line.partition(":")[0]: line for line in Service(config).faults()}
    assert {"mqtt.password", "mqtt.tls.key", "cameras.front.source"} <= told.keys()
    assert not {"mqtt.tls.cert", "CONFIG"} & told.keys()
    password = "write password: !credential password and give --credential password="
    assert told["mqtt.password"].endswith(f"{password}{porch}/password")
    key = "write key: ${CREDENTIALS_DIRECTORY}/client.key and give --credential client.key="
    assert told["mqtt.tls.key"].endswith(f"{key}{porch}/client.key")
    config.write_text(
        config.read_text()
        .replace("!file password", "!credential password")
        .replace("key: client.key", "key: '${CREDENTIALS_DIRECTORY}/client.key'")
    )
    files = {name: porch / name for name in ("password", "client.key")}
    mended = Service(config, credentials=files)
    assert [line for line in mended.faults() if line.startswith("mqtt")] == []
    assert f"LoadCredential=client.key:{porch / 'client.key'}\n" in mended.text()


def make_certificate(folder: Path) -> None:
    """A certificate and its key, client.pem and client.key."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    files = ["-keyout", "client.key", "-out", "client.pem", "-subj", "/CN=client", "-nodes"]
    command = [program, "req", "-x509", "-newkey", "rsa:2048", *files]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def test_each_service_keeps_its_own_where_it_can_write(tmp_path: Path) -> None:
    config = tmp_path / "pipeline.yaml"
    config.write_text(GOOD + "device: {state: /srv/state}\nmqtt: {outbox: {path: /var/lib/porch/outbox}}\n")
    service = Service(config, name="porch")
    assert "\nStateDirectory=porch\n" in service.text()
    kept = [line for line in service.faults() if "can write" in line]
    assert kept == [
        "device.state: the service can write in /var/lib/porch only: leave it out, and it is kept there"
    ]


def test_what_the_service_could_not_read_is_not_installed(config: Path) -> None:
    config.chmod(0o600)
    with pytest.raises(UsageError, match=f"CONFIG: .*{config.name}"):
        Service(config).install()


def test_a_config_at_home_is_seen_there(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "HOMES", ("/nobody",))
    assert "\nProtectHome=yes\n" in Service(config).text()
    monkeypatch.setattr(reach, "HOMES", (str(config.parent),))
    assert "\nProtectHome=read-only\n" in Service(config).text()
