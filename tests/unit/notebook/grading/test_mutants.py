"""quality.mutants: small mistakes in the solution, only where a check could notice them."""

from __future__ import annotations

import pytest

from mograder.notebook.cells import parse_cells
from mograder.notebook.grading.grading_split import plan_source
from mograder.notebook.grading.mutants import Mutant, choose, mutants_of

HEAD = """\
import marimo

app = marimo.App()


@app.cell
def _():
    from mograder.runtime import check
    import numpy as np
    return check, np


"""


def source(solution: str, check: str = "[(answer == 1, 'one')]", *, given: str = "") -> str:
    """Return a source whose solution block in a cell is ``solution``."""
    lines = "".join(f"    {line}\n" for line in solution.splitlines())
    before = "".join(f"    {line}\n" for line in given.splitlines())
    return (
        f"{HEAD}@app.cell\ndef _(np):\n{before}    ### BEGIN SOLUTION\n{lines}"
        "    ### END SOLUTION\n    return (answer,)\n\n\n"
        f"@app.cell\ndef _(answer, check):\n    check('Q1', {check})\n    return\n"
    )


def mutants(text: str) -> tuple[Mutant, ...]:
    return mutants_of(parse_cells(text, "a.py"), plan_source(text, "a.py").plan, "a.py")


def changed(text: str) -> set[str]:
    """Return the changed lines of all mutants."""
    return {each.diff.rpartition("\n+ ")[2] for each in mutants(text)}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("answer = a + b", {"answer = a - b"}),
        ("answer = (a) * (b)", {"answer = a / b"}),
        ("answer = a ** b", {"answer = a * b"}),
        ("answer = a <= b", {"answer = a > b", "answer = a < b"}),
        ("answer = a in b", {"answer = a not in b"}),
        ("answer = a is not b", {"answer = a is b"}),
        ("answer = a and b", {"answer = a or b"}),
        ("answer = not (a)", {"answer = a"}),
        ("answer = a if b else c", {"answer = a if True else c", "answer = a if False else c"}),
        ("answer = [n for n in a if n]", {"answer = [n for n in a if True]"}),
        ("answer = 3", {"answer = 4"}),
        ("answer = 2.5", {"answer = 3.5"}),
        ("answer = True", {"answer = False"}),
        ('answer = a["year"]', {"answer = a['year?']"}),
        ("answer = np.mean(a)", {"answer = np.sum(a)"}),
        ("answer = abs(a)", {"answer = a"}),
        ("answer = 'ä' + a", {"answer = 'ä?' + a"}),
    ],
)
def test_each_change_is_made_in_its_place(line: str, expected: set[str]) -> None:
    assert changed(source(f"a = b = c = thing()\n{line}")) == expected


@pytest.mark.parametrize(
    "line",
    [
        "answer = np.random.default_rng(7)",
        "answer = thing(seed=7)",
        "answer = f'{a:3}'",
        "answer = solve(a, 1e-6)",
        "raise ValueError('a text for people')",
        "print('a text', 3)",
    ],
)
def test_texts_for_people_seeds_and_tolerances_stay(line: str) -> None:
    more = "" if line.startswith("answer") else "answer = a\n"
    found = changed(source(f"a = thing()\n{more}{line}"))
    assert not {each for each in found if each != "pass"}


def test_only_what_a_check_depends_on_is_changed() -> None:
    text = source("start = 5\nother = 7\nanswer = start\nanswer.append(9)\nother.append(8)")
    assert changed(text) == {"start = 6", "answer.append(10)", "pass"}


def test_given_lines_and_cells_without_a_check_stay() -> None:
    text = source("answer = given", given="given = 2 + 3")
    assert not mutants(text)
    assert not mutants(text.replace("answer == 1", "1 == 1").replace("answer, check", "check"))


def test_a_change_is_told_at_its_line_in_the_source() -> None:
    found = mutants(source("answer = thing(\n    1,\n    2,\n)\nanswer.sort(\n    key=3\n)"))
    assert {each.line for each in found} == {17, 18, 20, 21}
    (gone,) = [each for each in found if each.kind == "removed statement"]
    assert gone.diff == "- answer.sort(key=3)\n+ pass"


def test_functions_and_classes_are_changed_within_their_blocks() -> None:
    text = (
        f"{HEAD}@app.function\ndef answer(n=1):\n    ### BEGIN SOLUTION\n    if n > 3:\n"
        "        return 5\n    result = -n\n    ### END SOLUTION\n    return result + 1\n\n\n"
        "@app.cell\ndef _(check):\n    check('Q1', [(answer(1) == 1, 'one')])\n    return\n"
    )
    assert changed(text) == {
        *("if n <= 3:", "if n >= 3:", "if n > 4:", "if True:", "if False:"),
        *("return 6", "return None"),
    }


def test_a_choice_is_spread_over_the_lines_and_can_be_repeated() -> None:
    text = source("answer = [1, 2, 3, 4, 5, 6]\nanswer[0] = 7\nanswer[1] = 8")
    every = mutants(text)
    chosen = choose(every, 3, seed=1)
    assert chosen == choose(every, 3, seed=1)
    assert [each.line for each in chosen] == sorted({each.line for each in every})
    assert choose(every, 100, seed=1) == every
