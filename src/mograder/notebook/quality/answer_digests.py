"""Digests of the answers of a run, to tell whether a changed solution gives other answers. Pure.

A cell at the end of an author's notebook prints them. Numbers count with six digits, so a
difference in rounding makes no other digest. Functions and objects have none.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from mograder.notebook.cells import LineEdit, NotebookText, replace_lines

_MARK = "mograder digests: "
_PROBE = """\
import hashlib as _hashlib
import json as _json

def _told(value):
    if value is None or value is ... or isinstance(value, (bool, str, bytes)):
        return repr(value)
    if isinstance(value, (int, float, complex)):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_told(k)}:{_told(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (set, frozenset)):
        return "{" + ",".join(sorted(map(_told, value))) + "}"
    if isinstance(value, (list, tuple)):
        return type(value).__name__ + "[" + ",".join(map(_told, value)) + "]"
    root = type(value).__module__.partition(".")[0]
    if root == "numpy" and hasattr(value, "tolist"):
        return f"{value.dtype.kind}{value.shape}" + _told(value.tolist())
    if root == "pandas" and hasattr(value, "to_csv"):
        return type(value).__name__ + value.to_csv(float_format="%.6g")
    if root == "polars" and hasattr(value, "write_csv"):
        return value.write_csv(float_precision=6)
    if root in ("datetime", "decimal", "fractions"):
        return repr(value)
    raise TypeError

def _digest(value):
    try:
        return _hashlib.sha256(_told(value).encode()).hexdigest()[:16]
    except Exception:
        return None

print("MARK" + _json.dumps({PAIRS}))
"""


def with_digests(notebook: NotebookText, names: Collection[str]) -> str:
    """Return a notebook whose last cell prints the digests of the values of these names."""
    pairs = ", ".join(f'"{name}": _digest({name})' for name in sorted(names))
    code = _PROBE.replace("MARK", _MARK).replace("PAIRS", pairs)
    indented = [f"    {line}" if line else "" for line in code.rstrip("\n").split("\n")]
    last = notebook.cells[-1].last
    cell = ("", "", "@app.cell", "def _():", *indented, "    return")
    return replace_lines(notebook.lines, [LineEdit(last + 1, last, cell)])


def read_digests(printed: str) -> Mapping[str, str | None]:
    """Return the digests that such a cell has printed, by name; nothing if it did not run."""
    for line in printed.splitlines():
        if line.startswith(_MARK):
            try:
                found = json.loads(line.removeprefix(_MARK))
            except ValueError:
                break
            return found if isinstance(found, dict) else {}
    return {}
