"""Similar submissions: planted copies are found, honest ones are not."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from mograder.grading.marking.similar_pairs import (
    CODE,
    SimilarPair,
    Term,
    code_terms,
    fingerprints,
    groups_of,
    prose_terms,
    read_terms,
    similar_pairs,
)
from tests.support.similar_submissions import GIVEN, RELEASE, a_class, copied, honest, notebook

GIVEN_TERMS = (read_terms(RELEASE, "release.py"),)


def _pairs(students: Mapping[str, str]) -> tuple[SimilarPair, ...]:
    terms = {name: read_terms(text, f"{name}.py") for name, text in students.items()}
    return similar_pairs(terms, GIVEN_TERMS)


@pytest.mark.full
def test_finds_planted_copies_among_200_and_nothing_else() -> None:
    """Renamed variables, functions in another order and other comments hide nothing."""
    students, planted = a_class(200, 12)
    found = {(pair.one, pair.other) for pair in _pairs(students)}
    assert found == planted


def test_a_copy_of_one_part_is_found_by_that_part() -> None:
    """The shares tell whether it is the code or the text."""
    one = honest(1)
    other = copied(one, 2).replace("response_text", "note")
    prose = other.index("note = ")
    pair = _pairs({"a": one, "b": other[:prose] + "note = 1" + other[other.index("\n", prose) :]})
    assert [(each.code > 0.8, each.prose) for each in pair] == [(True, 0.0)]


def test_two_honest_short_answers_are_no_pair() -> None:
    """The shortest solution of a small task is the same for many."""
    short = "def square(value):\n    return value**2"
    also = "def square(number):\n    # the square\n    return number**2"
    assert _pairs({"a": notebook(GIVEN, short), "b": notebook(GIVEN, also)}) == ()


def test_matches_name_the_lines_of_both() -> None:
    """A side-by-side view shows them; they are lines of the files."""
    one = honest(3)
    other = notebook(GIVEN, "x = 1", "y = 2") + "\n"
    second = copied(one, 4)
    (pair,) = _pairs({"a": one, "b": second, "c": other})
    assert (pair.one, pair.other) == ("a", "b")
    for match in pair.matches:
        assert 1 <= match.one.first <= match.one.last <= len(one.splitlines())
        assert 1 <= match.other.first <= match.other.last <= len(second.splitlines())
    assert any(match.one.last - match.one.first >= 3 for match in pair.matches)


def test_groups_connect_pairs() -> None:
    """Three copies of one notebook are one group."""
    one = honest(8)
    pairs = _pairs({"a": one, "b": copied(one, 1), "c": copied(one, 2), "d": honest(9)})
    assert groups_of(pairs) == (("a", "b", "c"),)


def test_text_that_is_no_python_is_compared_too() -> None:
    """A broken line hides neither a cell nor the rest of the notebook."""
    one = honest(10)
    broken = copied(one, 3).replace("def largest", "def largest (((", 1)
    (pair,) = _pairs({"a": one, "b": broken})
    assert pair.code > 0.5


def test_a_common_run_has_a_common_fingerprint_wherever_it_stands() -> None:
    """The guarantee of winnowing."""
    run = list(code_terms("total = sum(max(a, 1) for a in values if a not in seen and a > 7)"))
    shared = run[: CODE.length + CODE.window - 1]
    before = [Term(number, 1) for number in range(50)]
    one = fingerprints([[*before, *shared]], CODE)
    other = fingerprints([[*shared, *reversed(before)]], CODE)
    assert one.keys() & other.keys()


@pytest.mark.parametrize("filler", ["# {}", '_data = """{}"""'])
def test_a_long_comment_or_text_in_front_hides_no_copy(filler: str) -> None:
    one = honest(1)
    before, cell, rest = copied(one, 2).partition("@app.cell\n")
    long = f"{cell}def _():\n    {filler.format('A' * 400_000)}\n    return\n\n\n"
    (pair,) = _pairs({"a": one, "b": before + long + cell + rest})
    assert pair.code > 0.8
    assert not read_terms(before + long + cell + rest, "b.py").is_cut


def test_a_text_of_many_lines_takes_no_more_time_for_each() -> None:
    """A student's text of 400,000 characters took longer than its comparison may take."""
    began = time.process_time()
    *_, last = prose_terms(f'x = """{chr(10) * 300_000}{("a" + chr(10)) * 50_000}"""')
    assert last.line == 320_001
    assert time.process_time() - began < 8
