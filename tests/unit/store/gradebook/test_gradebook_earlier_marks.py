"""Marks that 0.3.16 gave, before ours or after them, and the rows that are written for it.

See compatibility-0.3.16.md 9.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import pytest

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.settings import load_settings
from mograder.grading.course_late import CourseLate
from mograder.store.database import sqlite_files
from mograder.store.gradebook import gradebook
from mograder.store.gradebook.gradebook import Gradebook, viewed_gradebook
from mograder.store.gradebook.grading_records import (
    EARLIER_MARKER,
    WHOLE,
    MarkEntry,
    Penalty,
)
from tests.support.gradebooks import (
    AT,
    FAIR,
    Meanwhile,
    a_run,
    change,
    export_0316,
    give,
    import_0316,
    no_deductions,
    only,
    put_recorded,
    row_of,
)


def test_0_3_16s_marks_are_read_as_they_are(path: Path) -> None:
    put_recorded(path)
    with Gradebook(path) as book:
        found = {each.student: each for each in book.grades("A1")}
        (essay, ungraded) = book.grades("A2-Essay")
    alice, bob, cleo, eve = (found[name] for name in ("alice", "bob", "cleo", "eve"))
    assert (alice.auto, alice.manual, alice.total, alice.final) == (25, 42, 67, 60)
    assert alice.submitted_at == 1_795_292_502
    assert alice.whole is not None
    assert (alice.whole.marker, alice.whole.available) == (EARLIER_MARKER, 60)
    assert (bob.auto, bob.manual, bob.total, bob.flags) == (
        25,
        50,
        75,
        ("0.3.16 added its percentage to the total as points; in marks it is 30",),
    )
    assert (cleo.total, cleo.final) == (94, 0), "a penalised 0 stays 0"
    assert (eve.total, eve.final, eve.questions[3].open) == (None, None, "not marked yet")
    assert (essay.auto, essay.total, essay.comment[:9]) == (None, 65, "Good work")
    assert (ungraded.total, ungraded.comment) == (80, "Fine.")


def test_a_mark_after_a_deduction_without_its_percentage_is_none(path: Path) -> None:
    """0.3.16 reads neither; else each place would have another mark."""
    put_recorded(path)
    change(path, "UPDATE submissions SET penalty_pct = NULL WHERE student = 'alice'")
    with Gradebook(path) as book:
        late = CourseLate(load_settings(path.parent, environ={}))
        counted = late.counted(book, "A1")[0], late.course(book)["A1"][0]
        grades = [book.grades("A1")[0], *(each.grade for each in counted)]
        assert [(each.student, each.penalised, each.final) for each in grades] == [
            ("alice", None, 67)
        ] * 3


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00", "0001-01-01T00:00:00+01:00", "soon"])
def test_a_mark_of_0_3_16_whose_time_means_nothing_counts_from_its_import(
    path: Path, moment: str
) -> None:
    put_recorded(path)
    change(path, "UPDATE submissions SET graded_at = ? WHERE student = 'alice'", moment)
    with Gradebook(path) as book:
        (mark,) = book.history("A1", "alice")
        assert mark.points == 42
        assert mark.at > "2026"


def test_where_0_3_16_left_no_question_to_people_the_remedy_is_named(path: Path) -> None:
    """It records no keys of checks, and takes all questions for automatic, if it ran none."""
    put_recorded(path)
    change(path, "UPDATE assignments SET auto_check_keys = NULL WHERE name = 'A1'")
    with Gradebook(path) as book:
        for key in ("Analysis", WHOLE):
            with pytest.raises(InvalidInput, match="left no question of A1") as refused:
                book.record_marks("A1", "eve", {key: MarkEntry(5)}, marker="mia", at=AT)
            assert refused.value.hint == "Grade it again here: mograder autograde A1"


def test_grading_again_keeps_the_marks_that_0_3_16s_markers_gave(path: Path) -> None:
    put_recorded(path)
    with Gradebook(path) as book:
        for student in ("alice", "bob", "cleo"):
            book.record_run(a_run(student, FAIR))
        found = {each.student: each for each in book.grades("A1")}
        kept = book.history("A1", "alice")[0]
    assert {name: (g.manual, g.total) for name, g in found.items()} == {
        "alice": (42, 64.1),
        "bob": (30, 52.1),
        "cleo": (54, 76.1),
        "eve": (None, None),
    }
    assert (kept.marker, kept.points, kept.comment[:9]) == (EARLIER_MARKER, 42, "Good work")
    assert "in marks it is 30" in found["bob"].flags[0], "until it is marked again"


@pytest.mark.parametrize("own", [True, False])
def test_an_export_before_the_turn_of_an_import_makes_no_older_mark_count(
    path: Path, tmp_path: Path, own: bool
) -> None:
    """Another command or a grading job exports while the import waits for the lock."""
    put_recorded(path)
    file = None if own else put_recorded(tmp_path / "theirs.db")
    with Meanwhile(path) as book, Gradebook(path) as other:
        book.import_0316(file, AT)
        give(book, Analysis=57)
        book.before_change = lambda: other.export_0316(file, no_deductions, AT)
        assert book.import_0316(file, AT) == ()
        assert book.grades("A1")[0].total == 82


def test_a_person_may_mark_what_only_0_3_16_has_graded(path: Path) -> None:
    put_recorded(path)
    with Gradebook(path) as book:
        assert give(book, student="eve", Analysis=33).total == 58
        with pytest.raises(InvalidInput, match="no question 'Q1'"):
            give(book, student="eve", Q1=3)
        assert row_of(path, "eve")["manual_mark"] is None, "only an export writes there"
        export_0316(book)
    assert row_of(path, "eve")["manual_mark"] == pytest.approx(55)


def test_a_mark_over_0_3_16s_grading_is_exported_once_and_leaves_its_time(path: Path) -> None:
    put_recorded(path)
    graded = "2026-11-19T08:00:00"
    change(path, "UPDATE submissions SET autograded_at = ? WHERE student = 'eve'", graded)
    with Gradebook(path) as book:
        give(book, student="eve", Analysis=33)
        assert ("eve", "done", "mark 58") in export_0316(book)
        assert row_of(path, "eve")["autograded_at"] == graded
        assert book.export_0316(None, no_deductions, AT + timedelta(hours=1)) == ()


def test_what_was_imported_is_exported_unchanged(path: Path) -> None:
    """All columns stay as 0.3.16 wrote them, also of totals that it computed wrongly."""
    put_recorded(path)
    before = path.read_bytes()
    with Gradebook(path) as book:
        deductions = {
            ("A1", "alice"): Penalty(10, 60, 1_795_292_502),
            ("A1", "cleo"): Penalty(100, 0, 1_795_992_502),
        }
        assert export_0316(book, deductions) == []
        assert import_0316(book) == []
    rows = {name: dict(row_of(path, name)) for name in ("alice", "bob", "cleo", "eve")}
    path.write_bytes(before)
    assert rows == {name: dict(row_of(path, name)) for name in rows}


@pytest.fixture
def marked(book: Gradebook) -> Gradebook:
    """Alice's work, graded and marked here, and exported."""
    book.record_run(a_run(points=FAIR))
    give(book, Analysis=30)
    export_0316(book)
    return book


SAVED = (
    "UPDATE submissions SET manual_mark = 70, total_mark = 22 + 42, feedback = 'New.', "
    "graded_at = '2026-11-21T10:00:00', updated_at = '2026-11-21T10:00:00'"
)


def test_a_mark_that_0_3_16_gave_afterwards_counts_when_it_is_imported(
    marked: Gradebook, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change(path, SAVED)
    assert only(marked).total == 52.1
    Gradebook(path).close()
    assert "changed 1 row of gradebook.db" in caplog.text
    told = ("alice", "done", "42 of 60 marks by a person, total 64")
    assert [(s, o, t) for s, o, t in import_0316(marked)] == [told]
    grade = only(marked)
    assert (grade.manual, grade.total, grade.comment) == (42, 64.1, "New.")
    assert [m.marker for m in marked.history("A1", "alice") if m.marker] == ["mia", EARLIER_MARKER]
    assert import_0316(marked) == []
    marked.record_run(a_run(points=FAIR, later=9999))
    assert only(marked).total == 64.1


@pytest.mark.parametrize("exchange", [import_0316, export_0316])
def test_a_row_that_0_3_16_wrote_again_as_it_was_is_told_until_it_is_exchanged(
    marked: Gradebook, path: Path, caplog: pytest.LogCaptureFixture, exchange: Callable[..., object]
) -> None:
    """Its `feedback` writes the same deduction again, with a new time; it was told for ever."""
    change(path, "UPDATE submissions SET updated_at = '2026-11-22'")
    Gradebook(path).close()
    assert "changed 1 row of gradebook.db" in caplog.text
    caplog.clear()
    Gradebook(path).close()
    assert "changed 1 row of gradebook.db" in caplog.text
    assert exchange(marked) == []
    caplog.clear()
    Gradebook(path).close()
    assert caplog.records == []
    change(path, SAVED)
    assert [each[1] for each in import_0316(marked)] == ["done"], "a real change counts as before"


def test_a_row_that_both_have_changed_is_a_conflict(marked: Gradebook, path: Path) -> None:
    give(marked, later=3, Analysis=12)
    change(path, SAVED)
    before = dict(row_of(path))
    for _ in range(2):
        ((student, outcome, text),) = import_0316(marked)
        assert (student, outcome) == ("alice", "conflict")
        assert "the total is 34.1 here and 64 there, and the comments differ" in text
        ((_, outcome, text),) = export_0316(marked)
        assert (outcome, dict(row_of(path))) == ("conflict", before)
        assert "which is not imported" in text
    assert only(marked).total == 34.1
    assert [each[1] for each in import_0316(marked, replaces=True)] == ["done"]
    assert only(marked).total == 64.1
    points = [m.points for m in marked.history("A1", "alice") if m.marker]
    assert points == [30, 12, 42], "nothing is lost"


def test_an_assignment_of_which_no_row_is_exported_stays_as_0_3_16_has_it(path: Path) -> None:
    put_recorded(path)
    with Gradebook(path) as book:
        change(path, "UPDATE assignments SET max_mark = 200 WHERE name = 'A2-Essay'")
        give(book, Analysis=12)
        assert ("alice", "done") in {each[:2] for each in export_0316(book)}
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name, max_mark FROM assignments ORDER BY name")
        assert dict(rows)["A2-Essay"] == 200


def test_what_0_3_16_has_changed_is_written_over_when_that_is_asked_for(
    marked: Gradebook, path: Path
) -> None:
    change(path, SAVED)
    told = marked.export_0316(None, no_deductions, AT, replaces=True)
    assert [each.text for each in told] == ["mark 52.1"]
    assert (row_of(path)["total_mark"], import_0316(marked)) == (52.1, [])


def test_the_same_mark_on_both_sides_is_no_conflict(marked: Gradebook, path: Path) -> None:
    give(marked, later=3, Analysis=42)
    change(path, SAVED.replace("'New.'", "''"))
    assert import_0316(marked) == []
    assert [m.marker for m in marked.history("A1", "alice") if m.marker] == ["mia", "mia"]


def test_browsing_in_0_3_16s_grader_changes_nothing(book: Gradebook, path: Path) -> None:
    """Its page saves the whole percentage when one goes on to the next student."""
    book.record_run(a_run(points=FAIR))
    give(book, Analysis=12.5)
    export_0316(book)
    assert row_of(path)["manual_mark"] == pytest.approx(20.833, abs=0.001)
    change(
        path,
        "UPDATE submissions SET manual_mark = 20, total_mark = 22 + 12, "
        "graded_at = '2026-11-21T10:00:00', updated_at = '2026-11-21T10:00:00'",
    )
    assert import_0316(book) == []
    assert only(book).total == 34.6


@pytest.mark.parametrize("exported", [True, False])
def test_what_0_3_16_read_from_a_notebooks_text_is_no_mark(
    book: Gradebook, path: Path, exported: bool
) -> None:
    """Exploit: a submission with `_mark = 100`, which `mograder sync` of 0.3.16 takes."""
    book.record_run(a_run(points=FAIR))
    export_0316(book)
    if not exported:
        change(path, "DELETE FROM exchanged_0316")
    change(
        path,
        "UPDATE submissions SET manual_mark = 100, total_mark = 122.1, updated_at = '2026-11-22'",
    )
    assert import_0316(book) == []
    assert (only(book).manual, only(book).total) == (None, None)


def test_a_mark_from_a_text_does_not_count_after_another_mark_by_us_either(
    book: Gradebook, path: Path
) -> None:
    """A person marked a question with checks, so that the row has a time of marking."""
    book.record_run(a_run(points=FAIR))
    give(book, Q3=15)
    export_0316(book)
    change(path, "UPDATE submissions SET manual_mark = 100, total_mark = 137.1, updated_at = 'x'")
    assert import_0316(book) == []
    assert (only(book).manual, only(book).total) == (None, None)


def test_a_result_of_0_3_16_over_ours_does_not_count(marked: Gradebook, path: Path) -> None:
    change(
        path,
        "UPDATE submissions SET auto_mark = 40, total_mark = 90, autograded_at = '2026-11-22', "
        "updated_at = '2026-11-22'",
    )
    text = "mograder 0.3.16 graded this again; its result does not count here"
    assert import_0316(marked) == [("alice", "noted", text)]
    assert only(marked).total == 52.1
    assert [each[1] for each in export_0316(marked)] == ["done"]
    assert row_of(path)["auto_mark"] == 22.1


def test_a_comment_of_0_3_16_alone_leaves_the_mark(marked: Gradebook, path: Path) -> None:
    change(path, "UPDATE submissions SET feedback = 'Hm.', updated_at = 'later'")
    assert import_0316(marked) == [("alice", "done", "a comment")]
    assert (only(marked).total, only(marked).comment) == (52.1, "Hm.")


def test_a_gradebook_in_another_file_is_imported_and_exported(
    book: Gradebook, tmp_path: Path
) -> None:
    other, made = put_recorded(tmp_path / "other.db"), tmp_path / "made.db"
    book.record_run(a_run("eve", FAIR))
    told = {(each.assignment, each.student): each.text for each in book.import_0316(other, AT)}
    assert told["A1", "alice"] == "42 of 60 marks by a person, total 67"
    assert {each.student: each.total for each in book.grades("A1")} == {
        "alice": 67,
        "bob": 75,
        "cleo": 94,
        "eve": None,
    }
    assert book.students()["alice"] == "Alice Ångström"
    book.export_0316(made, no_deductions, AT, dry_run=True)
    assert not made.exists()
    book.export_0316(made, no_deductions, AT)
    assert dict(row_of(made, "bob")) | {"updated_at": ""} == dict(row_of(other, "bob")) | {
        "updated_at": ""
    }
    assert row_of(made, "eve")["auto_mark"] == 22.1
    with pytest.raises(NotFound, match=r"no marks of mograder 0\.3\.16"):
        book.import_0316(None, AT)


def test_what_was_exported_into_another_file_is_no_change_by_0_3_16(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The marks of before in the own tables counted again, when they were imported as was told."""
    put_recorded(path)
    other = tmp_path / "other.db"
    with Gradebook(path) as book:
        book.record_marks("A1", "alice", {WHOLE: MarkEntry(50)}, marker="mia", at=AT)
        assert len(book.export_0316(other, no_deductions, AT)) == 7
    caplog.clear()
    with Gradebook(path) as book:
        assert caplog.records == []
        assert import_0316(book) == []
        assert book.grades("A1")[0].total == 75
        assert ("alice", "done", "mark 75") in export_0316(book)
        book.record_marks("A1", "alice", {WHOLE: MarkEntry(51)}, marker="mia", at=AT)
        assert [each.outcome for each in book.export_0316(other, no_deductions, AT)] == ["done"]
        change(other, f"{SAVED} WHERE student = 'alice' AND assignment = 'A1'")
        assert [each.outcome for each in book.import_0316(other, AT)] == ["done"]
        assert (book.grades("A1")[0].manual, import_0316(book)) == (39, [])


def test_a_later_copy_of_0_3_16s_gradebook_goes_on_from_the_one_before(
    path: Path, tmp_path: Path
) -> None:
    put_recorded(path)
    later = tmp_path / "later.db"
    with Gradebook(path) as book:
        put_recorded(later)
        change(later, f"{SAVED} WHERE student = 'cleo' AND assignment = 'A1'")
        assert [each.student for each in book.import_0316(later, AT)] == ["cleo"]
        assert import_0316(book) == [], "the one before is older"
        assert book.grades("A1")[2].comment == "New."


def test_a_gradebook_that_is_read_only_is_looked_at_in_a_copy_with_its_log(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a snapshot: SQLite opens no database there."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise InvalidInput("The database gradebook.db cannot be opened for writing.")

    for module in (sqlite_files, gradebook):
        monkeypatch.setattr(module, "may_write_beside", lambda _: False)
    monkeypatch.setattr(gradebook, "existing_gradebook", refuse)
    with Gradebook(path) as book:
        book.put_students({"ada": "Ada Lovelace"})  # is in the log
        files = sqlite_files.files_of(path)
        with viewed_gradebook(path) as viewed:
            assert viewed.students() == {"ada": "Ada Lovelace"}
        assert sqlite_files.files_of(path) == files


def test_looking_at_an_old_gradebook_leaves_it_as_it_is(path: Path, tmp_path: Path) -> None:
    put_recorded(path)
    before = path.read_bytes()
    with viewed_gradebook(path) as book:
        assert len(book.grades("A1")) == 4
    assert path.read_bytes() == before
    assert list(tmp_path.glob("*.before-*")) == []
    with pytest.raises(NotFound, match="There is no gradebook"), viewed_gradebook(tmp_path / "no"):
        pass


def test_a_mark_from_a_text_waits_for_a_person_once_it_is_graded_here(path: Path) -> None:
    put_recorded(path)
    change(path, "UPDATE submissions SET graded_at = NULL WHERE student = 'alice'")
    with Gradebook(path) as book:
        book.record_run(a_run(points=FAIR))
        grade = book.grades("A1")[0]
        assert grade.whole is not None
        assert (grade.manual, grade.total, grade.whole.open) == (42, None, "not confirmed yet")
        marks = {WHOLE: MarkEntry(42, grade.comment)}
        given = book.record_marks("A1", "alice", marks, marker="mia", at=AT)
    assert (given.total, given.comment[:4]) == (64.1, "Good")


def test_a_comment_alone_confirms_no_mark_from_a_text(path: Path) -> None:
    """The text may be the student's own."""
    put_recorded(path)
    change(path, "UPDATE submissions SET graded_at = NULL WHERE student = 'alice'")
    with Gradebook(path) as book:
        book.record_run(a_run(points=FAIR))
        said = book.record_marks("A1", "alice", {}, marker="mia", at=AT, comment="Go on.")
        assert said.whole is not None
        assert (said.whole.points, said.whole.open) == (42, "not confirmed yet")
        assert (said.total, said.comment) == (None, "Go on.")


def test_numbers_that_cannot_be_are_none(path: Path) -> None:
    """SQLite keeps any number in any column, and one that is too large ended every command."""
    put_recorded(path)
    change(path, "UPDATE submissions SET cell_errors = 1e300, submitted_at = '1e400'")
    with Gradebook(path) as book:
        assert {each.submitted_at for each in book.grades("A1")} == {None}
        export_0316(book)
    assert row_of(path)["total_mark"] == 67
