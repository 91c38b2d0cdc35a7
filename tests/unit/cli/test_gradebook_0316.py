"""``mograder gradebook import-0316`` and ``export-0316``, and the setting that exports."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mograder.core.settings import load_settings
from mograder.store.gradebook.gradebook import Gradebook
from mograder.web.marking.gradebook import SharedGradebook
from tests.support.command_line import cli
from tests.support.gradebooks import FAIR, a_run, change, give, put_recorded, row_of

SAVED = (
    "UPDATE submissions SET manual_mark = 70, total_mark = 22 + 42, feedback = 'New.', "
    "graded_at = '2026-11-21T10:00:00', updated_at = '2026-11-21T10:00:00' "
    "WHERE student = 'alice' AND assignment = 'A1'"
)
EXPORTS = "[gradebook]\nexport_0316 = true\n"


@pytest.fixture
def course(here: Path) -> Path:
    (here / "mograder.toml").write_text("")
    return here


def test_an_import_is_previewed_and_changes_no_table_of_0_3_16(course: Path) -> None:
    path = put_recorded(course / "gradebook.db")
    before = path.read_bytes()
    told = cli("gradebook import-0316 --dry-run").out
    assert told.splitlines()[0] == "  A1, alice: 42 of 60 marks by a person, total 67"
    assert told.endswith("7 rows imported.\nDry run — nothing was changed.\n")
    assert path.read_bytes() == before
    assert cli("gradebook import-0316").out == told.replace("Dry run — nothing was changed.\n", "")
    assert cli("gradebook import-0316").out == "0 rows imported.\n"


def test_the_first_command_that_changes_marks_imports_and_tells(
    course: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = put_recorded(course / "gradebook.db")
    assert "67" in cli("gradebook show A1 --student alice").out
    assert caplog.records == [], "a view changes nothing"
    assert "A1, eve: 65 of 100" in cli("gradebook mark A1 eve Analysis=40").out
    ((_, level, text),) = caplog.record_tuples
    assert level == logging.WARNING
    assert text.startswith("The marks of mograder 0.3.16 for 7 submissions in gradebook.db were")
    change(path, SAVED)
    caplog.clear()
    cli("gradebook show A1")
    assert "has changed 1 row of gradebook.db" in caplog.text
    assert "mograder gradebook import-0316" in caplog.text


def test_a_conflict_is_left_and_ends_with_1(course: Path) -> None:
    with Gradebook(course / "gradebook.db") as book:
        book.record_run(a_run(points=FAIR))
    assert cli("gradebook export-0316 --dry-run").out.startswith(
        "  A1, alice: no total yet\n1 row "
    )
    assert cli("gradebook export-0316").out == "  A1, alice: no total yet\n1 row exported.\n"
    change(course / "gradebook.db", SAVED)
    with Gradebook(course / "gradebook.db") as book:
        give(book, Analysis=12)
    for command, done in (("import-0316", "imported"), ("export-0316", "exported")):
        told = cli("gradebook", command, status=1).out
        assert "  A1, alice: LEFT: " in told
        assert told.endswith(
            f"0 rows {done}, 1 left: give --replace, or mark them on one side only.\n"
        )
    assert "0 rows imported, 1 left" in cli("gradebook import-0316 --dry-run", status=1).out
    assert "1 row imported." in cli("gradebook import-0316 --replace").out
    with Gradebook(course / "gradebook.db") as book:
        assert book.grades("A1")[0].total == 64.1


def test_another_file_is_given(course: Path) -> None:
    put_recorded(course / "theirs.db")
    assert "7 rows imported" in cli("gradebook import-0316 theirs.db --dry-run").out
    assert not (course / "gradebook.db").exists()
    assert "7 rows imported" in cli("gradebook import-0316 theirs.db").out
    assert "7 rows exported" in cli("gradebook export-0316 back.db").out
    assert row_of(course / "back.db")["total_mark"] == 67
    assert cli("gradebook import-0316", status=3).out == ""


def test_the_setting_exports_after_each_command_that_changes_marks(
    course: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Gradebook(course / "gradebook.db") as book:
        book.record_run(a_run(points=FAIR))
    (course / "mograder.toml").write_text(EXPORTS)
    cli("gradebook mark A1 alice Analysis=30")
    assert row_of(course / "gradebook.db")["total_mark"] == 52.1
    change(course / "gradebook.db", SAVED)
    cli("gradebook mark A1 alice Analysis=31")
    assert row_of(course / "gradebook.db")["total_mark"] == 64, "nothing is overwritten in silence"
    assert "1 row that mograder 0.3.16 has changed: not exported" in caplog.text


def test_the_setting_exports_when_a_hub_or_the_grader_stops(course: Path) -> None:
    (course / "mograder.toml").write_text(EXPORTS)
    with SharedGradebook(load_settings(course, environ={})) as shared:
        shared.get().record_run(a_run(points=FAIR))
    assert row_of(course / "gradebook.db")["auto_mark"] == 22.1
