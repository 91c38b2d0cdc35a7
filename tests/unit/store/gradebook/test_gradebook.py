"""The gradebook: opened where 0.3.16 left it, and safe for two concurrent writers.

See compatibility-0.3.16.md 9.
"""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from mograder.core.errors import Busy, Conflict, InvalidInput
from mograder.store.database.database import open_engine
from mograder.store.gradebook import gradebook as room
from mograder.store.gradebook.gradebook import (
    Gradebook,
    Identity,
    SentGrade,
    existing_gradebook,
)
from mograder.store.gradebook.gradebook_tables import metadata
from mograder.store.gradebook.grading_records import Penalty, SentFile, utc_iso
from tests.support.gradebooks import AT, change, export_0316, no_deductions, put_recorded

SITE = "https://moodle.example.edu"


@pytest.fixture
def old(path: Path) -> Path:
    """A gradebook of 0.3.16, which a team shares; nothing is known of zoe's work."""
    put_recorded(path)
    change(
        path,
        "UPDATE submissions SET check_results = ?, tampered = ?, cell_errors = 1, submitted_at = ? "
        "WHERE assignment = 'A1' AND student = 'alice'",
        '[{"label": "Q1", "status": "success", "hidden": true}]',
        '["Q2"]',
        "2026-01-01T08:00:00",
    )
    change(path, "INSERT INTO submissions (assignment, student) VALUES ('A1', 'zoe')")
    path.chmod(0o660)
    return path


def test_a_new_gradebook_has_exactly_the_tables_that_the_program_uses(
    book: Gradebook, path: Path
) -> None:
    engine = open_engine(f"sqlite:///{path}", private=False)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_lock_whose_mode_cannot_be_set_leaves_no_open_file(
    book: Gradebook, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, mode: int) -> None:
        raise PermissionError(fd, mode)

    path.with_name("gradebook.db.lock").unlink()
    monkeypatch.setattr(room, "set_mode", refuse)
    before = len([*Path("/proc/self/fd").iterdir()])
    with pytest.raises(PermissionError):
        book.put_students({"alice": ""})
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_a_gradebook_of_before_an_index_gets_it(book: Gradebook, path: Path) -> None:
    book.put_students({"alice": "Alice"})
    change(path, "DROP INDEX ix_mark_releases_of_student")
    change(path, "UPDATE alembic_version SET version_num = 'g0008'")
    with Gradebook(path) as upgraded:
        assert upgraded.students() == {"alice": "Alice"}
    engine = open_engine(f"sqlite:///{path}", private=False)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    assert path.with_name("gradebook.db.before-g0009").is_file()


def test_a_gradebook_of_0_3_16_is_imported_after_a_copy_was_put_beside(
    old: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = tables_0316(old)
    with Gradebook(old) as book:
        alice, *_, zoe = book.grades("A1")
        assert book.students()["alice"] == "Alice Ångström"
    assert (alice.penalty_pct, alice.cell_errors, alice.tampered) == (10, 1, ("Q2",))
    assert [(c.label, c.status, c.hidden) for c in alice.checks] == [("Q1", "success", True)]
    assert (zoe.auto, zoe.final, zoe.comment) == (None, None, "")
    assert "for 8 submissions in gradebook.db were imported" in caplog.text
    assert tables_0316(old) == before, "its own tables stay as they are"
    lock = old.with_name("gradebook.db.lock")
    modes = [each.stat().st_mode & 0o777 for each in (old, lock)]
    assert modes == [0o660, 0o660], "a team's own permissions stay"
    (backup,) = old.parent.glob("gradebook.db.before-*")
    with closing(sqlite3.connect(backup)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert "identities" not in tables
    assert {"students", "submissions", "assignments"} <= tables


def tables_0316(path: Path) -> list[list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        names = ("assignments", "students", "submissions")
        return [connection.execute(f"SELECT * FROM {name}").fetchall() for name in names]


def test_0_3_16_reads_what_is_exported(old: Path) -> None:
    before, _, (row, *_) = tables_0316(old)
    with Gradebook(old) as book:
        book.put_students({"dora": "Dora New"})
        export_0316(book, {("A1", "alice"): Penalty(10, 60)})
    assignments, students, (after, *_) = tables_0316(old)
    assert after[:11] == row[:11]
    assert after[12:] == (10, 60, "1767254400"), "Unix seconds, as 0.3.16 writes them"
    assert (assignments, students[-1]) == (before, ("dora", "Dora New"))


def test_a_column_that_an_older_program_did_not_have_is_added_by_an_export(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE students (username TEXT PRIMARY KEY, full_name TEXT)")
        connection.execute(
            "CREATE TABLE submissions (assignment TEXT, student TEXT, total_mark REAL, "
            "mine TEXT, PRIMARY KEY (assignment, student))"
        )
        connection.execute("INSERT INTO submissions VALUES ('A1', 'alice', 7, 'kept')")
        connection.commit()
    with Gradebook(path) as book:
        (alice,) = book.grades("A1")
        assert (alice.final, alice.penalty_pct) == (7, None)
        assert [each.outcome for each in book.export_0316(None, no_deductions, AT)] == ["done"]
        assert book.import_0316(None, AT) == ()
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT mine, total_mark, penalty_pct FROM submissions")
        assert found.fetchone() == ("kept", 7, None)


def test_writers_take_turns_by_the_lock_file_of_0_3_16(
    book: Gradebook, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_WAIT_SECONDS", 0.0)
    with path.with_name("gradebook.db.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Busy, match=r"Another program holds gradebook\.db\.lock"):
            book.put_students({"alice": "Alice"})
        assert book.students() == {}, "reading waits for nobody"
    book.put_students({"alice": "Alice"})
    assert book.students() == {"alice": "Alice"}


def test_b31_a_full_name_is_corrected_and_never_erased(book: Gradebook) -> None:
    """B31: the gradebook's names are for the graders."""
    book.put_students({"alice": "Alice", "bob": ""})
    book.put_students({"alice": "Alice Ångström", "bob": "Bob"})
    book.put_students({"alice": ""})
    assert book.students() == {"alice": "Alice Ångström", "bob": "Bob"}
    with pytest.raises(InvalidInput):
        book.put_students({"../x": "X"})


def test_who_is_who_is_remembered_by_site(book: Gradebook) -> None:
    book.put_identities(SITE, [Identity(4, "alice", "Alice", "a@example.edu", "s1")])
    book.put_identities(SITE, [Identity(4, "alicia", "Alice B")])
    book.put_identities("https://other.example.edu", [Identity(4, "zoe")])
    assert book.identities(SITE) == (Identity(4, "alicia", "Alice B", "a@example.edu", "s1"),)
    with pytest.raises(Conflict, match="alicia would be two users of Moodle: 4 and 5"):
        book.put_identities(SITE, [Identity(5, "alicia")])
    book.put_identities(SITE, [Identity(5, "alicia"), Identity(4, "bob")])
    assert [each.username for each in book.identities(SITE)] == ["bob", "alicia"]


def test_what_moodle_was_given_last_is_remembered(book: Gradebook) -> None:
    first = SentGrade(
        4, "87.50", 1, 1_800_000_000, "<p>é</p>", (SentFile("a.html", "b.html", 3, "x"),)
    )
    book.record_sent(SITE, 1, [first, SentGrade(5, "", comment="")], AT)
    assert book.sent(SITE, 1) == {4: first, 5: SentGrade(5, "", comment="")}
    book.record_sent(SITE, 1, [SentGrade(4, "90.00", team=True)], AT)
    assert book.sent(SITE, 1)[4] == SentGrade(4, "90.00", team=True)
    assert book.sent(SITE, 2) == {}


def test_an_intent_is_on_record_until_it_is_confirmed(book: Gradebook) -> None:
    """A killed upload leaves its intents to the next one."""
    rows = [SentGrade(4, "33.00", modified=7), SentGrade(5, "52.00")]
    book.record_intents(SITE, 1, rows, AT)
    book.record_intents(SITE, 2, rows[:1], AT)
    assert book.intended(SITE, 1) == {4: rows[0], 5: rows[1]}
    assert book.sent(SITE, 1) == {}
    book.record_sent(SITE, 1, [SentGrade(4, "33.00", modified=9)], AT)
    assert book.intended(SITE, 1) == {5: rows[1]}
    assert book.intended(SITE, 2) == {4: rows[0]}


def test_looking_makes_and_changes_nothing(old: Path, tmp_path: Path) -> None:
    """For --dry-run: no file appears, and a gradebook of 0.3.16 is not brought up to date."""
    assert existing_gradebook(tmp_path / "none.db") is None
    assert not (tmp_path / "none.db").exists()
    assert existing_gradebook(old) is None
    assert list(old.parent.glob("*.before-*")) == []
    Gradebook(old).close()
    again = existing_gradebook(old)
    assert again is not None
    again.close()


def test_what_is_no_gradebook_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "gradebook.db"
    file.write_text("marks: none\n" * 100)
    with pytest.raises(InvalidInput, match="no database"):
        Gradebook(file)
    assert file.read_text().startswith("marks: none")
    with pytest.raises(InvalidInput, match="is a directory"):
        Gradebook(tmp_path)


def test_times_of_other_zones_are_written_in_utc() -> None:
    at = datetime(2026, 9, 21, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert utc_iso(at) == "2026-09-20T23:30:00+00:00"
