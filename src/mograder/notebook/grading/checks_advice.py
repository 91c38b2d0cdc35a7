"""Faults of checks that a source shows by its text: what they depend on, what gives them away.

A check should depend on the answer alone, and not on the date or the machine. Looked at are the
checks, and the teacher's and the author's code that they depend on.

A hidden test compares the result of an answer with a value of its own. A student who reads that
value in the release, in a text, a comment or a visible check, can return it without solving
anything. A hidden test that repeats a visible one tests nothing more.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from mograder.notebook.cells import NotebookText, plain_text, split_lines
from mograder.notebook.findings import Finding
from mograder.notebook.grading.grading_plan import GradingPlan, Part, needed_cells, with_checks
from mograder.notebook.grading.mutants import name_of
from mograder.notebook.parsing import parse_python
from mograder.notebook.source.leaks import find_leaks, is_shown, telling
from mograder.notebook.source.solution_markers import BlockKind, find_blocks

_DATES = {
    ("datetime", "now"),
    ("datetime", "today"),
    ("datetime", "utcnow"),
    ("date", "today"),
    ("time", "time"),
    ("time", "time_ns"),
    ("time", "localtime"),
    ("time", "ctime"),
    ("Timestamp", "now"),
    ("Timestamp", "today"),
    ("Timestamp", "utcnow"),
    ("pl", "now"),
}
_MACHINE = {
    ("os", "getenv"): "an environment variable",
    ("environ", "get"): "an environment variable",
    ("os", "getlogin"): "the user's name",
    ("getpass", "getuser"): "the user's name",
    ("os", "cpu_count"): "the number of processors",
    ("multiprocessing", "cpu_count"): "the number of processors",
    ("Path", "home"): "the home directory",
    ("path", "expanduser"): "the home directory",
    ("socket", "gethostname"): "the name of the computer",
    ("platform", "node"): "the name of the computer",
    ("platform", "system"): "the operating system",
    ("locale", "setlocale"): "the languages that are installed",
    ("locale", "getlocale"): "the language of the machine",
    ("locale", "getdefaultlocale"): "the language of the machine",
    ("request", "urlopen"): "the network",
    ("request", "urlretrieve"): "the network",
}
_CLOCKS = {"perf_counter", "perf_counter_ns", "process_time", "monotonic", "timeit"}
_NETWORK = {"requests", "httpx", "aiohttp", "urllib3"}
_METHODS = {"get", "post", "request", "stream", "head"}
_SCHEMES = ("http://", "https://", "ftp://")
_TIMES = {"datetime64", "Timestamp", "to_datetime"}
_LONGEST = 60
_REMEDIES = {
    "the date": "Write a fixed date, or pass the date as an argument.",
    "the network": "Put the file beside the notebook, and read it from there.",
    "a path of one machine": 'Write it relative to the notebook: `mo.notebook_dir() / "data.csv"`.',
    "the speed of the machine": "Count steps or calls instead of seconds.",
}

_CLOSE = {"isclose", "allclose", "approx", "assert_allclose", "array_equal", "equals"}
_NO_TEXT = ("# mograder-", "__generated_with")
"""Beginnings of lines that no author wrote."""


class Fault(StrEnum):
    SOLUTION = "solution"
    """The author's own solution or its release does not run as it should; nothing else is tried."""
    MUTANT = "mutant"
    """A wrong solution passes all checks."""
    CONDITION = "condition"
    """The text of a condition shows that it says little."""
    JUNK = "junk"
    """Junk in place of an answer passes."""
    EMPTY = "empty"
    """The release passes, in which nothing is answered."""
    DATE = "date"
    RANDOM = "random"
    MACHINE = "machine"
    GIVEN_AWAY = "given away"
    """The released text has the value that a hidden test expects."""
    EVERYBODY = "everybody passes"
    NOBODY = "nobody passes"


@dataclass(frozen=True, slots=True, order=True)
class QualityFinding:
    """A weakness of a check, at a line (from 1) of a file; ``cell`` is the cell's number, from 1.

    ``example`` shows it, in several lines or empty; ``remedy`` is what to do.
    """

    filename: str
    line: int
    fault: Fault
    message: str
    remedy: str
    example: str = ""
    cell: int | None = None

    def lines(self) -> Iterator[str]:
        yield f"{self.filename}:{self.line}: {self.fault}: {self.message} {self.remedy}".rstrip()
        yield from (f"    {line}" for line in self.example.splitlines())

    def as_data(self) -> dict[str, object]:
        return {
            "fault": str(self.fault),
            "file": self.filename,
            "line": self.line,
            "cell": self.cell,
            "message": self.message,
            "example": self.example,
            "remedy": self.remedy,
        }


def in_cell(notebook: NotebookText, fault: Fault, finding: Finding) -> QualityFinding:
    cell = notebook.cell_at(finding.line)
    index = None if cell is None else cell.index + 1
    place = (finding.filename, finding.line)
    return QualityFinding(*place, fault, finding.message, finding.hint, cell=index)


def outside_influences(
    notebook: NotebookText, plan: GradingPlan, filename: str
) -> Iterator[QualityFinding]:
    """Yield the places in a notebook that checks depend on, and that depend on anything else."""
    tree = parse_python(plain_text(notebook.text))
    checks = with_checks(plan)
    needed = needed_cells(plan, checks)
    for cell in notebook.cells:
        if cell.index not in needed:
            continue
        nodes = [
            node
            for statement in tree.body
            if cell.first <= statement.lineno <= cell.last
            for node in ast.walk(statement)
        ]
        for node, fault, what in _influences(nodes, is_check=cell.index in checks):
            place = (filename, node.lineno, fault)
            yield _depends(place, what, _short(node), cell.index + 1)


def absolute_paths(notebook: NotebookText, filename: str) -> Iterator[QualityFinding]:
    """Yield the absolute paths in a source, which only one machine has."""
    for finding in find_leaks(notebook.text, filename):
        cell = notebook.cell_at(finding.line)
        code = notebook.lines[finding.line - 1].strip()[:_LONGEST]
        place = (filename, finding.line, Fault.MACHINE)
        index = None if cell is None else cell.index + 1
        yield _depends(place, "a path of one machine", code, index)


def given_away(
    notebook: NotebookText, release: str, plan: GradingPlan, filename: str
) -> Iterator[QualityFinding]:
    """Yield the hidden conditions of a source that its release gives away.

    Raises: InvalidInput if the markers in the source are wrong.
    """
    blocks = find_blocks(notebook.text, filename)
    spans = [(b.begin, b.end) for b in blocks if b.kind is BlockKind.HIDDEN]
    lines = split_lines(plain_text(release))
    visible: dict[str, int] = {}
    for part, node in _conditions(plan, spans, hidden=False):
        if _is_condition(node):
            visible.setdefault(ast.dump(node), part.line + node.lineno - 1)
    answers = frozenset(answer.name for answer in plan.answers)
    for part, node in _conditions(plan, spans, hidden=True):
        line = part.line + node.lineno - 1
        if _is_condition(node) and (repeated := visible.get(ast.dump(node))):
            message = "this hidden test repeats a visible one."
            remedy = "Let it test another case."
            example = f"line {repeated}: {notebook.lines[repeated - 1].strip()[:_LONGEST]}"
            place = (filename, line, Fault.GIVEN_AWAY)
            yield QualityFinding(*place, message, remedy, example, part.cell + 1)
        for value in _expected(node, answers):
            code = ((n, each) for n, each in enumerate(lines, 1) if not each.startswith(_NO_TEXT))
            number = next((n for n, each in code if is_shown(value, each)), 0)
            if number:
                message = f"the release shows {value!r}, which this hidden test expects."
                remedy = "Let the hidden test use another value."
                shown = lines[number - 1].strip()[:_LONGEST]
                example = f"line {number} of the release: {shown}"
                place = (filename, line, Fault.GIVEN_AWAY)
                yield QualityFinding(*place, message, remedy, example, part.cell + 1)


def _depends(
    place: tuple[str, int, Fault], what: str, code: str, cell: int | None
) -> QualityFinding:
    remedy = _REMEDIES.get(what, "Write a fixed value instead.")
    return QualityFinding(*place, f"checks depend on {what}.", remedy, code, cell)


def _influences(
    nodes: Iterable[ast.AST], *, is_check: bool
) -> Iterator[tuple[ast.expr, Fault, str]]:
    for node in nodes:
        match node:
            case ast.Subscript(value=ast.Attribute(attr="environ"), ctx=ast.Load()):
                yield node, Fault.MACHINE, "an environment variable"
            case ast.Call(func=function, args=args):
                name, owner = _named(function)
                first = args[0].value if args and isinstance(args[0], ast.Constant) else None
                now = name in _TIMES and first in ("now", "today")  # np.datetime64("now")
                address = isinstance(first, str) and first.startswith(_SCHEMES)
                fetched = name == "urlopen" or (owner in _NETWORK and name in _METHODS)
                fetched |= address and name.startswith(("read_", "open", "load"))
                if (owner, name) in _DATES or now:
                    yield node, Fault.DATE, "the date"
                elif (owner, name) in _MACHINE:
                    yield node, Fault.MACHINE, _MACHINE[owner, name]
                elif fetched:
                    yield node, Fault.MACHINE, "the network"
                elif is_check and name in _CLOCKS:
                    yield node, Fault.MACHINE, "the speed of the machine"


def _named(function: ast.expr) -> tuple[str, str]:
    """Return the name of a function, and that of the object or module before it."""
    match function:
        case ast.Name(id=name):
            return name, ""
        case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=name):
            return name, owner
        case ast.Attribute(attr=name):
            return name, ""
    return "", ""


def _short(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _conditions(
    plan: GradingPlan, spans: list[tuple[int, int]], *, hidden: bool
) -> Iterator[tuple[Part, ast.expr]]:
    """Yield the expressions in the hidden tests of checks, or in all other code of checks."""
    for part in plan.checks:
        for node in ast.walk(parse_python(part.code)):
            if isinstance(node, ast.expr) and _inside(part, node, spans) == hidden:
                yield part, node


def _inside(part: Part, node: ast.expr, spans: list[tuple[int, int]]) -> bool:
    line = part.line + node.lineno - 1
    return any(begin < line < end for begin, end in spans)


def _is_condition(node: ast.expr) -> bool:
    """Whether an expression compares the result of a call with values that are written there.

    Without a private name: it may mean other things in another cell.
    """
    match node:
        case ast.Compare() | ast.Call():
            nodes = list(ast.walk(node))
        case _:
            return False
    if isinstance(node, ast.Call) and name_of(node.func) not in _CLOSE:
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
        case ast.Call(func=function, args=args) if name_of(function) in _CLOSE:
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
            inner = [node.func, *node.args] if name_of(node.func) in ("abs", "round") else []
            for each in inner:
                yield from _values(each, answers)
        case ast.Constant(value=value):
            # A word may be the name of a column, which the task has to tell.
            if (text := telling(value)) and not text.isidentifier():
                yield text
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)):
            if text := telling(value):
                yield f"-{text}"
        case ast.Lambda() | ast.Subscript():
            return
        case _:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    yield from _values(child, answers)


def _uses(node: ast.AST, names: frozenset[str]) -> bool:
    return any(isinstance(each, ast.Name) and each.id in names for each in ast.walk(node))
