"""Hidden tests that the released text gives away: the expected value stands in it. Pure.

A hidden test compares the result of an answer with a value of its own. A student who reads that
value, in a text, a comment or a visible check, can return it without solving anything. A hidden
test that repeats a visible one tests nothing more.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from mograder.notebook.cells import NotebookText, plain_text, split_lines
from mograder.notebook.grading.grading_plan import GradingPlan, Part
from mograder.notebook.parsing import parse_python
from mograder.notebook.source.solution_markers import BlockKind, find_blocks

_DIGITS = 3
"""Significant digits from which a number hardly stands in a text by chance."""
_CHARACTERS = 5
_CLOSE = {"isclose", "allclose", "approx", "assert_allclose", "array_equal", "equals"}
_NUMBER = re.compile(r"(?<![\w.])-?(?:\d+(?:[ _]\d{3})*(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?(?!\w)")
_SHOWN = 60


@dataclass(frozen=True, slots=True, order=True)
class GivenAway:
    """A hidden condition at ``line`` of the source, whose value stands in the release.

    ``value`` is the expected value, empty for a condition that a visible check repeats.
    ``release_line`` is the line of the release with it, and ``shown`` that line's text.
    """

    line: int
    cell: int
    value: str
    release_line: int
    shown: str


def given_away(
    notebook: NotebookText, release: str, plan: GradingPlan, filename: str
) -> tuple[GivenAway, ...]:
    """Return the hidden conditions of a source that its release gives away.

    Raises:
        InvalidInput: The markers in the source are wrong.
    """
    blocks = find_blocks(notebook.text, filename)
    spans = [(b.begin, b.end) for b in blocks if b.kind is BlockKind.HIDDEN]
    lines = split_lines(plain_text(release))
    visible = _visible_conditions(plan, spans)
    answers = frozenset(answer.name for answer in plan.answers)
    found = set()
    for part, node in _conditions(plan, spans, hidden=True):
        line = part.line + node.lineno - 1
        if _is_condition(node) and (repeated := visible.get(ast.dump(node))):
            found.add(_shown(line, part, "", repeated, notebook.lines))
        for value in _expected(node, answers):
            if number := next(_places(value, lines), 0):
                found.add(_shown(line, part, value, number, lines))
    return tuple(sorted(found))


def _conditions(
    plan: GradingPlan, spans: list[tuple[int, int]], *, hidden: bool
) -> Iterator[tuple[Part, ast.expr]]:
    """Yield the expressions in the hidden tests of checks, or in all other code of checks."""
    for part in plan.checks:
        for node in ast.walk(parse_python(part.code)):
            if isinstance(node, ast.expr) and _inside(part, node, spans) == hidden:
                yield part, node


def _shown(line: int, part: Part, value: str, place: int, lines: tuple[str, ...]) -> GivenAway:
    return GivenAway(line, part.cell, value, place, lines[place - 1].strip()[:_SHOWN])


def _inside(part: Part, node: ast.expr, spans: list[tuple[int, int]]) -> bool:
    line = part.line + node.lineno - 1
    return any(begin < line < end for begin, end in spans)


def _visible_conditions(plan: GradingPlan, spans: list[tuple[int, int]]) -> dict[str, int]:
    """Return the conditions of visible checks as dumped trees, with their lines in the source."""
    found: dict[str, int] = {}
    for part, node in _conditions(plan, spans, hidden=False):
        if _is_condition(node):
            found.setdefault(ast.dump(node), part.line + node.lineno - 1)
    return found


def _is_condition(node: ast.expr) -> bool:
    """Whether an expression compares the result of a call with values that are written there.

    Without a private name: it may mean other things in another cell.
    """
    match node:
        case ast.Compare() | ast.Call():
            nodes = list(ast.walk(node))
        case _:
            return False
    if isinstance(node, ast.Call) and _name_of(node.func) not in _CLOSE:
        return False
    names = [each.id for each in nodes if isinstance(each, ast.Name)]
    calls = sum(isinstance(each, ast.Call) for each in nodes)
    values = [each.value for each in nodes if isinstance(each, ast.Constant)]
    telling = [v for v in values if isinstance(v, int | float | str) and not isinstance(v, bool)]
    enough = calls > isinstance(node, ast.Call)
    return enough and bool(telling) and not any(name.startswith("_") for name in names)


def _expected(node: ast.expr, answers: frozenset[str]) -> Iterator[str]:
    """Yield the values, as text, that an expression compares an answer with."""
    match node:
        case ast.Compare(left=left, comparators=others):
            sides = [left, *others]
        case ast.Call(func=function, args=args) if _name_of(function) in _CLOSE:
            sides = list(args[:2])
        case _:
            return
    if not any(_uses(side, answers) for side in sides):
        return
    for side in sides:
        yield from _values(side, answers)


def _values(node: ast.expr, answers: frozenset[str]) -> Iterator[str]:
    """Yield the telling constants in an expression, without the arguments of calls of answers."""
    match node:
        case ast.Call(func=function) if _uses(function, answers) or _uses(node, answers):
            inner = [node.func, *node.args] if _name_of(node.func) in ("abs", "round") else []
            for each in inner:
                yield from _values(each, answers)
        case ast.Constant(value=value):
            if text := _telling(value):
                yield text
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)):
            if text := _telling(value):
                yield f"-{text}"
        case ast.Lambda() | ast.Subscript():
            return
        case _:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    yield from _values(child, answers)


def _uses(node: ast.AST, names: frozenset[str]) -> bool:
    return any(isinstance(each, ast.Name) and each.id in names for each in ast.walk(node))


def _telling(value: object) -> str:
    """Return a value as text, or "" if it may well stand in a text by chance."""
    if isinstance(value, str):
        # A word may be the name of a column, which the task has to tell.
        return value if len(value.strip()) >= _CHARACTERS and not value.isidentifier() else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    text = repr(value)
    digits = re.sub(r"[eE].*|\D", "", text).strip("0")
    return text if len(digits) >= _DIGITS else ""


def _places(value: str, lines: tuple[str, ...]) -> Iterator[int]:
    """Yield the lines, from 1, in which a value stands; a number in any spelling."""
    number = _as_number(value)
    for index, line in enumerate(lines, start=1):
        if line.startswith(("# mograder-", "__generated_with")):
            continue
        if number is None:
            if re.search(rf"(?<!\w){re.escape(value)}(?!\w)", line):
                yield index
        elif any(_as_number(each) == number for each in _NUMBER.findall(line)):
            yield index


def _as_number(text: str) -> float | None:
    try:
        return abs(float(re.sub(r"[ _]", "", text)))
    except ValueError:
        return None


def _name_of(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""
