"""What the machine is that edgekit runs on, read from /proc and /sys: `facts(root)`.

Nothing here fails: in a container, under emulation or on a kernel that shows little, a fact that cannot be
read is None, or "unknown" where it is a word. `root` is / but for tests.
"""

from __future__ import annotations

import math
import os
import platform
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

UNKNOWN = "unknown"
MAX_CPUS = 4096

_ARM_CORES = {
    "0xd03": "cortex-a53",
    "0xd04": "cortex-a35",
    "0xd05": "cortex-a55",
    "0xd07": "cortex-a57",
    "0xd08": "cortex-a72",
    "0xd09": "cortex-a73",
    "0xd0a": "cortex-a75",
    "0xd0b": "cortex-a76",
    "0xd0c": "neoverse-n1",
    "0xd0d": "cortex-a77",
    "0xd40": "neoverse-v1",
    "0xd41": "cortex-a78",
    "0xd49": "neoverse-n2",
    "0xd4f": "neoverse-v2",
}
_AVX512 = {"avx512f", "avx512bw", "avx512vl", "avx512_vnni"}
_ELF_MACHINES = {"x86_64": 62, "aarch64": 183}
_QEMU_SETTINGS = ("QEMU_CPU", "QEMU_LD_PREFIX")  # what its user mode is set up with
_THROTTLED = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
_DISKS = [("nvme", "nvme"), ("mmcblk", "sd"), ("/usb", "usb"), ("/virtio", "virtual"), ("/vd", "virtual")]


@dataclass(frozen=True, slots=True)
class CoreGroup:
    """Cores of one kind: `count` physical cores named `core`, which reach `max_mhz` (None: not known)."""

    count: int
    core: str
    max_mhz: int | None = None


def _uptime_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Boot:
    """A run of Linux: what it is called, and for how long it lasts now. No change of the clock touches it."""

    id: str
    now_s: Callable[[], float] = _uptime_s


def boot(root: Path = Path("/")) -> Boot:
    """The run of Linux that this process belongs to."""
    return Boot(_read(root / "proc/sys/kernel/random/boot_id") or UNKNOWN)


def facts(root: Path = Path("/")) -> dict[str, Any]:
    """Everything that can be known of this machine, by the attribute names of `edgekit.device.Device`."""
    cpus = cpuinfo(root)
    ram_mb, available_mb = _memory_mb(root)
    return {
        "arch": _arch(),
        "boards": _boards(root),
        "isa": isa(cpus, _arch()),
        "cores": core_groups(root, cpus),
        "threads_per_core": _threads_per_core(root),
        "usable_cpus": len(_cpu_list(_status(root, "Cpus_allowed_list"))) or os.cpu_count(),
        "cpu_quota": cpu_quota(root),
        **_caches(root),
        "ram_mb": ram_mb,
        "ram_available_mb": available_mb,
        "memory_limit_mb": memory_limit_mb(root),
        "page_kib": os.sysconf("SC_PAGE_SIZE") // 1024,
        "rtc": (root / "sys/class/rtc/rtc0").exists() if (root / "sys/class").is_dir() else None,
        "governor": _read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or UNKNOWN,
        "throttled": _throttled(root),
        "storage": storage(root),
        "clock_synced": clock_synced(),
        "cameras": cameras(root),
        "emulated": emulated(root),
    }


def cameras(root: Path) -> tuple[str, ...]:
    """Video devices with what their drivers call them."""
    folders = sorted((root / "sys/class/video4linux").glob("video*"))
    return tuple(f"/dev/{folder.name} ({_read(folder / 'name') or UNKNOWN})" for folder in folders)


def emulated(root: Path) -> bool:
    """Whether the processor is emulated: no time that is measured here is that of such a processor.

    QEMU's user mode answers for /proc/self/exe and the processor list as the emulated machine would, not for
    the same file of the thread: that is the emulator, a program of the host's architecture.
    """
    program = root / "proc/thread-self/exe"
    host = _elf_machine(program)
    listed = _read(root / "proc/cpuinfo")
    return (
        any(name in os.environ for name in _QEMU_SETTINGS)
        or _link_name(program).startswith("qemu-")
        or (host is not None and host != _ELF_MACHINES.get(_arch(), host))
        or (bool(listed) and _arch() == "aarch64" and "CPU implementer" not in listed)
    )


def _elf_machine(program: Path) -> int | None:
    """The architecture that a program was built for, by its number in ELF (`e_machine`)."""
    try:
        with program.open("rb") as file:
            head = file.read(20)
    except OSError:
        return None
    return int.from_bytes(head[18:20], "little") if head[:4] == b"\x7fELF" and len(head) == 20 else None


def _link_name(link: Path) -> str:
    try:
        return link.readlink().name
    except OSError:
        return ""


def cpuinfo(root: Path) -> dict[int, dict[str, str]]:
    """/proc/cpuinfo: the lines of each processor by its number."""
    cpus: dict[int, dict[str, str]] = {}
    for block in _read(root / "proc/cpuinfo").split("\n\n"):
        pairs = [line.partition(":") for line in block.splitlines()]
        lines = {key.strip(): value.strip() for key, _, value in pairs}
        number = _number(lines.get("processor", ""))
        if number is not None:
            cpus[number] = lines
    return cpus


def isa(cpus: dict[int, dict[str, str]], arch: str) -> str:
    """The highest level that every core has: as the kernels name them, or "unknown".

    Under emulation the processor list may be that of the host: then only what `arch` promises counts.
    """
    if arch == "aarch64":
        features = _common(cpus, "Features")
        return "neondot" if "asimddp" in features else "neon"
    flags = _common(cpus, "flags")
    if arch != "x86_64" or not flags:
        return UNKNOWN
    if "avx2" not in flags:
        return "scalar"
    return "avx512vnni" if flags >= _AVX512 else "avxvnni" if "avx_vnni" in flags else "avx2"


def core_groups(root: Path, cpus: dict[int, dict[str, str]]) -> tuple[CoreGroup, ...]:
    """Physical cores by kind and speed, the fastest kind first."""
    kinds: Counter[tuple[str, int | None]] = Counter()
    seen: set[tuple[str, str, int]] = set()
    for cpu, lines in cpus.items():
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        core_id = _read(topology / "core_id")
        place = (_read(topology / "physical_package_id"), core_id or str(cpu), cpu if not core_id else 0)
        if place not in seen:
            seen.add(place)
            kinds[_core_name(lines), _max_mhz(root, cpu)] += 1
    groups = [CoreGroup(count, core, mhz) for (core, mhz), count in kinds.items()]
    return tuple(sorted(groups, key=lambda group: (-(group.max_mhz or 0), group.core)))


def cpu_quota(root: Path) -> float | None:
    """CPUs that the control group grants (1.5 is one and a half); None without a limit."""
    quotas = []
    for folder in _groups(root, "cpu"):
        first, _, second = _read(folder / "cpu.max").partition(" ")
        if not first:
            first, second = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        quota, period = _number(first), _number(second)
        if quota and period:
            quotas.append(quota / period)
    return min(quotas, default=None)


def usable_threads(root: Path = Path("/")) -> int:
    """How many threads can run at once: the CPUs of this process, within its control group's quota."""
    quota = cpu_quota(root)
    cpus = len(os.sched_getaffinity(0))
    return cpus if quota is None else max(1, min(cpus, math.floor(quota)))


def memory_limit_mb(root: Path) -> int | None:
    """Megabytes that the control group grants; None without a limit."""
    limits = []
    for folder in _groups(root, "memory"):
        limit = _number(_read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes"))
        if limit and limit < 1 << 60:  # version 1 says 2**63 - 4096 for none
            limits.append(limit >> 20)
    return min(limits, default=None)


def storage(root: Path) -> str:
    """What / lies on: sd, emmc, nvme, usb, virtual, ssd, hdd, overlay or another file system's name."""
    for line in reversed(_read(root / "proc/self/mountinfo").splitlines()):
        fields, _, rest = line.partition(" - ")
        columns = fields.split()
        if len(columns) > 4 and columns[4] == "/":
            kind = _disk(root, columns[2])
            return kind or rest.split(" ")[0] or UNKNOWN
    return UNKNOWN


@dataclass(frozen=True, slots=True)
class Heat:
    """How hot the processor is (None: not known), and whether it is held back for that."""

    temp_c: float | None = None
    throttled: bool = False


class Thermometer:
    """Reads the heat of this machine. What limits the clock from the beginning is a setting, not heat."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._usual_khz = self._khz()

    def __call__(self) -> Heat:
        zones = self._root.glob("sys/class/thermal/thermal_zone*/temp")
        temps_c = [millis / 1000 for zone in zones if (millis := _number(_read(zone))) and millis < 150_000]
        words, khz = _throttled(self._root), self._khz()
        capped = khz is not None and self._usual_khz is not None and khz < 0.95 * self._usual_khz
        return Heat(max(temps_c, default=None), capped or words not in ("no", UNKNOWN))

    def _khz(self) -> int | None:
        return _number(_read(self._root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq"))


def clock_synced() -> bool | None:
    """Whether the kernel holds its clock for right (adjtimex); None where it does not say."""
    import ctypes

    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(1024))  # modes 0: reads only
    except (OSError, AttributeError):
        return None
    return None if state < 0 else bool(state != 5)  # TIME_ERROR


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace").strip("\0 \n\t")
    except (OSError, ValueError):
        return ""


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,19}", text) else None


def _arch() -> str:
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def _boards(root: Path) -> tuple[str, ...]:
    names = _read(root / "proc/device-tree/compatible") or _read(
        root / "sys/firmware/devicetree/base/compatible"
    )
    return tuple(name for name in names.split("\0") if name)


def _common(cpus: dict[int, dict[str, str]], key: str) -> set[str]:
    sets = [set(lines.get(key, "").lower().split()) for lines in cpus.values()]
    return set.intersection(*sets) if sets else set()


def _core_name(lines: dict[str, str]) -> str:
    if "CPU part" in lines:
        known = _ARM_CORES if lines.get("CPU implementer") == "0x41" else {}
        return known.get(lines["CPU part"].lower(), f"arm {lines['CPU part']}")
    name = re.sub(r"\((R|TM)\)|@.*|\bCPU\b", "", lines.get("model name", ""))
    return " ".join(name.split()) or UNKNOWN


def _max_mhz(root: Path, cpu: int) -> int | None:
    khz = _number(_read(root / f"sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq"))
    return khz // 1000 if khz else None


def _threads_per_core(root: Path) -> int | None:
    folder = root / "sys/devices/system/cpu/cpu0/topology"
    siblings = _read(folder / "core_cpus_list") or _read(folder / "thread_siblings_list")
    return len(_cpu_list(siblings)) or None


def _cpu_list(text: str) -> set[int]:
    """`0-3,6` as numbers; nothing for anything strange."""
    cpus: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part.strip())
        if found:
            first, last = int(found[1]), int(found[2] or found[1])
            cpus |= set(range(first, min(last, first + MAX_CPUS) + 1))
    return cpus


def _status(root: Path, key: str) -> str:
    found = re.search(rf"^{key}:\s*(.*)$", _read(root / "proc/self/status"), re.MULTILINE)
    return found[1] if found else ""


def _caches(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"l1d_kib": None, "l2_kib": None, "l2_shared": None, "l3_kib": None}
    own = _cpu_list(_read(root / "sys/devices/system/cpu/cpu0/topology/core_cpus_list")) or {0}
    for folder in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (_read(folder / name) for name in ("level", "type", "size"))
        key = {"1": "l1d_kib", "2": "l2_kib", "3": "l3_kib"}.get(level)
        if key is None or kind == "Instruction" or not re.fullmatch(r"\d{1,9}K", size):
            continue
        found[key] = int(size[:-1])
        if level == "2":
            found["l2_shared"] = bool(_cpu_list(_read(folder / "shared_cpu_list")) - own)
    return found


def _memory_mb(root: Path) -> tuple[int | None, int | None]:
    lines = dict(re.findall(r"^(\w+):\s+(\d{1,15}) kB$", _read(root / "proc/meminfo"), re.MULTILINE))
    total, available = lines.get("MemTotal"), lines.get("MemAvailable")
    return (int(total) >> 10 if total else None), (int(available) >> 10 if available else None)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's control group and of those above it, versions 2 and 1."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        mounted = [""] if not names else [controller] if controller in names.split(",") else []
        for mount in mounted:
            steps = [step for step in path.split("/") if step not in {"", ".", ".."}]
            for depth in range(len(steps), -1, -1):
                yield Path(root, "sys/fs/cgroup", mount, *steps[:depth])


def _throttled(root: Path) -> str:
    """What holds a Raspberry Pi back now: "no", a word for each reason, or "unknown"."""
    for name in ("soc:firmware", "soc@107c000000:firmware"):
        text = _read(root / "sys/devices/platform/soc" / name / "get_throttled")
        if re.fullmatch(r"(0x)?[0-9a-fA-F]{1,8}", text):
            bits = int(text, 16)
            return ", ".join(word for bit, word in _THROTTLED.items() if bits >> bit & 1) or "no"
    return UNKNOWN


def _disk(root: Path, number: str) -> str:
    """The kind of the block device `major:minor`; empty where there is none (overlay, tmpfs, ...)."""
    link = root / "sys/dev/block" / number
    try:
        path = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return ""
    for mark, kind in _DISKS:
        if mark in str(path):
            return "emmc" if kind == "sd" and _read(_whole(path) / "device/type") == "MMC" else kind
    return {"0": "ssd", "1": "hdd"}.get(_read(_whole(path) / "queue/rotational"), "")


def _whole(path: Path) -> Path:
    """The disk that a partition is on."""
    return path.parent if (path / "partition").exists() else path


def resident_mb(process: int | str = "self") -> float:
    """Resident memory of a process in MiB (Linux); 0 when it has gone."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
