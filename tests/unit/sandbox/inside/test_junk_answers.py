"""Junk in place of answers: which kinds apply, what they are, and when they count."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import polars as pl
import pytest

from tests.unit.sandbox.inside import codec
from tests.unit.sandbox.inside.codec import junk_answers

OF_ALL = {"none", "ellipsis", "text"}


class Colour(enum.Enum):
    RED = 1


def kinds(value: object) -> set[str]:
    return {name for name, _ in junk_answers.kinds_of(value)}


def junk(value: object, kind: str) -> Any:
    return junk_answers.junk_for(value, kind).value


def same(one: Any, other: Any) -> bool:
    if isinstance(one, set):  # their order depends on the hashes of texts
        return bool(one == other)
    return codec.packed(one) == codec.packed(other)


ARRAY = np.array([1.0, 2.0])
MASKED = np.ma.array([1.0, 2.0, 3.0], mask=[False, False, True])


@pytest.mark.parametrize(
    ("value", "kind", "wrong"),
    [
        (2.5, "nan", math.nan),
        (2.5, "zeros", 0),
        (2.5, "ones", 1),
        (2.5, "list", [2.5, 2.5]),
        (np.float64(2.5), "list", [np.float64(2.5)] * 2),
        (2.5, "huge", 1e300),
        (2.5, "wraps", 2**32),
        (np.array([1, 2]), "wraps", np.array([2**32, 2**32])),
        (2.5, "negative", -0.0),
        (2.5, "changed", 5.0),
        (0, "changed", 1),
        (True, "changed", False),
        (math.nan, "changed", 1.0),
        ([2.5, math.nan], "changed", [2.5, 1.0]),
        (np.array([2.5, math.nan]), "changed", np.array([2.5, 1.0])),
        (np.array([2.5, math.nan]), "nan", np.array([math.nan, math.nan])),
        (pd.Series([2.5, math.nan]), "changed", pd.Series([2.5, 1.0])),
        ("abc", "changed", "ab?"),
        ("", "changed", "?"),
        ("abc", "longer", "abcc"),
        ("abc", "text", ""),
        ("abc", "empty", ""),
        ([1, 2], "changed", [1, 4]),
        ([1, 2], "empty", []),
        ([1, 2], "single", 1),
        ([1, 2], "longer", [1, 2, 2]),
        ([[1, 2], [3]], "zeros", [[0, 0], [0]]),
        ((1, 2), "changed", (1, 4)),
        ({"a": 1, "b": 2}, "changed", {"a": 1, "b": 4}),
        ({"a": 1}, "zeros", {"a": 0}),
        ({1, 2}, "changed", {1, 2, "?"}),
        (datetime.date(2024, 1, 2), "changed", datetime.date(2024, 1, 3)),
        (ARRAY, "nan", np.array([math.nan, math.nan])),
        (np.array([1, 2]), "zeros", np.array([0, 0])),
        (np.array([1, 2]), "nan", np.array([math.nan, math.nan])),
        (ARRAY, "empty", np.array([])),
        (ARRAY, "single", np.float64(1.0)),
        (ARRAY, "column", np.array([[1.0], [2.0]])),
        (ARRAY, "longer", np.array([1.0, 2.0, 2.0])),
        (ARRAY, "changed", np.array([1.0, 4.0])),
        (ARRAY, "first", np.array([1.0, math.nan])),
        (np.array([[1, 2], [3, 4]]), "first", np.array([[1, math.nan], [math.nan, math.nan]])),
        (MASKED, "first", np.ma.array([1.0, 2.0, 3.0], mask=[False, True, True])),
        ([1, 2, 3], "first", [1, math.nan, math.nan]),
        (pd.Series([1, 2]), "first", pd.Series([1, math.nan])),
        (pl.Series("s", [1, 2]), "first", pl.Series("s", [1, None])),
        (
            pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
            "first",
            pd.DataFrame({"a": [1, math.nan], "b": ["x", "y"]}),
        ),
        (np.array([True, False]), "changed", np.array([True, True])),
        (pd.Series([1.0, 2.0]), "zeros", pd.Series([0, 0])),
        (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), "empty", None),
        (pl.Series("s", [1, 2]), "zeros", pl.Series("s", [0, 0])),
        (5, "none", None),
        (5, "ellipsis", ...),
    ],
)
def test_junk_of_a_kind_differs_from_the_value(value: Any, kind: str, wrong: Any) -> None:
    assert kind in kinds(value)
    before = codec.packed(value)
    made = junk_answers.junk_for(value, kind)
    assert made.counts
    if wrong is None and kind != "none":
        assert len(made.value) == 0
    else:
        assert same(made.value, wrong)
    assert codec.packed(value) == before


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (0, "zeros"),
        (0.0, "negative"),
        (True, "ones"),
        (1.0, "ones"),
        (np.zeros(3), "zeros"),
        ([], "empty"),
        ("", "text"),
        (None, "none"),
        (..., "ellipsis"),
        (np.float64(1), "ones"),
        (np.array([3.0]), "single"),
        (np.array([3.0]), "column"),
        (math.nan, "nan"),
        (np.float64(math.nan), "nan"),
        (np.array([math.nan, math.nan]), "nan"),
        (np.array([2.5, math.nan]), "first"),
        (np.ma.array([math.nan, 1.0], mask=[False, True]), "first"),
        (pd.Series([math.nan, math.nan]), "nan"),
        (pd.Series([2.5, math.nan]), "first"),
        (pd.DataFrame({"a": [math.nan], "b": ["x"]}), "nan"),
        (pl.Series("s", [math.nan]), "nan"),
        (["a"], "nan"),
        ([1], "first"),
        (["a", "b"], "first"),
        (np.array(["a", "b"]), "first"),
        (np.array(["a", "b"]), "zeros"),
        (pd.DataFrame({"b": ["x"]}), "zeros"),
    ],
)
def test_junk_that_is_no_other_value_does_not_apply(value: Any, kind: str) -> None:
    assert kind not in kinds(value)


@pytest.mark.parametrize("value", [object(), Colour.RED, b"x", range(3)])
def test_what_is_no_number_text_or_container_can_be_missing_at_least(value: object) -> None:
    assert kinds(value) >= OF_ALL


def double(values: list[int]) -> list[int]:
    """Return each value twice as large."""
    return [2 * each for each in values]


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        ("none", None),
        ("ellipsis", ...),
        ("text", ""),
        ("true", True),
        ("false", False),
        ("identity", [1, 2]),
        ("empties", []),
        ("empty", []),
        ("zeros", [0, 0]),
        ("single", 2),
        ("changed", [2, 8]),
        ("longer", [2, 4, 4]),
    ],
)
def test_a_function_of_a_kind_returns_junk_under_its_own_name(kind: str, result: object) -> None:
    assert kind in kinds(double)
    trial = junk_answers.junk_for(double, kind)
    assert trial.value([1, 2]) == result
    assert (trial.counts, trial.value.__name__, trial.value.__doc__) == (
        *(True, "double"),
        double.__doc__,
    )


def test_a_function_that_raises_is_junk() -> None:
    with pytest.raises(ValueError, match="nothing but an error"):
        junk(double, "raises")([1])


def test_results_that_do_not_differ_do_not_count() -> None:
    trial = junk_answers.junk_for(abs, "zeros")
    assert trial.value(0) == 0
    assert not trial.counts
    assert trial.value(-3) == 0
    assert trial.counts
    trial = junk_answers.junk_for(lambda values: math.nan if not values else 1.0, "nan")
    assert math.isnan(trial.value([]))
    assert not trial.counts


def test_what_a_function_without_a_result_does_is_its_answer() -> None:
    done: list[int] = []
    trial = junk_answers.junk_for(done.append, "zeros")
    assert trial.value(5) is None
    assert (done, trial.counts) == ([5], False)


def test_the_result_of_a_function_without_arguments_is_an_answer_like_that_of_a_name() -> None:
    trial = junk_answers.junk_for(lambda: None, "none")
    assert trial.value() is None
    assert not trial.counts
    assert kinds(lambda: 1).isdisjoint({"true", "identity", "empties"})


def test_an_emptied_array_is_zero() -> None:
    given = np.array([1.0, 2.0])
    assert junk(np.sort, "empties")(given) is given
    assert same(given, np.zeros(2))


class Plain:
    def area(self) -> int:
        return 6


@dataclasses.dataclass
class Compared(Plain):
    width: int


def test_methods_of_a_class_return_junk() -> None:
    trial = junk_answers.junk_for(Compared, "zeros")
    made = trial.value(3)
    assert (made.area(), made.width, type(made).__name__) == (0, 3, "Compared")
    assert trial.counts
    words = dict(junk_answers.kinds_of(Compared))
    assert words["zeros"] == "has methods that each return zero"
    assert words["equal"] == "has instances that are equal to everything"


def test_instances_that_are_equal_to_everything_count_once_they_were_asked() -> None:
    trial = junk_answers.junk_for(Compared, "equal")
    made = trial.value(3)
    assert made.area() == 6
    assert not trial.counts
    assert made == Compared(4)
    assert not made != Compared(4)  # noqa: SIM202
    assert trial.counts


def test_a_class_that_compares_nothing_decides_nothing() -> None:
    assert "equal" not in kinds(Plain)
    assert kinds(Colour) == {"absent"}


def test_what_a_trial_has_changed_of_the_notebooks_own_is_as_before_in_the_next() -> None:
    names: dict[str, Any] = {"STOCK": {"apple": [1]}, "SEEN": {1}}
    exec("def low(*v):\n    return [*STOCK, *SEEN]", names)
    stock, table = names["STOCK"], pd.DataFrame({"x": [1.0, math.nan]})
    argument: tuple[Any, ...] = ([1], {"a": True}, table)
    assert junk(names["low"], "changes")(argument) == ["apple", 1]
    assert stock == {"apple": [1, None], "?": None}
    assert argument[:2] == ([1, None], {"a": None, "?": None})
    assert table.x.tolist() == [1.0, 1.0]
    junk(2.5, "zeros")
    assert (stock, names["SEEN"]) == ({"apple": [1]}, {1})
