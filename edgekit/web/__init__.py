"""The live page, `/metrics` and `/healthz`: what a pipeline sees and how it does, read only.

From the top down: `server` (the thread that listens), `site` (which address answers what), `access` (who may
ask), `metrics` (what Prometheus is told), `board` (what there is to show), `picture` (how it is shown).
Pictures are made only while somebody looks at them, each newest one once, in this server's own thread.
"""

from __future__ import annotations

from edgekit.web.board import Board, Facts
from edgekit.web.server import serve

__all__ = ["Board", "Facts", "serve"]
