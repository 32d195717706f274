"""A device is what its profile declares, each number with a source; a probe of any machine never fails."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.device import (
    CoreGroup,
    Device,
    list_devices,
    load_device,
    match,
    measured_file,
    probe,
    profile_facts,
)
from edgekit.errors import ConfigError, UsageError

PROFILES = [
    "raspberry-pi-3b-plus",
    "raspberry-pi-4",
    "raspberry-pi-5",
    "raspberry-pi-zero-2-w",
    "x86-64-avx2",
    "x86-64-avx512vnni",
    "x86-64-avxvnni",
]
DECLARED = {
    "isa", "cores", "threads_per_core", "l1d_kib", "l2_kib", "l2_shared", "l3_kib", "ram_mb", "kit_memory_mb",
    "page_kib", "rtc", "thermal",
}  # fmt: skip
A53 = "processor\t: {}\nFeatures\t: fp asimd crc32 cpuid\nCPU implementer\t: 0x41\nCPU part\t: 0xd03\n\n"
A72 = A53.replace("0xd03", "0xd08")
A76 = "processor\t: {}\nFeatures\t: fp asimd asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\n"
X86 = "processor\t: {}\nmodel name\t: Intel(R) Core(TM) i5-1135G7 CPU @ 2.40GHz\nflags\t\t: sse2 avx2 {}\n\n"
CPU = "sys/devices/system/cpu/cpu"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "proc").mkdir()
    return tmp_path


def arch(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("platform.machine", lambda: name)


def put(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def cpus(text: str, count: int = 4, *more: str) -> dict[str, str]:
    return {"proc/cpuinfo": "".join(text.format(cpu, *more) for cpu in range(count))}


def memory(total_mb: int, available_mb: int = 100) -> dict[str, str]:
    lines = {"MemTotal": total_mb, "MemFree": 9, "MemAvailable": available_mb}
    return {"proc/meminfo": "".join(f"{key}: {mb * 1024} kB\n" for key, mb in lines.items())}


# -- profiles ---------------------------------------------------------------------------------------


def test_the_profiles_that_ship_are_listed() -> None:
    assert list_devices() == PROFILES


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_is_complete_and_called_like_its_file(name: str) -> None:
    device = load_device(name)
    assert device.name == name
    assert device.title
    assert device.ram_mb == min(device.ram_variants_mb)
    assert device.kit_memory_mb == device.ram_mb // 4
    assert device.int8_macs_per_cycle
    assert device.cores
    assert set(device.sources) >= DECLARED | {"int8_macs_per_cycle"}


@pytest.mark.parametrize("name", PROFILES)
def test_every_number_of_a_profile_has_a_source(name: str) -> None:
    text = (resources.files("edgekit.devices") / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.count("  value:") == text.count("  source:") >= 13


def test_a_profile_tells_its_facts() -> None:
    device = load_device("raspberry-pi-5")
    assert (device.title, device.isa, device.arch) == ("Raspberry Pi 5", "neondot", "aarch64")
    assert device.cores == (CoreGroup(4, "cortex-a76", 2400),)
    assert (device.l1d_kib, device.l2_kib, device.l2_shared, device.l3_kib) == (64, 512, False, 2048)
    assert (device.page_kib, device.rtc, device.copy_gbps) == (16, True, 6.0)


def test_the_smallest_board_allows_the_least() -> None:
    budgets = {name: load_device(name).kit_memory_mb for name in PROFILES}
    assert min(budgets, key=lambda name: budgets[name]) == "raspberry-pi-zero-2-w"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("pi4", "unknown device 'pi4': did you mean raspberry-pi-4? edgekit devices list"),
        ("rpi5", "unknown device 'rpi5': did you mean raspberry-pi-5? edgekit devices list"),
        ("Zero 2 W", "unknown device 'Zero 2 W': did you mean raspberry-pi-zero-2-w? edgekit devices list"),
        ("x86-64-avx", "unknown device 'x86-64-avx': did you mean x86-64-avx2? edgekit devices list"),
        ("", "unknown device '': edgekit devices list"),
        ("..", "unknown device '..': edgekit devices list"),
        ("q\n" * 99, f"unknown device {('q' + chr(10)) * 40!r}: edgekit devices list"),
    ],
)
def test_an_unknown_device_is_told_with_the_nearest_name(name: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_device(name)
    assert str(caught.value) == told


def test_a_device_becomes_plain_data() -> None:
    for device in [load_device("raspberry-pi-4"), probe()]:
        facts = device.to_dict()
        assert json.loads(json.dumps(facts)) == facts
    assert "governor" not in load_device("raspberry-pi-4").to_dict()
    assert "governor" in probe().to_dict()
    assert load_device("raspberry-pi-4").to_dict()["cores"] == [
        {"count": 4, "core": "cortex-a72", "max_mhz": 1800}
    ]


# -- a profile of one's own -------------------------------------------------------------------------


def own(tmp_path: Path, old: str = "", new: str = "") -> Path:
    text = (resources.files("edgekit.devices") / "raspberry-pi-4.yaml").read_text(encoding="utf-8")
    text = text.replace("name: raspberry-pi-4", "name: mine")
    assert old in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(old, new, 1) if old else text)
    return path


def test_a_profile_may_be_a_file(tmp_path: Path) -> None:
    assert load_device(str(own(tmp_path))).name == "mine"


def test_what_was_measured_counts_more_than_what_was_modelled(tmp_path: Path) -> None:
    measured = "measured:\n  int8_macs_per_cycle: {value: 7.5, source: measured here}\n"
    assert load_device(str(own(tmp_path, "measured:\n", measured))).int8_macs_per_cycle == 7.5


ISA = "expected one of scalar, avx2, avxvnni, avx512vnni, neon, neondot, not 'neonn', did you mean 'neon'?"
COUNT = "expected a whole number from 1 to 1024"
MHZ = "expected a whole number from 100 to 10000"
KIB = "expected a whole number from 4 to 4194304"
GBPS = "expected a number from 0.01 to 1000"
KIT = "kit_memory_mb is 2000, expected at most the smallest ram_mb, which is 1024"
LIST = "expected a list of 1 to 16 entries, not an empty list"
NAME = "expected 1 to 64 of the characters a-z 0-9 _ -, not 'My Pi'"
THREADS = '    source: "Arm Cortex cores of this kind run one thread each"\n'
WRONG = [
    ("value: neon\n", "value: neonn\n", f"declared.isa.value: {ISA}"),
    ("count: 4", "count: 0", f"declared.cores.value[0].count: {COUNT}, not 0"),
    ("count: 4", "count: '4'", f"declared.cores.value[0].count: {COUNT}, not '4'"),
    ("max_mhz: 1800", "max_mhz: 1800000", f"declared.cores.value[0].max_mhz: {MHZ}, not 1800000"),
    ("value: 2.2", "value: -1", f"measured.copy_gbps.value: {GBPS}, not -1"),
    ("value: 2.2", "value: 1e-4", f"measured.copy_gbps.value: {GBPS}, not 0.0001"),
    ("value: 1024\n", "value: 1e9\n", f"declared.l2_kib.value: {KIB}, not 1000000000.0"),
    ("value: 256", "value: 2000", f"declared: {KIT}"),
    ("value: 4\n", "value: 5\n", "declared.page_kib.value: expected one of 4, 16, 64, not 5"),
    ("[1024, 2048, 4096, 8192]", "[]", f"declared.ram_mb.value: {LIST}"),
    ('  - "raspberrypi,400"', "  - 400", "boards[1]: expected a text, not 400 (put it into quotes)"),
    ("  isa:\n", "  isaa:\n", "declared.isa: missing, expected a mapping (key: value)"),
    ("  rtc:\n", "  rtcc:\n", "declared.rtcc: unknown key, did you mean 'rtc'?"),
    (THREADS, "", "declared.threads_per_core.source: missing, expected a text"),
    ("title: Raspberry Pi 4 Model B", "title: Pi 4\ntitel: Pi", "titel: unknown key, did you mean 'title'?"),
    ("name: mine", "name: My Pi", f"name: {NAME}"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "told"), WRONG, ids=[told[:50] for _, _, told in WRONG])
def test_a_wrong_profile_is_told_with_file_and_key(old: str, new: str, told: str, tmp_path: Path) -> None:
    path = own(tmp_path, old, new)
    with pytest.raises(ConfigError) as caught:
        load_device(str(path))
    line = str(caught.value).split("\n")[0]
    assert re.sub(r":\d+:\d+: ", ": ", line) == f"{path}: {told}"


def test_a_missing_profile_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_device(f"{tmp_path}/gone.yaml")
    assert str(caught.value) == f"{tmp_path}/gone.yaml: no such file"


# -- this machine -----------------------------------------------------------------------------------


def test_probing_this_machine_says_what_every_machine_has() -> None:
    here = probe()
    assert here.name == "this-machine"
    assert here.page_kib == os.sysconf("SC_PAGE_SIZE") // 1024
    assert here.usable_cpus
    assert match(here) in PROFILES


def test_a_machine_that_shows_nothing_is_unknown_not_an_error(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arch(monkeypatch, "riscv64")
    here = probe(root)
    assert (here.isa, here.governor, here.throttled, here.storage) == ("unknown",) * 4
    assert (here.cores, here.ram_mb, here.l2_kib, here.cpu_quota, here.rtc) == ((), None, None, None, None)
    assert match(here) in PROFILES


def test_a_raspberry_pi_is_known_by_its_board(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arch(monkeypatch, "aarch64")
    cache = {"level": "2", "type": "Unified", "size": "1024K", "shared_cpu_list": "0-3"}
    put(
        root,
        cpus(A72)
        | memory(3792, 3000)
        | {f"{CPU}{n}/cpufreq/cpuinfo_max_freq": "1800000\n" for n in range(4)},
    )
    put(root, {f"{CPU}0/cache/index2/{name}": text for name, text in cache.items()})
    put(
        root,
        {
            f"{CPU}0/cache/index0/{name}": text
            for name, text in {"level": "1", "type": "Data", "size": "32K"}.items()
        },
    )
    put(
        root,
        {
            f"{CPU}0/cache/index1/{name}": text
            for name, text in {"level": "1", "type": "Instruction", "size": "48K"}.items()
        },
    )
    put(
        root,
        {
            "proc/device-tree/compatible": "raspberrypi,400\0brcm,bcm2711\0",
            f"{CPU}0/cpufreq/scaling_governor": "ondemand\n",
        },
    )
    put(root, {"sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n", "sys/class/net/lo": ""})
    here = probe(root)
    assert (here.isa, here.cores) == ("neon", (CoreGroup(4, "cortex-a72", 1800),))
    assert (here.l1d_kib, here.l2_kib, here.l2_shared, here.l3_kib) == (32, 1024, True, None)
    assert (here.ram_mb, here.ram_available_mb, here.kit_memory_mb) == (3792, 3000, 948)
    assert (here.governor, here.throttled, here.rtc) == ("ondemand", "under-voltage, throttled", False)
    assert match(here) == "raspberry-pi-4"


@pytest.mark.parametrize(
    ("cpu", "ram_mb", "name"),
    [
        (A53, 416, "raspberry-pi-zero-2-w"),
        (A53, 906, "raspberry-pi-3b-plus"),
        (A72, 1849, "raspberry-pi-4"),
        (A76, 8049, "raspberry-pi-5"),
    ],
)
def test_in_a_container_a_raspberry_pi_is_known_by_core_and_memory(
    cpu: str, ram_mb: int, name: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arch(monkeypatch, "aarch64")
    put(root, cpus(cpu) | memory(ram_mb))
    assert match(probe(root)) == name


@pytest.mark.parametrize(
    ("flags", "isa", "name"),
    [
        ("", "avx2", "x86-64-avx2"),
        ("avx_vnni", "avxvnni", "x86-64-avxvnni"),
        ("avx512f avx512bw avx512vl avx512_vnni", "avx512vnni", "x86-64-avx512vnni"),
        ("avx512f avx512bw avx512vl avx512_vnni avx_vnni", "avx512vnni", "x86-64-avx512vnni"),
        ("avx512f avx512_vnni", "avx2", "x86-64-avx2"),
    ],
)
def test_a_laptop_is_known_by_its_instructions(
    flags: str, isa: str, name: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arch(monkeypatch, "x86_64")
    put(root, cpus(X86, 4, flags) | memory(16_000))
    here = probe(root)
    assert (here.isa, here.cores) == (isa, (CoreGroup(4, "Intel Core i5-1135G7", None),))
    assert match(here) == name


def test_the_isa_is_what_every_core_has(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arch(monkeypatch, "x86_64")
    put(root, {"proc/cpuinfo": X86.format(0, "avx_vnni") + X86.format(1, "")})
    assert probe(root).isa == "avx2"


def test_an_old_processor_has_only_scalar_kernels(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arch(monkeypatch, "x86_64")
    put(root, {"proc/cpuinfo": "processor: 0\nflags: sse2\n"})
    assert probe(root).isa == "scalar"
    assert match(probe(root)) == "x86-64-avx2"


def test_under_emulation_the_host_s_flags_do_not_count(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arch(monkeypatch, "aarch64")
    put(root, cpus(X86, 2, "avx512f avx512bw avx512vl avx512_vnni"))
    assert probe(root).isa == "neon"
    assert match(probe(root)).startswith("raspberry-pi")


@pytest.mark.parametrize(
    ("machine", "emulated"), [(62, True), (183, False), (None, False)], ids=["x86", "arm", "hidden"]
)
def test_an_emulator_of_another_architecture_is_seen(
    machine: int | None, emulated: bool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arch(monkeypatch, "aarch64")
    put(root, cpus(A72))  # as under QEMU with a processor list that looks right
    if machine is not None:
        head = b"\x7fELF\x02\x01\x01".ljust(18, b"\0") + machine.to_bytes(2, "little")
        (root / "proc/thread-self").mkdir()
        (root / "proc/thread-self/exe").write_bytes(head)
    assert probe(root).emulated is emulated


def test_an_emulator_is_known_by_its_name_and_its_settings(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not probe(root).emulated
    (root / "proc/thread-self").mkdir()
    link = root / "proc/thread-self/exe"
    link.symlink_to("/usr/bin/qemu-aarch64-static")
    assert probe(root).emulated
    link.unlink()
    monkeypatch.setenv("QEMU_LD_PREFIX", "/usr/aarch64-linux-gnu")
    assert probe(root).emulated


def test_a_profile_says_only_what_is_known(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arch(monkeypatch, "aarch64")
    put(root, cpus(A72))  # no /sys, no memory
    facts = profile_facts(probe(root), "a probe of a test")
    assert set(facts["declared"]) == {"isa", "cores", "kit_memory_mb", "page_kib"}
    assert facts["declared"]["cores"]["value"] == [{"count": 4, "core": "cortex-a72"}]
    assert "not known" in facts["declared"]["kit_memory_mb"]["source"]
    path = tmp_path / "bare.yaml"
    path.write_text(json.dumps(facts))
    bare = load_device(str(path))
    assert (bare.cores, bare.l2_kib, bare.rtc, bare.ram_mb) == (
        (CoreGroup(4, "cortex-a72"),),
        None,
        None,
        None,
    )


def test_a_machine_of_an_unknown_level_can_have_no_profile(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arch(monkeypatch, "riscv64")
    with pytest.raises(UsageError, match="riscv64 machine is not known"):
        profile_facts(probe(root), "a probe of a test")


def test_hybrid_cores_are_grouped_and_threads_not_counted_twice(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arch(monkeypatch, "x86_64")
    put(root, cpus(X86, 6, "avx_vnni"))
    for cpu, core in enumerate([0, 0, 1, 1, 8, 9]):
        mhz, siblings = (4400, f"{cpu & ~1}-{cpu | 1}") if core < 8 else (3300, str(cpu))
        put(
            root,
            {f"{CPU}{cpu}/topology/core_id": f"{core}\n", f"{CPU}{cpu}/topology/core_cpus_list": siblings},
        )
        put(
            root,
            {
                f"{CPU}{cpu}/topology/physical_package_id": "0",
                f"{CPU}{cpu}/cpufreq/cpuinfo_max_freq": f"{mhz}000",
            },
        )
    name = "Intel Core i5-1135G7"
    assert probe(root).cores == (CoreGroup(2, name, 4400), CoreGroup(2, name, 3300))
    assert probe(root).threads_per_core == 2


def test_affinity_and_quota_limit_the_cpus(root: Path) -> None:
    put(root, {"proc/self/status": "Name: x\nCpus_allowed:\tff\nCpus_allowed_list:\t0-2,6\n"})
    put(root, {"proc/self/cgroup": "0::/kit/run\n", "sys/fs/cgroup/kit/cpu.max": "150000 100000\n"})
    put(
        root, {"sys/fs/cgroup/kit/run/cpu.max": "max 100000\n", "sys/fs/cgroup/kit/memory.max": "268435456\n"}
    )
    here = probe(root)
    assert (here.usable_cpus, here.cpu_quota, here.memory_limit_mb) == (4, 1.5, 256)


def test_the_quota_of_the_old_control_groups_is_read_too(root: Path) -> None:
    put(root, {"proc/self/cgroup": "4:memory:/a\n1:cpu,cpuacct:/a\n"})
    put(
        root,
        {"sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "50000", "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000"},
    )
    put(root, {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"})
    put(root, {"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712"})
    put(root, {"sys/fs/cgroup/memory/memory.limit_in_bytes": str(600 << 20)})
    assert (probe(root).cpu_quota, probe(root).memory_limit_mb) == (0.5, 600)


@pytest.mark.parametrize(
    ("disk", "files", "kind"),
    [
        ("mmc/mmcblk0/mmcblk0p2", {"partition": "2", "../device/type": "SD"}, "sd"),
        ("mmc/mmcblk0/mmcblk0p2", {"partition": "2", "../device/type": "MMC"}, "emmc"),
        ("nvme/nvme0n1/nvme0n1p1", {"partition": "1"}, "nvme"),
        ("usb1/1-1/sda/sda1", {"partition": "1"}, "usb"),
        ("ata1/sda/sda1", {"partition": "1", "../queue/rotational": "1"}, "hdd"),
        ("ata1/sda", {"queue/rotational": "0"}, "ssd"),
        ("pci/virtio1/block/vda", {}, "virtual"),
        ("strange", {}, "ext4"),
    ],
)
def test_the_kind_of_storage_is_known(disk: str, files: dict[str, str], kind: str, root: Path) -> None:
    folder = root / "sys/devices" / disk
    folder.mkdir(parents=True)
    put(folder, files)
    (root / "sys/dev/block").mkdir(parents=True)
    (root / "sys/dev/block/179:2").symlink_to(folder)
    mounts = ["20 1 0:5 / /proc rw - proc p rw", "21 1 179:2 / / rw,noatime - ext4 /dev/root rw", ""]
    put(root, {"proc/self/mountinfo": "\n".join(mounts)})
    assert probe(root).storage == kind


def test_a_container_s_storage_is_its_file_system(root: Path) -> None:
    put(root, {"proc/self/mountinfo": "21 1 0:42 / / rw,relatime master:1 - overlay overlay rw\n"})
    assert probe(root).storage == "overlay"


def test_auto_is_the_profile_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Device(
        "this-machine", "x", 948, isa="neon", arch="aarch64", ram_mb=3792, boards=("raspberrypi,4-model-b",)
    )
    monkeypatch.setattr("edgekit.device.profile.probe", lambda: here)
    assert load_device("auto") == load_device("raspberry-pi-4")


def test_auto_allows_no_more_memory_than_a_small_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Device("this-machine", "x", 128, isa="avx2", arch="x86_64", ram_mb=16_000, memory_limit_mb=512)
    monkeypatch.setattr("edgekit.device.profile.probe", lambda: here)
    assert (load_device("auto").name, load_device("auto").kit_memory_mb) == ("x86-64-avx2", 128)


def test_auto_keeps_what_a_probe_did_not_find_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    cores = (CoreGroup(4, "cortex-a72", 1500),)
    here = Device(
        "this-machine", "Mine", 948, isa="neon", arch="aarch64", ram_mb=3792, cores=cores,
        boards=("raspberrypi,4-model-b",),
    )  # fmt: skip
    monkeypatch.setattr("edgekit.device.profile.probe", lambda: here)
    measured_file().parent.mkdir()
    for isa, kept in (("neon", cores), ("avx2", load_device("raspberry-pi-4").cores)):
        measured_file().write_text(json.dumps(profile_facts(replace(here, isa=isa), "a probe of a test")))
        assert (load_device("auto").copy_gbps, load_device("auto").l2_kib) == (2.2, 1024)
        assert load_device("auto").cores == kept  # an x86 machine of the same home does not count


FILES = [
    "proc/cpuinfo",
    "proc/meminfo",
    "proc/device-tree/compatible",
    "proc/self/status",
    "proc/self/cgroup",
    "proc/self/mountinfo",
    "sys/fs/cgroup/cpu.max",
    "sys/fs/cgroup/memory.max",
    f"{CPU}0/topology/core_cpus_list",
    f"{CPU}0/cpufreq/cpuinfo_max_freq",
    f"{CPU}0/cache/index2/size",
    "sys/devices/platform/soc/soc:firmware/get_throttled",
]
LIKELY = st.sampled_from(
    [
        "",
        "-1",
        "0",
        "max 0",
        "150000 0",
        "0-99999999",
        "9" * 5000,
        "\0",
        "processor: 9\n",
        "0::/\n",
        "0::/../..",
        "zz",
        "1K",
    ]
)


@given(texts=st.lists(LIKELY.map(str.encode) | st.binary(max_size=60), min_size=12, max_size=12))
def test_nonsense_in_proc_and_sys_never_fails_a_probe(
    texts: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.getbasetemp() / "nonsense"
    for name, text in zip(FILES, texts, strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text)
    here = probe(root)
    assert match(here) in PROFILES
    assert json.dumps(here.to_dict())
