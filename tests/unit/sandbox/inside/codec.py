"""The sandbox's modules, imported by their bare names as in there, and values to carry."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import fractions
import importlib
import os
import sys
import uuid
import zoneinfo
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import polars as pl
import sympy  # type: ignore[import-untyped]
from scipy import sparse  # type: ignore[import-untyped]

from mograder.sandbox.inside import serve

sys.path.append(str(Path(serve.__file__).parent))
rules = importlib.import_module("codec_rules")
value_encoder = importlib.import_module("value_encoder")
value_decoder = importlib.import_module("value_decoder")
answer_server = importlib.import_module("answer_server")
answer_session = importlib.import_module("answer_session")
answer_rehearsal = importlib.import_module("answer_rehearsal")
answer_calls = importlib.import_module("answer_calls")
carried_files = importlib.import_module("carried_files")
grading_contract = importlib.import_module("grading_contract")
junk_answers = importlib.import_module("junk_answers")
label_results = importlib.import_module("label_results")
polars_values = importlib.import_module("polars_values")
shared_objects = importlib.import_module("shared_objects")
stand_ins = importlib.import_module("stand_ins")

FrameError, Unencodable = rules.FrameError, rules.Unencodable
Undecodable, HandleFacts = rules.Undecodable, rules.HandleFacts


class Point(NamedTuple):
    """A namedtuple without anything else."""

    x: object
    y: object


def packed(value: object) -> bytes:
    """Return the frame of a value, with an empty table of handles."""
    tree, buffers = value_encoder.encode(value, answer_server.HandleTable().facts)
    data: bytes = rules.pack([tree], buffers)
    return data


def read_frame(data: bytes) -> Any:
    """Return the frame that a reader finds at the beginning of these bytes."""
    file = os.memfd_create("frame")
    try:
        os.write(file, data)
        os.lseek(file, 0, os.SEEK_SET)
        return rules.FrameReader(file).read(60)
    finally:
        os.close(file)


def unpacked(data: bytes) -> Any:
    """Return the value of a frame; a handle is its facts."""
    frame = read_frame(data)
    if len(frame.head) != 1:
        raise Undecodable("not one tree")
    return value_decoder.decode(frame.head[0], frame.buffers, lambda facts: facts)


def carried(value: object) -> Any:
    """Return what the judge gets of a value."""
    return unpacked(packed(value))


def strictly(value: object) -> Any:
    """Return what the judge gets of a value where its contract allows no trait."""
    frame = read_frame(packed(value))
    return value_decoder.decode(frame.head[0], frame.buffers, lambda facts: facts, lambda _: False)


def decoded(tree: object, *buffers: bytes) -> Any:
    """Return the value of a tree that a worker made up."""
    return value_decoder.decode(tree, [bytearray(each) for each in buffers], lambda facts: facts)


ZURICH = zoneinfo.ZoneInfo("Europe/Zurich")
NAIVE = dt.datetime(2020, 1, 2, 3, 4, 5, 6)  # noqa: DTZ001
EARLY = dt.datetime(1, 1, 3)  # noqa: DTZ001
DAY = dt.datetime(2026, 3, 29, 2, 30, tzinfo=ZURICH)

BUILTIN: list[Any] = [
    *(None, True, False, ..., 0, -1, 2**63 - 1, -(2**63), 2**63, -(2**19_999), 2**20_000 - 1),
    *(1.5, -0.0, 5e-324, 1.7976931348623157e308, float("inf"), -float("inf"), 1.5 - 2j),
    *("", "ä😀\x00", "x" * 200, "x" * 201, "ä" * 201, b"", b"\x00\xff", b"y" * 201),
    *(bytearray(), bytearray(b"a"), bytearray(b"z" * 201), [], [1, [2, ["x"]]], (), (1, ("a",))),
    *(set(), {1, "a", (2, frozenset({3}))}, frozenset(), frozenset({1.5}), {}, {"a": {1: [2]}}),
    *({(1, "x"): None, 2.5: 1, None: 3}, collections.Counter("abca"), collections.Counter()),
    *(collections.OrderedDict([("b", 1), ("a", 2)]), collections.deque([1, 2], 5)),
    *(collections.deque(), range(3), range(10, -(2**70), -3)),
    *(dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.time(23, 59, 59, 999999), dt.time(1, fold=1)),
    *(dt.time(1, tzinfo=dt.UTC), NAIVE, DAY, DAY.replace(fold=1)),
    dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3, microseconds=1), "X")),
    *(dt.timedelta(-1, 5, 6), dt.timedelta.max, dt.timedelta.min),
    *(decimal.Decimal("1.50"), decimal.Decimal("-0E-10"), decimal.Decimal("Infinity")),
    *(decimal.Decimal("1E+6144"), decimal.Decimal("9" * 5000), fractions.Fraction(-1, 3)),
    *(fractions.Fraction(2**100, 3), uuid.UUID(int=5), Point(1, [2.5])),
]
"""Values that are equal to what arrives."""

ARRAYS: list[Any] = [
    *(np.float64(1.5), np.float32("nan"), np.int8(-3), np.uint64(2**64 - 1), np.bool_(True)),
    *(np.complex64(1j), np.str_("ä😀"), np.str_(""), np.bytes_(b"ab"), np.datetime64("2020-01")),
    *(np.datetime64("NaT", "ns"), np.timedelta64(5, "us"), np.array(5.0), np.zeros((0, 3))),
    *(np.arange(6).reshape(2, 3), np.arange(6).reshape(2, 3).T, np.arange(10)[::-3]),
    *(np.array([True, False]), np.array([1.5, float("nan")], ">f4"), np.array(["a", "bcä"])),
    *(np.array(["x"], ">U3"), np.array([b"a", b"bc"]), np.array([""]), np.array([1j, 2])),
    *(np.array(["2020-01-01", "NaT"], "M8[D]"), np.array([1, 2], "m8[ns]")),
    *(np.array([1, "x", None, [2]], object), np.empty((2, 0), object)),
    np.array([["a", None, "ä"] * 20, ["", "b", "c"] * 20], object),
]
MASKED: list[Any] = [
    *(np.ma.array([1, 2, 3], mask=[False, True, False]), np.ma.array([[1.5, 2.5]])),
    np.ma.array(["a", "b"], mask=[True, False], fill_value="?"),
]
MOMENTS = pd.date_range("2026-03-28", periods=3, tz="Europe/Zurich")
FRAME = pd.DataFrame(
    {
        "int": [1, 2, 3],
        "float": [1.5, float("nan"), 2.5],
        "text": ["x", None, "ä"],
        "category": pd.Categorical(["u", "v", "u"], ordered=True),
        "moment": MOMENTS,
        "whole": pd.array([1, None, 3], dtype="Int64"),
        "small": pd.array([1, 2, 3], dtype="UInt8"),
        "real": pd.array([1.5, None, 3], dtype="Float32"),
        "flag": pd.array([True, None, False], dtype="boolean"),
        "string": pd.array(["a", None, "b"], dtype="string"),
        "length": pd.to_timedelta([1, None, 3], unit="s"),
        "object": pd.Series([[1], "x", None], dtype=object),
    }
)
INDEXES: list[Any] = [
    *(pd.Index([3, 1, 2], name="n"), pd.Index(["a", "b"]), pd.Index([1, "x"], dtype=object)),
    *(pd.RangeIndex(2, 20, 3, name="r"), MOMENTS, pd.date_range("2020", periods=4, freq="ME")),
    *(pd.timedelta_range("1h", periods=3), pd.CategoricalIndex(["a", "b", "a"], name="c")),
    pd.MultiIndex.from_product([[1, 2], ["a", "b"]], names=["p", None]),
    pd.Index([], dtype="float64"),
]
TABLES: list[Any] = [
    *(FRAME, FRAME.iloc[:0], FRAME[[]], FRAME.set_index("category"), FRAME.T[[0]]),
    FRAME.set_index(["int", "text"])[["float"]],
    pd.DataFrame([[1, 2.5]], columns=["same", "same"]),
    pd.DataFrame({("a", 1): [1], ("b", 2): [2]}),
]
MOMENT_VALUES: list[Any] = [
    *(pd.Timestamp("2020-01-01 12:00:00.123456789"), pd.Timestamp("2026-10-25", tz=ZURICH)),
    *(pd.Timestamp("2020", tz="UTC"), pd.Timedelta("-1 days 3 ns"), pd.Timestamp("3000-01-01")),
]
POLARS: list[Any] = [
    pl.DataFrame(
        {
            "int": [1, None, 3],
            "float": [1.5, None, float("inf")],
            "text": ["x", None, "ä"],
            "date": [dt.date(1, 1, 1), None, dt.date(9999, 12, 31)],
            "moment": [NAIVE, None, EARLY],
            "time": [dt.time(23, 59, 59, 999999), None, dt.time(0)],
            "length": [dt.timedelta(days=-1), None, dt.timedelta(0)],
            "flag": [True, None, False],
            "nothing": [None, None, None],
        }
    ),
    pl.DataFrame(),
    *(pl.Series("e", [], pl.Int8), pl.Series("", [1, 2], pl.UInt16), pl.Series("f", [1.5])),
    pl.Series("c", ["a", "b", None], pl.Categorical),
    pl.Series("z", [NAIVE], pl.Datetime("ms", "Europe/Zurich")),
]
_EYE = np.array([[1.0, 0, 2], [0, 0, 3]])
SPARSE: list[Any] = [
    getattr(sparse, f"{form}_{family}")(_EYE)
    for form in ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")
    for family in ("array", "matrix")
]
_X, _N = sympy.Symbol("x"), sympy.Symbol("n", integer=True, positive=True)
SYMBOLIC: list[Any] = [
    *(sympy.Integer(0), sympy.Integer(-(2**70)), sympy.Rational(1, 3), sympy.Float(1.5)),
    *(sympy.Float(0.0), sympy.Float("1e-400", 50), sympy.pi, sympy.I, -sympy.oo, sympy.zoo),
    *(_N, sympy.Symbol(r"\alpha_{10}"), sympy.Symbol("λ'"), sympy.Symbol("A", commutative=False)),
    *(_X**2 * sympy.sin(_N) / 3 + sympy.E, sympy.sqrt(_X), sympy.Abs(_X), sympy.Max(_X, _N)),
    *(sympy.Mul(2, 3, evaluate=False), sympy.Eq(_X, 1), sympy.Or(_X < 1, _X >= 2), sympy.true),
    sympy.Piecewise((1, _X > 0), (_X, True)),
    sympy.Eq(sympy.Function("f")(_X), sympy.Symbol("C1") * sympy.exp(-_X)),
    *(sympy.FiniteSet(1, _X), sympy.Interval.open(0, sympy.oo), sympy.S.Reals, sympy.S.EmptySet),
    sympy.Union(sympy.Interval(0, 1), sympy.FiniteSet(5)),
    *(sympy.Matrix([[1, _X]]), sympy.Matrix(0, 3, []), sympy.ImmutableMatrix([[_X]])),
    {_X: sympy.Integer(2)},
]
ODD: list[Any] = [
    *(float("nan"), decimal.Decimal("sNaN12"), np.ma.masked, pd.NaT, pd.NA, print, int, iter([])),
    *(object(), collections.defaultdict(list, a=[1]), [object(), {"f": print}]),
]
SAMPLES = [
    *(*BUILTIN, *ARRAYS, *MASKED, *INDEXES, *TABLES, *MOMENT_VALUES, *POLARS, *SPARSE, *ODD),
    *SYMBOLIC,
    *(FRAME[each] for each in FRAME),
]
"""Values of every kind, for the mutations."""
