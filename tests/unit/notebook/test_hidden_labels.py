"""Which labels of a source are hidden from students, and which questions run unprotected."""

from __future__ import annotations

import pytest

from mograder.notebook.grading.grading_split import plan_source
from tests.unit.notebook.grading_sources import (
    IMPORTS,
    MARKS,
    NAME,
    hidden,
    labels,
    named,
    planned,
    solved,
    source,
    told,
)

CHECK = 'check("Q1", [(x == 1, "one")])'


def hidden_labels(*cells: str) -> dict[str | None, bool]:
    """Whether each label of a plan's checks is hidden."""
    made = planned(IMPORTS, solved("x = 1"), *cells)
    assert made.errors == ()
    parts = (part.check.labels for part in made.plan.checks if part.check)
    return {each.label: each.hidden for of in parts for each in of}


def test_a_label_is_hidden_if_its_call_lies_in_hidden_tests_or_holds_some() -> None:
    within = hidden('check("Q2", [(x == 1, "two")])')
    inner = "    " + hidden('(x > 0, "a"),').replace("\n", "\n    ")
    around = f'\ncheck(\n    "Q3", [\n{inner}\n    ]\n)'
    assert hidden_labels(CHECK + "\n" + within + around) == {"Q1": False, "Q2": True, "Q3": True}


@pytest.mark.parametrize(
    "secret",
    [
        "more = [(x > 0, 'a')]",
        "more.append((x > 0, 'a'))",
        "[more.append((x > n, 'a')) for n in (7, 8)]",
        "kept['a'] += [(x > 0, 'a')]",
        "kept['a'].append((x > 0, 'a'))",
        "heapq.heappush(more, (x > 0, 'a'))",
        "add(7)",
        "asked = f(7)",
    ],
)
def test_labels_behind_hidden_tests_are_hidden(secret: str) -> None:
    """Hidden tests change what later checks ask in more ways than can be read from their text."""
    given = "more = []\nkept = {'a': more}\ndef add(n):\n    more.append((x > n, 'a'))\n"
    ask = "conditions = []\nfor one in more:\n    conditions.append(one)\n"
    cell = f'{given}{CHECK}\n{hidden(secret)}\n{ask}check("Q2", conditions)'
    assert hidden_labels(cell) == {"Q1": False, "Q2": True}


@pytest.mark.parametrize(
    ("cell", "is_hidden"),
    [
        (f"for n in (1, 2):\n    {CHECK}\n{hidden('f(7)')}", False),
        (f"for n in (1, 2):\n    {CHECK}\n    if n:\n{hidden('        f(7)')}", True),
        (f"if x:\n    {CHECK}\n{hidden('    f(7)')}", False),
        (f"def ask():\n    {CHECK}\n{hidden('f(7)')}\nask()", True),
        (f"{CHECK}\n{hidden('more = [(x > 0, 1)]')}\nmore", False),
    ],
)
def test_a_label_above_is_hidden_if_it_can_run_again(cell: str, is_hidden: bool) -> None:
    assert hidden_labels(cell)["Q1"] == is_hidden


def test_a_label_that_waits_first_is_hidden_by_a_later_call() -> None:
    again = hidden(CHECK)
    assert hidden_labels(f'check("Q1", [])\n{again}') == {"Q1": True}


CASES = "cases = [1]\n" + hidden("cases.append(7)")


@pytest.mark.parametrize(
    ("cells", "is_hidden"),
    [
        ((CASES, 'check("Q2", [(x in cases, "one")])'), True),
        ((CASES, "more = cases", 'check("Q2", [(x in more, "one")])'), True),
        ((CASES, f'check("Q2", [(x in cases, "one")])\n{hidden("f(7)")}'), True),
        ((CASES, solved("f = len"), 'check("Q2", [(f([x]) == 1, "one")])'), False),
        (("cases = [1]", hidden("cases.append(7)"), 'check("Q2", [(x in cases, "one")])'), False),
        ((solved("f = 1") + "\n" + hidden("f"), 'check("Q2", [(f == 1, "one")])'), False),
    ],
)
def test_a_check_that_needs_a_cell_with_hidden_tests_is_hidden(
    cells: tuple[str, ...], is_hidden: bool
) -> None:
    """The hidden tests run before it, in one log with it, and change what it asks."""
    made = planned(IMPORTS, solved("x = 1"), *cells)
    (facts,) = [part.check for part in made.plan.checks if part.check and part.check.labels]
    assert [each.hidden for each in facts.labels] == [is_hidden]
    assert facts.hidden == is_hidden


def test_labels_known_only_when_they_run_are_hidden_with_their_cell() -> None:
    loop = 'for n in (1, 2):\n    check(f"Q{n}: a", [(x == n, "m")])'
    assert hidden_labels(loop) == {None: False}
    assert hidden_labels(loop + "\n" + hidden("x > 0")) == {None: True}


def test_cells_of_asserts_are_hidden_as_a_whole() -> None:
    test = named("test_q1", hidden("assert x == 1"))
    made = planned(IMPORTS, MARKS, solved("x = 1"), test)
    assert [each.hidden for part in made.plan.checks if part.check for each in part.check.labels]


def test_questions_may_be_unprotected_by_key() -> None:
    cells = (IMPORTS, solved("x = 1"), CHECK, 'check("Q2: b", [])\ncheck("Q3: c", [])')
    made = plan_source(source(*cells), NAME, unprotected=["Q3"])
    assert labels(made.plan.checks) == [["Q1"]]
    assert labels(made.plan.beside) == [["Q2: b", "Q3: c"]]
    joined = solved("x = 1") + "\nscore = 3\n" + CHECK
    made = plan_source(source(IMPORTS, joined, "mo.md(f'{score}')"), NAME, unprotected=["Q1"])
    assert made.errors == ()
    assert labels(made.plan.beside) == [["Q1"]]


BESIDE = "# mograder: unprotected\n"
SECRET = hidden("x > 7")


@pytest.mark.parametrize(
    ("cells", "lost"),
    [
        ((f"{BESIDE}{CHECK}\n{SECRET}",), False),
        ((named("test_q1", f"{BESIDE}assert x\n{SECRET}"),), False),
        ((BESIDE + CASES + '\ncheck("Q2", [])', f"{BESIDE}check('Q1', [(x in cases, '')])"), False),
        ((CASES, BESIDE + CHECK, 'check("Q2", [(x in cases, "")])'), False),
        ((f"{BESIDE}{solved('y = 1')}\n{CHECK}\n{SECRET}",), True),
        ((f"{BESIDE}{CHECK}\n{SECRET}\n{solved('y = 1')}",), True),
        ((f"{BESIDE}check(f'Q{{x}}', [])\n{SECRET}",), True),
        ((f"{BESIDE}check('Q1', [(x, '# YOUR CODE HERE')])\n{SECRET}",), True),
        ((CASES, f"{BESIDE}check('Q1', [(x in cases, '')])"), True),
        ((BESIDE + CASES, f"{BESIDE}check('Q1', [(x in cases, '')])"), True),
        ((CASES + '\ncheck("Q2", [])', f"{BESIDE}check('Q1', [(x in cases, '')])"), True),
        ((BESIDE + CASES, f"{BESIDE}check('Q1', [(x in cases, '')])\n{solved('y = 1')}"), True),
    ],
)
def test_hidden_tests_that_an_unprotected_check_would_lack_are_an_error(
    cells: tuple[str, ...], lost: bool
) -> None:
    """It runs in the student's notebook, where only released cells with labels are restored."""
    made = planned(IMPORTS, solved("x = 1"), *cells)
    assert ("runs without these hidden tests" in told(made.errors)) == lost
    assert bool(made.errors) == lost
