"""Runs the teacher's code of a grading plan: given parts once, and for each check what it needs.

Each check gets its own copy of the template's names. The given code that depends on answers runs
again for each check that needs it, beside the process that answers this check, so that its objects
live as long as the check does, and a call that never ends costs those checks only.

marimo compiles the parts, so names with a leading underscore belong to one part. Its internals are
those that ``cell_runner.py`` uses.

A check that runs as code what is no part of the plan, such as a text of the answer, is stopped. The
interpreter tells an audit hook (PEP 578) of each code object that ``exec`` or ``eval`` runs, and of
each first import, program and unpickled name. While a check runs, the hook refuses what it does not
know, and remembers the first of these: a check that catches the error has no result. Libraries may
run code that they generate themselves; those that run texts they are given may not. Code that runs
already can undo all of this; the check's own process bounds what it gains then. The hook also
reports each reading of a function's code and defaults. Those of a stand-in are the judge's own, so
a check that reads them is refused.
"""

from __future__ import annotations

import ast
import asyncio
import collections
import contextlib
import dataclasses
import functools
import importlib
import inspect
import sys
import types
import typing
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

import answer_session  # type: ignore[import-not-found]  # in this file's directory
import cell_runner  # type: ignore[import-not-found]

_STOPPED = "MarimoStopError"
MESSAGE = 2000


@dataclass
class Plan:
    data: dict[str, Any]
    compiled: dict[tuple[int, str], Any] = field(default_factory=dict)

    @property
    def checks(self) -> list[dict[str, Any]]:
        return [part for part in self.data["judged"] if part["check"] is not None]

    @property
    def interface(self) -> frozenset[str]:
        return frozenset(answer["name"] for answer in self.data["answers"])

    def given_names(self, check: dict[str, Any]) -> frozenset[str]:
        """Return the names of the template that a check uses, directly or through other cells."""
        template = {part["cell"] for part in self.data["template"]}
        found: set[str] = set()
        waiting = list(check["uses"])
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += [used for cell in self._defining(name) for used in cell["uses"]]
        return frozenset(
            name
            for name in found
            if any(cell["index"] in template for cell in self._defining(name))
        )

    def _defining(self, name: str) -> list[dict[str, Any]]:
        return [cell for cell in self.data["cells"] if name in cell["defines"]]

    def needed(self, check: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the parts for each submission that a check needs, in order, without itself."""
        places: dict[str, set[int]] = {}
        for cell in self.data["cells"]:
            for name in cell["defines"]:
                places.setdefault(name, set()).add(cell["index"])
        parts = {part["cell"]: part for part in self.data["judged"]}
        found: set[int] = set()
        waiting = [check]
        while waiting:
            for name in waiting.pop()["uses"]:
                cells = places.get(name, set()) & parts.keys() - found - {check["cell"]}
                found |= cells
                waiting += [parts[cell] for cell in cells]
        return [part for part in self.data["judged"] if part["cell"] in found]


@dataclass
class Parts:
    """Runs parts; ``given`` are the names that the template has defined."""

    plan: Plan
    module: types.ModuleType
    failed: dict[int, str] = field(default_factory=dict)
    _loop: asyncio.AbstractEventLoop | None = None

    def import_modules(self) -> None:
        """Import what the template's parts import, as far as that succeeds."""
        for part in self.plan.data["template"]:
            nodes = list(ast.walk(ast.parse(part["code"])))
            names = [a.name for node in nodes if isinstance(node, ast.Import) for a in node.names]
            froms = (node for node in nodes if isinstance(node, ast.ImportFrom) and not node.level)
            for name in (*names, *(node.module for node in froms if node.module)):
                with contextlib.suppress(Exception):
                    importlib.import_module(name)

    def run_template(self) -> None:
        """Run the template's parts; ``failed`` says of a cell why its names are missing."""
        for part in self.plan.data["template"]:
            try:
                self.run(part, self.module.__dict__)
            except BaseException as error:  # noqa: BLE001 - an author's cell may raise anything
                self.failed[part["cell"]] = failure(error)
        if self._loop is not None:  # a judge forked from here needs its own
            self._loop.close()
            self._loop = None

    def compile_judged(self) -> None:
        """Compile the parts that run for each submission; one that fails will fail when it runs."""
        for part in self.plan.data["judged"]:
            with contextlib.suppress(Exception):
                self._compile(part)

    def fresh(self) -> types.ModuleType:
        """Return a module with the names of the template, which is ``__main__`` from now on."""
        module = types.ModuleType("__main__")
        module.__dict__.update(self.module.__dict__)
        sys.modules["__main__"] = module
        return module

    def run(self, part: dict[str, Any], names: dict[str, Any]) -> None:
        """Run one part, and the test that it is to call; raises what they raise."""
        with cell_runner.in_cell()(_cell_id(part)):
            for code in self.codes(part):
                value = eval(code, names)  # noqa: S307 - the teacher's code
                if code.co_flags & inspect.CO_COROUTINE:
                    self._complete(value)
            if part["check"] is not None and part["check"]["call"]:
                value = names[part["check"]["call"]]()
                if inspect.iscoroutine(value):
                    self._complete(value)

    def _complete(self, value: Coroutine[Any, Any, Any]) -> None:
        self._loop = self._loop or asyncio.new_event_loop()
        self._loop.run_until_complete(value)

    def codes(self, part: dict[str, Any]) -> tuple[types.CodeType, ...]:
        """Return the code objects of a part; raises what compiling it raises."""
        cell = self.plan.compiled.get((part["line"], part["code"])) or self._compile(part)
        return tuple(code for code in (cell.body, cell.last_expr) if code is not None)

    def _compile(self, part: dict[str, Any]) -> Any:
        compiler = importlib.import_module("marimo._ast.compiler")
        cell = compiler.compile_cell(part["code"], cell_id=_cell_id(part))
        self.plan.compiled[part["line"], part["code"]] = cell
        # `mo.cache` and `mo.show_code` look there for the cell that runs. A rehearsal compiles
        # other forms of the same part.
        graph = cell_runner.marimo_context().graph
        if _cell_id(part) not in graph.cells:
            graph.register_cell(_cell_id(part), cell)
        return cell


def _cell_id(part: dict[str, Any]) -> str:
    return f"part{part['line']}"


def failure(error: BaseException) -> str:
    if is_stop(error):
        return "it was stopped"
    return f"{type(error).__name__}: {error}"[:MESSAGE].removesuffix(": ")


def is_stop(error: BaseException) -> bool:
    """Whether an exception is marimo's own ``mo.stop``."""
    return type(error).__name__ == _STOPPED and type(error).__module__.startswith("marimo.")


def assertion_text(part: dict[str, Any], error: BaseException) -> str:
    """Return the message of an assertion that failed, or its text in the part."""
    if not isinstance(error, AssertionError):
        return ""
    if str(error):
        return str(error)[:MESSAGE]
    trace, line = error.__traceback__, 0
    while trace is not None:
        if f"part{part['line']}" in trace.tb_frame.f_code.co_filename:
            line = trace.tb_lineno
        trace = trace.tb_next
    asserts = (each for each in ast.walk(ast.parse(part["code"])) if isinstance(each, ast.Assert))
    found = (each for each in asserts if each.lineno <= line <= (each.end_lineno or each.lineno))
    return next((ast.unparse(each)[:MESSAGE] for each in found), "an assertion failed")


_STARTS = frozenset(("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "pty.spawn"))
_OWN_CODE = frozenset(
    (collections.__file__, dataclasses.__file__, typing.__file__, importlib.__file__)
)
"""Modules that run code which they have made from names."""
_OWN_NAMES = (
    *("attr.", "networkx.utils.decorators.", "scipy.stats._distn_infrastructure."),
    "sympy.polys.monomials.",
)
"""Further modules that may: they run texts made of names of parameters, or of a number."""
_IMPORTING = "<frozen importlib._bootstrap"
_OF_CODE = frozenset(("__code__", "__defaults__", "__kwdefaults__"))
_READERS = frozenset(("inspect", "dis", "functools"))
_FIND_SOURCE = (inspect.getfile.__code__, inspect.findsource.__code__)
_PART, _STAND_INS = "cell_part", "stand_ins"


class NotOfThePlan(BaseException):
    """A check runs something that is no part of the plan; no ``Exception`` on purpose."""


class Audit:
    """The hook of this process, which cannot be removed; it refuses nothing outside ``watching``.

    Mutable state: ``found`` is a sentence about the first thing that was refused, or "".
    """

    def __init__(self) -> None:
        self.found = ""
        self._known: tuple[Any, ...] = ()
        self._names: frozenset[str] = frozenset()
        self._file = ""
        self._watches = False
        sys.addaudithook(self._hear)

    @contextlib.contextmanager
    def watching(self, part: dict[str, Any], codes: tuple[Any, ...]) -> Iterator[None]:
        """Watch a part while it runs; ``codes`` are the code objects that it consists of."""
        self._known, self._file = codes, f"cell_part{part['line']}_"
        self._names = modules_named(part["code"])
        self._watches = True
        try:
            yield
        finally:
            self._watches = False

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watches:
            return
        if event == "exec":
            self._runs(arguments[0], sys._getframe(1))
        elif event == "import":
            self._imports(arguments[0], sys._getframe(1))
        elif event in _STARTS:
            self._refuse("starts a program")
        elif event == "pickle.find_class":
            self._refuse("unpickles an object")
        elif event == "object.__getattr__" and arguments[1] in _OF_CODE:
            _reads_code(arguments[0], arguments[1], sys._getframe(1))

    def _runs(self, code: Any, frame: types.FrameType | None) -> None:
        if any(code is each for each in self._known):
            return
        caller = frame.f_code.co_filename if frame is not None else ""
        module = str(frame.f_globals.get("__name__", "")) if frame is not None else ""
        if caller in _OWN_CODE or f"{module}.".startswith(_OWN_NAMES):
            return
        while frame is not None and not self._is_part(frame):
            if frame.f_code.co_filename.startswith(_IMPORTING):
                self._imports(frame.f_locals.get("name"), frame)
                return
            frame = frame.f_back
        self._refuse("runs a text as code")

    def _imports(self, name: object, frame: types.FrameType | None) -> None:
        """Refuse a module that the part imports itself, but does not name."""
        while frame is not None and frame.f_code.co_filename.startswith(_IMPORTING):
            name, frame = frame.f_locals.get("name", name), frame.f_back
        if frame is not None and frame.f_code.co_filename == importlib.__file__:
            frame = frame.f_back
        if frame is not None and self._is_part(frame) and name not in self._names:
            self._refuse("imports a module that it does not name")

    def _is_part(self, frame: types.FrameType) -> bool:
        return self._file in frame.f_code.co_filename

    def _refuse(self, what: str) -> None:
        self.found = self.found or f"this check {what}, which an answer could determine"
        raise NotOfThePlan(self.found)


def _reads_code(function: Any, name: str, frame: types.FrameType | None) -> None:
    """Raise ``NotJudgeable`` if the author's code reads a stand-in's code, itself or by inspect.

    ``inspect.getsource`` may: it looks for the place only (``answer_calls.know_texts``).
    """
    if getattr(function, "__globals__", {}).get("__name__") != _STAND_INS:
        return
    if frame is not None and frame.f_code in _FIND_SOURCE:
        return
    while frame is not None and frame.f_globals.get("__name__") in _READERS:
        frame = frame.f_back
    if frame is not None and _PART in frame.f_code.co_filename:
        raise answer_session.NotJudgeable(f"The judge has not the answer's own {name}")


@functools.cache
def modules_named(code: str) -> frozenset[str]:
    """Return the names that code imports or has as texts, with those of their parents."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found.update(each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found.update(f"{node.module}.{each.name}" for each in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    parents = (each.split(".")[:depth] for each in found for depth in range(1, each.count(".") + 2))
    return frozenset(map(".".join, parents))
