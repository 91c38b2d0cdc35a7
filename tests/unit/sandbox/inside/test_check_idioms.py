"""Ordinary code of checks, judged apart from an honest answer as in one process with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.sandbox.inside.judging import INSIDE, Judge, Judged, notebook

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]
_DATA = Path(__file__).parents[3] / "data"
IDIOMS = (_DATA / "check-idioms.txt").read_text().splitlines()
_IMPORTS = """
import collections, contextlib, dataclasses, datetime, decimal, enum, fractions, inspect, io
import random, time, types
import numpy as np
import pandas as pd
from mograder.runtime import check
"""
APART = {
    "written(write)": "the judge does not see the files of the answer",
}
"""Idioms that hold in one process, and cannot hold apart from the answer."""


def idioms_source() -> str:
    """Return the source with a check of each idiom."""
    answers = (_DATA / "check-idiom-answers.txt").read_text()
    checks = [f"check('I{n}', [(lambda: {code}, 'idiom')])" for n, code in enumerate(IDIOMS)]
    solution = f"### BEGIN SOLUTION\n{answers}\n### END SOLUTION"
    return notebook(_IMPORTS, (_DATA / "check-idiom-helpers.txt").read_text(), solution, *checks)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The states of the checks in one process with the answer."""
    directory = tmp_path_factory.mktemp("together")
    path = directory / "source.py"
    path.write_text(idioms_source())
    sidecar = directory / "sidecar"
    code = (
        "import json, os, runpy, sys\nimport mograder.runtime as r\nout = open(sys.argv[2], 'w')\n"
        "r.write_sidecar = lambda x: print(x.label, x.status, file=out, flush=True)\n"
        "runpy.run_path(sys.argv[1], run_name='__main__')\n"
    )
    text = path.read_text() + "\nif __name__ == '__main__':\n    app.run()\n"
    path.write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(INSIDE.parents[2])}
    command = [sys.executable, "-c", code, str(path), str(sidecar)]
    subprocess.run(command, cwd=directory, env=environment, check=True, timeout=120)
    return dict(line.rsplit(" ", 1) for line in sidecar.read_text().splitlines())


@pytest.fixture(scope="module")
def recorded(judge: Judge) -> Judged:
    return judge(idioms_source(), idioms_source())


@pytest.fixture(scope="module")
def kept(judge: Judge, recorded: Judged) -> Judged:
    return judge(idioms_source(), idioms_source(), contract=recorded.contract)


def test_all_idioms_hold_in_one_process(together: dict[str, str]) -> None:
    assert together == {f"I{n}": "success" for n in range(len(IDIOMS))}


@pytest.mark.parametrize(("number", "code"), list(enumerate(IDIOMS)))
def test_an_idiom_holds_apart_from_the_answer(
    recorded: Judged, kept: Judged, number: int, code: str
) -> None:
    holds = not any(each in code for each in APART)
    for run in (recorded, kept):
        assert run.passed[f"I{number}"] == [holds], run.checks[number]


def test_a_judge_that_keeps_the_contract_reports_the_labels_that_it_expects(
    recorded: Judged, kept: Judged
) -> None:
    assert list(kept.passed) == list(recorded.passed) == [f"I{n}" for n in range(len(IDIOMS))]
    assert recorded.contract["seeds"] is True
