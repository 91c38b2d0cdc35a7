"""The plan of grading: which code of a source runs where, and the names that cross between.

A submission is graded in two processes: the *worker* runs the student's notebook, and the *judge*
runs the teacher's cells. The plan of a source says, without running it, which cells are the
student's, given, or checks; which names the judge asks the worker for; and which code it runs, in
marimo's order. Cells depend on each other by names, as marimo draws them.

A given cell that uses an answer (``pred = model(x_test)``) runs in the judge, on the answer's
value: the teacher's code is always the teacher's. A name that a student's cell imports
(``import numpy as np``) is bound by the author's own import, once the worker says that the answer
has the name; a module is no data.

A cell may hold several checks, and an answer that only one of them uses says nothing about the
others. So for each label names are followed backwards from the call of its check, through
assignments, loops and functions of its cell. What decides whether the call runs at all (``if``,
``mo.stop``) is no part.

A check may read an answer's text by ``inspect.getsource``. What a worker says of its functions is
its own claim. So the judge gets the text from the submitted file itself, which the process that
starts it has parsed.

A plan holds the hidden tests, so it stays where the source is. Names with a leading underscore
belong to one cell, so the judge has to keep those of different parts apart, as marimo does.

The kinds of values and the weights of labels are not in the plan, because only a run can tell them.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Literal

from pydantic import BaseModel, ConfigDict

from mograder.notebook.cells import (
    CellKind,
    LineEdit,
    NotebookText,
    parse_cells,
    replace_lines,
    split_lines,
    statements_of,
)
from mograder.notebook.parsing import parse_python
from mograder.notebook.points import calls_in
from mograder.notebook.scopes import bound_names, closure, names_read, names_stored

VERSION: Literal[1] = 1

_READERS = ("getsource", "getsourcelines")
_MOST_BYTES = 40_000
"""Of the texts of one notebook together, as JSON, which the judge gets through a pipe."""

_LONGEST = 60


class Role(StrEnum):
    """What a cell of a source is for; every cell has exactly one role."""

    STUDENT = "student"
    """Students may change it: it has a solution block, or a written answer."""
    CHECK = "check"
    MARKS = "marks"
    GIVEN = "given"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PlannedCell(_Record):
    """A cell of the source, by its index; ``line`` is the file's first line of its code.

    ``defines`` and ``uses`` are the names that other cells use, and those that other cells define,
    sorted; both are empty if marimo cannot run the cell. ``disabled`` cells do not run, by
    themselves or because of a cell that they depend on.
    """

    index: int
    line: int
    name: str
    kind: CellKind
    role: Role
    defines: tuple[str, ...]
    uses: tuple[str, ...]
    disabled: bool = False


class Answer(_Record):
    """A name that crosses from the worker to the judge, and the student cells that define it.

    ``imported`` is the author's import of the name, empty for all other names.
    """

    name: str
    cells: tuple[int, ...]
    imported: str = ""


class PlannedLabel(_Record):
    """A label of a check, its question's key, and its line in the file.

    ``label`` is None if it is known only when the check runs; ``key`` may then still be known.
    ``hidden``: it has hidden tests, or what it asks can depend on some, so it is not for students.
    ``visible`` are the messages of those conditions of a hidden one that stand in the release and
    are evaluated before any hidden test of the cell.
    """

    label: str | None
    key: str | None
    line: int
    hidden: bool = False
    visible: tuple[str, ...] = ()


class CheckFacts(_Record):
    """What distinguishes a check from other code of the judge.

    ``asserts`` is set for a cell ``test_<key>`` without a call of ``check``: it counts as one check
    that passes if nothing is raised. ``call`` is the name of an ``@app.function`` that is to be
    called, or empty. ``split`` means that the code stood behind an answer in one cell; ``hidden``
    that it has hidden tests. ``waits`` are its calls without conditions by label
    (:func:`~mograder.notebook.grading.check_calls.waiting_calls`).
    """

    labels: tuple[PlannedLabel, ...]
    asserts: bool = False
    call: str = ""
    split: bool = False
    hidden: bool = False
    waits: dict[str, int] = {}


class Part(_Record):
    """Code of a cell that is run for grading; ``line`` is its first line in the file.

    ``uses`` are the names that other code of the notebook defines; ``answers`` those names of
    answers that it depends on, directly or through other parts. ``check`` is None for given code.
    """

    cell: int
    line: int
    code: str
    uses: tuple[str, ...]
    answers: tuple[str, ...] = ()
    check: CheckFacts | None = None


class GradingPlan(_Record):
    """The plan of one source; all parts are in the order in which marimo runs their cells.

    ``template`` runs once for an assignment, and ``judged`` after it for each submission: the
    checks, and the given code that depends on answers. ``beside`` are the checks that run beside
    the answers because their author marked them ``# mograder: unprotected``; their code is empty
    where it cannot be divided from the answer, so that only the submission's own cell has it.
    ``marks``
    are the available marks by key, None without a cell of marks.
    """

    version: Literal[1] = VERSION
    source_sha256: str
    cells: tuple[PlannedCell, ...]
    answers: tuple[Answer, ...]
    template: tuple[Part, ...]
    judged: tuple[Part, ...]
    beside: tuple[Part, ...] = ()
    marks: dict[str, float] | None = None

    @property
    def checks(self) -> tuple[Part, ...]:
        """The checks that run in the judge."""
        return tuple(part for part in self.judged if part.check is not None)


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


def source_sha256(text: str) -> str:
    """Return the SHA-256 of a source's bytes, in hex, from its text as UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def code_digest(code: str) -> str:
    """Return the SHA-256 by which a worker recognises the code of a cell."""
    return hashlib.sha256(code.strip().encode("utf-8", "replace")).hexdigest()


def render_plan(plan: GradingPlan) -> str:
    """Return a plan as JSON; equal plans give equal texts."""
    return plan.model_dump_json(indent=1) + "\n"


def with_checks(plan: GradingPlan) -> frozenset[int]:
    """Return the cells that hold checks which run, also checks that run beside the answers."""
    return frozenset(part.cell for part in (*plan.checks, *plan.beside))


def keys_when_run(part: Part) -> frozenset[str]:
    """Return the keys of a check's labels if some of them are known only when it runs."""
    labels = part.check.labels if part.check is not None else ()
    computed = any(each.label is None for each in labels)
    return frozenset(each.key for each in labels if computed and each.key is not None)


def checks_below(plan: GradingPlan, cell: int) -> frozenset[int]:
    """Return the cells with checks that depend on a cell, directly or not; itself, if it has."""
    return with_checks(plan) & cells_below(plan, cell)


def cells_below(plan: GradingPlan, cell: int) -> frozenset[int]:
    """Return a cell with all cells that depend on it, directly or not."""
    users: dict[str, list[int]] = defaultdict(list)
    for each in plan.cells:
        for name in each.uses:
            users[name].append(each.index)
    defines = {each.index: each.defines for each in plan.cells}
    return closure([cell], lambda index: (one for name in defines[index] for one in users[name]))


def needed_cells(plan: GradingPlan, cells: Iterable[int]) -> frozenset[int]:
    definers: dict[str, list[int]] = defaultdict(list)
    for each in plan.cells:
        for name in each.defines:
            definers[name].append(each.index)
    uses = {each.index: each.uses for each in plan.cells}
    return closure(cells, lambda index: (one for name in uses[index] for one in definers[name]))


def needed_names(plan: GradingPlan) -> frozenset[str]:
    """Return the names of students' cells that checks depend on, directly or through cells."""
    cells = needed_cells(plan, with_checks(plan))
    used = {name for cell in plan.cells if cell.index in cells for name in cell.uses}
    students = {name for cell in plan.cells if cell.role is Role.STUDENT for name in cell.defines}
    return frozenset(used & students)


def only_cells(notebook: NotebookText, cells: Collection[int]) -> str:
    others = (each for each in notebook.cells if each.index not in cells)
    return replace_lines(notebook.lines, [LineEdit(each.first, each.last) for each in others])


def answers_of_labels(plan: GradingPlan) -> dict[tuple[int, str], LabelAnswers]:
    """Return the answers of the labels that are written as text, by their cell and label."""
    return {(part.cell, each.label): each for part in plan.checks for each in _labels(plan, part)}


def answers_read(plan: GradingPlan) -> frozenset[str]:
    """Return the answers whose text a check may read: all or none."""
    parts = chain(plan.template, plan.judged)
    reads = any(reader in part.code for part in parts for reader in _READERS)
    return frozenset(answer.name for answer in plan.answers) if reads else frozenset()


def answer_texts(notebook: NotebookText, names: Collection[str]) -> Mapping[str, str]:
    """Return the text of the statement that binds each of the names last, as far as there is one.

    Names that a notebook defines after too much text are left out.
    """
    found: dict[str, str] = {}
    if not names:
        return found
    for cell in notebook.cells:
        code = "" if cell.kind is CellKind.UNPARSABLE else cell.code
        for node in statements_of(code):
            for name in bound_names([node]) & set(names):
                found[name] = _text(cell.code, node)
    left = _MOST_BYTES
    for name, text in tuple(found.items()):
        left -= len(json.dumps(text))
        if left < 0:
            del found[name]
    return found


def texts_of(text: str, filename: str, plan: GradingPlan) -> Mapping[str, str]:
    """Return the texts of a notebook's answers that the checks of a plan may read.

    Raises: InvalidInput if the notebook cannot be parsed.
    """
    names = answers_read(plan)
    return answer_texts(parse_cells(text, filename), names) if names else {}


def _text(code: str, node: ast.stmt) -> str:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    first = min((each.lineno for each in decorators), default=node.lineno)
    return "".join(split_lines(code)[first - 1 : node.end_lineno])


def _labels(plan: GradingPlan, part: Part) -> Iterator[LabelAnswers]:
    nodes = list(ast.walk(parse_python(part.code)))
    answers = {answer.name for answer in plan.answers}
    defines = {cell.index: frozenset(cell.defines) for cell in plan.cells}
    for planned in part.check.labels if part.check is not None else ():
        if planned.label is None:
            continue
        names, condition = frozenset(part.answers), ""
        found = (each for each in calls_in(nodes) if each.label == planned.label)
        calls = {each.node: each.conditions for each in found}
        if calls:
            reached = _reached(calls, nodes)
            # Given code may need answers for the others.
            given = [o for o in plan.judged if o.cell != part.cell]
            given = [o for o in given if reached & (defines[o.cell] - answers)]
            names &= (reached & answers).union(*(other.answers for other in given))
            condition = next(filter(None, map(_condition, calls.values())), "")
        key = planned.key or planned.label
        yield LabelAnswers(planned.label, key, planned.line, names, condition)


def _condition(given: ast.expr | None) -> str:
    """Return the text of the only condition in a check's list, if it is short."""
    either = [given.body, given.orelse] if isinstance(given, ast.IfExp) else [given]
    match [each for each in either if isinstance(each, ast.List) and each.elts]:
        case [ast.List(elts=[ast.Tuple(elts=[condition, *_])])]:
            body = condition.body if isinstance(condition, ast.Lambda) else condition
            text = ast.unparse(body)
            return text if len(text) <= _LONGEST else ""
    return ""


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
