"""Short texts that people write to each other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mograder.hub.help_desk import plain_words


def test_a_text_is_plain_and_on_one_line() -> None:
    assert plain_words("  a\tb \r\n c\x00d\u202ee \n", 100) == "a b c d e"
    assert plain_words(" a \n\n b ", 100, lines=True) == "a\nb"
    assert plain_words("für <b>Ünïcode</b> 😀", 100) == "für <b>Ünïcode</b> 😀"


@given(st.text(), st.integers(1, 40))
def test_any_text_is_bounded_and_stays_as_it_is_when_read_again(text: str, most: int) -> None:
    found = plain_words(text, most)
    assert len(found) <= most
    assert plain_words(found, most) == found
