"""A pipeline as one file, and its way onto a device.

`bundle` packs wheel, model, config, profile and unit into a tar with the hash of each; `Deployment` brings it
to a device over ssh, where `agent` unpacks it beside what runs, switches to it at once, and back when it does
not work there.
"""

from __future__ import annotations

from edgekit.kit.bundle import Contents, bundle
from edgekit.kit.deploy import Deployment, Remote

__all__ = ["Contents", "Deployment", "Remote", "bundle"]
