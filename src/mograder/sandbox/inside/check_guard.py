"""Puts back what the checks are made of, around each cell; lies beside ``cell_runner.py``.

Checks run in one process with the answer, so nothing here is a boundary (docs/explanation/
validation.md): whoever looks for it finds a way around. But an answer that replaces ``check`` or
``all``, which is what people try and what happens by mistake, gains nothing.

Runs inside the sandbox, and stands alone: the standard library, marimo and our runtime.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from types import FunctionType, ModuleType
from typing import Any

_OURS = ("mograder.judging", "mograder.runtime")
_BENEATH = ("builtins", "json", "json.encoder", "math", "os")
"""What a check is judged and told with."""

_NOT_KEPT = frozenset(("__import__", "_", "display", "exit", "help", "input", "print", "quit"))
"""Builtins that libraries and notebooks replace for good reasons, and that judge nothing."""

_FIXED = frozenset(("__dict__", "__doc__", "__weakref__"))


class Guard:
    """Remembers our runtime, and what it is made with, as they were before any cell ran."""

    def __init__(self) -> None:
        """Import what is kept; where our runtime is missing, there is nothing to keep."""
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
        """Undo what a cell did to them; ``names`` are the notebook's own."""
        for _, own, kept in self._modules.values():
            own.update(kept)  # the builtins first: the rest is done with them
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
