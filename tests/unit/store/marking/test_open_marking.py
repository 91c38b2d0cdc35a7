"""The assignments that are open for marking, in 0.3.16's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.core.errors import Conflict, InvalidInput
from mograder.store.marking.marking_progress import open_for_marking, set_open_for_marking


def test_the_file_is_a_sorted_list_as_0_3_16_writes_it(tmp_path: Path) -> None:
    for name in ("Week 2", "Week 1", "Ünicode"):
        set_open_for_marking(tmp_path, name, is_open=True)
    written = (tmp_path / "marking.json").read_bytes()
    assert written == b'["Week 1", "Week 2", "\\u00dcnicode"]\n'
    assert open_for_marking(tmp_path) == {"Week 1", "Week 2", "Ünicode"}


@pytest.mark.parametrize("text", ["", "no JSON", '"A1"', '{"A1": true}', "[1]", '["A1", null]'])
def test_a_file_that_cannot_be_understood_opens_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "marking.json").write_text(text)
    assert open_for_marking(tmp_path) == frozenset()


@pytest.mark.parametrize("is_open", [True, False])
def test_a_file_that_cannot_be_understood_is_not_written_over(
    tmp_path: Path, is_open: bool
) -> None:
    """A comma too many would close all that were open."""
    (tmp_path / "marking.json").write_text('["A1", "A2",]')
    with pytest.raises(Conflict, match=r"marking\.json cannot be read"):
        set_open_for_marking(tmp_path, "A4", is_open=is_open)
    assert (tmp_path / "marking.json").read_text() == '["A1", "A2",]'


def test_names_are_compared_in_unicodes_composed_form(tmp_path: Path) -> None:
    (tmp_path / "marking.json").write_text('["U\\u0308bung"]')
    assert open_for_marking(tmp_path) == {"Übung"}


def test_a_name_of_no_assignment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        set_open_for_marking(tmp_path, "../A1", is_open=True)
    assert not (tmp_path / "marking.json").exists()
