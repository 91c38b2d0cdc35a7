"""A static scan for code that a course denies: files, network, processes, dynamic code.

It finds honest mistakes and their lines: imports and calls that are written out. It does not
protect the host, which is the sandbox's task (security.md, "Input"): code can be hidden from it.
The messages are 0.3.16's (compatibility-0.3.16.md 7).

A release may contain code that students are denied, such as the submit form, which reads the
environment. So cells of a student's notebook that are as released are skipped, and authors are
warned of solutions with code that students are denied.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from mograder.core.errors import InvalidInput
from mograder.core.sections.settings_model import SafetySettings
from mograder.notebook.cells import Cell, CellKind, parse_cells, split_lines
from mograder.notebook.findings import Finding
from mograder.notebook.parsing import NotPython, parse_python
from mograder.notebook.points import cell_hash, is_editable
from mograder.notebook.source.solution_markers import BlockKind, find_blocks

DENIED_IMPORTS = frozenset(
    (
        *("os", "subprocess", "shutil", "sys", "ctypes", "socket", "http", "urllib", "requests"),
        *("pathlib", "signal", "multiprocessing", "threading", "code", "codeop", "importlib"),
        *("pkgutil", "inspect", "builtins", "io", "tempfile", "glob", "fnmatch", "pickle"),
        *("shelve", "marshal"),
    )
)
DENIED_CALLS = frozenset(
    ("eval", "exec", "compile", "__import__", "breakpoint", "exit", "quit", "open", "input")
)
_UNCHECKED = "cannot be checked"
"""The beginning of a message about code that could not be scanned."""

_IMPORTERS = frozenset(("__import__", "import_module"))

_OBJECTION = "students may be refused for an answer like this one ({})."
_HINT = "Allow it in [safety] of mograder.toml, or let the answer do without."


@dataclass(frozen=True, slots=True)
class Denied:
    """The code that a course denies: top-level module names, and names of builtins."""

    imports: frozenset[str] = DENIED_IMPORTS
    calls: frozenset[str] = DENIED_CALLS


DEFAULT_DENIED = Denied()


@dataclass(frozen=True, slots=True)
class Screening:
    """Findings on code that the course denies, and on code that could not be scanned.

    The latter is no reason to refuse a submission: students submit unfinished work.
    """

    denied: tuple[Finding, ...] = ()
    unchecked: tuple[Finding, ...] = ()

    @property
    def unsafe(self) -> str:
        """The message of 0.3.16 for a refused upload, or "" (compatibility-0.3.16.md 2.3)."""
        told = "; ".join(f"{each.message} (line {each.line})" for each in self.denied)
        return f"Unsafe code: {told}" if told else ""


def scan(text: str, filename: str, denied: Denied = DEFAULT_DENIED) -> tuple[Finding, ...]:
    """Return findings on denied code in a text, in the order of its lines.

    A text or cell that cannot be parsed has a finding that begins with `_UNCHECKED`.
    """
    try:
        tree = parse_python(text.removeprefix("\ufeff"), filename)
    except NotPython as error:
        return (Finding(filename, error.line, f"{_UNCHECKED}: {error.reason}"),)
    own = frozenset(name for node in ast.walk(tree) for name in _bound(node))
    found = {
        Finding(filename, line, message)
        for node in ast.walk(tree)
        for line, message in _told(node, denied, own)
    }
    return tuple(sorted(found))


def denied_by(settings: SafetySettings) -> Denied:
    """Return a course's denied code: the defaults without what it allows, plus what it denies."""
    return Denied(
        DENIED_IMPORTS.difference(settings.allow_imports).union(settings.deny_imports),
        DENIED_CALLS.difference(settings.allow_calls).union(settings.deny_calls),
    )


def screen_submission(
    text: str, filename: str, *, release: str | None, denied: Denied = DEFAULT_DENIED
) -> Screening:
    """Scan a student's notebook, except the cells that are identical in its release.

    Without a release everything is scanned: hashes in the student's own header are not trusted.
    """
    findings = scan(text, filename, denied)
    own: set[int] = set()
    cells: tuple[Cell, ...] = ()
    known: set[str] = set()
    with suppress(InvalidInput):
        if findings and release is not None:
            cells = parse_cells(text, filename).cells
            known = {cell_hash(cell.code) for cell in parse_cells(release, filename).cells}
    for cell in cells:
        # Decorators and default values are not in a cell's hash.
        outside = cell.kind is CellKind.CELL and cell.code_first < cell.body_first
        if cell_hash(cell.code) in known and not outside:
            end = cell.code_first + len(split_lines(cell.code))
            own.update(range(cell.code_first, end))
    findings = tuple(each for each in findings if each.line not in own)
    unchecked = tuple(each for each in findings if each.message.startswith(_UNCHECKED))
    return Screening(tuple(each for each in findings if each not in unchecked), unchecked)


def screen_source(text: str, filename: str, denied: Denied = DEFAULT_DENIED) -> tuple[Finding, ...]:
    """Return advice on answers in a source that use code which students are denied."""
    try:
        findings = scan(text, filename, denied)
        if not findings:
            return ()
        blocks = find_blocks(text, filename)
        solved = {b.begin for b in blocks if b.kind is BlockKind.SOLUTION}
        cells = parse_cells(text, filename).cells
    except InvalidInput:
        return ()  # reported by make_release
    theirs = [c for c in cells if is_editable(c) or solved.intersection(range(c.first, c.last + 1))]
    lines = frozenset(n for cell in theirs for n in range(cell.first, cell.last + 1))
    hidden = [b for b in blocks if b.kind is BlockKind.HIDDEN]
    lines -= {n for block in hidden for n in range(block.begin, block.end + 1)}
    told = (each for each in findings if each.line in lines)
    return tuple(
        replace(each, message=_OBJECTION.format(each.message), hint=_HINT) for each in told
    )


def _bound(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node gives a meaning of the text's own."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.ImportFrom(names=names):
            yield from (alias.asname or alias.name for alias in names)


def _told(node: ast.AST, denied: Denied, own: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Yield the line and the message of what one node denies, without its children."""
    modules: list[str] = []
    match node:
        case ast.Import(names=names):
            modules = [alias.name for alias in names]
        case ast.ImportFrom(level=0, module=str(module)):
            modules = [module]
        case ast.Name(id=name, ctx=ast.Load()) if name in denied.calls - own:
            yield node.lineno, f"denied builtin call: {name}"
        case ast.Call(func=ast.Attribute(attr="_unparsable_cell")):
            yield node.lineno, f"{_UNCHECKED}: this cell is no Python"
        case ast.Call(
            func=ast.Name(id=name) | ast.Attribute(attr=name),
            args=[ast.Constant(value=str(to)), *_],
        ) if name in _IMPORTERS:
            modules = [to]
    for module in modules:
        top = module.partition(".")[0]
        if top in denied.imports:
            yield getattr(node, "lineno", 1), f"denied import: {top}"
