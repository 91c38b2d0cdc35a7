"""An author's checks, tried with junk in place of answers: weak ones are found, others are not."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from mograder.notebook.grading.grading_plan import answers_of_labels
from mograder.notebook.grading.grading_split import plan_source
from tests.unit.sandbox.inside.codec import answer_rehearsal
from tests.unit.sandbox.inside.judging import Judged, judged, notebook
from tests.unit.sandbox.inside.test_check_idioms import IDIOMS, idioms_source

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]
EXAMPLES = Path(__file__).parents[4] / "examples" / "course" / "source"
TRIALS = {"least": 120.0, "trial": 5.0}

IMPORTS = "import random\nimport numpy as np\nfrom mograder.runtime import check"
ANSWERS = """
### BEGIN SOLUTION
err = 0.0
grid = np.full(5, 2.0)
near = np.linspace(0, 1, 5)
counts = np.array([1, 2, 3])
words = ["a", "b"]
def double(v):
    return 2 * v
def order(values):
    return sorted(values)
def same(value):
    return value
def constant():
    return 1
def is_even(n):
    return n % 2 == 0
class Rect:
    def __init__(self, width):
        self.width = width
    def area(self):
        return self.width
    def __eq__(self, other):
        return self.width == other.width
### END SOLUTION
"""
WEAK = {
    "NaN": ("err", "not err > 1e-9", "nan"),
    "a number": ("grid", "np.allclose(grid, np.full(5, 2.0))", "single"),
    "a column": ("grid", "np.allclose(grid, 2.0)", "column"),
    "nothing": ("words", "all(a == b for a, b in zip(words, ['a', 'b']))", "empty"),
    "too long": ("words", "all(a == b for a, b in zip(words, ['a', 'b']))", "longer"),
    "last": ("words", "words[0] == 'a'", "changed"),
    "defined": ("near", "near is not None", "ellipsis"),
    "huge": ("near", "near[0] >= 0", "huge"),
    "squares": ("counts", "np.mean((counts - np.array([1, 2, 3])) ** 2) < 0.5", "wraps"),
    "minus": ("err", "abs(err) < 1e-9 or err == 0", "nothing is told"),
    "a function": ("double", "callable(double)", "raises"),
    "one case": ("double", "double(0) == 0", "identity"),
    "always": ("is_even", "is_even(2) is True and is_even(4) is True", "true"),
    "bounds": ("double", "abs(double(3)) <= 100", "changed"),
    "emptied": ("order", "len(order([])) == 0", "empties"),
    "sorted": ("order", "all(a <= b for a, b in zip(order([2, 1]), order([2, 1])[1:]))", "empty"),
    "equal": ("Rect", "Rect(1) == Rect(1)", "equal"),
    "made": ("Rect", "Rect(1) is not None", "nothing is told"),
    "a method": ("Rect", "Rect(2).area() >= 0", "zeros"),
}
"""A weak check of each kind: the answer, the condition, and a kind of junk that passes."""
GOOD = {
    "within": "err <= 1e-9 and err >= 0",
    "all close": "grid.shape == (5,) and np.allclose(grid, 2.0)",
    "distinct": "near.shape == (5,) and np.allclose(near, [0, 0.25, 0.5, 0.75, 1])",
    "listed": "words == ['a', 'b']",
    "doubled": "double(3) == 6 and double([1]) == [1, 1]",
    "ordered": "order([3, 1, 2]) == [1, 2, 3]",
    "itself": "same(3) == 3 and same('a') == 'a' and same([1, 2]) == [1, 2]",
    "constant": "constant() == 1",
    "both": "is_even(2) is True and is_even(3) is False",
    "compared": "Rect(1) == Rect(1) and Rect(1) != Rect(2) and Rect(3).area() == 3",
}
"""Checks without such a weakness; the function `same` is what one kind of junk is."""


def rehearsed(directory: Path, source: str, **trials: float) -> Judged:
    return judged(directory, source, source, rehearsal=TRIALS | trials)


def lines(run: Judged, kind: str) -> list[dict[str, Any]]:
    return [each for each in run.lines if each["kind"] == f"rehearsal {kind}"]


def passed(run: Judged) -> dict[str, set[str]]:
    """The kinds of junk that pass each label."""
    found: dict[str, set[str]] = {}
    for each in lines(run, "junk"):
        for label in each["labels"]:
            found.setdefault(label, set()).add(each["junk"])
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    conditions = {name: condition for name, (_, condition, _) in WEAK.items()} | GOOD
    checks = [f"check({name!r}, [({text}, 'message')])" for name, text in conditions.items()]
    return rehearsed(tmp_path_factory.mktemp("run"), notebook(IMPORTS, ANSWERS, *checks))


def test_all_kinds_were_tried(run: Judged) -> None:
    (tried,) = lines(run, "end")
    assert tried["done"] == tried["trials"] > 200
    assert lines(run, "again") == []


@pytest.mark.parametrize(("label", "weak"), WEAK.items())
def test_a_weak_check_is_found(run: Judged, label: str, weak: tuple[str, str, str]) -> None:
    name, _, kind = weak
    found = {each["junk"]: each for each in lines(run, "junk") if label in each["labels"]}
    if kind == "nothing is told":
        assert label not in passed(run)
        return
    assert kind in found, found.keys()
    assert found[kind]["name"] == name


@pytest.mark.parametrize("label", [each for each in GOOD if each != "itself"])
def test_a_good_check_is_not_accused(run: Judged, label: str) -> None:
    assert passed(run).get(label, set()) == set()


def test_a_function_that_returns_its_argument_is_accused_of_nothing_else(run: Judged) -> None:
    assert passed(run)["itself"] <= {"identity"}


def test_the_interface_is_told_in_words(run: Judged) -> None:
    (told,) = lines(run, "answers")
    assert dict(told["answers"]) == {
        "Rect": "class",
        "constant": "() → number",
        "counts": "array int64 (3,)",
        "double": "(v) → number",
        "err": "float",
        "grid": "array float64 (5,)",
        "is_even": "(n) → true or false",
        "near": "array float64 (5,)",
        "order": "(values) → list",
        "same": "(value) → number",
        "words": "list",
    }


def test_a_check_whose_conditions_are_made_of_cases_is_tried_with_junk(tmp_path: Path) -> None:
    cases = "[(double(v) >= w, 'm') for v, w in [(1, 2), (3, 6)]]"
    run = rehearsed(tmp_path, notebook(IMPORTS, ANSWERS, f"check('Q1', {cases})"))
    assert "huge" in passed(run)["Q1"]


@pytest.mark.parametrize(
    ("given", "apart"),
    [
        ("[(f([1, 2]), 'm'), (x, 'n')]", "[(lambda: f([1, 2]), 'm'), (x, 'n')]"),
        ("[] if x is ... else [(f(x), 'm')]", "[] if x is ... else [(lambda: f(x), 'm')]"),
        ("[(f(v), 'm') for v, w in [(1, 2)]]", "[(f(v), 'm') for v, w in [(1, 2)]]"),
    ],
)
def test_the_conditions_that_a_list_holds_are_evaluated_one_by_one(given: str, apart: str) -> None:
    part = {"code": f"check('Q1', {given})", "check": {"labels": [{"label": "Q1"}]}}
    assert answer_rehearsal.one_by_one(part)["code"] == f"check('Q1', {apart})"


def test_a_check_that_random_numbers_decide_is_found_and_a_seeded_one_is_not(
    tmp_path: Path,
) -> None:
    first, second = (random.Random(f"{seed}:2").random() for seed in ("seed", "seed:again"))
    middle, sign = (first + second) / 2, "<" if first < second else ">"
    source = notebook(
        IMPORTS,
        ANSWERS,
        f"check('Q1', [(double(random.random()) {sign} {2 * middle}, 'by chance')])",
        "_n = random.random()\ncheck('Q2', [(double(_n) == 2 * _n, 'always')])",
        "random.seed(1)\n_m = random.random()\n"
        f"check('Q3', [(double(_m) == {2 * random.Random(1).random()!r}, 'seeded')])",
    )
    found = rehearsed(tmp_path, source, least=0.0)
    assert all(all(each) for each in found.passed.values())
    (told,) = lines(found, "again")
    assert (told["label"], told["message"], told["cell"]) == ("Q1", "by chance", 2)


def test_a_check_that_runs_out_of_time_is_not_one_that_random_numbers_decide(
    tmp_path: Path,
) -> None:
    """It may take 6 s, and takes longer where random numbers are other ones."""
    seeded = random.Random("seed:2").random()
    source = notebook(
        "import random, time\nfrom mograder.runtime import check",
        "### BEGIN SOLUTION\nn = 1\n### END SOLUTION",
        f"time.sleep(0 if random.random() == {seeded!r} else 20)\ncheck('Q1', [(n == 1, 'one')])",
    )
    seconds = {"notebook": 60.0, "call": 6.0, "check": 6.0, "submission": 30.0}
    found = judged(tmp_path, source, source, seconds=seconds, rehearsal=TRIALS)
    assert found.passed == {"Q1": [True]}
    assert lines(found, "again") == []


def test_each_pass_of_a_rehearsal_has_the_time_for_all_checks(tmp_path: Path) -> None:
    """Each of its three passes takes 4 s of 7 s, which do not suffice for two of them."""
    source = notebook(
        "import time\nfrom mograder.runtime import check",
        "### BEGIN SOLUTION\nn = 1\n### END SOLUTION",
        *(f"time.sleep(1)\ncheck('Q{k}', [(n == 1, 'one')])" for k in range(4)),
    )
    seconds = {"notebook": 60.0, "call": 3.0, "check": 6.0, "submission": 7.0}
    trials = {"least": 0.0, "trial": 1.0}
    found = judged(tmp_path, source, source, seconds=seconds, rehearsal=trials)
    assert found.contract["copies"] == []
    assert lines(found, "again") == []
    assert lines(found, "answers")[0]["answers"] == [["n", "int"]]


def test_trials_end_with_their_time_and_one_that_hangs_costs_its_own(tmp_path: Path) -> None:
    source = notebook(
        IMPORTS,
        "### BEGIN SOLUTION\nn = 1\nm = 2\n### END SOLUTION",
        "while n != 1: pass\ncheck('Q1', [(n == 1, 'n')])",
        "check('Q2', [(m is not None, 'm')])",
    )
    found = rehearsed(tmp_path, source, trial=0.2)
    (tried,) = lines(found, "end")
    assert tried["done"] == tried["trials"]
    assert passed(found).keys() == {"Q2"}
    short = rehearsed(tmp_path, source, least=0.0, trial=60.0)
    (tried,) = lines(short, "end")
    assert tried["done"] < tried["trials"]


def test_junk_that_ends_the_process_of_a_check_costs_that_trial_only(tmp_path: Path) -> None:
    source = notebook(
        "import ctypes\nfrom mograder.runtime import check",
        "### BEGIN SOLUTION\nn = 1\nm = 2\n### END SOLUTION",
        "ctypes.string_at(0) if repr(n) == '0' else None\ncheck('Q1', [(n == 1, 'one')])",
        "check('Q2', [(m is not None, 'm')])",
    )
    found = rehearsed(tmp_path, source)
    (ended,) = lines(found, "crash")
    assert (ended["cell"], ended["name"], ended["words"]) == (2, "n", "is zero")
    (tried,) = lines(found, "end")
    assert (tried["done"], tried["missed"]) == (tried["trials"], [])
    assert passed(found).keys() == {"Q2"}


@pytest.mark.parametrize("name", ["A1-Measuring-Pi", "A2-Cooling-Coffee"])
def test_the_example_courses_checks_are_not_accused(name: str, tmp_path: Path) -> None:
    source = (EXAMPLES / name / f"{name}.py").read_text()
    source = source.replace("import matplotlib.pyplot as plt", "plt = None")
    for program in ("answer_worker", "answer_judge"):
        shutil.copytree(EXAMPLES / name, tmp_path / program)
    shutil.copytree(EXAMPLES / name, tmp_path, dirs_exist_ok=True)
    found = rehearsed(tmp_path, source)
    labels = answers_of_labels(plan_source(source, name).plan)
    assert len(labels) == len(found.passed)
    assert all(all(each) for each in found.passed.values())
    single = {label for (_, label), each in labels.items() if len(each.names) == 1}
    assert {label: kinds for label, kinds in passed(found).items() if label in single} == {}


def test_ordinary_conditions_are_accused_of_true_weaknesses_only(tmp_path: Path) -> None:
    source = idioms_source()
    found = passed(rehearsed(tmp_path, source))
    assert {int(label[1:]) for label in found} == WEAK_IDIOMS.keys()
    for number, begin in WEAK_IDIOMS.items():
        assert IDIOMS[number].startswith(begin)


WEAK_IDIOMS = {
    0: "isinstance(x, np.ndarray) and x.shape",
    5: "s == {2, 1} and z.imag == 2",
    7: "df.shape == (3, 3)",
    12: "raises(ValueError, area, -1)",
    17: "apply(area, [1, 2]) == [area(1), area(2)]",
    20: "same(L) is L",
    22: "seeded(roll) == seeded(roll)",
    26: "callable(area)",
    27: "isinstance(area, types.FunctionType)",
    41: "elapsed(fib, 10) < 1",
    42: "inspect.getsource(fib)",
}
"""Idioms that look at a part of their answer only, or at its text, or compare it with itself."""
