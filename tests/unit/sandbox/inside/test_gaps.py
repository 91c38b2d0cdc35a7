"""Values that are equal to much that they are not: by missing elements, dtypes, units, orders."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.sandbox.inside.judging import Judge, Judged, notebook

pytestmark = [pytest.mark.full, pytest.mark.timeout(120)]

GIVEN = """
import numpy as np
import pandas as pd
import polars as pl
from scipy import sparse
from mograder.runtime import check
_marks = {"Q1": 1}
"""
SOURCE = notebook(
    GIVEN,
    """
### BEGIN SOLUTION
array = np.arange(5.0)
series = pd.Series([1, 2, 3])
number = 7
holes = np.ma.array([1, 2], mask=[False, True])
days = pd.Series(pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03"]))
duration = np.timedelta64(36, "s")
words = pd.Series(["a", "b", "c"])
floats = pl.Series([1.0, 2.0])
steps = np.array([1, 2, 3])
matrix = sparse.csr_array([[1.0, 0.0], [0.0, 2.0]])
large = 1e6
pair = [70000.0, 80000.0]
tiny = 1e-9
golden = 1.618033988749895
masses = np.array([70000.0, 90000.0])
prices = pd.DataFrame({"x": [70000.0, 90000.0]})
waits = pd.Series(pd.to_timedelta([1, 2], unit="s"))
grid = pl.DataFrame({"v": [1.0, 2.0]})
names = pd.Index(["a", "b", "c"])
def squares(v):
    return v * v
def put(out):
    out.append(np.array([1, 2, 3]))
def million():
    return 1e6
### END SOLUTION
""",
    "check('Q1', [(np.allclose(array, np.arange(5.0)), 'close')])",
    "check('Q2', [((array == np.arange(5.0)).all(), 'equal')])",
    "check('Q3', [((series == [1, 2, 3]).all(), 'equal')])",
    "check('Q4', [(not abs(number - 7) > 1e-9, 'near')])",
    "check('Q5', [(lambda: (squares(np.arange(3.0)) == np.array([0, 1, 4])).all(), 'equal')])",
    "check('Q6', [(number == 7, 'seven')])",
    "check('Q7', [(holes.sum() == 1, 'sum')])",
    "_d = pd.Series(pd.date_range('2026-01-01', periods=3))\n"
    "check('Q8', [((days - _d).abs().max() < pd.Timedelta('1s'), 'days')])",
    "check('Q9', [(duration == np.timedelta64(36, 's'), 'duration')])",
    "check('Q10', [(words.is_monotonic_increasing, 'sorted')])",
    "check('Q11', [((floats - pl.Series([1.0, 2.0])).abs().max() < 1e-6, 'floats')])",
    "check('Q12', [(bool((np.diff(steps) > 0).all()), 'rising')])",
    "check('Q13', [((abs(matrix - sparse.csr_array([[1.0, 0], [0, 2.0]])) > 1e-9).nnz == 0, 'm')])",
    "check('Q14', [(large == 1e6, 'a million')])",
    "check('Q15', [(pair == [70000.0, 80000.0], 'a list')])",
    "check('Q16', [(tiny == 1e-9, 'a small number')])",
    "check('Q17', [(abs(golden - 1.618033988749895) < 1e-6, 'near')])",
    "check('Q18', [(np.isclose(large, 1e6) and np.isclose(1e6, large), 'both orders')])",
    "check('Q19', [(lambda: million() == 1e6, 'a result')])",
    "check('Q20', [(masses.sum() == 160000 and masses.max() == 90000, 'sum and maximum')])",
    "check('Q21', [(prices.x.sum() == 160000 and prices.x.max() == 90000, 'a table')])",
    "_w = pd.Series(pd.to_timedelta([1, 2], unit='s'))\n"
    "check('Q22', [((waits - _w).abs().max() < pd.Timedelta('1ms'), 'waits')])",
    "check('Q23', [((grid['v'] - pl.Series([1.0, 2.0])).abs().max() < 1e-6, 'a table')])",
    "check('Q24', [(names.is_monotonic_increasing, 'sorted')])",
    "check('Q25', [(words.max() == 'c' and list(words.sort_values()) == ['a', 'b', 'c'], 'w')])",
    "def put_by_answer():\n    out = []\n    put(out)\n    return out[0]\n"
    "check('Q26', [(lambda: bool((np.diff(put_by_answer()) > 0).all()), 'rising')])",
)
COUNT = 26
NOTHING = """
array = series = number = holes = days = duration = words = floats = steps = matrix = large = None
pair = tiny = golden = masses = prices = waits = grid = names = None
def squares(v): pass
def put(out): pass
def million(): pass
"""
WRONG = {
    "masked but for one": "array = np.ma.array(np.zeros(5), mask=[0, 1, 1, 1, 1])\n"
    "def squares(v): return np.ma.array(np.zeros(3), mask=[0, 1, 1])",
    "masked": "number = np.ma.masked",
    "nullable": "array = pd.Series([pd.NA] * 5, dtype='Float64')\n"
    "series = pd.Series([pd.NA] * 3, dtype='Int64')\n"
    "def squares(v): return pd.Series([pd.NA] * 3, dtype='Float64')",
    "nulls of polars": "array = pl.Series([None] * 5, dtype=pl.Float64)\n"
    "series = pl.Series([None] * 3, dtype=pl.Int64)",
    "nothing of polars": "number = array = series = pl.Series([], dtype=pl.Float64)",
    "no moments": "days = pd.Series([pd.Timestamp('2026-01-01'), pd.NaT, pd.NaT])",
    "without a unit": "duration = np.timedelta64(36)",
    "an order of its own": "_c = pd.Categorical(list('cab'), list('cab'), ordered=True)\n"
    "words = pd.Series(_c)",
    "NaN in polars": "floats = pl.Series([1.0, float('nan')])",
    "NaN in pandas": "series = pd.Series([float('nan')] * 3)\nwords = pd.Series([None] * 3)",
    "unsigned": "steps = np.array([3, 2, 1], dtype=np.uint8)\n"
    "def put(out): out.append(np.array([3, 2, 1], dtype=np.uint8))",
    "unsigned in polars": "steps = pl.Series([3, 2, 1], dtype=pl.UInt8)",
    "unsigned beyond 64 bits with a sign": (
        "steps = np.array([2**63 + 2, 2**63 + 1, 2**63], dtype=np.uint64)\n"
        "def put(out): out.append(np.array([2**63 + 2, 2**63 + 1, 2**63], dtype=np.uint64))"
    ),
    "narrow": "steps = np.array([100, -100, 0], dtype=np.int8)\n"
    "def put(out): out.append(np.array([100, -100, 0], dtype=np.int8))",
    "narrow in polars": "steps = pl.Series([100, -100, 0], dtype=pl.Int8)",
    "narrow in pandas": "steps = pd.Series([100, -100, 0], dtype='int8')",
    "NaN in a matrix": "matrix = sparse.csr_array([[np.nan, np.nan], [np.nan, np.nan]])",
    "half precision": "large = np.float16('inf')\nnumber = np.float16(7)\n"
    "array = np.arange(5, dtype=np.float16)",
    "half precision in containers": "pair = [np.float16('inf')] * 2\ntiny = np.float16(0)\n"
    "golden = np.float16(1.618)\nmasses = np.full(2, np.inf, np.float16)\n"
    "prices = pd.DataFrame({'x': np.full(2, np.inf, np.float16)})\n"
    "def million(): return np.float16('inf')",
    "no durations": "waits = pd.Series([pd.Timedelta('1s'), pd.NaT])",
    "NaN in a table of polars": "grid = pl.DataFrame({'v': [1.0, float('nan')]})",
    "nulls in a table of polars": "grid = pl.DataFrame({'v': [1.0, None]})",
    "an order of an index": "names = pd.CategoricalIndex(list('cab'), list('cab'), ordered=True)",
    "an order of the greatest": "_c = pd.Categorical(list('bac'), list('abc'), ordered=True)\n"
    "words = pd.Series(_c)",
    "no memory": "def squares(v): raise MemoryError('a fault of the judge?')",
}


@pytest.fixture(scope="module")
def contract(judge: Judge) -> dict[str, Any]:
    return judge(SOURCE, SOURCE).contract


def passed(run: Judged) -> list[str]:
    assert "needs attention" not in {check["state"] for check in run.checks}
    return [label for label, conditions in run.passed.items() if all(conditions)]


def test_the_authors_own_values_count(judge: Judge, contract: dict[str, Any]) -> None:
    run = judge(SOURCE, SOURCE, contract=contract)
    assert passed(run) == [f"Q{number}" for number in range(1, COUNT + 1)]


@pytest.mark.parametrize("name", WRONG)
def test_missing_elements_are_equal_to_nothing(
    judge: Judge, contract: dict[str, Any], name: str
) -> None:
    run = judge(SOURCE, notebook(GIVEN, NOTHING + WRONG[name]), contract=contract)
    assert passed(run) == []


def test_the_reason_is_told(judge: Judge, contract: dict[str, Any]) -> None:
    text = notebook(GIVEN, NOTHING + WRONG["masked but for one"])
    run = judge(SOURCE, text, contract=contract)
    assert "`array` has masked or missing elements." in run.text
    assert "`squares()` has masked or missing elements." in run.text
    text = notebook(GIVEN, NOTHING + WRONG["unsigned beyond 64 bits with a sign"])
    run = judge(SOURCE, text, contract=contract)
    assert "`steps` has unsigned integers." in run.text


def test_right_values_of_narrow_types_count(judge: Judge, contract: dict[str, Any]) -> None:
    """As they do in one process, unless their type makes them equal to others."""
    right = "array = np.arange(5, dtype=np.float32)\nsteps = np.array([1, 2, 3], dtype=np.uint8)\n"
    for small in ("number = np.uint8(7)", "number = np.int8(7)\nsteps = steps.astype(np.int16)"):
        run = judge(SOURCE, notebook(GIVEN, NOTHING + right + small), contract=contract)
        assert passed(run) == ["Q1", "Q2", "Q4", "Q6", "Q12"]


def test_narrow_integers_that_came_from_an_answer_are_changed_in_place(judge: Judge) -> None:
    """The judge has them as wider ones, and the worker as they are."""
    given = "import numpy as np\nfrom mograder.runtime import check\n_marks = {'Q1': 1}"
    source = notebook(
        given,
        "### BEGIN SOLUTION\ndef made(): return np.array([1, 2])\n"
        "def double(v): v *= 2\n### END SOLUTION",
        "_v = made()\ndouble(_v)\ncheck('Q1', [(_v.tolist() == [2, 4], 'twice')])",
    )
    answer = "def made(): return np.array([1, 2], dtype=np.int16)\ndef double(v): v *= 2"
    contract = judge(source, source).contract
    run = judge(source, notebook(given, answer), contract=contract)
    assert passed(run) == ["Q1"]
