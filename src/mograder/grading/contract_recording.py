"""The recording of a contract: the author's own solution, judged apart from its checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mograder.notebook.grading_plan import GradingPlan
from mograder.sandbox.execution.judging import Deadlines, Judges, JudgingResult
from mograder.sandbox.inside.grading_contract import Contract
from mograder.sandbox.protocol import Limits


@dataclass(frozen=True, slots=True)
class Recording:
    """The author's source to record a contract of; ``folder`` has the files beside it."""

    text: str
    filename: str
    plan: GradingPlan
    environment: Path
    limits: Limits
    deadlines: Deadlines
    folder: Path | None


@dataclass(frozen=True, slots=True)
class RecordedContract:
    """A recorded contract, and the result of judging the author's own solution meanwhile.

    ``contract`` is None, and ``problems`` says why in a line for each, if the solution does not
    pass its checks or could not be judged.
    """

    contract: Contract | None
    problems: tuple[str, ...]
    result: JudgingResult


async def record_contract(recording: Recording, judges: Judges) -> RecordedContract:
    """Judge the author's own solution without a contract, and return the one that it shows.

    Raises:
        MograderError: It could not be run at all.
    """
    raise NotImplementedError
