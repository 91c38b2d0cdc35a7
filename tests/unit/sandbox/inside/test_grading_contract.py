"""The weights of labels by a contract; arguments and exceptions that cross."""

from __future__ import annotations

import decimal
import math
from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tests.unit.sandbox.inside.codec import (
    answer_calls,
    grading_contract,
    label_results,
    shared_objects,
)

ExpectedLabel = grading_contract.ExpectedLabel
_WEIGHTS = st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=20)


def _result(weights: list[tuple[float, bool]]) -> Any:
    conditions = tuple(label_results.Condition("m", weight, ok) for weight, ok in weights)
    return label_results.LabelResult("Q1", "Q1", conditions)


@given(_WEIGHTS, st.floats(0, 1e6))
def test_a_label_weighs_what_it_weighs_in_the_authors_run(
    weights: list[tuple[float, bool]], total: float
) -> None:
    wanted = ExpectedLabel(0, "Q1", "Q1", total, 1)
    (found,) = label_results.by_contract([_result(weights)], [wanted], "")
    data = found.as_data()
    assert math.isclose(data["total"], total, abs_tol=1e-6, rel_tol=1e-9)
    assert data["earned"] <= data["total"]
    assert not data["passed"] or all(ok for _, ok in weights)
    lost = sum(weight for weight, ok in weights if not ok)
    assert data["earned"] <= max(total - lost, 0) + 1e-6 * max(total, 1)


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ([], "nothing is answered here, so the check has no conditions"),
        ([(1.0, True)], "with this answer the check has fewer conditions than with the author's"),
    ],
)
def test_a_lack_of_conditions_is_told_apart_from_no_answer(
    weights: list[tuple[float, bool]], told: str
) -> None:
    wanted = ExpectedLabel(0, "Q1", "Q1", 3.0, 3)
    (found,) = label_results.by_contract([_result(weights)], [wanted], "")
    assert found.conditions[-1].message == told


def test_missing_labels_have_failed_and_others_do_not_count() -> None:
    wanted = ExpectedLabel(0, "Q2", "K", 3.0, 1)
    (found,) = label_results.by_contract([_result([(1.0, True)])], [wanted], "why")
    assert (found.label, found.key, found.as_data()["earned"]) == ("Q2", "K", 0)
    assert found.conditions[0].reason == "why"


def _error(*names: str) -> Exception:
    found: Exception = answer_calls.Errors().error(list(names), "text")
    return found


@pytest.mark.parametrize(
    ("names", "nearest"),
    [
        (["ValueError", "Exception"], ValueError),
        ([".TooBig", "ValueError", "Exception"], ValueError),
        (["ZeroDivisionError", "ArithmeticError"], ZeroDivisionError),
        (["StopIteration", "Exception"], RuntimeError),
        ([".MyStop", "StopIteration", "Exception"], RuntimeError),
        (["StopAsyncIteration", "Exception"], RuntimeError),
        (["GeneratorExit", "BaseException"], RuntimeError),
        (["SystemExit", "BaseException"], RuntimeError),
        (["KeyboardInterrupt", "BaseException"], RuntimeError),
        (["ValueError", "KeyboardInterrupt"], RuntimeError),
        ([".NoAnswer", "BaseException"], RuntimeError),
        (["UnicodeDecodeError", "UnicodeError", "ValueError"], UnicodeError),
        ([], RuntimeError),
    ],
)
def test_an_exception_is_the_nearest_builtin_that_is_an_error(
    names: list[str], nearest: type[Exception]
) -> None:
    error = _error(*names)
    assert isinstance(error, nearest)
    assert not isinstance(error, StopIteration | StopAsyncIteration)
    assert "text" in str(error)


def test_a_class_that_is_called_as_a_builtin_is_not_caught_as_one() -> None:
    error = _error(".ValueError", "Exception", "BaseException")
    assert type(error).__name__ == "ValueError"
    assert not isinstance(error, ValueError)


def test_the_order_of_weights_decides_nothing() -> None:
    wanted = grading_contract.ExpectedLabel(0, "Q1", "Q1", 0.1 + 0.2 + 0.3, 3)
    (found,) = label_results.by_contract(
        [_result([(0.3, True), (0.2, True), (0.1, True)])], [wanted], ""
    )
    assert found.as_data()["passed"]
    assert len(found.conditions) == 3


def test_a_label_that_is_recorded_in_a_loop_counts_as_its_worst() -> None:
    recorder = label_results.Recorder()
    for passed in (True, False, True):
        outcome = SimpleNamespace(message="m", weight=1.0, passed=passed, reason="")
        recorder._record(SimpleNamespace(label="Q1", key="Q1", outcomes=[outcome]))
    (found,) = recorder.taken()
    assert found.as_data()["earned"] == 0


@pytest.mark.parametrize("waits", [{"Q1": 1}, {"": 1}, {"": 1, "Q2": 0}])
def test_a_call_that_is_written_without_conditions_counts_where_there_is_no_other(
    waits: dict[str, int],
) -> None:
    recorder = label_results.Recorder()
    empty = SimpleNamespace(label="Q1", key="Q1", outcomes=[])
    outcome = SimpleNamespace(message="m", weight=1.0, passed=True, reason="")
    filled = SimpleNamespace(label="Q1", key="Q1", outcomes=[outcome])

    def earned(*results: SimpleNamespace) -> float:
        recorder.clear(waits)
        for each in results:
            recorder._record(each)
        (found,) = recorder.taken()
        return float(found.as_data()["earned"])

    assert earned(empty) == 0
    assert earned(empty, filled) == 1
    assert earned(empty, empty) == 0
    assert earned(empty, filled, empty) == 0  # the answer has left a list of conditions empty
    waits = {"": 1, "Q1": 0}  # the call that waits is one of another label
    assert earned(empty, filled) == 0


def test_no_more_classes_are_made_than_the_limit() -> None:
    errors = answer_calls.Errors()
    kinds = {type(errors.error([f".E{n}", "ValueError"], "")) for n in range(300)}
    assert len(kinds) == 257  # the limit, and ValueError


def test_a_kind_of_parameter_that_is_no_number_is_not_compared_with_those() -> None:
    parameter = ("n", decimal.Decimal("sNaN"), False, None, None)  # a comparison raises
    assert answer_calls.dress(lambda n: n, ("f", None, [parameter], None, True))


def _carried(value: object) -> Any:
    return shared_objects.loads(shared_objects.dumps(value, lambda each: None), lambda n: n)


def test_functions_travel_with_what_they_name() -> None:
    offset = [1, 2]

    def outer(n: int) -> int:
        return n if n == 0 else outer(n - 1) + len(offset) + int(math.sqrt(4))

    assert _carried(outer)(3) == 12
    assert _carried(lambda v, k=3: v + k)(1) == 4
    assert _carried([str.upper, math.sqrt]) == [str.upper, math.sqrt]


def test_objects_of_the_worker_travel_as_their_number() -> None:
    stand_in = object()
    data = shared_objects.dumps([stand_in, 1], lambda each: 7 if each is stand_in else None)
    assert shared_objects.loads(data, lambda number: f"object {number}") == ["object 7", 1]
