"""The small notebooks of ``tests/data/notebooks``, and how what becomes of them is written down.

``NAME.notebook`` is a source and ``NAME.expected`` what comes of it: ``skip``, ``refused`` with
the messages, or ``release`` with the advice and the text that students get. They do not end in
``.py`` because many of them are wrong on purpose.
"""

from __future__ import annotations

from pathlib import Path

from mograder.core.errors import InvalidInput
from mograder.grading.author.author_runs import in_source
from mograder.notebook.denied_code import screen_source
from mograder.notebook.findings import refuse
from mograder.notebook.source.leaks import find_leaks
from mograder.notebook.source.release import make_release

NOTEBOOKS = Path(__file__).parents[2] / "data" / "notebooks"


def names() -> list[str]:
    """The names of all notebooks."""
    return sorted(path.stem for path in NOTEBOOKS.glob("*.notebook"))


def source(name: str) -> str:
    """A notebook's text, its line ends as they are."""
    return (NOTEBOOKS / f"{name}.notebook").read_bytes().decode()


def expected(name: str) -> str:
    return (NOTEBOOKS / f"{name}.expected").read_bytes().decode()


def outcome(text: str, name: str) -> str:
    """Return the result for a source, in the format of the files."""
    try:
        made = make_release(text, filename=f"{name}.py", assignment=name)
        if made is not None:
            leaks = find_leaks(made.text, f"{name}.py")
            refuse(in_source(text, made.text, f"{name}.py", leaks))
    except InvalidInput as refused:
        return f"refused\n{refused}\n"
    if made is None:
        return "skip\n"
    told = [*made.advice, *screen_source(text, f"{name}.py")]
    advice = "".join(f"advice: {finding}\n" for finding in told)
    return f"release\n{advice}---\n{made.text}"
