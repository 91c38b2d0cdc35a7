"""Parts that are one object at one end are one object at the other, and changes arrive."""

from __future__ import annotations

import io
import json
from collections import Counter, deque
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import polars as pl
import pytest
from hypothesis import given, settings

from tests.unit.sandbox.inside import codec
from tests.unit.sandbox.inside.codec import shared_objects

data_bytes = codec.value_encoder.data_bytes
Undecodable, rules = codec.Undecodable, codec.rules

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@st.composite
def values_with_aliases(draw: st.DrawFn) -> Any:
    """A value whose parts occur several times."""
    pool: list[Any] = []
    for _ in range(draw(st.integers(1, 8))):
        parts = draw(st.lists(LEAVES | st.sampled_from(pool) if pool else LEAVES, max_size=5))
        shape = draw(st.sampled_from(("list", "dict", "tuple", "deque", "array")))
        made: Any = parts
        if shape == "dict":
            made = dict(enumerate(parts))
        elif shape == "tuple":
            made = tuple(parts)
        elif shape == "deque":
            made = deque(parts)
        elif shape == "array":
            made = np.arange(len(parts))
        pool.append(made)
    return [*pool, *draw(st.lists(st.sampled_from(pool), max_size=4))]


def identities(value: Any) -> list[int]:
    """Return for each mutable part, in order, the place of its first occurrence."""
    places: dict[int, int] = {}
    found: list[int] = []

    def walk(part: Any) -> None:
        if isinstance(part, (list, dict, deque, np.ndarray)):
            found.append(places.setdefault(id(part), len(found)))
        if isinstance(part, dict):
            part = list(part.values())
        if isinstance(part, (list, tuple, deque)):
            for each in part:
                walk(each)

    walk(value)
    return found


@pytest.mark.parametrize("examples", [100, pytest.param(2000, marks=pytest.mark.full)])
def test_a_value_keeps_which_of_its_parts_are_one_object(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(values_with_aliases())
    def keeps(value: Any) -> None:
        got, encode = codec.carried(value), codec.value_encoder.encode
        assert identities(got) == identities(value)
        assert encode(got, facts)[0] == encode(value, facts)[0]

    keeps()


def facts(value: object) -> Any:
    return rules.HandleFacts(0, "opaque", "")


def test_repeated_parts_count_each_time_and_as_deep_as_they_are() -> None:
    value: list[Any] = []
    for _ in range(40):
        value = [value, value]
    with pytest.raises(rules.Unencodable, match="parts"):
        codec.packed(value)
    tree: Any = ["l", []]
    for number in range(1, 40):
        tree = ["l", [tree, ["@", -number]]]
    with pytest.raises(Undecodable, match="too many"):
        codec.value_decoder.decode(tree, [], facts)
    chain: Any = ["l", [["l", []]]]
    for _ in range(rules.DEPTH - 2):
        chain = ["l", [chain]]
    deep = ["l", [chain, ["l", [["@", -rules.DEPTH]]]]]
    with pytest.raises(Undecodable, match="too deep"):
        codec.value_decoder.decode(deep, [], facts)


@pytest.mark.parametrize("number", [0, 1, -2, -(10**30), "1", None, True])
def test_a_number_of_no_object_is_refused(number: object) -> None:
    with pytest.raises(Undecodable):
        codec.value_decoder.decode(["l", [["l", []], ["@", number]]], [], facts)


def both_ends(value: Any) -> tuple[Any, Any, Any]:
    """Return a value's copy at the other end, and the links of both."""
    mine, theirs = (shared_objects.Links() for _ in range(2))
    tree, buffers = codec.value_encoder.encode(value, facts, mine, [])
    tree, copied = json.loads(json.dumps(tree)), list(map(bytearray, buffers))
    got, _ = codec.value_decoder.decode(tree, copied, facts, links=theirs)
    return got, mine, theirs


def changed(value: Any, mine: Any, theirs: Any) -> Any:
    """Carry what has changed of shared objects; return the value of a second frame."""
    tree, buffers = codec.value_encoder.encode(value, facts, mine, mine.changed())
    tree, copied = json.loads(json.dumps(tree)), list(map(bytearray, buffers))
    got, changes = codec.value_decoder.decode(tree, copied, facts, links=theirs)
    for number, contents in changes.items():
        shared_objects.refill(theirs.get(number), contents)
    return got, sorted(changes)


@pytest.mark.parametrize(
    ("value", "change"),
    [
        ([1, [2]], lambda v: v[1].append(v)),
        ({"a": {}}, lambda v: v["a"].update(b=[1])),
        ({1, 2}, lambda v: v.add(3)),
        (bytearray(b"a"), lambda v: v.extend(b"b")),
        (deque([1], 3), lambda v: v.appendleft(0)),
        (Counter("ab"), lambda v: v.update("b")),
        (np.arange(4), lambda v: v.__setitem__(0, 9)),
        (pd.DataFrame({"a": [1, 2]}), lambda v: v.insert(0, "b", [3, 4])),
        (pd.Series([1, 2]), lambda v: v.__setitem__(0, 7)),
        (pl.DataFrame({"a": [1, 2]}), lambda v: v.replace_column(0, pl.Series("c", [5, 6]))),
    ],
    ids=lambda each: type(each).__name__ if not callable(each) else "",
)
def test_a_change_arrives_in_the_object_that_is_there(value: Any, change: Any) -> None:
    got, mine, theirs = both_ends(value)
    change(value)
    if type(value) is list:
        value[1].pop()  # it would refer to itself
        value[1].append("new")
    again, numbers = changed(value, mine, theirs)
    assert again is got
    assert len(numbers) == 1
    assert data_bytes(got) == data_bytes(value)
    assert changed(value, mine, theirs) == (got, []) or not isinstance(got, list)


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(lambda: np.zeros(3), id="array"),
        pytest.param(lambda: pd.Series([0.0, 0.0, 0.0]), id="series"),
        pytest.param(lambda: np.array([0, [0], 0], dtype=object), id="objects"),
    ],
)
def test_a_change_that_the_check_makes_in_an_array_arrives(array: Any) -> None:
    objects: dict[int, Any] = {}
    sharing = codec.stand_ins.Sharing(lambda _: None)

    def sent(value: object) -> Any:
        read = shared_objects.loads(sharing.packed(value), lambda _: None, objects.__getitem__)
        for number, contents in read["changes"]:
            shared_objects.refill(objects[number], contents)
        objects.update(enumerate(read["new"], read["first"]))
        return read["value"]

    mine = array()
    theirs = sent([mine, [mine]])[0]
    mine[0] = 5
    again = sent([mine, [mine]])[0]
    assert again is theirs
    assert list(theirs) == list(mine)


def test_only_what_has_changed_is_told() -> None:
    value: list[Any] = [[1], [2], [3]]
    got, mine, theirs = both_ends(value)
    inner = got[1]
    value[1].append(0)
    _, numbers = changed(None, mine, theirs)
    assert len(numbers) == 1
    assert got == [[1], [2, 0], [3]]
    assert got[1] is inner
    assert changed(None, mine, theirs)[1] == []


def test_what_nothing_refers_to_any_more_can_be_forgotten() -> None:
    links = shared_objects.Links()
    kept = [1]
    links.given(kept, 1)
    links.given([2], 2)
    assert links.unused() == [2]
    for number in range(3, 3 + shared_objects.MOST):
        links.given([number], number)
        kept.append(links.get(number))
    assert 2 in links.unused()


def test_text_buffers_and_iterators_go_on_at_the_same_place() -> None:
    here, there = io.StringIO("abc"), io.StringIO("abc")
    here.read(2)
    here.write("x")
    shared_objects.refill(there, shared_objects.contents(here))
    assert (there.getvalue(), there.tell()) == ("abx", 3)
    here.close()
    shared_objects.refill(there, shared_objects.contents(here))
    assert there.closed
    first, second = iter([1, 2, 3]), iter([1, 2, 3])
    next(first)
    shared_objects.refill(second, shared_objects.contents(first))
    assert list(second) == [2, 3]


@pytest.mark.parametrize(
    ("value", "contents"),
    [
        *(([1], [2]), ({}, (1,)), (bytearray(), "a"), (np.arange(2), np.arange(3))),
        *((iter([1]), "x"), (io.StringIO("a"), ("a", 2**40)), (io.StringIO("a"), ("a", -1))),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_are_no_contents_of_an_object_is_refused(value: Any, contents: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        shared_objects.refill(value, contents)
