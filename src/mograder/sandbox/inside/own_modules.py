"""Hides the modules of our programs from a notebook, whose own files may have the same names.

A student's ``serve.py`` beside the notebook must be what ``import serve`` finds there. So each
program hides its modules before a notebook's code runs; they keep the references to each other.
Runs inside, beside the programs, and imports only the standard library.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

_HERE = os.path.dirname(__file__)  # noqa: PTH120 - compared with texts in sys.path
_NAMES = frozenset(name[:-3] for name in os.listdir(_HERE) if name.endswith(".py"))  # noqa: PTH208
_hidden: dict[str, ModuleType] = {}


def hide() -> None:
    """Take our modules out of ``sys.modules``, and their directory out of ``sys.path``."""
    sys.path[:] = [entry for entry in sys.path if entry != _HERE]
    for name in _NAMES & sys.modules.keys():
        if os.path.dirname(getattr(sys.modules[name], "__file__", None) or "") == _HERE:  # noqa: PTH120
            _hidden[name] = sys.modules.pop(name)


def threads() -> int:
    """Return the number of this process's threads, with those that Python does not know."""
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208


def load(name: str) -> ModuleType:
    """Return one of our modules, imported now if it is not yet, also after they were hidden."""
    if not _hidden:
        return importlib.import_module(name)
    if name not in _hidden:
        theirs = {each: sys.modules.pop(each) for each in _NAMES & sys.modules.keys()}
        sys.modules.update(_hidden)
        sys.path.insert(0, _HERE)
        try:
            importlib.import_module(name)
        finally:
            hide()
            sys.modules.update(theirs)
    return _hidden[name]
