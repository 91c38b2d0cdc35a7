"""What a check depends on besides the answer, found in the code: the date, and the machine. Pure.

Looked at are the checks, and the teacher's and the author's code that they depend on.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from mograder.notebook.cells import NotebookText, plain_text
from mograder.notebook.grading.grading_plan import GradingPlan, needed_cells, with_checks
from mograder.notebook.parsing import parse_python
from mograder.notebook.quality.quality_finding import Fault, QualityFinding
from mograder.notebook.source.leaks import find_leaks

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
_LONGEST = 60
_REMEDIES = {
    "the date": "Write a fixed date, or pass the date as an argument.",
    "the network": "Put the file beside the notebook, and read it from there.",
    "a path of one machine": 'Write it relative to the notebook: `mo.notebook_dir() / "data.csv"`.',
    "the speed of the machine": "Count steps or calls instead of seconds.",
}


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
                if (owner, name) in _DATES or _is_now(name, args):
                    yield node, Fault.DATE, "the date"
                elif (owner, name) in _MACHINE:
                    yield node, Fault.MACHINE, _MACHINE[owner, name]
                elif _is_fetched(name, owner, args):
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


def _is_now(name: str, args: list[ast.expr]) -> bool:
    """Whether a call is ``np.datetime64("now")``, or the like."""
    first = args[0].value if args and isinstance(args[0], ast.Constant) else None
    return name in ("datetime64", "Timestamp", "to_datetime") and first in ("now", "today")


def _is_fetched(name: str, owner: str, args: list[ast.expr]) -> bool:
    """Whether a call asks another computer, by its name or its address."""
    if name == "urlopen" or (owner in _NETWORK and name in _METHODS):
        return True
    return name.startswith(("read_", "open", "load")) and any(map(_is_address, args[:1]))


def _is_address(node: ast.expr) -> bool:
    value = node.value if isinstance(node, ast.Constant) else None
    return isinstance(value, str) and value.startswith(_SCHEMES)


def _short(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
