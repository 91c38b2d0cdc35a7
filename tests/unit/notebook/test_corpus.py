"""The result for each small notebook of the corpus, with one mistake or form each.

See compatibility-0.3.16.md 7.
"""

from __future__ import annotations

import re

import pytest

from mograder.core.errors import InvalidInput
from mograder.notebook.cells import CellKind, parse_cells
from mograder.notebook.parsing import check_notebook
from tests.unit.notebook import corpus

NAMES = corpus.names()
RELEASED = [name for name in NAMES if corpus.expected(name).startswith("release\n")]
REFUSED = [name for name in NAMES if corpus.expected(name).startswith("refused\n")]


def released(name: str) -> str:
    return corpus.expected(name).partition("---\n")[2]


def test_the_corpus_is_large_enough_to_mean_something() -> None:
    assert len(NAMES) >= 60
    assert len(RELEASED) >= 40
    assert len(REFUSED) >= 30


@pytest.mark.parametrize("name", NAMES)
def test_a_source_becomes_what_is_written_beside_it(name: str) -> None:
    assert corpus.outcome(corpus.source(name), name) == corpus.expected(name)


@pytest.mark.full
@pytest.mark.parametrize("name", RELEASED)
def test_a_release_is_a_notebook_that_marimo_opens(name: str) -> None:
    check_notebook(released(name), f"{name}.py")


@pytest.mark.full
@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_file_and_line(name: str) -> None:
    for line in corpus.expected(name).splitlines()[1:]:
        file, number, _ = line.split(":", 2)
        assert file == f"{name}.py"
        assert 1 <= int(number) <= len(corpus.source(name).splitlines())


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_every_refusal_and_advice_names_a_remedy(name: str) -> None:
    told = corpus.expected(name).partition("---\n")[0].splitlines()[1:]
    for line in told:
        assert re.search(r"[.)] [A-Z][^.]+", line), line


def test_there_is_a_cell_of_every_kind() -> None:
    """So that a kind which marimo adds, and we learn, is not forgotten here."""
    sources = [corpus.source(name) for name in RELEASED]
    kinds = {cell.kind for text in sources for cell in parse_cells(text, "x.py").cells}
    assert kinds == set(CellKind)


@pytest.mark.parametrize("name", NAMES)
def test_a_cells_code_begins_in_the_line_that_it_names(name: str) -> None:
    try:
        notebook = parse_cells(corpus.source(name), f"{name}.py")
    except InvalidInput:
        return
    for cell in notebook.cells:
        first = cell.code.split("\n", 1)[0].strip()
        line = notebook.lines[cell.code_first - 1]
        one_line = cell.kind is CellKind.CELL and not cell.code
        assert one_line or first in line
        assert cell.first <= cell.code_first <= cell.last or one_line
