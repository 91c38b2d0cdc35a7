"""Restores the checks' functions around each cell; in the same directory as ``cell_runner.py``.

Checks run in one process with the answer, so this is not a security boundary
(docs/explanation/validation.md): a determined student finds a way around it. But an answer that
replaces ``check`` or ``all``, deliberately or by mistake, gains nothing.

Runs inside the sandbox, and imports only the standard library, marimo and mograder's runtime.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from types import FunctionType, ModuleType
from typing import Any

_OURS = ("mograder.judging", "mograder.runtime")
_BENEATH = ("builtins", "json", "json.encoder", "math", "os")
"""Modules with which a check is evaluated and reported."""

_NOT_KEPT = frozenset(("__import__", "_", "display", "exit", "help", "input", "print", "quit"))
"""Builtins that libraries and notebooks replace legitimately, and that no check uses."""

_FIXED = frozenset(("__dict__", "__doc__", "__weakref__"))


class Guard:
    """A copy of our runtime's modules, and of those it uses, from before any cell ran."""

    def __init__(self) -> None:
        """Import and copy the modules; a module that cannot be imported is left out."""
        self._modules: dict[str, tuple[ModuleType, dict[str, Any], dict[str, Any]]] = {}
        self._functions: list[tuple[FunctionType, Any, Any, Any]] = []
        self._classes: list[tuple[type, dict[str, Any]]] = []
        for name in (*_BENEATH, *_OURS):
            with contextlib.suppress(ImportError):
                self._keep(name)

    def _keep(self, name: str) -> None:
        module = importlib.import_module(name)
        kept = {key: value for key, value in vars(module).items() if key not in _NOT_KEPT}
        self._modules[name] = (module, vars(module), kept)
        for value in kept.values():
            self._keep_value(value)

    def _keep_value(self, value: Any) -> None:
        if isinstance(value, FunctionType):
            self._functions.append(
                (value, value.__code__, value.__defaults__, value.__kwdefaults__)
            )
        elif isinstance(value, type) and value.__module__ in _OURS:
            members = {key: each for key, each in vars(value).items() if key not in _FIXED}
            self._classes.append((value, members))
            for each in members.values():
                self._keep_value(getattr(each, "fget", each))

    def put_back(self, names: dict[str, Any]) -> None:
        """Undo a cell's changes to the modules; ``names`` are the notebook's globals."""
        for _, own, kept in self._modules.values():
            own.update(kept)  # the builtins first, since the code below uses them
        for name, (module, own, kept) in self._modules.items():
            sys.modules[name] = module
            if name in _OURS:
                for added in own.keys() - kept.keys():
                    del own[added]
        for function, code, defaults, keywords in self._functions:
            function.__code__, function.__defaults__ = code, defaults
            function.__kwdefaults__ = keywords
        for kind, members in self._classes:
            self._put_class_back(kind, members)
        for value in tuple(names.values()):
            if type(value).__module__ in _OURS:
                for hidden in type(value).__dict__.keys() & vars(value).keys():
                    del vars(value)[hidden]

    def _put_class_back(self, kind: type, members: dict[str, Any]) -> None:
        now = vars(kind)
        for added in now.keys() - members.keys() - _FIXED:
            delattr(kind, added)
        for name, member in members.items():
            if now.get(name) is not member:
                setattr(kind, name, member)
