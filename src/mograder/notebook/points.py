"""The questions of a notebook: the marks available for each, its checks, and the cells of both.

compatibility-0.3.16.md 7: ``_marks = {"Q1": 10}`` in the cell of the marks, ``check("Q1: …", …)``
in others; a question's key is the label up to its first colon. A cell named ``test_Q1…`` that calls
no check is one itself, which passes if it ends without an error. The cells that decide about marks
are guarded: checks, the marks, and the import of the checks.
"""

from __future__ import annotations

import ast
import hashlib
import math
import re
import textwrap
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mograder.notebook.cells import (
    Cell,
    CellKind,
    NotebookText,
    statements_of,
    tokens_of,
    tree_of,
)
from mograder.notebook.scopes import Scope, bound_names

MARKS = "# === MOGRADER: MARKS ==="
_MOST_MARKS = 1_000_000
# Bounded repetitions, because a student's text may repeat "check(#" without end.
_CHECK = r"""\b(?:{names})\(\s{{0,500}}(?:\#[^\n]{{0,200}}\n\s{{0,500}}){{0,5}}
    (?P<prefix>[rRuUfF]{{0,2}})
    (?P<literal>"{{3}}[^"\\]*"{{3}} | '{{3}}[^'\\]*'{{3}}
    | "(?:[^"\\\n]|\\.)+" | '(?:[^'\\\n]|\\.)+')"""
_ALIAS = re.compile(r"\bcheck[ \t]{1,20}as[ \t]{1,20}([^\W\d]\w{0,80})\b")
_MOST_ALIASES = 20
_TEST = "test_"
_DIGITS = 8
_ANSWER = re.compile(r"written_analysis(_.*)?")
TO_DO = "# YOUR CODE HERE"

VERIFICATION = "# === MOGRADER: VERIFICATION SUMMARY ==="
FEEDBACK = "# === MOGRADER: MARKER FEEDBACK ==="
GRADERS_CELLS = (VERIFICATION, FEEDBACK)

MARKS_LABEL = "the marks"
SOURCE_LABEL = "the import of the checks"
CHECKERS = frozenset(("check", "grader", "Grader"))
_RUNTIME = "mograder"
_BLANKS = re.compile(r"^[ \t]+$", re.MULTILINE)
_ONE_BLOCK = re.compile(r"^(?:async def|def|class)\b", re.MULTILINE)
_BREAKS = re.compile("([\v\f\x1c-\x1e\x85\u2028\u2029]) +")
"""Line breaks for `textwrap.indent`, behind which marimo puts further blanks at each save."""

_MOST_SAVES = 20
_NO_CONDITIONS = (type(None), ast.Constant, ast.JoinedStr, ast.UnaryOp)
"""Expressions for a method's second argument that give a text or a number, or none at all."""
_CODES = 512
"""Cells' codes of which is remembered what they bind: most of a submission's are the release's."""


@dataclass(frozen=True, slots=True)
class Check:
    """A call ``check("label", …)`` in a notebook, with its cell and its line in the file.

    ``key`` is that of the question that it belongs to. ``is_test`` is whether it is no call but a
    cell that tests a question by its name, which is the label.
    """

    label: str
    cell: Cell
    line: int
    key: str
    is_test: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A call with what it gives for ``check``'s label and conditions, by place or name."""

    node: ast.Call
    given: ast.expr | None
    conditions: ast.expr | None

    @property
    def label(self) -> str | None:
        """The label, None if it is known only at run time."""
        match self.given:
            case ast.Constant(value=str(label)):
                return label
        return None


@dataclass(frozen=True, slots=True)
class GuardedCell:
    """A cell with the labels of its checks, its lines without ends, and its public names."""

    labels: tuple[str, ...]
    cell: Cell
    lines: tuple[str, ...]
    names: frozenset[str]
    keys: frozenset[str]
    """The question keys of its checks."""

    @property
    def name(self) -> str:
        """The first label of the cell, for messages."""
        return self.labels[0] if self.labels else "no check"


def key_of(label: str) -> str:
    """Return the question's key: the label up to its first colon."""
    return label.split(":", 1)[0].strip()


def checks_in(notebook: NotebookText) -> Iterator[Check]:
    """Yield the checks of a notebook, in order.

    Also those called by the name of their import: ``from mograder.runtime import check as
    plain_check``.
    """
    found = (name for cell in notebook.cells for name in _ALIAS.findall(cell.code))
    names = tuple(dict.fromkeys(found))[:_MOST_ALIASES]
    tests = _counted_tests(notebook)
    for cell in notebook.cells:
        if cell.kind is not CellKind.UNPARSABLE:
            for label, line in labels_in(cell.code, names):
                yield Check(label, cell, cell.line_of(line), key_of(label))
        if cell.name in tests:
            yield Check(cell.name, cell, cell.code_first, tests[cell.name], is_test=True)


def _named_tests(notebook: NotebookText) -> Mapping[str, str]:
    """Return the keys of the questions that cells without a call of ``check`` test, by their names.

    A function counts if it can be called without arguments.
    """
    named = [cell for cell in notebook.cells if cell.name.startswith(_TEST)]
    marks = marks_of(notebook) if named else None
    found = {}
    for cell in named:
        tree = tree_of(cell.code) if cell.kind is CellKind.FUNCTION else None
        runs = cell.kind is CellKind.CELL and not is_editable(cell)
        if tree is not None:
            runs = not any(map(takes_arguments, tree.body))
        key = None if any(labels_in(cell.code)) else key_tested_by(cell.name, marks)
        if key is not None and runs:
            found[cell.name] = key
    return found


def _counted_tests(notebook: NotebookText) -> Mapping[str, str]:
    """Return the named tests that count as checks: a call of ``check`` with any label is one."""
    open_labels = {cell.name for cell in notebook.cells if has_label_of_run(cell.code)}
    named = _named_tests(notebook)
    return {name: key for name, key in named.items() if name not in open_labels}


def is_asynchronous(cell: Cell) -> bool:
    tree = tree_of(cell.code)
    return tree is not None and any(isinstance(each, ast.AsyncFunctionDef) for each in tree.body)


def key_tested_by(name: str, keys: Iterable[str] | None) -> str | None:
    """Return the key of the question that a cell or function ``test_<key>…`` tests, or None.

    It is the longest of ``keys`` that the name continues with, in any case; without keys, the name
    up to the next underscore.
    """
    if not name.startswith(_TEST):
        return None
    rest = name.removeprefix(_TEST)
    if keys is None:
        return rest.split("_", 1)[0] or None
    for key in sorted(keys, key=len, reverse=True):
        plain = re.sub(r"\W+", "_", key).strip("_").casefold()
        if plain and f"{rest.casefold()}_".startswith(f"{plain}_"):
            return key
    return None


def takes_arguments(function: ast.stmt) -> bool:
    """Whether a function cannot be called without arguments; false for other statements."""
    if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    given = function.args
    positional = len(given.posonlyargs) + len(given.args) - len(given.defaults)
    return positional > 0 or any(each is None for each in given.kw_defaults)


def is_marks_cell(cell: Cell) -> bool:
    return any(line.strip() == MARKS for line in cell.code.split("\n"))


def marks_of(notebook: NotebookText) -> Mapping[str, float] | None:
    """Return the available marks by question key, or None if no cell states them.

    An empty table states none: a person then gives one mark for the whole.
    """
    for cell in notebook.cells:
        stated = marks_statement(cell) if is_marks_cell(cell) else None
        if stated is not None and isinstance(stated[1], ast.Dict):
            return numbers(stated[1]) if stated[1].keys else None
    return None


def cell_labels(cell: Cell) -> tuple[str, ...]:
    return tuple(label for label, _ in labels_in(cell.code))


def labels_in(code: str, renamed: tuple[str, ...] = ()) -> Iterator[tuple[str, int]]:
    """Yield the labels of the checks in a cell's code, with their lines (from 1) in it.

    Labels that are known only when the code runs are left out. ``renamed`` holds further names of
    the function.
    """
    for label, line in _labelled_calls(code, renamed):
        if label is not None:
            yield label, line


def has_label_of_run(code: str) -> bool:
    """Whether a check in a cell's code has a label that is known only when it runs."""
    return any(label is None for label, _ in _labelled_calls(code, ()))


@lru_cache(_CODES)
def _labelled_calls(code: str, renamed: tuple[str, ...]) -> tuple[tuple[str | None, int], ...]:
    """Return the calls of ``check`` in code with their lines; None for a label known at run time.

    Of a method ``check`` those calls count that may have conditions: another class may have one.
    """
    names = ("check", *renamed)
    if not any(name in code for name in names):
        return ()
    tree = tree_of(code)
    if tree is None:
        return tuple(_written_labels(code, names))
    nodes, waiting = list[ast.AST](), list[ast.AST]([tree])
    while waiting:
        node = waiting.pop()
        inside = node.body if isinstance(node, Scope) else ()
        # A function that defines a function `check` inside calls that one.
        if not any(isinstance(each, Scope) and each.name == "check" for each in inside):
            nodes.append(node)
            waiting += ast.iter_child_nodes(node)
    calls = [call for call in calls_in(nodes) if _is_check(call, names)]
    ends = [(call.node.func.end_lineno or 0, call.node.func.end_col_offset or 0) for call in calls]
    ordered = sorted(zip(ends, calls, strict=True), key=lambda each: each[0])
    return tuple((call.label or None, end[0]) for end, call in ordered)


def _is_check(call: Call, names: Sequence[str]) -> bool:
    match call.node.func:
        case ast.Name(id=name):
            return name in names and call.given is not None
        case ast.Attribute(attr="check"):
            return not isinstance(call.conditions, _NO_CONDITIONS)
    return False


def _written_labels(code: str, names: Sequence[str]) -> Iterator[tuple[str | None, int]]:
    """Yield the calls in code that is no Python, as 0.3.16 finds them in any code."""
    line, counted = 1, 0
    for found in re.finditer(
        _CHECK.format(names="|".join(map(re.escape, names))), code, re.VERBOSE
    ):
        line += code.count("\n", counted, found.start())
        counted = found.start()
        yield _label(found["prefix"].lower(), found["literal"]), line


def has_conditions(code: str, label: str) -> bool:
    """Whether the check ``label`` is called with literal conditions, ``[(x == 1, "not one")]``.

    They may be bound to a name of the cell before.
    """
    tree = tree_of(code)
    nodes = list(ast.walk(tree)) if tree is not None else []
    given = [each.conditions for each in calls_in(nodes) if each.label == label]
    told = [node for each in given if each is not None for node in ast.walk(each)]
    names = {node.id for node in told if isinstance(node, ast.Name)}
    for each in nodes:
        if isinstance(each, ast.Assign):
            targets = {node.id for node in each.targets if isinstance(node, ast.Name)}
            told += ast.walk(each.value) if targets & names else ()
    lists = [each.elts for each in told if isinstance(each, ast.List | ast.Tuple)]
    return any(isinstance(each, ast.Tuple) for elements in lists for each in elements)


def calls_in(nodes: Iterable[ast.AST]) -> Iterator[Call]:
    """Yield the calls among nodes, of any function, as those of ``check`` would be read."""
    for node in nodes:
        if isinstance(node, ast.Call):
            named = {each.arg: each.value for each in node.keywords}
            label, conditions = (*node.args, None, None)[:2]
            yield Call(node, label or named.get("label"), conditions or named.get("checks"))


def stated_weights(notebook: NotebookText) -> Mapping[str, float]:
    """Return the weight of each label whose conditions are all written out in the text.

    Where some are not, as in a list comprehension, their weight is known only when the check runs.
    Of several calls with one label the heaviest counts. A cell that is a test weighs 1.
    """
    found: dict[str, float] = {}
    open_labels = set()
    trees = filter(None, (tree_of(cell.code) for cell in notebook.cells))
    nodes = (node for tree in trees for node in ast.walk(tree))
    for call in calls_in(nodes):
        label = call.label
        if label is not None and isinstance(call.conditions, ast.List | ast.Tuple):
            weights = [_stated_weight(entry) for entry in call.conditions.elts]
            if None in weights:
                open_labels.add(label)
            known = math.fsum(weight or 0.0 for weight in weights)
            found[label] = max(known, found.get(label, 0.0))
        elif label is not None and _is_check(call, ("check",)):
            open_labels.add(label)
    written = {label: weight for label, weight in found.items() if label not in open_labels}
    return written | dict.fromkeys(_counted_tests(notebook), 1.0)


def _stated_weight(entry: ast.expr) -> float | None:
    match entry:
        case ast.Tuple(elts=[_, _]):
            return 1.0
        case ast.Tuple(elts=[_, _, ast.Constant(value=int() | float() as weight)]):
            return float(weight) if 0 <= weight <= _MOST_MARKS else None
    return None


def _label(prefix: str, literal: str) -> str | None:
    """Return the value of a label's literal, or None if it is known only at run time."""
    if "f" in prefix:
        return None
    if "\\" not in literal and not literal.startswith(('"""', "'''")):
        return literal[1:-1]
    return _value_of(prefix + literal)


def marks_statement(cell: Cell) -> tuple[int, ast.expr | None] | None:
    """Return the line in the file of ``_marks = …`` in a cell, and its value, or None."""
    for node in statements_of(cell.code):
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Name) and target.id == "_marks" for target in targets):
            return cell.line_of(node.lineno), node.value
    return None


def numbers(node: ast.Dict) -> Mapping[str, float]:
    """Return the entries of a literal text and a literal number from 0 to `_MOST_MARKS`."""
    found: dict[str, float] = {}
    for key, value in zip(node.keys, node.values, strict=True):
        match key, value:
            case ast.Constant(value=str(name)), ast.Constant(value=int() | float() as number):
                if not isinstance(number, bool) and 0 <= number <= _MOST_MARKS:
                    found[name.strip()] = float(number)
    return found


def is_editable(cell: Cell) -> bool:
    """Whether students may change a cell: the words of `TO_DO` stand in it, or it is an answer.

    They may stand in a text, too, as in 0.3.16; :func:`asks_for_answer` tells such a cell apart.
    """
    return TO_DO in cell.code or is_answer_name(cell.name)


def asks_for_answer(cell: Cell) -> bool:
    """Whether an answer belongs into a cell: it is editable by more than words within a text.

    `TO_DO` as a line of a text takes the place of a solution there. A text that only mentions it,
    as instructions and the messages of checks do, asks for nothing.
    """
    if TO_DO not in cell.code or is_answer_name(cell.name):
        return is_editable(cell)
    lines = map(str.strip, plain_code(cell.code).split("\n"))
    if cell.kind is CellKind.UNPARSABLE or TO_DO in lines:
        return True
    comments = (each for each in tokens_of(cell.code) if each.type == tokenize.COMMENT)
    return any(TO_DO in each.string for each in comments)


def is_answer_name(name: str) -> bool:
    """Whether a cell of this name holds a written answer."""
    return _ANSWER.fullmatch(name) is not None


@lru_cache(2_000)
def plain_code(code: str) -> str:
    """Return a cell's code in one form: the same before and after each save of marimo.

    marimo writes a call ``mo.md("text")`` that is all of a cell in its own form whenever it saves
    the notebook; comments before and behind the call stay as they are.
    """
    code = _kept(code)
    call = text_call(code)
    if call is None:
        return code
    return code.replace(call.written, f'mo.md("""\n{call.saved}\n""")', 1)


def _kept(code: str) -> str:
    """Return a cell's code without what marimo's saves take away.

    It is the empty lines around it, the blanks of blank lines, also in texts, and what stands
    behind the last statement of a cell that is one function or class.
    """
    code = _BLANKS.sub("", code.strip())
    match statements_of(code) if "#" in code and _ONE_BLOCK.search(code) else []:
        case [ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() as node]:
            lines = code.split("\n")
            last = (node.end_lineno or 1) - 1
            lines[last] = lines[last].encode()[: node.end_col_offset].decode()
            return "\n".join(lines)
    return code


@dataclass(frozen=True, slots=True)
class TextCall:
    """A call ``mo.md("text")`` that is all of a cell, as ``written``, and its text."""

    written: str
    text: str
    raw: bool

    @property
    def saved(self) -> str:
        """The text after marimo has saved the notebook again and again."""
        text = self.text
        for _ in range(_MOST_SAVES):
            after = self._after_save(text)
            if after is None or after == text:
                break
            text = after
        return _BREAKS.sub(r"\1", text)

    @property
    def is_spoiled(self) -> bool:
        """Whether a save of marimo changes the text, or keeps the cell as unparsable."""
        return self._after_save(self.text) != self.text

    def _after_save(self, text: str) -> str | None:
        """Return a text after one save, None if marimo then keeps the cell as unparsable.

        marimo writes a text without escaping its backslashes. So in a literal that is not raw
        ``\\\\alpha`` becomes ``\\alpha``, and at the next save the character of ``\\a``.
        """
        quoted = text.replace('""', '"\\"')
        if self.raw or "\\" not in quoted:
            return quoted
        value = _value_of(f'"""{quoted}\n"""')
        return None if value is None else _stripped_text(value)


def text_call(code: str) -> TextCall | None:
    """Return the call that is all of a cell's code, None if its text has values that change."""
    match statements_of(code) if "mo.md(" in code else []:
        case [
            ast.Expr(
                ast.Call(ast.Attribute(ast.Name(id="mo"), "md"), [literal], keywords=[]) as call
            )
        ]:
            parts = literal.values if isinstance(literal, ast.JoinedStr) else [literal]
            values = [each.value for each in parts if isinstance(each, ast.Constant)]
            texts = [each for each in values if isinstance(each, str)]
            if len(texts) == len(parts):
                written, spelled = (
                    ast.get_source_segment(code, each) or code for each in (call, literal)
                )
                raw = "r" in re.split("[\"']", spelled, maxsplit=1)[0].lower()
                return TextCall(written, _stripped_text("".join(texts)), raw)
    return None


def _stripped_text(text: str) -> str:
    """Return a text without the indentation and the blanks that marimo takes away."""
    first, _, others = text.replace("\r", "\n").partition("\n")
    others = textwrap.dedent("\n".join(map(str.rstrip, others.split("\n"))))
    return f"{first.strip()}\n{others}".strip()


def _value_of(literal: str) -> str | None:
    """Return the value of a text's literal, None if Python cannot read it."""
    match statements_of(literal):
        case [ast.Expr(value=ast.Constant(value=str(value)))]:
            return value
    return None


def cell_hash(code: str) -> str:
    """Return the hash of a cell's code: the first 8 hex digits of SHA-256.

    It is 0.3.16's, except for code of which marimo's saves take something away.
    """
    return hashlib.sha256(_kept(code).encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def cell_hashes(cells: Iterable[Cell]) -> tuple[str, ...]:
    return tuple(cell_hash(cell.code) for cell in cells if not is_editable(cell))


def guarded_cells(
    notebook: NotebookText, release: NotebookText | None = None
) -> Iterator[GuardedCell]:
    """Yield all cells with the labels of their checks; marks and such imports have labels too.

    Of a student's notebook only the tests of its ``release`` count: a student may add some.
    """
    tests = _named_tests(release or notebook)
    for cell in notebook.cells:
        labels, names = _of_code(cell.code)
        keys = {key_of(label) for label in labels if label != SOURCE_LABEL}
        if cell.name in tests and not keys:
            labels, keys = (cell.name, *labels), {tests[cell.name]}
        if is_marks_cell(cell):
            labels = (MARKS_LABEL, *labels)
        public = frozenset(name for name in names if not name.startswith("_"))
        yield GuardedCell(labels, cell, notebook.lines_of(cell), public, frozenset(keys))


@lru_cache(_CODES)
def _of_code(code: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the labels of the checks in a cell's code, and the names that it binds.

    An import of the checks has a label too.
    """
    statements = statements_of(code)
    labels = tuple(label for label, _ in labels_in(code))
    names = bound_names(statements)
    nodes = (node for statement in statements for node in ast.walk(statement))
    if not names.isdisjoint(CHECKERS) or any(map(_imports_runtime, nodes)):
        labels = (*labels, SOURCE_LABEL)
    return labels, names


def _imports_runtime(node: ast.AST) -> bool:
    match node:
        case ast.ImportFrom(module=str(module)):
            return module.split(".")[0] == _RUNTIME
        case ast.Import():
            return any(alias.name.split(".")[0] == _RUNTIME for alias in node.names)
    return False


def only_imports_more(own: GuardedCell, ours: GuardedCell) -> bool:
    """Whether the only change is added imports that rebind no released name: allowed."""
    alike = own.cell.kind is ours.cell.kind and is_marks_cell(own.cell) == is_marks_cell(ours.cell)
    if not alike or any(labels_in(own.cell.code)):
        return False
    theirs, released = tree_of(own.cell.code), tree_of(ours.cell.code)
    if theirs is None or released is None:
        return False
    expected = [ast.dump(node) for node in released.body]
    taken = ours.names | {"*"}
    for node in theirs.body:
        if expected and _written(node) == expected[0]:
            expected.pop(0)
            continue
        imports = isinstance(node, ast.Import | ast.ImportFrom) and not _imports_runtime(node)
        if not imports or not bound_names([node]).isdisjoint(taken):
            return False
    return not expected


def _written(node: ast.stmt) -> str:
    """Return a statement's tree as text; "" if it is too deep, or has a number too long for it."""
    try:
        return ast.dump(node)
    except (RecursionError, ValueError):
        return ""
