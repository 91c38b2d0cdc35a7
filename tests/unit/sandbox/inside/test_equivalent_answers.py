"""Honest answers that do the same as the author's by another of Python's ways."""

from __future__ import annotations

import pytest

from tests.unit.sandbox.inside.judging import Judge, Judged, notebook

pytestmark = [pytest.mark.full, pytest.mark.timeout(120)]

_NEXT = """__iter__(self): return self
    def __next__(self):
        if not self.n: raise StopIteration
        self.n -= 1
        return {}"""
START = "class {}:\n    def __init__(self, n):\n        self.n = n\n"
SPECIAL = {
    "Shown": ("__repr__(self): return f'<{self.n}>'", "__str__(self): return f'<{self.n}>'"),
    "Text": ("__str__(self): return f'<{self.n}>'", "__repr__(self): return f'<{self.n}>'"),
    "Small": ("__lt__(self, o): return self.n < o.n", "__gt__(self, o): return self.n > o.n"),
    "Most": ("__le__(self, o): return self.n <= o.n", "__ge__(self, o): return self.n >= o.n"),
    "Full": ("__bool__(self): return self.n > 0", "__len__(self): return self.n"),
    "Held": (
        "__contains__(self, v): return v < self.n",
        "__iter__(self): yield from range(self.n)",
    ),
    "Items": (
        "__iter__(self): yield from range(self.n)",
        "__getitem__(self, i): return range(self.n)[i]",
    ),
    "Sum": (
        "__add__(self, o): return Sum(self.n + o)",
        "__iadd__(self, o): return Sum(self.n + o)",
    ),
    "Falls": ("__iter__(self): yield from range(self.n, 0, -1)", _NEXT.format("self.n + 1")),
    "Own": (
        "__iter__(self): yield from range(self.n, 0, -1)",
        "__iter__(self): return Falls(self.n)",
    ),
    "Deck": (
        "__iter__(self): return map(Point, range(self.n))",
        "__getitem__(self, i): return [*map(Point, range(self.n))][i]",
    ),
    "Chain": (
        _NEXT.format("Point(self.n)"),
        "__iter__(self): yield from map(Point, range(self.n - 1, -1, -1))",
    ),
    "Both": (
        "__iter__(self): return map(Point, range(self.n))\n    def __getitem__(self, i): return i",
        "__iter__(self): return map(Yes, [0, 1])\n    def __getitem__(self, i): return Yes(i)",
    ),
}
AUTHORS = [START.format(name) + f"    def {of}" for name, (of, _) in SPECIAL.items()]
STUDENTS = [START.format(name) + f"    def {of}" for name, (_, of) in SPECIAL.items()]
CALLABLE = {
    "root": "np.sqrt",
    "each": "np.vectorize(lambda v: v ** 0.5)",
    "listed": "list",
    "first": "operator.itemgetter(0)",
    "biggest": "max",
    "counted": "Counted()",
}
TREE = """
class Node:
    def __init__(self, key):
        self.key, self.left, self.right = key, None, None
    def add(self, key):
        side = "left" if key {} self.key else "right"
        below = getattr(self, side)
        setattr(self, side, Node(key)) if below is None else below.add(key)
def tree(keys):
    root = Node(keys[0])
    for each in keys[1:]:
        root.add(each)
    return root
"""
CHECKS = {
    "ties in a tree": "in_order(tree([2, 4, 2, 1, 2])) == [1, 2, 2, 2, 4]",
    "a class at any depth": "type(tree([2, 1]).left) is type(tree([2]))",
    "a column that cannot be carried": "mean(pd.DataFrame({'x': [1.0, 3.0]})) == 2",
    "a key that cannot be carried": "total([1, 2]) == 3",
    "an array of another form": "whole(np.arange(6)) == 15",
    "an iterator for a generator": "list(itertools.islice(numbers(), 2)) == [1, 2]",
    "a generator for an iterator": "list(pairs([1, 2, 3])) == [(1, 2), (1, 3), (2, 3)]",
    "bytes of standard output": "printed(show) == '3\\n'",
    "str": "str(Shown(1)) == '<1>' and f'{Shown(2)}' == '<2>'",
    "repr": "str(Text(1)) == '<1>'",
    "lt": "Small(1) < Small(2) and [s.n for s in sorted([Small(2), Small(1)])] == [1, 2]",
    "le": "Most(1) <= Most(1) and not Most(2) <= Most(1)",
    "bool": "not Full(0) and bool(Full(1))",
    "in": "1 in Held(2) and 2 not in Held(2)",
    "iter": "list(Items(2)) == [0, 1]",
    "iadd": "added(Sum(1)).n == 3",
    "an iterator of a class": "list(down(3)) == [3, 2, 1] and sum(Down().numbers()) == 3",
    "an object that is its iterator": "list(Falls(3)) == [3, 2, 1]",
    "the object after that": "(lambda f: [*f, back(f).n])(Falls(2))[:2] == [2, 1]",
    "a class for the iterator": "list(Own(2)) == [2, 1]",
    "objects by getitem": "[p.x for p in Deck(2)] == [0, 1]",
    "objects by iter": "[p.x for p in Chain(2)] == [1, 0]",
    "objects in a list": "[p.x for p in points(2)] == [0, 1]",
    "objects by both": "[p.x for p in Both(2)] == [0, 1]",
    "a def for an object": "line(3) == 5 and line(np.array([1.0])).tolist() == [3.0]",
    "a namedtuple for a class": "isinstance(Pair(1, 2), Pair) and Pair(1, 2).y == 2",
    "no other class of it": "not isinstance(Pair(1, 2), Down) and isinstance(Down(), Down)",
    "a remainder": "odd().subs(x, 5) == 1 and odd().has(x)",
    "a lambda for an object": "adder(2)(3) == 5",
    "root": "root(4.0) == 2",
    "each": "each(4.0) == 2",
    "listed": "listed((1, 2)) == [1, 2]",
    "first": "first([1, 2]) == 1",
    "biggest": "biggest([1, 2]) == 2",
    "counted": "counted(3) == 3 and callable(counted)",
}
HEAD = """
import collections
import contextlib
import datetime
import inspect
import io
import itertools
import operator
import sys
import numpy as np
import pandas as pd
import sympy
from mograder.runtime import check
x = sympy.Symbol("x")
class Point:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return self.x == other.x
def in_order(node):
    return [*in_order(node.left), node.key, *in_order(node.right)] if node else []
def printed(function):
    with contextlib.redirect_stdout(io.StringIO()) as output:
        function(3)
    return output.getvalue()
def added(value):
    value += 2
    return value
"""
CLASS = "class Counted:\n    def __call__(self, n):\n        return n\n"
FUNCTIONS = """
def root(v): return v ** 0.5
def each(v): return v ** 0.5
def listed(v): return [*v]
def first(v): return v[0]
def biggest(v): return sorted(v)[-1]
def counted(n): return n
def thing(n): return n
def mean(table): return table.x.mean()
def total(items): return sum(items)
def whole(array): return array.sum()
def numbers():
    yield from range(1, 9)
def pairs(items): return itertools.combinations(items, 2)
def show(n): print(n)
def back(thing): return thing
def down(n): yield from range(n, 0, -1)
class Down:
    def numbers(self): yield from range(3)
class Pair:
    def __init__(self, x, y): self.x, self.y = x, y
def points(n): yield from map(Point, range(n))
def adder(n): return np.poly1d([1, n])
line = np.poly1d([1, 2])
frame = pd.DataFrame({"t": [1.0, 2.0, 3.0]})
def when(): return datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
def odd(): return x - 2 * sympy.floor(x / 2)
"""
OTHERS = """
def mean(table):
    table["bin"] = pd.cut(table.x, 2)
    return table.x.mean()
def total(items):
    items.append({float("nan"): sum(items)})
    return sum(items[:-1])
def whole(array):
    array.shape = (2, 3)
    return array.sum()
def numbers(): return itertools.count(1)
def pairs(items):
    for place, each in enumerate(items):
        yield from ((each, other) for other in items[place + 1:])
class Yes(Point):
    def __eq__(self, other): return True
def back(thing): return thing
def down(n): return Falls(n)
class Down:
    def numbers(self): return Falls(2)
Pair = collections.namedtuple("Pair", "x y")
def points(n): return [Point(x) for x in range(n)]
def adder(n): return lambda x: x + n
def line(x): return x + 2
class Zone(datetime.tzinfo):
    def utcoffset(self, at): return datetime.timedelta(0)
def when(): return datetime.datetime(2024, 1, 1, tzinfo=Zone())
def odd(): return x % 2
def show(n): sys.stdout.buffer.write(b"%d\\n" % n)
"""
FRAME = "`frame` is a DataFrame with a part, such as a column, that cannot be carried."
ZONE = "`when` is called, and returned a datetime with a part that cannot be carried."
NOT_THE_SAME = {
    "an item that is a number": "Both(2)[1] == 1",
    "frame": "len(frame) == 3",
    "a zone": "when().year == 2024",
    "a thing": "callable(thing)",
    "no function": "inspect.isfunction(counted)",
}


def _solution(*parts: str) -> str:
    return "### BEGIN SOLUTION\n" + "\n".join(parts) + "\n### END SOLUTION"


@pytest.fixture(scope="module")
def run(judge: Judge) -> Judged:
    both = CHECKS | NOT_THE_SAME
    checks = [f"check('{name}', [(lambda: {code}, 'm')])" for name, code in both.items()]
    checks += [f"check('bare {name}', [({name}, 'm')])" for name in CALLABLE]
    source = notebook(HEAD, _solution(*AUTHORS, TREE.format("<"), FUNCTIONS), *checks)
    recorded = judge(source, source)
    named = [f"{name} = {value}" for name, value in CALLABLE.items()]
    frame = "frame = pd.DataFrame({'t': pd.cut([1.0, 2.0, 3.0], 2)})"
    thing = f"class Thing: pass\nthing = Thing()\n{frame}"
    classes = [*STUDENTS, TREE.format("<="), CLASS, OTHERS]
    work = notebook(HEAD, _solution(*classes, *named, thing))
    return judge(source, work, contract=recorded.contract)


@pytest.mark.parametrize("name", CHECKS)
def test_what_python_takes_for_the_authors_way_holds(run: Judged, name: str) -> None:
    assert run.passed[name] == [True], run.text


@pytest.mark.parametrize("name", CALLABLE)
def test_an_answer_that_is_the_condition_holds_as_in_the_notebook(run: Judged, name: str) -> None:
    assert run.passed[f"bare {name}"] == [True], run.text


@pytest.mark.parametrize("name", NOT_THE_SAME)
def test_an_object_is_neither_a_number_nor_callable_nor_a_function_by_that(
    run: Judged, name: str
) -> None:
    assert run.passed[name] == [False], run.text


def test_a_value_that_cannot_be_carried_is_not_told_to_be_none(run: Judged) -> None:
    assert FRAME in run.text
    assert ZONE in run.text


def test_a_method_that_stands_for_the_authors_is_told_as_a_claim(run: Judged) -> None:
    claims = {check["labels"][0]["label"]: check["claims"] for check in run.checks}
    assert "Small.__gt__" in claims["lt"]
