"""The answers that each label of a check depends on."""

from __future__ import annotations

import pytest

from mograder.notebook.grading.grading_plan import answers_of_labels
from tests.unit.notebook.grading_sources import IMPORTS, MARKS, named, planned, solved

ANSWERS = solved("x = 1", "y = 2", "z = 3", "def f(v): return v", "def g(v): return v")
GIVEN = ("made = x + 1", "def helper(v):\n    return g(v)")


def names(*checks: str) -> dict[str, set[str]]:
    """The names of each label, by the label."""
    plan = planned(IMPORTS, MARKS, ANSWERS, *GIVEN, *checks).plan
    return {label: set(each.names) for (_, label), each in answers_of_labels(plan).items()}


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('check("Q1", [(f(1) == 1, "")])', {"f"}),
        ('check("Q1", [(lambda: f(x) == 1, "")])', {"f", "x"}),
        ('_a = f(2)\n_b = _a + 1\ncheck("Q1", [(_b == 3, "")])', {"f"}),
        ('_a, _b = x, y\ncheck("Q1", [(_b == 3, "")])', {"x", "y"}),
        ('def _a():\n    return g(1)\ncheck("Q1", [(_a, "")])', {"g"}),
        ('for _v in [x]:\n    _w = _v\ncheck("Q1", [(_w == 1, "")])', {"x"}),
        ('_a = []\n_a.append(y)\ncheck("Q1", [(_a == [2], "")])', {"y"}),
        ('_a = [3, 1]\ng(_a)\ncheck("Q1", [(_a == [1, 3], "")])', {"g"}),
        ('_a = 0\n_a += z\ncheck("Q1", [(_a == 3, "")])', {"z"}),
        ('check("Q1", [(made == 2, "")])', {"x"}),
        ('check("Q1", [(helper(1) == 1, "")])', {"g"}),
        ('mo.stop(y is ..., check("Q1", []))\ncheck("Q1", [(x == 1, mo.md(""))])', {"x"}),
        ('check(label="Q1", checks=[(x == 1, "")])', {"x"}),
    ],
)
def test_names_are_followed_backwards_from_the_check(code: str, found: set[str]) -> None:
    assert names(code) == {"Q1": found}


def test_checks_in_one_cell_are_apart() -> None:
    code = '_r = g(1)\ncheck("Q1", [(f(1) == 1, "")])\ncheck("Q2", [(_r == 1, "")])'
    assert names(code) == {"Q1": {"f"}, "Q2": {"g"}}


def test_a_cell_of_asserts_depends_on_all_of_its_names() -> None:
    code = named("test_Q1", "assert f(1) == 1\nassert x == 1")
    assert names(code) == {"test_Q1": {"f", "x"}}


def test_a_label_that_is_known_only_in_a_run_is_left_out() -> None:
    assert names('check(f"Q{1}", [(x == 1, "")])') == {}


@pytest.mark.parametrize(
    ("code", "condition"),
    [
        ('check("Q1", [(not x > 1, "")])', "not x > 1"),
        ('check("Q1", [] if x is ... else [(lambda: x == 1, "", 2)])', "x == 1"),
        ('check("Q1", [(x == 1, ""), (y == 2, "")])', ""),
        ('check("Q1", [(x == "' + 60 * "a" + '", "")])', ""),
        ('check("Q1", [(v == 1, "") for v in [x]])', ""),
        ('check("Q1", [(f(v) == w, "") for v, w in [(1, x)]])', ""),
        ('check("Q1", [(x == 1, "")] if y is ... else [(x == 2, "")])', ""),
        ('check("Q1", [(x in [1, 2], "")])', "x in [1, 2]"),
    ],
)
def test_the_only_condition_of_a_check_is_told(code: str, condition: str) -> None:
    plan = planned(IMPORTS, MARKS, ANSWERS, code).plan
    (info,) = answers_of_labels(plan).values()
    assert (info.condition, info.key, info.line) == (condition, "Q1", plan.checks[0].line)
