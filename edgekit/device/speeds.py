"""Where a device's Calibration comes from: its measurements, or what is known of its level and clock."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgekit.device.calibration import Calibration
from edgekit.device.cycles import known
from edgekit.device.profile import Device
from edgekit.errors import UsageError


def calibration_of(device: Device, isa: str) -> Calibration:
    """What work costs on the device at the ISA level; kinds that its profile lacks are modelled.

    Raises UsageError where nothing is known.
    """
    modelled = _modelled(device, isa) if isa in known() else None
    if isa in device.kernels:
        return replace(calibration_from(isa, device.kernels[isa]), stand_in=modelled)
    if modelled is None:
        raise UsageError(
            f"device {device.name}: nothing is known of ISA level {isa!r}: edgekit devices probe"
        )
    return modelled


def _modelled(device: Device, isa: str) -> Calibration:
    level = known()[isa]
    core = device.cores[0] if device.cores else None
    ghz = (core.max_mhz or 2000) / 1000 if core else 2.0
    slowness = level.get("slowness", {}).get(core.core if core else "", 1.0)
    scaled = {kind: tuple(c * slowness / ghz for c in costs) for kind, costs in level["cycles"].items()}
    return Calibration(
        isa, scaled, level["run_cycles"] * slowness / ghz / 1000, level["thread_loss"],
        level["sync_cycles"] / ghz / 1000, level["low"], level["high"], level["fallback_cycles"] / ghz,
        most_loss=level.get("most_loss", 1.0),
    )  # fmt: skip


def calibration_from(level: str, facts: dict[str, Any]) -> Calibration:
    """From the mapping that `calibration_facts` makes."""
    costs = {kind: tuple(values) for kind, values in facts["costs_ns"].items()}
    keys = ("run_us", "thread_loss", "sync_us", "low", "high")
    run_us, thread_loss, sync_us, low, high = (float(facts[key]) for key in keys)
    return Calibration(level, costs, run_us, thread_loss, sync_us, low, high)


def calibration_facts(found: Calibration) -> dict[str, Any]:
    """Plain numbers for a profile, to four digits."""
    costs = {kind: [_short(c) for c in values] for kind, values in sorted(found.costs_ns.items())}
    keys = ("run_us", "thread_loss", "sync_us", "low", "high")
    return {"costs_ns": costs, **{key: _short(getattr(found, key)) for key in keys}}


def rounded(value: Any) -> Any:
    """Plain data with its numbers to four digits."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return _short(value) if isinstance(value, float) else value


def _short(number: float) -> float:
    return float(f"{number:.4g}") if number > 1e-6 else 0.0
