"""Answers that are taken out of their group of equal answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.core.errors import NotFound
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.marking.shares import Separations
from tests.support.gradebooks import AT, FAIR, a_run


def test_an_answer_is_taken_out_and_put_back(tmp_path: Path) -> None:
    with Gradebook(tmp_path / "gradebook.db") as book:
        for student in ("alice", "bob"):
            book.record_run(a_run(student, FAIR, work=student))
        apart = Separations(book)
        apart.put("A1", "Analysis", "alice", separate=True, by="mia", at=AT)
        apart.put("A1", "Analysis", "bob", separate=True, by="mia", at=AT)
        apart.put("A1", "Analysis", "bob", separate=False, by="ben", at=AT)
        assert apart.of("A1", "Analysis") == {"alice"}
        assert apart.of("A1", "Q1") == frozenset()


def test_only_graded_work_can_be_taken_out(tmp_path: Path) -> None:
    with Gradebook(tmp_path / "gradebook.db") as book, pytest.raises(NotFound):
        Separations(book).put("A1", "Q1", "alice", separate=True, by="mia", at=AT)
