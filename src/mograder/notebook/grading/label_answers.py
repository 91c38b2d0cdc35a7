"""The answers that each label of a check depends on, and the text of its first condition.

A cell may hold several checks, and an answer that only one of them uses says nothing about the
others. Names are followed backwards from the call of the check, through assignments, loops and
functions of its cell. What decides whether the call runs at all (``if``, ``mo.stop``) is no part.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mograder.notebook.grading.grading_plan import GradingPlan, Part
from mograder.notebook.parsing import parse_python
from mograder.notebook.points import calls_of
from mograder.notebook.scopes import closure, names_read, names_stored

_LONGEST = 60


@dataclass(frozen=True, slots=True)
class LabelAnswers:
    """The names of answers that a label depends on, its line in the file, and its condition.

    ``condition`` is the text of the one condition that the check's list has, or empty.
    """

    label: str
    key: str
    line: int
    names: frozenset[str]
    condition: str = ""


def answers_of_labels(plan: GradingPlan) -> dict[tuple[int, str], LabelAnswers]:
    """Return the answers of the labels that are written as text, by their cell and label."""
    found = {}
    for part in plan.checks:
        for each in _labels(plan, part):
            found[part.cell, each.label] = each
    return found


def _labels(plan: GradingPlan, part: Part) -> Iterator[LabelAnswers]:
    facts = part.check
    nodes = list(ast.walk(parse_python(part.code)))
    for planned in facts.labels if facts is not None else ():
        if planned.label is None:
            continue
        names, condition = frozenset(part.answers), ""
        calls = dict(calls_of(planned.label, nodes))
        if calls:
            names &= _answers(plan, part, _reached(calls, nodes))
            condition = next(filter(None, map(_condition, calls.values())), "")
        key = planned.key or planned.label
        yield LabelAnswers(planned.label, key, planned.line, names, condition)


def _reached(calls: Iterable[ast.Call], nodes: list[ast.AST]) -> frozenset[str]:
    """Return the names that calls read, directly or through names of their cell."""
    own = names_stored(*nodes[:1])
    reads: dict[str, set[str]] = defaultdict(set)
    for node in nodes:
        for name, others in _bindings(node, own):
            reads[name] |= others
    return closure(names_read(*calls), lambda name: reads.get(name, ()))


def _bindings(node: ast.AST, own: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield each name that a node binds or changes, with the names that it reads for that.

    ``own`` are the names that the cell binds.
    """
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name, names_read(node)
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign() | ast.NamedExpr() | ast.With():
            reads = names_read(node)
            yield from ((name, reads) for name in names_stored(node))
        case ast.For(target=target, iter=value):
            reads = names_read(value)
            yield from ((name, reads) for name in names_stored(target))
        case ast.Expr(value=ast.Call(func=function, args=args) as call):
            changed = {each.id for each in args if isinstance(each, ast.Name)}
            if isinstance(function, ast.Attribute):
                changed |= own & names_read(function.value)  # `_list.append(value)`
            yield from ((name, names_read(call)) for name in changed)


def _answers(plan: GradingPlan, part: Part, names: frozenset[str]) -> frozenset[str]:
    """Return the answers among names, and those that given code needs for the others."""
    answers = {answer.name for answer in plan.answers}
    found = names & answers
    defines = {cell.index: frozenset(cell.defines) for cell in plan.cells}
    for other in plan.judged:
        if other.cell != part.cell and not names.isdisjoint(defines[other.cell] - answers):
            found |= frozenset(other.answers)
    return found


def _condition(given: ast.expr | None) -> str:
    """Return the text of the only condition in a check's list, if it is short."""
    nodes = ast.walk(given) if given is not None else ()
    match [each for each in nodes if isinstance(each, ast.List) and each.elts]:
        case [ast.List(elts=[ast.Tuple(elts=[condition, *_])]), *_]:
            body = condition.body if isinstance(condition, ast.Lambda) else condition
            text = ast.unparse(body)
            return text if len(text) <= _LONGEST else ""
    return ""
