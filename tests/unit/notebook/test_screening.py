"""The scan reports no cells as released, and authors' code before students'."""

from __future__ import annotations

import pytest

from mograder.core.sections.settings_model import SafetySettings
from mograder.notebook.denied_code import (
    DEFAULT_DENIED,
    Screening,
    denied_by,
    screen_source,
    screen_submission,
)
from mograder.notebook.source.release import make_release, with_submit_cells
from tests.support.notebooks import SCRIPT_HEAD, notebook

SOURCE = notebook(
    "from pathlib import Path",
    """
    ### BEGIN SOLUTION
    import glob
    found = glob.glob("*")
    ### END SOLUTION
    return (found,)
    """,
    """
    check("Q1", [
        (found, "none"),
        ### BEGIN HIDDEN TESTS
        (open("data.csv"), "no file"),
        ### END HIDDEN TESTS
    ])
    """,
    head=SCRIPT_HEAD,
)


def released() -> str:
    text = with_submit_cells(SOURCE, url="https://example.org", assignment="A1")
    made = make_release(text, filename="A1.py", assignment="A1")
    assert made is not None
    return made.text


def told(screening: Screening) -> list[str]:
    return [each.message for each in screening.denied]


def line_of(text: str, wanted: str) -> int:
    return next(n for n, line in enumerate(text.splitlines(), start=1) if wanted in line)


@pytest.mark.parametrize(
    "trick",
    [
        ("@app.cell\ndef _():\n    from", "@app.cell(disabled=open('f'))\ndef _():\n    from"),
        ("def _():\n    from", "def _(x=open('f')):\n    from"),
        ("\n\nif __name__", "\n\nopen('f')\n\n\nif __name__"),
    ],
)
def test_what_stands_around_a_released_cell_is_looked_at(trick: tuple[str, str]) -> None:
    release = released()
    text = release.replace(*trick, 1)
    assert text != release
    found = screen_submission(text, "A1.py", release=release)
    assert told(found) == ["denied builtin call: open"]


def test_what_only_some_programs_call_the_end_of_a_line_excuses_nothing_below() -> None:
    release = notebook("pages = 'FORM FEEDS'".replace("FORM FEEDS", "\x0c" * 12))
    text = release.replace(
        "\n\nif __name__", "\n\n@app.cell\ndef _():\n    open('f')\n\n\nif __name__"
    )
    assert text != release
    assert told(screen_submission(text, "A1.py", release=release)) == ["denied builtin call: open"]


@pytest.mark.parametrize("text", ["x = = 1\n", "app._unparsable_cell('''x = = 1''')\n"])
def test_work_that_is_half_done_is_no_offence(text: str) -> None:
    found = screen_submission(text, "A1.py", release=released())
    assert (found.denied, found.unsafe) == ((), "")
    assert [each.line for each in found.unchecked] == [1]


def test_an_author_is_told_of_answers_that_students_will_be_refused_for() -> None:
    """Neither the author's own cells nor hidden tests count: students do not write them."""
    (finding,) = screen_source(SOURCE, "A1.py")
    assert finding.line == line_of(SOURCE, "import glob")
    assert str(finding) == (
        f"A1.py:{finding.line}: students may be refused for an answer like this one "
        "(denied import: glob). Allow it in [safety] of mograder.toml, or let the answer do "
        "without."
    )
    allowed = denied_by(SafetySettings(allow_imports=("glob",)))
    assert screen_source(SOURCE, "A1.py", allowed) == ()
    assert screen_source("x = = 1", "A1.py") == ()


def test_what_stands_as_released_is_nobodys_fault() -> None:
    """The form that hands in imports os, and the author's cell pathlib.

    See compatibility-0.3.16.md 7.
    """
    release = released()
    assert "import os as _os" in release
    assert screen_submission(release, "A1.py", release=release) == Screening()


def test_what_a_student_wrote_is_told_with_its_line() -> None:
    release = released()
    text = release.replace("    # YOUR CODE HERE\n    pass\n", "    import os\n    open('f')\n")
    found = screen_submission(text, "A1.py", release=release)
    assert found.unsafe == (
        f"Unsafe code: denied import: os (line {line_of(text, '    import os')}); "
        f"denied builtin call: open (line {line_of(text, 'open(')})"
    )


def test_without_a_release_the_header_of_a_student_excuses_nothing() -> None:
    release = released()
    assert set(told(screen_submission(release, "A1.py", release=None))) == {
        "denied import: pathlib",
        "denied import: os",
    }


def test_a_course_allows_and_denies_in_its_settings() -> None:
    settings = SafetySettings(
        allow_imports=("os", "numpy"),
        deny_imports=("numpy",),
        allow_calls=("open",),
        deny_calls=("print", "eval"),
    )
    denied = denied_by(settings)
    assert denied.imports == (DEFAULT_DENIED.imports - {"os"}) | {"numpy"}
    assert denied.calls == (DEFAULT_DENIED.calls - {"open"}) | {"print"}
    assert denied_by(SafetySettings()) == DEFAULT_DENIED
    text = "import os, numpy\nopen('f')\nprint()\n"
    assert told(screen_submission(text, "A1.py", release=None, denied=denied)) == [
        "denied import: numpy",
        "denied builtin call: print",
    ]
