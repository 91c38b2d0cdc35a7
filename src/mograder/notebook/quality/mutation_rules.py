"""Small changes of code that usually make it wrong: the mutations of one syntax tree's node. Pure.

Only changes that a check should notice are made. Left out are changes of texts that people read
(messages, labels of figures), of seeds of random numbers, and of tiny numbers, which are
tolerances: a solution with another one of these is as good.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.FloorDiv: "/",
    ast.Mod: "*",
    ast.Pow: "*",
    ast.BitAnd: "|",
    ast.BitOr: "&",
}
_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.BitAnd: "&",
    ast.BitOr: "|",
}
_COMPARED: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.Is: "is",
    ast.IsNot: "is not",
}
_OPPOSITES = {
    "<": ">=",
    "<=": ">",
    ">": "<=",
    ">=": "<",
    "==": "!=",
    "!=": "==",
    "in": "not in",
    "not in": "in",
    "is": "is not",
    "is not": "is",
}
_BOUNDARIES = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_FUNCTIONS = {
    "min": "max",
    "max": "min",
    "argmin": "argmax",
    "argmax": "argmin",
    "any": "all",
    "all": "any",
    "mean": "sum",
    "floor": "ceil",
    "ceil": "floor",
    "sin": "cos",
    "cos": "sin",
    "sorted": "list",
    "union": "intersection",
    "intersection": "union",
    "startswith": "endswith",
    "endswith": "startswith",
}
"""Functions and methods that are often mistaken for one another."""

_SEEDS = frozenset(("seed", "random_state", "default_rng", "Random", "RandomState"))
_TALKS = frozenset(
    (
        *("print", "title", "suptitle", "xlabel", "ylabel", "legend", "text", "annotate", "md"),
        *("set_title", "set_xlabel", "set_ylabel", "set_label", "format", "warn"),
    )
)
"""Functions whose texts are for people."""

_LOOKS = frozenset(
    (
        *("label", "title", "xlabel", "ylabel", "color", "c", "marker", "linestyle", "ls", "lw"),
        *("linewidth", "alpha", "figsize", "fontsize", "s", "cmap", "message", "dpi"),
        *("inplace", "copy", "stacklevel", "encoding"),
    )
)
"""Arguments that change a picture's look, or nothing that a check could see."""

_PASSED_OVER = (ast.JoinedStr, ast.Raise, ast.Assert, ast.Import, ast.ImportFrom)
"""Texts for people, and nodes whose positions Python 3.11 does not know."""

_TOLERANCE = 1e-3
_MANY = 20
"""Repetitions from which on one more or less usually changes nothing."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """A change of code: the positions (line from 1, column in bytes) from ``start`` to ``end``.

    What stands there becomes ``text``. ``kind`` is a word for the kind of change.
    """

    kind: str
    start: tuple[int, int]
    end: tuple[int, int]
    text: str
    before: str = ""
    """If not empty, only this text's first occurrence between the positions is replaced."""


def changes_of(statement: ast.stmt) -> Iterator[Mutation]:
    """Yield the changes of one statement, also of those within it."""
    yield from _changes(statement)


def removal(statement: ast.stmt) -> Mutation | None:
    """Return the removal of a statement; None where nothing would be left to notice."""
    match statement:
        case ast.AugAssign() | ast.Raise() | ast.Delete():
            pass
        case ast.Expr(value=ast.Call(func=function)) if not _is_talk(function):
            pass
        case _:
            return None
    return Mutation("removed statement", _start(statement), _end(statement), "pass")


def _changes(node: ast.AST) -> Iterator[Mutation]:
    if isinstance(node, ast.stmt) and (gone := removal(node)) is not None:
        yield gone
    if isinstance(node, _PASSED_OVER) or _is_docstring(node):
        return
    if isinstance(node, ast.Call):
        yield from _call(node)
        return
    make = _OF_NODES.get(type(node))
    if make is not None:
        yield from make(node)
    for child in _parts(node):
        yield from _changes(child)


def _parts(node: ast.AST) -> Iterable[ast.AST]:
    """Return the nodes below a node, without annotations."""
    match node:
        case ast.FunctionDef(args=given, body=body) | ast.AsyncFunctionDef(args=given, body=body):
            return [*given.defaults, *(each for each in given.kw_defaults if each), *body]
        case ast.AnnAssign(value=value):
            return [value] if value is not None else []
    return ast.iter_child_nodes(node)


def _call(node: ast.Call) -> Iterator[Mutation]:
    name = _name_of(node.func)
    if name in _SEEDS or _is_talk(node.func):
        return
    if name in _FUNCTIONS:
        end = _end(node.func)
        start = (end[0], end[1] - len(name.encode()))
        yield Mutation("call", start, end, _FUNCTIONS[name])
    if name == "abs" and len(node.args) == 1 and isinstance(node.func, ast.Name):
        yield Mutation("call", _start(node.func), _end(node.func), "")
    if isinstance(node.func, ast.Attribute):
        yield from _changes(node.func.value)
    for given in node.args:
        if not (name in ("range", "arange", "linspace") and _is_many(given)):
            yield from _changes(given)
    for keyword in node.keywords:
        if keyword.arg not in _LOOKS and keyword.arg not in _SEEDS:
            yield from _changes(keyword.value)


def _negation(node: ast.UnaryOp) -> Iterator[Mutation]:
    if isinstance(node.op, ast.Not):
        yield Mutation("condition", _start(node), _start(node.operand), "", "not")


def _filter(node: ast.comprehension) -> Iterator[Mutation]:
    for test in node.ifs:
        yield Mutation("condition", _start(test), _end(test), "True")


def _returned(node: ast.Return) -> Iterator[Mutation]:
    if node.value is not None and not _is_none(node.value):
        yield Mutation("return", _start(node.value), _end(node.value), "None")


def _arithmetic(node: ast.BinOp) -> Iterator[Mutation]:
    before, after = _OPERATORS.get(type(node.op)), _ARITHMETIC.get(type(node.op))
    text = isinstance(node.left, ast.Constant | ast.JoinedStr) and _is_text(node.left)
    if before and after and not text:
        yield Mutation("operator", _end(node.left), _start(node.right), after, before)


def _augmented(node: ast.AugAssign) -> Iterator[Mutation]:
    before, after = _OPERATORS.get(type(node.op)), _ARITHMETIC.get(type(node.op))
    if before and after:
        place = _end(node.target), _start(node.value)
        yield Mutation("operator", *place, f"{after}=", f"{before}=")


def _comparisons(node: ast.Compare) -> Iterator[Mutation]:
    ends = [node.left, *node.comparators]
    for number, operator in enumerate(node.ops):
        before = _COMPARED[type(operator)]
        place = _end(ends[number]), _start(ends[number + 1])
        yield Mutation("comparison", *place, _OPPOSITES[before], before)
        if before in _BOUNDARIES:
            yield Mutation("boundary", *place, _BOUNDARIES[before], before)


def _connective(node: ast.BoolOp) -> Iterator[Mutation]:
    before, after = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
    place = _end(node.values[0]), _start(node.values[1])
    yield Mutation("condition", *place, after, before)


def _condition(node: ast.If | ast.IfExp) -> Iterator[Mutation]:
    for value in ("True", "False"):
        if not isinstance(node.test, ast.Constant):
            yield Mutation("condition", _start(node.test), _end(node.test), value)


def _constant(node: ast.Constant) -> Iterator[Mutation]:
    place = _start(node), _end(node)
    match node.value:
        case bool(value):
            yield Mutation("constant", *place, str(not value))
        case int(value):
            yield Mutation("constant", *place, str(value + 1))
        case float(value) if abs(value) >= _TOLERANCE or value == 0:
            yield Mutation("constant", *place, repr(value + 1))
        case str(value) if value and node.lineno == node.end_lineno:
            yield Mutation("constant", *place, repr(f"{value}?"))


_OF_NODES: Mapping[type[ast.AST], Callable[[Any], Iterator[Mutation]]] = {
    ast.BinOp: _arithmetic,
    ast.AugAssign: _augmented,
    ast.Compare: _comparisons,
    ast.BoolOp: _connective,
    ast.UnaryOp: _negation,
    ast.If: _condition,
    ast.IfExp: _condition,
    ast.comprehension: _filter,
    ast.Return: _returned,
    ast.Constant: _constant,
}


def _is_docstring(node: ast.AST) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _is_many(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value >= _MANY


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    )


def _is_talk(function: ast.expr) -> bool:
    """Whether a call is only for people: prints, and what a figure shows."""
    name = _name_of(function)
    owner = function.value if isinstance(function, ast.Attribute) else None
    drawn = isinstance(owner, ast.Name) and owner.id in ("plt", "ax", "axes", "_axes", "fig", "mo")
    return name in _TALKS or drawn


def _name_of(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _start(node: ast.expr | ast.stmt) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: ast.expr | ast.stmt) -> tuple[int, int]:
    return node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
