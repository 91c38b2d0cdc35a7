"""A release must be a notebook that marimo opens, before it replaces the old one."""

from __future__ import annotations

import pytest
from marimo._ast.parse import parse_notebook

from mograder.core.errors import InvalidInput
from mograder.notebook.parsing import check_notebook
from tests.support.notebooks import notebook

NOTEBOOK = notebook(
    "answer = 42",
    head="""\
# /// script
# requires-python = ">=3.11"
# dependencies = ["marimo"]
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium")
""",
)


@pytest.mark.parametrize(
    "text",
    [
        NOTEBOOK,
        NOTEBOOK.replace("\n", "\r\n"),
        "\n\n" + NOTEBOOK,
        NOTEBOOK.replace("answer = 42", 'answer = "\\d"'),
        NOTEBOOK.replace("if __name__", "app._unparsable_cell(r'''x = = 1''')\n\nif __name__"),
        NOTEBOOK.replace('__generated_with = "0.25.2"\n', ""),
        NOTEBOOK.replace("import marimo", "import marimo as m").replace("marimo.App", "m.App"),
    ],
    ids=["plain", "crlf", "blank-lines", "warning", "unparsable-cell", "no-version", "alias"],
)
def test_a_notebook_that_marimo_opens_passes(text: str) -> None:
    check_notebook(text, "A1.py")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (NOTEBOOK.replace("answer = 42", "answer = = 42"), r"^A1\.py:14: invalid syntax\."),
        (NOTEBOOK.replace("42", "'42"), r"^A1\.py:14: unterminated string"),
        (NOTEBOOK.replace("42", "\0"), r"^A1\.py:14: .*null byte"),
        (NOTEBOOK.replace('app = marimo.App(width="medium")', ""), r"^A1\.py:1: .*App"),
        ("print('hello')\n", r"^A1\.py:1: this is not a marimo notebook"),
        ("# only a comment\n", r"^A1\.py:1: this is not a marimo notebook"),
        (" \n\n", r"^A1\.py:1: the notebook is empty"),
        ("", r"^A1\.py:1: the notebook is empty"),
        ("(" * 3000 + ")" * 3000, r"^A1\.py:1: "),
    ],
    ids=["syntax", "string", "nul", "no-app", "script", "comment", "blank", "empty", "deep"],
)
def test_what_is_no_notebook_is_refused_with_file_and_line(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        check_notebook(text, "A1.py")


def test_a_byte_order_mark_is_refused_since_marimo_cannot_open_it() -> None:
    text = "\ufeff" + NOTEBOOK
    with pytest.raises(SyntaxError):
        parse_notebook(text)
    with pytest.raises(InvalidInput, match="byte order mark") as refused:
        check_notebook(text, "A1.py")
    assert "without a byte order mark" in refused.value.hint


def test_a_notebook_for_another_python_is_not_judged_by_this_one() -> None:
    later = NOTEBOOK.replace(">=3.11", ">=3.99").replace("answer = 42", "answer ?= 42")
    check_notebook(later, "A1.py")
    with pytest.raises(InvalidInput, match="not a marimo notebook"):
        check_notebook(later.replace("marimo.App", "marimo.Nothing"), "A1.py")
