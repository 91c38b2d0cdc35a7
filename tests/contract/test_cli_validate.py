"""``mograder validate`` on a real notebook: it reports, exits and leaves as it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.cli.validate import page_names
from tests.support.command_line import cli
from tests.support.notebooks import notebook

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

NOTEBOOK = notebook(
    """
    from mograder.runtime import check
    x = 1
    """,
    'check("Q1: one", [(x == 1, "not one")])',
)


def test_it_tells_right_from_wrong_and_changes_nothing(tmp_path: Path, uv_cache: Path) -> None:
    (tmp_path / "mograder.toml").write_text(f'[hub]\nuv_cache_dir = "{uv_cache}"\n')
    work = tmp_path / "work"
    work.mkdir()
    right, wrong, odd = work / "right.py", work / "wrong.py", work / "odd.py"
    latin = work / "latin.py"
    latin.write_bytes(b"# Gr\xfc\xdfe\n" + NOTEBOOK.encode())
    right.write_text(NOTEBOOK)
    wrong.write_text(NOTEBOOK.replace("x = 1\n", "x = 2\n"))
    odd.write_text("# /// script\n# dependencies = 3\n# ///\n" + NOTEBOOK)
    pages = tmp_path / "pages"
    files = [str(each) for each in (latin, right, wrong, odd)]
    command = ("validate -C", str(tmp_path))
    answers = cli(*command, "--json", "--html", str(pages), *files, status=1).json
    assert [answer["ok"] for answer in answers] == [False, True, False, False]
    assert "latin.py:1: this is no UTF-8 text" in answers[0]["export_error"]
    assert answers[2]["checks"][0]["details"] == ["not one"]
    assert "dependencies" in answers[3]["export_error"]
    assert "does not pass yet" in (pages / "wrong.html").read_text()
    assert right.read_text() == NOTEBOOK
    assert sorted(each.name for each in work.iterdir()) == [
        *("latin.py", "odd.py", "right.py", "wrong.py")
    ]
    assert "1 of 1 checks pass" in cli(*command, str(right)).out


def test_each_report_has_a_page_of_its_own() -> None:
    places = ("source/A1/A1.py", "release/A1/A1.py", "work/ben/A1.py", "B2.py")
    expected = ("source-A1-A1", "release-A1-A1", "ben-A1", "B2")
    assert page_names(list(map(Path, places))) == expected


@pytest.fixture
def course(tmp_path: Path, uv_cache: Path) -> Path:
    """A course with one item, whose source is valid."""
    directory = tmp_path / "course"
    (directory / "source" / "A1-Adding").mkdir(parents=True)
    (directory / "source" / "A1-Adding" / "A1-Adding.py").write_text(NOTEBOOK)
    (directory / "release" / "A1-Adding").mkdir(parents=True)
    (directory / "release" / "A1-Adding" / "A1-Adding.py").write_text(
        NOTEBOOK.replace("x = 1\n", "# YOUR CODE HERE\n    x = ...\n")
    )
    (directory / "mograder.toml").write_text(f'[hub]\nuv_cache_dir = "{uv_cache}"\n')
    return directory


@pytest.mark.long
def test_a_beginning_names_the_source_and_a_students_file_is_held_against_its_release(
    course: Path, tmp_path: Path
) -> None:
    student = tmp_path / "downloads (1)"
    student.mkdir()
    mine = student / "A1-Adding.py"
    mine.write_text(
        "# /// script\n"
        '# mograder-assignment = "A1-Adding"\n'
        "# ///\n" + NOTEBOOK.replace("x = 1\n", "x = 3\n").replace("[(x == 1,", "[(True,")
    )
    before = mine.read_text()
    printed = cli("validate A1 --json --fix -C", str(course), str(mine), status=1)
    assert "no file is changed" in printed.err
    source, own = printed.json
    assert source["ok"]
    assert (own["integrity_level"], own["ok"]) == ("source", False)
    assert own["checks"][0]["details"] == ["not one"]
    assert mine.read_text() == before


def test_a_submission_reads_the_files_of_its_release(course: Path) -> None:
    release = course / "release" / "A1-Adding"
    (release / "numbers.txt").write_text("1")
    mine = course / "submitted" / "A1-Adding" / "ada.py"
    mine.parent.mkdir(parents=True)
    header = '# /// script\n# mograder-assignment = "A1-Adding"\n# ///\n'
    mine.write_text(header + NOTEBOOK.replace("x = 1\n", "x = int(open('numbers.txt').read())\n"))
    cli("validate -C", str(course), str(mine))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("A2", "There is no source 'A2'"),
        ("A", "may mean A-One, A-Two"),
        ("nowhere/A1.py", "There is no notebook"),
        ("A1 --release source/A-One", "holds no release of"),
    ],
)
def test_what_names_nothing_is_told(
    course: Path, arguments: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(course)
    for name in ("A-One", "A-Two"):
        (course / "source" / name).mkdir()
    (course / "source" / "A1-Adding" / "A1-Adding.py").rename(
        course / "source" / "A1-Adding" / "x.py"
    )
    assert words in cli(f"validate {arguments} -C", str(course), status=2).err


def test_a_course_that_demands_a_sandbox_runs_nothing_without(course: Path) -> None:
    (course / "mograder.toml").write_text("[security]\nuse_bubblewrap = true\n")
    refused = cli("validate A1 --no-sandbox -C", str(course), status=2)
    assert "use_bubblewrap" in refused.err
