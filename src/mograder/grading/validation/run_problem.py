"""Why a run of a student's notebook did not reach its end, in words for the student."""

from __future__ import annotations

from mograder.sandbox.execution.report import ExecutionResult, Outcome

_REASONS = {
    "processes": "it started too many processes",
    "workspace": "it wrote too much to its folder",
    "disk": "the disk is nearly full",
    "output": "it printed too much",
}


def run_problem(result: ExecutionResult, seconds: float, where: str = "") -> str:
    """Return the sentence about a run that did not end well, empty for one that did.

    ``seconds`` was its limit, and ``where`` the cell that was running, as " in the cell at line 3".
    """
    match result.outcome:
        case Outcome.TIMED_OUT:
            return f"It was ended after {seconds:g} seconds{where}: is there an endless loop?"
        case Outcome.OUT_OF_MEMORY:
            return f"It needed more memory than there is for it{where}."
        case Outcome.KILLED:
            reason = _REASONS.get(result.reason, result.reason)
            return f"It was ended{where}: {reason}."
        case Outcome.EXITED:
            return f"It ended before its last cell{where}, so the rest did not run."
        case Outcome.UNREADABLE:
            return "What it reported cannot be read, so none of it counts."
    return f"It could not be run: {result.problem}" if result.problem else ""
