"""Making releases: messages, refusals, and that no file is ever half written."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.core.tasks import Progress
from mograder.grading.author.author_runs import AuthorRuns, AuthorTrial, RunReport
from mograder.grading.author.generate import Generated, GenerateOptions, Watch, generate
from mograder.grading.author.scaffold import assignment_text
from mograder.notebook.denied_code import DEFAULT_DENIED
from mograder.notebook.findings import Finding
from mograder.notebook.source.leaks import CellOutput
from mograder.sandbox.execution.judging import JudgingResult
from mograder.sandbox.execution.report import CheckResult
from mograder.store.course.course import find_source
from tests.support.author_runs import NoRuns, said
from tests.support.course import EXAMPLE_COURSE
from tests.support.fake_judges import FINISHED

TEXT = assignment_text("A1", marimo="0.25.2")
LECTURE = (EXAMPLE_COURSE / "source/L01-Random-Numbers/L01-Random-Numbers.py").read_text()
CHECK = 'check( "Q1: The sum",'
"""How :func:`place_of` tells the first check of that text."""

GOOD = RunReport(checks=(said("Q1: The sum", "success"),))
WAITS = RunReport(checks=(said("Q1: The sum", "warn"),))


@dataclass
class Script(NoRuns):
    """Runs nothing: returns given results for a source and a release."""

    source: RunReport = GOOD
    release: RunReport = WAITS
    ran: list[Path] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    async def run(self, notebook: Path, support: Path, progress: Progress, /) -> RunReport:
        assert notebook.parent == support
        progress("running")
        self.ran.append(notebook)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return self.source if "source" in notebook.parts else self.release

    async def judge(self, trial: AuthorTrial, _: object, /) -> JudgingResult:
        return JudgingResult("", (), FINISHED, protected=True)


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course with one small assignment, which is also the working directory."""
    source = tmp_path / "source" / "A1"
    source.mkdir(parents=True)
    (source / "A1.py").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def wishes(course: Path, **other: object) -> GenerateOptions:
    base = GenerateOptions(course / "source", course / "release", course / "release")
    for name, value in other.items():
        object.__setattr__(base, name, value)
    return base


async def make(
    course: Path, runs: Script, *names: str, watch: Watch | None = None, **other: object
) -> tuple[Generated, ...]:
    items = [find_source(name, course / "source") for name in names or ("A1",)]
    return await generate(items, runs, wishes(course, **other), watch or Watch())


def lines(outcome: Generated) -> list[str]:
    return [str(line) for line in outcome.lines]


def place_of(problem: str) -> str:
    """Return the source line that a problem names."""
    filename, line, _ = problem.split(":", 2)
    found = Path(filename).read_text().splitlines()[int(line) - 1 : int(line) + 1]
    return " ".join(map(str.strip, found if found[0].endswith("(") else found[:1]))


def tree(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example course, without its releases."""
    shutil.copytree(EXAMPLE_COURSE / "source", tmp_path / "source")
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def test_the_example_course_comes_out_as_it_is_in_the_repository(example: Path) -> None:
    """Also the check that examples/course/release is current: archives are not kept there."""
    runs = Script(source=RunReport())
    made = await make(example, runs, "A1-Measuring-Pi", "A2", "A3")
    lectures = await make(example, runs, "L01", lecture=True)
    assert [outcome.problems for outcome in (*made, *lectures)] == [(), (), (), ()]
    released = tree(example / "release")
    archives = [name for name in released if name.endswith(".zip")]
    assert {name: data for name, data in released.items() if name not in archives} == {
        name: data
        for name, data in tree(EXAMPLE_COURSE / "release").items()
        if not name.endswith(".zip") and "__marimo__" not in name
    }
    assert sorted(archives) == [
        "A1-Measuring-Pi/A1-Measuring-Pi.zip",
        "A2-Cooling-Coffee/A2-Cooling-Coffee.zip",
        "A3-Counting-Bicycles/A3-Counting-Bicycles.zip",
    ]
    assert len(runs.ran) == 6


async def test_making_it_twice_gives_the_same_bytes_and_touches_nothing(example: Path) -> None:
    await make(example, Script(source=RunReport()), "A2")
    once, inode = tree(example / "release"), (example / "release/A2-Cooling-Coffee").stat().st_ino
    os.utime(example / "source/A2-Cooling-Coffee/A2-Cooling-Coffee.py")
    await make(example, Script(source=RunReport()), "A2")
    assert tree(example / "release") == once
    assert (example / "release/A2-Cooling-Coffee").stat().st_ino == inode
    shutil.rmtree(example / "release")
    await make(example, Script(source=RunReport()), "A2")
    assert tree(example / "release") == once


async def test_the_lines_have_the_prefixes_that_scripts_look_for(course: Path) -> None:
    """compatibility-0.3.16.md 7."""
    (course / "source/A1/data.csv").write_text("1")
    (outcome,) = await make(course, Script())
    assert outcome.ok
    assert lines(outcome) == [
        "VALIDATE: source/A1/A1.py: running it with its solutions",
        "VALID: source/A1/A1.py: 1 check passed",
        "OK: source/A1/A1.py -> release/A1/A1.py",
        "COPY: source/A1/data.csv -> release/A1/data.csv",
        "ZIP: release/A1/A1.zip (2 files)",
        "RELEASE-CHECK: release/A1/A1.py: runs without errors, 1 of 1 check wait",
    ]


async def test_a_dry_run_tells_and_neither_runs_nor_writes(course: Path) -> None:
    runs = Script()
    (course / "source/A1/data.csv").write_text("1")
    (outcome,) = await make(course, runs, dry_run=True)
    assert lines(outcome) == [
        "DRY-RUN: source/A1/A1.py -> release/A1/A1.py (3 solution blocks)",
        "DRY-RUN: would copy data.csv, if it is newer",
    ]
    assert (runs.ran, (course / "release").exists()) == ([], False)


async def test_a_source_without_solutions_is_skipped_and_no_failure(course: Path) -> None:
    lecture = "source/L1/L1.py"
    (course / lecture).parent.mkdir()
    (course / lecture).write_text(LECTURE)
    (outcome,) = await make(course, Script(), "L1")
    assert outcome.ok
    assert lines(outcome) == [
        f"SKIP: {lecture} has no solution block; nothing is written. A lecture needs --lecture."
    ]
    assert not (course / "release").exists()


ERROR = RunReport(cell_errors=(Finding("elsewhere.py", 7, "NameError: a.", "Why."),))
RAISES = RunReport(cell_errors=(Finding("elsewhere.py", 83, "TypeError: a.", "Why."),))
FAILS = RunReport(checks=(said("Q1: The sum", "danger", "no"),))
ASKS = RunReport(checks=(said("Q1: The sum", "danger", "is it the mean?"),))
ENDLESS = RunReport(problem="it took too long.")
SHOWS = RunReport(outputs=(CellOutput(0, "see /home/ada/data.csv"),))
RELATIVE = 'Write it relative to the notebook: `mo.notebook_dir() / "data.csv"`.'


@pytest.mark.parametrize(
    ("runs", "line", "said"),
    [
        (Script(source=ERROR), "#", "NameError: a. Why."),
        (Script(source=FAILS), CHECK, "the check 'Q1: The sum' does not pass: no."),
        (Script(source=ASKS), CHECK, "does not pass: is it the mean? Correct the"),
        (Script(source=WAITS), CHECK, "does not pass: it waits for an answer. Correct the"),
        (Script(source=ENDLESS), "# /// script", "it did not run: it took too long."),
        (Script(release=ERROR), "# ]", "without the solutions, NameError: a. Why."),
        (Script(release=RAISES), CHECK, "TypeError: a. Write the conditions as functions, `lam"),
        (Script(release=GOOD), CHECK, "passes though nothing is answered yet. Let it wait for"),
        (Script(release=ENDLESS), "# /// script", "without its solutions it did not run: it took"),
        (Script(release=SHOWS), "@app.cell(hide_code=True)", RELATIVE),
    ],
)
async def test_a_run_that_fails_is_told_by_the_sources_line_and_the_old_release_stays(
    course: Path, runs: Script, line: str, said: str
) -> None:
    (course / "release/A1").mkdir(parents=True)
    (course / "release/A1/A1.py").write_text("old")
    (outcome,) = await make(course, runs)
    (problem,) = outcome.problems
    assert said in problem
    assert place_of(problem) == line
    assert tree(course / "release") == {"A1/A1.py": b"old"}
    assert [path.name for path in (course / "release").iterdir()] == ["A1"]


@pytest.mark.parametrize(("name", "ok"), [("test_Q2_mean", True), ("test_mean", False)])
async def test_a_cell_that_tests_a_question_may_fail_until_it_is_answered(
    course: Path, name: str, ok: bool
) -> None:
    """One without a check, by its asserts; as another cell it would be broken."""
    source = course / "source/A1/A1.py"
    asserts = f"@app.cell\ndef {name}(mean):\n    assert mean([1, 3]) == 2\n    return\n\n\n"
    source.write_text(TEXT.replace("@app.cell", f"{asserts}@app.cell", 1))
    line = source.read_text().splitlines().index(f"def {name}(mean):") + 4  # of the release
    failed = RunReport(cell_errors=(Finding("x", line, "AssertionError."),))
    (outcome,) = await make(course, Script(release=failed))
    assert outcome.ok is ok
    assert any("without the solutions, Assert" in each for each in outcome.problems) is not ok


async def test_a_check_without_marks_may_pass_from_the_start(course: Path) -> None:
    both = RunReport(checks=(said("Packages", "success"),))
    (outcome,) = await make(course, Script(source=both, release=both))
    assert outcome.ok


async def test_credit_for_nothing_is_worth_a_look_and_no_failure(course: Path) -> None:
    partly = RunReport(checks=(said("Q1: The sum", "partial"),))
    (outcome,) = await make(course, Script(release=partly))
    advice = lines(outcome)[-1].removeprefix("ADVICE: ")
    assert (outcome.ok, place_of(advice)) == (True, CHECK)
    assert "passes in part though nothing is answered yet." in advice


async def test_a_check_that_grading_does_not_see_is_told(course: Path) -> None:
    """Its question would be left to people; 0.3.16 counts whatever is recorded."""
    both = RunReport(checks=(*GOOD.checks, said("Q2: by a method", "success")))
    (outcome,) = await make(course, Script(source=both))
    (problem,) = outcome.problems
    assert "the check 'Q2: by a method' is recorded when the notebook runs, but grad" in problem
    assert not (course / "release/A1").exists()


async def test_the_mistakes_of_source_and_release_are_told_together(course: Path) -> None:
    bad = RunReport(cell_errors=(Finding("x", 2, "oops."),))
    (outcome,) = await make(course, Script(source=bad, release=bad))
    assert outcome.problems == (
        "source/A1/A1.py:2: oops.",
        "source/A1/A1.py:2: without the solutions, oops.",
    )


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("    ### END SOLUTION\n", "", "### BEGIN SOLUTION"),
        ("### BEGIN SOLUTION", "### begin solution", "### begin solution"),
        ("grader.scores()", 'grader.scores(), "/home/ada/x"', 'grader.scores(), "/home/ada/x"'),
    ],
)
async def test_a_source_with_a_mistake_is_told_with_its_place_and_never_run(
    course: Path, old: str, new: str, line: str
) -> None:
    notebook, runs = course / "source/A1/A1.py", Script()
    notebook.write_text(notebook.read_text().replace(old, new, 1))
    (outcome,) = await make(course, runs)
    (problem,) = outcome.problems
    assert place_of(problem) == line
    assert (runs.ran, (course / "release").exists()) == ([], False)


async def test_an_expected_value_of_a_hidden_test_in_an_output_is_refused(example: Path) -> None:
    shows = RunReport(outputs=(CellOutput(3, "the answer is 20.209"),))
    (outcome,) = await make(example, Script(source=RunReport(), release=shows), "A2")
    (problem,) = outcome.problems
    assert "the output shows '20.209', which a hidden test expects." in problem


async def test_what_keeps_a_notebook_from_running_is_told_for_its_item_alone(course: Path) -> None:
    shutil.copytree(course / "source/A1", course / "source/A2")
    (course / "source/A2/A1.py").rename(course / "source/A2/A2.py")

    class Fails(Script):
        async def run(self, notebook: Path, support: Path, progress: Progress, /) -> RunReport:
            if notebook.name == "A1.py":
                raise InvalidInput("No such package.", hint="Change it.")
            return await super().run(notebook, support, progress)

    one, two = await make(course, Fails(), "A1", "A2")
    assert one.problems[0] == "source/A1/A1.py:1: it did not run: No such package. Change it."
    assert (two.ok, set(tree(course / "release"))) == (True, {"A2/A2.py"})


@pytest.mark.parametrize("jobs", [1, 2])
async def test_no_more_notebooks_run_at_a_time_than_is_asked_for(course: Path, jobs: int) -> None:
    for name in ("A2", "A3"):
        shutil.copytree(course / "source/A1", course / "source" / name)
        (course / "source" / name / "A1.py").rename(course / f"source/{name}/{name}.py")
    runs = Script()
    outcomes = await make(course, runs, "A3", "A1", "A2", jobs=jobs)
    assert [outcome.name for outcome in outcomes] == ["A3", "A1", "A2"]
    assert all(outcome.ok for outcome in outcomes)
    assert (len(runs.ran), runs.most_at_once) == (6, jobs)


async def test_a_check_of_the_source_is_told_while_the_release_still_runs(course: Path) -> None:
    told = asyncio.Event()

    class Tells(Watch):
        def check(self, name: str, check: CheckResult) -> None:
            assert (name, check) == ("A1", GOOD.checks[0])
            told.set()

    class Slow(Script):
        async def run(self, notebook: Path, support: Path, progress: Progress, /) -> RunReport:
            if "source" not in notebook.parts:
                await asyncio.wait_for(told.wait(), 10)
            return await super().run(notebook, support, progress)

    (outcome,) = await make(course, Slow(), watch=Tells(), jobs=2)
    assert outcome.ok


async def test_a_zip_that_is_no_longer_needed_goes(course: Path) -> None:
    extra = course / "source/A1/data.csv"
    extra.write_text("1")
    await make(course, Script())
    extra.unlink()
    (course / "release/A1/data.csv").unlink()
    await make(course, Script())
    assert set(tree(course / "release")) == {"A1/A1.py"}


async def test_a_form_to_submit_is_a_part_of_what_is_fingerprinted(course: Path) -> None:
    await make(course, Script(), submit_url="https://example.org")
    text = (course / "release/A1/A1.py").read_text()
    hashes = next(line for line in text.splitlines() if "mograder-cell-hashes" in line)
    assert text.count("# === MOGRADER: SUBMIT ===") == 2
    await make(course, Script())
    plain = (course / "release/A1/A1.py").read_text()
    shorter = next(line for line in plain.splitlines() if "mograder-cell-hashes" in line)
    assert hashes.count(",") == shorter.count(",") + 2


async def test_a_lecture_is_written_below_its_own_name(course: Path) -> None:
    """Files go along only where the directory has the notebook's name.

    See compatibility-0.3.16.md 7.
    """
    for place in ("source/L1/L1.py", "source/L1/data.csv", "source/All/L2.py", "source/All/x.csv"):
        (course / place).parent.mkdir(exist_ok=True)
        (course / place).write_text(LECTURE)
    runs = Script()
    outcomes = await make(course, runs, "L1", "All", lecture=True)
    assert [outcome.problems for outcome in outcomes] == [(), ()]
    assert set(tree(course / "release")) == {"L1/L1.py", "L1/data.csv", "L2/L2.py"}
    assert runs.ran == []


async def test_a_lecture_beside_others_takes_the_layout_that_it_names(course: Path) -> None:
    text = LECTURE.replace("marimo.App(", 'marimo.App(layout_file="layouts/L2.slides.json", ')
    missing = LECTURE.replace("marimo.App(", 'marimo.App(layout_file="layouts/gone.json", ')
    (course / "source/All/layouts").mkdir(parents=True)
    for place, content in (("L2.py", text), ("L3.py", missing), ("x.csv", "1")):
        (course / "source/All" / place).write_text(content)
    (course / "source/All/layouts/L2.slides.json").write_text("{}")
    (outcome,) = await make(course, Script(), "All", lecture=True)
    assert set(tree(course / "release")) == {"L2/L2.py", "L2/layouts/L2.slides.json", "L3/L3.py"}
    assert "layout_file" in (course / "release/L2/L2.py").read_text()
    assert "layout_file" not in (course / "release/L3/L3.py").read_text()
    told = lines(outcome)
    assert any(
        line.startswith("LEFT-OUT: ") and "x.csv: its folder is not" in line for line in told
    )
    assert any("names layouts/gone.json, which is not there" in line for line in told)


async def test_an_assignment_takes_the_folders_that_it_names_and_tells_of_others(
    course: Path,
) -> None:
    for name in ("data/a.csv", "solutions/A1.py"):
        (course / "source/A1" / name).parent.mkdir()
        (course / "source/A1" / name).write_text("1")
    notebook = course / "source/A1/A1.py"
    notebook.write_text(notebook.read_text() + '\n# see "data/a.csv"\n')
    (outcome,) = await make(course, Script())
    assert "data/a.csv" in tree(course / "release/A1")
    assert "solutions/A1.py" not in tree(course / "release/A1")
    told = [line for line in lines(outcome) if "LEFT-OUT" in line]
    assert len(told) == 1
    assert "solutions/: the notebook does not name this folder" in told[0]


async def test_a_key_that_is_set_to_be_unprotected_and_has_no_check_is_told(course: Path) -> None:
    (outcome,) = await make(course, Script(), unprotected={"A1": ("Q1", "Q9"), "A2": ("Q8",)})
    told = [line for line in lines(outcome) if "set to be unprotected" in line]
    assert len(told) == 1
    assert told[0].startswith("ADVICE: ")
    assert told[0].endswith("A1.py: no check belongs to 'Q9', which is set to be unprotected.")


@pytest.mark.parametrize("lecture", [False, True])
async def test_a_copy_of_the_source_stays_and_is_refused_in_the_old_release(
    course: Path, lecture: bool
) -> None:
    if lecture:
        (course / "source/A1/A1.py").write_text(LECTURE)
    (course / "source/A1/A1.py~").write_text(TEXT)
    (outcome,) = await make(course, Script(), lecture=lecture)
    assert not outcome.problems
    assert "A1.py~" not in tree(course / "release/A1")
    assert "source/A1/A1.py~: it marks a solution" in " ".join(lines(outcome))
    before = (course / "release/A1/A1.py").read_bytes()
    (course / "release/A1/old.py").write_text(TEXT)
    with (course / "source/A1/A1.py").open("a") as notebook:
        notebook.write("\n# changed\n")
    (outcome,) = await make(course, Script(), lecture=lecture)
    assert outcome.problems[0].startswith("release/A1/old.py:")
    assert (course / "release/A1/A1.py").read_bytes() == before


@pytest.mark.parametrize("lecture", [False, True])
async def test_what_the_source_has_no_longer_stays_and_is_told(course: Path, lecture: bool) -> None:
    if lecture:
        (course / "source/A1/A1.py").write_text(LECTURE)
    for name in ("a.csv", "b.csv"):
        (course / "source/A1" / name).write_text("1")
    (outcome,) = await make(course, Script(), lecture=lecture)
    assert "students get it" not in " ".join(lines(outcome))
    (course / "source/A1/a.csv").unlink()
    (outcome,) = await make(course, Script(), lecture=lecture)
    told = "release/A1/a.csv:1: students get it, though it is not the source's."
    found = [line for line in lines(outcome) if "students get it" in line]
    assert found == [f"ADVICE: {told} Remove it if they should not."]


@pytest.mark.parametrize("block", ["SOLUTION", "HIDDEN TESTS"])
@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_folder_that_only_a_block_names_is_part_of_it_and_left_out(
    course: Path, block: str, dry_run: bool
) -> None:
    for name in ("data/x.csv", "geheim/answer.txt"):
        (course / "source/A1" / name).parent.mkdir()
        (course / "source/A1" / name).write_text("1")
    notebook = course / "source/A1/A1.py"
    begin = f"### BEGIN {block}\n"
    lines_of_it = TEXT.splitlines(keepends=True)
    place = next(n for n, line in enumerate(lines_of_it) if line.lstrip() == begin)
    indent = lines_of_it[place].partition("#")[0]
    lines_of_it.insert(place + 1, f'{indent}open("geheim/answer.txt")\n')
    notebook.write_text("".join(lines_of_it) + '\n# see "data/x.csv"\n')
    # Files that an editor left beside it are no part of the release, and name nothing for it.
    shutil.copy(notebook, notebook.with_name("A1_20260310T200800.py"))
    (outcome,) = await make(course, Script(), dry_run=dry_run)
    told = lines(outcome)
    assert any("geheim/: the notebook does not name this folder" in line for line in told), told
    if dry_run:
        assert [line for line in told if "would copy" in line and "data/x.csv" in line]
    else:
        assert "data/x.csv" in tree(course / "release/A1")
        assert not [name for name in tree(course / "release/A1") if "geheim" in name]


async def test_links_of_a_lecture_follow_what_the_course_says_an_item_is(course: Path) -> None:
    (course / "source/L1").mkdir()
    (course / "source/Warm-up").mkdir()
    (course / "source/Warm-up/Warm-up.py").write_text(LECTURE)
    text = LECTURE.replace("A1-Measuring-Pi", "Warm-up").replace("A2-Cooling-Coffee", "Nobody")
    (course / "source/L1/L1.py").write_text(text)
    await make(course, Script(), "L1", lecture=True)
    released = (course / "release/L1/L1.py").read_text()
    assert "](../../../../run/Warm-up/)" in released
    assert "](../Nobody/Nobody.py)" in released


async def test_a_link_to_a_released_assignment_edits_it_also_if_its_name_begins_as_a_lectures(
    course: Path,
) -> None:
    for name in ("L1", "Lab1"):
        (course / "source" / name).mkdir()
    (course / "source/Lab1/Lab1.py").write_text(TEXT)
    text = LECTURE.replace("A1-Measuring-Pi", "Lab1")
    (course / "source/L1/L1.py").write_text(text)
    await make(course, Script(), "Lab1")
    await make(course, Script(), "L1", lecture=True)
    assert "](../../../../edit/Lab1/)" in (course / "release/L1/L1.py").read_text()


async def test_a_mistake_of_one_lecture_hides_nothing_of_the_others(course: Path) -> None:
    own = 'open("/home/ada/data.csv")'
    without_header = LECTURE.partition("# ///\n")[2]
    wrong = without_header.replace("\n    return", f"\n    {own}\n    return", 1)
    (course / "source/All").mkdir()
    (course / "source/All/L2.py").write_text(LECTURE)
    (course / "source/All/L3.py").write_text(wrong)
    (outcome,) = await make(course, Script(), "All", lecture=True)
    assert "OK: source/All/L2.py -> release/L2/L2.py" in lines(outcome)
    (problem,) = outcome.problems
    assert place_of(problem.splitlines()[0]) == own
    assert set(tree(course / "release")) == {"L2/L2.py"}


async def test_a_dry_run_refuses_names_that_the_real_one_refuses(course: Path) -> None:
    (course / "source/A1/aux.csv").write_text("1")
    (course / "source/A1/A1.py").write_text(f'{TEXT}\n# see "aux.csv"\n')
    for dry_run in (True, False):
        (outcome,) = await make(course, Script(), dry_run=dry_run)
        (problem,) = outcome.problems
        assert "Windows reserves the name AUX" in problem


async def test_an_answer_that_a_hub_would_refuse_is_worth_a_look(course: Path) -> None:
    notebook = course / "source/A1/A1.py"
    answer = "total = sum(range(1, 101))"
    notebook.write_text(TEXT.replace(answer, f"import glob\n    {answer}"))
    (outcome,) = await make(course, Script(), denied=DEFAULT_DENIED)
    (advice,) = [line for line in lines(outcome) if line.startswith("ADVICE: ")]
    assert "(denied import: glob). Allow it in [safety]" in advice
    assert place_of(advice.removeprefix("ADVICE: ")) == "import glob"
    (outcome,) = await make(course, Script())
    assert not [line for line in lines(outcome) if line.startswith("ADVICE: ")]


async def test_the_runs_have_the_limits_of_the_item(course: Path) -> None:
    asked: list[str] = []

    class Named(Script):
        def of_item(self, name: str) -> AuthorRuns:
            asked.append(name)
            return self

    await make(course, Named())
    assert asked == ["A1"]
