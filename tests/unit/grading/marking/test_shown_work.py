"""Which cells of a submission answer which question."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from marimo._convert.converters import MarimoConvert

from mograder.grading.marking.question_sources import (
    NO_SOURCE,
    QuestionSources,
    marking_scale,
    question_sources,
    sources_or_none,
)
from mograder.grading.marking.shown_work import (
    Works,
    WorkToShow,
    show_work,
    solution_cells,
    written_text,
)
from mograder.store.gradebook.grading_records import WHOLE
from tests.support.marking_course import SOURCE, submission_of
from tests.support.notebooks import notebook

SOURCES = question_sources(SOURCE, "hw1.py")


def own(text: str, question: str, sources: QuestionSources = SOURCES) -> list[str]:
    work = show_work(WorkToShow(text, "x.py", sources))
    return [each.code for each in work.of(question) if each.own]


def test_a_question_has_the_cells_that_its_checks_use_or_that_carry_its_name() -> None:
    assert dict(SOURCES.questions) == {"Q1": (2,), "Q2": (4,), "Essay": (7,), "Q4": (9,)}
    assert SOURCES.students == (2, 4, 7, 9)
    assert SOURCES.of(WHOLE) == SOURCES.students


def test_a_comment_in_given_code_is_no_heading_of_a_question() -> None:
    answer = "### BEGIN SOLUTION\n{}\n### END SOLUTION"
    source = notebook(
        '# === MOGRADER: MARKS ===\n_marks = {"Q1": 5, "Q2": 5}',
        'mo.md("## Question 1: the figure")',
        "# The data of question 2 are others.\ndata = [1, 2]",
        answer.format("print(data)"),
        'mo.md("## Question 2: the text")',
        answer.format("print(2)"),
    )
    assert dict(question_sources(source, "hw1.py").questions) == {"Q1": (3,), "Q2": (5,)}


def test_a_comment_in_the_code_of_a_text_is_no_heading_of_a_question() -> None:
    task = 'mo.md(r"""\n## Question {}\nBegin:\n```python\n# read the file\n```\n""")'
    cells = ['# === MOGRADER: MARKS ===\n_marks = {"Q1": 5, "Q2": 5}']
    for number in (1, 2):
        cells += [task.format(number), f"### BEGIN SOLUTION\nprint({number})\n### END SOLUTION"]
    questions = question_sources(notebook(*cells), "hw1.py").questions
    assert dict(questions) == {"Q1": (2,), "Q2": (4,)}


def test_the_scale_is_the_admonition_without_its_directives() -> None:
    assert SOURCES.scale == "- 10: all, with $x^2$\n- 5: half"
    assert question_sources(SOURCE.replace("\n", "\r\n"), "hw1.py").scale == SOURCES.scale
    assert marking_scale("no such thing") == ""


def test_cells_are_found_at_their_place_however_the_student_changed_them() -> None:
    text = submission_of()
    assert own(text, "Q1") == ["helper = 1", "area = 3.1"]
    assert own(text, "Q4") == ['plot = "my plot"']
    renamed = text.replace("area = 3.1", "flaeche = 3.1").replace("return (area,)", "return")
    assert own(renamed, "Q1") == ["helper = 1", "flaeche = 3.1"]
    without = text.replace(
        '    check("Q2: twice", [(lambda: twice(2) == 4, "two times two is four")])\n', "    pass\n"
    )
    assert "def twice(x):\n    return 2 * x" in own(without, "Q2")


def test_a_moved_cell_is_told_by_its_names() -> None:
    text = submission_of()
    cell = '@app.cell\ndef _():\n    plot = "my plot"\n    return (plot,)\n\n\n'
    assert cell in text
    moved = text.replace(cell, "").replace(
        "@app.cell\ndef written_analysis", f"{cell}@app.cell\ndef written_analysis"
    )
    cells = show_work(WorkToShow(moved, "x.py", SOURCES)).cells
    assert any(cell.code.startswith("plot") for cell, _ in cells), "it is shown"


def test_empty_cells_that_a_student_made_by_chance_are_not_shown() -> None:
    """In marimo a key makes one; an answer that was emptied is still shown as such."""
    text, empty = submission_of(), "@app.cell\ndef _():\n    return\n\n\n"
    cell = '@app.cell\ndef _():\n    plot = "my plot"\n    return (plot,)\n\n\n'
    assert cell in text
    more = text.replace(cell, empty * 2 + cell + empty * 2)
    assert own(more, "Q4") == ['plot = "my plot"']
    assert "" not in own(more, WHOLE)
    assert own(text.replace(cell, empty * 3), "Q4") == [""]


def test_given_texts_that_marimo_has_only_saved_in_its_own_form_are_no_work_of_a_student() -> None:
    text = submission_of()
    saved = MarimoConvert.from_py(text).to_py()
    assert 'mo.md(r"""## Question 4 (5 marks)""")' in text
    assert 'mo.md(r"""## Question 4 (5 marks)""")' not in saved
    for question in ("Q1", "Q2", "Q4", WHOLE):
        assert len(own(saved, question)) == len(own(text, question))


def test_cells_without_a_name_as_earlier_releases_of_marimo_wrote_them_are_told_apart() -> None:
    source = notebook(
        "### BEGIN SOLUTION\nx = 1\n### END SOLUTION",
        "### BEGIN SOLUTION\ny = 2\n### END SOLUTION",
        'check("Q1: x", [(x == 1, "no")])',
        'check("Q2: y", [(y == 2, "no")])',
    ).replace("def _(", "def __(")
    lines = source.replace("y = 2", "z = 2").replace("return (y,)", "return").split("\n")
    text = "\n".join(line for line in lines if "SOLUTION" not in line)
    sources = question_sources(source, "hw1.py")
    assert own(text, "Q1", sources) == ["x = 1"]
    assert own(text, "Q2", sources) == ["z = 2"]
    assert {cell.name for cell, _ in show_work(WorkToShow(text, "x.py", sources)).cells} == {""}


def test_written_answers_are_text() -> None:
    work = show_work(WorkToShow(submission_of("One.\n\nTwo $x$."), "x.py", SOURCES))
    (essay,) = (each for each in work.of("Essay") if each.own)
    assert essay.text == "One.\n\nTwo $x$."
    (solution,) = solution_cells(SOURCES, "Essay")
    assert solution.text.startswith("The model essay")
    assert "SOLUTION" not in solution_cells(SOURCES, "Q1")[0].code


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ('mo.md(f"The mean is {mean:.2f}, because it rained.")', ""),
        ('mo.vstack([mo.md("(a) Yes."), mo.md("(b) No, since it rained.")])', ""),
        ('response_text = "One."\nresponse_text = "Two, and more."\nmo.md(response_text)', ""),
        ('response_text = "One."\nmore = ""\nmo.md(response_text)', "One."),
        ("mo.md(response_text)", ""),
    ],
)
def test_a_part_of_a_written_answer_is_not_shown_as_all_of_it(answer: str, text: str) -> None:
    """The code is shown then."""
    assert written_text("written_analysis", answer) == text


def test_the_text_of_a_solution_is_not_its_placeholder() -> None:
    answer = """
    @app.cell
    def written_analysis(mo):
        response_text = "*Write your answer here, in five to ten sentences.*"
        ### BEGIN SOLUTION
        response_text = "It rained."
        ### END SOLUTION
        mo.md(response_text)
        return
    """
    (solution,) = solution_cells(question_sources(notebook(answer), "hw1.py"), WHOLE)
    assert solution.text == "It rained."


def test_without_a_source_the_cells_before_a_check_answer_it() -> None:
    text = submission_of()
    assert own(text, "Q1", NO_SOURCE)[-2:] == ["helper = 1", "area = 3.1"]
    assert own(text, "Q2", NO_SOURCE) == ["def twice(x):\n    return 2 * x"]


@pytest.mark.parametrize(
    "text",
    ["not python (", "", "x = 1", "import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _(:\n"],
)
def test_what_is_no_notebook_is_shown_as_it_is(text: str) -> None:
    work = show_work(WorkToShow(text, "x.py", SOURCES))
    assert work.cells == ()
    assert work.problem
    assert work.text == text


def test_a_source_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    path = tmp_path / "hw1.py"
    path.write_text("not python (")
    found, why = sources_or_none(path)
    assert found == NO_SOURCE
    assert why.startswith("The source cannot be used: ")
    assert sources_or_none(None) == (NO_SOURCE, "")
    assert sources_or_none(tmp_path / "none.py")[1]


def test_of_large_submissions_few_are_kept() -> None:
    asked = [WorkToShow(f"# {number}\n{submission_of()}", "x.py", SOURCES) for number in range(3)]

    async def again() -> list[bool]:
        works = Works(kept_characters=2 * len(asked[0].text))
        found = [await works.show(each) for each in asked]
        return [await works.show(asked[at]) is found[at] for at in (2, 1, 0)]

    assert asyncio.run(again()) == [True, True, False]
