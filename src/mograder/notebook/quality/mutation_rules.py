"""Small changes of code that usually make it wrong: the mutations of one syntax tree's node. Pure.

Only changes that a check should notice are made. Left out are changes of texts that people read
(messages, labels of figures), of seeds of random numbers, and of tiny numbers, which are
tolerances: a solution with another one of these is as good.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_OPPOSITES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_BOUNDARIES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}
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
_TOLERANCE = 1e-3
_MANY = 20
"""Repetitions from which on one more or less usually changes nothing."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """A change of code: the node ``old`` becomes ``new``; ``kind`` is a word for it."""

    kind: str
    old: ast.expr | ast.stmt
    new: ast.AST


def changes_of(node: ast.AST) -> Iterator[Mutation]:
    """Yield the changes of a statement, also of those within it."""
    if isinstance(node, ast.stmt) and _is_removable(node):
        yield Mutation("removed statement", node, ast.Pass())
    if isinstance(node, _PASSED_OVER) or _is_docstring(node):
        return
    if isinstance(node, ast.Call):
        yield from _call(node)
        return
    yield from _changes(node)
    for child in _parts(node):
        yield from changes_of(child)


def _is_removable(statement: ast.stmt) -> bool:
    match statement:
        case ast.AugAssign() | ast.Raise() | ast.Delete():
            return True
        case ast.Expr(value=ast.Call(func=function)):
            return not _is_talk(function)
    return False


def _changes(node: ast.AST) -> Iterator[Mutation]:
    """Yield the changes of a node itself."""
    match node:
        case ast.If(test=test) | ast.IfExp(test=test) if not isinstance(test, ast.Constant):
            yield Mutation("condition", test, ast.Constant(True))
            yield Mutation("condition", test, ast.Constant(False))
        case ast.comprehension(ifs=tests):
            yield from (Mutation("condition", test, ast.Constant(True)) for test in tests)
        case ast.Return(value=ast.expr() as value):
            if not (isinstance(value, ast.Constant) and value.value is None):
                yield Mutation("return", value, ast.Constant(None))
        case ast.Constant():
            yield from _constant(node)
        case _:
            yield from _operator(node)


def _operator(node: ast.AST) -> Iterator[Mutation]:
    match node:
        case ast.BinOp(left=left, op=op, right=right) if not _is_text(left):
            if other := _ARITHMETIC.get(type(op)):
                yield Mutation("operator", node, ast.BinOp(left, other(), right))
        case ast.AugAssign(target=target, op=op, value=value):
            if other := _ARITHMETIC.get(type(op)):
                yield Mutation("operator", node, ast.AugAssign(target, other(), value))
        case ast.Compare():
            yield from _comparisons(node)
        case ast.BoolOp(op=op, values=values):
            either = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield Mutation("condition", node, ast.BoolOp(either, values))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield Mutation("condition", node, operand)


def _parts(node: ast.AST) -> Iterable[ast.AST]:
    """Return the nodes below a node, without annotations."""
    match node:
        case ast.FunctionDef(args=given, body=body) | ast.AsyncFunctionDef(args=given, body=body):
            return [*given.defaults, *(each for each in given.kw_defaults if each), *body]
        case ast.AnnAssign(value=value):
            return [value] if value is not None else []
    return ast.iter_child_nodes(node)


def _call(node: ast.Call) -> Iterator[Mutation]:
    name = name_of(node.func)
    if name in _SEEDS or _is_talk(node.func):
        return
    match node:
        case ast.Call(func=ast.Name(id="abs"), args=[inner]):
            yield Mutation("call", node, inner)
        case ast.Call(func=ast.Name()) if name in _FUNCTIONS:
            yield Mutation("call", node.func, ast.Name(_FUNCTIONS[name]))
        case ast.Call(func=ast.Attribute(value=owner)) if name in _FUNCTIONS:
            yield Mutation("call", node.func, ast.Attribute(owner, _FUNCTIONS[name]))
    if isinstance(node.func, ast.Attribute):
        yield from changes_of(node.func.value)
    for given in node.args:
        if not (name in ("range", "arange", "linspace") and _is_many(given)):
            yield from changes_of(given)
    for keyword in node.keywords:
        if keyword.arg not in _LOOKS and keyword.arg not in _SEEDS:
            yield from changes_of(keyword.value)


def _comparisons(node: ast.Compare) -> Iterator[Mutation]:
    for number, operator in enumerate(node.ops):
        for kind, others in (("comparison", _OPPOSITES), ("boundary", _BOUNDARIES)):
            if other := others.get(type(operator)):
                ops = [*node.ops[:number], other(), *node.ops[number + 1 :]]
                yield Mutation(kind, node, ast.Compare(node.left, ops, node.comparators))


def _constant(node: ast.Constant) -> Iterator[Mutation]:
    match node.value:
        case bool(value):
            yield Mutation("constant", node, ast.Constant(not value))
        case int(value):
            yield Mutation("constant", node, ast.Constant(value + 1))
        case float(value) if abs(value) >= _TOLERANCE or value == 0:
            yield Mutation("constant", node, ast.Constant(value + 1))
        case str(value) if value and node.lineno == node.end_lineno:
            yield Mutation("constant", node, ast.Constant(f"{value}?"))


def _is_docstring(node: ast.AST) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _is_many(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value >= _MANY


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    )


def _is_talk(function: ast.expr) -> bool:
    """Whether a call is only for people: prints, and what a figure shows."""
    name = name_of(function)
    owner = function.value if isinstance(function, ast.Attribute) else None
    drawn = isinstance(owner, ast.Name) and owner.id in ("plt", "ax", "axes", "_axes", "fig", "mo")
    return name in _TALKS or drawn


def name_of(function: ast.expr) -> str:
    """Return the name of a called function, or of the method; "" for any other expression."""
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""
