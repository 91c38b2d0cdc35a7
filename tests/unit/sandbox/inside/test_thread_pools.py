"""Notebooks whose libraries have started threads, so that no process can be forked for a check."""

# ruff: noqa: ISC004 - one check an item

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.sandbox.inside.judging import Judged, judged, notebook

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

GIVEN = """
import polars as pl
from mograder.runtime import check
sales = pl.DataFrame({"shop": ["x", "y", "x"] * 1000, "amount": [1, 2, 3] * 1000})
total = sales.group_by("shop").agg(pl.col("amount").sum()).sort("shop")
"""
RIGHT = """
def top(frame):
    return frame.group_by("shop").agg(pl.col("amount").sum()).sort("shop").tail(1)
"""
COUNT = "def count(frame):\n    return frame.filter(pl.col('amount') > 1).height"
CHECKS = (
    "check('Q1', [(lambda: top(sales)['amount'].to_list() == [2000], 'top'), (lambda:"
    " top(sales.filter(pl.col('amount') > 1))['shop'].to_list() == ['y'], 'filtered')])",
    "check('Q2', [(count(sales) == 2000, 'counted'), (total.height == 2, 'given')])",
)


def source() -> str:
    """Return the author's notebook."""
    answers = [f"### BEGIN SOLUTION\n{each.strip()}\n### END SOLUTION" for each in (RIGHT, COUNT)]
    return notebook(GIVEN, *answers, *CHECKS)


def submission(top: str) -> str:
    """Return what a student hands in."""
    return notebook(GIVEN, top, COUNT)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    place = tmp_path_factory.mktemp("recorded")
    return judged(place, source(), source(), rehearsal={"least": 20.0, "trial": 5.0})


def test_the_authors_answers_pass_and_junk_is_tried(recorded: Judged) -> None:
    assert recorded.passed == {"Q1": [True, True], "Q2": [True, True]}
    (tried,) = [each for each in recorded.lines if each["kind"] == "rehearsal end"]
    assert tried["done"] == tried["trials"] > 10


WRONG = "def top(frame):\n    return frame.head(0)"
HANGS = "def top(frame):\n    while True:\n        pass"
ENDS = "import os\ndef top(frame):\n    return sales.filter(pl.col('nothing') > 1)"


@pytest.mark.parametrize(
    ("answer", "passed"),
    [(RIGHT, [True, True]), (WRONG, [False, False]), (ENDS, [False, False])],
    ids=["right", "wrong", "fails"],
)
def test_an_answer_gets_what_it_earned(
    recorded: Judged, tmp_path: Path, answer: str, passed: list[bool]
) -> None:
    run = judged(tmp_path, source(), submission(answer), contract=recorded.contract)
    assert run.passed == {"Q1": passed, "Q2": [True, True]}


def test_an_answer_that_hangs_costs_its_own_check(recorded: Judged, tmp_path: Path) -> None:
    run = judged(tmp_path, source(), submission(HANGS), contract=recorded.contract)
    found = [(each["state"], each["reason"]) for each in run.lines if each["kind"] == "judged"]
    assert found == [("not run", "no answer: it took too long"), ("judged", "")]
    assert run.passed["Q2"] == [True, True]


POOL = """
from concurrent.futures import ThreadPoolExecutor
from mograder.runtime import check
pool = ThreadPoolExecutor(1)
def doubled(value):
    return pool.submit(lambda: 2 * value).result()
base = doubled(2)
"""
TWICE = "def twice(n):\n    return {}"


@pytest.mark.parametrize("answer", ["n + n", "doubled(n)"])
def test_threads_of_a_given_cell_are_there_for_each_check(tmp_path: Path, answer: str) -> None:
    solution = f"### BEGIN SOLUTION\n{TWICE.format('n * 2')}\n### END SOLUTION"
    author = notebook(POOL, solution, "check('Q', [(lambda: twice(3) == doubled(3), 'm')])")
    contract = judged(tmp_path, author, author).contract
    short = {"notebook": 60.0, "call": 10.0, "check": 10.0, "submission": 100.0}
    work = notebook(POOL, TWICE.format(answer))
    run = judged(tmp_path, author, work, contract=contract, seconds=short)
    assert run.passed["Q"] == [True], run.text


def test_what_the_given_cells_take_is_not_the_time_of_the_checks(tmp_path: Path) -> None:
    slow = f"{POOL}import time\ntime.sleep(3)"
    solution = f"### BEGIN SOLUTION\n{TWICE.format('n * 2')}\n### END SOLUTION"
    checks = [f"check('Q{n}', [(lambda: twice({n}) == {2 * n}, 'm')])" for n in range(3)]
    author = notebook(slow, solution, *checks)
    contract = judged(tmp_path, author, author).contract
    seconds = {"notebook": 60.0, "call": 3.0, "check": 3.0, "submission": 8.0}
    run = judged(tmp_path, author, author, contract=contract, seconds=seconds)
    assert run.passed == {f"Q{n}": [True] for n in range(3)}, run.text
