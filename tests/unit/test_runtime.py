"""The functions that a notebook imports (compatibility-0.3.16.md 8), with hostile values too."""

from __future__ import annotations

import ast
import asyncio
import functools
import math
import re
import sys
from pathlib import Path
from typing import Any

import marimo as mo
import polars as pl
import pytest
from marimo._runtime.control_flow import MarimoStopError

import mograder.runtime
from mograder.runtime import check, hint
from tests.unit.runtime_output import body_of, kind_of, lines_of, words_of


class _Array:
    """As much of an array as a condition meets: numpy's ``size``, pandas' ``isna``."""

    def __init__(self, *values: float | None) -> None:
        self.values = values
        self.size = len(values)

    def __ne__(self, other: object) -> _Array:  # type: ignore[override]
        assert isinstance(other, _Array)
        return _Array(*(a != b for a, b in zip(self.values, other.values, strict=True)))

    def all(self) -> bool:
        return all(self.values)

    def isna(self) -> _Array:
        return _Array(*(value is None for value in self.values))

    def any(self) -> bool:
        return any(self.values)

    def __bool__(self) -> bool:
        raise ValueError("The truth value of an array is ambiguous.")


class _Tensor:
    """As much of a tensor of PyTorch as a condition meets; the values are those of two columns."""

    def __init__(self, *values: bool) -> None:
        self.values = values

    def size(self) -> tuple[int, int]:
        return 2, len(self.values) // 2

    def numel(self) -> int:
        return len(self.values)

    def __len__(self) -> int:
        return 2

    def __ne__(self, other: object) -> _Tensor:  # type: ignore[override]
        return _Tensor(*(False for _ in self.values))

    def all(self) -> bool:
        return all(self.values)

    def any(self) -> bool:
        return any(self.values)


@pytest.fixture
def sidecar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "checks.jsonl"
    monkeypatch.setenv("MOGRADER_SIDECAR_PATH", str(path))
    return path


def test_it_imports_the_standard_library_marimo_and_its_companions_only() -> None:
    tree = ast.parse(Path(mograder.runtime.__file__).read_text())
    names = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    names |= {
        (node.module or "").split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert names - set(sys.stdlib_module_names) == {"marimo", "mograder"}


@pytest.mark.parametrize("nothing", [None, False, 0.0, ()])
def test_a_false_value_waits_for_code_as_in_0_3_16(nothing: Any) -> None:
    """compatibility-0.3.16.md 8: ``check(label, mean is not None and [...])``."""
    assert kind_of(check("Q1: the mean", nothing)) == "warn"


def test_an_empty_list_waits_for_code(sidecar: Path) -> None:
    box = check("Q1: the mean", [])
    assert kind_of(box) == "warn"
    assert "Q1: the mean — waiting for your code" in words_of(box)
    assert lines_of(sidecar) == [
        {
            "label": "Q1: the mean",
            "status": "warn",
            "details": [],
            "earned_weight": 0,
            "total_weight": 0,
        }
    ]


def test_conditions_that_hold_pass(sidecar: Path) -> None:
    box = check("Q1", [(True, "first"), (1.0, "second", 3)])
    assert kind_of(box) == "success"
    assert "Q1 — all checks passed" in words_of(box)
    assert lines_of(sidecar) == [
        {"label": "Q1", "status": "success", "details": [], "earned_weight": 4, "total_weight": 4}
    ]


def test_a_failed_condition_shows_its_message(sidecar: Path) -> None:
    box = check("Q1", [(False, "the mean should be 4")])
    assert kind_of(box) == "danger"
    assert "Q1 — some checks failed:" in words_of(box)
    assert "<li>the mean should be 4</li>" in body_of(box)
    assert lines_of(sidecar)[0]["status"] == "danger"
    assert lines_of(sidecar)[0]["details"] == ["the mean should be 4"]


def test_partial_credit_says_how_much_and_for_what(sidecar: Path) -> None:
    box = check("Q1", [(True, "a"), (False, "b", 3)])
    assert kind_of(box) == "danger"
    assert "b (weight 3 of 4)" in words_of(box)
    assert "1 of 2 checks passed (weight 1 of 4)." in words_of(box)
    line = lines_of(sidecar)[0]
    assert (line["status"], line["earned_weight"], line["total_weight"]) == ("partial", 1, 4)


def test_equal_weights_are_not_mentioned() -> None:
    assert words_of(check("Q1", [(True, "a"), (False, "b")])).endswith("b1 of 2 checks passed.")


def test_without_a_sidecar_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOGRADER_SIDECAR_PATH", raising=False)
    monkeypatch.chdir(tmp_path)
    check("Q1", [(True, "fine")])
    assert list(tmp_path.iterdir()) == []


def test_each_check_appends_one_line_whatever_its_label_holds(sidecar: Path) -> None:
    check("Q1: a\nb", [(True, "fine")])
    check("Q2: \ud800 é", [(False, "no\nway")])
    assert [line["label"] for line in lines_of(sidecar)] == ["Q1: a\nb", "Q2: ? é"]


def test_a_sidecar_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOGRADER_SIDECAR_PATH", str(tmp_path / "missing" / "checks.jsonl"))
    with pytest.raises(FileNotFoundError):
        check("Q1", [(True, "fine")])


def test_a_lazy_condition_that_raises_fails_with_its_error(sidecar: Path) -> None:
    box = check("Q1", [(lambda: 1 / 0, "dividing works"), (lambda: [1], "order")])
    assert "dividing worksZeroDivisionError: division by zero" in words_of(box)
    line = lines_of(sidecar)[0]
    assert line["status"] == "partial"
    assert line["details"] == ["dividing works (ZeroDivisionError: division by zero)"]


def test_a_long_error_is_clipped() -> None:
    def complains() -> bool:
        raise ValueError("x" * 100_000)

    assert len(body_of(check("Q1", [(complains, "short")]))) < 1000


def test_a_function_with_arguments_is_a_true_value_as_it_was_in_0_3_16() -> None:
    assert kind_of(check("Q1", [(lambda x: x, "define it"), (dict, "a class")])) == "success"


def test_a_partial_is_lazy() -> None:
    assert kind_of(check("Q1", [(functools.partial(math.isclose, 1, 2), "close")])) == "danger"

    def same(*values: int) -> bool:
        return len(set(values)) == 1

    assert kind_of(check("Q1", [(functools.partial(same, 1, 2), "the same")])) == "danger"


def test_what_takes_any_number_of_arguments_is_a_true_value() -> None:
    class Model:
        def __call__(self, *inputs: float) -> float:
            return self.forward(*inputs)

        def forward(self, x: float) -> float:
            return 2 * x

    box = check("Q1", [(Model(), "an object"), (lambda *values: values[0], "a function")])
    assert kind_of(box) == "success"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (math.nan, "danger"),
        (None, "danger"),
        (..., "success"),
        ("text", "success"),
        ([], "danger"),
        (_Array(1, 1), "success"),
        (_Array(1, 0), "danger"),
        (_Array(1, math.nan), "danger"),
        (_Array(1, None), "danger"),
        (_Array, "success"),
        (_Array(), "danger"),
        (_Tensor(True, True), "success"),
        (_Tensor(), "danger"),
    ],
)
def test_any_value_is_judged(value: object, kind: str) -> None:
    assert kind_of(check("Q1", [(value, "message")])) == kind
    assert kind_of(check("Q1", [(lambda: value, "message")])) == kind


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ({"a": [True, True], "b": [True, True]}, "success"),
        ({"a": [True, True], "b": [True, False]}, "danger"),
        ({"a": [True, None]}, "danger"),
        ({"a": []}, "danger"),
        ({}, "danger"),
    ],
)
def test_a_data_frame_of_polars_is_judged_by_its_columns(
    columns: dict[str, list[bool | None]], kind: str
) -> None:
    frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.Boolean))
    assert kind_of(check("Q1", [(frame, "message")])) == kind


def test_a_value_that_refuses_to_be_judged_or_shown_only_fails() -> None:
    class Hostile:
        def __bool__(self) -> bool:
            raise RuntimeError(self)

        def __str__(self) -> str:
            raise RuntimeError("no")

    words = words_of(check("Q1", [(Hostile(), Hostile())]))  # type: ignore[list-item]
    assert "<Hostile, not printable: RuntimeError>" in words


class _Raises:
    """A value that raises when it is compared, with anything or with itself."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __ne__(self, other: object) -> bool:
        raise self._error


class _Own(BaseException):
    pass


@pytest.mark.parametrize(
    "error",
    [
        *(_Own("own"), SystemExit(3), GeneratorExit()),
        *(asyncio.CancelledError("gone"), RecursionError()),
    ],
)
def test_whatever_is_raised_is_an_answer(error: BaseException) -> None:
    value = _Raises(error)
    told = words_of(check("Q1", [(lambda: value != object(), "a"), (value, "b")]))
    assert told.count(type(error).__name__.removeprefix("_")) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MarimoStopError(None)])
def test_an_interrupt_and_a_stop_are_no_answer(error: BaseException) -> None:
    value = _Raises(error)
    with pytest.raises(type(error)):
        check("Q1", [(lambda: value != object(), "a")])


def test_a_text_with_methods_of_its_own_is_a_text() -> None:
    class Sly(str):
        __slots__ = ()

        def __str__(self) -> str:
            return self

        def __getitem__(self, key: object) -> str:
            return Sly("<b>no end</b>" * 1000)

        def encode(self, *_: object) -> bytes:
            raise RuntimeError

    assert "— some checks failed:plain" in words_of(check("Q1", [(False, Sly("plain"))]))


def test_a_number_beyond_printing_is_told_as_such() -> None:
    huge = 10**5000
    assert "<int, not printable: ValueError>" in words_of(
        check("Q1", [(False, huge)])  # type: ignore[list-item]
    )


@pytest.mark.parametrize("entry", [True, ("one",), (True, "a", 1, 2)])
def test_an_entry_that_is_no_check_is_the_authors_error(entry: object) -> None:
    with pytest.raises(ValueError, match="Entry 2 of check 'Q1'"):
        check("Q1", [(True, "fine"), entry])  # type: ignore[list-item]


@pytest.mark.parametrize("weight", [-1, math.nan, math.inf, "much", None])
def test_a_weight_that_is_no_amount_is_the_authors_error(weight: object) -> None:
    with pytest.raises(ValueError, match="weight of entry 1"):
        check("Q1", [(True, "fine", weight)])  # type: ignore[list-item]


def test_labels_messages_and_errors_are_escaped() -> None:
    attack = "<img src=x onerror=alert(1)> & [a](javascript:alert(1))"

    def complains() -> bool:
        raise ValueError(attack)

    body = body_of(check(attack, [(False, attack), (complains, f"`{attack}` ${attack}$")]))
    assert "<img" not in body
    assert "<a" not in body
    assert body.count("&lt;img src=x onerror=alert(1)&gt; &amp; ") == 5


def test_messages_may_hold_code_bold_and_maths() -> None:
    body = body_of(check("Q1", [(False, "`x < 3` is **not** $x_1 < 3$, it costs $5 and $6")]))
    assert "<code>x &lt; 3</code> is <strong>not</strong>" in body
    assert '<marimo-tex class="arithmatex">||(x_1 &lt; 3||)</marimo-tex>' in body
    assert "it costs $5 and $6" in body


def test_maths_is_written_as_marimo_writes_it() -> None:
    element = re.search(r"<marimo-tex.*?</marimo-tex>", mo.md("$x_1 < 3$").text)
    assert element
    assert element[0] in body_of(check("Q1", [(False, "$x_1 < 3$")]))


def test_many_failures_are_shown_in_part_and_recorded_in_part(sidecar: Path) -> None:
    box = check("Q1", [(False, f"element {number}") for number in range(1000)])
    assert body_of(box).count("<li>") == 26
    assert "element 24… and 975 more" in words_of(box)
    details = lines_of(sidecar)[0]["details"]
    assert isinstance(details, list)
    assert (len(details), details[-1]) == (201, "… and 800 more")
    assert lines_of(sidecar)[0]["total_weight"] == 1000


def test_an_endless_value_wraps_in_its_box() -> None:
    assert "overflow-wrap:anywhere" in body_of(check("Q1", [(False, "x" * 5000)]))
    assert "x" * 2001 not in body_of(check("Q1", [(False, "x" * 5000)]))


def test_an_async_function_without_await_is_no_answer() -> None:
    async def answer() -> bool:
        return True

    assert "TypeError: an async function was called without await" in words_of(
        check("Q1", [(answer, "a")])
    )


def test_a_box_is_a_status_that_needs_no_colour() -> None:
    for box in (check("Q1", []), check("Q1", [(True, "a")]), check("Q1", [(False, "a")])):
        assert 'role="status"' in body_of(box)
        assert 'aria-hidden="true"' in body_of(box)
        assert "color:" not in body_of(box)
        assert "prose-invert" in body_of(box)


def test_hints_are_numbered_when_there_are_several() -> None:
    assert "Hint 1" not in hint("Use `sum`.").text
    several = hint("Use `sum`.", "Divide.").text
    assert "Hint 1" in several
    assert "Hint 2" in several
