"""The size of a run: the options of ``python -m bench``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _option(default: float, said: str) -> Any:
    return field(default=default, metadata={"help": said})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Numbers of turns, students and seconds; the defaults are those of performance.md."""

    rounds: int = _option(5, "turns per comparison")
    students: int = _option(300, "who comes to the lecture hall")
    within: float = _option(60.0, "seconds in which they come")
    stay: float = _option(300.0, "seconds for which they stay")
    submissions: int = _option(300, "submissions graded in one batch")
    sessions: int = _option(200, "sessions beside an idle hub")
    idle: float = _option(30.0, "seconds for which the idle hub is watched")
    soakers: int = _option(40, "students of the soak")
    minutes: float = _option(30.0, "for which they work")
    seed: int = _option(1, "what they decide by")
    quick: bool = _option(False, "a tenth of the nodes and of their sessions")
    record: bool = _option(False, "append the rows to history.jsonl, which is kept in git")
