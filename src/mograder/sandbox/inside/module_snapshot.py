"""A snapshot of the process state that a warm-up run changes, to restore it afterwards.

A session must not find another session's app, files or settings in marimo's modules. Runs inside
beside ``warmup_run.py``, and imports only the standard library.
"""

from __future__ import annotations

import atexit
import functools
import gc
import linecache
import logging
import os
import pathlib
import signal
import sys
import weakref
from collections.abc import Iterable
from typing import Any

_PACKAGES = ("marimo", "uvicorn", "starlette", "asyncio", "anyio", "tempfile")
_DEPTH = 2
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGALRM)
_OF_ENVIRONMENT = (
    "marimo._utils.versions",
    "marimo._utils.site_packages",
    "marimo._output.md",
    "marimo._ast.",
)
"""Modules whose caches depend on the environment or the arguments alone, and are kept."""

_SYSTEM = ("argv", "stdin", "stdout", "stderr", "displayhook", "excepthook")


class ModuleSnapshot:
    """The state of this process at one moment: module attributes, ``sys``, environment, signals."""

    def __init__(self) -> None:
        self._spaces: list[tuple[Any, dict[str, object]]] = []
        self._contents: list[tuple[Any, Any]] = []
        self._seen: set[int] = set()
        for name, module in tuple(sys.modules.items()):
            if _of_packages(name):
                self._keep(module, 0)
        for logger in _loggers():
            self._keep(logger, _DEPTH)
        self._system = {name: getattr(sys, name) for name in _SYSTEM}
        self._path, self._main = list(sys.path), sys.modules["__main__"]
        self._finders = [(each, vars(each).get("find_spec")) for each in sys.meta_path]
        self._variables = dict(os.environ)
        self._directory = pathlib.Path.cwd()
        self._handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        self._register, self._registered = atexit.register, list[Any]()
        atexit.register = self._remember  # type: ignore[assignment]  # same signature

    def _remember(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(function, "__self__", None) is not weakref.finalize:  # registers only once
            self._registered.append(function)
        return self._register(function, *args, **kwargs)

    def _keep(self, owner: Any, depth: int) -> None:
        if id(owner) in self._seen:
            return
        self._seen.add(id(owner))
        names = dict(vars(owner))
        self._spaces.append((owner, names))
        for value in names.values():
            if type(value) in {list, dict, set}:
                self._contents.append((value, value.copy()))
            elif depth < _DEPTH and _is_theirs(value):
                self._keep(value, depth + 1)

    def put_back(self) -> None:
        """Restore the state as far as possible."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        atexit.register = self._register
        for function in self._registered:
            atexit.unregister(function)
        for owner, names in self._spaces:
            _rebind(owner, names)
        for container, content in self._contents:
            _refill(container, content)
        _forget_files()
        for name, value in self._system.items():
            setattr(sys, name, value)
        sys.path[:], sys.modules["__main__"] = self._path, self._main
        self._put_back_finders()
        os.environ.clear()
        os.environ.update(self._variables)
        os.chdir(self._directory)

    def _put_back_finders(self) -> None:
        """Restore the import finders: an app's server hooks into imports, as a kernel does."""
        sys.meta_path[:] = [finder for finder, _ in self._finders]
        for finder, find_spec in self._finders:
            if find_spec is not None:
                finder.find_spec = find_spec  # type: ignore[method-assign]
            elif "find_spec" in vars(finder):
                del finder.find_spec


def traces() -> dict[str, object]:
    """Return the state that a forked session would inherit and that must equal the one before."""
    own = pathlib.Path("/proc/self")
    mask = os.umask(0o022)
    os.umask(mask)
    woken = signal.set_wakeup_fd(-1)
    return {
        "threads": sum(1 for _ in (own / "task").iterdir()),
        "children": "".join(p.read_text() for p in (own / "task").glob("*/children")),
        "descriptors": _descriptors(),
        "signals": [signal.getsignal(number) for number in _SIGNALS],
        "blocked": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "wakeup": woken,
        "umask": mask,
        "variables": dict(os.environ),
        "directory": pathlib.Path.cwd(),
        "path": list(sys.path),
        "main": id(sys.modules["__main__"]),
        "modules": frozenset(name for name in sys.modules if name.startswith("marimo.")),
    }


def _descriptors() -> dict[int, str]:
    """Return the target of each open descriptor, except for that of the listing itself."""
    held = {}
    for entry in pathlib.Path("/proc/self/fd").iterdir():
        try:
            held[int(entry.name)] = str(entry.readlink())
        except OSError:
            continue
    return {number: name for number, name in held.items() if not name.endswith("/fd")}


def _of_packages(name: str) -> bool:
    return name.partition(".")[0] in _PACKAGES


def _is_theirs(value: object) -> bool:
    kind = value if isinstance(value, type) else type(value)
    return _of_packages(str(kind.__module__)) and hasattr(value, "__dict__")


def _loggers() -> Iterable[logging.Logger]:
    known = logging.root.manager.loggerDict.values()
    return [logging.root, *(each for each in known if isinstance(each, logging.Logger))]


def _rebind(owner: Any, names: dict[str, object]) -> None:
    """Restore an object's attributes, except for dunder names such as ``__msgspec_cache__``.

    Those are caches and not state, and keeping them saves the most time.
    """
    now = dict(vars(owner))
    for name in [n for n in (*names, *now) if not n.startswith("__")]:
        if name in names and now.get(name, _Missing) is not names[name]:
            _set(owner, name, names[name])
        elif name not in names:
            _remove(owner, name)


class _Missing:
    """Marks an attribute that does not exist."""


def _set(owner: Any, name: str, value: object) -> None:
    if isinstance(owner, type):
        setattr(owner, name, value)
    else:
        vars(owner)[name] = value


def _remove(owner: Any, name: str) -> None:
    if isinstance(owner, type):
        delattr(owner, name)
    else:
        del vars(owner)[name]


def _refill(container: Any, content: Any) -> None:
    if isinstance(container, list):
        container[:] = content
    elif container.keys() != content.keys() if isinstance(container, dict) else True:
        container.clear()
        container.update(content)
    else:
        container.update(content)


def _forget_files() -> None:
    """Clear marimo's caches of file contents: a session has other files at the same paths."""
    linecache.clearcache()
    for each in gc.get_objects():
        if isinstance(each, functools._lru_cache_wrapper):
            name = str(each.__module__)
            if name.startswith("marimo.") and not name.startswith(_OF_ENVIRONMENT):
                each.cache_clear()
