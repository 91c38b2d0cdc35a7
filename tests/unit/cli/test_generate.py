"""``mograder generate`` as a command: options, exit statuses, what a script reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mograder.grading.author.scaffold import assignment_text, lecture_text
from tests.support.command_line import cli

TEXT = assignment_text("A1", marimo="0.25.2")


@pytest.fixture
def course(here: Path) -> Path:
    """A course with two assignments and a lecture, which is also the working directory."""
    for name, text in {
        "A1-Sums": TEXT,
        "A2-Means": TEXT,
        "L01-Sums": lecture_text("L1", marimo="0.25.2", assignment="A1-Sums"),
    }.items():
        (here / "source" / name).mkdir(parents=True)
        (here / "source" / name / f"{name}.py").write_text(text)
    return here


def released(course: Path, directory: str = "release") -> set[str]:
    base = course / directory
    return {path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file()}


def test_several_names_are_made_and_told_in_their_order(course: Path) -> None:
    """B112."""
    printed = cli("generate A2 A1 --no-validate")
    assert printed.out == (
        "OK: source/A2-Means/A2-Means.py -> release/A2-Means/A2-Means.py\n"
        "OK: source/A1-Sums/A1-Sums.py -> release/A1-Sums/A1-Sums.py\n"
    )
    assert released(course) == {"A1-Sums/A1-Sums.py", "A2-Means/A2-Means.py"}


def test_a_lecture_is_made_from_a_path_and_links_to_the_hub(course: Path) -> None:
    """B70, B113."""
    printed = cli("generate --lecture source/L01-Sums/L01-Sums.py")
    text = (course / "release/L01-Sums/L01-Sums.py").read_text()
    assert "](../../../../edit/A1-Sums/)" in text
    assert 'mograder-type = "lecture"' in text
    assert printed.out.startswith("OK: source/L01-Sums/L01-Sums.py -> ")


def test_a_demo_is_made_as_a_lecture_and_stays_one(course: Path) -> None:
    """A list for students has lectures, and no demos."""
    source = course / "source/L01-Sums/L01-Sums.py"
    source.write_text(source.read_text().replace('type = "lecture"', 'type = "demo"'))
    assert "A demo needs --lecture." in cli("generate L01 --no-validate").out
    cli("generate --lecture L01")
    text = (course / "release/L01-Sums/L01-Sums.py").read_text()
    assert 'mograder-type = "demo"' in text
    assert "](../../../../edit/A1-Sums/)" in text


def test_another_output_directory_and_another_course_directory(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (course / "elsewhere").mkdir()
    monkeypatch.chdir(course / "elsewhere")
    cli("generate A1 -C .. -o out --no-validate")
    assert released(course, "elsewhere/out") == {"A1-Sums/A1-Sums.py"}
    assert released(course) == set()


def test_the_courses_own_directories_are_used(course: Path) -> None:
    (course / "mograder.toml").write_text('[dirs]\nsource = "src"\nrelease = "out"\n')
    (course / "source").rename(course / "src")
    cli("generate A1 --no-validate")
    assert released(course, "out") == {"A1-Sums/A1-Sums.py"}


@pytest.mark.parametrize(
    ("place", "arguments"),
    [
        (".", "source/A1-Sums/A1-Sums.py -o source"),
        (".", "A1 -o source --dry-run"),
        (".", "A1 -o link"),
        ("source", "A1 -o ."),
        ("source/A1-Sums", "A1-Sums.py -o .."),
        ("in-source", "A1"),
        (".", "drafts/A1-Sums/A1-Sums.py -o source"),
        (".", "drafts/A1-Sums/A1-Sums.py -o drafts"),
        (".", "L01 --lecture -o source"),
        (".", "drafts/A1-Sums/L01-Sums.py --lecture -o source"),
    ],
)
def test_a_release_never_takes_the_place_of_a_source(
    course: Path, place: str, arguments: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only copy of the solutions and hidden tests was gone, with status 0."""
    (course / "mograder.toml").touch()
    (course / "link").symlink_to("source")
    (course / "in-source").mkdir()
    (course / "in-source/mograder.toml").write_text(
        '[dirs]\nsource = "../source"\nrelease = "../source"\n'
    )
    (course / "drafts/A1-Sums").mkdir(parents=True)
    for name in ("A1-Sums", "L01-Sums"):
        shutil.copy(course / f"source/{name}/{name}.py", course / "drafts/A1-Sums")
    before = {path: path.read_bytes() for path in course.rglob("*.py")}
    monkeypatch.chdir(course / place)
    told = cli("generate --no-validate", *arguments.split(), status=1).err
    assert "Nothing is written to " in told
    assert "Name another directory by -o" in told
    assert {path: path.read_bytes() for path in course.rglob("*.py")} == before


def test_a_release_may_be_in_another_folder_beside_its_source(course: Path) -> None:
    cli("generate source/A1-Sums/A1-Sums.py --no-validate -o source/A1-Sums/release")
    cli("generate --lecture L01 -o source/L01-Sums")
    assert released(course, "source/A1-Sums/release") == {"A1-Sums/A1-Sums.py"}
    assert (course / "source/L01-Sums/L01-Sums/L01-Sums.py").is_file()


def test_a_dry_run_writes_nothing(course: Path) -> None:
    printed = cli("generate A1 --dry-run")
    assert printed.out.startswith("DRY-RUN: source/A1-Sums/A1-Sums.py -> release/")
    assert not (course / "release").exists()


def test_validate_tells_which_sources_are_valid_and_writes_nothing(course: Path) -> None:
    """compatibility-0.3.16.md 7: a hook of git may call it at each commit."""
    valid = "VALID: source/A1-Sums/A1-Sums.py (3 solution blocks)\n"
    assert cli("generate A1 --validate").out == valid
    assert cli("generate A1 --validate --no-validate").out == valid
    assert cli("generate --lecture L01 --validate").out.startswith("VALID: source/L01-Sums/L01")
    notebook = course / "source/A1-Sums/A1-Sums.py"
    notebook.write_text(TEXT.replace("    ### END SOLUTION\n", "", 1))
    assert "source/A1-Sums/A1-Sums.py:" in cli("generate A1 --validate", status=1).err
    assert not (course / "release").exists()


@pytest.mark.parametrize("name", ["B", "A3", "source/A9/A9.py"])
def test_a_name_without_a_source_is_a_mistake_of_the_command_line(course: Path, name: str) -> None:
    """compatibility-0.3.16.md 7: 2."""
    assert "There is no" in cli("generate", name, status=2).err
    assert not (course / "release").exists()


def test_one_mistake_ends_with_1_and_does_not_stop_the_others(course: Path) -> None:
    notebook = course / "source/A1-Sums/A1-Sums.py"
    notebook.write_text(TEXT.replace("    ### END SOLUTION\n", "", 1))
    assert "source/A1-Sums/A1-Sums.py:" in cli("generate A1 A2 --no-validate", status=1).err
    assert released(course) == {"A2-Means/A2-Means.py"}


def test_a_form_is_added_for_an_assignment_server(course: Path) -> None:
    url = "https://example.org:8443"
    cli("generate A1 --no-validate --submit-url", url)
    text = (course / "release/A1-Sums/A1-Sums.py").read_text()
    assert f'_submit("{url}", "A1-Sums", __file__, _user, token' in text


@pytest.mark.parametrize("url", ["example.org", "ftp://example.org", "https://"])
def test_a_form_for_what_is_no_address_is_refused(course: Path, url: str) -> None:
    told = cli("generate A1 --no-validate --submit-url", url, status=2).err
    assert told.startswith(f"Error: '{url}' is not the URL of a server.\n")
    assert not (course / "release").exists()


def test_a_form_in_a_lecture_is_refused(course: Path) -> None:
    told = cli("generate A1 --lecture --submit-url https://example.org", status=2).err
    assert "a lecture is not handed in" in told
    assert not (course / "release").exists()


def test_progress_is_json_lines_on_stderr(course: Path) -> None:
    """As compatibility-0.3.16.md 9 has it for autograding."""
    events = [
        json.loads(line) for line in cli("generate A1 A2 --no-validate --progress").err.splitlines()
    ]
    assert events[0] == {"event": "start", "assignments": ["A1-Sums", "A2-Means"]}
    assert {
        "event": "progress",
        "assignment": "A1-Sums",
        "message": "Taking out the solutions",
    } in (events)
    assert events[-1] == {"event": "results", "results": {"A1-Sums": "ok", "A2-Means": "ok"}}


def test_with_progress_a_mistake_is_a_json_line_too(course: Path) -> None:
    notebook = course / "source/A1-Sums/A1-Sums.py"
    notebook.write_text(TEXT.replace("    ### END SOLUTION\n", "", 1))
    printed = cli("generate A1 A2 --no-validate --progress", status=1)
    *_, problem, results = [json.loads(line) for line in printed.err.splitlines()]
    assert (problem["event"], problem["assignment"]) == ("problem", "A1-Sums")
    assert problem["message"].startswith("source/A1-Sums/A1-Sums.py:")
    assert results["results"] == {"A1-Sums": "failed", "A2-Means": "ok"}


def test_the_same_item_twice_is_made_once(course: Path) -> None:
    assert cli("generate A1 source/A1-Sums --no-validate").out.count("OK:") == 1


@pytest.mark.parametrize(
    ("name", "told"),
    [("aux", "Windows reserves the name AUX"), ("a1-sums", "there is 'A1-Sums' already")],
)
def test_a_new_name_that_some_students_could_not_store_is_refused(
    course: Path, name: str, told: str
) -> None:
    cli("generate A1-Sums --no-validate")
    (course / "source" / name).mkdir()
    (course / "source" / name / f"{name}.py").write_text(TEXT)
    assert told in cli("generate", name, "--no-validate", status=1).err
    assert released(course) == {"A1-Sums/A1-Sums.py"}


@pytest.mark.parametrize("arguments", [["A1-Sums", "--no-validate"], ["L01-Sums", "--lecture"]])
def test_a_new_file_that_some_students_could_not_store_is_refused(
    course: Path, arguments: list[str]
) -> None:
    for name in ("nul.csv", "Data.csv", "data.csv"):
        (course / "source" / arguments[0] / name).write_text("1\n")
    told = cli("generate", *arguments, status=1).err
    assert f"{arguments[0]}: nul.csv: Windows reserves the name NUL for a device." in told
    assert "Data.csv and data.csv: on Windows and macOS they are one file." in told
    assert released(course) == set()


@pytest.mark.parametrize("option", ["--no-validate", "--dry-run"])
def test_a_file_whose_name_is_not_utf_8_is_refused(course: Path, option: str) -> None:
    (course / "source/A1-Sums/M\udcfcller.csv").write_text("1\n")
    told = cli("generate A1", option, status=1).err
    assert "A1-Sums: M\\udcfcller.csv: its name is not UTF-8." in told
    assert released(course) == set()


@pytest.mark.parametrize("arguments", [["A1-Sums", "--no-validate"], ["L01-Sums", "--lecture"]])
def test_a_file_that_students_have_already_is_warned_of_only(
    course: Path, arguments: list[str]
) -> None:
    for base in ("source", "release"):
        (course / base / arguments[0]).mkdir(parents=True, exist_ok=True)
        (course / base / arguments[0] / "nul.csv").write_text("1\n")
    assert f"ADVICE: {arguments[0]}: nul.csv: Windows reserves" in cli("generate", *arguments).out


def test_packages_that_do_not_run_in_the_browser_are_told(course: Path) -> None:
    source = course / "source" / "A1-Sums" / "A1-Sums.py"
    source.write_text(TEXT.replace('"marimo', '"numpy<2",\n#   "marimo', 1))
    lines = cli("generate A1 A2 --dry-run").lines
    (told,) = [line for line in lines if "Pyodide" in line]
    assert told.startswith("ADVICE: source/A1-Sums/A1-Sums.py:")
    assert "numpy<2, but Pyodide" in told


def test_generate_alone_lists_the_sources(course: Path) -> None:
    printed = cli("generate", status=2)
    held = "source holds: A1-Sums, A2-Means, L01-Sums.\n"
    assert printed.err.endswith(f"Error: Name what to generate. {held}")
