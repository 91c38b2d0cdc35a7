"""The limits of a notebook that is graded: those of a session, lowered by ``[rlimits]``; pure."""

from __future__ import annotations

from dataclasses import replace

from mograder.core.sections.settings_model import RlimitsSettings
from mograder.sandbox.protocol import LONGEST_SECONDS, Deadlines, Limits

_MEGABYTE = 1 << 20


def lowered(limits: Limits, rlimits: RlimitsSettings, memory_mb: int | None = None) -> Limits:
    """Return limits that are at most those of ``[rlimits]``; ``memory_mb`` replaces its ``as``."""
    own = -(-(rlimits.as_ or 0) // _MEGABYTE) if memory_mb is None else memory_mb
    memory = _least(limits.memory_mb, own)
    soft = limits.memory_soft_mb
    return limits.model_copy(
        update={
            "memory_mb": memory,
            "memory_soft_mb": 0 if memory and soft >= memory else soft,
            "processes": _least(limits.processes, rlimits.nproc),
            "open_files": _least(limits.open_files, rlimits.nofile),
        }
    )


def timed(deadlines: Deadlines, seconds: float) -> Deadlines:
    """Return the deadlines with ``seconds`` for the notebook, and as many for all its checks.

    It is at least a second and at most what a supervisor accepts.
    """
    seconds = min(max(seconds, 1.0), LONGEST_SECONDS)
    return replace(
        deadlines,
        call=min(deadlines.call, seconds),
        check=min(deadlines.check, seconds),
        submission=seconds,
        notebook=seconds,
    )


def _least(limit: int, other: int | None) -> int:
    """Return the lower of two limits, of which 0 and None mean none."""
    return min((each for each in (limit, other) if each and each > 0), default=0)
