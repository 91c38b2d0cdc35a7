"""Exceptions of an answer, raised in the judge as the nearest builtin, with their text as data."""

from __future__ import annotations

import builtins
from typing import Any

MODULE = "answer"
"""The module of all classes that are made for an answer."""
_MOST_CLASSES = 256
ALLOWED: dict[str, type[Exception]] = {
    name: each
    for name, each in vars(builtins).items()
    if isinstance(each, type)
    and issubclass(each, Exception)
    and name == each.__name__
    and name not in ("StopIteration", "StopAsyncIteration", "ExceptionGroup", "MemoryError")
    and not issubclass(each, UnicodeDecodeError | UnicodeEncodeError | UnicodeTranslateError)
}
"""Never ``StopIteration``, which would end ``all(map(answer, …))`` early, nor one that is no error.

``MemoryError`` is none of them either: in the judge it means that the judge has no more memory.
"""

_ENDS = frozenset(
    ("StopIteration", "StopAsyncIteration", "GeneratorExit", "SystemExit", "KeyboardInterrupt")
)


class Errors:
    """The classes of an answer's exceptions, made here below the nearest builtin."""

    def __init__(self) -> None:
        self._made: dict[str, type[Exception]] = {}

    def made(
        self, name: str, above: tuple[type, ...], built_in: list[Any]
    ) -> type[Exception] | None:
        """Return the class for one of the interface, None if it is no class of exceptions."""
        bases = tuple(each for each in above if issubclass(each, Exception))
        nearest = next((ALLOWED[each] for each in built_in if _is_allowed(each)), None)
        if not bases and nearest is None:
            return None
        self._made[name] = type(name, bases or (nearest or Exception,), {"__module__": MODULE})
        return self._made[name]

    def error(self, names: object, text: str) -> Exception:
        """Return the exception for the names of an exception's classes, nearest first.

        A name with a dot before it is that of a class of the answer, which may be called as a
        builtin is without being one.
        """
        if type(names) is not list or not all(type(each) is str for each in names):
            return RuntimeError(text)
        name = names[0].removeprefix(".") if names else "exception"
        nearest = next(filter(None, map(self._known, names)), None)
        if nearest is None or not _ENDS.isdisjoint(names):
            return RuntimeError(f"{name}: {text}")
        named = nearest.__name__ == name
        if not named and name.isidentifier() and len(self._made) < _MOST_CLASSES:
            nearest = self._made[name] = type(name, (nearest,), {"__module__": MODULE})
        return nearest(text)

    def _known(self, name: str) -> type[Exception] | None:
        return self._made.get(name[1:]) if name.startswith(".") else ALLOWED.get(name)


def _is_allowed(name: object) -> bool:
    return type(name) is str and name in ALLOWED
