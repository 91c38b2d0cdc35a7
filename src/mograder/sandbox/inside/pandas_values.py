"""pandas's values for the codec: frames, series, indexes, their columns, and single moments.

A column is an array of numpy's (``numpy_values.py``), ``["pd.z", zone, array]`` (moments with a
zone, in UTC), ``["pd.k", array, mask]`` (nullable numbers and truth values), ``["pd.t", storage,
NaN or NA]`` (texts, in two buffers), ``["pd.c", codes, categories, ordered]``. An index is
``["pd.i", column, name, frequency]``, ``["pd.r", start, stop, step, name]`` or ``["pd.m", levels,
codes, names]``. Then ``["pd.s", index, column, name]``, ``["pd.d", index, columns' index,
columns]``, ``["pd.ts" or "pd.td", integer, unit, zone]``, ``["pd.NaT"]``, ``["pd.NA"]``. A zone may
also be ``["p", name]``, for pandas to choose its class.

Of pandas's arrays alone, only categories, texts and nullable ones are data. Periods, intervals,
sparse and Arrow's columns are not; neither is a frame that has one.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

import codec_rules as rules  # type: ignore[import-not-found]  # in this file's directory
import numpy as np
import numpy_values  # type: ignore[import-not-found]
import pandas as pd  # type: ignore[import-untyped]
import value_decoder  # type: ignore[import-not-found]
import value_encoder  # type: ignore[import-not-found]

_UNIT = re.compile("s|ms|us|ns")
_STORAGE = re.compile("python|pyarrow")
_FREQUENCY = re.compile(r"-?[0-9]{0,6}[A-Za-z]{1,5}(?:-[A-Z]{3})?")
_MOST_WITH_FREQUENCY = 10_000
"""A frequency is checked moment by moment, which takes 10 µs each."""
_MOST_ROWS = rules.FRAME_BYTES // 8
_MASKED_KINDS = {
    "i": pd.arrays.IntegerArray,
    "u": pd.arrays.IntegerArray,
    "f": pd.arrays.FloatingArray,
    "b": pd.arrays.BooleanArray,
}
_MASKED = frozenset(_MASKED_KINDS.values())
_OF_MOMENTS = (pd.DatetimeIndex, pd.TimedeltaIndex)
_INDEXES = (pd.Index, *_OF_MOMENTS, pd.CategoricalIndex)


def _column(encoder: Any, values: Any, depth: int) -> Any:
    """Return the tree of an array; ``NotData`` if its exact type has none."""
    encoder.count(depth)
    kind = type(values)
    if kind is np.ndarray and values.ndim == 1:
        return encoder.value(values, depth)
    if kind is pd.arrays.NumpyExtensionArray:
        return encoder.value(np.asarray(values), depth)
    if kind is pd.arrays.DatetimeArray:
        moments = values.asi8.view(f"M8[{values.unit}]")
        if values.tz is None:
            return encoder.value(moments, depth)
        return ["pd.z", _zone_tree(values.tz), encoder.value(moments, depth)]
    if kind is pd.arrays.TimedeltaArray:
        return encoder.value(values.asi8.view(f"m8[{values.unit}]"), depth)
    if kind in _MASKED:
        return ["pd.k", encoder.value(values._data, depth), encoder.value(values._mask, depth)]
    if kind in _TEXTS:
        return _texts(encoder, values)
    if kind is pd.Categorical:
        codes = encoder.value(values.codes, depth)
        return ["pd.c", codes, _index(encoder, values.categories, depth + 1), bool(values.ordered)]
    raise rules.NotData


def _texts(encoder: Any, values: Any) -> Any:
    if not _STORAGE.fullmatch(values.dtype.storage):
        raise rules.NotData
    absent = values.isna()
    given = values.to_numpy(dtype=object)
    encoder.texts([None if gone else each for each, gone in zip(given, absent, strict=True)])
    return ["pd.t", values.dtype.storage, values.dtype.na_value is pd.NA]


def _zone_tree(value: Any) -> Any:
    """Return a zone's tree, here also of pytz's, which pandas 2 makes of a name."""
    module, key = type(value).__module__, getattr(value, "zone", None)
    if module.split(".")[0] == "pytz" and type(key) is str:
        return ["p", value_encoder.short(key)]
    return value_encoder.zone(value)


def _zone(tree: object) -> Any:
    """Return a time zone, or the name of an installed one that pandas makes its own of."""
    if type(tree) is list and len(tree) == 2 and tree[0] == "p":
        return str(value_decoder.zone(["z", tree[1]]))
    return value_decoder.zone(tree)


def _index(encoder: Any, index: Any, depth: int) -> Any:
    encoder.count(depth)
    kind = type(index)
    if kind is pd.RangeIndex:
        name = encoder.value(index.name, depth)
        return ["pd.r", index.start, index.stop, index.step, name]
    if kind is pd.MultiIndex:
        levels = [_index(encoder, each, depth + 1) for each in index.levels]
        codes = [encoder.value(np.asarray(each), depth) for each in index.codes]
        names = [encoder.value(each, depth) for each in index.names]
        return ["pd.m", levels, codes, names]
    if kind not in _INDEXES:
        raise rules.NotData
    frequency = getattr(index, "freqstr", None)
    if len(index) > _MOST_WITH_FREQUENCY or not _FREQUENCY.fullmatch(frequency or ""):
        frequency = None
    column = _column(encoder, index._values, depth)
    return ["pd.i", column, encoder.value(index.name, depth), frequency]


def _encode_series(encoder: Any, value: Any, depth: int) -> Any:
    index = _index(encoder, value.index, depth + 1)
    column = _column(encoder, value._values, depth + 1)
    return ["pd.s", index, column, encoder.value(value.name, depth + 1)]


def _encode_frame(encoder: Any, value: Any, depth: int) -> Any:
    index = _index(encoder, value.index, depth + 1)
    names = _index(encoder, value.columns, depth + 1)
    values = [value.iloc[:, number]._values for number in range(len(value.columns))]
    return ["pd.d", index, names, [_column(encoder, each, depth + 1) for each in values]]


def _encode_moment(encoder: Any, value: Any, depth: int) -> Any:
    number = int(value.asm8.view("i8"))
    if type(value) is pd.Timedelta:
        return ["pd.td", number, value.unit, None]
    return ["pd.ts", number, value.unit, _zone_tree(value.tzinfo)]


def _zoned(decoder: Any, depth: int, zone: object, tree: object) -> Any:
    moments = numpy_values.array_of(decoder, tree, depth, "M")
    where = _zone(zone)
    if where is None:
        raise rules.Undecodable("no time zone")
    return pd.DatetimeIndex(moments).tz_localize("UTC").tz_convert(where).array


def _nullable(decoder: Any, depth: int, data: object, mask: object) -> Any:
    values = numpy_values.array_of(decoder, data, depth, "iufb")
    hidden = numpy_values.array_of(decoder, mask, depth, "b")
    decoder.note("gaps", bool(hidden.any()))
    return _MASKED_KINDS[values.dtype.kind](values, hidden)


def _decode_texts(decoder: Any, depth: int, storage: object, nullable: object) -> Any:
    kept = value_decoder.matched(storage, _STORAGE)
    texts = decoder.texts()
    decoder.note("gaps", None in texts)
    more = {} if value_decoder.flag(nullable) else {"na_value": np.nan}  # since pandas 2.3
    return pd.array(np.array(texts, object), dtype=pd.StringDtype(kept, **more))


def _categorical(
    decoder: Any, depth: int, codes: object, categories: object, ordered: object
) -> Any:
    numbers = numpy_values.positions_of(decoder, codes, depth)
    index = _an_index(decoder, depth, categories)
    decoder.note("gaps", bool((numbers < 0).any()))
    decoder.note("order", value_decoder.flag(ordered))
    return pd.Categorical.from_codes(numbers, index, ordered=value_decoder.flag(ordered))


def _an_index(decoder: Any, depth: int, tree: object) -> Any:
    index = decoder.value(tree, depth + 1)
    if not isinstance(index, pd.Index):
        raise rules.Undecodable("not an index")
    return index


def _a_column(decoder: Any, depth: int, tree: object) -> Any:
    values = decoder.value(tree, depth + 1)
    if type(values) is np.ndarray:
        if values.ndim != 1 or values.dtype.kind not in "biufcmMO":
            raise rules.Undecodable("not a column")
        decoder.note("gaps", values.dtype.kind in "fcO" and bool(pd.isna(values).any()))
    elif type(values) not in _COLUMNS:
        raise rules.Undecodable("not a column")
    return values


def _decode_index(decoder: Any, depth: int, column: object, name: object, frequency: object) -> Any:
    values = _a_column(decoder, depth, column)
    index = pd.Index(values, dtype=values.dtype, name=decoder.value(name, depth + 1))
    if frequency is None:
        return index
    if not isinstance(index, _OF_MOMENTS) or len(index) > _MOST_WITH_FREQUENCY:
        raise rules.Undecodable("a frequency of no moments, or of too many")
    found = value_decoder.matched(frequency, _FREQUENCY)
    with contextlib.suppress(ValueError):  # texts do not tell holidays, or a week's first day
        index.freq = found
    return index


def _decode_range(
    decoder: Any, depth: int, start: object, stop: object, step: object, name: object
) -> Any:
    bounds = [value_decoder.integer(each, -(2**62), 2**62) for each in (start, stop, step)]
    if len(range(*bounds)) > _MOST_ROWS:
        raise rules.Undecodable("an index too long")
    return pd.RangeIndex(*bounds, name=decoder.value(name, depth + 1))


def _decode_multi(decoder: Any, depth: int, levels: object, codes: object, names: object) -> Any:
    if not (type(levels) is type(codes) is type(names) is list):
        raise rules.Undecodable("not lists of levels")
    if not 0 < len(levels) == len(codes) == len(names) <= rules.NAMES:
        raise rules.Undecodable("too many levels, or none")
    return pd.MultiIndex(
        [_an_index(decoder, depth, each) for each in levels],
        [numpy_values.positions_of(decoder, each, depth) for each in codes],
        names=[decoder.value(each, depth + 1) for each in names],
        verify_integrity=True,
    )


def _made_series(values: Any, index: Any, name: object = None) -> Any:
    if len(values) != len(index):
        raise rules.Undecodable("a column of another length than its index")
    return pd.Series(values, index=index, name=name, dtype=values.dtype, copy=False)


def _decode_series(decoder: Any, depth: int, index: object, column: object, name: object) -> Any:
    rows = _an_index(decoder, depth, index)
    values = _a_column(decoder, depth, column)
    return _made_series(values, rows, decoder.value(name, depth + 1))


def _decode_frame(decoder: Any, depth: int, index: object, names: object, columns: object) -> Any:
    rows = _an_index(decoder, depth, index)
    titles = _an_index(decoder, depth, names)
    if type(columns) is not list or len(columns) != len(titles):
        raise rules.Undecodable("not a column for each name")
    made = {
        number: _made_series(_a_column(decoder, depth, each), rows)
        for number, each in enumerate(columns)
    }
    frame = pd.DataFrame(made, index=rows)
    frame.columns = titles
    return frame


def _decode_timestamp(decoder: Any, depth: int, number: object, unit: object, zone: object) -> Any:
    name = value_decoder.matched(unit, _UNIT)
    moment = np.datetime64(value_decoder.integer(number, 1 - 2**63, 2**63 - 1), name)
    value = pd.Timestamp(moment).as_unit(name)
    where = _zone(zone)
    return value if where is None else value.tz_localize("UTC").tz_convert(where)


def _decode_timedelta(
    decoder: Any, depth: int, number: object, unit: object, nothing: object
) -> Any:
    name = value_decoder.matched(unit, _UNIT)
    length = np.timedelta64(value_decoder.integer(number, 1 - 2**63, 2**63 - 1), name)
    return pd.Timedelta(length).as_unit(name)


_TEXTS = tuple(
    getattr(pd.arrays, each)
    for each in ("StringArray", "ArrowStringArray")
    if hasattr(pd.arrays, each)
)
_COLUMNS = (pd.arrays.DatetimeArray, pd.Categorical, *_MASKED, *_TEXTS)
ENCODERS: dict[type, Any] = {
    pd.Series: _encode_series,
    pd.DataFrame: _encode_frame,
    pd.Timestamp: _encode_moment,
    pd.Timedelta: _encode_moment,
    type(pd.NaT): lambda encoder, value, depth: ["pd.NaT"],
    type(pd.NA): lambda encoder, value, depth: ["pd.NA"],
    **dict.fromkeys((*_INDEXES, pd.RangeIndex, pd.MultiIndex), _index),
    **dict.fromkeys((pd.Categorical, *_MASKED, *_TEXTS), _column),
}

DECODERS: dict[str, tuple[int, Any]] = {
    "pd.z": (2, _zoned),
    "pd.k": (2, _nullable),
    "pd.t": (2, _decode_texts),
    "pd.c": (3, _categorical),
    "pd.i": (3, _decode_index),
    "pd.r": (4, _decode_range),
    "pd.m": (3, _decode_multi),
    "pd.s": (3, _decode_series),
    "pd.d": (3, _decode_frame),
    "pd.ts": (3, _decode_timestamp),
    "pd.td": (3, _decode_timedelta),
    "pd.NaT": (0, numpy_values.missing(pd.NaT)),
    "pd.NA": (0, numpy_values.missing(pd.NA)),
}
