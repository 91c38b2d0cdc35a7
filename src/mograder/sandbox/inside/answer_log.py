"""The calls of an answer that a check made, and values in words, for reports."""

from __future__ import annotations

import contextlib
import reprlib
from typing import Any

import answer_errors  # type: ignore[import-not-found]  # in this file's directory

_MOST_CALLS = 200
_MOST_SHOWN = 200


class CallLog:
    """The first calls of one check."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self._open = False

    def called(self, shown: str, status: str, seconds: float) -> None:
        """Add a call, with its duration in milliseconds."""
        self._open = len(self.calls) < _MOST_CALLS
        if self._open:
            milliseconds = round(seconds * 1000, 2)
            self.calls.append({"call": shown, "status": status, "milliseconds": milliseconds})

    def returned(self, result: object) -> None:
        """Add the result of the last call."""
        if self._open:
            self.calls[-1]["result"] = shown(result)


def shown_call(path: str, args: tuple[Any, ...], keywords: dict[str, Any]) -> str:
    """Return a call as it would be written, shortened."""
    given = [shown(each) for each in args[:8]]
    given += [f"{name}={shown(each)}" for name, each in list(keywords.items())[:8]]
    return f"{path}({', '.join(given)})"[:_MOST_SHOWN]


def shown(value: object) -> str:
    """Return a short text of a value, which is not asked for it if it is no plain data."""
    with contextlib.suppress(Exception):
        return _SHORT.repr(value)[:_MOST_SHOWN].encode("utf-8", "replace").decode()
    return f"<{type(value).__name__}>"


class _Short(reprlib.Repr):
    def repr_instance(self, x: Any, level: int) -> str:
        kind = type(x)
        shape = x.shape if kind.__module__.partition(".")[0] in ("numpy", "pandas") else ""
        if kind.__module__ == "numpy" and shape == ():
            return repr(x)
        return f"<{kind.__name__}{f' {shape}' if shape else ''}>"

    def repr1(self, x: Any, level: int) -> str:
        if x is None or type(x) in (bool, float, complex):
            return repr(x)
        if type(x).__module__ == "builtins" and type(x).__name__ != "function":
            return super().repr1(x, level)
        return self.repr_instance(x, level)


_SHORT = _Short()


def described(value: object) -> str:
    """Return in words what a value is: "a number", "a list", "an object of class Rect".

    Nothing is asked of the value.
    """
    kind = type(value)
    if kind in (int, float, complex):
        return "a number"
    plain = {bool: "true or false", str: "a text", type(None): "nothing"}
    if kind in plain:
        return plain[kind]
    if kind.__module__ == answer_errors.MODULE:
        return f"an object of class {kind.__name__}"
    return with_article("array" if kind.__name__ == "ndarray" else kind.__name__)


def with_article(noun: str) -> str:
    """Return "a list", "an iterator"."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
