"""Parsing in several threads, as generating several items at a time does; texts parsed before."""

from __future__ import annotations

import ast
import gc
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from mograder.grading.author.scaffold import assignment_text
from mograder.grading.marking.equal_answers import answer_key
from mograder.notebook.cells import parse_cells
from mograder.notebook.denied_code import screen_source, screen_submission
from mograder.notebook.grading.grading_split import review_grading
from mograder.notebook.grading.mutants import mutants_of
from mograder.notebook.parsing import cell_names, check_notebook, parse_python
from mograder.notebook.source.leaks import find_leaks
from mograder.notebook.source.release import make_release

TEXT = assignment_text("A1", marimo="0.25.2")


@pytest.fixture
def _restless() -> Iterator[None]:
    """Threads that take turns at any moment: a collector that often calls Python code."""

    def turn(_phase: str, _facts: Mapping[str, int]) -> None:
        sum(range(1000))

    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.callbacks.append(turn)
    gc.set_threshold(50)
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*threshold)
    gc.callbacks.remove(turn)


@pytest.mark.full
@pytest.mark.usefixtures("_restless")
def test_threads_that_parse_at_the_same_time_do_not_disturb_each_other() -> None:
    """Python 3.11 gave up with "AST constructor recursion depth mismatch" in two of three."""

    def everything(_number: int) -> str:
        made = make_release(TEXT, filename="A1.py", assignment="A1")
        assert made is not None
        check_notebook(made.text, "A1.py")
        assert find_leaks(made.text, "A1.py") == ()
        assert screen_source(TEXT, "A1.py") == ()
        return str(screen_submission(made.text, "A1.py", release=made.text))

    with ThreadPoolExecutor(6) as threads:
        assert len(set(threads.map(everything, range(24)))) == 1


def test_what_was_read_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = make_release(TEXT, filename="A1.py", assignment="A1"), review_grading(TEXT, "A1.py")

    parsed: list[str] = []
    parse: Callable[..., ast.AST] = ast.parse

    def counted(text: str, **named: object) -> ast.AST:
        parsed.append(text)
        return parse(text, **named)

    monkeypatch.setattr(ast, "parse", counted)
    again = make_release(TEXT, filename="A1.py", assignment="A1"), review_grading(TEXT, "A1.py")
    assert again == first
    assert {text[:11] for text in parsed} == {"if __name__"}  # what marimo compares with


def test_those_who_change_a_tree_change_no_kept_one() -> None:
    answer = 'def area(r):\n    """Doc."""\n    x = "A  B"\n    return r * 2\n'
    plan = review_grading(TEXT, "A1.py").plan
    assert plan is not None
    kept = {code: ast.dump(parse_python(code), include_attributes=True) for code in (answer, TEXT)}
    answer_key([answer])
    cell_names(answer)
    assert mutants_of(parse_cells(TEXT, "A1.py"), plan, "A1.py")
    for code, before in kept.items():
        assert ast.dump(parse_python(code), include_attributes=True) == before
