"""Size-limited capture of the output of a notebook's cells, for ``cell_runner.py``.

Runs inside the sandbox in the same directory, and imports only the standard library and marimo.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
from dataclasses import dataclass
from typing import Any

TAIL = 4000
"""Characters of a cell's printed output that are sent with its result."""

MOST_OUTPUTS = 50
"""Outputs of one cell that are sent."""

_WHOLE = 200_000
_BUNDLE = "application/vnd.marimo+mimebundle"
_PREFERRED = (
    *("image/png", "image/svg+xml", "image/jpeg"),
    *("text/html", "text/markdown", "text/plain"),
)


def quiet_figures() -> None:
    """Select matplotlib's Agg backend: marimo's needs an editor (see :class:`Shown`)."""
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


@dataclass(frozen=True)
class Output:
    """One output of a cell: a value that marimo formatted, a figure, or printed text.

    ``data`` is text, or an image as a data URL. ``cut`` is whether something is left out of it.
    """

    mimetype: str
    data: str
    printed: bool = False
    cut: bool = False


class Shown:
    """The outputs that marimo would show below a cell, in marimo's own formats.

    A student's page shows them, and an author reviews with their text what a release reveals. With
    a marimo that formats differently there are none, and the notebook still runs.
    """

    def __init__(self) -> None:
        """Register marimo's formatters for libraries, as its kernel does."""
        self._format: Any = None
        self._figures: list[Output] = []
        with contextlib.suppress(ImportError, AttributeError, TypeError):
            formatters = importlib.import_module("marimo._output.formatters.formatters")
            self._collect_figures()
            formatters.register_formatters()
            self._format = importlib.import_module("marimo._output.formatting").try_format

    def take(self, value: Any, context: Any) -> list[Output]:
        """Return the outputs of a cell whose last value is ``value``; ``context`` is marimo's."""
        said = getattr(getattr(context, "execution_context", None), "output", None)
        found: list[Output] = []
        with contextlib.suppress(Exception):  # a notebook's ``__repr__`` may raise anything
            stacked = said.stack() if said else None
            found += (self._one(each) for each in (stacked, value) if each is not None)
        found += self._figures
        self._figures = []
        return [output for output in found if output.data]

    def _one(self, value: Any) -> Output:
        if self._format is None:
            return Output("text/plain", "")
        formatted = self._format(value)
        return _output(formatted.mimetype, formatted.data)

    def _collect_figures(self) -> None:
        """Make ``plt.show()`` an output, as in the editor, as soon as matplotlib is imported."""
        module = importlib.import_module("marimo._output.formatters.matplotlib_formatters")
        register = module.MatplotlibFormatter.register

        def register_and_collect(factory: Any) -> None:
            register(factory)
            with contextlib.suppress(ImportError, AttributeError):
                backend: Any = importlib.import_module("marimo._output.mpl")
                backend._internal_show = self._show
                sys.modules["matplotlib"].use("module://marimo._output.mpl")

        module.MatplotlibFormatter.register = register_and_collect

    def _show(self, canvas: Any) -> None:
        with contextlib.suppress(Exception):  # as an output that cannot be formatted
            if len(self._figures) <= MOST_OUTPUTS:
                self._figures.append(self._one(canvas.figure))
        sys.modules["matplotlib.pyplot"].close(canvas.figure)


def _output(mimetype: str, data: Any) -> Output:
    """Return an output; of a value in several formats, the first that a page can show."""
    text = data if isinstance(data, str) else json.dumps(data, default=str)
    if mimetype != _BUNDLE:
        return Output(str(mimetype), text)
    bundle = json.loads(text)
    wanted = next((each for each in _PREFERRED if each in bundle), "")
    return Output(wanted, str(bundle[wanted])) if wanted else Output(_BUNDLE, "…", cut=True)
