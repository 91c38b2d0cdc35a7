"""What is wrong with a text, and where: one line that an author can act on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mograder.core.errors import InvalidInput


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A place in a file (``line`` from 1), what is wrong there, and the remedy if we know one."""

    filename: str
    line: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.filename}:{self.line}: {self.message}"
        return f"{text} {self.hint}" if self.hint else text


def refuse(findings: Iterable[Finding]) -> None:
    """Return when there are none, and else tell them all at once, in the order of the file.

    Raises:
        InvalidInput: One line for each finding.
    """
    if lines := [str(finding) for finding in sorted(findings)]:
        raise InvalidInput("\n".join(lines))
