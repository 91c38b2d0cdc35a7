"""Findings in a notebook's text: one line each, with the place, the problem and the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mograder.core.errors import InvalidInput


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A problem in a line (from 1) of a file; ``hint`` is the remedy, or empty."""

    filename: str
    line: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.filename}:{self.line}: {self.message}"
        stop = "" if text.endswith((".", "!", "?")) else "."
        return f"{text}{stop} {self.hint}" if self.hint else text


def refuse(findings: Iterable[Finding]) -> None:
    """Raise InvalidInput with a line for each finding in the file's order, if there are any."""
    if lines := [str(finding) for finding in sorted(findings)]:
        raise InvalidInput("\n".join(lines))
