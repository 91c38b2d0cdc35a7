"""numpy's values for the codec: scalars, arrays, arrays of objects, masked arrays.

``["np.a", dtype, shape]`` with a buffer, ``["np.v", number, offset, shape, strides]`` for a view of
a shared array, ``["np.g", dtype, hex]`` for a scalar, ``["np.O", shape,
items]``, ``["np.T", shape]`` with two buffers for objects that are all texts or none, ``["np.m",
array, mask or null, fill value]``, ``["np.masked"]``, ``["np.x", array]`` for a matrix. Structured
dtypes, long doubles, StringDType and other subclasses of ndarray are not data and become handles.
"""

from __future__ import annotations

import math
import re
from typing import Any

import codec_rules as rules  # type: ignore[import-not-found]  # in this file's directory
import numpy as np
import value_decoder  # type: ignore[import-not-found]

_PLAIN = frozenset("biufcSUmM")
_DTYPE = re.compile(
    r"\|b1|\|[iu]1|[<>][iu][248]|[<>]f[248]|[<>]c(?:8|16)|\|S[1-9][0-9]{0,6}|[<>]U[1-9][0-9]{0,6}"
    r"|[<>][mM]8(?:\[(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
)
_FEW = 100
"""Objects that need not be packed if they are all texts, as pandas 2 keeps them."""
_WIDEST = 8
"""Bytes of an integer that is not made wider."""
_LAST_CODE_POINT = 0x10FFFF
_REPLACEMENT = 0xFFFD
_bounds: Any = getattr(np, "byte_bounds", None) or np.lib.array_utils.byte_bounds  # since numpy 2


def _plain(array: Any) -> Any:
    """Return a contiguous array of a dtype on the list; ``NotData`` for any other dtype."""
    kind = array.dtype.kind
    if kind not in _PLAIN:
        raise rules.NotData
    if kind in "SU" and array.dtype.itemsize == 0:
        array = array.astype(f"{kind}1")
    if not _DTYPE.fullmatch(array.dtype.str):
        raise rules.NotData
    array = np.ascontiguousarray(array).reshape(array.shape)
    if kind == "U" and array.size:
        points = _code_points(array)
        if _surrogates(points).any():
            array = array.copy()
            points = _code_points(array)
            points[_surrogates(points)] = _REPLACEMENT
    return array


def _code_points(array: Any) -> Any:
    return array.reshape(-1).view(f"{array.dtype.str[0]}u4")


def _surrogates(points: Any) -> Any:
    return (points >= 0xD800) & (points <= 0xDFFF)


def _encode_view(encoder: Any, value: Any) -> Any:
    """Return the tree of a view of an array that both ends have, None for any other array."""
    if value.base is None or value.dtype.kind not in "iufc":
        return None
    first, end = _bounds(value)
    for number, owner in encoder.arrays():
        if owner.dtype == value.dtype and owner.flags.c_contiguous:
            start = owner.ctypes.data
            if start <= first and end <= start + owner.nbytes:
                offset = value.ctypes.data - start
                return ["np.v", number, offset, list(value.shape), list(value.strides)]
    return None


def _encode_array(encoder: Any, value: Any, depth: int) -> Any:
    if value.ndim > rules.DIMENSIONS:
        raise rules.NotData
    if (view := _encode_view(encoder, value)) is not None:
        return view
    if value.dtype.kind == "O":
        items = value.reshape(-1).tolist()
        if len(items) > _FEW and all(type(each) is str or each is None for each in items):
            encoder.texts(items)
            return ["np.T", list(value.shape)]
        return ["np.O", list(value.shape), encoder.items(value, items, depth)]
    array = _plain(value)
    encoder.buffers.append(array.tobytes())
    return ["np.a", array.dtype.str, list(array.shape)]


def _encode_scalar(encoder: Any, value: Any, depth: int) -> Any:
    array = _plain(np.array(value))
    if array.dtype.kind in "SU" and array[()] != value:
        raise rules.NotData  # numpy drops NULs at the end of a text
    return ["np.g", array.dtype.str, array.tobytes().hex()]


def _encode_masked(encoder: Any, value: Any, depth: int) -> Any:
    data = np.ndarray.view(value, np.ndarray)
    mask, fill = value._mask, value._fill_value
    if mask is not np.ma.nomask and type(mask) is not np.ndarray:
        raise rules.NotData
    if data.dtype.kind not in _PLAIN or (fill is not None and type(fill) is not np.ndarray):
        raise rules.NotData
    return [
        "np.m",
        _encode_array(encoder, data, depth),
        None if mask is np.ma.nomask else _encode_array(encoder, mask, depth),
        None if fill is None else _encode_array(encoder, fill, depth),
    ]


def _dtype(text: object) -> Any:
    return np.dtype(value_decoder.matched(text, _DTYPE))


def _shape(tree: object) -> list[int]:
    if type(tree) is not list or len(tree) > rules.DIMENSIONS:
        raise rules.Undecodable("not a shape")
    return [value_decoder.integer(each, 0, rules.FRAME_BYTES) for each in tree]


def _check_size(shape: list[int], dtype: Any) -> None:
    """Bound an array; an empty one as if its zeros were ones: a sum over (2**26, 0) has 2**26."""
    if math.prod(max(each, 1) for each in shape) * dtype.itemsize > rules.FRAME_BYTES:
        raise rules.Undecodable("an array too large")


def _array(dtype: Any, shape: list[int], data: bytearray) -> Any:
    """Return an array over ``data``, with the dimensions, flags and texts checked."""
    _check_size(shape, dtype)
    if math.prod(shape) * dtype.itemsize != len(data):
        raise rules.Undecodable("not the bytes of this shape")
    if not data:
        return np.zeros(shape, dtype)
    array = np.frombuffer(data, dtype).reshape(shape)
    if dtype.kind == "b" and array.view("u1").max() > 1:
        raise rules.Undecodable("a truth value that is neither 0 nor 1")
    if dtype.kind == "U":
        points = _code_points(array)
        if points.max() > _LAST_CODE_POINT or _surrogates(points).any():
            raise rules.Undecodable("not a code point")
    return array


def _judged(decoder: Any, array: Any) -> Any:
    """Return an array or scalar as it is compared; note what would make it equal to much."""
    kind = array.dtype.kind
    decoder.note("half", array.dtype == np.float16)
    if kind in "mM":
        decoder.note("unitless", np.datetime_data(array.dtype)[0] == "generic")
        decoder.note("gaps", bool(np.isnat(array).any()))
    return widened(decoder, array)


def widened(decoder: Any, array: Any) -> Any:
    """Return integers as signed ones of 64 bits, unless the decoder keeps their type.

    Unsigned ones that are too large for that have the trait "unsigned".
    """
    kind = array.dtype.kind
    if kind not in "iu" or (kind == "i" and array.dtype.itemsize == _WIDEST):
        return array
    if decoder.keeps("unsigned" if kind == "u" else "narrow"):
        return array
    found = array.astype(np.int64)
    if kind == "u" and (found < 0).any():
        decoder.note("unsigned")
        return array
    return found


def _decode_view(
    decoder: Any, depth: int, number: object, offset: object, shape: object, strides: object
) -> Any:
    """Return a view of a shared array; numpy compares the offset and the strides with its size."""
    base = decoder.reference(depth, number)
    if type(base) is not np.ndarray or base.dtype.kind not in "iufc" or not base.flags.c_contiguous:
        raise rules.Undecodable("not an array that has views")
    sizes = _shape(shape)
    _check_size(sizes, base.dtype)
    if type(strides) is not list:
        raise rules.Undecodable("not a view of numbers")
    most = rules.FRAME_BYTES
    steps = [value_decoder.integer(each, -most, most) for each in strides]
    start = value_decoder.integer(offset, 0, most)
    return np.ndarray(sizes, base.dtype, base.data, start, steps)


def _decode_array(decoder: Any, depth: int, dtype: object, shape: object) -> Any:
    return _judged(decoder, _array(_dtype(dtype), _shape(shape), decoder.buffer()))


def _decode_scalar(decoder: Any, depth: int, dtype: object, digits: object) -> Any:
    if type(digits) is not str:
        raise rules.Undecodable("not a scalar")
    return _judged(decoder, _array(_dtype(dtype), [], bytearray.fromhex(digits))[()])


def _objects(shape: object, items: list[Any]) -> Any:
    sizes, most = _shape(shape), rules.PACKED_TEXTS
    if math.prod(sizes) != len(items) or math.prod(max(each, 1) for each in sizes) > most:
        raise rules.Undecodable("not the items of this shape")
    array = np.empty(len(items), object)
    for index, each in enumerate(items):
        array[index] = each
    return array.reshape(sizes)


def _part(decoder: Any, depth: int, tree: object) -> Any:
    value = decoder.value(tree, depth + 1)
    if type(value) is not np.ndarray or value.dtype.kind not in _PLAIN:
        raise rules.Undecodable("not an array of numbers or texts")
    return value


def _decode_masked(decoder: Any, depth: int, data: object, mask: object, fill: object) -> Any:
    values = _part(decoder, depth, data)
    hidden = np.ma.nomask if mask is None else _part(decoder, depth, mask)
    if mask is not None and (hidden.dtype.kind != "b" or hidden.shape != values.shape):
        raise rules.Undecodable("not the mask of this array")
    filler = None if fill is None else _part(decoder, depth, fill)
    if filler is not None and (filler.shape != () or filler.dtype.kind != values.dtype.kind):
        raise rules.Undecodable("not the fill value of this array")
    decoder.note("gaps", bool(np.any(hidden)))
    return np.ma.MaskedArray(values, hidden, fill_value=filler)


def missing(value: Any) -> Any:
    """Return a decoder whose value is always ``value``, which stands for a missing one."""

    def decode(decoder: Any, depth: int) -> Any:
        decoder.note("gaps")
        return value

    return decode


def _decode_matrix(decoder: Any, depth: int, tree: object) -> Any:
    values = _part(decoder, depth, tree)
    if values.ndim != 2:
        raise rules.Undecodable("not the elements of a matrix")
    return values.view(np.matrix)


def array_of(decoder: Any, tree: object, depth: int, kinds: str) -> Any:
    """Return a one-dimensional array of one of the dtype kinds, for a column of a frame."""
    return _column_of(decoder.value(tree, depth + 1), kinds)


def positions_of(decoder: Any, tree: object, depth: int) -> Any:
    """Return a column of codes or indices, whose type is the library's and so no trait."""
    decoder.reads_positions = True
    try:
        return array_of(decoder, tree, depth, "i")
    finally:
        decoder.reads_positions = False


def stored_array(decoder: Any, tree: object, kinds: str) -> Any:
    """Return such an array with the very dtype that was sent, for a library that has its own."""
    if type(tree) is not list or len(tree) != 3 or tree[0] != "np.a":
        raise rules.Undecodable("not an array")
    return _column_of(_array(_dtype(tree[1]), _shape(tree[2]), decoder.buffer()), kinds)


def _column_of(value: Any, kinds: str) -> Any:
    if type(value) is not np.ndarray or value.ndim != 1 or value.dtype.kind not in kinds:
        raise rules.Undecodable("not a column of this kind")
    return value


_SCALARS = (
    *(np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64),
    *(np.longlong, np.ulonglong, np.intc, np.uintc, np.float16, np.float32, np.float64),
    *(np.complex64, np.complex128, np.str_, np.bytes_, np.datetime64, np.timedelta64),
)
ENCODERS: dict[type, Any] = {
    np.ndarray: _encode_array,
    np.ma.MaskedArray: _encode_masked,
    np.matrix: lambda encoder, value, depth: [
        "np.x",
        _encode_array(encoder, np.array(value), depth),
    ],
    type(np.ma.masked): lambda encoder, value, depth: ["np.masked"],
    **dict.fromkeys(_SCALARS, _encode_scalar),
}

DECODERS: dict[str, tuple[int, Any]] = {
    "np.a": (2, _decode_array),
    "np.v": (4, _decode_view),
    "np.g": (2, _decode_scalar),
    "np.O": (2, lambda decoder, depth, shape, trees: _objects(shape, decoder.items(trees, depth))),
    "np.T": (1, lambda decoder, depth, shape: _objects(shape, decoder.texts())),
    "np.m": (3, _decode_masked),
    "np.x": (1, _decode_matrix),
    "np.masked": (0, missing(np.ma.masked)),
}
