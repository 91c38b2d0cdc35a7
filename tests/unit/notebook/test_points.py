"""A notebook's declarations about its questions (compatibility-0.3.16.md 7)."""

from __future__ import annotations

import ast

import pytest

from mograder.notebook.cells import NotebookText, parse_cells
from mograder.notebook.points import (
    checks_in,
    has_conditions,
    key_of,
    key_tested_by,
    labels_in,
    marks_of,
    stated_weights,
    takes_arguments,
)
from tests.support import notebooks

HEAD = "import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _(check):\n"


def notebook(*lines: str) -> NotebookText:
    return parse_cells(HEAD + "".join(f"    {line}\n" for line in lines) + "    return\n", "A1.py")


def marks(line: str) -> object:
    return marks_of(notebook("# === MOGRADER: MARKS ===", line))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('_marks = {"Q1": 10, "Q2": 2.5}', {"Q1": 10.0, "Q2": 2.5}),
        ('_marks: dict[str, int] = {" Q1 ": 1}', {"Q1": 1.0}),
        ('_marks = {"Q1": True, "Q2": -1, "Q3": 1e400, "Q4": "x", 5: 5}', {}),
        ('_marks = {"Q1": ' + "9" * 400 + "}", {}),
        ('_marks = {"Q1": 1, **more}', {"Q1": 1.0}),
        ("_marks = {}", None),
        ("_marks = dict(Q1=1)", None),
        ("marks = {}", None),
    ],
)
def test_marks_are_what_is_written_down(line: str, expected: object) -> None:
    assert marks(line) == expected


def test_marks_without_their_remark_are_none() -> None:
    assert marks_of(notebook('_marks = {"Q1": 10}')) is None


@pytest.mark.parametrize(("label", "key"), [("Q1: a: b", "Q1"), (" Q1 :x", "Q1"), ("Q1", "Q1")])
def test_a_key_is_the_label_up_to_its_first_colon(label: str, key: str) -> None:
    assert key_of(label) == key


@pytest.mark.parametrize(
    ("code", "labels"),
    [
        ('check("Q1", [])', ["Q1"]),
        ("grader.check('Q1: it\\'s', [])", ["Q1: it's"]),
        ('check(\n  # why\n  r"Q\\d",\n)', ["Q\\d"]),
        ('check("""Q1""", [])', ["Q1"]),
        ('check("Q1: in "\n  "two parts", [])', ["Q1: in two parts"]),
        ('check(label="Q1", checks=[])', ["Q1"]),
        ('# check("Q1", [])\nmo.md("write `check(\'Q2\', [])`")', []),
        ('Vault().check("abc")', []),
        ('board.check("e4", "king")', []),
        ('board.check("e4", f"{colour} king")', []),
        ('board.check("e4", -1)', []),
        ('check("Q1", [(board.check("e4", "king"), "")])', ["Q1"]),
        ('marker.check("Q1", conditions)', ["Q1"]),
        ('def f():\n  def check(word):\n    ...\n  check("abc")', []),
        ('def f():\n  check("Q1", [])', ["Q1"]),
        ('def f():\n  def check(word):\n    ...\ncheck("Q1", [])', ["Q1"]),
        ('check("Q1: %d" % n, [])', []),
        ('check("Q1", [', ["Q1"]),
        ('check("Q1", []); check("Q2", [])', ["Q1", "Q2"]),
        ('check("\\d", [])', ["\\d"]),
        *((code, []) for code in ('check(f"Q{n}")', "check(label)", 'recheck("Q1")', 'check("")')),
    ],
)
def test_a_check_is_known_by_its_look(code: str, labels: list[str]) -> None:
    assert [label for label, _ in labels_in(code)] == labels


def test_a_check_is_told_with_its_line() -> None:
    found = checks_in(notebook("", "x = 1", 'check("Q1: x", [])', "check(", '    "Q2",', ")"))
    assert [(check.key, check.line) for check in found] == [("Q1", 10), ("Q2", 11)]


@pytest.mark.parametrize(
    "code",
    [
        "check(" + "#\n " * 20000 + '"' + "\\" * 20001,
        "check(#" * 50_000,
        "check(#\n" * 50_000,
        "check( " * 50_000,
    ],
)
def test_a_text_made_to_confuse_is_read_in_one_go(code: str) -> None:
    assert list(labels_in(code)) == []


def test_very_many_checks_are_read_in_one_go() -> None:
    assert list(labels_in('check("a",\n' * 50_000))[-1] == ("a", 50_000)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('check("Q1", [])', False),
        ('check("Q1", [] if x in (1, 2) else [\n    # HIDDEN TESTS\n])', False),
        ('check("Q1", tests)', False),
        ('tests = []\n# HIDDEN TESTS\ncheck("Q1", tests)', False),
        ('tests = [(x, "no")]\ncheck("Q1", [] if x is ... else tests)', True),
        ('check("Q1", [(x, "no")])', True),
        ('check("Q1", [] if x is ... else [(x, "no")])', True),
        ('grader.check("Q1", checks=[(x, "no")])', True),
        ('check("Q1", [])\ncheck("Q2", [(x, "no")])', False),
        ('check("Q1", []) if x else check("Q1", [(x, "no")])', True),
        ("check((", False),
    ],
)
def test_a_check_with_hidden_tests_alone_has_no_conditions(code: str, expected: bool) -> None:
    assert has_conditions(code, "Q1") is expected


def test_a_check_that_was_imported_under_another_name_is_found() -> None:
    code = (
        "from mograder.runtime import Grader, check as plain_check",
        'plain_check("Q1", [])',
        'check("Q2", [])',
        'spell_check("Q3", [])',
    )
    assert [each.label for each in checks_in(notebook(*code))] == ["Q1", "Q2"]


@pytest.mark.parametrize(
    ("name", "keys", "key"),
    [
        ("test_Q1", ["Q1", "Q2"], "Q1"),
        ("test_Q1_small", ["Q1", "Q2"], "Q1"),
        ("test_q1_small", ["Q1"], "Q1"),
        ("test_Q1b", ["Q1", "Q1b"], "Q1b"),
        ("test_Q1_b", ["Q1", "Q1 b"], "Q1 b"),
        ("test_part_a_x", ["Part (A)"], "Part (A)"),
        ("test_Q10", ["Q1"], None),
        ("test_helper", ["Q1"], None),
        ("test_", ["Q1", "()"], None),
        ("Q1", ["Q1"], None),
        ("test_Q2_fib", None, "Q2"),
        ("test_", None, None),
    ],
)
def test_the_key_in_a_cells_name(name: str, keys: list[str] | None, key: str | None) -> None:
    assert key_tested_by(name, keys) == key


@pytest.mark.parametrize(
    ("code", "so"),
    [
        ("def f(): pass", False),
        ("def f(a=1, *b, c=2, **d): pass", False),
        ("def f(a): pass", True),
        ("def f(*, a): pass", True),
        ("def f(a, /): pass", True),
        ("x = 1", False),
    ],
)
def test_functions_that_take_arguments(code: str, so: bool) -> None:
    assert takes_arguments(ast.parse(code).body[0]) is so


TESTS = notebooks.notebook(
    """
    # === MOGRADER: MARKS ===
    _marks = {"Q1": 10, "Part (A)": 5}
    """,
    "@app.cell\ndef test_Q1_small(fib):\n    assert fib(1) == 1\n    return",
    "@app.cell\ndef test_helper(fib):\n    assert fib(2) == 1\n    return",
    '@app.cell\ndef test_q1_check(check):\n    check("Q1: called", [])\n    return',
    "@app.cell\ndef test_q1_run(check):\n    for _n in (1, 2): check(f'Q1: {_n}', [])\n    return",
    "@app.function\ndef test_part_a():\n    assert True",
    "@app.function\ndef test_part_a_of(n):\n    assert n",
    "@app.cell\ndef test_Q1_answer():\n    # YOUR CODE HERE\n    return",
    end="",
)


def test_cells_test_a_question_by_their_names() -> None:
    text = parse_cells(TESTS, "A1.py")
    found = [(each.label, each.key, each.line, each.is_test) for each in checks_in(text)]
    assert found == [
        ("test_Q1_small", "Q1", 15, True),
        ("Q1: called", "Q1", 27, False),
        ("test_part_a", "Part (A)", 38, True),
    ]
    assert stated_weights(text) == {"test_Q1_small": 1.0, "test_part_a": 1.0, "Q1: called": 0.0}
