"""``mograder similarity`` as a command."""

from __future__ import annotations

from pathlib import Path

from tests.support.command_line import cli


def test_a_program_learns_too_that_the_teachers_text_counts(here: Path) -> None:
    (here / "submitted" / "A1").mkdir(parents=True)
    assert "the teacher's text counts, too" in cli("similarity A1").out
    assert cli("similarity A1 --json").json["without_given"] is True


def test_the_table_has_a_byte_order_mark_for_excel(here: Path) -> None:
    (here / "submitted" / "A1").mkdir(parents=True)
    cli("similarity A1 --csv pairs.csv")
    assert (here / "pairs.csv").read_text("utf-8").startswith("\ufeffstudent,other,")
