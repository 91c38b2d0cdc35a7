"""scipy's sparse matrices and arrays for the codec.

``["sp.c", class, shape, data, indices, pointers]`` for compressed rows and columns, exactly as they
are stored; ``["sp.o", class, shape, data, rows, columns]`` for all others, by their entries. The
compiled code of scipy trusts indices, so these are checked before a matrix is built.
"""

from __future__ import annotations

import itertools
from typing import Any

import codec_rules as rules  # type: ignore[import-not-found]  # in this file's directory
import numpy as np
import numpy_values  # type: ignore[import-not-found]
import value_decoder  # type: ignore[import-not-found]
from scipy import sparse  # type: ignore[import-untyped]

_MOST = rules.FRAME_BYTES // 8
"""Rows or columns: a conversion between the formats allocates 8 bytes for each."""
_FORMATS = ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")
_CLASSES = {
    f"{form}_{family}": getattr(sparse, f"{form}_{family}")
    for form, family in itertools.product(_FORMATS, ("array", "matrix"))
}
_COMPRESSED = {"csr": 0, "csc": 1}
"""The formats with pointers, and the axis that has them."""


def _encode(encoder: Any, value: Any, depth: int) -> Any:
    name = type(value).__name__
    shape = [int(each) for each in value.shape]
    if len(shape) != 2 or max(shape) > _MOST:
        raise rules.NotData
    if value.format in _COMPRESSED:
        tag, parts = "sp.c", (value.data, value.indices, value.indptr)
    else:
        entries = value.tocoo()
        tag, parts = "sp.o", (entries.data, entries.row, entries.col)
    return [tag, name, shape, *(_part(encoder, each, depth + 1) for each in parts)]


def _part(encoder: Any, array: Any, depth: int) -> Any:
    if type(array) is not np.ndarray or array.ndim != 1:
        raise rules.NotData
    return encoder.value(array, depth)


def _class(name: object, has_pointers: bool) -> tuple[Any, str]:
    if type(name) is not str or name not in _CLASSES:
        raise rules.Undecodable("no class of sparse matrices")
    form = name[:3]
    if (form in _COMPRESSED) is not has_pointers:
        raise rules.Undecodable("another tag's class of sparse matrices")
    return _CLASSES[name], form


def _shape(tree: object) -> tuple[int, int]:
    if type(tree) is not list or len(tree) != 2:
        raise rules.Undecodable("not a shape")
    return value_decoder.integer(tree[0], 0, _MOST), value_decoder.integer(tree[1], 0, _MOST)


def _numbers(decoder: Any, depth: int, tree: object) -> Any:
    values = numpy_values.array_of(decoder, tree, depth, "biufc")
    decoder.note("gaps", values.dtype.kind in "fc" and bool(np.isnan(values).any()))
    return values


def _indices(decoder: Any, depth: int, tree: object, below: int) -> Any:
    array = numpy_values.positions_of(decoder, tree, depth)
    if len(array) and (int(array.min()) < 0 or int(array.max()) >= below):
        raise rules.Undecodable("an index outside its matrix")
    return array


def _decode_compressed(
    decoder: Any, depth: int, name: object, size: object, data: object, at: object, ends: object
) -> Any:
    made, form = _class(name, True)
    shape, axis = _shape(size), _COMPRESSED[form]
    values = _numbers(decoder, depth, data)
    indices = _indices(decoder, depth, at, shape[1 - axis])
    pointers = numpy_values.positions_of(decoder, ends, depth)
    if len(values) != len(indices) or len(pointers) != shape[axis] + 1:
        raise rules.Undecodable("not the indices of this matrix")
    if pointers[0] != 0 or pointers[-1] != len(values) or (pointers[1:] < pointers[:-1]).any():
        raise rules.Undecodable("not the pointers of this matrix")
    return made((values, indices, pointers), shape=shape)


def _decode_entries(
    decoder: Any, depth: int, name: object, size: object, data: object, at: object, across: object
) -> Any:
    made, form = _class(name, False)
    shape = _shape(size)
    values = _numbers(decoder, depth, data)
    rows = _indices(decoder, depth, at, shape[0])
    columns = _indices(decoder, depth, across, shape[1])
    if not len(values) == len(rows) == len(columns):
        raise rules.Undecodable("not the indices of this matrix")
    family = sparse.coo_array if issubclass(made, sparse.sparray) else sparse.coo_matrix
    return family((values, (rows, columns)), shape=shape).asformat(form)


ENCODERS: dict[type, Any] = dict.fromkeys(_CLASSES.values(), _encode)

DECODERS: dict[str, tuple[int, Any]] = {
    "sp.c": (5, _decode_compressed),
    "sp.o": (5, _decode_entries),
}
