"""The roles of a source's cells, and the teacher's code in each.

A check in one cell with the answer is divided from it where that changes nothing: the statements
behind the last solution block become a part of their own, if they stand at the cell's top level,
bind no name that other cells use, and read no name that marimo keeps to the cell.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mograder.notebook.cells import Cell, CellKind, NotebookText
from mograder.notebook.findings import Finding
from mograder.notebook.grading.check_calls import (
    Checkers,
    check_calls,
    checkers_in,
    checks_when_run,
    is_unprotected,
    waiting_calls,
)
from mograder.notebook.grading.grading_plan import CheckFacts, Part, PlannedLabel, Role
from mograder.notebook.parsing import CellNames, NotPython, cell_names, parse_python
from mograder.notebook.points import (
    asks_for_answer,
    is_marks_cell,
    key_tested_by,
    labels_in,
    takes_arguments,
)
from mograder.notebook.source.solution_markers import Block, BlockKind

_OWN_CELL = "Put it into a cell of its own."
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class CellCode:
    """A cell as read: its syntax tree and names, its blocks, and why marimo cannot run it."""

    cell: Cell
    tree: ast.Module
    names: CellNames
    blocks: tuple[Block, ...]
    reason: str = ""

    @property
    def hidden(self) -> tuple[int, ...]:
        """The file's lines in which hidden tests begin."""
        return tuple(block.begin for block in self._hidden_blocks)

    @property
    def _hidden_blocks(self) -> list[Block]:
        return [block for block in self.blocks if block.kind is BlockKind.HIDDEN]

    def runs_above(self, first: int, last: int) -> bool:
        """Whether lines of the cell (from 1) run before all its hidden tests, and not again.

        A loop runs what is in it again, and a function what is in it at any time.
        """
        around = [
            node
            for node in ast.walk(self.tree)
            if isinstance(node, (*_LOOPS, *_FUNCTIONS))
            and node.lineno <= first
            and last <= (node.end_lineno or 0)
        ]
        end = self.cell.line_of(max([last, *(node.end_lineno or 0 for node in around)]))
        in_function = any(isinstance(node, _FUNCTIONS) for node in around)
        return end < min(self.hidden) and not in_function

    def is_hidden(self, statement: ast.stmt) -> bool:
        line = self.line_of(statement)
        return any(block.begin < line < block.end for block in self._hidden_blocks)

    @property
    def solutions(self) -> tuple[Block, ...]:
        return tuple(block for block in self.blocks if block.kind is BlockKind.SOLUTION)

    def behind(self) -> list[ast.stmt]:
        """Return the statements of the top level that begin behind the last solution block."""
        end = max((block.end for block in self.solutions), default=0)
        return [each for each in self.tree.body if end and self.line_of(each) > end]

    def line_of(self, statement: ast.stmt) -> int:
        return self.cell.line_of(_first(statement))


@dataclass(slots=True)
class CellRole:
    """A cell's role and its part of the teacher's code, whose names are not yet looked up.

    ``names`` are those of the cell, without the part where that is divided from an answer.
    """

    code: CellCode
    role: Role
    names: CellNames
    part: Part | None = None
    unprotected: bool = False

    @property
    def cell(self) -> Cell:
        return self.code.cell

    @property
    def check(self) -> bool:
        return self.part is not None and self.part.check is not None

    @property
    def used(self) -> frozenset[str]:
        return self.names.used | frozenset(self.part.uses if self.part is not None else ())


@dataclass(frozen=True, slots=True)
class FoundSoFar:
    """The mistakes and the advice that were found in a file so far."""

    filename: str
    errors: list[Finding] = field(default_factory=list)
    advice: list[Finding] = field(default_factory=list)

    def error(self, line: int, message: str, hint: str = _OWN_CELL) -> None:
        self.errors.append(Finding(self.filename, line, message, hint))

    def advise(self, line: int, message: str, hint: str) -> None:
        self.advice.append(Finding(self.filename, line, message, hint))


def read_codes(notebook: NotebookText, blocks: Sequence[Block]) -> tuple[CellCode, ...]:
    """Return the cells of a notebook as read, also those that marimo cannot run."""
    codes = []
    for cell in notebook.cells:
        inside = tuple(block for block in blocks if cell.first <= block.begin <= cell.last)
        tree, names, reason = ast.Module([], []), CellNames(), "it is no Python"
        if cell.kind is not CellKind.UNPARSABLE:
            try:
                names = cell_names(cell.code)
                tree, reason = parse_python(cell.code), ""
            except NotPython as error:
                reason = error.reason
        codes.append(CellCode(cell, tree, names, inside, reason))
    return tuple(codes)


def roles_of(
    codes: Sequence[CellCode],
    marks: Mapping[str, float] | None,
    found: FoundSoFar,
    unprotected: Collection[str] = (),
) -> list[CellRole]:
    """Return the cells with their roles; mistakes and advice are added to ``found``.

    ``unprotected`` are keys of questions whose checks may run beside the answers.
    """
    return _Division(codes, marks, found, frozenset(unprotected)).roles()


class _Division:
    def __init__(
        self,
        codes: Sequence[CellCode],
        marks: Mapping[str, float] | None,
        findings: FoundSoFar,
        unprotected: frozenset[str],
    ) -> None:
        self._unprotected = unprotected
        self._codes = codes
        self._marks = marks
        self._findings = findings
        self._checkers = checkers_in([(code.tree, code.names) for code in codes])

    def roles(self) -> list[CellRole]:
        return [self._role(code) for code in self._codes]

    def _role(self, code: CellCode) -> CellRole:
        cell = code.cell
        checkers = self._checkers.within(code.names)
        key = self._tested_key(code)
        checks = bool(code.hidden) or key is not None or checks_when_run(code.tree.body, checkers)
        checks = checks or (bool(code.reason) and any(labels_in(cell.code)))
        if code.solutions or asks_for_answer(cell):
            labels = _labels(code.tree.body, code, checkers)
            node = CellRole(code, Role.STUDENT, code.names)
            node.unprotected = self._runs_beside(cell, labels)
            self._divide(node, checkers)
        elif is_marks_cell(cell):
            node = CellRole(code, Role.MARKS, code.names, _whole(code))
            if checks:
                self._findings.error(cell.code_first, "the marks stand in one cell with a check.")
        elif checks:
            part = self._check(code, checkers, key)
            labels = () if part.check is None else part.check.labels
            beside = self._runs_beside(cell, labels)
            node = CellRole(code, Role.CHECK, code.names, part, beside)
        else:
            node = CellRole(code, Role.GIVEN, code.names, _whole(code))
        if code.reason:
            node.part = None
            told = cell.code_first, f"marimo cannot run this cell: {code.reason}."
            if checks or node.role is Role.MARKS:
                self._findings.error(*told, "Correct it; its checks and marks do not count.")
            else:
                self._findings.advise(*told, "No check can use its names.")
        return node

    def _runs_beside(self, cell: Cell, labels: Iterable[PlannedLabel]) -> bool:
        """Whether the author lets a cell's checks run beside the answers."""
        chosen = any(label.key in self._unprotected for label in labels)
        return chosen or is_unprotected(cell.code)

    def _check(self, code: CellCode, checkers: Checkers, key: str | None) -> Part:
        """Return the part of a cell that holds nothing but checks."""
        cell = code.cell
        labels = _labels(code.tree.body, code, checkers)
        asserts = key is not None and not labels
        if asserts:
            hidden = bool(code.hidden)
            labels = (PlannedLabel(label=cell.name, key=key, line=cell.code_first, hidden=hidden),)
        if not labels and not code.reason:
            self._tell_no_label(cell.code_first)
        called = key is not None and cell.kind is CellKind.FUNCTION
        facts = CheckFacts(
            labels=labels,
            asserts=asserts,
            call=cell.name if called else "",
            hidden=bool(code.hidden),
            waits=_waits(code.tree.body, checkers),
        )
        return _whole(code).model_copy(update={"check": facts})

    def _divide(self, node: CellRole, checkers: Checkers) -> None:
        """Make a part of the checks behind the answer in a student's cell, or tell why not."""
        code, cell = node.code, node.cell
        if is_marks_cell(cell):
            message = "the marks stand in a cell that students may change."
            self._findings.error(cell.code_first, message)
        tail = code.behind()
        head = [each for each in code.tree.body if each not in tail]
        ended = max((cell.line_of(each.end_lineno or 0) for each in head), default=0)
        early = [cell.line_of(call.line) for call in check_calls(head, checkers)]
        early += (line for line in code.hidden if line <= ended)
        if early:
            mistakes = [(line, "so the answer could change it") for line in early]
            self._undivided(node, checkers, mistakes)
        elif tail and (checks_when_run(tail, checkers) or any(code.hidden)):
            self._split(node, tail, checkers)

    def _undivided(
        self, node: CellRole, checkers: Checkers, mistakes: Sequence[tuple[int, str]]
    ) -> None:
        """Tell the mistakes, each with its line; if the author allows it, the checks run anyway."""
        code, cell = node.code, node.cell
        if node.unprotected:
            labels = _labels(code.tree.body, code, checkers)
            facts = CheckFacts(labels=labels, hidden=bool(code.hidden))
            line, uses = cell.code_first, tuple(code.names.used)
            node.part = Part(cell=cell.index, line=line, code="", uses=uses, check=facts)
        for line, why in mistakes if not node.unprotected else ():
            message = f"this check stands in one cell with the answer, {why}."
            self._findings.error(line, message)

    def _split(self, node: CellRole, tail: list[ast.stmt], checkers: Checkers) -> None:
        code, cell = node.code, node.cell
        begin = _first(tail[0])
        lines = cell.code.split("\n")
        text = "\n".join(lines[begin - 1 :])
        own, rest = cell_names(text), cell_names("\n".join(lines[: begin - 1]))
        nodes = (node for statement in tail for node in ast.walk(statement))
        # marimo counts as bound only what `+=` reads.
        augmented = (node.target for node in nodes if isinstance(node, ast.AugAssign))
        used = own.used.union(
            own.private_used, (e.id for e in augmented if isinstance(e, ast.Name))
        )
        labels = _labels(tail, code, checkers)
        line = labels[0].line if labels else cell.line_of(begin)
        others = (each.names.used for each in self._codes if each is not code)
        taken = sorted(own.defined & frozenset[str]().union(*others))
        private = sorted(used & rest.private)
        if not labels:
            self._tell_no_label(line)
        mistakes = [(line, f"and binds {name!r}, which other cells use") for name in taken]
        mistakes += ((line, f"and reads {name!r}, which marimo keeps to it") for name in private)
        if mistakes:
            self._undivided(node, checkers, mistakes)
            return
        facts = CheckFacts(
            labels=labels, split=True, hidden=bool(code.hidden), waits=_waits(tail, checkers)
        )
        node.names = rest
        node.part = Part(
            cell=cell.index, line=cell.line_of(begin), code=text, uses=tuple(used), check=facts
        )

    def _tested_key(self, code: CellCode) -> str | None:
        """Return the key of the question that a cell tests by its name; tell mistakes."""
        cell = code.cell
        if cell.kind not in (CellKind.CELL, CellKind.FUNCTION) or code.reason:
            return None
        key = key_tested_by(cell.name, self._marks)
        is_test = cell.name.startswith("test_") and any(
            isinstance(node, ast.Assert) for node in ast.walk(code.tree)
        )
        if cell.kind is CellKind.FUNCTION and any(map(takes_arguments, code.tree.body)):
            if is_test and key is not None:
                message = f"{cell.name!r} takes arguments, which nothing gives to it."
                hint = "Read the names in the function instead."
                self._findings.error(cell.code_first, message, hint)
            return None
        if is_test and key is None:
            message = f"{cell.name!r} belongs to no question that has marks."
            hint = "Begin its name with `test_` and a key of `_marks`."
            self._findings.advise(cell.code_first, message, hint)
        return key

    def _tell_no_label(self, line: int) -> None:
        hint = "Call `check` with a label, or name the cell `test_` and the question's key."
        self._findings.advise(line, "these tests count for no question.", hint)


def _whole(code: CellCode) -> Part:
    cell = code.cell
    uses = tuple(code.names.used)
    return Part(cell=cell.index, line=cell.code_first, code=cell.code, uses=uses)


def _labels(
    statements: Sequence[ast.stmt], code: CellCode, checkers: Checkers
) -> tuple[PlannedLabel, ...]:
    labels = []
    for call in check_calls(statements, checkers):
        hidden, visible = False, list[str]()
        if code.hidden:
            # A check of an unknown label may stand in a function that is defined elsewhere. Each
            # hidden test can change what is asked behind it.
            hidden = call.label is None or not all(code.runs_above(*each) for each in call.spans)
            shown = (each for each in call.conditions if code.runs_above(*each.lines))
            visible = [encodable(each.message) for each in shown]
        labels.append(
            PlannedLabel(
                label=None if call.label is None else encodable(call.label),
                key=None if call.key is None else encodable(call.key),
                line=code.cell.line_of(call.line),
                hidden=hidden,
                visible=tuple(visible),
            )
        )
    return tuple(labels)


def _waits(statements: Sequence[ast.stmt], checkers: Checkers) -> dict[str, int]:
    found = waiting_calls(statements, checkers)
    return {encodable(label): count for label, count in found.items()}


def _first(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(each.lineno for each in decorators)])


def encodable(text: str) -> str:
    """Return a text that can be encoded, as the runtime writes labels."""
    return text.encode("utf-8", "replace").decode("utf-8")
