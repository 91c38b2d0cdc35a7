"""Changes that a student made to a released notebook, and the cells that are run.

See compatibility-0.3.16.md 7.
"""

from __future__ import annotations

import pytest
from marimo._convert.converters import MarimoConvert

from mograder.core.errors import InvalidInput
from mograder.notebook.cells import parse_cells
from mograder.notebook.header_edit import set_keys
from mograder.notebook.integrity import IntegrityReport, Level, check_integrity
from mograder.notebook.points import cell_hashes
from mograder.notebook.source.release import make_release

MARKS = """\
@app.cell(hide_code=True)
def _():
    import marimo as mo
    from mograder.runtime import Grader

    # === MOGRADER: MARKS ===
    _marks = {"Q1": 10, "Q2": 5}
    grader = Grader(_marks)
    check = grader.check
    return check, grader, mo
"""
TITLE = """\
@app.cell(hide_code=True)
def _(mo):
    mo.md(r\"\"\"
    # Two questions
    \"\"\")
    return
"""
SOLVED = """\
@app.cell
def _():
    x = 41 + 1
    return (x,)
"""
CHECK_1 = """\
@app.cell(hide_code=True)
def _(check, x):
    check("Q1: x", [(x == 42, "x is not right")])
    return
"""
ANSWER_2 = """\
@app.function
def double(n):
    # YOUR CODE HERE
    pass
"""
CHECK_2 = """\
@app.cell(hide_code=True)
def _(check):
    check("Q2: double", [(lambda: double(2) == 4, "two and two are four")])
    return
"""
SCORES = """\
@app.cell(hide_code=True)
def _(grader):
    grader.scores()
    return
"""
HEAD = """\
# /// script
# dependencies = ["mograder"]
# ///

import marimo

app = marimo.App()


"""
TAIL = '\n\nif __name__ == "__main__":\n    app.run()\n'
QUESTION_1 = SOLVED.replace(
    "    x = 41 + 1\n", "    ### BEGIN SOLUTION\n    x = 41 + 1\n    ### END SOLUTION\n"
)
FALSE_CHECK_1 = CHECK_1.replace("x == 42", "True")
BODY_1 = CHECK_1[CHECK_1.index("    check") :]
BARE_MARKS = MARKS.replace("    # === MOGRADER: MARKS ===\n", "").replace("from mograder.", "from ")


def notebook(*cells: str, head: str = HEAD) -> str:
    return head + "\n\n".join(cells) + TAIL


def _release() -> str:
    source = notebook(MARKS, TITLE, QUESTION_1, CHECK_1, ANSWER_2, CHECK_2, SCORES)
    made = make_release(source, filename="A1.py", assignment="A1")
    assert made is not None
    return made.text


RELEASE = _release()
RELEASED_HEAD = RELEASE[: RELEASE.index("@app.cell")]


def student(*cells: str) -> str:
    return notebook(*cells, head=RELEASED_HEAD)


def by_release(*cells: str) -> IntegrityReport:
    return check_integrity(student(*cells), RELEASE, "A1.py")


def by_hashes(*cells: str) -> IntegrityReport:
    return check_integrity(student(*cells), None, "A1.py")


def said(report: IntegrityReport) -> list[str]:
    return [f"{finding.line}: {finding.message}" for finding in report.findings]


def line_of(text: str, part: str) -> int:
    """The line of the decorator above the line that has this part."""
    before = text[: text.index(part)]
    return before[: before.rindex("@app.")].count("\n") + 1


def test_an_honest_answer_is_no_finding_either_way() -> None:
    cells = (MARKS, TITLE, SOLVED, CHECK_1, ANSWER_2, CHECK_2, SCORES)
    assert by_release(*cells).level is Level.SOURCE
    assert by_release(*cells).findings == ()
    assert by_release(*cells).restored is None
    assert by_hashes(*cells) == IntegrityReport(Level.HASH, ())


def test_no_break_spaces_that_marimo_replaces_when_it_saves_are_no_change() -> None:
    check = CHECK_1.replace("Q1: x", "Q1\xa0: x").replace("not right", "pas juste\xa0!")
    title = TITLE.replace("Two questions", "Deux\xa0questions")
    source = notebook(MARKS, title, QUESTION_1, check, ANSWER_2, CHECK_2, SCORES)
    made = make_release(source, filename="A1.py", assignment="A1")
    assert made is not None
    assert made.text.count("\xa0") == 3
    saved = MarimoConvert.from_py(made.text).to_py()
    assert "\xa0" not in saved
    for text in (made.text, saved):
        report = check_integrity(text, made.text, "A1.py")
        assert (report.findings, report.restored) == ((), None)
        assert report.counted is not None
        assert 3 in report.counted
        assert check_integrity(text, None, "A1.py") == IntegrityReport(Level.HASH, ())


def test_cells_that_a_student_adds_are_no_finding() -> None:
    own = "@app.cell\ndef _():\n    _notes = 'mine'\n    return\n"
    cells = (MARKS, own, TITLE, SOLVED, CHECK_1, own, ANSWER_2, CHECK_2, SCORES, own)
    assert by_release(*cells).findings == ()
    assert by_hashes(*cells).findings == ()


def test_a_changed_check_runs_as_it_was_released() -> None:
    cells = (MARKS, TITLE, SOLVED, FALSE_CHECK_1, ANSWER_2, CHECK_2, SCORES)
    report = by_release(*cells)
    line = line_of(student(*cells), "[(True")
    assert said(report) == [
        f"{line}: the cell for 'Q1: x' was changed; it runs as it was released."
    ]
    assert report.restored == student(MARKS, TITLE, SOLVED, CHECK_1, ANSWER_2, CHECK_2, SCORES)


def test_the_hashes_name_the_changed_check_and_not_the_answer_above_it() -> None:
    cells = (MARKS, TITLE, SOLVED, FALSE_CHECK_1, ANSWER_2, CHECK_2, SCORES)
    line = line_of(student(*cells), "[(True")
    assert said(by_hashes(*cells)) == [f"{line}: this cell is not as it was released."]


def test_a_deleted_check_is_put_back_before_the_last_cell() -> None:
    cells = (MARKS, TITLE, SOLVED, ANSWER_2, CHECK_2, SCORES)
    report = by_release(*cells)
    assert said(report) == ["1: the cell for 'Q1: x' is gone; it runs as it was released."]
    assert report.restored == student(MARKS, TITLE, SOLVED, ANSWER_2, CHECK_2, CHECK_1, SCORES)
    line = line_of(student(*cells), "x = 41")
    assert said(by_hashes(*cells)) == [
        f"{line}: 1 cell of the release was changed or taken out near here."
    ]


def test_several_deleted_checks_come_back_in_their_order() -> None:
    report = by_release(MARKS, TITLE, SOLVED, ANSWER_2, SCORES)
    assert report.restored == student(MARKS, TITLE, SOLVED, ANSWER_2, CHECK_1, CHECK_2, SCORES)
    messages = [finding.message for finding in by_hashes(MARKS, TITLE, SOLVED, SCORES).findings]
    assert messages == ["2 cells of the release were changed or taken out near here."]


def test_a_notebook_without_any_cell_gets_the_checks_back() -> None:
    report = check_integrity(HEAD.rstrip("\n") + "\n" + TAIL, RELEASE, "A1.py")
    assert report.restored is not None
    codes = [cell.code for cell in parse_cells(report.restored, "A1.py").cells]
    assert [code.split("(")[0] for code in codes[1:]] == ["check", "check"]


def test_a_duplicated_check_runs_once() -> None:
    cells = (MARKS, TITLE, SOLVED, CHECK_1, ANSWER_2, CHECK_2, CHECK_1, SCORES)
    report = by_release(*cells)
    assert len(report.findings) == 1
    assert "there already, and does not count" in report.findings[0].message
    assert report.restored is not None
    assert report.restored.count('check("Q1: x"') == 1
    assert "stands here once more" in by_hashes(*cells).findings[0].message


def test_a_moved_check_is_told_and_left_where_it_is() -> None:
    cells = (MARKS, TITLE, SOLVED, ANSWER_2, CHECK_2, CHECK_1, SCORES)
    report = by_release(*cells)
    assert [finding.message for finding in report.findings] == ["the cell for 'Q1: x' was moved."]
    assert report.restored is None
    assert [finding.message for finding in by_hashes(*cells).findings] == ["this cell was moved."]


def test_other_marks_are_not_used() -> None:
    richer = MARKS.replace('"Q1": 10', '"Q1": 100')
    report = by_release(richer, TITLE, SOLVED, CHECK_1, ANSWER_2, CHECK_2, SCORES)
    assert "'the marks' was changed" in report.findings[0].message
    assert report.restored is not None
    assert '"Q1": 10,' in report.restored
    assert '"Q1": 100' not in report.restored


@pytest.mark.parametrize(
    ("marks", "check"),
    [
        # Else the released cell would come on top, and both define the same names.
        (
            MARKS.replace("    # === MOGRADER: MARKS ===\n", "").replace("from mograder.", "from "),
            "",
        ),
        (MARKS.replace("check = grader.check", "check = lambda *_: print('all passed')"), ""),
        (MARKS, FALSE_CHECK_1.replace("Q1: x", "Q1: other")),
        (
            MARKS,
            f'app._unparsable_cell(\n    r"""\n{CHECK_1[CHECK_1.index("    check") :]} =\n"""\n)\n',
        ),
        # The sign that makes a cell the student's must stand in the release.
        (MARKS, FALSE_CHECK_1.replace("    check(", "    # YOUR CODE HERE\n    check(")),
    ],
    ids=["no remark", "false function", "another label", "unparsable", "for answers"],
)
def test_what_decides_about_marks_is_replaced_however_it_was_changed(
    marks: str, check: str
) -> None:
    cells = (marks, TITLE, SOLVED, check or CHECK_1, ANSWER_2, CHECK_2, SCORES)
    whole = student(MARKS, TITLE, SOLVED, CHECK_1, ANSWER_2, CHECK_2, SCORES)
    assert by_release(*cells).restored == whole
    assert by_hashes(*cells).findings


@pytest.mark.parametrize(
    "mine", [(), ("with app.setup:\n    def my_own(*_):\n        print('passed')\n",)]
)
def test_a_lost_or_changed_setup_cell_is_put_back_once_as_the_first(mine: tuple[str, ...]) -> None:
    release = notebook("with app.setup:\n    from mograder.runtime import check\n", SOLVED, CHECK_1)
    report = check_integrity(notebook(*mine, SOLVED, CHECK_1), release, "A1.py")
    assert report.restored == release


@pytest.mark.parametrize(
    "line", ["import scipy", "from math import pi, e as euler", "import numpy.linalg"]
)
def test_imports_that_a_student_adds_to_the_imports_stay(line: str) -> None:
    more = MARKS.replace("import marimo as mo\n", f"import marimo as mo\n    {line}\n")
    report = by_release(more, TITLE, SOLVED, CHECK_1, ANSWER_2, CHECK_2, SCORES)
    assert report.findings == ()
    assert report.restored is None


@pytest.mark.parametrize(
    "line",
    [
        *("import mine as check", "from mine import grader", "from mine import *"),
        *("from mograder import runtime", "print('hello')", "import mograder.runtime as r"),
    ],
)
def test_what_else_is_added_there_does_not_run(line: str) -> None:
    more = MARKS.replace("    check = grader", f"    {line}\n    check = grader")
    report = by_release(more, TITLE, SOLVED, CHECK_1, ANSWER_2, CHECK_2, SCORES)
    assert len(report.findings) == 1
    assert report.restored == student(MARKS, TITLE, SOLVED, CHECK_1, ANSWER_2, CHECK_2, SCORES)


def test_a_students_own_check_does_not_count() -> None:
    """Also one with another label of a question that was released."""
    own = '@app.cell\ndef _(check):\n    check("Q1: other", [(True, "")])\n    return\n'
    report = by_release(MARKS, TITLE, SOLVED, CHECK_1, ANSWER_2, CHECK_2, own, SCORES)
    assert [finding.message for finding in report.findings] == [
        "this check of 'Q1: other' is not in the release, and does not count."
    ]
    assert report.restored is None
    assert report.counted == frozenset({0, 1, 3, 5, 7})


@pytest.mark.parametrize(
    "call", ['c = check; c("Q1: x", [(True, "")])', 'grader.check(f"Q{1}", [(True, "")])']
)
def test_a_check_in_disguise_does_not_count_because_its_cell_does_not(call: str) -> None:
    own = f"@app.cell\ndef _(check, grader):\n    {call}\n    return\n"
    report = by_release(MARKS, TITLE, SOLVED, CHECK_1, ANSWER_2, CHECK_2, own, SCORES)
    assert report.findings == ()
    assert report.counted == frozenset({0, 1, 3, 5, 7})


def test_counted_cells_are_those_of_the_restored_text() -> None:
    report = by_release(TITLE, SOLVED, ANSWER_2, CHECK_2, SCORES)
    assert report.restored is not None
    cells = parse_cells(report.restored, "A1.py").cells
    counted = [cell.code for cell in cells if cell.index in (report.counted or ())]
    assert sum("check(" in code for code in counted) == 2
    assert not any("41" in code for code in counted)


def test_a_check_in_one_cell_with_an_answer_is_the_students_to_change() -> None:
    both = ANSWER_2.replace("@app.function\ndef double(n):", "@app.cell\ndef _(check):").replace(
        "pass", 'pass\n    check("Q2: here", [])\n    return'
    )
    release = notebook(MARKS, both, SCORES)
    solved = notebook(
        MARKS, both.replace("pass", "print(4)").replace("# YOUR CODE HERE", ""), SCORES
    )
    report = check_integrity(solved, release, "A1.py")
    assert report.findings == ()
    assert report.restored is None
    assert report.counted == frozenset({0, 1, 2})


def test_other_cells_of_the_release_are_told_but_left() -> None:
    other = TITLE.replace("Two", "Three")
    report = by_release(MARKS, other, SOLVED, CHECK_1, ANSWER_2, CHECK_2, SCORES)
    line = line_of(student(MARKS, other), "Three")
    assert said(report) == [f"{line}: this cell is not as it was released."]
    assert report.restored is None


def test_a_text_that_marimo_has_only_saved_in_its_own_form_is_no_finding() -> None:
    release = RELEASE.replace('r"""\n    # Two questions\n    """', '"# Two questions"')
    saved = MarimoConvert.from_py(release).to_py()
    assert '"# Two questions"' not in saved
    assert check_integrity(saved, release, "A1.py").findings == ()
    assert check_integrity(release, release, "A1.py").findings == ()
    other = saved.replace("# Two", "# 2")
    assert len(check_integrity(other, release, "A1.py").findings) == 1


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_what_is_restored_has_the_line_ends_of_the_students_text(end: str) -> None:
    cells = (MARKS, TITLE, SOLVED, FALSE_CHECK_1, ANSWER_2, CHECK_2, SCORES)
    whole = student(MARKS, TITLE, SOLVED, CHECK_1, ANSWER_2, CHECK_2, SCORES)
    report = check_integrity(student(*cells).replace("\n", end), RELEASE, "A1.py")
    assert report.restored == whole.replace("\n", end)


def test_a_notebook_without_hashes_and_release_cannot_be_compared() -> None:
    report = check_integrity(notebook(SOLVED), None, "A1.py")
    assert report == IntegrityReport(Level.NONE, ())


def test_a_million_hashes_in_a_header_are_compared_in_no_time() -> None:
    """Nobody aligns them: the loop that would is quadratic."""
    head = HEAD.replace("# ///\n\n", f'# mograder-cell-hashes = "{"a," * 10**6}"\n# ///\n\n')
    report = check_integrity(notebook(MARKS, SOLVED, CHECK_1, head=head), None, "A1.py")
    assert report.findings


def test_what_is_no_notebook_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^A1\.py:1: "):
        check_integrity("x = = 1", RELEASE, "A1.py")


@pytest.mark.parametrize(
    "line",
    ["import mograder.runtime", "if True: app.run()", "def check(*_): ...", "import marimo, os"],
)
def test_code_outside_of_all_cells_is_told(line: str) -> None:
    whole = student(MARKS, TITLE, SOLVED, CHECK_1, ANSWER_2, CHECK_2, SCORES)
    text = whole.replace("\nif __name__", f"\n{line}\n\nif __name__")
    for release in (RELEASE, None):
        findings = check_integrity(text, release, "A1.py").findings
        assert [finding.line for finding in findings] == [text[: text.index(line)].count("\n") + 1]
    guarded = whole.replace("    app.run()", "    steal()")
    assert len(check_integrity(guarded, RELEASE, "A1.py").findings) == 1


def test_an_answer_that_takes_an_import_over_is_not_replaced() -> None:
    """Half of what a cell defines makes it the changed one; a single name does not."""
    mine = SOLVED.replace("    x = ", "    import marimo as mo\n    x = ")
    report = by_release(TITLE, mine, CHECK_1, ANSWER_2, CHECK_2, SCORES)
    assert report.restored is not None
    assert "x = 41 + 1" in report.restored


def test_a_second_cell_of_marks_does_not_run() -> None:
    richer = MARKS.replace('"Q1": 10', '"Q1": 100')
    report = by_release(richer, MARKS, TITLE, SOLVED, CHECK_1, ANSWER_2, CHECK_2, SCORES)
    assert report.restored is not None
    assert '"Q1": 100' not in report.restored
    assert report.restored.count("MARKS") == 1


ENDLESS = ["0x" + "f" * 9000, " + ".join(["1"] * 1500)]
"""A number that Python does not write, and an expression that it does not write for its depth."""


@pytest.mark.parametrize("value", ENDLESS, ids=["long", "deep"])
def test_what_python_does_not_write_is_a_change(value: str) -> None:
    cells = (MARKS.replace("    return", f"    y = {value}\n    return"), TITLE, SOLVED, CHECK_1)
    assert "the cell for 'the marks' was changed" in " ".join(said(by_release(*cells)))
    text = student(MARKS, SOLVED).replace("    app.run()", f"    ({value})()")
    assert "outside of all cells" in " ".join(said(check_integrity(text, RELEASE, "A1.py")))


def test_a_check_with_a_text_whose_blanks_marimo_takes_away_runs_as_released() -> None:
    check = '    check("Q1: x", [(x == """\n                \n""", "m")])\n'
    release = notebook(MARKS, SOLVED, f"@app.cell\ndef _(check, x):\n{check}    return\n")
    hashes = ",".join(cell_hashes(parse_cells(release, "A1.py").cells))
    release = set_keys(release, {"mograder-cell-hashes": hashes})
    saved = release
    for _ in range(4):
        saved = MarimoConvert.from_py(saved).to_py()
        assert check not in saved
        assert check_integrity(saved, None, "A1.py").findings == ()
        report = check_integrity(saved, release, "A1.py")
        assert report.findings == ()
        assert check in (report.restored or "")
        assert 2 in (report.counted or ())


def test_a_notebook_of_which_only_the_setup_cell_is_left_runs_with_the_released_checks() -> None:
    setup = "with app.setup:\n    K = 3\n"
    release = notebook(setup, MARKS, SOLVED, CHECK_1)
    report = check_integrity(notebook(setup), release, "A1.py")
    restored = parse_cells(report.restored or "", "A1.py")
    assert [cell.kind for cell in restored.cells] == ["setup", "cell", "cell"]
    assert "is gone; it runs as it was released" in report.findings[0].message
