"""Objects of an honest answer that stay in the worker: what checks can do with them."""

from __future__ import annotations

import pytest

from tests.unit.sandbox.inside.judging import Judge, Judged, notebook

pytestmark = [pytest.mark.full, pytest.mark.timeout(120)]

CLASSES = """
### BEGIN SOLUTION
class Down:
    def __init__(self, n):
        self.n = n
    def __iter__(self):
        return self
    def __next__(self):
        if self.n == 0:
            raise StopIteration
        self.n -= 1
        return self.n
class Money:
    def __init__(self, n):
        self.n = n
    def __radd__(self, other):
        return Money(self.n + other)
    def __add__(self, other):
        return Money(self.n + getattr(other, "n", other))
    def __lt__(self, other):
        return self.n < other.n
class Door:
    opened = 0
    def __enter__(self):
        self.opened = 1
        return self
    def __exit__(self, *reason):
        self.opened = 2
class Odd(KeyError):
    pass
def fail():
    raise Odd("odd")
def amount(money):
    return money.n
def build(items):
    return [Money(each) for each in items]
def drain(items):
    return sum(items)
def squares(n):
    return (i * i for i in range(n))
def add_to(table, names, cell):
    table["new"] = 1
    names.add("new")
    cell[0] = 9
def unpack(text):
    print(text)
    raise ValueError(text)
class Cat(Pet):
    def sound(self):
        return "meow"
class Bag:
    size = 1
    def __iter__(self):
        yield 1
    def __len__(self):
        return self.size
    def __eq__(self, other):
        return self.size == other.size
    def __call__(self):
        return self.size
    def __add__(self, other):
        return self
Colour = __import__("enum").Enum("Colour", "RED BLUE")
### END SOLUTION
"""
CHECKS = {
    "iterator class": "list(Down(3)) == [2, 1, 0] and next(Down(1)) == 0",
    "operators": "sum(build([1, 2])).n == 3 and (Money(1) + Money(2)).n == 3",
    "sorting": "[each.n for each in sorted(build([3, 1, 2]))] == [1, 2, 3]",
    "context manager": "opened(Door()) == [1, 2]",
    "own exceptions": "raised(fail) == ('Odd', True)",
    "objects as arguments": "amount(Money(5)) == 5 and amount(build([7])[0]) == 7",
    "iterators as arguments": "drain(squares(4)) == 14",
    "arguments by position and name": "changed() == ({'new': 1}, {'new'}, [9, 0])",
    "constants": "Colour.RED is Colour.RED and Colour.RED is not Colour.BLUE",
    "a class below a given one": "isinstance(Cat(), Pet) and Cat().noise() == 'meow!'",
    "a given class itself": "Pet().noise() == '!' and not isinstance(Pet(), Cat)",
    "a copy is refused": "refuses_copies(Cat())",
    "the type of a constant": "isinstance(Colour.RED, Colour)",
    "special methods by name": "hasattr(Bag, '__add__') and '__len__' in dir(Bag)",
    "kinds of objects": "isinstance(Bag(), Iterable) and isinstance(Bag(), Sized)",
    "a comparison of its own": "Bag.__eq__ is not object.__eq__ and callable(Bag())",
}
HELPERS = """
import copy
from collections.abc import Iterable, Sized
import numpy as np
from mograder.runtime import check
def refuses_copies(pet):
    try:
        copy.copy(pet).sound()
    except Exception as error:
        return "A copy" in str(error)
class Pet:
    def sound(self):
        return ""
    def noise(self):
        return self.sound() + "!"
def opened(door):
    with door as inside:
        found = [inside.opened]
    return [*found, door.opened]
def raised(function):
    try:
        function()
    except KeyError as error:
        return type(error).__name__, "odd" in str(error)
"""
LATE = """
def changed():
    table, names, cell = {}, set(), np.array([1, 0])
    add_to(table, names=names, cell=cell)
    return table, names, cell.tolist()
"""


@pytest.fixture(scope="module")
def runs(judge: Judge) -> tuple[Judged, Judged]:
    checks = [f"check('{name}', [(lambda: {code}, 'm')])" for name, code in CHECKS.items()]
    source = notebook(HELPERS, CLASSES, LATE, *checks)
    recorded = judge(source, source)
    return recorded, judge(source, source, contract=recorded.contract)


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_can_use(runs: tuple[Judged, Judged], name: str) -> None:
    for run in runs:
        assert run.passed[name] == [True], run.text


FIBONACCI = """
### BEGIN SOLUTION
{}
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)
### END SOLUTION
"""


@pytest.mark.parametrize("cached", ["author", "student"])
def test_a_cached_function_is_a_function(judge: Judge, cached: str) -> None:
    head = "import functools\nfrom mograder.runtime import check"
    plain, quick = FIBONACCI.format(""), FIBONACCI.format("@functools.cache")
    of_author, of_student = (quick, plain) if cached == "author" else (plain, quick)
    source = notebook(head, of_author, "check('Q1', [(lambda: fib(7) == 13, 'fib')])")
    contract = judge(source, source).contract
    run = judge(source, notebook(head, of_student), contract=contract)
    assert run.passed["Q1"] == [True], run.text


def test_what_a_check_rests_on_is_told(runs: tuple[Judged, Judged]) -> None:
    claims = {check["labels"][0]["label"]: check["claims"] for check in runs[1].checks}
    assert "Money.__lt__" in claims["sorting"]
    assert claims["a class below a given one"] == ["class Cat", "class Pet"]
    assert claims["constants"] == ["class Colour"]
    assert claims["arguments by position and name"] == []


SETS = """
### BEGIN SOLUTION
@dataclasses.dataclass(frozen=True)
class Tag:
    text: str
def tags():
    return {}
def unique(values):
    return {}
def far(n):
    return abs(n)
### END SOLUTION
"""


def test_keys_that_only_the_notebook_can_hash_fail_the_conditions_that_use_them(
    judge: Judge,
) -> None:
    head = "import dataclasses\nimport numpy as np\nfrom mograder.runtime import check"
    conditions = [
        "far(-3) == 3",
        "sorted(each.text for each in tags()) == ['a', 'b']",
        "Tag('a') == Tag('a') and hash(Tag('a')) == hash(Tag('a'))",
        "len(unique(np.array([1.0, np.nan]))) == 2",
        "len(unique(np.array([1.0, 1.0]))) == 1",
    ]
    listed = ", ".join(f"(lambda: {each}, 'm')" for each in conditions)
    given = "[Tag('a'), Tag('b')]", "list(np.unique(values))"
    source = notebook(head, SETS.format(*given), f"check('Q1', [{listed}])")
    recorded = judge(source, source)
    assert recorded.passed["Q1"] == [True] * 5, recorded.text
    work = notebook(head, SETS.format("{Tag('a'), Tag('b')}", "set(values)"))
    run = judge(source, work, contract=recorded.contract)
    assert run.passed["Q1"] == [True, False, True, False, True], run.text
    assert "`tags()` has keys, or elements of a set, that only the notebook can hash." in run.text
    assert "The result cannot be carried: a key or an element of a set is not a number" in run.text
