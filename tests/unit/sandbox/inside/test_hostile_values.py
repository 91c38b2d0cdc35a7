"""Objects that lie about what they are: none of their methods is called, and none becomes data."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import polars as pl
import pytest

from tests.unit.sandbox.inside.codec import packed, unpacked

CALLED: list[str] = []
"""The methods that were called since the test began."""

_NAMES = sorted(
    {
        name
        for kind in (int, float, str, bytes, list, dict, set, tuple, type, object, np.ndarray)
        for name in dir(kind)
        if name.startswith("__")
    }
    | {"__getattr__", "__array__", "__array_ufunc__", "__array_function__", "__fspath__"}
    | {"__float__", "__index__", "__complex__", "__bytes__", "__reversed__", "__array_interface__"}
    | {"items", "keys", "tolist", "tobytes", "isoformat", "hex", "view", "astype", "to_numpy"}
)
_NEEDED = frozenset(
    (
        *("__class__", "__new__", "__init__", "__init_subclass__", "__subclasshook__", "__del__"),
        *("__dict__", "__doc__", "__module__", "__name__", "__qualname__", "__slots__", "mro"),
        *("__class_getitem__", "__weakrefoffset__", "__mro__", "__bases__", "__base__"),
        *("__flags__", "__basicsize__", "__dictoffset__", "__itemsize__", "__text_signature__"),
        *("__array_finalize__", "__abstractmethods__", "__annotations__", "__type_params__"),
        *("__array_interface__", "__array_struct__", "__array_priority__", "__array_wrap__"),
    )
)
"""What making the class or the object itself calls."""


@pytest.fixture(autouse=True)
def _nothing_called() -> Iterator[None]:
    CALLED.clear()
    yield
    CALLED.clear()


def _recording(name: str, answer: Any = True) -> Any:
    def called(*arguments: Any, **named: Any) -> Any:
        CALLED.append(name)
        return answer

    return called


def _methods() -> dict[str, Any]:
    return {name: _recording(name) for name in _NAMES if name not in _NEEDED}


def evil(base: type, **more: Any) -> type:
    """Return a subclass whose every method records its call, with a class that lies as well."""

    def lie(self: object) -> type:
        CALLED.append("__class__")
        return base

    members = {**_methods(), "__class__": property(lie), **more}
    made: type = type(base)("Evil", (base,), members)
    return made


class _Meta(type):
    """A metaclass that records what is asked of its classes."""


for _name in ("__hash__", "__eq__", "__instancecheck__", "__subclasscheck__", "__getattribute__"):
    setattr(_Meta, _name, _recording(f"metaclass {_name}"))


def _made(base: type, *arguments: Any) -> Any:
    made = base.__new__(evil(base), *arguments)
    CALLED.clear()
    return made


@pytest.mark.parametrize(
    ("base", "arguments"),
    [
        (object, ()),
        (int, (3,)),
        (float, (1.5,)),
        (complex, (1j,)),
        (str, ("x",)),
        (bytes, (b"x",)),
        (bytearray, ()),
        (list, ()),
        (tuple, ((1, 2),)),
        (set, ()),
        (frozenset, ((1,),)),
        (dict, ()),
        (collections.Counter, ()),
        (collections.OrderedDict, ()),
        (collections.defaultdict, ()),
        (collections.deque, ()),
        (datetime.date, (2020, 1, 1)),
        (datetime.datetime, (2020, 1, 1)),
        (datetime.timedelta, (1,)),
        (decimal.Decimal, ("1",)),
        (fractions.Fraction, (1, 2)),
        (np.ndarray, (3,)),
        (np.float64, (1.5,)),
        (pd.DataFrame, ()),
        (pd.Series, ()),
        (pl.DataFrame, ()),
        (Exception, ("x",)),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_no_method_of_a_subclass_is_called_and_it_becomes_a_handle(
    base: type, arguments: tuple[Any, ...]
) -> None:
    value = _made(base, *arguments)
    data = packed(value)
    assert CALLED == []
    facts = unpacked(data)
    assert (facts.kind, facts.class_name) == ("instance", "Evil")


def _array_of(value: object) -> Any:
    held = np.empty(1, object)
    held[0] = value
    return held


def _series_of(value: object) -> Any:
    series = pd.Series([None], dtype=object)
    series._values[0] = value
    return series


@pytest.mark.parametrize(
    "wrap",
    [
        _array_of,
        _series_of,
        lambda each: {each},
        lambda each: frozenset([each]),
        lambda each: {each: 1},
        lambda each: {(1, each): 2},
        lambda each: collections.OrderedDict({each: 1}),
        lambda each: collections.OrderedDict({(each,): 1}),
        lambda each: [each],
        lambda each: (each, 1),
        lambda each: {"a": each},
        lambda each: collections.OrderedDict(a=each),
        lambda each: collections.defaultdict(None, a=each),
        lambda each: collections.deque([each]),
    ],
)
def test_no_method_of_an_element_or_a_key_is_called(wrap: Any) -> None:
    value = wrap(_made(object))
    CALLED.clear()
    data = packed(value)
    assert CALLED == []
    assert "instance" in repr(unpacked(data))


@pytest.mark.parametrize("base", [object, tuple, int, type])
def test_no_method_of_a_metaclass_is_called(base: type) -> None:
    bases = () if base is object else (base,)
    kind = _Meta("numpy", bases, {"__module__": "numpy"}) if base is not type else _Meta
    make: Any = base.__new__
    value = make(kind) if base is not type else _Meta("numpy", (), {"__module__": "numpy"})
    CALLED.clear()
    data = packed(value)
    assert CALLED == []
    assert unpacked(data).kind == ("class" if base is type else "instance")


def test_a_function_that_a_method_is_bound_to_is_not_asked_for_its_name() -> None:
    method = types.MethodType(_made(object), 1)
    data = packed(method)
    assert CALLED == []
    assert unpacked(data).kind == "function"


@pytest.mark.parametrize(
    "module", ["numpy", "pandas", "polars", "scipy", "sympy", "builtins", "pytz"]
)
def test_a_class_that_claims_to_be_of_a_library_becomes_a_handle(module: str) -> None:
    kind = type("ndarray", (), {"__module__": module, "zone": "UTC", **_methods()})
    value: Any = object.__new__(kind)
    data = packed(value)
    assert CALLED == []
    assert unpacked(data).class_name == "ndarray"


def test_enums_and_truth_values_of_other_kinds_are_not_data() -> None:
    class Color(enum.IntEnum):
        RED = 1

    assert unpacked(packed(Color.RED)).class_name == "Color"


def test_a_time_zone_of_its_own_makes_a_moment_an_object() -> None:
    zone = evil(datetime.tzinfo)()
    moment = datetime.datetime(2020, 1, 1, tzinfo=zone)
    CALLED.clear()
    data = packed(moment)
    assert CALLED == []
    assert unpacked(data).class_name == "datetime"


def test_the_name_of_a_class_is_bounded() -> None:
    assert unpacked(packed(type("x" * 5000, (), {})())).class_name == "x" * 200


def test_what_reduces_to_a_payload_is_never_pickled() -> None:
    kind = type(
        "Bomb",
        (),
        {"__reduce__": _recording("__reduce__"), "__reduce_ex__": _recording("__reduce_ex__")},
    )
    packed([kind(), {"a": kind()}, np.array([kind()], object)])
    assert CALLED == []
