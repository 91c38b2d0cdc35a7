"""Output of `generate`: lines with 0.3.16's prefixes, and the outcome of each item."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from mograder.notebook.denied_code import Denied
from mograder.sandbox.execution.report import CheckResult


class Step(StrEnum):
    """The prefix of a line (compatibility-0.3.16.md 7); the last three are ours."""

    VALIDATE = "VALIDATE"
    VALID = "VALID"
    OK = "OK"
    COPY = "COPY"
    ZIP = "ZIP"
    RELEASE_CHECK = "RELEASE-CHECK"
    SKIP = "SKIP"
    DRY_RUN = "DRY-RUN"
    ANSWERS = "ANSWERS"
    ADVICE = "ADVICE"
    LEFT_OUT = "LEFT-OUT"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of output, for people and for scripts written for 0.3.16."""

    step: Step
    text: str

    def __str__(self) -> str:
        return f"{self.step}: {self.text}"


@dataclass(frozen=True, slots=True)
class GenerateOptions:
    """Options for making releases, and the directories.

    ``sources`` and ``releases`` are the course's own directories, where the targets of a lecture's
    links are looked up; ``output`` is where releases are written. ``jobs`` is the largest number of
    notebooks that run at a time; ``denied`` is the code that students' answers should not use, None
    for no restriction. ``unprotected`` are for each item the keys of questions whose checks may run
    beside the answers.
    """

    sources: Path
    releases: Path
    output: Path
    validate: bool = True
    dry_run: bool = False
    lecture: bool = False
    submit_url: str = ""
    jobs: int = 2
    denied: Denied | None = None
    unprotected: Mapping[str, Collection[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Generated:
    """The outcome of one item: its lines in order, and why nothing was written, if so."""

    name: str
    lines: tuple[Line, ...]
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


class Watch:
    """The progress of items, given by their names; the methods do nothing unless overridden."""

    def progress(self, name: str, message: str) -> None:
        """Handle a message about the step that begins."""

    def check(self, name: str, check: CheckResult) -> None:
        """Handle the outcome of one check of the source."""

    def answers(self, name: str, notebook: str, answers: Mapping[str, str]) -> None:
        """Handle what the answers of a notebook are, in words by their names."""
