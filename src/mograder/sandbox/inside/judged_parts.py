"""Runs the teacher's code of a grading plan: given parts once, and for each check what it needs.

Each check gets its own copy of the template's names. The given code that depends on answers runs
again for each check that needs it, beside the process that answers this check, so that its objects
live as long as the check does, and a call that never ends costs those checks only.

marimo compiles the parts, so names with a leading underscore belong to one part. Its internals are
those that ``cell_runner.py`` uses.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib
import inspect
import sys
import types
from dataclasses import dataclass, field
from typing import Any

_STOPPED = "MarimoStopError"
MESSAGE = 2000


@dataclass
class Plan:
    """A plan's JSON, with what is looked up in it."""

    data: dict[str, Any]
    compiled: dict[tuple[int, str], Any] = field(default_factory=dict)

    @property
    def checks(self) -> list[dict[str, Any]]:
        """The parts that are checks."""
        return [part for part in self.data["judged"] if part["check"] is not None]

    @property
    def interface(self) -> frozenset[str]:
        """The names that are asked of the worker."""
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
        """Run one part; raises what it raises."""
        for code in self.codes(part):
            value = eval(code, names)  # noqa: S307 - the teacher's code
            if code.co_flags & inspect.CO_COROUTINE:
                self._loop = self._loop or asyncio.new_event_loop()
                self._loop.run_until_complete(value)

    def codes(self, part: dict[str, Any]) -> tuple[types.CodeType, ...]:
        """Return the code objects of a part; raises what compiling it raises."""
        cell = self.plan.compiled.get((part["line"], part["code"])) or self._compile(part)
        return tuple(code for code in (cell.body, cell.last_expr) if code is not None)

    def _compile(self, part: dict[str, Any]) -> Any:
        compiler = importlib.import_module("marimo._ast.compiler")
        cell = compiler.compile_cell(part["code"], cell_id=f"part{part['line']}")
        self.plan.compiled[part["line"], part["code"]] = cell
        return cell


def failure(error: BaseException) -> str:
    """Return what ended a part, in words."""
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
