"""The release made of a source, and the templates of ``mograder new`` that sources begin with.

See compatibility-0.3.16.md 7, B112; most of it is in the corpus.
"""

from __future__ import annotations

import pytest
from marimo._ast.parse import parse_notebook
from marimo._convert.converters import MarimoConvert

from mograder.core.errors import InvalidInput
from mograder.grading.author.scaffold import assignment_text
from mograder.notebook.cells import parse_cells
from mograder.notebook.points import cell_hash, cell_hashes, is_editable
from mograder.notebook.source.release import (
    SUBMIT,
    ReleaseText,
    make_release,
    with_hidden_tests,
    with_submit_cells,
)
from tests.support.course import EXAMPLE_COURSE

HEAD = "import marimo\n\napp = marimo.App()\n\n\n"
TEMPLATE = assignment_text("A1", marimo="0.25.2")
BLOCK = "    ### BEGIN SOLUTION\n    x = 41 + 1\n    ### END SOLUTION\n"
ANSWER = f"\n\n@app.cell\ndef _():\n{BLOCK}    return (x,)\n"


def cells(text: str) -> list[str]:
    return [cell.code.strip() for cell in parse_cells(text, "A1.py").cells]


def release(text: str) -> ReleaseText:
    made = make_release(text, filename="A1.py", assignment="A1")
    assert made is not None
    return made


def test_a_source_made_from_a_release_does_not_claim_its_hidden_tests() -> None:
    head = "# /// script\n# dependencies = []\n# mograder-hidden-tests = true\n# ///\n"
    cell = f"@app.cell\ndef _():\n{BLOCK}    return (x,)\n"
    assert "# mograder-hidden-tests = false\n" in release(head + HEAD + cell).text


@pytest.mark.parametrize("name", ["A1-Measuring-Pi", "A2-Cooling-Coffee", "A3-Counting-Bicycles"])
def test_a_fingerprint_is_taken_of_what_marimo_itself_calls_the_code(name: str) -> None:
    text = (EXAMPLE_COURSE / "release" / name / f"{name}.py").read_bytes().decode()
    parsed = parse_notebook(text)
    assert parsed is not None
    cells = parse_cells(text, f"{name}.py").cells
    assert [cell.code for cell in cells] == [cell.code for cell in parsed.cells]
    assert f'"{",".join(cell_hashes(cells))}"' in text


def test_a_fingerprint_does_not_mind_space_around_the_code() -> None:
    assert cell_hash("x = 1") == cell_hash("\n x = 1\n\n") == "8ff436de"
    assert cell_hash("x = '\ud800'")


@pytest.mark.parametrize(
    ("name", "editable"),
    [
        *(("written_analysis", True), ("written_analysis_2", True), ("written_analysis_", True)),
        *(("written_analysis2", False), ("my_written_analysis", False), ("_", False)),
    ],
)
def test_a_cell_is_for_students_when_its_name_says_so(name: str, editable: bool) -> None:
    text = f"{HEAD}@app.cell\ndef {name}():\n    x = 1\n    return\n"
    assert is_editable(parse_cells(text, "A1.py").cells[0]) is editable


@pytest.mark.parametrize("kind", ["function", "class_definition"])
def test_a_block_may_end_with_what_it_is_in(kind: str) -> None:
    """Its last mark then stands below the last statement, where Python sees no code any more."""
    opening = "def f(x):" if kind == "function" else "class C:"
    made = release(f"{HEAD}@app.{kind}\n{opening}\n{BLOCK}")
    assert made.text == f"{HEAD}@app.{kind}\n{opening}\n    # YOUR CODE HERE\n    pass\n"


def test_a_name_that_an_earlier_block_bound_is_not_reset_by_a_later_one() -> None:
    later = "    print(x)\n    ### BEGIN SOLUTION\n    x = x + 1\n    ### END SOLUTION\n"
    made = release(f"{HEAD}@app.cell\ndef _():\n{BLOCK}{later}    return (x,)\n")
    assert made.text.count("x = ...") == 1


def test_a_name_whose_only_binding_was_taken_out_before_is_bound_again() -> None:
    """The first block's next return has no use for it, and the second one's has."""
    first = "    if a:\n" + BLOCK.replace("    ", "        ") + "        return 0\n"
    second = BLOCK.replace("x = 41", "x = x") + "    return x\n"
    made = release(f"{HEAD}@app.function\ndef f(a):\n{first}{second}")
    assert made.text.count("x = ...") == 1
    assert made.text.index("return 0") < made.text.index("x = ...")


def test_a_name_that_has_only_a_type_hint_above_the_block_is_bound_in_its_place() -> None:
    made = release(f"{HEAD}@app.cell\ndef _():\n    x: int\n{BLOCK}    return (x,)\n")
    assert "    x: int\n    x = ...\n    # YOUR CODE HERE\n    pass\n    return (x,)" in made.text


def test_code_that_nests_without_end_is_refused_or_released_but_breaks_nothing() -> None:
    deep = "+".join(["1"] * 2500)
    text = f"{HEAD}@app.cell\ndef _():\n    y = {deep}\n{BLOCK}    return (x,)\n"
    try:
        assert "x = ..." in release(text).text
    except InvalidInput as refused:
        assert refused.message.startswith("A1.py:1: ")  # noqa: PT017


def test_an_author_is_told_of_a_text_for_which_students_may_change_a_cell() -> None:
    texts = ('mo.md("Find `# YOUR CODE HERE`.")', "# YOUR CODE HERE", "y = '### # YOUR CODE HERE'")
    bodies = [*(f"    {text}\n" for text in texts), BLOCK + "    z = '# YOUR CODE HERE'\n"]
    hidden = "    ### BEGIN HIDDEN TESTS\n    y = '# YOUR CODE HERE'\n    ### END HIDDEN TESTS\n"
    cells = (f"@app.cell\ndef _():\n{body}    return\n" for body in (*bodies, hidden))
    text = f"# /// script\n# dependencies = []\n# ///\n{HEAD}" + "\n\n".join(cells)
    lines = text.split("\n")
    advice = release(text).advice
    assert [lines[each.line - 1].strip() for each in advice] == [texts[0], texts[2]]
    assert all("students may change this cell" in each.message for each in advice)


def test_what_is_left_and_what_is_lost_is_told_at_once() -> None:
    hidden = "    ### BEGIN HIDDEN TESTS\n    y = 2\n    ### END HIDDEN TESTS\n"
    cells = [
        f"{BLOCK}    return (x,)\n",
        "    x = 41 + 1\n    return\n",
        f"{hidden}    return (y,)\n",
    ]
    text = HEAD + "\n\n".join(f"@app.cell\ndef _():\n{body}" for body in cells)
    with pytest.raises(InvalidInput, match=r"outside of its block(.|\n)*only the hidden tests"):
        release(text)


def test_a_source_without_solutions_is_skipped_whatever_it_is() -> None:
    assert make_release("x = = 1", filename="A1.py", assignment="A1") is None


def test_a_release_for_grading_keeps_the_hidden_tests_of_some_cells() -> None:
    test = "    a = 1\n    ### BEGIN HIDDEN TESTS\n    assert a == {0}\n    ### END HIDDEN TESTS\n"
    cells = [
        f"@app.cell\ndef _():\n{text}    return\n"
        for text in (BLOCK, test.format(1), test.format(2))
    ]
    text = HEAD + "\n\n".join(cells)
    kept = with_hidden_tests(text, "A1.py", {2})
    assert "assert a == 1" not in kept
    assert "assert a == 2" in kept
    assert "HIDDEN TESTS\n    assert" not in kept
    assert "x = 41" not in kept
    assert kept.count("# HIDDEN TESTS") == 1
    assert (
        with_hidden_tests(text, "A1.py", ()).splitlines()[-20:]
        == release(text).text.splitlines()[-20:]
    )


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ('mo.md("""\n    $\\\\alpha$\n\n    - $\\\\beta$\n    """)', "$\\alpha$\n\n    - $\\beta$"),
        ('# why\n    mo.md(f"$\\\\frac{{1}}{{2}}$");  # so', "$\\frac{1}{2}$"),
        ("mo.md('$\\\\xi$, that marimo cannot save')", "$\\xi$, that marimo cannot save"),
    ],
)
def test_a_text_that_marimo_would_spoil_is_released_raw(written: str, text: str) -> None:
    made = release(f"{HEAD}@app.cell\ndef _(mo):\n    {written}\n    return\n{ANSWER}")
    assert f'mo.md(r"""\n    {text}\n    """)' in made.text
    saved = MarimoConvert.from_py(made.text).to_py()
    assert f'mo.md(r"""\n    {text}\n    """)' in saved
    assert cells(saved) == cells(made.text)
    assert not any("marimo changes" in each.message for each in made.advice)


@pytest.mark.parametrize(
    "written", ['mo.md("a text")', 'mo.md("""\n    $\\sum$\n    """)', 'mo.md(f"$\\\\alpha$ {x}")']
)
def test_other_texts_are_released_as_they_are_written(written: str) -> None:
    made = release(f"{HEAD}@app.cell\ndef _(mo):\n    {written}\n    return\n{ANSWER}")
    assert written in made.text


def test_an_author_is_told_of_a_text_that_marimo_spoils_and_that_cannot_be_raw() -> None:
    text = 'mo.md(\'"""$\\\\alpha$"""\')'
    made = release(f"{HEAD}@app.cell\ndef _(mo):\n    {text}\n    return\n{ANSWER}")
    assert text in made.text
    assert any("marimo changes this text" in each.message for each in made.advice)


def test_the_type_of_a_solutions_name_is_released_in_no_parameters() -> None:
    typed = BLOCK.replace("x =", 'x: Literal["ä"] =')
    given = "@app.cell\ndef _():\n    y: int = 1\n    return (y,)\n"
    users = (
        '@app.cell\ndef _(\n    check, w: "Literal[\\"ä\\"]", x: "Literal[\\"ä\\"]", y: int\n):\n'
        "    print(w, x, y)\n    return\n\n\n@app.function\ndef f(x: int):\n    return x\n"
    )
    others = (  # names of the same letters, in other scopes
        "\n\n@app.class_definition\nclass A:\n    x: float = 0.0\n\n\n"
        "@app.cell\ndef _():\n    def g():\n        w: int = 1\n        return w\n    return (g,)\n"
    )
    solved = f"@app.cell\ndef _():\n{typed}{typed.replace('x:', 'w:')}    return w, x\n"
    made = release(f"{HEAD}{given}\n\n{solved}\n\n{users}{others}")
    assert "Literal" not in made.text
    assert "def _(\n    check, w, x, y: int\n):\n" in made.text
    assert "def f(x: int):" in made.text


@pytest.mark.parametrize(
    "change",
    ['_marks["Q2"] = 5', '_marks["Q1"] += 5', '_marks |= {"Q2": 5}', "_marks.update(Q2=5)"],
)
def test_an_author_is_told_of_marks_that_are_added_below_the_table(change: str) -> None:
    marks = f'# === MOGRADER: MARKS ===\n    _marks = {{"Q1": 10}}\n    {change}'
    made = release(
        f"{HEAD}@app.cell\ndef _():\n    {marks}\n    print(_marks)\n    return\n{ANSWER}"
    )
    [told] = [each for each in made.advice if "marks" in each.message]
    assert (told.line, told.message) == (10, "these marks are not counted.")


def test_a_title_that_marimo_cannot_save_is_refused() -> None:
    text = HEAD.replace("App()", "App(app_title='Say \"hi\"')")
    with pytest.raises(
        InvalidInput, match=r"A1\.py:3: marimo cannot save this notebook: `app_title`"
    ):
        release(f"{text}{ANSWER}")


def test_a_hint_is_not_on_the_line_that_marimo_shows_of_a_hidden_cell() -> None:
    lines = [line.strip() for line in TEMPLATE.splitlines()]
    hints = [line for line in lines if line.startswith("hint(")]
    assert hints
    assert set(hints) == {"hint("}


# The form that submits, as two cells of the notebook -------------------------------------


@pytest.mark.parametrize(
    "text", [TEMPLATE, TEMPLATE.replace("\n", "\r\n"), TEMPLATE.partition("\n\nif __")[0]]
)
def test_two_cells_come_last_and_all_else_stays(text: str) -> None:
    released = with_submit_cells(text, url='https://x.org/"', assignment="A1")
    before, after = parse_cells(text, "a").cells, parse_cells(released, "a").cells
    assert [cell.code for cell in after[:-2]] == [cell.code for cell in before]
    assert all(SUBMIT in cell.code for cell in after[-2:])
    assert '"https://x.org/\\""' in after[-1].code
    assert released.startswith(text.partition("if __name__")[0].rstrip())


def test_a_notebook_that_has_the_cells_stays_as_it_is() -> None:
    once = with_submit_cells(TEMPLATE, url="https://x.org", assignment="A1")
    assert with_submit_cells(once, url="https://y.org", assignment="A1") == once
