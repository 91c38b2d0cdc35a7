"""The changes of a submission against its release, in words for graders."""

from __future__ import annotations

import pytest
from marimo._convert.converters import MarimoConvert

from mograder.notebook.cells import parse_cells
from mograder.notebook.integrity import describe_tampering
from mograder.notebook.points import plain_code
from tests.unit.notebook.grading_sources import MARKS, source

CHECK = '@app.cell\ndef _():\n    check("Q1: a", [(x == 1, "m")])\n    return\n'
GIVEN = "def given(x):\n    return 1 * x"
RELEASE = (
    source(
        "import numpy as np",
        GIVEN,
        MARKS,
        "# YOUR CODE HERE\nx = 1",
        CHECK,
        'mo.md("text")',
        'check("Q2: b", [(x == 2, "m")])\ncheck("Q3: c", [])',
    )
    + '\n\nif __name__ == "__main__":\n    app.run()\n'
)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("    x = 1\n", "    x = 5\n    y = 2\n", ()),
        ("import numpy as np\n", "import numpy as np\n    import scipy\n", ()),
        ("(x == 1,", "(True,", ("check(Q1)",)),
        ("(x == 2,", "(True,", ("check(Q2)", "check(Q3)")),
        ('"Q1": 10', '"Q1": 99', ("marks",)),
        ("return 1 * x\n", "return 2 * x\n", ("cell: modified: def given(x):",)),
        ("def given(x):\n        return 1 * x\n", "pass\n", ("cell: missing: def given(x):",)),
        (CHECK, "", ("check(Q1)",)),
        ("if __name__", CHECK.replace("x == 1", "True") + "\n\nif __name__", ("check(Q1)",)),
        ("if __name__", "@app.cell\ndef _():\n    z = 3\n    return\n\n\nif __name__", ()),
        ("    x = 1\n", '    x = Board().check("e4", "king")\n', ()),
    ],
)
def test_changes_of_a_release_in_words_for_graders(
    old: str, new: str, told: tuple[str, ...]
) -> None:
    assert old in RELEASE
    assert described(RELEASE.replace(old, new)) == told


OWN_TEST = "@app.cell\ndef test_Q1_b(x):\n    assert x\n    return\n"
TESTED = RELEASE.replace(CHECK, "@app.cell\ndef test_Q1_a(x):\n    assert x == 1\n    return\n")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("assert x == 1", "assert x", ("check(Q1)",)),
        ("if __name__", f"{OWN_TEST}\n\nif __name__", ()),
    ],
)
def test_a_test_of_the_release_is_a_check_and_a_students_own_is_none(
    old: str, new: str, told: tuple[str, ...]
) -> None:
    assert described(TESTED.replace(old, new), TESTED) == told


def test_an_untouched_release_with_line_ends_of_windows_is_unchanged() -> None:
    assert described(RELEASE.replace("\n", "\r\n")) == ()


@pytest.mark.parametrize(
    "written",
    [
        *('mo.md("text")', 'mo.md(f"text {{x}}")', "mo.md(rf'text')", 'mo.md("text");'),
        *(
            '# remark\n    mo.md("text")',
            'mo.md("text")  # remark',
            'mo.md(\n        # why\n        "text"\n    )',
        ),
    ],
)
def test_a_release_that_marimo_has_only_saved_in_its_own_forms_is_unchanged(written: str) -> None:
    release = RELEASE.replace('mo.md("text")', written)
    saved = MarimoConvert.from_py(release).to_py()
    assert "@app.function\ndef given(" in saved
    assert written not in saved
    assert described(saved, release) == ()
    assert described(saved.replace("text", "other"), release) != ()


@pytest.mark.parametrize(
    "given",
    [
        'mo.md("""\n$\\\\alpha$ and $\\\\frac{a}{b}$\n""")',
        'mo.md(f"$\\\\frac{{a}}{{b}}$, $\\\\theta$, $\\\\rho$ and $\\\\nabla$")',
        'mo.md("$\\\\xi$, which marimo saves as no Python")',
        'mo.md("four: \\\\\\\\\\\\\\\\alpha")',
        "mo.md(r'''a \"\"\"b\"\"\" c''')",
        '_df = mo.sql(\nf"""\nSELECT 1 AS a\n                \nFROM x\n"""\n)',
        "def helper(a):\n    return a * 2  # doubled",
        "# before\nclass Point:\n    size = 'ä'  # doubled\n    # more",
    ],
)
def test_what_saves_of_marimo_take_away_or_spoil_is_no_change(given: str) -> None:
    release = source("import marimo as mo", MARKS, given, CHECK)
    saved = release
    for _ in range(4):
        saved = MarimoConvert.from_py(saved).to_py()
        assert described(saved, release) == ()
        own, ours = (parse_cells(text, "hw.py").cells for text in (saved, release))
        assert [plain_code(each.code) for each in own] == [plain_code(each.code) for each in ours]
    assert (own[2].kind, own[2].code) != (ours[2].kind, ours[2].code)


def test_a_given_function_that_is_unparsable_in_a_copy_is_changed() -> None:
    unparsable = f'app._unparsable_cell(\n    r"""\n{GIVEN}\n""",\n    name="_",\n)\n'
    cell = "@app.cell\ndef _():\n    def given(x):\n        return 1 * x\n    return\n"
    assert cell in RELEASE
    told = described(RELEASE.replace(cell, unparsable))
    assert told == ("cell: modified: def given(x):",)


def test_no_break_spaces_that_marimo_has_replaced_are_no_change() -> None:
    release = RELEASE.replace('"m"', '"m\xa0!"').replace('"text"', '"un\xa0texte"')
    release = release.replace("1 * x", '"10\xa0%"')
    assert release.count("\xa0") == 4
    saved = MarimoConvert.from_py(release).to_py()
    assert "\xa0" not in saved
    assert described(saved, release) == ()
    assert described(saved.replace("m !", "m ?"), release) == (
        "check(Q1)",
        "check(Q2)",
        "check(Q3)",
    )


def test_a_notebook_of_another_assignment_is_called_so() -> None:
    mine, other = (
        parse_cells(f'# /// script\n# mograder-assignment = "{name}"\n# ///\n\n{RELEASE}', "hw.py")
        for name in ("A1-Sums", "A2-Means")
    )
    assert describe_tampering(other, mine) == ("a notebook of A2-Means",)
    assert describe_tampering(mine, mine) == ()


def described(text: str, release: str = RELEASE) -> tuple[str, ...]:
    """The changes of a submission."""
    return describe_tampering(parse_cells(text, "hw.py"), parse_cells(release, "hw.py"))
