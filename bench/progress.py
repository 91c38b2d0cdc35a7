"""Progress messages on standard error, so that the table on standard output can be piped."""

from __future__ import annotations

import sys
import time

_BEGUN = time.monotonic()


def say(text: str) -> None:
    """Print a message with the seconds since the run began."""
    print(f"[{time.monotonic() - _BEGUN:5.0f} s] {text}", file=sys.stderr, flush=True)
