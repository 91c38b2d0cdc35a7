"""The size of a run: the options of ``python -m bench``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Numbers of turns, students and seconds; the defaults are those of performance.md."""

    rounds: int = 5
    """Turns per comparison."""
    students: int = 300
    """Students in the lecture hall."""
    within: float = 60.0
    """Seconds over which their arrivals are spread."""
    stay: float = 300.0
    """Seconds for which they stay."""
    submissions: int = 300
    """Submissions of the batch that is graded."""
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
    quick: bool = False
    """Measure a tenth of the row ``nodes``."""
    record: bool = False
    """Append the rows to the history."""
