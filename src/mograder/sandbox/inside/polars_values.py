"""polars's values for the codec: series and data frames of plain columns.

``["pl.s", name, dtype, values, mask or null]`` with an array of numpy's, the mask true where a
value is missing; texts and categories are two buffers, with ``null`` for both. ``["pl.d", series]``
is a frame. A dtype is its name, with its unit and zone where it has them. Nested columns, decimals,
bytes and objects are not data, and neither is a frame that has one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import codec_rules as rules  # type: ignore[import-not-found]  # in this file's directory
import numpy as np
import numpy_values  # type: ignore[import-not-found]
import polars as pl
import value_decoder  # type: ignore[import-not-found]

_NUMBERS: dict[Any, str] = {
    pl.Boolean: "|b1",
    pl.Int8: "|i1",
    pl.Int16: "<i2",
    pl.Int32: "<i4",
    pl.Int64: "<i8",
    pl.UInt8: "|u1",
    pl.UInt16: "<u2",
    pl.UInt32: "<u4",
    pl.UInt64: "<u8",
    pl.Float32: "<f4",
    pl.Float64: "<f8",
}
_MOMENTS: dict[Any, str] = {pl.Date: "<i4", pl.Time: "<i8", pl.Datetime: "<i8", pl.Duration: "<i8"}
_TEXTS: tuple[Any, ...] = (pl.String, pl.Categorical)
_BY_NAME: dict[str, Any] = {str(each): each for each in (*_NUMBERS, *_MOMENTS, *_TEXTS, pl.Null)}
_STORED: dict[Any, str] = {**_NUMBERS, **_MOMENTS}
_UNIT = re.compile("ms|us|ns")
_PER_SECOND = {"ms": 10**3, "us": 10**6, "ns": 10**9}
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""The years 1 to 9999, which Python's dates can tell; Rust panics on some moments beyond."""
_DAY = 86_400


def _dtype_tree(dtype: Any) -> list[Any]:
    kind = dtype.base_type()
    if kind is pl.Datetime:
        return ["Datetime", dtype.time_unit, dtype.time_zone]
    if kind is pl.Duration:
        return ["Duration", dtype.time_unit, None]
    if str(kind) not in _BY_NAME:
        raise rules.NotData
    return [str(kind), None, None]


def _encode_series(encoder: Any, value: Any, depth: int) -> Any:
    dtype = _dtype_tree(value.dtype)
    kind = _BY_NAME[dtype[0]]
    name = encoder.value(value.name, depth + 1)
    encoder.count(depth)
    if kind in _TEXTS:
        encoder.texts(value.cast(pl.String).to_list())
        return ["pl.s", name, dtype, None, None]
    if kind is pl.Null:
        return ["pl.s", name, dtype, len(value), None]
    plain = value.to_physical()
    mask = None
    if plain.null_count():
        mask = plain.is_null().to_numpy()
        plain = plain.fill_null(False if kind is pl.Boolean else 0)
    numbers = np.ascontiguousarray(plain.to_numpy())
    if not _can_be_told(kind, value.dtype, numbers):
        raise rules.NotData
    values = encoder.value(numbers, depth + 1)
    return ["pl.s", name, dtype, values, None if mask is None else encoder.value(mask, depth + 1)]


def _encode_frame(encoder: Any, value: Any, depth: int) -> Any:
    columns = []
    for each in value.get_columns():
        encoder.count(depth + 1)
        columns.append(_encode_series(encoder, each, depth + 1))
    return ["pl.d", columns]


def _dtype(tree: object) -> tuple[Any, Any]:
    if type(tree) is not list or len(tree) != 3 or type(tree[0]) is not str:
        raise rules.Undecodable("not a dtype")
    name, unit, zone = tree
    if (kind := _BY_NAME.get(name)) is None:
        raise rules.Undecodable("not a dtype")
    if kind is pl.Datetime:
        if zone is not None:
            value_decoder.zone(["z", zone])
        return kind, pl.Datetime(value_decoder.matched(unit, _UNIT), zone)
    if kind is pl.Duration:
        return kind, pl.Duration(value_decoder.matched(unit, _UNIT))
    return kind, kind()


def _without_panic(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a panic of Rust, which is no ``Exception``, into ``Undecodable``."""

    def decode(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except pl.exceptions.PanicException:
            raise rules.Undecodable("polars refuses it") from None

    return decode


@_without_panic
def _decode_series(
    decoder: Any, depth: int, name: object, tree: object, values: object, mask: object
) -> Any:
    kind, dtype = _dtype(tree)
    title = decoder.value(name, depth + 1)
    if type(title) is not str:
        raise rules.Undecodable("not a column's name")
    if kind in _TEXTS:
        texts = decoder.texts()
        decoder.note("gaps", None in texts)
        return pl.Series(title, texts, pl.String).cast(dtype)
    if kind is pl.Null:
        decoder.note("gaps", values != 0)
        length = value_decoder.integer(values, 0, rules.PACKED_TEXTS)
        return pl.Series(title, [None] * length, pl.Null)
    return _stored(decoder, depth, title, (kind, dtype), (values, mask))


def _stored(
    decoder: Any, depth: int, title: str, dtypes: tuple[Any, Any], trees: tuple[object, object]
) -> Any:
    kind, dtype = dtypes
    numbers = numpy_values.stored_array(decoder, trees[0], "biuf")
    if numbers.dtype.str != _STORED[kind]:
        raise rules.Undecodable("not the numbers of this dtype")
    if not _can_be_told(kind, dtype, numbers):
        raise rules.Undecodable("a moment before year 1 or after year 9999")
    decoder.note("gaps", numbers.dtype.kind == "f" and bool(np.isnan(numbers).any()))
    plain = numbers if kind in _MOMENTS else numpy_values.widened(decoder, numbers)
    series = pl.Series(title, plain)
    if trees[1] is not None:
        hidden = numpy_values.array_of(decoder, trees[1], depth, "b")
        if len(hidden) != len(numbers):
            raise rules.Undecodable("not the mask of this column")
        series = series.set(pl.Series(hidden), None)
        decoder.note("gaps", bool(hidden.any()))
    return series.cast(dtype) if kind in _MOMENTS else series


def _can_be_told(kind: Any, dtype: Any, numbers: Any) -> bool:
    """Whether all moments are within a day, or in the years 1 to 9999."""
    if kind is pl.Time:
        first, last = 0, _DAY * _PER_SECOND["ns"] - 1
    elif kind is pl.Date:
        first, last = _FIRST_DAY, _LAST_DAY
    elif kind is pl.Datetime:  # a day less at either end, where a zone would go beyond
        second = _PER_SECOND[dtype.time_unit]
        first, last = (each * _DAY * second for each in (_FIRST_DAY + 1, _LAST_DAY))
    else:
        return True
    return not len(numbers) or (first <= int(numbers.min()) and int(numbers.max()) <= last)


@_without_panic
def _decode_frame(decoder: Any, depth: int, trees: object) -> Any:
    columns = decoder.items(trees, depth)
    if not all(type(each) is pl.Series for each in columns):
        raise rules.Undecodable("not a column")
    return pl.DataFrame(columns)


ENCODERS: dict[type, Any] = {pl.Series: _encode_series, pl.DataFrame: _encode_frame}

DECODERS: dict[str, tuple[int, Any]] = {"pl.s": (4, _decode_series), "pl.d": (1, _decode_frame)}
