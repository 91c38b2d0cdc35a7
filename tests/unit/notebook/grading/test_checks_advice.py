"""What the text of a source gives away, and what its checks depend on."""

from __future__ import annotations

import pytest

from mograder.notebook.cells import parse_cells
from mograder.notebook.grading.checks_advice import absolute_paths, given_away, outside_influences
from mograder.notebook.grading.grading_split import plan_source
from mograder.notebook.source.release import make_release
from tests.support.notebooks import SCRIPT_HEAD, notebook

SOURCE = notebook(
    """
    import os
    from mograder.runtime import check
    """,
    'mo.md("""the_text""")',
    """
    @app.function
    def answer(n):
        ### BEGIN SOLUTION
        result = the_solution
        ### END SOLUTION
        return result
    """,
    """
    check("Q1", [(the_visible, "a message")])
    ### BEGIN HIDDEN TESTS
    check("Q1: more", [(the_hidden, "another message")])
    ### END HIDDEN TESTS
    """,
    "the_unused",
    head=SCRIPT_HEAD,
)
"""A notebook with places for parts of it."""


def advice(**parts: str) -> list[str]:
    """Return the findings of a source with these parts."""
    text = SOURCE
    given = {
        "text": "",
        "solution": "n",
        "visible": "answer(1) == 1",
        "hidden": "answer(2) == 2",
        "unused": "pass",
    }
    for name, part in {**given, **parts}.items():
        text = text.replace(f"the_{name}", part)
    release = make_release(text, filename="a.py", assignment="A1")
    assert release is not None
    plan = plan_source(text, "a.py").plan
    parsed = parse_cells(text, "a.py")
    found = {
        *outside_influences(parsed, plan, "a.py"),
        *given_away(parsed, release.text, plan, "a.py"),
    }
    return [each.message for each in found]


def test_a_source_without_faults_is_told_nothing() -> None:
    assert advice() == []


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("about 3.708 of them", "answer(12) == 3.708"),
        ("about 3.708 of them", "abs(answer(12) - 3.708) < 0.01"),
        ("about 3.708 of them", "math.isclose(answer(12), 3.708)"),
        ("it is -3.708 here", "answer(12) == -3.708"),
        ("0.003712 m", "np.allclose(answer([12]), [3.712e-3, 5])"),
        ("the word is 'ab-cd-ef'", "answer(12) == 'ab-cd-ef'"),
    ],
)
def test_an_expected_value_in_the_release_is_given_away(text: str, hidden: str) -> None:
    (told,) = advice(text=text, hidden=hidden)
    assert told.startswith("the release shows ")
    assert told.endswith("which this hidden test expects.")


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("13.708 or 3.7086", "answer(12) == 3.708"),
        ("for 3.708", "answer(3.708) == 5"),
        ("1000 points", "answer(12) == 1000"),
        ("the column weekday", "answer(12) == 'weekday'"),
        ("4.125 is the limit", "limit < 4.125"),
    ],
)
def test_arguments_round_numbers_and_names_are_no_expected_values(text: str, hidden: str) -> None:
    assert advice(text=text, hidden=hidden) == []


def test_a_hidden_test_that_repeats_a_visible_one_is_told() -> None:
    same = "answer(4) == 4"
    assert advice(visible=same, hidden=same) == ["this hidden test repeats a visible one."]
    assert advice(visible="answer(_x) == 4", hidden="answer(_x) == 4") == []


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("datetime.date.today().year", "the date"),
        ("time.time()", "the date"),
        ("np.datetime64('now')", "the date"),
        ("os.environ['HOME']", "an environment variable"),
        ("os.getenv('X')", "an environment variable"),
        ("Path.home()", "the home directory"),
        ("os.path.expanduser('~')", "the home directory"),
        ("socket.gethostname()", "the name of the computer"),
        ("requests.get(n)", "the network"),
        ("pd.read_csv('https://example.org/a.csv')", "the network"),
        ("urllib.request.urlopen(n)", "the network"),
    ],
)
def test_what_a_solution_or_a_check_depends_on_is_told(code: str, what: str) -> None:
    expected = [f"checks depend on {what}."]
    assert advice(solution=f"use(n, {code})") == expected
    assert advice(visible=f"answer(1) == {code}") == expected
    assert advice(unused=code) == []


def test_measured_time_counts_in_a_check_only() -> None:
    assert advice(solution="time.perf_counter()") == []
    told = advice(visible="answer(time.perf_counter()) < 1")
    assert told == ["checks depend on the speed of the machine."]


def test_a_path_of_one_machine_is_found() -> None:
    text = SOURCE.replace("the_solution", 'open("/home/anna/data.csv")')
    for name in ("text", "visible", "hidden", "unused"):
        text = text.replace(f"the_{name}", "1")
    (found,) = absolute_paths(parse_cells(text, "a.py"), "a.py")
    assert text.splitlines()[found.line - 1].strip().startswith("result = open")
