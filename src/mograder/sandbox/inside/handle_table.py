"""Numbers the objects that stay in the worker, and tells of what kind each of them is.

The kind is found without calling a method of the object or of its class.
"""

from __future__ import annotations

import types
from typing import Any

import codec_rules as rules  # type: ignore[import-not-found]  # in this file's directory
import value_encoder  # type: ignore[import-not-found]

_MOST_OBJECTS = 100_000
_mro = type.__dict__["__mro__"].__get__
_name = type.__dict__["__name__"].__get__
_FUNCTIONS = frozenset(
    map(
        id,
        (
            types.FunctionType,
            types.BuiltinFunctionType,
            types.MethodDescriptorType,
            types.WrapperDescriptorType,
            types.MethodWrapperType,
        ),
    )
)
_ITERATORS = frozenset(
    map(
        id,
        (
            types.GeneratorType,
            map,
            filter,
            zip,
            enumerate,
            reversed,
            type(iter([])),
            type(iter(())),
            type(iter({})),
            type(iter(set())),
            type(iter("")),
            type(iter(b"")),
            type(iter(range(0))),
        ),
    )
)


class HandleTable:
    """The objects of one worker with a number each; an object keeps its number while it lives."""

    def __init__(self) -> None:
        self._objects: list[object] = []
        self._numbers: dict[int, int] = {}

    def facts(self, value: object) -> Any:
        """Return the ``HandleFacts`` of an object, which is kept from now on."""
        number = self._numbers.get(id(value))
        if number is None:
            if len(self._objects) >= _MOST_OBJECTS:
                raise rules.Unencodable(f"more than {_MOST_OBJECTS} objects that are not data")
            number = self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        kind, named = _kind(value)
        class_name = value_encoder.short(_name(type(value)))
        names = (value_encoder.short(named),) if named is not None else ()
        return rules.HandleFacts(number, kind, class_name, names)

    def object(self, number: int) -> object:
        """Return the object of a number; ``IndexError`` if it has none."""
        if number < 0:
            raise IndexError(number)
        return self._objects[number]


def _kind(value: object) -> tuple[str, object]:
    """Return the kind, and the name of a class or function."""
    kind = type(value)
    if any(each is type for each in _mro(kind)):
        return "class", _name(value)
    if kind is types.MethodType:  # a method has the attributes of whatever it is bound to
        function = value.__func__  # type: ignore[attr-defined]
        return "function", function.__name__ if type(function) is types.FunctionType else None
    if id(kind) in _FUNCTIONS:
        return "function", value.__name__  # type: ignore[attr-defined]
    if id(kind) in _ITERATORS:
        return "iterator", None
    if kind is types.ModuleType:
        return "opaque", None
    return "instance", None
