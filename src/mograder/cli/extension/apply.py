"""Changes of ``mograder extension``: the class before and after, then the record."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click

from mograder.cli.gradebook.book import account_name, changed_book
from mograder.cli.shared.formatting import plain
from mograder.core.clock import SystemClock
from mograder.core.csv_table import number_text
from mograder.core.name_lookup import Words, find_name, listed
from mograder.core.settings import LoadedSettings
from mograder.grading.late.course_late import ComparedGrade, CourseLate
from mograder.grading.late.explanation import late_sentence, moment
from mograder.grading.late.late_changes import (
    RULE_KEYS,
    described,
    known_assignments,
    unknown_students,
)
from mograder.grading.release.late_preview import (
    LatePreview,
    due_sentence,
    preview_late,
    told_sentences,
)
from mograder.store.gradebook.gradebook import Gradebook, viewed_gradebook
from mograder.store.gradebook.late_facts import ALL_ASSIGNMENTS, Change, LateFacts
from mograder.store.gradebook.late_work import LateWork

dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Tell whose marks would change, and record nothing."
)


@dataclass(frozen=True, slots=True)
class Extensions:
    """The gradebook of a command, its late work, and the assignments that it may name."""

    loaded: LoadedSettings
    book: Gradebook
    assignments: tuple[str, ...]

    def named(self, typed: str) -> str:
        """Return the assignment that an argument means; ``all`` is the course.

        Raises:
            MograderError: None or several match.
        """
        if typed == "all":
            return ALL_ASSIGNMENTS
        return find_name(typed, self.assignments, Words())

    def facts(self) -> LateFacts:
        """Return the extensions, groups and policies in force."""
        return LateWork(self.book).facts()

    def note_early(self, assignment: str, until: datetime | None) -> None:
        """Tell of a due date that is not later than the general one, or of one without that."""
        due = CourseLate(self.loaded).terms(assignment, self.facts()).due.general
        if until is not None and due is None:
            text = f"{assignment} has no due date, and so nothing is late there"
            click.echo(plain(f"WARNING: {text}."), err=True)
        elif until is not None and due is not None and until <= due:
            text = f"{moment(until)} is not after the due date, {moment(due)}"
            click.echo(f"WARNING: {text}, which stays.", err=True)

    def apply(self, changes: Sequence[Change], *, dry_run: bool) -> None:
        """Tell what the changes do, and record them."""
        unknown = unknown_students(self.book, changes)
        if unknown:
            names = plain(listed(unknown))
            click.echo(f"WARNING: the gradebook does not know {names} yet.", err=True)
        now = SystemClock().now()
        preview = preview_late(self.loaded, self.book, changes, now)
        for line in _preview(preview):
            click.echo(plain(line))
        if dry_run:
            click.echo("Dry run — nothing was recorded.")
            return
        late, version = CourseLate(self.loaded), preview.version
        late.record(self.book, changes, by=account_name(), at=now, version=version)
        for change in changes:
            click.echo(plain(f"Recorded: {described(change)}."))

    def show_rule(self, assignment: str) -> None:
        """Print the rule in force, and where each key comes from."""
        late, facts = CourseLate(self.loaded), self.facts()
        rule = late.rule(assignment, facts)
        for key in RULE_KEYS:
            if key != "late_days" or assignment == ALL_ASSIGNMENTS:
                value, origin = getattr(rule, key), late.origin_of(key, assignment, facts)
                click.echo(plain(f"{key} = {_shown(value)}  ({origin})"))
        if assignment != ALL_ASSIGNMENTS:
            due = late.terms(assignment, facts).due.general
            click.echo(f"Due: {'no due date' if due is None else moment(due)}")


@contextlib.contextmanager
def opened(loaded: LoadedSettings, *, writes: bool) -> Iterator[Extensions]:
    """Open the course's gradebook; extensions may be recorded before anything is graded.

    Without ``writes`` no gradebook is made, and one of 0.3.16 is left as it is.
    """
    with contextlib.ExitStack() as opened:
        if writes:
            book = opened.enter_context(changed_book(loaded))
        elif loaded.gradebook_path.is_file():
            book = opened.enter_context(viewed_gradebook(loaded.gradebook_path))
        else:
            empty = opened.enter_context(tempfile.TemporaryDirectory(prefix="mograder-gradebook-"))
            book = opened.enter_context(Gradebook(Path(empty) / "gradebook.db"))
        yield Extensions(loaded, book, known_assignments(loaded, book))


def _preview(preview: LatePreview) -> Iterator[str]:
    yield from (f"  {due_sentence(each)}" for each in preview.dues)
    yield from (f"  {_line(each)}" for each in preview.differing)
    count = len(preview.differing)
    yield f"{count} {'mark changes' if count == 1 else 'marks change'}."
    if preview.is_released:
        yield "Students see released marks as they were until you release them again."
    for told in preview.told:
        yield from told_sentences(told)


def _line(each: ComparedGrade) -> str:
    before, after = each.before.grade, each.after
    name = f"{before.assignment}, {before.student}"
    marks = f"{_mark(before.final)} -> {_mark(after.grade.final)}"
    told = late_sentence(after.grade, after.deduction)
    return f"{name}: {marks}{f'   {told}' if told else ''}"


def _mark(value: float | None) -> str:
    return number_text(value) or "no mark"


def _shown(value: object) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if isinstance(value, float) else str(value)
