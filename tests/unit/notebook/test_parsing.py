"""Parsing in several threads, as generating several items at a time does."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from mograder.grading.author.scaffold import assignment_text
from mograder.notebook.denied_code import screen_source, screen_submission
from mograder.notebook.parsing import check_notebook
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
