"""A process that is killed while it saves marks: what it acknowledged is there, and whole."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from mograder.core.settings import load_settings
from mograder.grading.course_late import CourseLate
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.marking.question_marking import QuestionMarks
from mograder.store.marking.saved_comments import SavedComments
from tests.support.gradebooks import FAIR, a_run

pytestmark = pytest.mark.full

STUDENTS = ("alice", "bob", "eve")
MARKER = """
import itertools, sys
from datetime import UTC, datetime
from pathlib import Path
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import MarkDetails, MarkEntry
from mograder.store.marking.question_marking import Change, QuestionMarks
from mograder.store.marking.saved_comments import Author, CommentWish, SavedComments

now = datetime.now(UTC)
with Gradebook(Path(sys.argv[1])) as book:
    marks, bank = QuestionMarks(book), SavedComments(book)
    made = bank.add("A1", "Analysis", CommentWish("Good.", 1.0), Author("mia", now))
    for number in itertools.count(1):
        for student in ("alice", "bob", "eve"):
            seen = marks.state("A1", student, "Analysis").version
            details = MarkDetails(number % 20, (made.comment,))
            change = Change("Analysis", MarkEntry(None, f"{number}", details), "mia", now, seen)
            marks.give("A1", student, change)
            print(student, number, flush=True)
        wish, by = CommentWish(f"Good {number}.", float(number % 7)), Author("mia", now)
        made, _ = bank.change("A1", "Analysis", made.comment, wish, by, made.version)
"""


def test_a_killed_marker_loses_nothing_that_was_acknowledged(
    tmp_path: Path, chance: random.Random
) -> None:
    path = tmp_path / "gradebook.db"
    with Gradebook(path) as book:
        for student in STUDENTS:
            book.record_run(a_run(student, FAIR, work=student))
    for _ in range(5):
        told = _mark_until_killed(path, chance.randint(3, 40))
        with Gradebook(path) as book:
            marks, bank = QuestionMarks(book), SavedComments(book)
            rubric = bank.rubric("A1", "Analysis")
            totals = {each.student: each.total for each in book.grades("A1")}
            late = CourseLate(load_settings(tmp_path, environ={}))
            kept = {each.grade.student: each.grade.total for each in late.course(book)["A1"]}
            for student, number in told.items():
                given = marks.state("A1", student, "Analysis").given
                assert given is not None
                assert int(given.mark.comment) in (number, number + 1)
                assert given.mark.points == rubric.points(given.details, 60.0)
                assert kept[student] == totals[student]


def _mark_until_killed(path: Path, saves: int) -> dict[str, int]:
    """Return the last number that was acknowledged for each student."""
    told: dict[str, int] = {}
    command = [sys.executable, "-c", MARKER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(saves):
            student, number = process.stdout.readline().split()
            told[student] = int(number)
        process.kill()
        for line in process.stdout:  # was acknowledged before it was killed
            if line.endswith("\n"):
                student, number = line.split()
                told[student] = int(number)
    return told
