"""Locks, releases and trees of files as on Windows and macOS."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.other_system import OtherSystem, System
from tests.support.other_system.marks import SYSTEMS

pytestmark = pytest.mark.full


@SYSTEMS
def test_locks_exclude_another_holder(system: System, tmp_path: Path) -> None:
    code = """
import os
from pathlib import Path
from mograder.core.files.file_lock import LockFile, acquire, open_lock, release
one, other = open_lock(Path("lock")), open_lock(Path("lock"))
print(acquire(one), acquire(other, seconds=0.1))
release(one)
print(acquire(other), os.lseek(other, 0, os.SEEK_CUR))
files = [LockFile(Path("turn")) for _ in range(2)]
print(files[0].take(), files[0].take(), files[1].take())
files[0].drop()
print(files[1].take(), Path("turn").exists())
files[1].drop(); files[1].drop()
print(Path("turn").exists())
"""
    assert OtherSystem(system).printed(code, tmp_path) == [
        *("True False", "True 0", "True True False", "True True", "False"),
    ]


@SYSTEMS
def test_a_release_is_built_and_replaced_with_the_line_ends_of_its_source(
    system: System, tmp_path: Path
) -> None:
    (tmp_path / "release" / "lab").mkdir(parents=True)
    (tmp_path / "release" / "lab" / "added.csv").write_bytes(b"by hand\r\n")
    (tmp_path / "release" / "lab" / "added.csv").chmod(0o444)
    code = """
from pathlib import Path
from mograder.store.course.course import staged_release
for text in ("a\\r\\nb\\r\\n", "a\\nb\\n"):
    with staged_release(Path("release/lab")) as stage:
        print(stage.write_text("lab.py", text), stage.commit())
"""
    assert OtherSystem(system).printed(code, tmp_path) == ["True True", "True True"]
    found = {each.name: each.read_bytes() for each in (tmp_path / "release" / "lab").iterdir()}
    assert found == {"lab.py": b"a\nb\n", "added.csv": b"by hand\r\n"}
    assert [each.name for each in (tmp_path / "release").iterdir()] == ["lab"]


def test_a_release_with_a_file_that_is_held_is_named_and_stays(tmp_path: Path) -> None:
    (tmp_path / "release" / "lab").mkdir(parents=True)
    (tmp_path / "release" / "lab" / "data.csv").write_bytes(b"1\n")
    code = """
from pathlib import Path
from mograder.core.errors import Conflict
from mograder.store.course.course import staged_release
with open("release/lab/data.csv"):
    try:
        with staged_release(Path("release/lab")) as stage:
            stage.write_text("lab.py", "new")
            stage.commit()
    except Conflict as error:
        print("lab is open in another program" in error.message)
"""
    assert OtherSystem("windows").printed(code, tmp_path) == ["True"]
    found = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")]
    assert found == ["release/lab/data.csv"]


@SYSTEMS
@pytest.mark.parametrize("end", ["os._exit(0)", "raise SystemExit(0)"])
def test_a_release_comes_back_whose_replacement_was_cut_short(
    tmp_path: Path, system: System, end: str
) -> None:
    """The next run built it from nothing, and files that were added by hand were lost."""
    release = tmp_path / "release"
    (release / "lab").mkdir(parents=True)
    (release / "lab" / "added.csv").write_bytes(b"by hand")
    code = """
from pathlib import Path
from mograder.store.course.course import staged_release
with staged_release(Path("release/lab")) as stage:
    print(stage.write_text("lab.py", "new"), stage.commit())
"""
    cut_short = f"""
import os
from pathlib import Path
real = Path.replace
def replace(source, target):
    if source.name == Path(target).name:
        {end}
    return real(source, target)
Path.replace = replace
"""
    assert OtherSystem(system).printed(cut_short + code, tmp_path) == []
    assert OtherSystem(system).printed(code, tmp_path) == ["True True"]
    assert sorted(each.name for each in (release / "lab").iterdir()) == ["added.csv", "lab.py"]
    for left in release.glob(".*"):
        os.utime(left, (0, 0))
    assert OtherSystem(system).printed(code, tmp_path) == ["False False"]
    assert [each.name for each in release.iterdir()] == ["lab"]


def test_feedback_that_is_held_stays_and_is_replaced_as_a_whole_later(tmp_path: Path) -> None:
    code = """
from pathlib import Path
from mograder.core.errors import Conflict
from mograder.store.copies.student_folder import StudentFolder
folder = StudentFolder(Path("course"))
folder.put_feedback("lab", (("one.html", b"1"), ("two.html", b"2")))
with folder.feedback("lab")[0].open():
    try:
        folder.put_feedback("lab", (("new.html", b"n"),))
    except Conflict as error:
        print("lab is open in another program" in error.message)
print(*[path.name for path in folder.feedback("lab")])
print(*[path.name for path in Path("course/.mograder/feedback").iterdir()])
folder.put_feedback("lab", (("new.html", b"n"),))
print(*[path.name for path in folder.feedback("lab")])
"""
    told = OtherSystem("windows").printed(code, tmp_path)
    assert told == ["True", "one.html two.html", "lab", "new.html"]
    feedback = tmp_path / "course" / ".mograder" / "feedback"
    assert [each.name for each in feedback.iterdir()] == ["lab"]


@SYSTEMS
@pytest.mark.parametrize("after", ["first", "second"])
def test_feedback_is_replaced_also_after_a_replacement_that_was_interrupted(
    tmp_path: Path, system: System, after: str
) -> None:
    """Its earlier copy was in the way of every later one."""
    code = """
from pathlib import Path
from mograder.store.copies.student_folder import StudentFolder
folder = StudentFolder(Path("course"))
for name in ("second.html", "third.html"):
    folder.put_feedback("lab", ((name, b"1"),))
    print(*[path.name for path in folder.feedback("lab")])
"""
    feedback = tmp_path / "course" / ".mograder" / "feedback"
    for name in [".replaced-lab", "lab"][: 1 if after == "first" else 2]:
        (feedback / name / "00").mkdir(parents=True)
        (feedback / name / "00" / "first.html").write_text("1")
    told = OtherSystem(system).printed(code, tmp_path)
    assert told == ["second.html", "third.html"]
    assert [each.name for each in feedback.iterdir()] == ["lab"]


def test_a_waiting_notebook_that_is_held_is_set_aside_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "lab.py").write_bytes(b"mine")
    code = """
from datetime import UTC, datetime
from pathlib import Path
from mograder.store.copies.student_folder import StudentFolder
folder, now = StudentFolder(Path.cwd()), datetime(2026, 3, 10, 20, 8, tzinfo=UTC)
waiting = folder.keep(folder.notebook("lab"), late=False, now=now)
with folder.waiting_file("lab", waiting).open("rb"):
    folder.set_aside("lab", now)
print(folder.waiting("lab"))
"""
    assert OtherSystem("windows").printed(code, tmp_path) == ["None"]
    [aside] = (tmp_path / ".mograder" / "set-aside").iterdir()
    assert aside.read_bytes() == b"mine"


def test_files_that_are_held_stay_when_a_tree_is_removed(tmp_path: Path) -> None:
    for name in ("a/b/free", "a/b/held", "a/read-only"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "a/read-only").chmod(0o444)
    code = """
from pathlib import Path
from mograder.store.filesystem.files import remove_tree
with open("a/b/held"):
    remove_tree(Path("a"))
    print(Path("a/b/held").exists())
remove_tree(Path("a"))
remove_tree(Path("a"))
print(Path("a").exists())
"""
    assert OtherSystem("windows").printed(code, tmp_path) == ["True", "False"]
