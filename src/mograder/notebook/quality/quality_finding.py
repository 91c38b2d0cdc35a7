"""What is found of a source's checks, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from mograder.notebook.cells import NotebookText
from mograder.notebook.findings import Finding


class Fault(StrEnum):
    """The kinds of findings."""

    SOLUTION = "solution"
    """The author's own solution or its release does not run as it should; nothing else is tried."""
    MUTANT = "mutant"
    """A wrong solution passes all checks."""
    CONDITION = "condition"
    """The text of a condition shows that it says little."""
    JUNK = "junk"
    """Junk in place of an answer passes."""
    EMPTY = "empty"
    """The release passes, in which nothing is answered."""
    DATE = "date"
    RANDOM = "random"
    MACHINE = "machine"
    GIVEN_AWAY = "given away"
    """The released text has the value that a hidden test expects."""
    EVERYBODY = "everybody passes"
    NOBODY = "nobody passes"


@dataclass(frozen=True, slots=True, order=True)
class QualityFinding:
    """A weakness of a check, at a line (from 1) of a file; ``cell`` is the cell's number, from 1.

    ``example`` shows it, in several lines or empty; ``remedy`` is what to do.
    """

    filename: str
    line: int
    fault: Fault
    message: str
    remedy: str
    example: str = ""
    cell: int | None = None

    def lines(self) -> Iterator[str]:
        yield f"{self.filename}:{self.line}: {self.fault}: {self.message} {self.remedy}".rstrip()
        yield from (f"    {line}" for line in self.example.splitlines())

    def as_data(self) -> dict[str, object]:
        """Return the finding as JSON's types."""
        return {
            "fault": str(self.fault),
            "file": self.filename,
            "line": self.line,
            "cell": self.cell,
            "message": self.message,
            "example": self.example,
            "remedy": self.remedy,
        }


def in_cell(notebook: NotebookText, fault: Fault, finding: Finding) -> QualityFinding:
    """Return a finding with the cell in which its line is."""
    cell = notebook.cell_at(finding.line)
    index = None if cell is None else cell.index + 1
    place = (finding.filename, finding.line)
    return QualityFinding(*place, fault, finding.message, finding.hint, cell=index)
