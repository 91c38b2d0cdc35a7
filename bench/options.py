"""How large a run is: what the command line of ``python -m bench`` may change."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Numbers of turns, students and seconds; the defaults are those of performance.md."""

    rounds: int = 5
    """Turns per comparison."""
    students: int = 300
    """Who comes to the lecture hall."""
    within: float = 60.0
    """Seconds in which they come."""
    stay: float = 300.0
    """Seconds for which they stay."""
    sessions: int = 200
    """Sessions beside an idle hub."""
    idle: float = 30.0
    """Seconds for which the idle hub is watched."""
    soakers: int = 40
    """Students of the soak."""
    minutes: float = 30.0
    """For which they work."""
    seed: int = 1
    """What they decide by."""
