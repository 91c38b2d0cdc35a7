"""Where each cell of a notebook stands, and what marimo takes for its code."""

from __future__ import annotations

import pytest
from marimo._ast.compiler import compile_cell
from marimo._types.ids import CellId_t

from mograder.core.errors import InvalidInput
from mograder.notebook.cells import (
    CellKind,
    LineEdit,
    parse_cells,
    plain_text,
    replace_lines,
    split_lines,
    tree_of,
)

HEAD = "import marimo\n\napp = marimo.App()\n\n"
EVERY_KIND = """\
import marimo

app = marimo.App()

with app.setup(hide_code=True):
    import math
    # at the end


@app.cell(
    hide_code=True,
)
# why
def named(
    a,
    b,
):
    x = a[1:2]

    # a remark
    return (
        b,
        x,
    )  # behind
    # after the return


@app.function
# remembers
@functools.cache
def double(n):
    return 2 * n
    # at the end


@app.class_definition
class Point:
    x: int


app._unparsable_cell(
    r\"\"\"
    y = = 1
    \"\"\",
    name="broken"
)


@app.cell
async def _():
    await thing()


if __name__ == "__main__":
    app.run()
"""


def test_every_kind_of_cell_is_found_with_its_lines() -> None:
    cells = parse_cells(EVERY_KIND, "A1.py").cells
    seen = [(cell.kind, cell.name, cell.first, cell.last) for cell in cells]
    assert seen == [
        (CellKind.SETUP, "setup", 5, 7),
        (CellKind.CELL, "named", 10, 25),
        (CellKind.FUNCTION, "double", 28, 33),
        (CellKind.CLASS, "Point", 36, 38),
        (CellKind.UNPARSABLE, "broken", 41, 46),
        (CellKind.CELL, "_", 49, 51),
    ]
    assert [cell.hidden for cell in cells] == [True, True, False, False, False, False]


def test_the_body_of_a_cell_is_what_its_author_wrote() -> None:
    cells = parse_cells(EVERY_KIND, "A1.py").cells
    assert [(cell.body_first, cell.body_last) for cell in cells] == [
        (6, 7),
        (18, 20),
        (31, 33),
        (37, 38),
        (42, 44),
        (51, 51),
    ]
    named = cells[1]
    assert (named.return_first, named.return_last, named.returns) == (21, 24, ("b", "x"))


def test_the_code_is_the_one_that_marimo_itself_sees() -> None:
    cells = parse_cells(EVERY_KIND, "A1.py").cells
    assert cells[0].code == "import math\n# at the end"
    assert cells[2].code.startswith("# remembers\n@functools.cache\ndef double(n):")
    assert cells[4].code == "y = = 1"
    assert cells[5].code == "await thing()"


def test_a_line_of_the_code_is_a_line_of_the_file() -> None:
    notebook = parse_cells(EVERY_KIND, "A1.py")
    for cell in notebook.cells:
        last_line = cell.code.split("\n")[-1]
        number = cell.line_of(cell.code.count("\n") + 1)
        assert last_line.strip() in notebook.lines[number - 1]


@pytest.mark.parametrize("number", [5, 7, 25, 41])
def test_a_line_belongs_to_its_cell(number: int) -> None:
    cell = parse_cells(EVERY_KIND, "A1.py").cell_at(number)
    assert cell is not None
    assert cell.first <= number <= cell.last


@pytest.mark.parametrize("number", [1, 8, 9, 27, 54])
def test_a_line_between_cells_belongs_to_none(number: int) -> None:
    assert parse_cells(EVERY_KIND, "A1.py").cell_at(number) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"^A1\.py:1: this is not a marimo notebook"),
        ("x = 1\n", r"^A1\.py:1: this is not a marimo notebook"),
        ("import marimo\n", r"^A1\.py:1: .*App"),
        (HEAD + "x = = 1\n", r"^A1\.py:5: invalid syntax\."),
        ("x = '\0'", r"^A1\.py:1: "),
        ("x = '\ud800'", r"^A1\.py:1: "),
        ("(" * 5000, r"^A1\.py:1: "),
        (HEAD + "@app.cell\nclass C:\n    pass\n", r"^A1\.py:1: .*cannot be used on classes"),
        ("@app.cell\ndef _():\n    return\n\n\n" + HEAD, r"^A1\.py:1: marimo finds 0 cells"),
        (HEAD + "app._unparsable_cell('a'); app._unparsable_cell('b')\n", r"^A1\.py:5: two cells"),
    ],
)
def test_what_is_no_notebook_is_refused_with_file_and_line(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse_cells(text, "A1.py")


def test_lines_end_where_python_ends_them_and_nowhere_else() -> None:
    text = "a\nb\r\nc\rd\x0c\u2028\x0b\x1ce"
    assert split_lines(text) == ("a\n", "b\r\n", "c\r", "d\x0c\u2028\x0b\x1ce")
    assert plain_text("\ufeffa\r\nb") == "a\nb\n"


@pytest.mark.parametrize(
    ("text", "edit", "after"),
    [
        ("a\nb\nc\n", LineEdit(2, 2, ("x", "y")), "a\nx\ny\nc\n"),
        ("a\nb\nc\n", LineEdit(2, 1, ("x",)), "a\nx\nb\nc\n"),
        ("a\nb\nc\n", LineEdit(2, 3), "a\n"),
        ("a\nb\nc\n", LineEdit(4, 3, ("x",)), "a\nb\nc\nx\n"),
        ("a\r\nb\r\n", LineEdit(2, 2, ("x",)), "a\r\nx\r\n"),
        ("a\r\nb\n", LineEdit(2, 2, ("x",)), "a\r\nx\n"),
        ("a\nb", LineEdit(2, 2, ("x",)), "a\nx"),
        ("a\nb", LineEdit(3, 2, ("x",)), "a\nb\nx"),
        ("a\rb", LineEdit(1, 1, ("x",)), "x\rb"),
        ("a\nb", LineEdit(2, 2), "a"),
        ("", LineEdit(1, 0, ("x",)), "x\n"),
        ("a", LineEdit(1, 1, ("x", "y")), "x\ny"),
    ],
)
def test_an_edit_changes_its_lines_only(text: str, edit: LineEdit, after: str) -> None:
    assert replace_lines(split_lines(text), [edit]) == after


def test_edits_may_come_in_any_order_and_may_not_overlap() -> None:
    lines = split_lines("a\nb\nc\n")
    edits = [LineEdit(3, 3, ("z",)), LineEdit(1, 1, ("x",)), LineEdit(3, 2, ("y",))]
    assert replace_lines(lines, edits) == "x\nb\ny\nz\n"
    with pytest.raises(ValueError, match="overlap"):
        replace_lines(lines, [LineEdit(1, 2), LineEdit(2, 3)])


def test_a_warning_of_pythons_is_none_of_the_authors_business() -> None:
    assert tree_of("'\\d'") is not None
    assert tree_of("x = = 1") is None
    assert tree_of("\0") is None


def test_thousands_of_cells_after_thousands_of_lines_are_found() -> None:
    text = "\n" * 20_000 + HEAD + "@app.cell\ndef _():\n    return\n" * 2_000
    notebook = parse_cells(text, "A1.py")
    assert len(notebook.cells) == 2_000
    assert notebook.cells[-1].last == len(notebook.lines)


def test_a_name_that_is_no_text_is_none() -> None:
    text = HEAD + "@app.cell(name={})\ndef own():\n    return\n"
    for stated in ("0x" + "f" * 9_000, "[[1]]", "b'x'", "None", "1e999"):
        assert parse_cells(text.format(stated), "A1.py").cells[0].name == "own"
    assert parse_cells(text.format("'x'"), "A1.py").cells[0].name == "x"


def test_a_code_has_a_space_for_each_no_break_space_as_marimo_runs_it() -> None:
    code = 'x = "10\xa0%"  # dix\xa0pour cent'
    (cell,) = parse_cells(f"{HEAD}@app.cell\ndef _():\n    {code}\n    return\n", "x.py").cells
    assert cell.code == compile_cell(code, CellId_t("a")).code
    assert "\xa0" not in cell.code
