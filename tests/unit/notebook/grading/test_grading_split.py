"""Which code of a source is the student's and which the teacher's, and what crosses between."""

from __future__ import annotations

import pytest

from mograder.core.errors import InvalidInput
from mograder.notebook.grading.grading_split import plan_source
from tests.unit.notebook.grading_sources import (
    IMPORTS,
    MARKS,
    NAME,
    answers,
    hidden,
    labels,
    named,
    places,
    planned,
    roles,
    solved,
    source,
    told,
)

CHECK = 'check("Q1", [(x == 1, "one")])'


def test_each_cell_has_the_role_that_its_content_gives() -> None:
    plan = planned(
        IMPORTS,
        MARKS,
        solved("x = 1"),
        "# YOUR CODE HERE\ny = ...",
        named("written_analysis", 'mo.md("")'),
        named("written_analysis_2", 'mo.md("")'),
        CHECK,
        hidden("assert x"),
        named("test_Q2", "assert x == 1"),
        "mo.md('check(\"Q1\", [])')",
    ).plan
    assert roles(plan) == [
        *("given", "marks", "student", "student", "student", "student"),
        *("check", "check", "check", "given"),
    ]


def test_a_text_that_tells_how_to_answer_makes_no_answer_of_its_cell() -> None:
    made = planned(
        IMPORTS,
        'mo.md("Replace each `# YOUR CODE HERE`.")',
        solved("x = 1"),
        'check("Q1", [(x == 1, "replace `# YOUR CODE HERE`")])',
    )
    assert roles(made.plan) == ["given", "given", "student", "check"]
    assert made.errors == ()


def test_answers_are_the_names_that_checks_use_of_students_cells() -> None:
    plan = planned(
        IMPORTS,
        solved("x = 1", "unused = 2", "inner = 3"),
        solved("y = inner"),
        "shown = unused",
        'check("Q1", [(x == y, "")])',
    ).plan
    assert [(each.name, each.cells) for each in plan.answers] == [("x", (1,)), ("y", (2,))]


def test_given_cells_run_once_unless_they_depend_on_answers() -> None:
    plan = planned(
        IMPORTS,
        "data = np.arange(3)",
        "unneeded = data",
        solved("def model(v):", "    return v"),
        "pred = model(data)",
        "close = abs(pred - data)",
        'check("Q1", [(close < 1, "")])',
    ).plan
    assert places(plan.template) == [0, 1]
    assert places(plan.judged) == [4, 5, 6]
    assert [part.answers for part in plan.judged] == [("model",)] * 3
    assert plan.judged[2].uses == ("check", "close")
    assert answers(plan) == ["model"]


def test_given_code_that_needs_a_checks_name_runs_after_that_check() -> None:
    plan = planned(
        'check("Q1", [(helper(x), "")])\nlimit = 3',
        "def helper(v):\n    return v < limit",
        'check("Q2", [(helper(x), "")])',
        solved("x = 1"),
        IMPORTS,
    )
    assert "so marimo runs neither" in told(plan.errors)
    plan = planned(
        'check("Q1", [(x, "")])\nlimit = 3',
        "def helper(v):\n    return v < limit",
        'check("Q2", [(helper(2), "")])',
        solved("x = 1"),
        IMPORTS,
    )
    assert plan.errors == ()
    assert places(plan.plan.template) == [4]
    assert places(plan.plan.judged) == [0, 1, 2]
    assert plan.plan.judged[2].answers == ("x",)


def test_given_code_that_needs_a_check_of_no_answer_runs_after_it_too() -> None:
    plan = planned(
        'check("Q1", [(True, "")])\nlimit = 3',
        "double = limit * 2",
        'check("Q2", [(double == 6, "")])',
        IMPORTS,
    ).plan
    assert places(plan.template) == [3]
    assert places(plan.judged) == [0, 1, 2]


def test_an_answer_that_needs_a_name_of_a_check_is_an_error() -> None:
    check = 'check("Q1", [(True, "")])\nlimit = 3'
    cells = (IMPORTS, "double = limit * 2", solved("x = double"))
    made = planned(check, *cells)
    line = made.plan.cells[3].line
    assert f"the answer at line {line} needs names of this check" in told(made.errors)
    assert planned("# mograder: unprotected\n" + check, *cells).errors == ()
    assert planned(check, IMPORTS, "double = limit * 2", solved("x = 2")).errors == ()


@pytest.mark.parametrize(
    ("bound", "names"),
    [
        ("limit = 3\nfor n in [1]: pass", "'limit', 'n'"),
        ("import math\nfrom os import path as place\n_limit = 3", ""),
        ("### BEGIN HIDDEN TESTS\nlimit = 3\n### END HIDDEN TESTS", ""),
        ("# mograder: unprotected\nlimit = 3", ""),
    ],
)
def test_names_that_a_check_offers_to_answers_are_advice(bound: str, names: str) -> None:
    made = planned(IMPORTS, solved("x = 1"), f'{bound}\ncheck("Q1", [(x == 1, "")])')
    found = [each for each in told(made.advice).split("\n") if "does not run when" in each]
    assert len(found) == bool(names)
    assert all(f"uses {names} of this check" in each for each in found)


def test_parts_are_in_the_order_in_which_marimo_runs_the_cells() -> None:
    plan = planned(
        'check("Q2", [(late(x), "")])',
        'check("Q1", [(x, "")])',
        "late = twice(bool)",
        "def twice(f):\n    return f",
        solved("x = 1"),
        IMPORTS,
    ).plan
    assert places(plan.template) == [3, 2, 5]
    assert places(plan.judged) == [0, 1]
    assert labels(plan.judged) == [["Q2"], ["Q1"]]


def test_labels_have_their_key_and_their_line_in_the_file() -> None:
    text = source(MARKS, solved("x = 1"), "\n" + CHECK + "\ncheck(f'Q2: {x}', [])\ncheck(x, [])")
    plan = plan_source(text, NAME).plan
    facts = plan.checks[0].check
    assert facts is not None
    assert [(each.label, each.key) for each in facts.labels] == [
        ("Q1", "Q1"),
        (None, "Q2"),
        (None, None),
    ]
    lines = text.split("\n")
    assert all("check(" in lines[each.line - 1] for each in facts.labels)
    assert plan.marks == {"Q1": 10.0, "Q2": 5.0}
    assert planned(CHECK).plan.marks is None


def test_the_code_of_a_part_begins_in_its_line_of_the_file() -> None:
    text = source("# remark\n\nlimit = 1", solved("x = 1"), "check('Q1', [(x < limit, '')])")
    for part in (plan := plan_source(text, NAME).plan).template + plan.judged:
        lines = text.split("\n")[part.line - 1 :]
        assert part.code.split("\n")[0].strip() == lines[0].strip()


# --- a check in one cell with the answer ---------------------------------------------------------


def test_a_check_behind_the_answer_is_divided_from_it() -> None:
    made = planned(
        IMPORTS,
        "scale = 2\n" + solved("x = 1") + "\n# now look\n_y = x * scale\n" + CHECK,
    )
    assert made.errors == ()
    (part,) = made.plan.checks
    assert roles(made.plan) == ["given", "student"]
    assert part.code == "_y = x * scale\n" + CHECK
    assert part.check is not None
    assert part.check.split
    assert part.uses == ("check", "scale", "x")
    assert part.answers == ("scale", "x")
    assert answers(made.plan) == ["scale", "x"]


def test_a_divided_check_reads_what_it_adds_to() -> None:
    (part,) = planned(IMPORTS, solved("x = 1") + "\nx += 1\n" + CHECK).plan.checks
    assert "x" in part.answers


def test_a_check_behind_a_function_that_holds_the_block_is_divided() -> None:
    block = "\n".join(f"    {line}" for line in solved("return 1").split("\n"))
    made = planned(IMPORTS, f'def f():\n{block}\ncheck("Q1", [(f() == 1, "")])')
    assert made.errors == ()
    assert [part.answers for part in made.plan.checks] == [("f",)]


def test_hidden_tests_behind_the_answer_are_divided() -> None:
    made = planned(IMPORTS, solved("x = 1") + "\n" + hidden(CHECK))
    (part,) = made.plan.checks
    assert made.errors == ()
    assert part.check is not None
    assert part.check.hidden
    assert part.check.split


ABOVE = '    (x == 1, "one"),'


@pytest.mark.parametrize(
    ("code", "visible"),
    [
        (f'check("Q1: a", [\n{ABOVE}\n' + hidden('    (x == 2, "two"),') + "\n])", ("one",)),
        (f'check("Q1: a", checks=[\n{ABOVE}\n' + hidden('    (x, "x"),') + "\n])", ("one",)),
        ('check("Q1: a", [\n' + hidden('    (x == 2, "two"),') + f"\n{ABOVE}\n])", ()),
        (hidden("y = 2") + '\ncheck("Q1: a", [(x == y, "equal")])', ()),
        ('check("Q1: a", [\n    (lambda: x == 1, "one"),\n' + hidden('    (x, "x"),') + "\n])", ()),
        (f'check("Q1: a", [{ABOVE}])\n' + hidden('check("Q1: a", [(x == 2, "two")])'), ()),
        ('check("Q1: a", [\n    (x, f"is {x}"),\n' + hidden('    (x == 2, "two"),') + "\n])", ()),
    ],
)
def test_the_plan_names_conditions_that_stand_above_every_hidden_test(
    code: str, visible: tuple[str, ...]
) -> None:
    """They are evaluated before the answer is asked anything that is hidden."""
    (part,) = planned(IMPORTS, solved("x = 1"), code).plan.checks
    assert part.check is not None
    (label,) = part.check.labels
    assert (label.hidden, label.visible) == (True, visible)


def test_other_code_behind_the_answer_stays_the_students() -> None:
    made = planned(IMPORTS, solved("x = 1") + "\nshown = x\nmo.md(str(shown))", CHECK)
    assert places(made.plan.checks) == [2]
    assert made.errors == ()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (CHECK + "\n" + solved("x = 1"), "so the answer could change it"),
        ("if True:\n    x = 1\n    # YOUR CODE HERE\n" + CHECK, "so the answer could change it"),
        (hidden("assert True") + "\n" + solved("x = 1"), "so the answer could change it"),
        (solved("x = 1") + "\nscore = 3\n" + CHECK, "and binds 'score', which other cells use"),
        (
            solved("x = 1") + "\nfor score in [x]:\n    " + CHECK,
            "and binds 'score', which other cells use",
        ),
        (
            solved("_x = 1") + '\ncheck("Q1", [(_x, "")])',
            "and reads '_x', which marimo keeps to it",
        ),
        (
            solved("x = 1") + "\n_y = 1\n" + solved("z = 2") + '\ncheck("Q1", [(_y, "")])',
            "and reads '_y', which marimo keeps to it",
        ),
    ],
)
def test_a_check_that_cannot_be_divided_is_an_error_with_its_line(body: str, why: str) -> None:
    text = source(IMPORTS, body, "mo.md(f'{score}')")
    made = plan_source(text, NAME)
    assert made.plan.checks == ()
    (error,) = made.errors
    assert why in error.message
    assert "stands in one cell with the answer" in error.message
    assert error.hint == "Put it into a cell of its own."
    assert any(word in text.split("\n")[error.line - 1] for word in ("check(", "HIDDEN"))


def test_a_check_in_the_answers_own_function_is_an_error() -> None:
    block = "    ### BEGIN SOLUTION\n    ### END SOLUTION"
    cell = f'@app.function\ndef f():\n{block}\n    check("Q1", [])\n'
    made = planned(IMPORTS, cell)
    assert "stands in one cell with the answer" in told(made.errors)
    assert made.plan.checks == ()


def test_an_unprotected_check_runs_beside_the_answer_and_needs_no_names_of_it() -> None:
    made = planned(IMPORTS, solved("x = 1"), "# mograder: unprotected\n" + CHECK)
    assert made.errors == ()
    assert (made.plan.judged, made.plan.template, made.plan.answers) == ((), (), ())
    assert labels(made.plan.beside) == [["Q1"]]
    assert made.plan.beside[0].uses == ("check", "x")
    assert roles(made.plan) == ["given", "student", "check"]


@pytest.mark.parametrize(
    "body",
    [
        CHECK + "\n" + solved("x = 1"),
        solved("x = 1") + "\nscore = 3\n" + CHECK,
        solved("_x = 1") + '\ncheck("Q1", [(_x, "")])',
    ],
)
def test_an_unprotected_check_need_not_be_divided(body: str) -> None:
    made = planned(IMPORTS, "# mograder: unprotected\n" + body, "mo.md(f'{score}')")
    assert made.errors == ()
    assert made.plan.judged == ()
    assert labels(made.plan.beside) == [["Q1"]]
    assert made.plan.beside[0].code == ""


def test_an_unprotected_check_that_can_be_divided_is() -> None:
    made = planned(IMPORTS, solved("x = 1") + "\n# mograder: unprotected\n" + CHECK)
    assert made.plan.beside[0].code == CHECK
    assert made.plan.beside[0].uses == ("check", "x")


def test_the_marks_belong_to_no_cell_of_students_or_checks() -> None:
    found = told(planned(MARKS + "\n" + solved("x = 1")).errors)
    assert "the marks stand in a cell that students may change." in found
    found = told(planned(IMPORTS, MARKS + '\ngrader.check("Q1", [])').errors)
    assert "the marks stand in one cell with a check." in found


# --- tests by name -------------------------------------------------------------------------------


def test_a_cell_named_test_counts_as_one_check_of_its_key() -> None:
    made = planned(MARKS, solved("x = 1"), named("test_Q1_small", "assert x == 1"))
    (part,) = made.plan.checks
    assert part.check is not None
    assert part.check.asserts
    assert [(each.label, each.key) for each in part.check.labels] == [("test_Q1_small", "Q1")]
    assert part.check.call == ""


def test_a_cell_named_test_with_checks_has_their_labels() -> None:
    (part,) = planned(MARKS, IMPORTS, solved("x = 1"), named("test_Q1", CHECK)).plan.checks
    assert part.check is not None
    assert not part.check.asserts
    assert labels((part,)) == [["Q1"]]


def test_a_function_named_test_is_called() -> None:
    answer = (
        "@app.function\ndef fib(n):\n    ### BEGIN SOLUTION\n    return n\n    ### END SOLUTION\n"
    )
    test = "@app.function\ndef test_Q2_fib():\n    assert fib(3) == 2\n"
    (part,) = planned(MARKS, answer, test).plan.checks
    assert part.check is not None
    assert (part.check.call, part.check.asserts) == ("test_Q2_fib", True)
    assert part.answers == ("fib",)
    assert part.code == "def test_Q2_fib():\n    assert fib(3) == 2"


def test_a_test_that_takes_arguments_is_an_error() -> None:
    made = planned(MARKS, "@app.function\ndef test_Q1(n):\n    assert n\n")
    assert "'test_Q1' takes arguments, which nothing gives to it." in told(made.errors)
    assert roles(made.plan) == ["marks", "given"]


def test_a_function_of_the_course_that_is_called_test_something_is_given() -> None:
    made = planned(MARKS, "@app.function\ndef test_signal(n):\n    return n\n")
    assert made.errors == made.advice == ()
    assert roles(made.plan) == ["marks", "given"]


def test_tests_that_count_for_no_question_are_told() -> None:
    made = planned(MARKS, named("test_Q9", "assert True"), hidden("assert True"))
    assert "'test_Q9' belongs to no question that has marks." in told(made.advice)
    assert "these tests count for no question." in told(made.advice)
    assert made.errors == ()


# --- odd notebooks -------------------------------------------------------------------------------


def test_a_setup_cell_is_given_and_runs_first() -> None:
    setup = "with app.setup:\n    import numpy as np\n    from mograder.runtime import check\n"
    plan = planned(setup, solved("x = 1"), 'check("Q1", [(np.all(x), "")])').plan
    assert places(plan.template) == [0]
    assert plan.template[0].code == "import numpy as np\nfrom mograder.runtime import check"


def test_classes_and_functions_of_students_cross_by_their_name() -> None:
    block = "    ### BEGIN SOLUTION\n    sides = 4\n    ### END SOLUTION\n"
    cell = f"@app.class_definition\nclass Shape:\n{block}"
    plan = planned(IMPORTS, cell, 'check("Q1", [(Shape.sides == 4, "")])').plan
    assert answers(plan) == ["Shape"]
    assert roles(plan) == ["given", "student", "check"]


def test_a_cell_that_marimo_cannot_run_is_told() -> None:
    broken = 'app._unparsable_cell(\n    r"""\n    x = = 1\n    """,\n    name="_"\n)\n'
    made = planned(IMPORTS, broken, "from math import *", solved("y = 1"), 'check("Q1", [(y, "")])')
    assert roles(made.plan) == ["given", "given", "given", "student", "check"]
    assert "marimo cannot run this cell: it is no Python." in told(made.advice)
    assert "Importing symbols with `import *`" in told(made.advice)
    assert made.errors == ()


@pytest.mark.parametrize("answer", ["", "# YOUR CODE HERE\n"])
def test_a_check_that_marimo_cannot_run_is_an_error(answer: str) -> None:
    made = planned(IMPORTS, answer + "from math import *\n" + CHECK)
    assert "marimo cannot run this cell" in told(made.errors)
    assert made.plan.checks == ()


def test_a_check_of_a_disabled_cell_is_not_run() -> None:
    off = named("_", solved("x = 1"), options="(disabled=True)")
    made = planned(IMPORTS, off, "y = x", 'check("Q1", [(y, "")])', 'check("Q2", [(np, "")])')
    assert [cell.disabled for cell in made.plan.cells] == [False, True, True, True, False]
    assert labels(made.plan.checks) == [["Q2"]]
    assert answers(made.plan) == []
    line = made.plan.cells[1].line
    assert f"this check never runs: the cell at line {line} is disabled." in told(made.advice)


def test_names_of_two_cells_and_cycles_are_errors() -> None:
    made = planned(IMPORTS, solved("x = 1"), solved("x = 2"), CHECK, "a = b", "b = a")
    assert "'x' is defined in the cell at line" in told(made.errors)
    assert "marimo runs neither" in told(made.errors)
    assert made.plan.answers[0].cells == (1, 2)
    assert roles(made.plan)[-2:] == ["given", "given"]


def test_a_name_of_a_given_and_a_students_cell_is_taken_from_the_student() -> None:
    made = planned(IMPORTS, "x = 1", solved("x = 2"), CHECK)
    assert answers(made.plan) == ["x"]
    assert made.errors != ()


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        (["def f():", "    global g", "    g = 1", "f()"], ["g"]),
        (["print(g := 1)"], ["g"]),
        (["[g := i for i in range(3)]"], ["g"]),
        (["with open('x') as g:", "    pass"], ["g"]),
        (["def f(): pass", "g = [i for i in range(3)]"], ["g"]),
        (["i = 0", "g, *rest = [1]"], ["g"]),
        (["_g = 1"], []),
        (["f = lambda g: g"], []),
    ],
)
def test_names_cross_by_marimos_rules_of_scope(lines: list[str], names: list[str]) -> None:
    plan = planned(IMPORTS, solved(*lines), 'check("Q1", [(g, "") for i in [1]])').plan
    assert answers(plan) == names


def test_an_import_in_an_answer_is_made_by_the_author() -> None:
    body = solved("import math, os.path as p", "from fractions import Fraction as F, gcd", "x = 1")
    uses = 'check("Q1", [(math.pi + F(x) + len(p.sep) + y, "")])'
    plan = planned(IMPORTS, body, solved("import y", "y = 3"), uses).plan
    assert {each.name: each.imported for each in plan.answers} == {
        "F": "from fractions import Fraction as F",
        "math": "import math",
        "p": "import os.path as p",
        "x": "",
        "y": "",
    }


def test_a_name_that_is_given_in_a_students_cell_is_told() -> None:
    body = "data = [1]\nx = None\nimport math\n" + solved("x = sum(data)")
    uses = 'check("Q1", [(x == sum(data) + math.e, "")])'
    text = source(IMPORTS, body, uses)
    (advice,) = plan_source(text, NAME).advice
    assert "'data' is no answer, but students may change this cell" in advice.message
    assert text.split("\n")[advice.line - 1].strip() == "data = [1]"


def test_mistakes_of_markers_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"hw\.py:\d+:.*never closed"):
        planned("### BEGIN SOLUTION\nx = 1")
