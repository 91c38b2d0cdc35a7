"""Students' commands as on Windows and macOS: names of files there and back, and their tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from mograder.clients.token_store import HTTPS, TokenStore
from tests.support.other_system import OtherSystem
from tests.support.served_course import HOMEWORK, Course, make_course, serving_course

pytestmark = pytest.mark.full

System = Literal["windows", "macos"]
FOLDERS = {
    "windows": Path("AppData", "Roaming", "mograder"),
    "macos": Path("Library", "Application Support", "mograder"),
}


@pytest.fixture
def course(tmp_path: Path) -> Iterator[Course]:
    """A course from before names were checked: of an assignment and files that Windows refuses."""
    root = make_course(tmp_path / "course")
    files = root / "aux" / "files"
    files.mkdir(parents=True)
    (files / "nul.py").write_bytes(HOMEWORK)
    for number, name in enumerate(("Data.csv", "con.csv", "data.csv")):
        (files / name).write_text(f"{number}\n")
    with serving_course(root) as served:
        yield served


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.mark.parametrize(
    ("system", "names"),
    [
        ("windows", ["%64ata.csv", "Data.csv", "co%6E.csv", "nu%6C.py"]),
        ("macos", ["%64ata.csv", "Data.csv", "con.csv", "nul.py"]),
    ],
)
def test_odd_names_are_written_under_others_and_submitted_under_their_own(
    course: Course, work: Path, tmp_path: Path, system: System, names: list[str]
) -> None:
    student = OtherSystem(system, home=tmp_path / "home")
    server = ("--url", course.url, "--token", course.token(), "--json")
    fetched = student.mograder("https", "fetch", "aux", *server, cwd=work)
    assert fetched.returncode == 0, fetched.stderr
    assert sorted(path.name for path in work.iterdir() if path.is_file()) == names
    assert (work / "%64ata.csv").read_text() == "2\n"
    release = "_aux" if system == "windows" else "aux"
    assert (work / ".mograder" / "release" / release / names[-1]).read_bytes() == HOMEWORK
    submitted = student.mograder("https", "submit", "aux", names[-1], *server, cwd=work)
    assert submitted.returncode == 0, submitted.stderr
    answer = json.loads(submitted.stdout)
    assert answer["receipt"]["assignment"] == "aux"
    again = json.loads(student.mograder("https", "fetch", "aux", *server, cwd=work).stdout)
    assert {file["change"] for file in again["files"]} == {"unchanged"}
    receipt = student.mograder("https", "receipt", "show", "aux", "--json", cwd=work)
    assert [each["receipt"] for each in json.loads(receipt.stdout)] == [answer["receipt"]]


@pytest.mark.parametrize("system", ["windows", "macos"])
def test_a_token_is_kept_in_the_systems_own_folder(
    course: Course, work: Path, tmp_path: Path, system: System
) -> None:
    home = tmp_path / "home"
    student = OtherSystem(system, home=home)
    login = ("https", "login", "--url", course.url, "--token", course.token())
    assert student.mograder(*login, cwd=work).returncode == 0
    kept = json.loads((home / FOLDERS[system] / "https_tokens.json").read_text())
    assert kept == {"servers": {course.url: {"token": course.token(), "user": "alice"}}}
    assert not (home / ".config").exists()
    listed = student.mograder("https", "fetch", "--list", "--url", course.url, cwd=work)
    assert "homework.py" in listed.stdout


@pytest.mark.parametrize("system", ["windows", "macos"])
def test_a_token_of_0_3_16_is_used_and_renewed(
    course: Course, work: Path, tmp_path: Path, system: System
) -> None:
    home = tmp_path / "home"
    TokenStore(home, HTTPS).save(course.url, course.token(), "alice")
    old = home / ".config" / "mograder" / "https_token.json"
    (old.parent / "https_tokens.json").unlink()
    student = OtherSystem(system, home=home)
    listed = student.mograder("https", "fetch", "--list", "--url", course.url, cwd=work)
    assert "homework.py" in listed.stdout
    login = ("https", "login", "--url", course.url, "--token", course.token("bob"))
    assert student.mograder(*login, cwd=work).returncode == 0
    assert json.loads(old.read_text())["user"] == "bob"
