"""Values of numpy, pandas, polars, scipy and sympy: of the same type, dtype and content."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import polars as pl
import pytest
import sympy  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis.extra import numpy as hnp
from hypothesis.extra import pandas as hpd
from polars.testing import assert_frame_equal, assert_series_equal
from scipy import sparse  # type: ignore[import-untyped]

from tests.unit.sandbox.inside.codec import (
    ARRAYS,
    FRAME,
    INDEXES,
    MASKED,
    MOMENT_VALUES,
    POLARS,
    SPARSE,
    SYMBOLIC,
    TABLES,
    carried,
    packed,
    read_frame,
    rules,
    strictly,
    value_decoder,
)

_DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(sizes=(16, 32, 64), endianness="?"),
    hnp.complex_number_dtypes(sizes=(64, 128), endianness="?"),
    hnp.datetime64_dtypes(endianness="?"),
    hnp.timedelta64_dtypes(endianness="?"),
    hnp.byte_string_dtypes(),
    hnp.unicode_string_dtypes(endianness="?"),
)
_SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
_COLUMNS = [
    hpd.column(each, dtype=each) for each in ("int64", "float32", "bool", "m8[ns]", "M8[us]")
]

_X = sympy.Symbol("x")


def _identical(left: Any, right: Any) -> bool:
    if left.dtype.kind == "O":
        return bool(left.tolist() == right.tolist() and left.shape == right.shape)
    same_type = type(left) is type(right) and left.dtype.str == right.dtype.str
    return bool(same_type and left.shape == right.shape and left.tobytes() == right.tobytes())


@pytest.mark.parametrize("value", ARRAYS, ids=repr)
def test_an_array_or_scalar_of_numpys_arrives_as_it_was(value: Any) -> None:
    assert _identical(value, carried(value))


@given(hnp.arrays(_DTYPES, _SHAPES))
def test_any_array_arrives_as_it_was_and_can_be_changed(value: Any) -> None:
    got = carried(value)
    if value.dtype.kind != "U":  # the surrogates of texts are replaced
        assert _identical(value, got)
    assert (got.shape, got.dtype) == (value.shape, value.dtype)
    assert got.flags.writeable


@given(hnp.arrays(_DTYPES, ()))
def test_any_scalar_arrives_as_it_was(value: Any) -> None:
    if value.dtype.kind not in "US":
        assert _identical(value[()], carried(value[()]))


def test_surrogates_in_arrays_are_replaced() -> None:
    value = np.array(["a\ud800", "b"])
    assert carried(value).tolist() == ["a\ufffd", "b"]
    assert value.tolist() == ["a\ud800", "b"]


@pytest.mark.parametrize("value", MASKED, ids=repr)
def test_a_masked_array_keeps_its_mask_and_fill_value(value: Any) -> None:
    got = carried(value)
    assert type(got) is np.ma.MaskedArray
    assert (got.tolist(), got.mask.tolist()) == (value.tolist(), value.mask.tolist())
    assert (got.dtype, got.fill_value) == (value.dtype, value.fill_value)
    assert carried(np.ma.masked) is np.ma.masked


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_arrives_as_one() -> None:
    value = np.array([[1, 2], [3, 4]]).view(np.matrix)
    got = carried(value)
    assert type(got) is np.matrix
    assert (got * got).tolist() == [[7, 10], [15, 22]]


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_what_comes_twice_after_a_matrix_arrives_as_one() -> None:
    first, second = np.array([7.0]), [8.0]
    matrix, *got = carried([np.matrix([[1.0, 2.0]]), first, second, first, second])
    assert type(matrix) is np.matrix
    assert (got[0].tolist(), got[1]) == ([7.0], [8.0])
    assert (got[2] is got[0], got[3] is got[1]) == (True, True)


@pytest.mark.parametrize(
    "value",
    [
        np.array([(1, 2)], dtype="i4,i4"),
        np.zeros(2, "V4"),
        np.zeros(2, np.longdouble),
        np.longdouble(1),
        np.zeros(1, "M8[25s]"),
        np.array(["a"], np.dtypes.StringDType()),
        np.zeros(2, "i4,i4").view(np.recarray),
        pd.Series(pd.period_range("2020", periods=2, freq="M")),
        pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])}),
        pd.DataFrame({"a": [1]}, index=pd.interval_range(0, 1)),
        pl.DataFrame({"a": [[1]]}),
        pl.DataFrame({"a": [{"b": 1}]}),
        pl.Series([b"a"]),
        pl.LazyFrame({"a": [1]}),
        pl.Series([2**31 - 1], dtype=pl.Int32).cast(pl.Date),
        pl.Series([2**62]).cast(pl.Datetime("ms")),
        sparse.coo_array(np.zeros(3)),
        sympy.Derivative(sympy.sin(_X), _X),
        sympy.Integral(sympy.sin(_X), _X) + 1,
        sympy.series(sympy.exp(_X), _X, 0, 3),
        sympy.Poly(_X**2, _X),
        sympy.Dummy("d"),
        sympy.Symbol("x**2 + 1"),
        sympy.Matrix([[sympy.Derivative(sympy.Function("f")(_X), _X)]]),
        sympy.Float((0, 1, 2**40, 1)),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_the_table_does_not_list_becomes_a_handle_as_a_whole(value: Any) -> None:
    facts = carried([value, b"z" * 300])
    assert facts[0].class_name == type(value).__name__
    assert facts[1] == b"z" * 300


@pytest.mark.parametrize("value", INDEXES, ids=repr)
def test_an_index_arrives_as_it_was(value: Any) -> None:
    got = carried(value)
    pd.testing.assert_index_equal(got, value, exact=True)
    assert getattr(got, "freq", None) == getattr(value, "freq", None)


def test_a_frequency_that_its_text_does_not_tell_is_none() -> None:
    value = pd.date_range("2020-01-01", periods=3, freq=pd.offsets.Week())
    got = carried(value)
    assert got.equals(value)
    assert got.freq is None


def test_a_number_of_few_bits_is_not_equal_to_what_it_is_not() -> None:
    """sympy compares in the lower precision."""
    third = sympy.Rational(10, 3)
    vague = sympy.Float(4, precision=1)
    assert sympy.simplify(vague - third) == 0
    got, rounded = (strictly(each) for each in (vague, sympy.N(third, 5)))
    assert float(got) == 4
    assert sympy.simplify(got - third) != 0
    assert abs(rounded - third) < 1e-4


@pytest.mark.parametrize(
    "value", [np.int8(7), np.array([7, -3], np.int16), np.array([7, 3], np.uint8)], ids=repr
)
def test_integers_of_fewer_bits_are_judged_as_those_of_64(value: Any) -> None:
    got = strictly(value)
    assert got.dtype == np.int64
    assert np.array_equal(got, value)


@pytest.mark.parametrize(
    "value",
    [
        pd.Categorical(["a", "b"]),
        pd.MultiIndex.from_product([[1, 2], ["a", "b"]]),
        sparse.csr_array([[1.0, 0.0], [0.0, 2.0]]),
        sparse.coo_array([[1.0, 0.0], [0.0, 2.0]]),
        pl.Series([1], dtype=pl.Int64).cast(pl.Date),
    ],
    ids=lambda each: type(each).__name__,
)
def test_codes_indices_and_days_are_no_integers_of_fewer_bits(value: Any) -> None:
    asked: list[str] = []

    def allows(trait: str) -> bool:
        asked.append(trait)
        return True

    frame = read_frame(packed(value))
    value_decoder.decode(frame.head[0], frame.buffers, lambda facts: facts, allows)
    assert "narrow" not in asked


@pytest.mark.parametrize("value", TABLES, ids=lambda each: str(each.shape))
def test_a_data_frame_arrives_as_it_was(value: Any) -> None:
    pd.testing.assert_frame_equal(carried(value), value, check_freq=True)


@pytest.mark.parametrize("column", list(FRAME))
def test_a_series_arrives_as_it_was(column: str) -> None:
    pd.testing.assert_series_equal(carried(FRAME[column]), FRAME[column])


@pytest.mark.parametrize("column", ["text", "category", "whole", "small", "real", "flag"])
def test_an_array_of_pandas_arrives_as_it_was(column: str) -> None:
    pd.testing.assert_extension_array_equal(carried(FRAME[column].array), FRAME[column].array)


@given(hpd.data_frames(_COLUMNS, index=hpd.range_indexes(max_size=6)))
def test_any_plain_data_frame_arrives_as_it_was(value: Any) -> None:
    pd.testing.assert_frame_equal(carried(value), value)


@pytest.mark.parametrize("value", MOMENT_VALUES, ids=repr)
def test_a_moment_of_pandas_arrives_as_it_was(value: Any) -> None:
    got = carried(value)
    assert (type(got), got, got.unit) == (type(value), value, value.unit)
    assert str(got) == str(value)
    assert carried(pd.NaT) is pd.NaT
    assert carried(pd.NA) is pd.NA


def test_a_frame_that_arrived_can_be_changed() -> None:
    got = carried(FRAME)
    got.loc[0, "int"] = 7
    got["new"] = got["float"] * 2
    assert got["int"].tolist() == [7, 2, 3]


@pytest.mark.parametrize("value", POLARS, ids=lambda each: str(each.shape))
def test_a_value_of_polars_arrives_as_it_was(value: Any) -> None:
    compare = assert_frame_equal if isinstance(value, pl.DataFrame) else assert_series_equal
    compare(carried(value), value, check_exact=True)


@given(
    st.sampled_from([pl.Int8, pl.UInt64, pl.Float32, pl.Boolean, pl.Duration("us")]),
    st.lists(st.one_of(st.none(), st.integers(0, 1)), max_size=6),
)
def test_any_plain_series_of_polars_arrives_as_it_was(dtype: Any, items: list[Any]) -> None:
    value = pl.Series("s", items, pl.Int64).cast(dtype)
    assert_series_equal(carried(value), value, check_exact=True)


@pytest.mark.parametrize("value", SPARSE, ids=lambda each: type(each).__name__)
def test_a_sparse_matrix_arrives_as_it_was(value: Any) -> None:
    got = carried(value)
    assert type(got) is type(value)
    assert (got.dtype, got.shape) == (value.dtype, value.shape)
    assert (got.toarray() == value.toarray()).all()


def test_compressed_rows_arrive_as_they_are_stored() -> None:
    value = sparse.csr_matrix(([1.0, 2, 3], [1, 0, 0], [0, 3]), shape=(1, 2))
    got = carried(value)
    for part in ("data", "indices", "indptr"):
        assert getattr(got, part).tolist() == getattr(value, part).tolist()


@pytest.mark.parametrize("value", SYMBOLIC, ids=str)
def test_an_expression_of_sympy_arrives_as_it_was(value: Any) -> None:
    got = carried(value)
    assert (type(got), got) == (type(value), value)
    assert sympy.srepr(got) == sympy.srepr(value)


def test_a_matrix_of_sympy_that_arrived_can_be_changed() -> None:
    got = carried(sympy.Matrix([[1, _X]]))
    got[0, 0] = 7
    assert got == sympy.Matrix([[7, _X]])


@pytest.mark.parametrize("dtype", [None, object, "string"])
def test_a_long_column_of_texts_needs_no_nodes(dtype: Any) -> None:
    value = pd.Series([f"t{number}" for number in range(rules.NODES + 1)], dtype=dtype)
    pd.testing.assert_series_equal(carried(value), value)
