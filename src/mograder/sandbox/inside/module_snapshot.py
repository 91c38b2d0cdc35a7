"""What a rehearsal may change in its own process, kept before it and put back after it.

A session must not find another one's app, files or settings in marimo's memory, and without a
rehearsal it would find what is kept here. Runs beside ``warmup_run.py``, and stands alone like it.
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
"""Whose answers depend on the environment or on their arguments alone, and stay."""

_SYSTEM = ("argv", "stdin", "stdout", "stderr", "displayhook", "excepthook")


class ModuleSnapshot:
    """The state of this process at one moment."""

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
        atexit.register = self._remember  # type: ignore[assignment]  # it takes what that takes

    def _remember(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(function, "__self__", None) is not weakref.finalize:  # that does so but once
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
        """Make everything as it was, as far as it can be."""
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
        """An app's server hooks into imports; an editor's kernel does so itself."""
        sys.meta_path[:] = [finder for finder, _ in self._finders]
        for finder, find_spec in self._finders:
            if find_spec is not None:
                finder.find_spec = find_spec  # type: ignore[method-assign]
            elif "find_spec" in vars(finder):
                del finder.find_spec


def traces() -> dict[str, object]:
    """What would follow a session from here, whatever else was put back."""
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
    """The open ones, without the one that lists them."""
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
    """What a class knows of itself (``__msgspec_cache__``) is no state, and saves the most."""
    now = dict(vars(owner))
    for name in [n for n in (*names, *now) if not n.startswith("__")]:
        if name in names and now.get(name, _Missing) is not names[name]:
            _set(owner, name, names[name])
        elif name not in names:
            _remove(owner, name)


class _Missing:
    """Stands for what is not there."""


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
    """Drop what marimo remembers of files: a session has others in their places."""
    linecache.clearcache()
    for each in gc.get_objects():
        if isinstance(each, functools._lru_cache_wrapper):
            name = str(each.__module__)
            if name.startswith("marimo.") and not name.startswith(_OF_ENVIRONMENT):
                each.cache_clear()
