"""The judge: the author's checks on a submission's answers, their deadlines and their states."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sandbox.inside.judging import Judged, judged, notebook

pytestmark = [pytest.mark.full, pytest.mark.timeout(120)]

GIVEN = """
import marimo as mo, asyncio, random
from mograder.runtime import check, Grader
_private = 7
def given_private(): return _private
_marks = {"Q1": 1, "Q2": 1, "Q3": 1, "Q4": 1, "Q5": 1, "Q6": 1, "Q7": 1, "Q8": 1}
"""
SOURCE = notebook(
    GIVEN,
    "### BEGIN SOLUTION\nimport math\ntotal = 3\nx = None\ndef double(v):\n    return 2 * v\n"
    "def slow(): return 1\ndef leave(): return 1\ndef append(v): v.append(1)\n### END SOLUTION",
    "_private = 2\nresult = double(4) + _private",
    "_private = 3\ncheck('Q1', [(result == 10, 'result'), (_private == 3, 'p', 2)])\n"
    "check('Q1: more', [(given_private() == 7, 'given')])",
    "mo.stop(x is None, check('Q2', []))\ncheck('Q2', [(x == 2, 'x')])",
    "check('Q3', [(slow() == 1, 'slow')])",
    "check('Q4', [(lambda: double(1) == 2, 'a'), (lambda: leave() == 1, 'b')])",
    "check('Q5', [(math.floor(1.5) == 1, 'math'), (total == 3, 'total')])",
    "await asyncio.sleep(0)\n_v = [1]\nappend(_v)\ncheck('Q6', [(_v == [1, 1], 'appended')])",
    "inputs = [random.random() for _ in range(3)]\nwhile total == 4: pass\n"
    "check('Q8', [([double(v) for v in inputs] == [2 * v for v in inputs], 'random')])",
) + (
    "\n\n@app.cell\ndef test_Q7_double(double):\n    assert double(2) == 4\n"
    "    assert double(3) == 6, 'three'\n    return\n"
)
ANSWERS = {
    "total": "total = 3",
    "x": "x = None",
    "math": "import math",
    "double": "def double(v):\n    return 2 * v",
    "slow": "def slow(): return 1",
    "leave": "def leave(): return 1",
    "append": "def append(v): v.append(1)",
}


def submission(**changed: str) -> str:
    """Return a notebook with each answer in a cell, some of them changed."""
    return notebook("import time, os, random", *(ANSWERS | changed).values())


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    return judged(tmp_path_factory.mktemp("reference"), SOURCE, SOURCE)


@pytest.fixture
def judge(tmp_path: Path, reference: Judged) -> Callable[..., Judged]:
    def run(seconds: dict[str, float] | None = None, **changed: str) -> Judged:
        text = submission(**changed)
        return judged(tmp_path, SOURCE, text, contract=reference.contract, seconds=seconds)

    return run


def of(run: Judged, label: str) -> dict[str, Any]:
    """Return the line of the check that has a label."""
    return next(
        check for check in run.checks if label in [each["label"] for each in check["labels"]]
    )


ALL = {
    "Q1": [True, True],
    "Q1: more": [True],
    "Q2": [],
    "Q3": [True],
    "Q4": [True, True],
    "Q5": [True, True],
    "Q6": [True],
    "Q8": [True],
    "test_Q7_double": [True],
}


def test_the_authors_own_solution_passes_and_gives_the_contract(reference: Judged) -> None:
    assert reference.passed == ALL
    expected = {each["label"]: each["total"] for each in reference.contract["labels"]}
    assert expected["Q1"] == 3
    assert [each["changes"] for each in reference.contract["uses"] if each["changes"]] == [[0]]


def test_an_honest_answer_passes_and_its_calls_are_told(judge: Callable[..., Judged]) -> None:
    run = judge()
    assert run.passed == ALL | {"Q2": [False]}  # a label without conditions is not passed
    calls = of(run, "Q1")["calls"]
    assert [(each["call"], each["result"]) for each in calls] == [("double(4)", "8")]


def test_a_test_that_is_an_asynchronous_function_is_awaited(tmp_path: Path) -> None:
    source = notebook(
        "import asyncio\n_marks = {'Q1': 1}",
        "### BEGIN SOLUTION\ndef answer():\n    return 42\n### END SOLUTION",
    ) + (
        "\n\n@app.function\nasync def test_Q1():\n"
        "    await asyncio.sleep(0)\n    assert answer() == 42\n"
    )
    reference = judged(tmp_path, source, source)
    assert reference.passed == {"test_Q1": [True]}
    wrong = notebook("import asyncio", "def answer():\n    return 41")
    run = judged(tmp_path, source, wrong, contract=reference.contract)
    assert run.passed == {"test_Q1": [False]}


def test_given_cells_make_widgets_and_caches_as_in_a_notebook(tmp_path: Path) -> None:
    source = notebook(
        "import marimo as mo\nfrom mograder.runtime import check\n"
        '_marks = {"Q1": 1}\nslider = mo.ui.slider(1, 9, value=4)',
        "@mo.cache\ndef half(v):\n    return v / 2",
        "### BEGIN SOLUTION\ndef double(v): return 2 * v\n### END SOLUTION",
        "shown = mo.ui.array([mo.ui.slider(1, 9, value=double(2))])",
        "mo.ui.slider(1, 9)\ncheck('Q1', [(double(slider.value) == 8, 's'),\n"
        "    (shown.value == [4], 'a'), (half(double(3)) == 3, 'h')])",
    )
    assert judged(tmp_path, source, source).passed == {"Q1": [True, True, True]}


def test_a_function_that_shows_a_widget_can_be_called_as_in_a_notebook(tmp_path: Path) -> None:
    source = notebook(
        'import marimo as mo\nfrom mograder.runtime import check\n_marks = {"Q1": 1}',
        "### BEGIN SOLUTION\ndef total(v): return sum(v)\n### END SOLUTION",
        "check('Q1', [(lambda: total([1, 2]) == 3, 'a'), (lambda: total([2]) == 2, 'b')])",
    )
    recorded = judged(tmp_path, source, source)
    shows = "def total(v):\n    mo.output.append(mo.ui.table([{'x': each} for each in v]))\n"
    work = notebook("import marimo as mo", f"{shows}    return sum(v)")
    run = judged(tmp_path, source, work, contract=recorded.contract)
    assert run.passed == {"Q1": [True, True]}, run.text


def test_a_widget_in_place_of_its_value_is_told_as_such(tmp_path: Path) -> None:
    source = notebook(
        'from mograder.runtime import check\n_marks = {"Q1": 1}',
        "### BEGIN SOLUTION\nx = 3\n### END SOLUTION",
        "check('Q1', [(x == 3, 'x')])",
    )
    recorded = judged(tmp_path, source, source)
    work = notebook("import marimo as mo\nx = mo.ui.number(1, 9, value=3)")
    run = judged(tmp_path, source, work, contract=recorded.contract)
    told = "`x` is an object of class number (of a widget, give its `.value`) instead of a number."
    assert told in run.text


def test_a_missing_name_costs_the_checks_that_need_it(judge: Callable[..., Judged]) -> None:
    run = judge(double="double = 1 / 0")
    line = of(run, "Q1")
    assert (line["state"], line["reason"]) == (
        "not run",
        "`double` is not defined: its cell failed (ZeroDivisionError)",
    )
    assert run.passed["Q1"] == run.passed["test_Q7_double"] == [False]
    assert run.passed["Q3"] == [True]


def test_an_import_of_the_answer_is_the_authors_own(judge: Callable[..., Judged]) -> None:
    run = judge(math="class math:\n    def floor(v): return 1")
    assert run.passed["Q5"] == [True, True]
    assert judge(math="pass").passed["Q5"] == [False]


def test_a_given_cell_that_fails_on_an_answer_costs_its_checks(
    judge: Callable[..., Judged],
) -> None:
    run = judge(double="def double(v): raise ValueError('no')")
    line = of(run, "Q1")
    assert line["state"] == "not run"
    assert line["reason"].endswith("failed: ValueError: no")
    assert run.passed["Q3"] == [True]


HANG = "def slow():\n    time.sleep(600)"
FAST = {"notebook": 30.0, "call": 1.5, "check": 10.0, "submission": 60.0}


def test_a_call_that_never_ends_costs_its_check_alone(judge: Callable[..., Judged]) -> None:
    run = judge(seconds=FAST, slow=HANG)
    line = of(run, "Q3")
    assert (line["state"], line["reason"]) == ("not run", "no answer: it took too long")
    assert run.passed == ALL | {"Q2": [False], "Q3": [False]}


def test_a_process_that_ends_costs_its_whole_check(judge: Callable[..., Judged]) -> None:
    """Also the conditions that held before."""
    run = judge(leave="def leave(): os._exit(0)")
    assert of(run, "Q4")["reason"] == "the notebook's process has ended"
    assert run.passed == ALL | {"Q2": [False], "Q4": [False]}


def test_a_check_that_never_ends_is_interrupted(judge: Callable[..., Judged]) -> None:
    run = judge(seconds=FAST | {"check": 3.0}, total="total = 4")
    assert of(run, "Q8")["reason"] == "the time of this check is over"
    assert run.passed == ALL | {"Q2": [False], "Q5": [True, False], "Q8": [False]}


def test_a_check_that_takes_all_it_may_leaves_time_for_the_others(
    judge: Callable[..., Judged],
) -> None:
    run = judge(seconds={**FAST, "call": 60.0, "check": 60.0, "submission": 12.0}, slow=HANG)
    assert run.passed == ALL | {"Q2": [False], "Q3": [False]}


def test_a_check_that_an_answer_makes_too_long_or_too_large_is_not_run(tmp_path: Path) -> None:
    """The author's own solution needs neither; C code cannot be interrupted, only killed."""
    source = notebook(
        "from mograder.runtime import check",
        "### BEGIN SOLUTION\ndef evens(n):\n    return [2 * i for i in range(n)]\n### END SOLUTION",
        "check('Q1', [(lambda: sum(evens(4)) == 12, 'sum')])",
        "check('Q2', [(len(list(evens(4))) == 4, 'four')])",
    )
    reference = judged(tmp_path, source, source)
    seconds = {"notebook": 30.0, "call": 2.0, "check": 2.0, "submission": 30.0}
    endless = notebook("def evens(n):\n    return range(10 ** 15)")
    run = judged(tmp_path, source, endless, contract=reference.contract, seconds=seconds)
    assert [(each["state"], each["reason"]) for each in run.checks] == [
        ("not run", "this check did not end in time with this answer"),
        ("not run", "this check took too much memory with this answer"),
    ]
    assert run.passed == {"Q1": [False], "Q2": [False]}


def test_a_failed_assertion_is_quoted(judge: Callable[..., Judged]) -> None:
    run = judge(double="def double(v):\n    return 4")
    (condition,) = of(run, "test_Q7_double")["labels"][0]["conditions"]
    assert (condition["passed"], condition["message"]) == (False, "three")
    run = judge(double="def double(v):\n    return v")
    (condition,) = of(run, "test_Q7_double")["labels"][0]["conditions"]
    assert condition["message"] == "assert double(2) == 4"


def test_random_inputs_are_the_same_whenever_a_submission_is_judged(
    judge: Callable[..., Judged],
) -> None:
    """And an answer cannot set them."""
    first, second = judge(), judge(double="def double(v):\n    random.seed(1)\n    return 2 * v")
    inputs = [[each["call"] for each in of(run, "Q8")["calls"]] for run in (first, second)]
    assert inputs[0] == inputs[1]
    assert len(set(inputs[0])) == 3


def test_random_inputs_without_a_seed_are_the_same_as_well(tmp_path: Path) -> None:
    """Else a submission could be graded again until it knows all of them."""
    source = notebook(
        "import random\nimport secrets\nimport numpy as np\nfrom mograder.runtime import check",
        "### BEGIN SOLUTION\ndef double(v):\n    return 2 * v\n### END SOLUTION",
        "_drawn = [random.Random().random(), float(np.random.default_rng().random())]\n"
        "_drawn += [random.SystemRandom().random(), secrets.randbits(53)]\n"
        "_drawn += [float(np.random.RandomState().random_sample())]\n"
        "for _each in (random, np.random):\n    _each.seed()\n    _drawn.append(_each.random())\n"
        "_drawn += [random.Random().random()]\n"
        "check('Q1', [(double(v) == 2 * v, 'double') for v in _drawn])",
    )
    contract = judged(tmp_path, source, source).contract
    runs = [judged(tmp_path, source, source, contract=contract) for _ in range(2)]
    first, second = ([each["call"] for each in run.checks[0]["calls"]] for run in runs)
    assert first == second
    assert len(set(first)) == 8


def test_a_contract_of_another_source_is_refused(tmp_path: Path, reference: Judged) -> None:
    other = reference.contract | {"source_sha256": "0" * 64}
    run = judged(tmp_path, SOURCE, submission(), contract=other, refused=True)
    assert run.lines == []


SHARED = notebook(
    "import random\nfrom mograder.runtime import check\n"
    'measured = [3, 1, 2]\ntable = {"a": 1}\n_marks = {"Q1": 1, "Q2": 1, "Q3": 1}',
    "### BEGIN SOLUTION\ndef put_in_order(v): v.sort()\ndef fill(v): v['b'] = 2\n"
    "def draw(v): return random.random()\n### END SOLUTION",
    "put_in_order(measured)\nfill(table)\nput_in_order(measured)\n"
    "check('Q1', [(len(measured) == 3, 'in order'), (table['b'] == 2, 'filled')])",
    "check('Q2', [(measured == [3, 1, 2], 'as given'), (table == {'a': 1}, 'as given'),\n"
    "    (lambda: draw(measured) >= 0, 'asked')])",
    "random.seed(1)\n_drawn = draw(0)\n_own = random.random()\n"
    "check('Q3', [(_drawn != _own, 'cannot be foreseen')])",
)
HONEST = (
    "def put_in_order(v): v.sort()",
    "def fill(v): v['b'] = 2",
    "def draw(v): return random.random()",
)


def of_shared(tmp_path: Path, *answers: str) -> Judged:
    reference = judged(tmp_path, SHARED, SHARED)
    assert reference.passed == {"Q1": [True, True], "Q2": [True, True, True], "Q3": [True]}
    return judged(
        tmp_path, SHARED, notebook("import random", *answers), contract=reference.contract
    )


def test_what_one_check_has_changed_is_as_before_in_the_next(tmp_path: Path) -> None:
    """An answer chooses the new contents of its arguments, so not the next check's inputs."""
    changing = "def put_in_order(v): v[:] = [7, 8, 9]", "def fill(v): v.clear(); v['b'] = 2"
    run = of_shared(tmp_path, *changing, HONEST[2])
    assert run.passed["Q1"] == [True, True]
    assert run.passed["Q2"] == [True, True, True]


def test_an_answer_cannot_foresee_the_random_numbers_of_the_judge(tmp_path: Path) -> None:
    """It gets the state of seeded random numbers, and may do with it what the judge does."""
    foreseeing = "def draw(v):\n    random.seed(random.getrandbits(64))\n    return random.random()"
    assert of_shared(tmp_path, *HONEST[:2], foreseeing).passed["Q3"] == [True]
