"""Mutants of an author's solution: the notebook with one small change that makes it wrong. Pure.

A check that passes for a mutant does not notice that mistake. Only code in solution blocks is
changed, and of that only statements on which a check depends. A changed cell is written anew from
its syntax tree, without comments.

Only changes that a check should notice are made. Left out are changes of texts that people read
(messages, labels of figures), of seeds of random numbers, and of tiny numbers, which are
tolerances: a solution with another one of these is as good.

Digests of the answers of a run tell whether a mutant gives other answers at all. A cell at the end
of the notebook prints them. Numbers count with six digits, so a difference in rounding makes no
other digest. Functions and objects have none.
"""

from __future__ import annotations

import ast
import json
import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mograder.notebook.cells import (
    Cell,
    CellKind,
    LineEdit,
    NotebookText,
    plain_text,
    replace_lines,
)
from mograder.notebook.grading.grading_plan import GradingPlan, Role, checks_below, needed_names
from mograder.notebook.parsing import parse_python
from mograder.notebook.scopes import bound_names, closure, names_read
from mograder.notebook.source.solution_markers import BlockKind, find_blocks

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

_DIGESTS = "mograder digests: "
_PROBE = """\
import hashlib as _hashlib
import json as _json

def _told(value):
    if value is None or value is ... or isinstance(value, (bool, str, bytes)):
        return repr(value)
    if isinstance(value, (int, float, complex)):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_told(k)}:{_told(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (set, frozenset)):
        return "{" + ",".join(sorted(map(_told, value))) + "}"
    if isinstance(value, (list, tuple)):
        return type(value).__name__ + "[" + ",".join(map(_told, value)) + "]"
    root = type(value).__module__.partition(".")[0]
    if root == "numpy" and hasattr(value, "tolist"):
        return f"{value.dtype.kind}{value.shape}" + _told(value.tolist())
    if root == "pandas" and hasattr(value, "to_csv"):
        return type(value).__name__ + value.to_csv(float_format="%.6g")
    if root == "polars" and hasattr(value, "write_csv"):
        return value.write_csv(float_precision=6)
    if root in ("datetime", "decimal", "fractions"):
        return repr(value)
    raise TypeError

def _digest(value):
    try:
        return _hashlib.sha256(_told(value).encode()).hexdigest()[:16]
    except Exception:
        return None

print("MARK" + _json.dumps({PAIRS}))
"""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed notebook; ``line`` is that of the change in the source, in the cell ``cell``.

    ``kind`` is a word for the change; ``diff`` shows it as lines that begin with ``-`` and ``+``.
    """

    cell: int
    line: int
    kind: str
    diff: str
    text: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """A change of code: the node ``old`` becomes ``new``; ``kind`` is a word for it."""

    kind: str
    old: ast.expr | ast.stmt
    new: ast.AST


def mutants_of(notebook: NotebookText, plan: GradingPlan, filename: str) -> tuple[Mutant, ...]:
    """Return the mutants of a source, in the order of the file.

    Raises: InvalidInput if the markers in the source are wrong.
    """
    blocks = find_blocks(notebook.text, filename)
    spans = [(each.begin, each.end) for each in blocks if each.kind is BlockKind.SOLUTION]
    names = needed_names(plan)
    found: dict[str, Mutant] = {}
    tree = parse_python(plain_text(notebook.text), filename, to_change=True)
    for planned in plan.cells:
        if planned.role is not Role.STUDENT or not checks_below(plan, planned.index):
            continue
        cell = notebook.cells[planned.index]
        node = next(each for each in tree.body if cell.first <= each.lineno <= cell.last)
        statements = _relevant(node, cell, names)
        for change in (change for each in statements for change in _changes_of(each)):
            first, last = change.old.lineno, change.old.end_lineno or change.old.lineno
            if any(begin < first and last < end for begin, end in spans):
                mutant = _mutant(notebook, cell, node, change)
                found.setdefault(mutant.text, mutant)
    return tuple(each for each in found.values() if each.diff)


def choose(mutants: Sequence[Mutant], most: int, seed: int) -> tuple[Mutant, ...]:
    """Return at most ``most`` mutants, spread over the lines; the same for the same seed."""
    if len(mutants) <= most:
        return tuple(mutants)
    numbers = random.Random(seed)  # noqa: S311 - a choice that can be repeated
    by_line: dict[int, list[int]] = defaultdict(list)
    for index, mutant in enumerate(mutants):
        by_line[mutant.line].append(index)
    for indexes in by_line.values():
        numbers.shuffle(indexes)
    lines = list(by_line.values())
    numbers.shuffle(lines)
    chosen: list[int] = []
    while len(chosen) < most:
        for indexes in lines:
            if indexes and len(chosen) < most:
                chosen.append(indexes.pop())
    return tuple(mutants[index] for index in sorted(chosen))


def with_digests(notebook: NotebookText, names: Collection[str]) -> str:
    """Return a notebook whose last cell prints the digests of the values of these names."""
    pairs = ", ".join(f'"{name}": _digest({name})' for name in sorted(names))
    code = _PROBE.replace("MARK", _DIGESTS).replace("PAIRS", pairs)
    indented = [f"    {line}" if line else "" for line in code.rstrip("\n").split("\n")]
    last = notebook.cells[-1].last
    cell = ("", "", "@app.cell", "def _():", *indented, "    return")
    return replace_lines(notebook.lines, [LineEdit(last + 1, last, cell)])


def read_digests(printed: str) -> Mapping[str, str | None]:
    """Return the digests that such a cell has printed, by name; nothing if it did not run."""
    for line in printed.splitlines():
        if line.startswith(_DIGESTS):
            try:
                found = json.loads(line.removeprefix(_DIGESTS))
            except ValueError:
                break
            return found if isinstance(found, dict) else {}
    return {}


def _relevant(node: ast.stmt, cell: Cell, names: frozenset[str]) -> Iterator[ast.stmt]:
    """Yield the statements of a cell that the value of one of these names depends on."""
    if cell.kind in (CellKind.FUNCTION, CellKind.CLASS):
        yield node
        return
    statements: list[ast.stmt] = getattr(node, "body", [])
    own = bound_names(statements)
    facts = [(each, bound_names([each]) | (_changed(each) & own)) for each in statements]
    wanted = closure(
        names,
        lambda name: names_read(*(each for each, bound in facts if name in bound)),
    )
    for each, bound in facts:
        if bound & wanted and not isinstance(each, ast.Return | ast.Import | ast.ImportFrom):
            yield each


def _changed(statement: ast.stmt) -> frozenset[str]:
    """Return the names whose objects a statement may change: of its calls and subscripts."""
    found = set()
    for node in ast.walk(statement):
        match node:
            case ast.Expr(value=ast.Call(func=function, args=args)):
                found |= {each.id for each in args if isinstance(each, ast.Name)}
                if isinstance(function, ast.Attribute):
                    found |= names_read(function.value)
            case (
                ast.Subscript(value=value, ctx=ast.Store())
                | ast.Attribute(value=value, ctx=ast.Store())
            ):
                found |= names_read(value)
    return frozenset(found)


def _mutant(notebook: NotebookText, cell: Cell, node: ast.stmt, change: Mutation) -> Mutant:
    old = ast.unparse(node).split("\n")
    _Swap(change.old, change.new).visit(node)
    new = ast.unparse(node).split("\n")
    _Swap(change.new, change.old).visit(node)
    text = replace_lines(notebook.lines, [LineEdit(cell.first, cell.last, tuple(new))])
    # Only the lines that differ are told, without the indent that they share.
    most = min(len(old), len(new))
    head = next((at for at in range(most) if old[at] != new[at]), most)
    tail = next((at for at in range(most - head) if old[-1 - at] != new[-1 - at]), most - head)
    sides = (("- ", old[head : len(old) - tail]), ("+ ", new[head : len(new) - tail]))
    indents = (len(line) - len(line.lstrip()) for _, lines in sides for line in lines)
    indent = min(indents, default=0)  # 1e300 + 1 is 1e300
    diff = "\n".join(f"{mark}{line[indent:]}" for mark, lines in sides for line in lines)
    return Mutant(cell.index, change.old.lineno, change.kind, diff, text)


@dataclass(frozen=True)
class _Swap(ast.NodeTransformer):
    old: ast.AST
    new: ast.AST

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


def _changes_of(node: ast.AST) -> Iterator[Mutation]:
    match node:
        case ast.AugAssign() | ast.Raise() | ast.Delete():
            yield Mutation("removed statement", node, ast.Pass())
        case ast.Expr(value=ast.Call(func=function)) if not _is_talk(function):
            yield Mutation("removed statement", node, ast.Pass())
        case ast.Expr(value=ast.Constant(value=str())):
            return
        case ast.Call():
            yield from _call(node)
            return
    if isinstance(node, _PASSED_OVER):
        return
    yield from _changes(node)
    for child in _parts(node):
        yield from _changes_of(child)


def _changes(node: ast.AST) -> Iterator[Mutation]:
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
        yield from _changes_of(node.func.value)
    for given in node.args:
        number = given.value if isinstance(given, ast.Constant) else 0
        many = isinstance(number, int) and number >= _MANY
        if not (name in ("range", "arange", "linspace") and many):
            yield from _changes_of(given)
    for keyword in node.keywords:
        if keyword.arg not in _LOOKS and keyword.arg not in _SEEDS:
            yield from _changes_of(keyword.value)


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
