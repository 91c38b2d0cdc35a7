"""Generating with a real marimo rehearses grading: what cannot be judged apart, and weak checks."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from mograder.core.settings import load_settings, read_environ
from mograder.grading.submissions.graded_assignment import AssignmentFiles, prepare_assignment
from mograder.grading.submissions.grading_tools import open_grading_tools
from mograder.sandbox.execution.judging import JudgingRequest, JudgingResult
from tests.support.command_line import cli
from tests.support.fake_judges import FakeRunner
from tests.support.notebooks import HEAD, notebook

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

SOURCE = notebook(
    """
    from mograder.runtime import Grader

    # === MOGRADER: MARKS ===
    _marks = {"Q1": 10, "Q2": 5}
    grader = Grader(_marks)
    check = grader.check
    return check, grader
    """,
    """
    ### BEGIN SOLUTION
    words = ["a", "b"]
    ### END SOLUTION
    """,
    'check("Q1: Words", [] if words is ... else [(WORDS, "the words")])',
    """
    @app.function
    def double(n):
        ### BEGIN SOLUTION
        result = 2 * n
        with open("seen.txt", "w") as file:
            file.write("seen")
        ### END SOLUTION
        return result
    """,
    """
    _n = 1
    check("Q2: Double", [] if double(1) is ... else [(DOUBLE, "doubled")])
    """,
    head=f'# /// script\n# dependencies = ["marimo", "mograder"]\n# ///\n\n{HEAD}',
)
GOOD = {"WORDS": 'words == ["a", "b"]', "DOUBLE": "double(3) == 6"}
BESIDE = '    ### BEGIN SOLUTION\n    words = ["a", "b"]\n    ### END SOLUTION\n'
CHECKED = BESIDE + '    check("Q1", [(words, "words")])\n    more = 1\n'


@pytest.fixture
def course(tmp_path: Path, uv_cache: Path) -> Path:
    (tmp_path / "source" / "A1").mkdir(parents=True)
    (tmp_path / "mograder.toml").write_text(
        f'[hub]\nuv_cache_dir = "{uv_cache}"\n\n[security]\nsafety_scan = "off"\n'
    )
    return tmp_path


def written(course: Path, text: str = SOURCE, **conditions: str) -> list[str]:
    """Write the source, and return the command that generates its release."""
    for name, condition in (GOOD | conditions).items():
        text = text.replace(name, condition)
    (course / "source/A1/A1.py").write_text(text)
    return ["generate", "A1", "-C", str(course), "--own-python"]


def line_of(text: str, course: Path) -> int:
    lines = (course / "source/A1/A1.py").read_text().splitlines()
    return next(n for n, line in enumerate(lines, start=1) if text in line)


def test_a_long_source_is_rehearsed_without_a_sandbox(course: Path) -> None:
    """Its plan is longer than an argument of a program may be."""
    table = f'    _table = "{"x" * 140_000}"\n'
    marks = '    _marks = {"Q1": 10, "Q2": 5}\n'
    told = cli(*written(course, SOURCE.replace(marks, marks + table)))
    assert "words: list; double(n) → number\n" in told.out
    assert "not rehearsed" not in told.out


@pytest.mark.parametrize("sandbox", [True, False])
def test_a_sound_source_is_rehearsed_and_its_answers_are_told(course: Path, sandbox: bool) -> None:
    command = written(course)
    command = command[:-1] if sandbox else command
    told = cli(*command, "--progress")
    assert "A1.py: words: list; double(n) → number\n" in told.out
    assert "ADVICE" not in told.out
    events = [json.loads(line) for line in told.err.splitlines() if line.startswith("{")]
    (answers,) = [each for each in events if each["event"] == "answers"]
    assert answers["answers"] == {"double": "(n) → number", "words": "list"}
    assert not list((course / "source/A1").glob("seen.txt"))
    if sandbox:
        asyncio.run(prepared_without_judging(course))
    else:
        assert not (course / ".mograder" / "contracts").exists()


class Never:
    """Judges nothing."""

    async def judge(self, request: JudgingRequest) -> JudgingResult:
        raise AssertionError("the contract was not found")


async def prepared_without_judging(course: Path) -> None:
    """Prepare grading with the contract that was kept."""
    loaded = load_settings(course, environ=os.environ)
    files = AssignmentFiles("A1", course / "source/A1/A1.py", course / "release/A1/A1.py")
    async with open_grading_tools(loaded, read_environ(), jobs=1) as tools:
        assignment = await prepare_assignment(
            files, replace(tools, runner=FakeRunner(Never())), print
        )
    assert [each.label for each in assignment.labels] == ["Q1: Words", "Q2: Double"]


def test_weak_checks_are_advice_with_their_lines(course: Path) -> None:
    weak = "all(a == b for a, b in zip(words, ['a', 'b'], strict=False))"
    out = cli(*written(course, WORDS=weak, DOUBLE="double(2) >= 0")).out
    place = f"A1.py:{line_of('Q1: Words', course)}: the check 'Q1: Words' passes though `words` "
    assert f"ADVICE: source/A1/{place}is empty" in out or f"{place}is empty" in out
    assert "Compare the lengths as well." in out
    assert "the check 'Q2: Double' passes though `double` returns" in out
    assert "'double(2) >= 0' holds" in out


def test_9_a_check_that_any_true_value_passes_is_told(course: Path) -> None:
    out = cli(*written(course, WORDS="words")).out
    assert f"A1.py:{line_of('Q1: Words', course)}: the check 'Q1: Words' passes though" in out


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("open('seen.txt').read() == 'seen'", "Let the answer be the content of the file, or"),
        ("double.__code__.co_argcount == 1", "values that the answers give"),
    ],
)
def test_what_passes_in_the_notebook_only_is_refused(
    course: Path, condition: str, said: str
) -> None:
    text = SOURCE.replace("_n = 1", "_n = double(1)")
    told = cli(*written(course, text, DOUBLE=condition), status=1).err
    place = f"A1.py:{line_of('Q2: Double', course)}: 'Q2: Double' passes in the notebook but not"
    assert place in told
    assert said in told
    assert not (course / "release/A1").exists()


def test_a_hidden_test_that_passes_without_an_answer_is_refused(course: Path) -> None:
    hidden = (
        "    ### BEGIN HIDDEN TESTS\n"
        '    check("Q2: More", [(callable(double), "it is a function")])\n'
        "    ### END HIDDEN TESTS\n"
    )
    text = SOURCE.replace('"doubled")])\n', '"doubled")])\n' + hidden)
    told = cli(*written(course, text), status=1).err
    place = f"A1.py:{line_of('Q2: More', course)}: the check 'Q2: More' passes when it is judged, "
    assert f"{place}though nothing is answered yet ('it is a function')." in told


@pytest.mark.parametrize("options", [["--dry-run"], ["--no-validate"]])
def test_a_check_beside_its_answer_is_refused_unless_the_author_wants_it(
    course: Path, options: list[str]
) -> None:
    text = SOURCE.replace(BESIDE, CHECKED).replace("def _():\n    ###", "def _(check):\n    ###")
    text = text.replace("return (words,)", "return more, words")
    text = text.replace("(check, words):\n", "(check, more, words):\n    more\n")
    printed = cli(*written(course, text), *options, status=1)
    line = line_of('check("Q1", ', course)
    told = printed.err
    assert f"A1.py:{line}: this check stands in one cell with the answer, and binds 'more'" in told
    assert not (course / "release/A1").exists()
    with (course / "mograder.toml").open("a") as settings:
        settings.write('\n[items.A1]\nunprotected = ["Q1"]\n')
    cli(*written(course, text), "--dry-run")


def test_without_marks_nothing_that_generated_before_is_refused(course: Path) -> None:
    text = SOURCE.replace("# === MOGRADER: MARKS ===", "#").replace("_marks = {", "_points = {")
    text = text.replace("Grader(_marks)", "Grader(_points)")
    out = cli(*written(course, text, DOUBLE="double(1) and open('seen.txt').read()")).out
    assert "ADVICE: " in out
    assert "'Q2: Double' passes in the notebook but not when it is judged apart" in out
