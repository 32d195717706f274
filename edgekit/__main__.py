"""The command `edgekit`, and `python -m edgekit`."""

from __future__ import annotations

import signal
import sys

# What comes while edgekit is loaded waits: an end for `main`, a wish to reload for the pipeline.
early = {signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if sys.argv[1:2] == ["run"] else [])}
signal.pthread_sigmask(signal.SIG_BLOCK, early)

from edgekit.cli import main  # noqa: E402  (the signals come first)

if __name__ == "__main__":
    sys.exit(main())
