"""Leaks in a finished release: values of hidden tests, and absolute paths of the author's machine.

The release is checked as students get it: its text, and the output of its cells without the
solutions. Solution lines are found by :mod:`mograder.notebook.source.release` in the source, where
their origin is known.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mograder.notebook.cells import parse_cells, plain_text, split_lines, tree_of
from mograder.notebook.findings import Finding
from mograder.notebook.source.solution_markers import BlockKind, find_blocks

_DIGITS = 4
"""Significant digits from which a number is unlikely to appear by chance."""
_CHARACTERS = 6
_LARGEST = 1e300
_LONGEST_OUTPUT = 200_000
_SHOWN = 60
_NUMBER = re.compile(r"(?<![\w.])[+-]?(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?!\w)")
_PATH = re.compile(
    r"""(?:(?<![\w.:/@%~$^}>)\]\\*-])/|file:///)
    (?:home|Users|root|mnt|media|Volumes|private|scratch)/(?P<next>\w[\w.@-]*)[\w./@-]*
    | (?<![\w/])[A-Za-z]:(?:\\{1,2}|/)(?:Users|Documents|Program\ Files|Windows|Temp)\b[^\s"'<>]*
    | (?<![\w/])[A-Z]:(?:\\\\|/)\w[^\s"'<>]*""",
    re.VERBOSE,
)
_ANYBODY = frozenset(
    ("user", "username", "you", "yourname", "your-name", "your_name", "name", "student", "me")
)
"""User names in example paths (``/home/user``), which are not reported."""
_RELATIVE = 'Write it relative to the notebook: `mo.notebook_dir() / "data.csv"`.'
_COMPUTE = "Do not show in the release what only the hidden test should know."


@dataclass(frozen=True, slots=True)
class CellOutput:
    """The output and prints of one cell as text; ``index`` is the cell's in the release, from 0."""

    index: int
    text: str


def hidden_values(source: str, release: str, filename: str) -> tuple[str, ...]:
    """Return the literals of the hidden tests that the release does not contain.

    Only numbers of at least four significant digits, written as by ``repr``, and texts of at least
    six characters are returned.

    Raises: InvalidInput if the markers in the source are wrong.
    """
    blocks = [b for b in find_blocks(source, filename) if b.kind is BlockKind.HIDDEN]
    tree = tree_of(plain_text(source))
    if not blocks or tree is None:
        return ()
    found = (
        text
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and any(block.begin < node.lineno < block.end for block in blocks)
        and (text := telling(node.value))
    )
    released = tree_of(plain_text(release))
    nodes = () if released is None else ast.walk(released)
    given = {telling(node.value) for node in nodes if isinstance(node, ast.Constant)}
    return tuple(dict.fromkeys(t for t in found if t not in release and t not in given))


def find_leaks(
    release: str, filename: str, *, outputs: Sequence[CellOutput] = (), hidden: Sequence[str] = ()
) -> tuple[Finding, ...]:
    """Return the leaks of a release, in the order of its lines.

    ``hidden`` comes from :func:`hidden_values`. A number leaks if an output shows it, also with
    more digits than the test has.

    Raises: InvalidInput if the release is not a notebook.
    """
    found = []
    for number, line in enumerate(split_lines(release), start=1):
        for path in _absolute(line):
            message = f"an absolute path, which only your computer has: {path[:_SHOWN]!r}."
            found.append(Finding(filename, number, message, _RELATIVE))
    cells = parse_cells(release, filename).cells
    for output in outputs:
        first = cells[output.index].first if 0 <= output.index < len(cells) else 1
        text = output.text[:_LONGEST_OUTPUT]
        for value in (each for each in hidden if is_shown(each, text)):
            message = f"the output shows {value!r}, which a hidden test expects."
            found.append(Finding(filename, first, message, _COMPUTE))
        for path in _absolute(text):
            message = f"the output shows the absolute path {path[:_SHOWN]!r}."
            found.append(Finding(filename, first, message, _RELATIVE))
    return tuple(sorted(dict.fromkeys(found)))


def telling(value: object) -> str:
    """Return a value as text, or "" if it is too common to reveal a hidden test."""
    if isinstance(value, str):
        return value if len(value.strip()) >= _CHARACTERS else ""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _LARGEST:
        return ""
    text = repr(value)
    digits = re.sub(r"[eE].*|\D", "", text).strip("0")
    return text if len(digits) >= _DIGITS else ""


def is_shown(value: str, text: str) -> bool:
    """Whether a text has a value, a number also with more digits or another sign."""
    expected = _number(value)
    if expected is None:
        return value in text
    mantissa, _, exponent = value.lower().partition("e")
    decimals = len(mantissa.partition(".")[2]) - int(exponent or 0)
    numbers = [abs(each) for each in map(_number, _NUMBER.findall(text)) if each]
    rounded = [round(each, decimals) for each in numbers] if "." in mantissa else []
    return abs(expected) in (*numbers, *rounded)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def _absolute(text: str) -> Iterator[str]:
    for found in _PATH.finditer(text):
        if found["next"] not in _ANYBODY:
            yield found[0].strip()
