"""Where sources lie, what goes with them, and how a release takes the place of an old one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mograder.core.errors import Conflict, InvalidInput, TooLarge
from mograder.store.course.course import (
    find_source,
    is_path,
    read_notebook,
    shown,
    staged_release,
    support_files,
    write_new,
)
from mograder.store.course.support_files import solutions_in


def make(base: Path, *files: str) -> Path:
    for name in files:
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return base


@pytest.mark.parametrize(
    ("argument", "found"),
    [
        ("A1", ["A1/A1.py"]),
        ("A2", ["A2-Sorting/A2-Sorting.py"]),
        ("A2-Sorting", ["A2-Sorting/A2-Sorting.py"]),
        ("Parts", ["Parts/one.py", "Parts/two.py"]),
    ],
)
def test_a_name_is_a_directory_or_the_only_one_that_begins_so(
    tmp_path: Path, argument: str, found: list[str]
) -> None:
    """compatibility-0.3.16.md 7."""
    make(tmp_path, "A1/A1.py", "A1/helper.py", "A2-Sorting/A2-Sorting.py", "A1-Old/A1-Old.py")
    make(tmp_path, "Parts/one.py", "Parts/two.py", "Parts/one_20260310T200800.py")
    item = find_source(argument, tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in item.notebooks] == found
    assert item.name == Path(found[0]).parent.name


@pytest.mark.parametrize("form", ["{}/A1/A1.py", "{}/A1", "{}/A1/", "{}/A1/../A1/A1.py"])
def test_a_path_is_a_notebook_or_a_directory(tmp_path: Path, form: str) -> None:
    make(tmp_path, "A1/A1.py")
    item = find_source(form.format(tmp_path), tmp_path / "elsewhere")
    assert (item.name, [path.name for path in item.notebooks]) == ("A1", ["A1.py"])


def test_a_bare_file_name_is_one_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "A1/A1.py")
    monkeypatch.chdir(tmp_path / "A1")
    assert find_source("A1.py", tmp_path).name == "A1"


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("A2", "'A2' may mean A2-One, A2-Two. Give the whole name."),
        ("A", "'A' may mean A2-One, A2-Two. Give the whole name."),
        ("A9", "There are: A2-One, A2-Two, Empty."),
        ("", "There is no source '' in "),
        ("..", "There is no source '..' in "),
        ("Empty", "holds no notebook."),
        ("./A9.py", "There is no notebook A9.py."),
    ],
)
def test_what_means_nothing_or_too_much_is_told_with_what_there_is(
    tmp_path: Path, argument: str, said: str
) -> None:
    make(tmp_path, "A2-One/A2-One.py", "A2-Two/A2-Two.py", "Empty/notes.txt")
    with pytest.raises(InvalidInput) as raised:
        find_source(argument, tmp_path)
    assert said in str(raised.value)


def test_files_public_and_the_folders_that_are_named_go_along(tmp_path: Path) -> None:
    wanted = [
        *("data.csv", "data/2026/x.csv", "data/b.zip", "helper.py", "layouts/A1.slides.json"),
        *("lib/__init__.py", "lib/f.py", "public/a.svg", "public/deep/b.png"),
    ]
    make(tmp_path / "A1", "A1.py", *wanted)
    make(tmp_path / "A1", ".env", "A1.html", "A1.ZIP", "A1_20260310T200800.py", "files.json")
    make(tmp_path / "A1", "solutions/A1.py", "public/.hidden", "__marimo__/session/A1.py.json")
    make(tmp_path / "A1", "lib/__pycache__/f.pyc", "data/1/2/3.csv", "data/-x.csv")
    make(tmp_path / "A1", "venv/pyvenv.cfg")
    (tmp_path / "A1" / "data" / "up").symlink_to(tmp_path)
    (tmp_path / "A1" / "elsewhere").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "A1" / "data" / "pipe")
    (tmp_path / "A1" / "A1.py").write_text(
        'app = marimo.App(layout_file="layouts/A1.slides.json")\nfrom lib.f import g\n"elsewhere"'
    )
    (tmp_path / "A1" / "helper.py").write_text("open('data/2026/x.csv')")
    item = find_source("A1", tmp_path)
    found = support_files(item, [(tmp_path / "A1" / "A1.py").read_text()])
    assert found.files == tuple(wanted)
    assert {each.name: each.reason.split()[0] for each in found.left} == {
        "A1.ZIP": "a",
        "A1.html": "a",
        "A1_20260310T200800.py": "it",
        "data/-x.csv": "Invalid",
        "data/1/2/": "its",
        "data/pipe": "it",
        "data/up": "links",
        "elsewhere/": "links",
        "solutions/": "the",
        "venv/": "it",
    }


def test_files_are_bounded_in_all(tmp_path: Path) -> None:
    make(tmp_path / "A1", "A1.py")
    for name in ("a.dat", "b.dat"):
        with (tmp_path / "A1" / name).open("wb") as file:
            file.truncate(600_000_000)
    with pytest.raises(TooLarge, match="A1 holds more than 1 GB"):
        support_files(find_source("A1", tmp_path), [])


def test_a_copy_of_the_notebook_names_no_folder(tmp_path: Path) -> None:
    make(tmp_path / "A1", "A1.py", "data/x.csv")
    (tmp_path / "A1" / "A1_20260310T200800.py").write_text("open('data/x.csv')")
    found = support_files(find_source("A1", tmp_path), [""])
    assert found.files == ()
    assert [each.name for each in found.left] == ["A1_20260310T200800.py", "data/"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("A1-old.py", "    ### BEGIN SOLUTION\n    x = 1\n"),
        ("A1.py~", "### BEGIN HIDDEN TESTS\r\nx = 1\r\n"),
        ("A1.py.bak", "x = 0\r    ### BEGIN SOLUTION"),
        ("A1.patch", "+    ### BEGIN SOLUTION\n"),
        ("A1.ipynb", '    "### BEGIN SOLUTION\\n",\n'),
        ("A2.ipynb", '"source": "x = 0\\n    ### BEGIN SOLUTION\\nx = 1\\n"\n'),
        ("A1.txt", "  27      ### BEGIN HIDDEN TESTS\n"),
        ("A1.md", "**### BEGIN SOLUTION**\n"),
        ("public/A1.py", "### BEGIN SOLUTION\n"),
    ],
)
def test_a_file_that_marks_a_solution_is_left_out_and_names_no_folder(
    tmp_path: Path, name: str, text: str
) -> None:
    make(tmp_path / "A1", "A1.py", "data/x.csv", name)
    (tmp_path / "A1" / name).write_text(f"{text}\nopen('data/x.csv')")
    found = support_files(find_source("A1", tmp_path), [""])
    assert found.files == ()
    assert {each.name: each.reason.split()[1] for each in found.left} == {
        name: "marks",
        "data/": "notebook",
    }


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_a_copy_in_utf_16_marks_a_solution_too(tmp_path: Path, encoding: str) -> None:
    copy = tmp_path / "old.py"
    copy.write_text("x = 0\r\n    ### BEGIN SOLUTION\r\n    x = 1\r\n", encoding, newline="")
    (found,) = solutions_in({"old.py": copy})
    assert found.line == 2


@pytest.mark.parametrize(
    "line",
    [
        'MARK = "### BEGIN SOLUTION"',
        '    "### BEGIN SOLUTION",',
        "- `### BEGIN SOLUTION`",
        "- What stands between `### BEGIN SOLUTION` and `### END SOLUTION` gives way to",
        "| `### BEGIN HIDDEN TESTS` … `### END HIDDEN TESTS` | `# HIDDEN TESTS` |",
    ],
)
def test_a_file_that_only_mentions_the_marks_goes_along(tmp_path: Path, line: str) -> None:
    make(tmp_path / "A1", "A1.py", "style.py")
    (tmp_path / "A1" / "style.py").write_text(f"{line}\n")
    assert support_files(find_source("A1", tmp_path), [""]).files == ("style.py",)


def test_a_release_that_is_not_committed_leaves_the_old_one_and_no_rubbish(tmp_path: Path) -> None:
    make(tmp_path / "A1", "A1.py")
    with staged_release(tmp_path / "A1") as stage:
        assert stage.write("A1.py", b"new")
    assert (tmp_path / "A1" / "A1.py").read_text() == "A1.py"
    assert [path.name for path in tmp_path.iterdir()] == ["A1"]


def test_a_committed_release_keeps_what_was_laid_there_by_hand(tmp_path: Path) -> None:
    make(tmp_path / "A1", "A1.py", "notes.txt", "__marimo__/x")
    with staged_release(tmp_path / "A1") as stage:
        stage.write("A1.py", b"new")
        assert stage.commit()
    assert (tmp_path / "A1" / "A1.py").read_text() == "new"
    assert (tmp_path / "A1" / "notes.txt").read_text() == "notes.txt"
    assert (tmp_path / "A1" / "__marimo__" / "x").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["A1"]


@pytest.mark.parametrize("next_one", ["A1", "A2"])
def test_a_release_that_a_killed_run_had_moved_away_outlives_its_staging_directory(
    tmp_path: Path, next_one: str
) -> None:
    """Where directories cannot be exchanged, a run moves the old release away first."""
    workshop = tmp_path / ".mograder-staging-x"
    make(workshop / ".replaced-A1", "A1.py", "by-hand.csv")
    os.utime(workshop, (1000, 1000))
    with staged_release(tmp_path / next_one):
        pass
    assert sorted(path.name for path in (tmp_path / "A1").iterdir()) == ["A1.py", "by-hand.csv"]
    assert [path.name for path in tmp_path.iterdir()] == ["A1"]


def test_a_release_of_another_item_that_is_being_replaced_is_left_alone(tmp_path: Path) -> None:
    make(tmp_path / ".mograder-staging-x" / ".replaced-A1", "A1.py")
    with staged_release(tmp_path / "A2"):
        pass
    assert not (tmp_path / "A1").exists()


def test_a_release_is_built_in_a_shared_folder_where_no_program_may_set_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its directories have the set-group-id bit, which seccomp and RestrictSUIDSGID refuse."""
    make(tmp_path / "A1", "A1.py", "data/x")
    original = os.chmod
    original(tmp_path, 0o2755)
    original(tmp_path / "A1", 0o2755)
    original(tmp_path / "A1" / "data", 0o2755)

    def chmod(path: Path, mode: int, **options: bool) -> None:
        if mode & 0o6000:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)
        original(path, mode, **options)

    monkeypatch.setattr(os, "chmod", chmod)
    with staged_release(tmp_path / "A1") as stage:
        stage.write("A1.py", b"new")
        assert stage.commit()
    assert (tmp_path / "A1" / "A1.py").read_text() == "new"
    assert (tmp_path / "A1" / "data" / "x").read_text() == "data/x"


def test_a_release_that_is_a_link_stays_one(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "A1.py")
    (tmp_path / "A1").symlink_to(tmp_path / "elsewhere")
    with staged_release(tmp_path / "A1") as stage:
        stage.write("A1.py", b"new")
        stage.commit()
    assert (tmp_path / "A1").is_symlink()
    assert (tmp_path / "elsewhere" / "A1.py").read_text() == "new"


def test_a_file_is_taken_when_it_is_newer(tmp_path: Path) -> None:
    """compatibility-0.3.16.md 7."""
    source = make(tmp_path, "data.csv") / "data.csv"
    make(tmp_path / "A1", "A1.py", "data.csv")
    old = tmp_path / "A1" / "data.csv"
    os.utime(source, (1000, 1000))
    os.utime(old, (2000, 2000))
    source.write_text("other")
    os.utime(source, (1000, 1000))
    with staged_release(tmp_path / "A1") as stage:
        assert not stage.take(source, "data.csv")
        assert stage.differs(source, "data.csv")
        os.utime(source, (3000, 3000))
        assert stage.take(source, "data.csv")
        stage.commit()
    assert old.read_text() == "other"
    assert old.stat().st_mtime == 3000


def test_a_notebook_that_is_no_text_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "A1.py"
    path.write_bytes(b"a\nb\n\xff")
    with pytest.raises(InvalidInput, match=r"A1.py:3: this is no UTF-8 text"):
        read_notebook(path)
    with pytest.raises(InvalidInput, match=r"none.py:1: cannot be read"):
        read_notebook(tmp_path / "none.py")
    path.write_bytes(b" " * 16_000_001)
    with pytest.raises(TooLarge, match="16 MB"):
        read_notebook(path)


def test_new_files_are_written_all_or_none(tmp_path: Path) -> None:
    make(tmp_path, "there/file")
    new = tmp_path / "new" / "a.txt"
    with pytest.raises(InvalidInput, match="cannot be written"):
        write_new({new: "a", tmp_path / "there" / "file" / "below": "b"})
    assert not new.exists()
    with pytest.raises(Conflict, match="exists already"):
        write_new({new: "a", tmp_path / "there" / "file": "b"})
    assert not new.exists()
    assert write_new({new: "a"}) == (new,)


@pytest.mark.parametrize(
    ("argument", "separator", "expected"),
    [
        ("lab1", "/", False),
        ("source/lab1", "\\", True),
        ("source\\lab1", "\\", True),
        ("lab1.py", "\\", True),
        ("a\\b", "/", False),
    ],
)
def test_an_argument_with_the_separator_of_the_system_is_a_path(
    argument: str, separator: str, expected: bool
) -> None:
    assert is_path(argument, separator=separator) == expected


def test_a_name_outside_a_course_says_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"You are not in a course: there is no mograder\.toml"):
        find_source("A4", tmp_path / "source")
    (tmp_path / "mograder.toml").write_text("")
    with pytest.raises(InvalidInput, match="There is no source 'A4'"):
        find_source("A4", tmp_path / "source")


def test_a_path_is_shown_from_the_working_directory_on_and_that_directory_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "source" / "A1.py") == "source/A1.py"
    assert shown(tmp_path) == str(tmp_path)
    assert shown(Path("/elsewhere")) == "/elsewhere"
