"""Sentences with times on pages: escaped, with elements that scripts tell in the reader's zone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mograder.grading.late.explanation import moment
from mograder.web.templating import timed

AT = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)


def test_each_time_of_a_sentence_becomes_an_element_and_all_else_is_escaped() -> None:
    told = timed(f"<b>due {moment(AT)}</b>, received {moment(AT)} by receipt 17")
    local = AT.astimezone().isoformat()
    assert told.count(f'<time datetime="{local}">{moment(AT)}</time>') == 2
    assert told.startswith("&lt;b&gt;due <time")
    assert told.endswith("by receipt 17")


@pytest.mark.parametrize("text", ["", "2026-99-99 18:00 UTC", "at 18:00 UTC", "2026-11-25 18:00"])
def test_what_is_no_time_stays_as_it_is(text: str) -> None:
    assert timed(text) == text
