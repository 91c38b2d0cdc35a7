"""Trees and buffers that the encoder would not write: each is refused, with our exception."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.unit.sandbox.inside.codec import (
    Undecodable,
    decoded,
    polars_values,
    rules,
    shared_objects,
    value_decoder,
)

_ONES = ["np.a", "<i8", [2]]
_TWO = struct.pack("<qq", 1, 1)
_ROWS = ["pd.r", 0, 2, 1, None]


def _list_of(depth: int) -> list[Any]:
    tree: list[Any] = ["l", []]
    for _ in range(depth):
        tree = ["l", [tree]]
    return tree


_TREES: dict[str, Any] = {
    "an array without a tag": [],
    "a tag that is no text": [1],
    "an unknown tag": ["x"],
    "a tag of an unknown library": ["os.system", "true"],
    "an unknown tag of a library": ["np.load"],
    "an unknown tag of pandas": ["pd.eval", "1"],
    "a decimal fraction": 1.5,
    "an object": {"a": 1},
    "too few parts": ["c", "0x1.0p+0"],
    "too many parts": ["f", "nan", "nan"],
    "an integer beyond 64 bits": 2**63,
    "an integer of 20,004 bits": ["i", "f" * 5001],
    "an integer with underscores": ["i", "f_f"],
    "an integer with a prefix": ["i", "0xff"],
    "an integer in other digits": ["i", "١"],
    "an integer with a line break": ["i", "ff\n"],
    "a float as decimals": ["f", "1.5"],
    "a float with a space": ["f", " nan"],
    "a float too large": ["f", "0x1.0p+9999"],
    "a float that is no text": ["f", 1],
    "a surrogate": "\ud800",
    "a long text in the head": "x" * 201,
    "long bytes in the head": ["b", "00" * 401],
    "half a byte": ["b", "0"],
    "bytes with spaces": ["b", "00 00"],
    "a buffer that is not there": ["s"],
    "items that are no list": ["l", "abc"],
    "items that are an object": ["l", {"a": 1}],
    "depth 61": _list_of(61),
    "a list as a key": ["d", [["l", []], 1]],
    "a dictionary in a set": ["S", [["d", []]]],
    "a key without a value": ["d", [1]],
    "two equal keys": ["d", [1, 2, 1, 3]],
    "two keys that are equal in value": ["d", [1, 2, True, 3]],
    "two equal elements": ["S", ["a", "a"]],
    "two equal keys of a Counter": ["C", [1, 2, ["f", "0x1.0p+0"], 3]],
    "a key that is not a number": ["d", [["f", "nan"], 1]],
    "an element that is not a number": ["S", [["c", "nan", "0x0.0p+0"]]],
    "not a number inside a tuple": ["d", [["t", [1, ["f", "nan"]]], 1]],
    "a decimal that is not a number": ["S", [["de", "NaN"]]],
    "a decimal that cannot be hashed": ["S", [["de", "sNaN"]]],
    "not a moment as a key": ["S", [["np.g", "<M8[s]", struct.pack("<q", -(2**63)).hex()]]],
    "pandas's missing value as a key": ["S", [["pd.NA"]]],
    "17 keys of one hash": ["S", [["i", format(n * (2**61 - 1), "x")] for n in range(1, 18)]],
    "a deque that is too long": ["q", 1, [1, 2]],
    "a deque of negative length": ["q", -1, []],
    "a range without a step": ["r", 0, 1, 0],
    "a range of floats": ["r", 0, ["f", "0x1.0p+0"], 1],
    "the 30th of February": ["da", "2026-02-30"],
    "a date of another form": ["da", "20260101"],
    "a week": ["da", "2026-W01-1"],
    "25 o'clock": ["ti", "25:00:00", 0, None],
    "a fold of 2": ["ti", "01:00:00", 2, None],
    "a true fold": ["ti", "01:00:00", True, None],
    "a moment with a zone in its text": ["dt", "2026-01-01T00:00:00+01:00", 0, None],
    "a moment with a space": ["dt", "2026-01-01 00:00:00", 0, None],
    "a zone that is a path": ["dt", "2026-01-01T00:00:00", 0, ["z", "../../etc/passwd"]],
    "a zone that is not installed": ["dt", "2026-01-01T00:00:00", 0, ["z", "Mars/Base"]],
    "a zone of 24 hours": ["dt", "2026-01-01T00:00:00", 0, ["o", 86_400_000_000, None]],
    "an unknown form of zone": ["dt", "2026-01-01T00:00:00", 0, ["p", "UTC"]],
    "a duration too long": ["td", 10**9, 0, 0],
    "a duration of negative seconds": ["td", 0, -1, 0],
    "a Decimal of 10^999999999": ["de", "1E+999999999"],
    "a Decimal of 10^6145": ["de", "1E+6145"],
    "a Decimal that is an expression": ["de", "1+1"],
    "a fraction over zero": ["fr", 1, 0],
    "a fraction of floats": ["fr", ["f", "nan"], 1],
    "half a UUID": ["u", "0" * 31],
    "a namedtuple of code": ["nt", "P", ["x: __import__('os')"], [1]],
    "a namedtuple with a private field": ["nt", "P", ["_x"], [1]],
    "a namedtuple with a keyword": ["nt", "P", ["class"], [1]],
    "a namedtuple with two equal fields": ["nt", "P", ["x", "x"], [1, 2]],
    "a namedtuple with a field too many": ["nt", "P", ["x"], [1, 2]],
    "a namedtuple of no name": ["nt", "", ["x"], [1]],
    "a namedtuple of a name that reads as another": ["nt", "P", ["ﬁ"], [1]],
    "a namedtuple of 65 fields": ["nt", "P", [f"x{n}" for n in range(65)], [0] * 65],
    "a handle of an unknown kind": ["h", 1, "module", "x"],
    "a handle of a negative number": ["h", -1, "function", "x"],
    "a handle of a large number": ["h", 2**31, "function", "x"],
    "a handle with a true number": ["h", True, "function", "x"],
    "a handle with a long name": ["h", 1, "function", "x" * 201],
    "a handle with a name too many": ["h", 1, "function", "x", []],
    "a handle with a surrogate": ["h", 1, "function", "\ud800"],
    "a handle whose name is a tree": ["h", 1, "function", ["l", []]],
    "an array without its bytes": ["np.a", "<f8", [2]],
    "a scalar of two numbers": ["np.g", "<i4", "00" * 8],
    "a scalar of no hex": ["np.g", "<i4", "zz"],
    "a scalar that is no text": ["np.g", "<i4", 4],
    "a truth value of 2": ["np.g", "|b1", "02"],
    "a code point beyond the last": ["np.g", "<U1", struct.pack("<I", 0x110000).hex()],
    "a surrogate in an array": ["np.g", "<U1", struct.pack("<I", 0xD800).hex()],
    "a code point of the other byte order": ["np.g", ">U1", "00110000"],
    "objects of another number": ["np.O", [2], [1]],
    "objects of a negative number": ["np.O", [-1], [1]],
    "an empty array with a large side": ["np.O", [2**40, 0], []],
    "a categorical of no codes": ["pd.c", 1, _ROWS, True],
    "an index that is no index": ["pd.s", ["l", []], _ROWS, None],
    "an index of 2^60 numbers": ["pd.r", 0, 2**60, 1, None],
    "an index without a step": ["pd.r", 0, 1, 0, None],
    "an index with a list as its name": ["pd.r", 0, 1, 1, ["l", []]],
    "a MultiIndex without levels": ["pd.m", [], [], []],
    "a frame with a column too many": ["pd.d", _ROWS, _ROWS, [["np.O", [2], [1, 2]]]],
    "a column that is no column": ["pd.s", _ROWS, ["l", [1, 2]], None],
    "a column of another length": ["pd.s", _ROWS, ["np.O", [1], [1]], None],
    "a column that is a table": ["pd.s", _ROWS, ["np.O", [1, 2], [1, 2]], None],
    "a moment of an unknown unit": ["pd.ts", 0, "fortnights", None],
    "a moment beyond 64 bits": ["pd.ts", 2**63, "ns", None],
    "a polars dtype that is none": ["pl.s", "x", ["Object", None, None], None, None],
    "a polars dtype of code": ["pl.s", "x", ["__import__('os')", None, None], None, None],
    "a polars series of no name": ["pl.s", 1, ["Null", None, None], 1, None],
    "10^12 nothings of polars": ["pl.s", "x", ["Null", None, None], 10**12, None],
    "a polars frame of numbers": ["pl.d", [1]],
    "a polars frame of unequal columns": [
        "pl.d",
        [["pl.s", n, ["Null", None, None], int(n), None] for n in "12"],
    ],
    "a sparse matrix of no class": ["sp.o", "npz_matrix", [1, 1], _ONES, _ONES, _ONES],
    "a text in an expression": ["sy.e", "sin", ["__import__('os').getpid()"]],
    "a number in an expression": ["sy.e", "Add", [1, 2]],
    "a text in a matrix": ["sy.m", "MutableDenseMatrix", 1, 1, ["1"]],
    "an undefined function of a text": ["sy.u", "f", ["x"]],
    "an undefined function of no name": ["sy.u", "f(1)", [["sy.c", "pi"]]],
    "a class that is no expression": ["sy.e", "Lambda", [["sy.c", "pi"]]],
    "an integral that waits": ["sy.e", "Integral", [["sy.c", "pi"]]],
    "an expression of another class": ["sy.e", "Interval", [["sy.q", 1, 1], ["sy.q", 0, 1]]],
    "a function of a part too many": ["sy.e", "sin", [["sy.c", "pi"], ["sy.c", "pi"]]],
    "no constant of sympy": ["sy.c", "__class__"],
    "a rational over zero": ["sy.q", 1, 0],
    "a rational of texts": ["sy.q", "1", "3"],
    "a Float of a huge exponent": ["sy.f", 1, 2**40, 53],
    "a Float of a huge precision": ["sy.f", 1, 0, 2**40],
    "a symbol that shows an expression": ["sy.s", "x**2", []],
    "an assumption that is no fact": ["sy.s", "x", [["real", "yes"]]],
    "assumptions that contradict": ["sy.s", "x", [["positive", True], ["negative", True]]],
    "a matrix of another shape": ["sy.m", "MutableDenseMatrix", 2, 1, [["sy.c", "pi"]]],
    "a sparse matrix of the other tag": ["sp.c", "coo_matrix", [1, 1], _ONES, _ONES, _ONES],
}


@pytest.mark.parametrize("name", list(_TREES))
def test_a_hostile_tree_is_refused(name: str) -> None:
    with pytest.raises(Undecodable):
        decoded(_TREES[name])


def _numbers(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


def _csr(indices: list[int], pointers: list[int], columns: int = 2) -> tuple[Any, ...]:
    def part(values: list[int]) -> list[Any]:
        return ["np.a", "<i8", [len(values)]]

    tree = ["sp.c", "csr_matrix", [2, columns], part(indices), part(indices), part(pointers)]
    return (tree, _numbers(*indices), _numbers(*indices), _numbers(*pointers))


def _coo(row: int, size: int = 1) -> tuple[Any, ...]:
    one = ["np.a", "<i8", [1]]
    return (["sp.o", "coo_array", [size, 1], one, one, one], *map(_numbers, (1, row, 0)))


def _polars(dtype: list[Any], code: str, value: int, form: str) -> tuple[Any, ...]:
    return (["pl.s", "x", dtype, ["np.a", code, [1]], None], struct.pack(form, value))


_BUFFERS: dict[str, tuple[Any, ...]] = {
    "a buffer too many": (1, b""),
    "text that is not utf-8": (["s"], b"\xff"),
    "text with a surrogate": (["s"], b"\xed\xa0\x80"),
    "a shape of 2^40": (["np.a", "<f8", [2**40]], b"x" * 8),
    "a negative side": (["np.a", "<f8", [-1]], b""),
    "two negative sides": (["np.a", "<f8", [-1, -1]], b"x" * 8),
    "a true side": (["np.a", "|i1", [True]], b"x"),
    "a side of a fraction": (["np.a", "|i1", [1.0]], b"x"),
    "a shape that overflows": (["np.a", "|i1", [2**32, 2**32]], b""),
    "an empty shape with a large side": (["np.a", "<f8", [2**26, 0]], b""),
    "33 dimensions": (["np.a", "|i1", [1] * 33], b"x"),
    "a shape without its bytes": (["np.a", "<f8", [5]], b""),
    "a byte too many": (["np.a", "<f8", [1]], b"x" * 9),
    "a byte too few": (["np.a", "<f8", [1]], b"x" * 7),
    "a dtype of objects": (["np.a", "|O", [1]], b"x" * 8),
    "a dtype with fields": (["np.a", "<i4,<i4", [1]], b"x" * 8),
    "a dtype that is a list": (["np.a", [["a", "<i4"]], [1]], b"x" * 4),
    "a dtype of void": (["np.a", "|V4", [1]], b"x" * 4),
    "a dtype of no size": (["np.a", "<U0", [5]], b""),
    "a long double": (["np.a", "<f16", [1]], b"\xff" * 16),
    "a dtype with a shape": (["np.a", "(2,)<i4", [1]], b"x" * 8),
    "a dtype by name": (["np.a", "float64", [1]], b"x" * 8),
    "a dtype with a line break": (["np.a", "<f8\n", [1]], b"x" * 8),
    "a unit of 25 seconds": (["np.a", "<M8[25s]", [1]], b"x" * 8),
    "a truth value of 255": (["np.a", "|b1", [3]], b"\x00\x01\xff"),
    "a code point beyond the last": (["np.a", "<U1", [2]], struct.pack("<II", 65, 0x110000)),
    "a text length beyond its buffer": (["pd.t", "python", True], struct.pack("<i", 2), b"x"),
    "a negative text length": (["pd.t", "python", True], struct.pack("<i", -2), b""),
    "texts of another number": (["np.T", [2]], struct.pack("<i", 0), b""),
    "a pandas zone that is not installed": (
        ["pd.z", ["p", "Mars/Base"], ["np.a", "<M8[s]", [1]]],
        _numbers(0),
    ),
    "half a text length": (["pd.t", "python", True], b"\x00", b""),
    "bytes after the last text": (["pd.t", "python", True], struct.pack("<i", 1), b"xy"),
    "packed text that is not utf-8": (["pd.t", "python", True], struct.pack("<i", 1), b"\xff"),
    "a storage of texts that is none": (["pd.t", "os", True], b"", b""),
    "codes beyond the categories": (["pd.c", _ONES, ["pd.r", 0, 1, 1, None], True], _TWO),
    "codes that are below -1": (["pd.c", _ONES, _ROWS, True], _numbers(-2, 0)),
    "equal categories": (["pd.c", _ONES, ["pd.i", _ONES, None, None], True], _TWO, _TWO),
    "codes beyond the levels": (["pd.m", [_ROWS], [_ONES], [None]], _numbers(0, 2)),
    "equal levels": (["pd.m", [["pd.i", _ONES, None, None]], [_ONES], [None]], _TWO, _TWO),
    "a frequency of an index of numbers": (["pd.i", _ONES, None, "D"], _TWO),
    "a mask of another length": (["pd.k", _ONES, ["np.a", "|b1", [1]]], _TWO, b"\x00"),
    "a mask of numbers": (["pd.k", _ONES, _ONES], _TWO, _TWO),
    "a numpy matrix of one dimension": (["np.x", _ONES], _TWO),
    "a numpy matrix of objects": (["np.x", ["np.O", [1, 1], [1]]],),
    "a numpy mask of another shape": (["np.m", _ONES, ["np.a", "|b1", [1]], None], _TWO, b"\x00"),
    "a fill value of another kind": (
        ["np.m", _ONES, None, ["np.a", "<f8", []]],
        _TWO,
        struct.pack("<d", 1),
    ),
    "moments of no zone": (["pd.z", None, ["np.a", "<M8[s]", [1]]], _numbers(0)),
    "polars numbers of another size": _polars(["Int64", None, None], "<i4", 1, "<i"),
    "a polars mask of another length": (
        ["pl.s", "x", ["Int64", None, None], _ONES, ["np.a", "|b1", [1]]],
        _TWO,
        b"\x00",
    ),
    "a polars time after midnight": _polars(["Time", None, None], "<i8", 86_400 * 10**9, "<q"),
    "a polars day after the year 9999": _polars(["Date", None, None], "<i4", 2_932_897, "<i"),
    "a polars moment before the year 1": _polars(["Datetime", "ms", None], "<i8", -(2**62), "<q"),
    "a polars zone that is none": _polars(["Datetime", "ms", "Mars/Base"], "<i8", 0, "<q"),
    "a sparse index beyond its columns": _csr([0, 2], [0, 1, 2]),
    "a sparse index below zero": _csr([0, -1], [0, 1, 2]),
    "sparse pointers that go back": _csr([0, 1], [0, 3, 2]),
    "sparse pointers that begin late": _csr([0, 1], [1, 1, 2]),
    "sparse pointers that end early": _csr([0, 1], [0, 1, 1]),
    "sparse pointers of another number": _csr([0, 1], [0, 2]),
    "a sparse matrix of 2^40 columns": _csr([0, 1], [0, 1, 2], 2**40),
    "a sparse entry outside": _coo(1),
    "a sparse matrix of 2^40 rows": _coo(0, 2**40),
}


_VIEWS: dict[str, Any] = {
    "of no shared array": [2, 0, [1], [8]],
    "of a list": [3, 0, [1], [8]],
    "beyond the end": [1, 0, [11], [8]],
    "before the beginning": [1, 0, [2], [-8]],
    "from beyond the end": [1, 88, [0], [8]],
    "from a negative offset": [1, -8, [1], [8]],
    "too large": [1, 0, [2**13, 2**13], [0, 0]],
    "empty, with large sides": [1, 0, [2**20, 2**20, 0], [0, 0, 8]],
    "with a stride too few": [1, 0, [1, 1], [8]],
    "with strides that are none": [1, 0, [1], 8],
}


@pytest.mark.parametrize("name", list(_VIEWS))
def test_hostile_views_of_a_shared_array_are_refused(name: str) -> None:
    links = shared_objects.Links()
    links.given(np.arange(10.0), 1)
    links.given([], 3)
    with pytest.raises(Undecodable):
        value_decoder.decode([["np.v", *_VIEWS[name]], []], [], None, lambda trait: True, links)


@pytest.mark.parametrize("name", list(_BUFFERS))
def test_hostile_buffers_are_refused(name: str) -> None:
    tree, *buffers = _BUFFERS[name]
    with pytest.raises(Undecodable):
        decoded(tree, *buffers)


@pytest.mark.parametrize(
    ("tree", "buffers"),
    [
        (_list_of(60), ()),
        (["l", [1] * (rules.NODES - 1)], ()),
        (["S", [["i", format(n * (2**61 - 1), "x")] for n in range(1, 17)]], ()),
        (["i", "f" * 5000], ()),
        (["de", "1E+6144"], ()),
        (["np.a", "|i1", [1] * 32], (b"x",)),
        (["np.a", "<f8", [2**23, 0]], ()),
        (_csr([0, 1], [0, 1, 2])[0], _csr([0, 1], [0, 1, 2])[1:]),
        (_coo(0)[0], _coo(0)[1:]),
        (["nt", "P", [f"x{n}" for n in range(64)], [0] * 64], ()),
        (["h", 2**31 - 1, "opaque", "x" * 200], ()),
        (["pd.r", 0, 2**23, 1, None], ()),
    ],
)
def test_what_is_just_within_the_limits_is_built(tree: Any, buffers: tuple[bytes, ...]) -> None:
    if not buffers and tree[0] == "np.a":
        buffers = (b"",)
    decoded(tree, *buffers)


def test_200_001_nodes_are_refused() -> None:
    with pytest.raises(Undecodable):
        decoded(["l", [1] * rules.NODES])


def test_more_packed_texts_than_the_limit_are_refused() -> None:
    lengths = bytes(4 * (rules.PACKED_TEXTS + 1))
    with pytest.raises(Undecodable, match="texts"):
        decoded(["pd.t", "python", True], lengths, b"")


@pytest.mark.parametrize(
    "key",
    [
        lambda number: ["i", format(number * (2**61 - 1), "x")],
        lambda number: ["t", [1, ["i", format(number * (2**61 - 1), "x")]]],
        lambda number: ["fr", ["i", format(number * (2**61 - 1), "x")], 1],
    ],
    ids=["integers", "tuples", "fractions"],
)
def test_keys_of_one_hash_are_refused_before_they_are_compared(key: Callable[[int], Any]) -> None:
    """20,000 of them would take 200 million comparisons."""
    trees = [key(number) for number in range(1, 20_001)]
    begun = time.process_time()
    with pytest.raises(Undecodable, match="one hash"):
        decoded(["S", trees])
    with pytest.raises(Undecodable, match="one hash"):
        decoded(["d", [each for tree in trees for each in (tree, 1)]])
    assert time.process_time() - begun < 5


def test_classes_of_namedtuples_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(value_decoder, "_classes", {})
    for number in range(256):
        decoded(["nt", f"P{number}", ["x"], [1]])
    decoded(["nt", "P0", ["x"], [2]])
    with pytest.raises(Undecodable, match="too many classes"):
        decoded(["nt", "P256", ["x"], [1]])


def test_a_zone_must_be_on_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a file of that name could be read."""
    monkeypatch.setattr(value_decoder, "_zones", lambda: frozenset(["UTC"]))
    decoded(["ti", "00:00:00", 0, ["z", "UTC"]])
    with pytest.raises(Undecodable, match="installed"):
        decoded(["ti", "00:00:00", 0, ["z", "Europe/Zurich"]])


def test_a_nan_of_sympy_is_a_gap() -> None:
    """Unlike other NaNs it equals itself."""
    with pytest.raises(rules.Refused, match="missing"):
        value_decoder.decode(["sy.c", "nan"], [], None, lambda trait: False)


def test_a_panic_of_polars_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no ``Exception``; beyond year 9999 there is one."""
    monkeypatch.setattr(
        polars_values, "_can_be_told", lambda *_: str(pl.Series([2**31 - 1]).cast(pl.Date))
    )
    with pytest.raises(Undecodable, match="polars refuses"):
        decoded(*_polars(["Date", None, None], "<i4", 0, "<i"))


def test_the_hook_gets_facts_and_what_it_returns_may_be_a_key() -> None:
    seen: list[Any] = []
    token = object()

    def hook(facts: Any) -> object:
        seen.append(facts)
        return token

    tree = ["d", [["h", 7, "instance", "numpy.ndarray"], 1]]
    assert value_decoder.decode(tree, [], hook) == {token: 1}
    assert seen == [rules.HandleFacts(7, "instance", "numpy.ndarray")]


def test_an_error_in_the_hook_is_ours() -> None:
    with pytest.raises(Undecodable, match="ZeroDivisionError"):
        value_decoder.decode(["h", 7, "opaque", "x"], [], lambda facts: 1 // 0)


def test_an_array_is_built_on_its_buffer_without_a_copy() -> None:
    buffer = bytearray(8)
    array = value_decoder.decode(["np.a", "|u1", [8]], [buffer], lambda facts: facts)
    array[0] = 5
    assert buffer[0] == 5
    assert type(array) is np.ndarray
