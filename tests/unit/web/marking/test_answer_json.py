"""The JSON of marking that is made of a submission's cells."""

from __future__ import annotations

from mograder.grading.marking.shown_work import WorkCell
from mograder.web.marking.answer_json import cells_json


def test_texts_beyond_a_limit_are_shown_as_they_are() -> None:
    """A student chooses how much Markdown there is, and some of it takes a second a page."""
    cells = [WorkCell(index, "", "", 1, "**x**" + " y" * 9000) for index in range(7)]
    shown = [str(each["html"]) for each in cells_json(cells)]
    assert ["<strong>" in each for each in shown] == [True] * 6 + [False]
    assert shown[6].startswith("<pre>**x** y")


def test_half_a_surrogate_pair_in_a_long_text_can_be_sent() -> None:
    (cell,) = cells_json([WorkCell(0, "", "", 1, "\udc80" * 20_001)])
    assert str(cell["html"]).encode()
