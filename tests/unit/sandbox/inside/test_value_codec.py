"""What the judge gets of a value: of the same type, and equal."""

from __future__ import annotations

import collections
import csv
import datetime as dt
import decimal
import fractions
import functools
import itertools
import math
import re
import uuid
import zoneinfo
from typing import Any, NamedTuple

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tests.unit.sandbox.inside.codec import (
    BUILTIN,
    HandleFacts,
    Point,
    Unencodable,
    carried,
    rules,
)

_ZONES = st.one_of(
    st.none(),
    st.just(dt.UTC),
    st.sampled_from(["Europe/Zurich", "America/New_York", "UTC"]).map(zoneinfo.ZoneInfo),
    st.integers(-1439, 1439).map(lambda each: dt.timezone(dt.timedelta(minutes=each))),
)
_DECIMALS = st.decimals(allow_nan=False, allow_infinity=True)
KEYS = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.complex_numbers(allow_nan=False),
        st.text(),
        st.binary(),
        st.dates(),
        st.times(),
        st.datetimes(timezones=_ZONES, allow_imaginary=False),
        st.timedeltas(),
        _DECIMALS,
        st.fractions(),
        st.uuids(),
        st.builds(range, st.integers(), st.integers(), st.integers(1)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(tuple),
        st.frozensets(inner, max_size=4),
        st.builds(Point, inner, inner),
    ),
    max_leaves=8,
)
VALUES = st.recursive(
    st.one_of(
        *(KEYS, st.floats(), st.just(...), st.binary().map(bytearray)),
        st.text(min_size=190, max_size=220),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.sets(KEYS, max_size=5),
        st.dictionaries(KEYS, inner, max_size=5),
        st.dictionaries(KEYS, inner, max_size=5).map(collections.OrderedDict),
        st.dictionaries(KEYS, st.integers(), max_size=5).map(collections.Counter),
        st.builds(collections.deque, st.lists(inner, max_size=5), st.one_of(st.none(), st.just(9))),
    ),
    max_leaves=20,
)


def same(left: Any, right: Any) -> bool:
    """Whether two values are of one type and equal, all the way down."""
    if isinstance(left, Point):
        return type(right).__name__ == "Point" and same(tuple(left), tuple(right))
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple | collections.deque):
        lengths = len(left) == len(right)
        return lengths and all(same(*pair) for pair in zip(left, right, strict=True))
    if isinstance(left, dict):
        return same(list(left.items()), list(right.items()))
    if isinstance(left, dt.datetime | dt.time):
        return bool(left == right) and (left.fold, left.tzinfo) == (right.fold, right.tzinfo)
    if isinstance(left, float):
        return bool(left.hex() == right.hex())
    return bool(left == right)


@pytest.mark.parametrize("value", BUILTIN, ids=lambda each: type(each).__name__)
def test_a_value_of_pythons_own_arrives_as_it_was(value: Any) -> None:
    assert same(value, carried(value))


@given(VALUES)
def test_any_value_of_pythons_own_arrives_as_it_was(value: Any) -> None:
    assert same(value, carried(value))


@given(st.text(st.characters(categories=("Cs", "Lu", "Nd"))))
def test_surrogates_of_texts_are_replaced(value: str) -> None:
    clean = "".join("\ufffd" if "\ud800" <= each <= "\udfff" else each for each in value)
    assert carried(value) == clean


def test_a_deque_keeps_its_length_and_a_defaultdict_loses_its_factory() -> None:
    assert carried(collections.deque([1], 3)).maxlen == 3
    value: dict[str, object] = collections.defaultdict(list, a=1)
    factory = carried(value)
    assert type(factory) is collections.defaultdict
    assert factory == {"a": 1}
    assert factory.default_factory is None


def test_an_ordered_dict_keeps_the_order_that_it_was_given() -> None:
    value = collections.OrderedDict.fromkeys(["a", "b" * 300, ("c", 1)], "v" * 300)
    value.move_to_end("a")
    assert list(carried(value).items()) == list(value.items())


def test_namedtuples_of_one_name_and_fields_are_of_one_class_with_attributes() -> None:
    first, second = carried(Point(1, 2)), carried(Point(x=1, y=2))
    assert type(first) is type(second)
    assert (first.x, first.y, first) == (1, 2, second)
    assert first == (1, 2)


class Vector(NamedTuple):
    """A namedtuple that can do more than one."""

    x: float
    y: float

    def norm(self) -> float:
        """Return the length."""
        return math.hypot(self.x, self.y)


class Place(Point):
    """A subclass of a namedtuple."""


def test_a_namedtuple_with_more_than_fields_is_an_object() -> None:
    renamed = collections.namedtuple("renamed", ["class", "x"], rename=True)
    for value in (Vector(1, 2), Place(1, 2), renamed(1, 2)):
        assert carried(value) == HandleFacts(0, "instance", type(value).__name__)


def test_an_object_is_the_same_handle_wherever_it_stands() -> None:
    value = object()
    first, second, other = carried([value, value, object()])
    assert first == second != other
    assert first == HandleFacts(0, "instance", "object")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (print, "function"),
        (lambda: 0, "function"),
        ("".join, "function"),
        (functools.cache(uuid.uuid5), "function"),
        (functools.partial(print, end=""), "function"),
        (int, "class"),
        ((each for each in "x"), "iterator"),
        (map(str, ()), "iterator"),
        (itertools.count(), "iterator"),
        (iter({}.values()), "iterator"),
        (re.finditer("", ""), "iterator"),
        (csv.reader(()), "iterator"),
        (math, "opaque"),
        (uuid, "opaque"),
        (object(), "instance"),
        (RuntimeError(), "instance"),
    ],
)
def test_a_handle_tells_of_what_kind_it_is(value: object, kind: str) -> None:
    facts = carried(value)
    assert (facts.kind, facts.class_name) == (kind, type(value).__name__)


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("most", "beyond"),
    [
        (_nested(60), _nested(61)),
        ([0] * (rules.NODES - 1), [0] * rules.NODES),
        (2**20_000 - 1, 2**20_000),
        (decimal.Decimal("9" * 5000), decimal.Decimal("9" * 5001)),
        (decimal.Decimal("1E-6144"), decimal.Decimal("1E-6145")),
        (fractions.Fraction(2**20_000 - 1), fractions.Fraction(2**20_000)),
        ("x" * (16 << 20), "x" * ((16 << 20) + 1)),
    ],
    ids=["depth", "nodes", "bits", "digits", "exponent", "fraction", "text"],
)
def test_a_limit_can_be_reached_and_not_exceeded(most: Any, beyond: Any) -> None:
    assert carried(most) == most
    with pytest.raises(Unencodable):
        carried(beyond)


def test_a_value_that_contains_itself_is_refused_and_a_shared_one_is_not() -> None:
    loop: list[Any] = []
    loop.append({"a": (loop,)})
    with pytest.raises(Unencodable, match="refers to itself"):
        carried(loop)
    shared = [1]
    assert carried([shared, shared, (shared,)]) == [[1], [1], ([1],)]


@pytest.mark.parametrize(
    "key", [math.nan, (1, math.nan), frozenset([math.nan]), complex(0, math.nan)]
)
def test_a_key_that_is_no_number_is_refused_on_both_sides(key: Any) -> None:
    for value in ({key: 1}, {key}, collections.OrderedDict({key: 1})):
        with pytest.raises(Unencodable, match="NaN"):
            carried(value)
