"""Verdicts about similar submissions."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.marking.similarity_verdicts import (
    LONGEST_NOTE,
    SimilarityVerdicts,
    Verdict,
    last_verdict,
)
from tests.support.gradebooks import AT


def test_the_last_verdict_counts_and_all_are_kept(tmp_path: Path) -> None:
    with Gradebook(tmp_path / "gradebook.db") as book:
        verdicts = SimilarityVerdicts(book)
        verdicts.give("A1", ("eve", "bob"), "chance", note="", by="prof", at=AT)
        verdicts.give("A1", ("bob", "eve"), "copied", note="Eve says so.", by="dean", at=AT)
        verdicts.give("A2", ("bob", "eve"), "allowed", note="", by="prof", at=AT)
        given = verdicts.of("A1")
        assert list(given) == [("bob", "eve")]
        assert [each.verdict for each in given["bob", "eve"]] == [Verdict.CHANCE, Verdict.COPIED]
        last = last_verdict(given["bob", "eve"])
        assert last is not None
        assert (last.by, last.note) == ("dean", "Eve says so.")
        verdicts.give("A1", ("bob", "eve"), "open", note="", by="prof", at=AT)
        assert last_verdict(verdicts.of("A1")["bob", "eve"]) is None
    assert last_verdict(()) is None


@pytest.mark.parametrize(("verdict", "note"), [("guilty", ""), ("copied", "x" * 2001), ("", "")])
def test_other_verdicts_and_long_notes_are_refused(tmp_path: Path, verdict: str, note: str) -> None:
    assert LONGEST_NOTE == 2000
    with Gradebook(tmp_path / "gradebook.db") as book:
        verdicts = SimilarityVerdicts(book)
        with pytest.raises(InvalidInput):
            verdicts.give("A1", ("bob", "eve"), verdict, note=note, by="prof", at=AT)
        assert verdicts.of("A1") == {}
