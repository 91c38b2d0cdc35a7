"""Warnings about marks in the gradebook that are about to be sent or written."""

from __future__ import annotations

from collections.abc import Sequence

import click

from mograder.cli.shared.formatting import plain
from mograder.exchange.grades_csv import reservations
from mograder.store.gradebook.grading_records import StudentGrade


def warn_of_reservations(assignment: str, grades: Sequence[StudentGrade]) -> None:
    """Print to stderr which students have no mark, and whose marks need a look."""
    for sentence in reservations(grades):
        click.echo(plain(f"Warning: {assignment}: {sentence}"), err=True)
