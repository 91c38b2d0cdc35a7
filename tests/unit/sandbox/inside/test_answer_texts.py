"""Checks that read an answer's text: it is that of the submission, whatever the worker says."""

from __future__ import annotations

import pytest

from tests.unit.sandbox.inside.judging import Judge, Judged, notebook

pytestmark = [pytest.mark.full, pytest.mark.timeout(120)]
IMPORTS = "import ast, functools, inspect, math\nfrom mograder.runtime import check"
GIVEN = "def loops(f):\n    nodes = ast.walk(ast.parse(inspect.getsource(f)))\n"
GIVEN += "    return any(isinstance(each, ast.For | ast.While) for each in nodes)"
CHECK = """
check("Q1", [
    (lambda: fact(4) == 24 and "fact(" in inspect.getsource(fact).split(":", 1)[1], "calls itself"),
    (lambda: fact(4) == 24 and not loops(fact), "no loop"),
])
"""
RIGHT = "def fact(n):\n    return 1 if n < 2 else n * fact(n - 1)"
LOOP = "def fact(n):\n    r = 1\n    for k in range(n):\n        r *= k + 1\n    return r"


FORGED = f"""
{LOOP}
import linecache
linecache.cache["<answer fact>"] = (1, None, [{RIGHT!r}], "")
linecache.cache[fact.__code__.co_filename] = (1, None, ["fact(1)"], "")
"""


def source(check: str = CHECK) -> str:
    """The author's notebook."""
    return notebook(IMPORTS, GIVEN, f"### BEGIN SOLUTION\n{RIGHT}\n### END SOLUTION", check)


@pytest.fixture(scope="module")
def recorded(judge: Judge) -> Judged:
    run = judge(source(), source())
    assert run.passed == {"Q1": [True, True]}, run.text
    return run


@pytest.mark.parametrize(
    ("answer", "passed"),
    [
        (RIGHT, [True, True]),
        (f"import sys\n\n@functools.lru_cache\n{RIGHT}\nfact = fact.__wrapped__", [False, True]),
        ("fact = lambda n: 1 if n < 2 else n * fact(n - 1)", [True, True]),
        (LOOP, [False, False]),
        ("fact = math.factorial", [False, True]),
        (f"{RIGHT}\n{LOOP.replace('fact', 'other')}\nfact = other", [False, True]),
        (f"exec({LOOP!r})\nfact = fact", [False, True]),
        (FORGED, [False, False]),
    ],
    ids=["right", "wrapped", "lambda", "loop", "builtin", "another name", "exec", "linecache"],
)
def test_the_text_is_that_of_the_statement_that_defines_the_answer(
    judge: Judge, recorded: Judged, answer: str, passed: list[bool]
) -> None:
    run = judge(source(), notebook(IMPORTS, GIVEN, answer), contract=recorded.contract)
    assert run.passed == {"Q1": passed}, run.text


def test_a_check_that_runs_the_text_has_no_result(judge: Judge) -> None:
    text = source(CHECK.replace("not loops(fact)", "exec(inspect.getsource(fact)) is None"))
    run = judge(text, text)
    assert [each["state"] for each in run.checks] == ["needs attention"]
    assert "runs a text as code" in run.text
