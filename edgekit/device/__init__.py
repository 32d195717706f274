"""Device profiles: what a board or a laptop has, what this machine is, and what work costs on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.device.profile import (
        CoreGroup,
        Device,
        levels_of,
        list_devices,
        load_device,
        match,
        measured_facts,
        measured_file,
        probe,
        profile_facts,
    )

__all__ = [
    "CoreGroup",
    "Device",
    "levels_of",
    "list_devices",
    "load_device",
    "match",
    "measured_facts",
    "measured_file",
    "probe",
    "profile_facts",
]


def __getattr__(name: str) -> object:
    """Load profiles when they are first used: engines ask for `machine` alone and need no pydantic."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'edgekit.device' has no attribute {name!r}")
    return getattr(import_module("edgekit.device.profile"), name)
