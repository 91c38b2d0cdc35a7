"""``mograder gradebook import-0316`` and ``export-0316``, and the setting that exports."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mograder.cli.main import run
from mograder.core.settings import load_settings
from mograder.store.gradebook.gradebook import Gradebook
from mograder.web.marking.gradebook import SharedGradebook
from tests.support.gradebooks import FAIR, a_run, change, give, put_recorded, row_of

SAVED = (
    "UPDATE submissions SET manual_mark = 70, total_mark = 22 + 42, feedback = 'New.', "
    "graded_at = '2026-11-21T10:00:00', updated_at = '2026-11-21T10:00:00' "
    "WHERE student = 'alice' AND assignment = 'A1'"
)
EXPORTS = "[gradebook]\nexport_0316 = true\n"


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mograder.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capfd: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    capfd.readouterr()
    assert run(["gradebook", *words]) == status
    return capfd.readouterr().out


def test_an_import_is_previewed_and_changes_no_table_of_0_3_16(
    course: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = put_recorded(course / "gradebook.db")
    before = path.read_bytes()
    told = said(capfd, "import-0316", "--dry-run")
    assert told.splitlines()[0] == "  A1, alice: 42 of 60 marks by a person, total 67"
    assert told.endswith("7 rows imported.\nDry run — nothing was changed.\n")
    assert path.read_bytes() == before
    assert said(capfd, "import-0316") == told.replace("Dry run — nothing was changed.\n", "")
    assert said(capfd, "import-0316") == "0 rows imported.\n"


def test_the_first_command_that_changes_marks_imports_and_tells(
    course: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = put_recorded(course / "gradebook.db")
    assert "67" in said(capfd, "show", "A1", "--student", "alice")
    assert caplog.records == [], "a view changes nothing"
    assert "A1, eve: 65 of 100" in said(capfd, "mark", "A1", "eve", "Analysis=40")
    ((_, level, text),) = caplog.record_tuples
    assert level == logging.WARNING
    assert text.startswith("The marks of mograder 0.3.16 for 7 submissions in gradebook.db were")
    change(path, SAVED)
    caplog.clear()
    said(capfd, "show", "A1")
    assert "has changed 1 row of gradebook.db" in caplog.text
    assert "mograder gradebook import-0316" in caplog.text


def test_a_conflict_is_left_and_ends_with_1(
    course: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Gradebook(course / "gradebook.db") as book:
        book.record_run(a_run(points=FAIR))
    assert said(capfd, "export-0316", "--dry-run").startswith("  A1, alice: no total yet\n1 row ")
    assert said(capfd, "export-0316") == "  A1, alice: no total yet\n1 row exported.\n"
    change(course / "gradebook.db", SAVED)
    with Gradebook(course / "gradebook.db") as book:
        give(book, Analysis=12)
    for command, done in (("import-0316", "imported"), ("export-0316", "exported")):
        told = said(capfd, command, status=1)
        assert "  A1, alice: LEFT: " in told
        assert told.endswith(
            f"0 rows {done}, 1 left: give --replace, or mark them on one side only.\n"
        )
    assert "0 rows imported, 1 left" in said(capfd, "import-0316", "--dry-run", status=1)
    assert "1 row imported." in said(capfd, "import-0316", "--replace")
    with Gradebook(course / "gradebook.db") as book:
        assert book.grades("A1")[0].total == 64.1


def test_another_file_is_given(course: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put_recorded(course / "theirs.db")
    assert "7 rows imported" in said(capfd, "import-0316", "theirs.db", "--dry-run")
    assert not (course / "gradebook.db").exists()
    assert "7 rows imported" in said(capfd, "import-0316", "theirs.db")
    assert "7 rows exported" in said(capfd, "export-0316", "back.db")
    assert row_of(course / "back.db")["total_mark"] == 67
    assert said(capfd, "import-0316", status=3) == ""


def test_the_setting_exports_after_each_command_that_changes_marks(
    course: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with Gradebook(course / "gradebook.db") as book:
        book.record_run(a_run(points=FAIR))
    (course / "mograder.toml").write_text(EXPORTS)
    said(capfd, "mark", "A1", "alice", "Analysis=30")
    assert row_of(course / "gradebook.db")["total_mark"] == 52.1
    change(course / "gradebook.db", SAVED)
    said(capfd, "mark", "A1", "alice", "Analysis=31")
    assert row_of(course / "gradebook.db")["total_mark"] == 64, "nothing is overwritten in silence"
    assert "1 row that mograder 0.3.16 has changed: not exported" in caplog.text


def test_the_setting_exports_when_a_hub_or_the_grader_stops(course: Path) -> None:
    (course / "mograder.toml").write_text(EXPORTS)
    with SharedGradebook(load_settings(course, environ={})) as shared:
        shared.get().record_run(a_run(points=FAIR))
    assert row_of(course / "gradebook.db")["auto_mark"] == 22.1
