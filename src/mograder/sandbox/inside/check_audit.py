"""Stops a check that runs as code what is no part of the plan, such as a text of the answer.

The interpreter tells an audit hook (PEP 578) of each code object that ``exec`` or ``eval`` runs,
and of each first import, program and unpickled name. While a check runs, the hook refuses what it
does not know, and remembers the first of these: a check that catches the error has no result.
Libraries may run code that they generate themselves; those that run texts they are given may not.

Code that runs already can undo all of this; the check's own process bounds what it gains then.

The hook also reports each reading of a function's code and defaults. Those of a stand-in are the
judge's own, so a check that reads them is refused.
"""

from __future__ import annotations

import ast
import collections
import contextlib
import dataclasses
import functools
import importlib
import sys
import types
import typing
from collections.abc import Iterator
from typing import Any

import answer_session  # type: ignore[import-not-found]  # in this file's directory

_STARTS = frozenset(("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "pty.spawn"))
_OWN_CODE = frozenset(
    (collections.__file__, dataclasses.__file__, typing.__file__, importlib.__file__)
)
"""Modules that run code which they have made from names."""
_OWN_PACKAGES = ("attr",)
_IMPORTING = "<frozen importlib._bootstrap"
_OF_CODE = frozenset(("__code__", "__defaults__", "__kwdefaults__"))
_READERS = frozenset(("inspect", "dis", "functools"))
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
        before = (self._known, self._names, self._file)
        self._known, self._file = codes, f"cell_part{part['line']}_"
        self._names = modules_named(part["code"])
        self._watches = True
        try:
            yield
        finally:
            self._known, self._names, self._file = before
            self._watches = bool(before[0])

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
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0] if frame else ""
        if caller in _OWN_CODE or package in _OWN_PACKAGES:
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
    """Raise ``NotJudgeable`` if the author's code reads a stand-in's code, itself or by inspect."""
    if getattr(function, "__globals__", {}).get("__name__") != _STAND_INS:
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
