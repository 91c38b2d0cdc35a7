"""Reading the notebooks of authors and students: from bytes to text, and from text to syntax trees.

Bytes that were uploaded or lie in a folder are decoded without parsing, because the sender is not
trusted. For texts these are the only wrappers of Python's and marimo's parsers, which raise many
kinds of exceptions for a text that they do not expect. Each becomes
:class:`~mograder.core.errors.InvalidInput` here, with the message ``file:line: reason``. The hub
calls :func:`check_notebook` before it replaces a release, so that no broken notebook reaches
students.
"""

from __future__ import annotations

import ast
import codecs
import platform
import re
import threading
import tokenize
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from marimo._ast.parse import (
    MarimoFileError,
    is_non_marimo_python_script,
    is_run_guard,
    parse_notebook,
)
from marimo._ast.variables import is_local
from marimo._ast.visitor import ScopedVisitor
from marimo._schemas.serialization import NotebookSerialization
from packaging.specifiers import SpecifierSet

from mograder.core.errors import InvalidInput, TooLarge
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.pep723 import read_script

_HOW_TO_MAKE = "Create notebooks with `marimo edit NAME.py`."

_ALONE = threading.Lock()
_PYTHON_FAILS = (ValueError, RecursionError, MemoryError, OverflowError, SystemError)
"""Besides ``SyntaxError``: for null bytes, lone surrogates, deep nesting and long integers."""

MARIMO_FAILS = (
    *(MarimoFileError, SyntaxError, tokenize.TokenError, *_PYTHON_FAILS),
    *(AssertionError, LookupError, TypeError, AttributeError, NotImplementedError),
)
"""marimo's parser checks its expectations with ``assert`` and indexes without bounds checks."""

_SHORT, _LONGEST_KEPT = 2_000, 50_000
"""Characters of a cell and of a notebook whose tree is kept: 228,000 at most, which are some 8 MB.

A text of nothing but single letters takes ten times as much, and the hub parses students' texts."""

_TRIES = (ast.Try, ast.TryStar)
_LINE_OF_MARIMO = re.compile(r"line (\d{1,9}) SyntaxError: ")

_BYTE_ORDER_MARK = "\ufeff"
_APP = re.compile(r"^\w+\s*=\s*\w+\.App\(", re.MULTILINE)
_OTHERS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_SAVE_AS = "Save it as UTF-8 in your editor, then upload it again."
_DECLARED = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_FINISH = re.compile(rb"if __name__ == ['\"]__main__['\"]:\s+app\.run\(\)\s*\Z")


def decode_notebook(data: bytes, filename: str) -> str:
    """Return a notebook's text without a UTF-8 byte order mark, which marimo cannot open.

    Raises: :class:`TooLarge`, :class:`InvalidInput` naming the encoding or the line.
    """
    if len(data) > MAX_NOTEBOOK:
        raise TooLarge(f"A notebook may have at most {MAX_NOTEBOOK // 1_000_000} MB.")
    for mark, name in _OTHERS:
        if data.startswith(mark):
            raise InvalidInput(f"{filename}:1: the file is in {name}, not UTF-8.", hint=_SAVE_AS)
    data = data.removeprefix(codecs.BOM_UTF8)
    _check_declared(data, filename)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInput(f"{filename}:{line}: the file is not UTF-8.", hint=_SAVE_AS) from error


def looks_whole(data: bytes) -> bool:
    """Whether a file ends as marimo ends it; otherwise it may be only half written."""
    return _FINISH.search(data[-500:]) is not None


def _check_declared(data: bytes, filename: str) -> None:
    """Raise InvalidInput for another declared encoding, since marimo always reads UTF-8."""
    for number, line in enumerate(data.split(b"\n", 2)[:2], 1):
        found = _DECLARED.match(line)
        if found is None:
            continue
        name = found[1].decode("ascii", "replace")
        try:
            canonical = codecs.lookup(name).name
        except LookupError:
            canonical = ""
        if canonical not in ("utf-8", "utf-8-sig", "ascii"):
            raise InvalidInput(
                f"{filename}:{number}: the file says that it is in {name[:40]}, not UTF-8.",
                hint=_SAVE_AS,
            )


class NotPython(InvalidInput):
    """A text that Python cannot parse; ``reason`` omits the place, ``line`` counts from 1."""

    def __init__(self, filename: str, line: int, reason: str) -> None:
        hint = "Correct this line, or the one before it."
        super().__init__(f"{filename}:{line}: {reason}.", hint=hint)
        self.line = line
        self.reason = reason


def parse_python(text: str, filename: str = "<text>", *, to_change: bool = False) -> ast.Module:
    """Parse without warnings about invalid escapes; the trees of the last texts are kept.

    So the caller must not change the tree, unless it asks for one of its own ``to_change``.

    Raises: NotPython.
    """
    parse = _parse
    if not to_change and len(text) <= _LONGEST_KEPT:
        parse = _kept_tree if len(text) <= _SHORT else _kept_large_tree
    try:
        return parse(text)
    except SyntaxError as error:
        raise NotPython(filename, error.lineno or 1, error.msg) from error
    except (RecursionError, MemoryError, SystemError) as error:
        raise NotPython(filename, 1, "the code is nested too deeply") from error
    except _PYTHON_FAILS as error:
        raise NotPython(filename, 1, str(error) or "the file cannot be read as Python") from error


def _parse(text: str) -> ast.Module:
    with quiet_parser():
        return ast.parse(text)


_kept_tree = lru_cache(64)(_parse)
_kept_large_tree = lru_cache(2)(_parse)


def parse_marimo(text: str, filename: str) -> NotebookSerialization:
    """Raise InvalidInput if it is no marimo notebook, or marimo cannot read it."""
    try:
        with quiet_parser():
            notebook = parse_notebook(text, filename)
            script = notebook is not None and is_non_marimo_python_script(notebook)
    except MARIMO_FAILS as error:
        reason = str(error) or "marimo cannot read this file."
        raise InvalidInput(f"{filename}:1: {reason}", hint=_HOW_TO_MAKE) from error
    if notebook is None or script or not notebook.valid:
        raise _not_marimo(filename)
    return notebook


@dataclass(frozen=True, slots=True)
class CellNames:
    """The names of a cell's code by marimo's static analysis.

    ``defined`` are the names that other cells can use. ``used`` are the names that the code reads
    or deletes without binding them before; builtins are among them. ``private`` and
    ``private_used`` are the same for names with a leading underscore, which marimo keeps to one
    cell.
    """

    defined: frozenset[str] = frozenset()
    used: frozenset[str] = frozenset()
    private: frozenset[str] = frozenset()
    private_used: frozenset[str] = frozenset()


@lru_cache(2_000)
def cell_names(code: str) -> CellNames:
    """Return the names of a cell's code, which marimo makes the edges of its graph from.

    Raises:
        NotPython: marimo cannot run the code: it cannot be parsed or compiled (``return`` outside
            of a function), or it has a star import; the line counts from the code's first.
    """
    filename = "<cell>"
    tree = parse_python(code, filename, to_change=True)
    visitor = ScopedVisitor(ignore_local=True)  # private names keep their spelling
    try:
        with quiet_parser():
            visitor.visit(tree)
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            compile(_cheap_to_compile(tree), filename, "exec", flags=flags, dont_inherit=True)
    except SyntaxError as error:
        told = _LINE_OF_MARIMO.match(error.msg)  # marimo's own have no other line number
        line = int(told[1]) if told else error.lineno or 1
        reason = error.msg[told.end() if told else 0 :].rstrip(".")
        raise NotPython(filename, line, reason) from error
    except MARIMO_FAILS as error:
        raise NotPython(filename, 1, str(error) or "marimo cannot read this cell") from error
    return CellNames(
        defined=frozenset(name for name in visitor.defs if not is_local(name)),
        used=frozenset(name for name in visitor.refs if not is_local(name)),
        private=frozenset(filter(is_local, visitor.defs)),
        private_used=frozenset(filter(is_local, visitor.refs)),
    )


def _cheap_to_compile(tree: ast.Module) -> ast.Module:
    """Change a tree so that Python compiles it in time and memory of its length; return it.

    What Python refuses stays the same. Python computes expressions of constants at once and keeps
    each part, so that some hundred ``"a" * 4096 + …`` are gigabytes; no constants have a ``@``. It
    compiles a ``finally`` once for each way out, which doubles with each one inside of another.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp):
            node.op = ast.MatMult()
        elif isinstance(node, _TRIES) and node.finalbody:
            (node.orelse if node.handlers else node.body).extend(node.finalbody)
            node.finalbody = [] if node.handlers else [ast.copy_location(ast.Pass(), node)]
    return tree


def _not_marimo(filename: str) -> InvalidInput:
    return InvalidInput(f"{filename}:1: this is not a marimo notebook.", hint=_HOW_TO_MAKE)


@contextmanager
def quiet_parser() -> Iterator[None]:
    """Hold the parser lock, and silence warnings about invalid escapes.

    CPython 3.11 keeps the recursion depth of AST conversion per interpreter; a thread switch during
    parsing (for example in a garbage collection callback) can raise ``SystemError``. Warning
    filters are process-wide too. Hence one lock for both.
    """
    with _ALONE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def is_guard(node: ast.stmt) -> bool:
    """Whether a node is ``if __name__ == "__main__":`` by marimo's rule, which parses it again."""
    if not isinstance(node, ast.If):
        return False
    with quiet_parser():
        return is_run_guard(node)


def check_notebook(text: str, filename: str) -> None:
    """Check that the text is a marimo notebook that parses.

    If ``requires-python`` excludes the running interpreter, the notebook may use syntax unknown to
    it; then only the line ``app = marimo.App(`` is looked for.

    Raises: InvalidInput (``file:line: reason``) if it is not such a notebook.
    """
    if text.startswith(_BYTE_ORDER_MARK):
        raise InvalidInput(
            f"{filename}:1: the file begins with a byte order mark, which marimo cannot open.",
            hint="Save it as UTF-8 without a byte order mark.",
        )
    if not text.strip():
        raise InvalidInput(f"{filename}:1: the notebook is empty.", hint=_HOW_TO_MAKE)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InvalidInput(f"{filename}:{line}: the file holds a null byte; it is not text.")
    if _written_for_another_python(text):
        if not _APP.search(text):
            raise _not_marimo(filename)
        return
    try:
        parse_python(text, filename)
    except NotPython as error:
        read_as = f"The file was read as Python {platform.python_version()}."
        raise InvalidInput(error.message, hint=f"{error.hint} {read_as}") from error
    parse_marimo(text, filename)


def _written_for_another_python(text: str) -> bool:
    try:
        wanted = read_script(text).requires_python
    except InvalidInput:
        return False
    return not SpecifierSet(wanted).contains(platform.python_version(), prereleases=True)
