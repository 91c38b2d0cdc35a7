"""What a source's text tells of its checks: values given away, and outside influences. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from mograder.notebook.cells import NotebookText
from mograder.notebook.findings import Finding
from mograder.notebook.grading.grading_plan import GradingPlan
from mograder.notebook.quality.given_away import GivenAway, given_away
from mograder.notebook.quality.outside_influences import Found, outside_influences

_REMEDIES = {
    "the date": "Write a fixed date, or pass the date as an argument.",
    "the network": "Put the file beside the notebook, and read it from there.",
    "a path of one machine": 'Write it relative to the notebook: `mo.notebook_dir() / "data.csv"`.',
    "the speed of the machine": "Count steps or calls instead of seconds.",
}
_FIXED = "Write a fixed value instead."


@dataclass(frozen=True, slots=True)
class Told:
    """A finding in words, with an example of it in the text."""

    message: str
    remedy: str
    example: str


def influence_told(found: Found) -> Told:
    """Return in words what a check depends on besides answers."""
    remedy = _REMEDIES.get(found.what, _FIXED)
    return Told(f"checks depend on {found.what}.", remedy, found.code)


def given_away_told(found: GivenAway) -> Told:
    """Return in words how a hidden test is given away."""
    if not found.value:
        remedy = "Let it test another case."
        example = f"line {found.release_line}: {found.shown}"
        return Told("this hidden test repeats a visible one.", remedy, example)
    message = f"the release shows {found.value!r}, which this hidden test expects."
    remedy = "Let the hidden test use another value."
    return Told(message, remedy, f"line {found.release_line} of the release: {found.shown}")


def advise_checks(
    notebook: NotebookText, release: str, plan: GradingPlan, filename: str
) -> tuple[Finding, ...]:
    """Return advice on the checks of a source whose release is made.

    Raises:
        InvalidInput: The markers in the source are wrong.
    """
    places = [(each.line, influence_told(each)) for each in outside_influences(notebook, plan)]
    given = given_away(notebook, release, plan, filename)
    places += [(each.line, given_away_told(each)) for each in given]
    found = (Finding(filename, line, told.message, told.remedy) for line, told in places)
    return tuple(sorted(set(found)))
