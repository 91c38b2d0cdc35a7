"""Conditions that junk passes, or that cannot be judged apart, are told with their line."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from mograder.notebook.grading.grading_advice import review_conditions
from tests.unit.notebook.grading_sources import (
    IMPORTS,
    MARKS,
    NAME,
    answers,
    named,
    planned,
    solved,
    told,
)

ANSWERS = solved("x = 1", "y = [1]", "err = 0", "text = 'a'", "model = f = df = 1", "class C: pass")
"""The names of answers in the checks of these tests."""


def reviewed(check: str, *more: str) -> tuple[list[str], list[str]]:
    """The errors and the advice for a check, without file and line."""
    found = planned(IMPORTS, MARKS, ANSWERS, "import yaml", *more, check)
    assert found.errors == ()
    errors, advice = review_conditions(found.plan, NAME)
    return [each.message for each in errors], [each.message for each in advice]


def condition(text: str) -> str:
    """A check of one condition, on an answer."""
    return f'check("Q1", [(x == 1, "one"), ({text}, "message")])'


@pytest.mark.parametrize(
    "text",
    [
        "np.allclose(x, 1.0)",
        "np.allclose(x, expected) and x.shape == (3,)",
        "len(y) == 3 and all(a == b for a, b in zip(y, [1, 2, 3]))",
        "all(a == b for a, b in zip(y, [1], strict=True))",
        "all(f(n) == n for n in [1, 2])",
        "isinstance(x, np.ndarray)",
        "x is not None and y is not y and f(y) is not y and expected is not math",
        "err <= 1e-9",
        "not math.isnan(err)",
        "1 if not err > 1 else 0",
        "not expected > 3",
        "yaml.safe_load(text) == 1",
        "df.query('a > 1').shape == (1, 2)",
        "open('given.csv')",
        "model.predict(expected) == 1",
        "expected.equals(df)",
        "eval('1 + 1') == 2",
        "pd.read_csv(io.StringIO(text)).shape == (1, 2)",
        "np.loadtxt(text.splitlines()).sum() == 1",
        "np.load('given.npy').sum() == x",
        "con.execute('SELECT a FROM t WHERE b = ?', [x]).fetchall() == expected",
        "pl.SQLContext(t=expected).execute(text) == 1",
    ],
)
def test_sound_conditions_are_not_told(text: str) -> None:
    assert reviewed(condition(text), "expected = [1]", "import math") == ([], [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "sympify(text) == 2",
            "'sympify(text)' runs the answer's text as code",
            id="15 a text that sympify runs",
        ),
        ("sympy.sympify(text) == 2", "'sympy.sympify(text)' runs the answer's text as code"),
        pytest.param("eval(text) == 2", "'eval(text)' runs", id="15 a text that eval runs"),
        ("eval(f'1 + {text}') == 2", "runs the answer's text as code"),
        pytest.param(
            "frame.query(text).shape", "'frame.query(text)' runs", id="15 a text that a query runs"
        ),
        pytest.param(
            "open(text).read() == 'a'",
            "'open(text)' runs the answer's text as code, or opens",
            id="15 a name of a file",
        ),
        ("Image.open(text).size", "'Image.open(text)' runs"),
        ("yaml.load(text) == 1", "'yaml.load(text)' runs"),
        pytest.param(
            "pd.read_pickle(text) == 1", "'pd.read_pickle(text)' runs", id="11 a file with a pickle"
        ),
        pytest.param("pickle.loads(text) == 1", "'pickle.loads(text)' runs", id="11 a pickle"),
        ("pd.read_csv(text).shape == (1, 2)", "opens a file that the answer names."),
        ("pd.read_csv(f'{text}.csv').shape == (1, 2)", "opens a file that the answer names."),
        ("Path(text).read_text() == 'a'", "opens a file that the answer names."),
        ("(folder / text).read_bytes() == b'a'", "opens a file that the answer names."),
        ("np.load(text, allow_pickle=True) == 1", "opens a file that the answer names."),
        ("np.loadtxt(text).sum() == 1", "opens a file that the answer names."),
        ("pl.scan_parquet(text).collect() == 1", "opens a file that the answer names."),
        pytest.param(
            "not err > 1e-9",
            "the condition 'not err > 1e-09' holds for NaN.",
            id="6 a negation holds for NaN",
        ),
        ("not np.any(err > 1e-9)", "holds for NaN."),
        ("not (err > 1e-9).any()", "holds for NaN."),
        ("~(err >= 1)", "holds for NaN."),
        ("(lambda: not abs(err - 1) > 2)", "holds for NaN."),
    ],
)
def test_conditions_that_must_be_changed(text: str, message: str) -> None:
    errors, _ = reviewed(condition(text), "frame = 1")
    assert len(errors) == 1
    assert message in errors[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "np.allclose(y, expected)",
            "'np.allclose(y, expected)' holds for a single number.",
            id="8 a single number for an array",
        ),
        ("np.allclose(expected, y)", "holds for a single number."),
        pytest.param(
            "all(a == b for a, b in zip(y, expected))",
            "holds for an empty list.",
            id="7 an empty list",
        ),
        ("all([a > 0 for a in y])", "'all([a > 0 for a in y])' holds for an empty list."),
        pytest.param(
            "isinstance(x, C)",
            "'isinstance(x, C)' rests on what the notebook says about itself",
            id="27 its own class",
        ),
        ("issubclass(C, (int, C))", "it is marked 'claimed'."),
        ("y == x and y is not x", "'y is not x' holds the same for a copy and for no copy: "),
        ("y[0] is not df.rows[0]", "holds the same for a copy and for no copy: "),
        ("y is not expected", "each answer is carried by itself."),
        ("id(y) != id(x)", "each answer is carried by itself."),
        ("not np.shares_memory(x, df)", "each answer is carried by itself."),
        ("type(x) is C", "'type(x) is C' rests on"),
        pytest.param(
            "model.score(expected, [1]) > 0.9",
            "the truth is passed to the answer",
            id="25 a model that scores itself",
        ),
        ("con.execute(text).fetchall() == expected", "runs SQL of the answer, which can change"),
        ("con.executescript(text) is None", "'con.executescript(text)' runs SQL of the answer"),
        ("duckdb.sql(f'{text} LIMIT 5').fetchall() == expected", "runs SQL of the answer"),
        ("pl.sql(text).collect().equals(expected)", "'pl.sql(text)' runs SQL of the answer"),
        ("pd.read_sql(text, con).shape == (1, 2)", "'pd.read_sql(text, con)' runs SQL"),
        pytest.param(
            "df.equals(expected)",
            "the truth is passed to the answer",
            id="25 an answer that compares itself",
        ),
    ],
)
def test_conditions_that_should_be_changed(text: str, message: str) -> None:
    errors, advice = reviewed(condition(text), "expected = [1]")
    assert errors == []
    assert len(advice) == 1
    assert message in advice[0]


@pytest.mark.parametrize(
    "check",
    [
        'check("Q1", [(v == i, "") for i, v in enumerate(y)])',
        'check("Q1", [(x, ""), *[(v, "") for v in y]])',
        'check("Q1", [(x, "")] + [(v, "") for v in y])',
        '_all = [(v, "") for v in y]\ncheck("Q1", _all)',
        'check("Q1", checks=[(v, "") for v in y])',
        'check("Q1", [] if x is ... else [(v, "") for v in y])',
        'from mograder.runtime import check as ask\nask("Q1", list((v, "") for v in y))',
        'check(f"Q1: {x}", [(v, "") for v in y])',
    ],
)
def test_a_number_of_conditions_that_an_answer_decides_is_told(check: str) -> None:
    _, advice = reviewed(check)
    assert any("the number of conditions depends on the answer" in each for each in advice)


@pytest.mark.parametrize(
    "given",
    [
        "con = sqlite3.connect('file:bikes.db?mode=ro', uri=True)",
        "con = sqlite3.connect(':memory:')\ncon.execute('PRAGMA query_only = 1')",
        "con = duckdb.connect('bikes.db', read_only=True)",
    ],
)
def test_sql_of_an_answer_in_a_connection_that_only_reads_is_not_told(given: str) -> None:
    check = condition("con.execute(text).fetchall() == expected")
    assert reviewed(check, "expected = [1]", given) == ([], [])


def test_a_number_of_conditions_that_the_author_decides_is_not_told() -> None:
    check = 'check("Q1", [(f(n) == n, "") for n in [1, 2]])'
    assert reviewed(check) == ([], [])


def test_what_is_made_from_an_answer_counts_as_one() -> None:
    check = "_a, (_b, c) = 1, y\nfor _d in c:\n    _e = _d\n" + condition("not _e > 1")
    assert reviewed(check)[0] == ["the condition 'not _e > 1' holds for NaN."]
    check = condition("not score > 1")
    assert reviewed(check, "score = err + 1")[0] == ["the condition 'not score > 1' holds for NaN."]


def test_a_negated_condition_without_marks_is_advice() -> None:
    errors, advice = reviewed('check("Bonus", [(not err > 1, "")])')
    assert errors == []
    assert advice == ["the condition 'not err > 1' holds for NaN."]


@pytest.mark.parametrize(
    "code",
    [
        "if not err > 1:\n    print(1)",
        "while not err > 1:\n    break",
        "mo.stop(not err > 1, 1)",
        "_v = 1 if not err > 1 else 2",
    ],
)
def test_a_negation_that_only_decides_which_code_runs_is_not_told(code: str) -> None:
    assert reviewed(f"{code}\n{condition('err <= 1')}") == ([], [])


def test_a_negation_in_a_branch_is_told() -> None:
    check = f"if err:\n    {condition('not err > 1')}"
    assert len(reviewed(check)[0]) == 1


def test_an_import_in_an_answer_is_no_answer() -> None:
    made = planned(
        IMPORTS,
        MARKS,
        ANSWERS.replace("x = 1", "import fractions\nx = 1"),
        'check("Q1", [(isinstance(x, fractions.Fraction), "")])',
    )
    assert answers(made.plan) == ["fractions", "x"]
    assert review_conditions(made.plan, NAME)[1] == ()


def test_a_label_that_is_known_only_in_a_run_and_a_check_of_no_answer_are_told() -> None:
    _, advice = reviewed('check(f"Q{1}", [(1 == 1, "")])')
    assert advice == [
        "the label of this check is known only when it runs.",
        "this check uses no answer, so all students get the same marks for it.",
    ]


def test_a_check_beside_the_answer_may_ask_what_only_the_notebook_can_say() -> None:
    text = "# mograder: unprotected\n"
    for each in ("isinstance(x, C)", "eval(text)", "df.equals(y)"):
        assert reviewed(text + condition(each)) == ([], [])
    assert reviewed(text + condition("not err > 1"))[0] != []


def test_a_finding_has_its_line_and_a_remedy() -> None:
    made = planned(IMPORTS, MARKS, ANSWERS, "# more\n" + condition("not err > 1e-9"))
    (error,) = review_conditions(made.plan, NAME)[0]
    line = made.plan.cells[3].line + 1
    remedy = "Write 'err <= 1e-09'."
    assert str(error) == f"hw.py:{line}: the condition 'not err > 1e-09' holds for NaN. {remedy}"


def test_a_named_test_is_reviewed_as_well() -> None:
    made = planned(IMPORTS, MARKS, ANSWERS, named("test_Q1", "assert not err > 1"))
    assert "holds for NaN" in told(review_conditions(made.plan, NAME)[0])


_ANSWERS_OF_IDIOMS = """
x flag nothing words cnt s z frac when dec df ser npf Point p pal area gen adder apply
sort_in_place double_in_place same fresh greet roll means vec fib TooBig check_size Shape
Rect Vec Stack Item Colour best model write
"""
_HELPERS_OF_IDIOMS = """
raises mutates captured seeded elapsed written stack_story setattr_story offset_by_k
"""
NAMES, HELPERS = _ANSWERS_OF_IDIOMS.split(), _HELPERS_OF_IDIOMS.split()
CLAIMED = "it is marked 'claimed'"
IDIOMS = (Path(__file__).parents[3] / "data" / "check-idioms.txt").read_text().splitlines()
"""Ordinary conditions of checks, which can be judged apart."""


def expected_advice(idiom: str) -> str:
    """The advice on an ordinary condition."""
    return CLAIMED if idiom.startswith("isinstance(Rect") or "model, Item" in idiom else ""


@pytest.mark.parametrize("idiom", IDIOMS)
def test_ordinary_conditions_cross_by_their_names(idiom: str) -> None:
    made = planned(
        IMPORTS,
        "import collections, decimal, inspect, types\nimport pandas as pd\nL = [1, 2, 3]",
        *(f"def {name}(*a):\n    return a" for name in HELPERS),
        solved(*(f"{name} = 1" for name in NAMES)),
        f'check("Q1", [({idiom}, "")])',
    )
    assert made.errors == made.advice == ()
    read = {node.id for node in ast.walk(ast.parse(idiom)) if isinstance(node, ast.Name)}
    assert set(answers(made.plan)) == read & set(NAMES)
    errors, advice = review_conditions(made.plan, NAME)
    message = expected_advice(idiom)
    assert errors == ()
    assert bool(advice) == bool(message)
    assert message in told(advice)


def test_all_ordinary_conditions_are_there() -> None:
    assert len(IDIOMS) == 44
    assert [each for each in map(expected_advice, IDIOMS) if each] == [CLAIMED, CLAIMED]
