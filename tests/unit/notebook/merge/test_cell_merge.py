"""What becomes of each cell when a new release is brought into a student's copy."""

from __future__ import annotations

import pytest
from marimo._convert.converters import MarimoConvert

from mograder.notebook.cells import parse_cells
from mograder.notebook.header_edit import read_key, set_keys
from mograder.notebook.merge.cell_merge import Merge, NotMergeable, merge
from mograder.notebook.merge.merge_decisions import ADDITIONS, OUTSIDE, STUDENTS
from mograder.notebook.points import cell_hashes

MARKS = """\
import marimo as mo
from mograder.runtime import Grader
# === MOGRADER: MARKS ===
_marks = {"Q1": 10, "Q2": 5}
grader = Grader(_marks)
check = grader.check"""
TEXT_1 = 'mo.md("## Question 1: find x")'
DATA = "data = [1, 2, 3]"
ANSWER_1 = "x = ...\n# YOUR CODE HERE\npass"
CHECK_1 = 'check("Q1: x", [(x == 42, "not right")])'
TEXT_2 = 'mo.md("## Question 2: find y")'
ANSWER_2 = "y = ...\n# YOUR CODE HERE\npass"
CHECK_2 = 'check("Q2: y", [(y == sum(data), "not right")])'
CELLS = (MARKS, TEXT_1, DATA, ANSWER_1, CHECK_1, TEXT_2, ANSWER_2, CHECK_2)
MINE_1 = "x = 41 + 1"
FRAME = """\
# /// script
# dependencies = ["marimo"]
# mograder-assignment = "A1"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App()


{}


if __name__ == "__main__":
    app.run()
"""


def cell(code: str) -> str:
    """A cell as marimo writes it."""
    lines = (f"    {line}" if line else "" for line in code.split("\n"))
    return "\n".join(["@app.cell", "def _():", *lines, "    return"])


def notebook(*codes: str, header: str = "") -> str:
    """A release of these cells; a copy keeps the hashes of the release ``header`` came from."""
    text = FRAME.format("\n\n\n".join(map(cell, codes)))
    hashes = ",".join(cell_hashes(parse_cells(text, "A1.py").cells))
    return set_keys(text, {"mograder-cell-hashes": header or hashes})


OLD = notebook(*CELLS)
HASHES = read_key(OLD, "mograder-cell-hashes")


def replaced(cells: tuple[str, ...], **new: str) -> tuple[str, ...]:
    """The cells with others instead: ``TEXT_1="…"``, an empty one to leave it out."""
    by_old = {globals()[name]: code for name, code in new.items()}
    return tuple(by_old.get(code, code) for code in cells if by_old.get(code, code))


def copy(cells: tuple[str, ...]) -> str:
    """A student's copy of the old release."""
    return notebook(*cells, header=HASHES)


def codes(merged: Merge) -> list[str]:
    """The codes of the result's cells."""
    return [each.code.strip() for each in parse_cells(merged.text, "A1.py").cells]


def test_a_corrected_text_and_check_come_in_and_the_answer_stays() -> None:
    new_text, new_check = TEXT_1.replace("find", "compute"), CHECK_1.replace("42", "43")
    new = notebook(*replaced(CELLS, TEXT_1=new_text, CHECK_1=new_check))
    found = merge(OLD, new, copy(replaced(CELLS, ANSWER_1=MINE_1)))
    expected = replaced(CELLS, TEXT_1=new_text, CHECK_1=new_check, ANSWER_1=MINE_1)
    assert codes(found) == list(expected)
    assert found.replaced == ("## Question 1: compute x", "Q1: x")
    assert (found.added, found.removed, found.conflicts) == ((), (), ())
    assert read_key(found.text, "mograder-cell-hashes") == read_key(new, "mograder-cell-hashes")


@pytest.mark.parametrize(
    "given",
    [
        'mo.md(\n    r"""\n    # Find $x$\n\n      - a\n    """\n)',
        'mo.md("""\nFind $\\\\alpha$, $\\\\frac{1}{2}$ and $\\\\rho$.\n""")',
        'mo.md("Find $\\\\xi$.")',
        "def helper(a):\n    return Find(a)  # a word",
        'text = """\nFind it\n            \n"""',
    ],
)
def test_what_saves_of_marimo_make_of_a_given_cell_is_no_change_of_the_students(given: str) -> None:
    old = saved = notebook(*replaced(CELLS, TEXT_1=given))
    new = old.replace("Find", "Compute").replace("find y", "guess y")
    for _ in range(3):
        saved = MarimoConvert.from_py(saved).to_py()
        found = merge(old, new, saved)
        assert (found.conflicts, codes(found)) == ((), codes(Merge(new)))


def test_of_answers_that_were_handed_out_alike_the_open_one_gets_what_is_new_in_it() -> None:
    blank, mine = "# YOUR CODE HERE\npass", "# YOUR CODE HERE\nplt.plot(x)"
    hint = f"# Draw it in red.\n{blank}"
    old, new, own = (
        notebook(*CELLS, first, "given = 1", second)
        for first, second in ((blank, blank), (blank, hint), (mine, blank))
    )
    found = merge(old, new, own)
    assert codes(found)[len(CELLS) :] == [mine, "given = 1", hint]
    assert found.conflicts == ()


def test_a_remark_behind_a_text_is_a_change_of_the_students() -> None:
    mine = f"{TEXT_1}  # my remark"
    new = notebook(*replaced(CELLS, TEXT_1='mo.md("other")'))
    assert mine in codes(merge(OLD, new, copy(replaced(CELLS, TEXT_1=mine))))


def test_without_the_old_release_the_hashes_in_the_header_tell_the_same() -> None:
    new_check = CHECK_1.replace("42", "43")
    new = notebook(*replaced(CELLS, TEXT_2="", CHECK_1=new_check))
    mine = copy((*replaced(CELLS, ANSWER_1=MINE_1, DATA="data = [1, 2]"), "print(x)"))
    assert merge(None, new, mine).text == merge(OLD, new, mine).text
    assert merge(None, new, mine).removed == ("## Question 2: find y",)


def test_without_the_old_release_and_hashes_nothing_is_lost() -> None:
    new = notebook(*replaced(CELLS, TEXT_1='mo.md("## Question 1: guess x")', TEXT_2=""))
    mine = copy(replaced(CELLS, ANSWER_1=MINE_1)).replace("mograder-cell-hashes", "other")
    found = merge(None, new, mine)
    assert {TEXT_1, TEXT_2, MINE_1} <= set(codes(found)), "it may be the student's own"
    assert [each.cell for each in found.conflicts] == ["## Question 1: guess x"]


def test_a_cell_that_both_changed_stays_with_the_authors_as_a_comment_beside() -> None:
    new = notebook(*replaced(CELLS, DATA="data = [1, 2, 3, 4]"))
    found = merge(OLD, new, copy(replaced(CELLS, DATA="data = [7]")))
    at = codes(found).index("data = [7]")
    beside = codes(found)[at + 1]
    assert beside.split("\n")[-1] == "# data = [1, 2, 3, 4]"
    (conflict,) = found.conflicts
    lines = found.text.split("\n")
    assert lines[conflict.line - 1] == "@app.cell"
    assert "NEW VERSION BY THE AUTHOR" in lines[conflict.line + 1]
    assert conflict.cell == "data = [1, 2, 3, 4]"


def test_a_later_merge_replaces_that_comment_unless_the_student_edited_it() -> None:
    second = notebook(*replaced(CELLS, DATA="data = [1, 2, 3, 4]"))
    third = notebook(*replaced(CELLS, DATA="data = [5]"))
    text = merge(OLD, second, copy(replaced(CELLS, DATA="data = [7]"))).text
    again = merge(second, third, text).text
    assert "# data = [5]" in again
    assert "# data = [1, 2, 3, 4]" not in again
    edited = text.replace("# data = [1, 2, 3, 4]", "# data = [1, 2, 3, 4]  # better?")
    assert "# data = [1, 2, 3, 4]  # better?" in merge(second, third, edited).text


def test_a_comment_beside_stays_while_the_author_changes_other_cells() -> None:
    second = notebook(*replaced(CELLS, DATA="data = [1, 2, 3, 4]"))
    third = notebook(*replaced(CELLS, DATA="data = [1, 2, 3, 4]", TEXT_2='mo.md("find y")'))
    text = merge(OLD, second, copy(replaced(CELLS, DATA="data = [7]"))).text
    found = merge(second, third, text)
    assert "# data = [1, 2, 3, 4]" in found.text
    assert found.conflicts == ()


@pytest.mark.parametrize("corrected", [CHECK_1, CHECK_1.replace("42", "43")])
def test_a_changed_check_is_as_released_with_the_students_as_a_comment(corrected: str) -> None:
    new = notebook(*replaced(CELLS, CHECK_1=corrected, TEXT_2=""))
    mine = CHECK_1.replace("42", "0")
    found = merge(OLD, new, copy(replaced(CELLS, CHECK_1=mine)))
    at = codes(found).index(corrected)
    assert codes(found)[at + 1].startswith(STUDENTS)
    assert codes(found)[at + 1].endswith(f"\n# {mine}")
    assert [each.cell for each in found.conflicts] == ["Q1: x"]


def test_a_deleted_check_comes_back_and_a_deleted_text_does_not() -> None:
    new = notebook(*replaced(CELLS, TEXT_2='mo.md("## Question 2: now find y")'))
    found = merge(OLD, new, copy(replaced(CELLS, CHECK_1="", TEXT_1="")))
    assert CHECK_1 in codes(found)
    assert TEXT_1 not in codes(found)
    assert found.added == ("Q1: x",)


def test_a_deleted_text_comes_back_if_the_author_corrected_it() -> None:
    corrected = 'mo.md("## Question 1: now find x")'
    found = merge(OLD, notebook(*replaced(CELLS, TEXT_1=corrected)), copy(CELLS[2:]))
    assert codes(found)[0] == MARKS, "the marks come back too"
    assert codes(found)[1] == corrected


def test_new_cells_come_in_behind_the_one_that_precedes_them_and_what_is_below_it() -> None:
    more = ('mo.md("## Question 3")', "z = ...\n# YOUR CODE HERE\npass", 'check("Q3: z", [])')
    new = notebook(*CELLS[:5], *more, *CELLS[5:])
    mine = copy((*CELLS[:5], "print(x)", *CELLS[5:], "print(y)"))
    found = merge(OLD, new, mine)
    assert codes(found) == [*CELLS[:5], "print(x)", *more, *CELLS[5:], "print(y)"]
    assert found.added[-1] == "Q3: z"


@pytest.mark.parametrize(
    ("text", "conflicts"),
    [
        ("Explain the median of a list in your own words. Two sentences are enough, or three.", 0),
        ("Name three plants that grow below water, and say how they breathe in there.", 1),
    ],
)
def test_an_answer_of_no_name_belongs_to_a_text_of_mostly_the_same_words(
    text: str, conflicts: int
) -> None:
    asked, blank = "Explain the median of a list in your own words.", "# YOUR CODE HERE\npass"
    old, new, own = (
        notebook(MARKS, f'mo.md("## Question 1: {ask}")', answer, CHECK_1)
        for ask, answer in ((asked, blank), (text, blank), (asked, "print(5)"))
    )
    found = merge(old, new, own)
    assert (len(found.conflicts), codes(found).count(blank)) == (conflicts, conflicts)
    assert "print(5)" in codes(found)


def test_an_answer_that_was_only_renamed_stays_the_answer() -> None:
    blank, mine = 'mo.md("*Write here.*")', 'mo.md("I think so.")'
    old, new, own = (
        notebook(*cells).replace(f"_():\n    {cells[-1]}", f"{name}():\n    {cells[-1]}")
        for name, cells in (
            ("written_analysis", (MARKS, TEXT_1, blank)),
            ("written_analysis_1", (MARKS, TEXT_2, DATA, TEXT_1, blank)),
            ("written_analysis", (MARKS, TEXT_1, mine)),
        )
    )
    found = merge(old, new, own)
    assert (codes(found), found.conflicts) == ([MARKS, TEXT_2, DATA, TEXT_1, mine], ())


def test_a_removed_question_goes_but_an_answer_to_it_stays() -> None:
    new = notebook(*CELLS[:5])
    found = merge(OLD, new, copy(replaced(CELLS, ANSWER_2="y = 6")))
    assert codes(found) == [*CELLS[:5], "y = 6"]
    assert found.removed == ("## Question 2: find y", "Q2: y")
    assert [each.cell for each in found.conflicts] == ["y = 6"]


def test_moved_cells_stay_where_the_student_put_them() -> None:
    moved = (*CELLS[5:], *CELLS[:5])
    corrected = CHECK_2.replace("right", "yet right")
    found = merge(OLD, notebook(*replaced(CELLS, CHECK_2=corrected)), copy(moved))
    assert codes(found) == list(replaced(moved, CHECK_2=corrected))


def test_the_authors_new_order_is_taken_where_the_student_moved_nothing() -> None:
    order = (*CELLS[:1], *CELLS[5:], *CELLS[1:5])
    mine = copy((*replaced(CELLS, ANSWER_1=MINE_1), "print(x)"))
    found = merge(OLD, notebook(*order), mine)
    assert codes(found) == [*CELLS[:1], *CELLS[5:], "print(x)", *CELLS[1:3], MINE_1, CHECK_1]


def test_a_copied_cell_of_the_author_does_not_stay_with_an_old_text() -> None:
    corrected = CHECK_1.replace("42", "43")
    mine = copy((*CELLS, CHECK_1, TEXT_1))
    found = merge(OLD, notebook(*replaced(CELLS, CHECK_1=corrected)), mine)
    assert codes(found) == [*replaced(CELLS, CHECK_1=corrected), TEXT_1]


def test_imports_that_the_student_added_to_the_marks_still_run() -> None:
    marks = MARKS.replace("import marimo as mo", "import marimo as mo\nimport math\nimport re")
    new = notebook(*replaced(CELLS, MARKS=MARKS.replace("5}", "6}")))
    found = merge(OLD, new, copy(replaced(CELLS, MARKS=marks)))
    assert codes(found)[:2] == [MARKS.replace("5}", "6}"), f"{ADDITIONS}\nimport math\nimport re"]
    assert found.conflicts == ()


def test_a_text_that_the_student_added_to_the_marks_is_no_obstacle() -> None:
    text = 'mo.md("hello")'
    new = notebook(*replaced(CELLS, MARKS=MARKS.replace("5}", "6}")))
    found = merge(OLD, new, copy(replaced(CELLS, MARKS=f"{MARKS}\n{text}")))
    assert codes(found)[:2] == [MARKS.replace("5}", "6}"), f"{ADDITIONS}\n{text}"]


@pytest.mark.parametrize("rest", ["root = math.sqrt(2)", 'mo.md("root")'])
def test_an_import_that_the_new_release_has_becomes_a_comment(rest: str) -> None:
    new = notebook(*replaced(CELLS, MARKS=MARKS.replace("as mo", "as mo\nimport math")))
    found = merge(OLD, new, copy((*CELLS, f"import math\n{rest}")))
    assert codes(found)[-1] == f"# import math\n{rest}"
    assert "`math`" in found.conflicts[0].reason


def test_a_new_cell_yields_to_a_name_of_the_student() -> None:
    new = notebook(*CELLS, "total = sum(data)")
    found = merge(OLD, new, copy((*CELLS, "total = 0")))
    assert codes(found)[:-2] == list(CELLS)
    assert "total = 0" in codes(found)[-2:]
    assert "# total = sum(data)" in found.text
    assert "'total'" in found.conflicts[0].reason


def test_a_corrected_cell_yields_to_a_name_of_the_student() -> None:
    new = notebook(*replaced(CELLS, DATA="data = [1, 2, 3]\ntotal = sum(data)"))
    found = merge(OLD, new, copy((*CELLS, "total = 0")))
    assert DATA in codes(found)
    assert "# total = sum(data)" in found.text


@pytest.mark.parametrize(
    ("at", "cells"),
    [
        (-1, (*CELLS, "limit = 4")),
        (4, replaced(CELLS, CHECK_1=f"{CHECK_1}\nlimit = 4")),  # which would be a cell of its own
    ],
)
def test_marks_that_define_a_name_of_the_student_leave_the_copy_as_it_is(
    at: int, cells: tuple[str, ...]
) -> None:
    correct = CHECK_1.replace("42", "43")
    new = notebook(*replaced(CELLS, MARKS=f"{MARKS}\nlimit = 3", CHECK_1=correct))
    mine = copy(cells)
    line = parse_cells(mine, "x").cells[at].first
    with pytest.raises(NotMergeable, match=rf"^the copy:{line}: this cell defines 'limit'"):
        merge(OLD, new, mine)


def test_a_name_that_the_student_needs_stays() -> None:
    new = notebook(*replaced(CELLS, DATA="values = [1, 2, 3]", CHECK_2="", ANSWER_2=""))
    found = merge(OLD, new, copy(replaced(CELLS, ANSWER_1="x = max(data)")))
    assert DATA in codes(found)
    assert "# values = [1, 2, 3]" in found.text
    assert "`data`" in found.conflicts[0].reason


def test_an_import_of_the_old_marks_that_the_student_needs_stays() -> None:
    base = notebook(*replaced(CELLS, MARKS=f"import math\n{MARKS}"))
    mine = notebook(*replaced(CELLS, MARKS=f"import math\n{MARKS}", ANSWER_1="x = math.pi"))
    found = merge(base, OLD, mine)
    assert codes(found)[:2] == [MARKS, f"{ADDITIONS}\nimport math"]


def test_a_cell_with_a_syntax_error_stays_in_its_place() -> None:
    broken = 'app._unparsable_cell(\n    r"""\n    x = (\n    """,\n    name="_"\n)'
    mine = copy(CELLS).replace(cell(ANSWER_1), broken)
    corrected = CHECK_1.replace("42", "43")
    found = merge(OLD, notebook(*replaced(CELLS, CHECK_1=corrected)), mine)
    assert codes(found) == list(replaced(CELLS, CHECK_1=corrected, ANSWER_1="x = ("))


@pytest.mark.parametrize(
    ("mine", "reason"),
    [
        ("x = (", r"^the copy:1: "),
        ("print(1)", "not a marimo notebook"),
        (OLD.replace("def _():", "def _(:", 1), r"^the copy:14: "),
    ],
)
def test_what_is_no_notebook_is_not_merged(mine: str, reason: str) -> None:
    with pytest.raises(NotMergeable, match=reason):
        merge(OLD, notebook(*CELLS[:5]), mine)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("@app.cell", "def helper(n):\n    return n"),
        ("@app.cell", "# my note"),
        ("@app.cell", '"""My essay,\n\nin two parts."""'),
        ("import marimo", "# Alice, 12345"),
        ("import marimo", '"""Alice, 12345"""'),
        ("if __name__", "# at the end"),
    ],
)
def test_what_stands_outside_of_all_cells_is_not_lost_but_told(place: str, text: str) -> None:
    mine = copy(CELLS).replace(place, f"{text}\n\n{place}", 1)
    new = notebook(*replaced(CELLS, CHECK_1=CHECK_1.replace("42", "43")))
    found = merge(OLD, new, mine)
    *others, last = codes(found)
    assert others == codes(Merge(new))
    assert last == "\n".join([OUTSIDE, *(f"# {line}" for line in text.split("\n") if line)])
    (conflict,) = found.conflicts
    assert found.text.split("\n")[conflict.line + 1].strip() == OUTSIDE
    assert merge(OLD.replace(place, f"{text}\n\n{place}", 1), new, mine).text == new


def test_a_header_that_the_student_changed_is_that_of_the_release() -> None:
    mine = OLD.replace('"marimo"]', '"marimo", "polars"]')
    mine = mine.replace("App()", 'App(\n    width="full"\n)')
    assert merge(OLD, notebook(*CELLS[:5]), mine).text == notebook(*CELLS[:5])


def test_a_copy_of_endlessly_many_cells_is_not_merged() -> None:
    with pytest.raises(NotMergeable, match="more than 2000 cells"):
        merge(OLD, notebook(*CELLS[:5]), notebook(*["1"] * 2001))


def test_the_form_to_submit_is_as_released() -> None:
    form = '# === MOGRADER: SUBMIT ===\nform = mo.ui.text(label="{}")'
    base, new = notebook(*CELLS, form.format("old")), notebook(*CELLS, form.format("new"))
    mine = notebook(*CELLS, form.format("mine"))
    assert form.format("new") in codes(merge(base, new, mine))


def test_a_setup_cell_comes_first() -> None:
    setup = "with app.setup:\n    import math"
    new = OLD.replace("@app.cell", f"{setup}\n\n\n@app.cell", 1)
    found = merge(OLD, new, copy(("print(0)", *replaced(CELLS, ANSWER_1=MINE_1))))
    assert codes(found)[:2] == ["import math", "print(0)"]


@pytest.mark.parametrize(
    "value", ["0x" + "f" * 9000, " + ".join(["1"] * 1500)], ids=["long", "deep"]
)
def test_a_copy_with_a_value_that_python_does_not_write_stays_as_it_is(value: str) -> None:
    new = notebook(*replaced(CELLS, CHECK_1=CHECK_1.replace("42", "43")))
    mine = copy(replaced(CELLS, CHECK_1=f"{CHECK_1}\nown = {value}"))
    with pytest.raises(NotMergeable, match="too deeply, or has a number that is too long"):
        merge(OLD, new, mine)
