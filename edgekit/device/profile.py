"""Device profiles: what a board or a laptop has, each number with its source, and what this machine is.

`load_device("raspberry-pi-4")` reads `devices/raspberry-pi-4.yaml`; `probe()` looks at this machine;
`match(probe())` names the profile that is most like it; `load_device("auto")` is that profile with the
memory that this machine really has. A profile has three parts: `declared` (data sheets), `modelled`
(computed from them) and `measured` (on the board); of a fact in several the measured one counts.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import os
import re
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgekit.config.complaint import check
from edgekit.config.document import Document, parse_document, read_document
from edgekit.config.fields import Id, is_profile_file
from edgekit.device import machine
from edgekit.device.machine import UNKNOWN, CoreGroup
from edgekit.device.work import AMOUNTS
from edgekit.errors import UsageError

__all__ = ["CoreGroup", "Device", "list_devices", "load_device", "match", "probe"]

THIS_MACHINE = "this-machine"
# From little to much; a machine runs every level of its family up to its own.
LEVELS = {"x86_64": ("scalar", "avx2", "avxvnni", "avx512vnni"), "aarch64": ("scalar", "neon", "neondot")}
LEAST_MB = 16  # of a profile
KIT_SHARE = 4  # edgekit may have a quarter of the RAM: the rest is the system's, the camera's and Python's


@dataclass(frozen=True, slots=True)
class Device:
    """A device as declared by its profile, or this machine as probed; what is not known is None or "unknown".

    `isa` is the level of the kernels: scalar, avx2, avxvnni, avx512vnni, neon, neondot. `cores` are groups
    of equal cores, fastest first. `ram_mb` is the smallest variant that is sold, `kit_memory_mb` the most
    that a model may take. `copy_gbps` is memcpy on one core, 10^9 bytes a second; `int8_macs_per_cycle` the
    peak of one core of the first group. `sources` says for each fact of a profile where it comes from.
    """

    name: str
    title: str
    kit_memory_mb: int
    isa: str = UNKNOWN
    arch: str = UNKNOWN
    cores: tuple[CoreGroup, ...] = ()
    threads_per_core: int | None = None
    l1d_kib: int | None = None
    l2_kib: int | None = None
    l2_shared: bool | None = None
    l3_kib: int | None = None
    ram_mb: int | None = None
    ram_variants_mb: tuple[int, ...] = ()
    copy_gbps: float | None = None
    int8_macs_per_cycle: float | None = None
    page_kib: int | None = None
    rtc: bool | None = None
    thermal: str = UNKNOWN
    boards: tuple[str, ...] = ()
    sources: dict[str, str] = field(default_factory=dict)
    # Of a probed machine only:
    usable_cpus: int | None = None  # that this process may run on
    cpu_quota: float | None = None  # CPUs that the control group grants; None: no limit
    ram_available_mb: int | None = None
    memory_limit_mb: int | None = None  # that the control group grants; None: no limit
    governor: str = UNKNOWN
    throttled: str = UNKNOWN
    storage: str = UNKNOWN
    clock_synced: bool | None = None
    cameras: tuple[str, ...] = ()
    emulated: bool = False
    # What work costs, see `edgekit.device.speeds`, by ISA level, and how that is known:
    kernels: dict[str, Any] = field(default_factory=dict)
    tier: str = "modelled"
    # What a probe saw kernels reach, by ISA level, cold and after some seconds: see `edgekit.bench.rates`.
    rates: dict[str, Any] = field(default_factory=dict)
    sustained: dict[str, Any] = field(default_factory=dict)

    def digest(self) -> str:
        """sha256 (hex) of all that stays the same while it runs."""
        facts = {key: fact for key, fact in self.to_dict().items() if key not in _PASSING}
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and YAML: the facts that a profile or a machine can have."""
        other = _ONLY_PROFILE if self.name == THIS_MACHINE else _ONLY_MACHINE
        facts = dataclasses.asdict(self)
        return {key: _plain(value) for key, value in facts.items() if key not in other}


_PASSING = ("ram_available_mb", "throttled", "clock_synced")
_ONLY_MACHINE = {
    "usable_cpus",
    "cpu_quota",
    "ram_available_mb",
    "memory_limit_mb",
    "governor",
    "throttled",
} | {
    "storage",
    "clock_synced",
    "cameras",
    "emulated",
}
_ONLY_PROFILE = {
    "ram_variants_mb", "copy_gbps", "int8_macs_per_cycle", "thermal", "sources", "kernels", "tier",
    "rates", "sustained",
}  # fmt: skip


def list_devices() -> list[str]:
    """Names of the profiles that ship with edgekit."""
    files = [file.name for file in resources.files("edgekit.devices").iterdir()]
    return sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))


def load_device(name: str) -> Device:
    """The profile called `name`, of the YAML file at the path `name`, or for "auto" of this machine.

    Raises UsageError for an unknown name and ConfigError (a line for each mistake) for a wrong file.
    """
    if name == "auto":
        here = probe()
        return _measured(_adapt(load_device(match(here)), here), here)
    if is_profile_file(name):
        return _device(check(read_document(name), _Profile))
    if name not in list_devices():
        raise UsageError(f"unknown device {name[:80]!r}: {_hint(name)}edgekit devices list")
    return _shipped(name)


def levels_of(device: Device) -> tuple[str, ...]:
    """The ISA levels that the device can run, worst first."""
    levels = LEVELS.get(device.arch, (device.isa,))
    return levels[: levels.index(device.isa) + 1] if device.isa in levels else levels


def measured_file() -> Path:
    """Where `edgekit devices probe --write` keeps what it measured: $XDG_DATA_HOME/edgekit/device.yaml."""
    root = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
    return Path(root) / "edgekit" / "device.yaml"


def _measured(device: Device, here: Device) -> Device:
    """With what was measured on this machine, where that was done: speeds, cores and caches."""
    if not measured_file().is_file():
        return device
    own = _device(check(read_document(measured_file()), _Profile))
    if own.arch != here.arch:  # machines may share a home
        return device
    kept = ("kernels", "copy_gbps", "rates", "sustained", "tier", "cores", "l2_kib", "l3_kib", "isa")
    return dataclasses.replace(
        device,
        **_known({key: getattr(own, key) for key in kept}),
        usable_cpus=here.usable_cpus,
        cpu_quota=here.cpu_quota,
    )


def profile_facts(here: Device, source: str) -> dict[str, Any]:
    """A profile's file of a probed machine with `kernels` and `copy_gbps`, to keep or to contribute.

    What is not known is left out. Raises UsageError where that is the ISA level: nothing can be told then.
    """
    if here.isa == UNKNOWN:
        raise UsageError(f"the ISA level of this {here.arch} machine is not known: it can have no profile")
    values: dict[str, Any] = {
        "isa": here.isa, "cores": [_known(dataclasses.asdict(group)) for group in here.cores],
        "threads_per_core": here.threads_per_core, "l1d_kib": here.l1d_kib,
        "l2_kib": here.l2_kib, "l2_shared": here.l2_shared, "l3_kib": here.l3_kib,
        "ram_mb": [here.ram_mb] if here.ram_mb else None, "kit_memory_mb": max(LEAST_MB, here.kit_memory_mb),
        "page_kib": here.page_kib, "rtc": here.rtc, "thermal": here.thermal,
    }  # fmt: skip
    declared = {key: {"value": value, "source": source} for key, value in _known(values).items()}
    if here.kit_memory_mb < LEAST_MB:
        declared["kit_memory_mb"]["source"] = "the least that is allowed: the machine's memory is not known"
    return {
        "name": here.name, "title": here.title, "boards": list(here.boards),
        "declared": declared, "measured": measured_facts(here, source),
    }  # fmt: skip


def measured_facts(here: Device, source: str) -> dict[str, Any]:
    """The part of a profile's file that was timed; empty where nothing was."""
    measured = _known({key: getattr(here, key) for key in ("copy_gbps", "kernels", "rates", "sustained")})
    return {key: {"value": value, "source": source} for key, value in measured.items()}


def _known(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: fact for key, fact in facts.items() if fact not in (None, UNKNOWN, (), [], {})}


def probe(root: Path = Path("/")) -> Device:
    """What this machine is, as far as it can be known; never fails. `root` holds proc and sys."""
    facts = machine.facts(root)
    ram_mb = min((mb for mb in (facts["ram_mb"], facts["memory_limit_mb"]) if mb), default=0)
    return Device(THIS_MACHINE, "This machine", kit_memory_mb=ram_mb // KIT_SHARE, **facts)


def match(here: Device) -> str:
    """Name of the profile that is most like a probed machine: its board, else its ISA level, core and RAM."""
    devices = [_shipped(name) for name in list_devices()]
    for device in devices:
        if here.boards and here.boards[0] in device.boards:
            return device.name
    return max(devices, key=lambda device: _likeness(device, here)).name


def _likeness(device: Device, here: Device) -> tuple[float, ...]:
    """How much a profile is like a machine, the weightier first."""
    mine, its = _rank(here.isa), _rank(device.isa)
    same_core = bool({group.core for group in device.cores} & {group.core for group in here.cores})
    ram = abs(math.log2((here.ram_mb or 1) / _nearest_ram(device, here))) if here.ram_mb else 0
    return (device.arch == here.arch, its <= mine, its if its <= mine else -its, same_core, -ram)


def _rank(isa: str) -> int:
    return max((levels.index(isa) for levels in LEVELS.values() if isa in levels), default=0)


def _nearest_ram(device: Device, here: Device) -> int:
    variants = device.ram_variants_mb or (device.ram_mb or 1,)
    return min(variants, key=lambda mb: abs(math.log2(mb / (here.ram_mb or 1))))


def _adapt(device: Device, here: Device) -> Device:
    """The profile with the memory of a machine that has clearly less than the smallest one sold."""
    granted = [mb for mb in (here.ram_mb, here.memory_limit_mb) if mb]
    if not granted or min(granted) > 0.8 * (device.ram_mb or 0):
        return device
    return dataclasses.replace(device, kit_memory_mb=min(device.kit_memory_mb, here.kit_memory_mb))


def _hint(name: str) -> str:
    known = {re.sub(r"[^a-z0-9]", "", device): device for device in list_devices()}
    asked = re.sub(r"[^a-z0-9]", "", name.lower())[:64]
    inside = [short for short in known if asked and asked in short]
    close = inside or difflib.get_close_matches(asked, known, n=1, cutoff=0.4)
    return f"did you mean {known[close[0]]}? " if close else ""


def _plain(value: object) -> object:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, dict) else value


# ---- the form of a profile's file ----------------------------------------------------------------

T = TypeVar("T")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class _Fact(_Strict, Generic[T]):
    """A value and where it comes from."""

    value: T
    source: str = Field(min_length=10, max_length=1000)


class _Cores(_Strict):
    count: int = Field(ge=1, le=1024)
    core: str = Field(min_length=1, max_length=64)
    max_mhz: int | None = Field(default=None, ge=100, le=10_000)


Isa: TypeAlias = Literal["scalar", "avx2", "avxvnni", "avx512vnni", "neon", "neondot"]
Kib: TypeAlias = Annotated[int, Field(ge=4, le=4_194_304)]
Megabytes: TypeAlias = Annotated[int, Field(ge=LEAST_MB, le=4_194_304)]
Gbps: TypeAlias = Annotated[float, Field(ge=0.01, le=1000)]
Macs: TypeAlias = Annotated[float, Field(ge=0.01, le=10_000)]


class _Declared(_Strict):
    """What a probe may not find out need not be there."""

    isa: _Fact[Isa]
    cores: _Fact[Annotated[list[_Cores], Field(min_length=1, max_length=8)]] | None = None
    threads_per_core: _Fact[Annotated[int, Field(ge=1, le=8)]] | None = None
    l1d_kib: _Fact[Kib] | None = None
    l2_kib: _Fact[Kib] | None = None
    l2_shared: _Fact[bool] | None = None
    l3_kib: _Fact[Annotated[int, Field(ge=0, le=4_194_304)]] | None = None
    ram_mb: _Fact[Annotated[list[Megabytes], Field(min_length=1, max_length=16)]] | None = None
    kit_memory_mb: _Fact[Megabytes]
    page_kib: _Fact[Literal[4, 16, 64]] | None = None
    rtc: _Fact[bool] | None = None
    thermal: _Fact[Annotated[str, Field(min_length=1, max_length=500)]] | None = None

    @model_validator(mode="after")
    def _fits(self) -> _Declared:
        if self.ram_mb is None:
            return self
        kit, smallest = self.kit_memory_mb.value, min(self.ram_mb.value)
        if kit > smallest:
            raise ValueError(
                f"kit_memory_mb is {kit}, expected at most the smallest ram_mb, which is {smallest}"
            )
        return self


Nanoseconds: TypeAlias = Annotated[float, Field(ge=0, le=1e9)]
Factor: TypeAlias = Annotated[float, Field(gt=0, le=100)]


class _Kernels(_Strict):
    """What work costs at an ISA level: see `edgekit.device.calibration.Calibration`."""

    costs_ns: Annotated[
        dict[str, Annotated[list[Nanoseconds], Field(min_length=1, max_length=16)]], Field(min_length=1)
    ]
    run_us: Nanoseconds
    thread_loss: Annotated[float, Field(ge=1, le=100)]
    sync_us: Nanoseconds
    low: Factor
    high: Factor

    @model_validator(mode="after")
    def _is_whole(self) -> _Kernels:
        if not self.low <= 1 <= self.high:
            raise ValueError(f"low {self.low} and high {self.high} are factors, expected low <= 1 <= high")
        for kind, costs in self.costs_ns.items():
            if kind not in AMOUNTS:
                raise ValueError(f"costs_ns.{kind}: expected a kind of work that is timed: probe anew")
            if len(costs) != AMOUNTS[kind] + 1:
                raise ValueError(
                    f"costs_ns.{kind} has {len(costs)} numbers, expected {AMOUNTS[kind] + 1}: probe anew"
                )
            if not any(costs):
                raise ValueError(f"costs_ns.{kind} is 0, expected what work costs: probe anew")
        return self


Positive: TypeAlias = Annotated[float, Field(gt=0, le=1e6)]


class _LayerRate(_Strict):
    kernel: str = Field(min_length=1, max_length=64)
    pattern: Literal["dense", "1x4", "unstructured"]
    density: float = Field(gt=0, le=1)
    gmacs: Positive


class _Rates(_Strict):
    """What kernels reach at an ISA level: see `edgekit.bench.rates.Rates`."""

    layers: list[_LayerRate] = Field(max_length=256)
    elementwise_gbps: dict[str, Positive]
    layer_us: Positive
    thread_gain: Positive


class _Sustained(_Strict):
    cold_ms: Positive
    sustained_ms: Positive
    seconds: Positive


class _Speeds(_Strict):
    copy_gbps: _Fact[Gbps] | None = None
    int8_macs_per_cycle: _Fact[Macs] | None = None
    kernels: _Fact[dict[Isa, _Kernels]] | None = None
    rates: _Fact[dict[Isa, _Rates]] | None = None
    sustained: _Fact[_Sustained] | None = None


class _Profile(_Strict):
    name: Id
    title: str = Field(min_length=1, max_length=100)
    boards: list[str] = Field(default_factory=list, max_length=32)
    maintained: bool = False
    declared: _Declared
    modelled: _Speeds = Field(default_factory=_Speeds)
    measured: _Speeds = Field(default_factory=_Speeds)


@cache
def _shipped(name: str) -> Device:
    file = resources.files("edgekit.devices") / f"{name}.yaml"
    document: Document = parse_document(file.read_text(encoding="utf-8"), f"{name}.yaml", Path())
    return _device(check(document, _Profile))


def _device(profile: _Profile) -> Device:
    parts = (profile.declared, profile.modelled, profile.measured)
    tier = "modelled" if profile.measured.kernels is None else "measured"
    facts = {key: fact for part in parts for key, fact in part if fact}
    values = {key: fact.value for key, fact in facts.items()}
    groups = values.get("cores", ())
    values["cores"] = tuple(CoreGroup(group.count, group.core, group.max_mhz) for group in groups)
    values["ram_variants_mb"] = tuple(sorted(values.get("ram_mb", ())))
    values["ram_mb"] = min(values["ram_variants_mb"], default=None)
    for key in ("kernels", "rates"):
        values[key] = {level: found.model_dump() for level, found in values.get(key, {}).items()}
    if "sustained" in values:
        values["sustained"] = values["sustained"].model_dump()
    return Device(
        name=profile.name,
        title=profile.title,
        arch="aarch64" if values["isa"].startswith("neon") else "x86_64",
        boards=tuple(profile.boards),
        sources={key: fact.source for key, fact in facts.items()},
        tier="maintained" if profile.maintained and tier == "measured" else tier,
        **values,
    )
