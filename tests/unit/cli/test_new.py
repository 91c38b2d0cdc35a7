"""``mograder new``: what it writes, and that it overwrites nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from marimo._convert.converters import MarimoConvert

from mograder.core.settings import load_settings
from tests.support.command_line import cli

pytestmark = pytest.mark.usefixtures("here")


def files(directory: Path) -> set[str]:
    found = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix() for path in found}


def test_a_new_course_has_settings_an_assignment_and_a_lecture(here: Path) -> None:
    assert cli("new", 'Sums "and" means').out.startswith('Wrote Sums "and" means/mograder.toml\n')
    course = here / 'Sums "and" means'
    (wheel,) = (course / ".mograder/runtime").iterdir()
    assert files(course) == {
        f".mograder/runtime/{wheel.name}",
        "mograder.toml",
        "source/A1-First-Steps/A1-First-Steps.py",
        "source/L01-Welcome/L01-Welcome.py",
    }
    loaded = load_settings(course)
    assert (loaded.settings.title, loaded.warnings) == ('Sums "and" means', ())


def test_a_course_within_another_course_by_an_option_is_refused(here: Path) -> None:
    cli("new", "Sums")
    assert "-C is for --assignment and --lecture" in cli("new", "T", "-C", "Sums", status=2).err
    assert not (here / "T").exists()


def test_the_next_commands_can_be_pasted_into_a_shell(here: Path) -> None:
    assert "Next: cd 'Sums (2)'; mograder generate A1-" in cli("new", "Sums (2)").out
    printed = cli("new --assignment", "B's sums", "-C", "Sums (2)").out
    directory, name = "'Sums (2)/source/", "B'\"'\"'s sums"
    marimo = f"marimo edit {directory}{name}/{name}.py'"
    assert f"Next: {marimo}; mograder generate -C 'Sums (2)' '{name}'\n" in printed


def test_what_is_written_is_as_marimo_writes_it(here: Path) -> None:
    cli("new .")
    for path in (here / "source").rglob("*.py"):
        assert MarimoConvert.from_py(path.read_text()).to_py() == path.read_text()


def test_a_new_course_generates(here: Path) -> None:
    cli("new .")
    cli("generate A1 --no-validate")
    cli("generate L01 --lecture")
    text = (here / "release/L01-Welcome/L01-Welcome.py").read_text()
    assert "](../../../../edit/A1-First-Steps/)" in text


@pytest.mark.parametrize("option", ["--assignment", "--lecture"])
def test_an_item_is_added_where_the_course_has_its_sources(here: Path, option: str) -> None:
    (here / "mograder.toml").write_text('[dirs]\nsource = "src"\n')
    cli("new", option, "X7-Sorting")
    text = (here / "src/X7-Sorting/X7-Sorting.py").read_text()
    assert "# X7 Sorting\n" in text
    assert ('mograder-type = "lecture"' in text) == (option == "--lecture")
    index = re.search(r'^# url = "(.*)"$', text, re.MULTILINE)
    assert index is not None
    assert list((here / "src/X7-Sorting" / index[1]).glob("mograder-*.whl"))


@pytest.mark.parametrize("there", ["mograder.toml", "source/L01-Welcome/L01-Welcome.py"])
def test_nothing_is_overwritten_and_then_nothing_is_written(here: Path, there: str) -> None:
    path = here / "course" / there
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    assert "exists already" in cli("new course", status=5).err
    assert (files(here / "course"), path.read_text()) == ({there}, "mine")


@pytest.mark.parametrize(
    "arguments",
    [[], ["course", "--assignment", "A1"], ["--assignment", "A1", "--lecture", "L1"]],
)
def test_one_thing_is_started_at_a_time(here: Path, arguments: list[str]) -> None:
    cli("new", *arguments, status=2)
    assert files(here) == set()


@pytest.mark.parametrize("name", ["../A1", ".A1", "", "a/b"])
def test_a_name_that_is_no_items_is_refused(here: Path, name: str) -> None:
    cli("new --assignment", name, status=2)
    assert files(here) == set()


@pytest.mark.parametrize(
    ("name", "told"), [("Con", "reserves the name CON"), ("a1", "'A1' already")]
)
@pytest.mark.parametrize("option", ["--assignment", "--lecture"])
def test_a_name_that_some_students_could_not_store_is_refused(
    here: Path, option: str, name: str, told: str
) -> None:
    (here / "source" / "A1").mkdir(parents=True)
    assert told in cli("new", option, name, status=2).err
    assert files(here) == set()
