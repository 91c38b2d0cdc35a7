"""The release of a directory, and the directory that a name refers to.

B92-B94, compatibility-0.3.16.md 7.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput, NotFound
from mograder.publishing.local_release import find_release, read_release, read_source
from mograder.store.releases.releases import ItemKind


def item(release: Path, name: str, text: str = "import marimo\n") -> Path:
    directory = release / name
    directory.mkdir(parents=True)
    (directory / f"{name}.py").write_text(text, encoding="utf-8")
    return directory


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release directory with three items, in a course that is the working directory."""
    for name in ("A1-Intro", "A1-More", "L01-Lines"):
        item(tmp_path / "release", name)
    (tmp_path / "release" / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "release"


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ("A1-Intro", "A1-Intro"),
        ("A1-I", "A1-Intro"),
        ("L", "L01-Lines"),
        ("release/A1-More", "A1-More"),
        ("release/A1-More/", "A1-More"),
        ("./release/L01-Lines", "L01-Lines"),
        ("release/A1-More/../A1-Intro", "A1-Intro"),
    ],
)
def test_an_assignment_is_a_name_its_beginning_or_a_directory(
    release: Path, argument: str, name: str
) -> None:
    """B92."""
    assert find_release(argument, release).name == name


def test_the_home_of_an_unknown_account_is_not_found(release: Path) -> None:
    with pytest.raises(NotFound):
        find_release("~nobody-here", release)


def test_the_directory_one_stands_in_has_a_name_too(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(release / "A1-Intro")
    assert read_release(find_release(".", release)).name == "A1-Intro"


def test_a_released_item_wins_over_a_directory_here(release: Path) -> None:
    item(release.parent, "L")
    assert find_release("L", release) == release / "L01-Lines"


def test_a_directory_here_is_taken_when_no_item_is_meant(release: Path) -> None:
    item(release.parent, "X9")
    assert read_release(find_release("X9", release)).directory == Path("X9")


def test_a_link_keeps_its_own_name(release: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "v2"
    elsewhere.mkdir()
    (elsewhere / "A2.py").write_text("import marimo\n")
    (release / "A2").symlink_to(elsewhere)
    assert read_release(find_release("A2", release)).name == "A2"


@pytest.mark.parametrize("argument", ["B7", "A1-Intro.py", ".hidden"])
def test_a_name_that_matches_nothing_lists_what_there_is(release: Path, argument: str) -> None:
    with pytest.raises(NotFound, match="There is no release") as refused:
        find_release(argument, release)
    assert "A1-Intro, A1-More, L01-Lines" in refused.value.hint


def test_an_item_of_the_source_alone_says_how_it_is_released(release: Path) -> None:
    item(release.parent / "source", "A2-Optimisation")
    with pytest.raises(NotFound, match="There is no release 'A2'") as refused:
        find_release("A2", release, release.parent / "source")
    assert refused.value.hint == "Run `mograder generate A2-Optimisation` first."


def test_an_empty_course_says_how_releases_are_made(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as refused:
        find_release("A1", tmp_path / "release")
    assert "mograder generate" in refused.value.hint


@pytest.mark.parametrize("argument", ["no/such", "/no/such/place", "release/A1-Intro/A1-Intro.py"])
def test_a_path_that_is_no_directory_is_refused(release: Path, argument: str) -> None:
    with pytest.raises(NotFound, match="is not a directory"):
        find_release(argument, release)


def test_the_notebook_and_what_stands_beside_it_are_sent(release: Path) -> None:
    """B94; compatibility-0.3.16.md 2.8 for what stays."""
    directory = release / "A1-Intro"
    for name in ("data.csv", "helper.py", "files.json", ".env", "A1-Intro.html", "A1-Intro.ZIP"):
        (directory / name).write_text("x")
    for name in ("public/x.png", "public/img/y.png", "public/.DS_Store", "public/page.html"):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text("x")
    for name in (".venv", "__pycache__", "session"):
        (directory / name).mkdir()
        (directory / name / "z.txt").write_text("x")
    found = read_release(directory)
    assert [file.name for file in found.files] == [
        "A1-Intro.py",
        "data.csv",
        "helper.py",
        "public/img/y.png",
        "public/page.html",
        "public/x.png",
        "session/z.txt",
    ]
    assert [file.path for file in found.files] == [directory / file.name for file in found.files]
    assert [each.name for each in found.left_out] == ["A1-Intro.ZIP", "A1-Intro.html"]
    assert all(each.reason == "a preview or an archive" for each in found.left_out)


def test_an_editors_backup_beside_the_source_stays_here(release: Path) -> None:
    directory = release / "A1-Intro"
    for name in ("A1-Intro.py~", "~$data.xlsx"):
        (directory / name).write_text("x")
    found = read_source(directory)
    assert [file.name for file in found.files] == ["A1-Intro.py"]
    assert {each.name for each in found.left_out} == {"A1-Intro.py~", "~$data.xlsx"}
    with pytest.raises(InvalidInput, match=r"cannot be published\. Invalid file name"):
        read_release(directory)


def test_links_to_directories_lead_nowhere(release: Path) -> None:
    directory = release / "A1-Intro"
    (directory / "public").mkdir()
    (directory / "public" / "loop").symlink_to(directory)
    assert [file.name for file in read_release(directory).files] == ["A1-Intro.py"]
    (release / "A1-More" / "public").symlink_to(release)
    assert [file.name for file in read_release(release / "A1-More").files] == ["A1-More.py"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('# mograder-type = "lecture"\nimport marimo\n', ItemKind.LECTURE),
        ('# /// script\n# mograder-type = "demo"\n# ///\nimport marimo\n', ItemKind.DEMO),
        ("import marimo\n", None),
        ("x = '\ud800'\n", None),
    ],
    ids=["line", "block", "silent", "not-utf8"],
)
def test_the_kind_is_read_from_the_notebook(
    tmp_path: Path, text: str, kind: ItemKind | None
) -> None:
    """B90."""
    directory = item(tmp_path, "L01", "")
    (directory / "L01.py").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert read_release(directory).detected is kind


def test_a_directory_without_its_notebook_is_refused(release: Path) -> None:
    with pytest.raises(InvalidInput, match=r"has no notebook empty\.py"):
        read_release(release / "empty")


@pytest.mark.parametrize("name", ["user", "a\nb"])
def test_a_directory_whose_name_no_item_may_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="Invalid name"):
        read_release(item(tmp_path, name))


def test_a_file_whose_name_no_hub_accepts_is_named(release: Path) -> None:
    directory = release / "A1-Intro"
    (directory / "a\nb.csv").write_text("x")
    with pytest.raises(InvalidInput, match="cannot be published"):
        read_release(directory)


def test_what_marks_a_solution_is_for_graders_only(tmp_path: Path) -> None:
    directory = item(tmp_path, "A1", "import marimo\n    ### BEGIN SOLUTION\n")
    with pytest.raises(InvalidInput, match=r"A1/A1\.py:2: this file is for students, and marks"):
        read_release(directory)
    assert read_source(directory).name == "A1"
