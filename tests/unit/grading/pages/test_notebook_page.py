"""The page of a notebook as it ran: what it shows of a stranger's text and outputs."""

from __future__ import annotations

import base64
import re
import time

import pytest

from mograder.grading.pages.notebook_page import render_notebook_page, view_code
from mograder.sandbox.execution.report import CellOutput, CellResult, CellStatus
from tests.support.notebooks import notebook

SCORES = notebook("grader.scores()", "marks = grader.scores()\nmarks\nreturn", end="")
TEXT = notebook(
    "import marimo as mo",
    '''
    @app.cell(hide_code=True)
    mo.md("""# Waves""")
    ''',
    """
    @app.cell
    def wave():
        print("</pre><script>alert(1)</script>")
        1 / 0
        return
    """,
    """
    @app.cell(hide_code=True)
    check("Q1", [(True, "never")])
    """,
    "later = 1\nreturn",
    end="",
)
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n and more").decode()
FAILED = CellResult(
    *(2, "wave", CellStatus.ERROR, "ZeroDivisionError", "division by <zero>", 2),
    outputs=(
        CellOutput("text/plain", "</pre><script>alert(1)</script>\x1b[31mred\x1b[0m", printed=True),
        CellOutput("image/png", PNG),
        CellOutput("image/png", "", cut=True),
        CellOutput("application/x-strange", "x"),
        CellOutput("image/png", "data:image/png;base64,PHN2Zz4="),
    ),
)
CELLS = (
    CellResult(0, "_", CellStatus.OK),
    CellResult(
        *(1, "_", CellStatus.OK),
        outputs=(CellOutput("text/markdown", "<span class='markdown'><h1>Waves</h1></span>"),),
    ),
    FAILED,
    CellResult(3, "_", CellStatus.SKIPPED, message="a cell that it needs did not run"),
    CellResult(4, "_", CellStatus.INTERRUPTED),
)


def page() -> str:
    return render_notebook_page(TEXT, "A1.py", CELLS)


def test_it_loads_nothing_and_runs_nothing() -> None:
    text = page()
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text
    assert "<script" not in text
    assert "javascript:" not in text
    assert "http" not in re.sub(r'http-equiv="[^"]*"', "", text)
    sources = re.findall(r'(?:src|href|action|data)="([^"]*)"', text)
    assert sources == [PNG]


def test_prose_is_read_where_it_is_shown_and_code_is_coloured() -> None:
    text = page()
    assert '<h3 class="one">Waves</h3>' in text
    assert "mo.md" not in text
    assert '<span class="nb">print</span>' in text


def test_an_error_stands_below_its_cell_with_its_line_in_the_file() -> None:
    text = page()
    assert "<strong>ZeroDivisionError</strong> in line 21" in text
    assert "division by &lt;zero&gt;" in text


def test_printed_text_is_text_without_the_terminals_colours() -> None:
    assert "&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;red" in page()


def test_what_is_left_out_is_told() -> None:
    text = page()
    assert "it is too large" in text
    assert "An output of the type application/x-strange is not shown here." in text
    assert "An image (image/png) is not shown." in text


def test_a_cell_that_did_not_run_says_why() -> None:
    text = page()
    assert "Checks run apart from the notebook" in text
    assert "The run ended while this cell was running." in text
    assert "This cell did not run." in render_notebook_page(TEXT, "A1.py", ())


@pytest.mark.parametrize(
    ("cell", "is_check"),
    [
        ('plain("Q1", [])', True),
        ('ask("Q1")', True),
        ('grader.check(f"Q{1}", [])', True),
        ("# to check (again)", False),
    ],
)
def test_a_cell_is_a_check_as_in_the_plan(cell: str, is_check: bool) -> None:
    helper = "def ask(label):\n    plain(label, [])"
    text = notebook("from mograder.runtime import check as plain", helper, f"{cell}\nreturn")
    page = render_notebook_page(text, "A1.py", [CellResult(2, "_", CellStatus.SKIPPED)])
    assert page.count("Checks run apart from the notebook") == is_check


def test_a_check_is_told_in_a_cell_that_is_no_python() -> None:
    broken = "\napp._unparsable_cell('check(\"Q1\", [', name='_')\n"
    page = render_notebook_page(notebook("x = 1", end=broken), "A1.py", ())
    assert page.count("Checks run apart from the notebook") == 1


def test_hidden_code_is_folded() -> None:
    assert "<summary>Code of cell 4</summary>" in page()


def test_a_text_that_is_no_notebook_is_shown_as_it_is() -> None:
    text = render_notebook_page("</code><script>x</script> (", "A1.py", ())
    assert "&lt;/code&gt;&lt;script&gt;" in text
    assert "<script" not in text


def test_a_long_cell_is_shown_without_colours() -> None:
    long = TEXT.replace("later = 1", "later = 1  # " + "x" * 50_000)
    assert "x" * 50_000 in render_notebook_page(long, "A1.py", ())


def test_blanks_behind_a_word_take_no_time() -> None:
    """30 KB of them took the lexer ten seconds, in which the hub did nothing else."""
    blanks = TEXT.replace("later = 1", "match" + " " * 20_000 + "+ 1")
    began = time.process_time()
    assert " " * 20_000 in render_notebook_page(blanks, "A1.py", ())
    assert time.process_time() - began < 2


def test_a_long_notebook_is_not_read_anew_for_each_look() -> None:
    """A list of 100,000 numbers took half a minute for each look at one's marks."""
    view = view_code(TEXT.replace("later = 1", f"later = [{'-1,' * 40_000}]"), "A1.py")
    assert (view.cells, view.text) == ((), "")
    assert "too long" in view.problem


def test_the_notebooks_own_table_of_marks_is_not_shown_where_checks_ran_apart() -> None:
    table = (CellOutput("text/html", "<p>Scores will be available after grading.</p>"),)
    cells = [CellResult(n, "_", CellStatus.OK, outputs=table) for n in range(2)]
    page = render_notebook_page(SCORES, "alice.py", cells)
    assert page.count("Scores will be available") == 1
    assert page.count("The table of marks is not shown here: the checks ran apart") == 1
    assert "grader" in page
