"""Device profiles: what a board or a laptop has, what this machine is, and what work costs on it."""

from __future__ import annotations

from edgekit.device.profile import (
    CoreGroup,
    Device,
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
    "list_devices",
    "load_device",
    "match",
    "measured_facts",
    "measured_file",
    "probe",
    "profile_facts",
]
