"""Carries arguments from the judge to the worker: pickle, with the author's functions by value.

The worker unpickles, which is safe for the judge: it is the student's process. Never the other way.
A function that the notebook itself defines travels as its code, its defaults, its closure and those
globals that it names, since an answer may be given one (``apply(lambda v: v + 1, data)``).
An object that lives in the worker travels as its number. Classes of the notebook travel by name;
the worker's notebook has the given ones, too.

The answer can read all of this.
"""

from __future__ import annotations

import builtins
import importlib
import io
import marshal
import pickle
import types
from collections.abc import Callable
from typing import Any

import shared_objects  # type: ignore[import-not-found]  # in this file's directory

_OURS = "__main__"
_SHARED = "shared"
_MAKE, _FILL = "make", "fill"
"""The functions of this module travel by these names, since the module itself is hidden."""


def dumps(
    value: object,
    number_of: Callable[[object], int | None],
    shared: Callable[[object], int | None] = lambda value: None,
) -> bytes:
    """Return ``value`` in pickle's protocol 5; ``number_of`` finds objects of the worker.

    ``shared`` finds objects that both ends have (``shared_objects.py``).
    Raises what pickle raises for an object that cannot be carried, such as an open file.
    """
    stream = io.BytesIO()
    _Pickler(stream, number_of, shared).dump(value)
    return stream.getvalue()


def loads(
    data: bytes | bytearray,
    object_of: Callable[[int], object],
    shared: Callable[[int], object] | None = None,
) -> Any:
    """Return the value of ``dumps``; ``object_of`` finds the objects that live here."""
    unpickler = _Unpickler(io.BytesIO(data))
    unpickler.object_of = object_of
    unpickler.shared = shared or object_of
    return unpickler.load()


class _Pickler(pickle.Pickler):
    def __init__(
        self,
        stream: io.BytesIO,
        number_of: Callable[[object], int | None],
        shared: Callable[[object], int | None],
    ) -> None:
        super().__init__(stream, protocol=5)
        self._number_of = number_of
        self._shared = shared

    def persistent_id(self, obj: object) -> Any:
        if obj is make_function or obj is fill_function:
            return _MAKE if obj is make_function else _FILL
        number = self._number_of(obj)
        if number is not None:
            return number
        number = self._shared(obj)
        return None if number is None else (_SHARED, number)

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is types.ModuleType:
            return importlib.import_module, (obj.__name__,)
        if type(obj) is not types.FunctionType or not shared_objects.is_by_value(obj):
            return NotImplemented
        code = marshal.dumps(obj.__code__)
        given = (obj.__name__, obj.__defaults__, obj.__kwdefaults__, obj.__doc__)
        inner = [each.cell_contents for each in obj.__closure__ or ()]
        named = {name: obj.__globals__[name] for name in shared_objects.names_of(obj)}
        return make_function, (code, len(inner)), (given, inner, named), None, None, fill_function


class _Unpickler(pickle.Unpickler):
    object_of: Callable[[int], object]
    shared: Callable[[int], object]

    def persistent_load(self, pid: Any) -> object:
        if type(pid) is tuple:
            return self.shared(pid[1])
        own = {_MAKE: make_function, _FILL: fill_function}.get(pid)
        return self.object_of(pid) if own is None else own


def make_function(code: bytes, cells: int) -> types.FunctionType:
    """Return a function of its code, without the values that ``fill_function`` gives to it."""
    closure = tuple(types.CellType() for _ in range(cells))
    names = {"__builtins__": builtins, "__name__": _OURS}
    return types.FunctionType(marshal.loads(code), names, closure=closure)  # noqa: S302


def fill_function(function: types.FunctionType, state: Any) -> None:
    """Set what a function refers to, which may be the function itself."""
    (name, defaults, keywords, text), inner, named = state
    function.__name__ = name
    function.__defaults__, function.__kwdefaults__ = defaults, keywords
    function.__doc__ = text
    for cell, value in zip(function.__closure__ or (), inner, strict=True):
        cell.cell_contents = value
    function.__globals__.update(named)
