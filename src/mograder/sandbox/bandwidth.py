"""How much of the processors sessions may take at most, whatever their weights say.

A weight shares out busy processors in the long run. On Linux 6.18 at least, hundreds of processes
that wake each other all the time (a fork bomb at its limit, pipes that play ping-pong) are run
again before others that have waited, whatever the weights and the niceness: the hub at its best
priority stood in line for 0.1 to 0.4 s. A quota of the kernel's holds against that. It
counts in periods; who has used up theirs waits for the next one.
"""

from __future__ import annotations

import os

PERIOD = 20_000
"""Microseconds. The kernel's usual 100 ms are as long as a whole start."""

FOR_SESSIONS = 0.95
"""The part of all processors that sessions may have together; hub and supervisor have the rest."""

NO_QUOTA = -1
_LEAST = 1000
"""Microseconds, the kernel's least quota."""


def quota(part: float) -> int:
    """Return the microseconds in each period that are this part of all processors' time."""
    return max(_LEAST, int(part * (os.cpu_count() or 1) * PERIOD))
