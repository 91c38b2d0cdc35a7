"""Checks that would run a text of the answer as code are stopped, and libraries go on working."""

from __future__ import annotations

import pytest

from tests.unit.sandbox.inside.judging import Judge, notebook

pytestmark = [pytest.mark.full, pytest.mark.timeout(120)]

GIVEN = """
import collections, dataclasses, dis, importlib, inspect, json, os, pickle, subprocess, timeit
import jinja2
import numexpr
import numpy as np
import pandas as pd
import scipy.stats
import sympy
from mograder.runtime import check
_marks = {"Q1": 1}
def same(text, value):
    return eval(text) == value
def pickled():
    import io
    file = io.BytesIO()
    np.save(file, np.array([{1: collections.OrderedDict()}], dtype=object), allow_pickle=True)
    file.seek(0)
    return file
def names_in(function):
    return function.__code__.co_names
"""
ANSWER = "### BEGIN SOLUTION\ntext = '1'\nname = 'tabnanny'\nnumbers = [1, 2]\n### END SOLUTION"
REFUSED = {
    "eval": "eval(text) == 1",
    "exec": "exec(text) is None",
    "a given helper": "same(text, 1)",
    "eval in a map": "list(map(eval, [text])) == [1]",
    "a shell": "subprocess.run('true ' + text, shell=True) is not None",
    "os.system": "os.system('true ' + text) == 0",
    "a module by name": "importlib.import_module(name) is not None",
    "a module by name, builtin": "__import__(name) is not None",
    "timeit": "timeit.timeit(text, number=1) >= 0",
    "os.popen": "os.popen('true ' + text).read() == ''",
    "an expression of sympy": "sympy.simplify(f'({text}) - 1') == 0",
    "an expression of numexpr": "numexpr.evaluate(text) == 1",
    "a template": "jinja2.Template(text).render() == '1'",
    "an array of objects": "np.load(pickled(), allow_pickle=True).shape == (1,) or text",
    "unpickled": "pickle.loads(b'cos\\nsystem\\n.') is not None or text",
}
ALLOWED = {
    "a namedtuple": "collections.namedtuple('P', 'x y')(*numbers).y == 2",
    "a dataclass": "dataclasses.make_dataclass('P', ['x'])(numbers[0]).x == 1",
    "a module of its own": "__import__('decimal').Decimal(numbers[0]) == 1",
    "a late module of a library": "pd.DataFrame({'a': numbers}).describe().shape == (8, 1)",
    "a query of pandas": "len(pd.DataFrame({'a': numbers}).query('a > 1', engine='python')) == 1",
    "linear algebra": "np.linalg.matrix_rank(np.diag(numbers)) == 2",
    "a distribution of scipy": "scipy.stats.norm(numbers[0], 1).cdf(1) == 0.5",
    "sympy": "sympy.diff(numbers[1] * sympy.Symbol('x'), sympy.Symbol('x')) == 2",
    "polynomials of sympy": "sympy.factor(sympy.Symbol('x') ** 2 - numbers[0]).is_Mul",
    "json": "json.loads(text) == 1",
    "literals": "__import__('ast').literal_eval(text) == 1",
}


def source_of(condition: str) -> str:
    check = f"check('Q1', [(lambda: {condition}, 'no'), (True, 'yes')])"
    return notebook(GIVEN, ANSWER, check)


@pytest.mark.parametrize("name", REFUSED)
def test_a_check_that_runs_a_text_has_no_result(judge: Judge, name: str) -> None:
    """Neither when the contract is recorded, so that `generate` tells it, nor in grading."""
    source = source_of(REFUSED[name])
    found = judge(source, source)
    assert [check["state"] for check in found.checks] == ["needs attention"], found.text
    assert "which an answer could determine" in found.checks[0]["reason"]


@pytest.mark.parametrize("name", ALLOWED)
def test_a_check_may_use_what_libraries_make_for_themselves(judge: Judge, name: str) -> None:
    source = source_of(ALLOWED[name])
    found = judge(source, source)
    assert [check["state"] for check in found.checks] == ["judged"], found.text
    assert found.passed["Q1"] == [True, True]
    again = judge(source, source, contract=found.contract)
    assert again.passed["Q1"] == [True, True], again.text


FUNCTION = """
### BEGIN SOLUTION
def mean(values):
    total = 0
    for each in values:
        total += each
    return total / len(values)
### END SOLUTION
"""
OF_CODE = {
    "names": "'sum' not in mean.__code__.co_names",
    "by a helper": "'sum' not in names_in(mean)",
    "constants": "len(mean.__code__.co_consts) < 9",
    "by inspect": "not inspect.isgeneratorfunction(mean)",
    "by dis": "len(list(dis.get_instructions(mean))) > 3",
    "defaults": "mean.__defaults__ is None",
    "named defaults": "not mean.__kwdefaults__",
}


@pytest.mark.parametrize("name", OF_CODE)
def test_a_check_of_the_answers_code_fails_for_the_author_already(judge: Judge, name: str) -> None:
    """Else it would judge the code of the judge's own function, which is the same for all."""
    check = f"check('Q1', [(lambda: mean([1, 3]) == 2, 'mean'), (lambda: {OF_CODE[name]}, 'code')])"
    source = notebook(GIVEN, FUNCTION, check)
    found = judge(source, source)
    assert found.passed["Q1"] == [True, False], found.text
    reasons = [each["reason"] for each in found.checks[0]["labels"][0]["conditions"]]
    assert "The judge has not the answer's own __" in reasons[1]


def test_a_check_may_ask_for_names_signatures_and_its_own_code(judge: Judge) -> None:
    asked = (
        "mean.__name__ == 'mean' and str(inspect.signature(mean)) == '(values)'",
        "same.__code__.co_argcount == 2 and callable(mean) and inspect.isfunction(mean)",
        "list(map(np.vectorize(lambda v: mean([v])), [1])) == [1]",
        "pd.Series([[1, 3]]).apply(mean).tolist() == [2]",
    )
    conditions = "".join(f"(lambda: {each}, 'asked'), " for each in asked)
    source = notebook(GIVEN, FUNCTION, f"check('Q1', [{conditions}])")
    found = judge(source, source)
    assert found.passed["Q1"] == [True] * len(asked), found.text
