"""The steps by which people came to a mark, and what taking one back restores; pure.

Rows of marks are only added, so a step is taken back by one more row. A row of the same marker that
repeats the state before the last step counts as taking that step back, also if it was entered by
hand; so several steps can be taken back one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mograder.store.gradebook.grading_records import MarkDetails, RecordedMark

NO_DETAILS = MarkDetails()


@dataclass(frozen=True, slots=True)
class GivenMark:
    """A mark that a person gave, with how it came about."""

    mark: RecordedMark
    details: MarkDetails = NO_DETAILS

    @property
    def is_empty(self) -> bool:
        """Whether it is empty: it took back the mark before it."""
        return self.mark.points is None and not self.mark.comment and not self.details.saved

    def says(self) -> tuple[object, ...]:
        """Return what the marker said; points only if they were given as a number."""
        given = self.mark.points if self.details.adjustment is None else None
        return given, self.details, self.mark.comment


NOTHING_SAID: tuple[object, ...] = (None, NO_DETAILS, "")
"""The content of a mark that was taken back, or never given."""


def steps_of(marks: Iterable[GivenMark]) -> tuple[GivenMark, ...]:
    """Return the steps that led to the present mark of a question, from its rows, oldest first.

    A row that says the same as the last step, such as one that was computed again, belongs to that
    step and leaves it to its marker.
    """
    steps: list[GivenMark] = []
    for each in marks:
        before = steps[-2].says() if len(steps) > 1 else NOTHING_SAID
        if each.says() == (steps[-1].says() if steps else NOTHING_SAID):
            continue
        if steps and each.mark.marker == steps[-1].mark.marker and each.says() == before:
            steps.pop()
        else:
            steps.append(each)
    return tuple(steps)


def last_step_of(marker: str, steps: tuple[GivenMark, ...]) -> bool:
    """Return whether the last step is this marker's, and not empty."""
    return bool(steps) and steps[-1].mark.marker == marker
