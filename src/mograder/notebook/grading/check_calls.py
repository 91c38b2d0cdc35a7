"""The calls in a notebook's code that record a check, also by other names and through helpers.

``check(…)`` of ``mograder.runtime`` and ``check`` of a ``Grader`` are found by name: by the names
of their imports and assignments (``check = grader.check``), and by the names of functions that call
them (``def ask(n): check(f"Q{n}", …)``). A name counts in the cells in which marimo's analysis
finds it, so a function in an answer that has a ``check`` of its own is none.
:mod:`mograder.notebook.points` finds literal labels without that analysis, for pages and messages.
"""

from __future__ import annotations

import ast
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mograder.notebook.cells import tokens_of
from mograder.notebook.parsing import CellNames
from mograder.notebook.points import Call, calls_in, key_of
from mograder.notebook.scopes import closure

UNPROTECTED = "mograder: unprotected"
"""The comment with which an author lets checks run beside the answers."""

_RUNTIME = "mograder"
_OF_RUNTIME = ".check"
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_ASSIGNMENTS = (ast.Assign, ast.AnnAssign)


@dataclass(frozen=True, slots=True)
class WrittenCondition:
    """A condition as it stands in a call's list, with its message, first and last line.

    One that contains a ``lambda`` is none: it may be evaluated after those behind it.
    """

    message: str
    lines: tuple[int, int]


@dataclass(frozen=True, slots=True)
class CheckCall:
    """The calls that record one check; ``line`` is that of the first, from 1 in its cell's code.

    ``label`` and ``key`` are None where they are known only when the call runs. ``spans`` are the
    first and last lines of all calls with this label; ``conditions`` are those of the only one.
    """

    line: int
    label: str | None
    key: str | None
    spans: tuple[tuple[int, int], ...] = ()
    conditions: tuple[WrittenCondition, ...] = ()


@dataclass(frozen=True, slots=True)
class Checkers:
    """The words (:func:`_word`) by which a notebook calls checks.

    ``direct`` are those of the function itself, ``indirect`` the names of functions that call it.
    """

    direct: frozenset[str]
    indirect: frozenset[str] = frozenset()

    def is_direct(self, node: ast.expr) -> bool:
        """Whether an expression is the check function: ``check`` or ``grader.check``."""
        return _word(node) in self.direct

    def is_checker(self, node: ast.AST) -> bool:
        """Whether an expression is the check function, or a function that calls it."""
        word = _word(node)
        return word in self.direct or word in self.indirect

    def within(self, names: CellNames) -> Checkers:
        """Return those of the words whose names a cell uses or binds at its top level."""
        there = _words_of(names)
        return Checkers(self.direct & there, self.indirect & there)


def checkers_in(cells: Sequence[tuple[ast.Module, CellNames]]) -> Checkers:
    """Return the names by which the cells of a notebook call checks."""
    found = _imported(node for tree, _ in cells for node in ast.walk(tree))
    leads: dict[str, set[tuple[str, bool]]] = defaultdict(set)
    for tree, names in cells:
        there = _words_of(names)
        for word, name, same in (lead for node in ast.walk(tree) for lead in _leads(node, found)):
            if word in there or word.startswith("."):
                leads[word].add((name, same))
    reached = closure(
        ((word, True) for word in found.direct),
        lambda each: ((name, each[1] and same) for name, same in leads.get(each[0], ())),
    )
    named = [(word, is_direct) for word, is_direct in reached if "." not in word]
    direct = found.direct.union(word for word, is_direct in named if is_direct)
    indirect = frozenset(word for word, is_direct in named if not is_direct)
    return Checkers(direct, indirect - direct)


def checks_when_run(statements: Iterable[ast.stmt], checkers: Checkers) -> bool:
    """Whether statements call a check, or pass it on, outside of the functions they define."""
    return any(_is_used(statement, checkers) for statement in statements)


def check_calls(statements: Iterable[ast.stmt], checkers: Checkers) -> tuple[CheckCall, ...]:
    """Return the checks that statements may record, in order, those of equal labels as one.

    The calls in functions count, because a check often stands in one. A helper that calls a check,
    or a check that is passed on, counts as one call of an unknown label.
    """
    found: dict[tuple[str | None, str | None], CheckCall] = {}
    nodes = (node for statement in statements for node in ast.walk(statement))
    for written in sorted(
        calls_in(nodes), key=lambda call: (call.node.lineno, call.node.col_offset)
    ):
        node = written.node
        if checkers.is_direct(node.func):
            conditions = tuple(_written(written.conditions))
            call = CheckCall(node.lineno, written.label, _key(written), conditions=conditions)
        elif any(map(checkers.is_checker, (node.func, *_arguments(node)))):
            call = CheckCall(node.lineno, None, None)
        else:
            continue
        first = found.setdefault((call.label, call.key), call)
        spans = (*first.spans, (node.lineno, node.end_lineno or node.lineno))
        only = call.conditions if first is call else ()
        found[call.label, call.key] = replace(first, spans=spans, conditions=only)
    return tuple(found.values())


def waiting_calls(statements: Sequence[ast.stmt], checkers: Checkers) -> Mapping[str, int]:
    """Return how many calls of each label have ``[]`` or ``()`` for conditions.

    Such a call says that the label waits for an answer, as in ``mo.stop(x is None, check("Q1",
    []))``, where Python makes the call for every answer. It counts where no other call of its label
    follows. Conditions that an answer leaves empty are not written like that.

    ``""`` stands for each label that is not written as text. Where there is such a label, those
    without waiting calls are given with 0.
    """
    found: Counter[str] = Counter()
    nodes = (node for statement in statements for node in ast.walk(statement))
    for call in calls_in(nodes):
        waits = isinstance(call.conditions, ast.List | ast.Tuple) and not call.conditions.elts
        if call.label and (waits or checkers.is_direct(call.node.func)):
            found[call.label] += waits
        elif call.given is not None and waits and checkers.is_direct(call.node.func):
            found[""] += 1
    return dict(found if "" in found else +found)


def is_unprotected(code: str) -> bool:
    """Whether a comment says that the checks of a cell may run beside the answers."""
    comments = (token.string for token in tokens_of(code) if token.type == tokenize.COMMENT)
    return any(comment.lstrip("# \t").strip() == UNPROTECTED for comment in comments)


def _written(conditions: ast.expr | None) -> Iterator[WrittenCondition]:
    for each in conditions.elts if isinstance(conditions, ast.List | ast.Tuple) else ():
        match each:
            case ast.Tuple(elts=[_, ast.Constant(value=str(message)), *_]):
                if not any(isinstance(node, ast.Lambda) for node in ast.walk(each)):
                    lines = (each.lineno, each.end_lineno or each.lineno)
                    yield WrittenCondition(message, lines)


def _words_of(names: CellNames) -> frozenset[str]:
    """Return the words (:func:`_word`) that the code of a cell with these names may have."""
    own = names.used | names.defined | names.private | names.private_used
    return own.union((_OF_RUNTIME,), map("{}.check".format, own))


def _arguments(node: ast.Call) -> Iterator[ast.expr]:
    yield from node.args
    yield from (each.value for each in node.keywords)


def _key(call: Call) -> str | None:
    """Return the question's key in a label; an f-string may begin with one."""
    match call.given:
        case ast.Constant(value=str(label)):
            return key_of(label)
        case ast.JoinedStr(values=[ast.Constant(value=str(begin)), *_]) if ":" in begin:
            return key_of(begin)
    return None


def _imported(nodes: Iterable[ast.AST]) -> Checkers:
    """Return the words that are the check function by imports, or by the calls of ``Grader``."""
    direct, owners, graders = {"check", _OF_RUNTIME}, {"grader"}, {"Grader"}
    calls: list[tuple[list[ast.expr], ast.expr]] = []
    for node in nodes:
        match node:
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] == _RUNTIME:
                named = [(alias.name, alias.asname or alias.name) for alias in node.names]
                direct |= {own for name, own in named if name == "check"}
                owners |= {own for name, own in named if name == "runtime"}
                graders |= {own for name, own in named if name == "Grader"}
            case ast.Import():
                owners |= {
                    alias.asname
                    for alias in node.names
                    if alias.asname and alias.name.split(".")[0] == _RUNTIME
                }
            case ast.Assign(value=ast.Call(func=function)):
                calls.append((node.targets, function))
    for targets, function in calls:
        if getattr(function, "id", getattr(function, "attr", "")) in graders:
            owners |= {target.id for target in targets if isinstance(target, ast.Name)}
    return Checkers(frozenset(direct.union(map("{}.check".format, owners))))


def _leads(node: ast.AST, known: Checkers) -> Iterator[tuple[str, str, bool]]:
    """Yield each function that a node names, a name that it binds for it, and whether they are one.

    That name calls a check if the function does.
    """
    if isinstance(node, _FUNCTIONS):
        if _takes_arguments(node) or not node.name.startswith("test_"):
            yield from ((word, node.name, False) for word in _words(node))
    elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        calls = [each.func for each in ast.walk(node.value) if isinstance(each, ast.Call)]
        passed = _words(node.value).difference(map(_word, calls))
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if not any(map(known.is_direct, calls)):
            # The statement stands between them: many words and many names make too many pairs.
            statement = f".{id(node)}"
            yield from ((word, statement, word == _word(node.value)) for word in passed)
            yield from ((statement, name, True) for name in names)


def _words(node: ast.AST) -> frozenset[str]:
    return frozenset(map(_word, ast.walk(node))) - {""}


def _word(node: ast.AST) -> str:
    """Return an expression that may be the check function: a name or ``grader.check``; else "".

    ``….runtime.check``, which always is that function, is ``.check``.
    """
    match node:
        case ast.Name(id=name, ctx=ast.Load()):
            return name
        case ast.Attribute(value=ast.Name(id=owner), attr="check"):
            return f"{owner}.check"
        case ast.Attribute(value=ast.Attribute(attr="runtime"), attr="check"):
            return _OF_RUNTIME
    return ""


def _takes_arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(isinstance(each, ast.arg) for each in ast.walk(node.args))


def _is_used(statement: ast.stmt, checkers: Checkers) -> bool:
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if checkers.is_checker(node):
            return True
        value = getattr(node, "value", None) if isinstance(node, _ASSIGNMENTS) else None
        inside = [] if value is None else list(ast.walk(value))
        calls = (each.func for each in inside if isinstance(each, ast.Call))
        if isinstance(node, _FUNCTIONS):
            waiting += (*node.decorator_list, node.args)
        # A statement may bind a checker to a name (`partial(check, "Q1")`), not its result.
        elif not any(map(checkers.is_checker, inside)) or any(map(checkers.is_checker, calls)):
            waiting += ast.iter_child_nodes(node)
    return False
