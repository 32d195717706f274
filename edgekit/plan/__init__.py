"""Graph to plan: what the native engine runs, with every decision made and every weight packed."""

from __future__ import annotations

from edgekit.plan.building import NO_RANKS, Plan, build, prepare, refusal

__all__ = ["NO_RANKS", "Plan", "build", "prepare", "refusal"]
