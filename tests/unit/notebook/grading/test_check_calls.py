"""Which code of a notebook records a check, by whatever name it is called."""

from __future__ import annotations

import ast
import time
import tracemalloc

import pytest

from mograder.notebook.grading.check_calls import (
    check_calls,
    checkers_in,
    checks_when_run,
    is_unprotected,
    waiting_calls,
)
from mograder.notebook.parsing import cell_names

IMPORT = "from mograder.runtime import check, Grader"


def calls(*cells: str) -> tuple[bool, list[str | None]]:
    """Whether the last cell checks when it runs, and the labels that it may record."""
    parsed = [(ast.parse(code), cell_names(code)) for code in cells]
    tree, names = parsed[-1]
    there = checkers_in(parsed).within(names)
    found = check_calls(tree.body, there)
    return checks_when_run(tree.body, there), [each.label for each in found]


@pytest.mark.parametrize(
    "cells",
    [
        (IMPORT, 'check("Q1", [])'),
        ("from mograder.runtime import check as plain", 'plain("Q1", [])'),
        ("import mograder.runtime as rt", 'rt.check("Q1", [])'),
        ("from mograder import runtime", 'runtime.check("Q1", [])'),
        ("import mograder.runtime", 'mograder.runtime.check("Q1", [])'),
        (IMPORT + "\ngrader = Grader({})", 'grader.check("Q1", [])'),
        (IMPORT + "\ng = Grader({})", 'g.check("Q1", [])'),
        ("import mograder.runtime as rt\ng = rt.Grader({})", 'g.check("Q1", [])'),
        (IMPORT + "\ng = Grader({})\nask = g.check", "also = ask", 'also("Q1", [])'),
        (IMPORT, 'check(label="Q1", checks=[])'),
        (IMPORT, "mo.stop(x is None, check('Q1', []))"),
        (IMPORT, "if x:\n    _r = check('Q1', [])\nelse:\n    _r = check('Q1', [1])\n_r"),
        (IMPORT, "[check('Q1', []) for _ in [1]]"),
        (IMPORT, "_f = lambda: check('Q1', [])\n_f()"),
        (IMPORT + "\ncheck('Q1', [])",),
        (IMPORT, "def _ask():\n    return check('Q1', [])\n_ask()"),
    ],
)
def test_a_check_is_found_by_each_of_its_names(cells: tuple[str, ...]) -> None:
    runs, labels = calls(*cells)
    assert runs
    assert "Q1" in labels


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        ("check(f'Q{n}', [])", None),
        ("check(label, [])", None),
        ("check('Q' + '1', [])", None),
        ("ask(1)", None),
        ("later([])", None),
        ("run_all(check)", None),
        ("test_answer(1, area(2) == 4)", None),
    ],
)
def test_a_label_that_is_known_only_in_a_run_is_none(cell: str, label: None) -> None:
    helpers = (
        "import functools\n"
        "def ask(n):\n    return check(f'Q{n}', [])\n"
        "later = functools.partial(check, 'Q1')\n"
        "def test_answer(n, ok):\n    return check(f'Q{n}', [(ok, 'right')])"
    )
    assert calls(IMPORT, helpers, cell) == (True, [label])


def test_the_key_may_be_known_where_the_label_is_not() -> None:
    code = "check(f'Q1: {n} values', [])\ncheck(f'{n}: Q1', [])\ncheck(f'Q1 {n}', [])"
    parsed = [(ast.parse(code), cell_names(code))]
    found = check_calls(parsed[0][0].body, checkers_in(parsed))
    assert [(each.label, each.key) for each in found] == [(None, "Q1"), (None, None)]


@pytest.mark.parametrize(
    "cell",
    [
        "def ask(n):\n    return check(f'Q{n}', [])",
        "ask = check",
        "import functools\nlater = functools.partial(check, 'Q1')",
        "grader.scores()",
        "mo.md('''check(\"Q1\", [])''')  # check('Q1', [])",
        "def is_prime(n):\n    def check(k):\n        return n % k\n    return all(map(check, r))",
        "model.check(x)",
        "from mograder.runtime import check",
    ],
)
def test_code_that_records_nothing_by_itself(cell: str) -> None:
    assert not calls(IMPORT, cell)[0]


def test_a_function_with_a_check_of_its_own_makes_no_check_of_its_callers() -> None:
    prime = "def is_prime(n):\n    def check(k):\n        return n % k\n    return check(2)"
    assert calls(IMPORT, prime, "plot(is_prime(3))") == (False, [])


def test_a_long_chain_of_names_is_followed_in_time_of_its_length() -> None:
    """3,000 names in the reverse order took two minutes."""
    code = "\n".join(["g0 = check", *(f"g{n + 1} = g{n}" for n in range(3000))])
    backwards = "\n".join(reversed(code.split("\n")))
    began = time.process_time()
    found = checkers_in([(ast.parse(backwards), cell_names(backwards))])
    assert "g3000" in found.direct
    assert time.process_time() - began < 3


def test_many_names_of_many_values_are_no_pairs_of_each_with_each() -> None:
    """One such statement of 31 KB in a student's notebook took 1.5 GB of the hub."""
    names = [f"n{number}" for number in range(3000)]
    code = f"{' = '.join(names)} = [{', '.join(names)}, check]"
    parsed = [(ast.parse(code), cell_names(code))]
    tracemalloc.start()
    try:
        found = checkers_in(parsed)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "n2999" in found.indirect
    assert peak < 30_000_000


def test_equal_labels_count_once_at_their_first_line() -> None:
    code = "check('Q1', [])\ncheck('Q2', [])\ncheck('Q1', [1])"
    parsed = [(ast.parse(code), cell_names(code))]
    found = check_calls(parsed[0][0].body, checkers_in(parsed))
    assert [(each.label, each.line) for each in found] == [("Q1", 1), ("Q2", 2)]


@pytest.mark.parametrize(
    ("code", "so"),
    [
        ("# mograder: unprotected\nx", True),
        ("x  #mograder: unprotected", True),
        ("'# mograder: unprotected'", False),
        ("# not mograder: unprotected", False),
        ("# mograder: unprotected, later", False),
    ],
)
def test_only_a_comment_makes_a_check_unprotected(code: str, so: bool) -> None:
    assert is_unprotected(code) is so


@pytest.mark.parametrize(
    ("code", "waits"),
    [
        ("mo.stop(x, check('Q1', []))\ncheck('Q1', [1])", {"Q1": 1}),
        ("mo.stop(x, check('Q1', ()))\ncheck('Q1', [1])", {"Q1": 1}),
        ("mo.stop(x, check('Q1', checks=[]))\ncheck('Q1', [1])", {"Q1": 1}),
        ("mo.stop(x, check(checks=[], label='Q1'))\ncheck('Q1', [1])", {"Q1": 1}),
        ("mo.stop(x, plain('Q1', []))\nplain('Q1', [1])", {"Q1": 1}),
        ("_l = 'Q1'\nmo.stop(x, check(_l, []))\ncheck(_l, [1])", {"": 1}),
        ("mo.stop(x, check(f'Q{n}', []))\ncheck(f'Q{n}', [1])", {"": 1}),
        ("check(_l, [])\ncheck('Q2', [y for y in x])", {"": 1, "Q2": 0}),
        ("check('Q1', [y for y in x])\nfound.get(key, [])", {}),
    ],
)
def test_calls_that_only_wait_are_found_by_label(code: str, waits: dict[str, int]) -> None:
    parsed = [
        (ast.parse(each), cell_names(each))
        for each in (f"{IMPORT}\nfrom mograder.runtime import check as plain", code)
    ]
    tree, names = parsed[1]
    assert waiting_calls(tree.body, checkers_in(parsed).within(names)) == waits
