"""The command `edgekit`, and `python -m edgekit`."""

from __future__ import annotations

import signal
import sys

if sys.argv[1:2] == ["run"]:  # a wish to reload that comes before the pipeline runs waits for it
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})

from edgekit.cli import main

if __name__ == "__main__":
    sys.exit(main())
