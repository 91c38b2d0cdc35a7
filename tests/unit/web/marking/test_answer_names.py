"""Names of answers and questions in addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mograder.core.errors import NotFound
from mograder.web.marking.context import (
    answer_id,
    marking_order,
    question_address,
    question_of,
    question_title,
    student_of,
)

KEY, OTHER = b"k" * 32, b"o" * 32


@given(st.text())
def test_every_key_of_a_question_has_an_address_of_one_part(key: str) -> None:
    address = question_address(key)
    assert question_of(address) == key
    assert address not in ("", ".", "..")
    assert not set(address) & set("/?#%\\")


@pytest.mark.parametrize(
    ("key", "address"), [("Q1", "Q1"), ("Part 2.a", "Part 2.a"), ("", "~whole")]
)
def test_plain_keys_stay_readable(key: str, address: str) -> None:
    assert question_address(key) == address
    assert question_title(key)


@pytest.mark.parametrize("address", ["~=!", "~=_w", "~=a", "~"])
def test_an_address_that_is_none_is_not_found(address: str) -> None:
    with pytest.raises(NotFound):
        question_of(address)


def test_an_answers_name_tells_its_student_only_with_the_key() -> None:
    named = answer_id(KEY, "hw1", "alice")
    assert len(named) == 16
    assert named != answer_id(OTHER, "hw1", "alice")
    assert named != answer_id(KEY, "hw2", "alice")
    assert student_of(KEY, "hw1", named, ["bob", "alice"]) == "alice"
    with pytest.raises(NotFound):
        student_of(OTHER, "hw1", named, ["bob", "alice"])


def test_the_order_is_each_markers_own() -> None:
    students = [f"s{number}" for number in range(50)]
    first = marking_order(KEY, "hw1", "mia", students)
    assert first == marking_order(KEY, "hw1", "mia", reversed(students))
    assert sorted(first) == sorted(students)
    others = [marking_order(KEY, *of, students) for of in (("hw1", "ben"), ("hw2", "mia"))]
    assert first not in others
    assert first != tuple(students)
