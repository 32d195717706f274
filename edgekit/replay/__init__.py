"""The same clip through the same config says the same; and why."""

from __future__ import annotations

from edgekit.replay.clip import Message, choose_camera, compare, open_clip, replay, to_text

__all__ = ["Message", "choose_camera", "compare", "open_clip", "replay", "to_text"]
