"""Tracks to events: visits, zones, lines, alarms."""

from __future__ import annotations

from edgekit.rules.visits import (
    Visits,
    changed_zones,
    confirmed,
    crossed,
    moved,
    renamed,
    settled_or_left,
    surer,
    usual_confirmation,
)

__all__ = [
    "Visits",
    "changed_zones",
    "confirmed",
    "crossed",
    "moved",
    "renamed",
    "settled_or_left",
    "surer",
    "usual_confirmation",
]
