"""Size-limited capture of the output of a notebook's cells, for ``cell_runner.py``.

Runs inside the sandbox in the same directory, and imports only the standard library and marimo.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import re
import sys
from typing import Any

TAIL = 4000
"""Characters of a cell's printed output that are sent with its result."""

_WHOLE = 200_000
_EMBEDDED = re.compile(r"data:[\w/+.-]+;base64,[\w+/=]+")
_PICTURES = ("matplotlib.", "PIL.")
"""Modules whose values are shown as images, which contain no text."""


def quiet_figures() -> None:
    """Select matplotlib's Agg backend: no figure is shown here, and marimo's needs an editor."""
    os.environ["MPLBACKEND"] = "Agg"
    if "matplotlib" in sys.modules:
        sys.modules["matplotlib"].use("Agg")


class Tail(io.RawIOBase):
    """Standard output of which only the end is kept: a gigabyte of prints costs a few kilobytes."""

    def __init__(self, *, whole: bool = False) -> None:
        """With ``whole``, keep up to 200 000 characters for display, else ``TAIL`` characters for
        the result."""
        self._kept = bytearray()
        self._lost = False
        self._most = _WHOLE if whole else TAIL
        text = io.TextIOWrapper(
            io.BufferedWriter(self), encoding="utf-8", errors="replace", line_buffering=True
        )
        sys.stdout = sys.stderr = self._text = text

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        most = 4 * self._most
        self._kept += view[-most:]
        if len(self._kept) > most or len(view) > most:
            del self._kept[:-most]
            self._lost = True
        return len(view)

    def take(self) -> str:
        """Return the output since the last call, or the end of it."""
        with contextlib.suppress(Exception):  # a student may have closed it
            self._text.flush()
        text = self._kept.decode("utf-8", "replace")
        cut, self._lost = self._lost or len(text) > self._most, False
        self._kept.clear()
        return ("…" if cut else "") + text[-self._most :]


class Shown:
    """The output that marimo would show below a cell, as HTML or text without images.

    An author reviews with it what a release reveals. With a marimo that formats differently this
    returns "", and the notebook still runs.
    """

    def __init__(self) -> None:
        """Register marimo's formatters for libraries, as its kernel does."""
        self._format: Any = None
        with contextlib.suppress(ImportError, AttributeError, TypeError):
            formatters = importlib.import_module("marimo._output.formatters.formatters")
            formatters.register_formatters()
            self._format = importlib.import_module("marimo._output.formatting").try_format

    def text(self, value: Any, context: Any) -> str:
        """Return the output of a cell whose last value is ``value``; ``context`` is marimo's."""
        said = getattr(getattr(context, "execution_context", None), "output", None)
        with contextlib.suppress(Exception):  # a notebook's ``__repr__`` may raise anything
            stacked = said.stack() if said else None
            return "\n".join(self._one(each) for each in (stacked, value) if each is not None)
        return ""

    def _one(self, value: Any) -> str:
        if self._format is None or type(value).__module__.startswith(_PICTURES):
            return ""
        data = self._format(value).data
        text = data if isinstance(data, str) else json.dumps(data, default=str)
        return _EMBEDDED.sub("", text)[:_WHOLE]
