"""Sixty ordinary checks: a mark with judge and worker is that of one process with the answer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.sandbox.inside import checks_of_files, ordinary_checks
from tests.unit.sandbox.inside.judging import INSIDE, Judge, Judged, notebook
from tests.unit.sandbox.inside.ordinary_checks import Question

QUESTIONS = (*ordinary_checks.QUESTIONS, *checks_of_files.FILES, *checks_of_files.FUNCTIONS)
pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]
IMPORTS = """
import collections, datetime, fractions, inspect
import numpy as np
import pandas as pd
import polars as pl
import sympy as sp
from mograder.runtime import check
"""
RECORD = """
import json, mograder.runtime
found = {}
def _write(result):
    found[result.label] = [each.passed for each in result.outcomes]
mograder.runtime.write_sidecar = _write
"""
EQUAL = """
class _Equal:
    __eq__ = __le__ = __ge__ = __bool__ = lambda *args: True
    __hash__ = object.__hash__
def {name}(*args, **keywords):
    return _Equal()
"""
EMPTIES = """
def {name}(*args, **keywords):
    for each in args:
        if hasattr(each, "clear"):
            each.clear()
    return args[0] if args else None
"""


def check_of(number: int, question: Question) -> str:
    """Return the cell of a question's check."""
    lines = "".join(f"    (lambda: {each}, 'holds'),\n" for each in question.conditions)
    return f"{question.before}\ncheck('Q{number}', [\n{lines}])"


def with_checks(answers: list[str], wrap: Callable[[str], str]) -> list[str]:
    """Return the cells of a source with these answers."""
    cells = [IMPORTS]
    for number, (question, answer) in enumerate(zip(QUESTIONS, answers, strict=True)):
        cells += [question.given] if question.given else []
        cells += [wrap(answer), check_of(number, question)]
    return cells


def submission(answers: list[str]) -> str:
    """Return what a student with these answers hands in."""
    given = [each.given for each in QUESTIONS if each.given]
    return notebook(IMPORTS, *given, *answers)


def source() -> str:
    """Return the author's notebook."""
    right = [each.right for each in QUESTIONS]
    cells = with_checks(right, lambda text: f"### BEGIN SOLUTION\n{text}\n### END SOLUTION")
    return notebook(*cells)


def together(answers: list[str], directory: Path) -> dict[str, list[bool]]:
    """Return whether the conditions hold in one process with the answers."""
    cells = with_checks(answers, lambda text: text)
    for place, cell in enumerate(cells):
        if "check('Q" in cell:
            inside = cell.replace("\n", "\n    ")
            cells[place] = f"try:\n    {inside}\nexcept Exception:\n    pass"
    code = "\n".join((RECORD, *cells, "print(json.dumps(found))"))
    paths = {**os.environ, "PYTHONPATH": str(INSIDE.parents[2])}
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, cwd=directory, env=paths, check=True, capture_output=True)
    found: dict[str, list[bool]] = json.loads(told.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def recorded(judge: Judge) -> Judged:
    return judge(source(), source())


def test_the_authors_answers_pass_and_none_needs_copies(recorded: Judged) -> None:
    assert all(map(all, recorded.passed.values()))
    assert len(recorded.passed) == len(QUESTIONS) >= 60
    assert recorded.contract["copies"] == []


@pytest.mark.parametrize("number", range(5))
def test_an_honest_answer_earns_what_it_earns_in_one_process(
    judge: Judge, recorded: Judged, tmp_path: Path, number: int
) -> None:
    answers = [(each.right, *each.wrong)[number] for each in QUESTIONS]
    run = judge(source(), submission(answers), contract=recorded.contract)
    wanted, found = together(answers, tmp_path), run.passed
    named = {f"Q{place}": each.name for place, each in enumerate(QUESTIONS)}
    assert {named[q]: found[q] for q in named} == {named[q]: wanted[q] for q in named}
    if number:
        assert sum(map(all, found.values())) <= 2  # nearly all are wrong in one process, too


@pytest.mark.parametrize("text", [EQUAL, EMPTIES], ids=["equals everything", "empties"])
def test_a_hostile_answer_earns_no_question(judge: Judge, recorded: Judged, text: str) -> None:
    names = [
        re.findall(r"^(?:async )?(?:def|class) (\w+)", each.right, re.MULTILINE)[-1]
        for each in QUESTIONS
    ]
    answers = [text.format(name=each).replace("_Equal", f"Equal{each}") for each in names]
    run = judge(source(), submission(answers), contract=recorded.contract)
    named = {f"Q{place}": each.name for place, each in enumerate(QUESTIONS)}
    assert [named[label] for label, held in run.passed.items() if all(held)] == []
