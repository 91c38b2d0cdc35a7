"""``mograder moodle sync`` in the file: what the teacher wrote there stays.

See compatibility-0.3.16.md 6, 9.
"""

from __future__ import annotations

import tomllib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mograder.clients.course_server import RemoteFile
from mograder.clients.moodle.records import Assignment
from mograder.core.errors import InvalidInput
from mograder.core.settings import load_settings
from mograder.exchange.moodle.course_file import CourseOnMoodle, merge, replace_course_file

DUE = datetime(2026, 12, 18, 23, 59, tzinfo=UTC)
FILE = RemoteFile("A1.py", "https://moodle.example.edu/webservice/pluginfile.php/18/A1.py")
FOUND = [
    Assignment(1, 3, 2, "A1. Introduction", due=DUE, attachments=(FILE,)),
    Assignment(2, 4, 2, "A2. Optimisation"),
]
COURSE = CourseOnMoodle("https://moodle.example.edu", 2, FOUND)
WRITTEN = """\
# The course of 2026.
title = "SciML"  # shown to students

[hub]
port = 8080   # behind nginx

# Homework
[[assignments]]
name = "A1. Old name"  # renamed every year
id = 1
mine = "kept"
dir = "lab1"

[[assignments]]
name = "A paper exercise"

[moodle]
# our university's
url = "https://moodle.example.edu"
"""


def test_comments_order_and_a_teachers_own_keys_stay() -> None:
    merged = merge(WRITTEN, COURSE)
    lines = merged.text.splitlines()
    for line in WRITTEN.splitlines():
        if "Old name" not in line and line:
            assert line in lines
    assert 'name = "A1. Introduction" # renamed every year' in merged.text.replace("  #", " #")
    order = ["# The course", "[hub]", "# Homework", "A paper exercise", "[moodle]"]
    assert sorted(order, key=merged.text.index) == order
    assert (merged.updated, merged.added) == (("A1. Introduction",), ("A2. Optimisation",))


def test_what_is_written_is_what_the_settings_read(tmp_path: Path) -> None:
    file = tmp_path / "mograder.toml"
    replace_course_file(file, merge(WRITTEN, COURSE, ["A2-Optimisation", "B1"]).text)
    settings = load_settings(tmp_path, environ={}).settings
    first, paper, second = settings.assignments
    assert (first.name, first.id, first.cmid, first.dir) == ("A1. Introduction", 1, 3, "lab1")
    assert first.duedate == int(DUE.timestamp())
    assert [(each.name, each.url) for each in first.files] == [(FILE.name, FILE.address)]
    assert (paper.name, paper.id) == ("A paper exercise", 0)
    assert (second.id, second.duedate, second.dir) == (2, 0, "A2-Optimisation")
    assert (settings.moodle.url, settings.moodle.course_id) == ("https://moodle.example.edu", 2)


def test_openings_and_cut_offs_are_written_where_there_are_any() -> None:
    dated = replace(FOUND[0], opens=DUE - timedelta(days=9), cutoff=DUE + timedelta(days=1))
    text = merge("", replace(COURSE, assignments=[dated, FOUND[1]])).text
    first, second = tomllib.loads(text)["assignments"]
    seconds = int(DUE.timestamp())
    assert (first["duedate"], first["cutoffdate"]) == (seconds, seconds + 86_400)
    assert first["allowsubmissionsfromdate"] == seconds - 9 * 86_400
    assert {"cutoffdate", "allowsubmissionsfromdate"}.isdisjoint(second)
    gone = merge(text, COURSE).text
    assert tomllib.loads(gone)["assignments"][0]["cutoffdate"] == 0


def test_syncing_again_changes_not_one_byte() -> None:
    once = merge(WRITTEN, COURSE, ["A2-Optimisation"])
    again = merge(once.text, COURSE, ["A2-Optimisation"])
    assert again.text == once.text
    assert again.unchanged == ("A1. Introduction", "A2. Optimisation")


def test_times_stay_as_the_teacher_wrote_them() -> None:
    """An unchanged course was "synced" the first time, and its times got seconds."""
    own = (
        '\n[items."A1"]\ndue = 2026-12-01T18:00  # mine\n[items."A2"]\ndue = 2026-12-01T18:00:00\n'
        '[items."A3"]\ndue = 2026-12-01T18:00:00\n'
    )
    text = merge("", COURSE).text + own
    assert merge(text, COURSE).text == text
    renamed = merge(text.replace("A2. Optimisation", "Old"), COURSE).text
    assert renamed == text


def test_an_empty_course_gets_its_file() -> None:
    text = merge("", COURSE).text
    assert merge("", replace(COURSE, assignments=FOUND[::-1]), ["A2"]).text.count("\n\n[") == 3
    assert "\n\n\n" not in merge("", replace(COURSE, assignments=FOUND[::-1])).text
    read = tomllib.loads(text)
    assert [each["id"] for each in read["assignments"]] == [1, 2]
    assert read["moodle"] == {"url": "https://moodle.example.edu", "course_id": 2}


def test_the_list_of_older_files_moves_to_the_top() -> None:
    """compatibility-0.3.16.md 6: `[[moodle.assignments]]` is read where there is no other."""
    old = '[moodle]\ncourse_id = 2\n[[moodle.assignments]]\nname = "A1"\nid = 1\n'
    read = tomllib.loads(merge(old, COURSE).text)
    assert [each["name"] for each in read["assignments"]] == [
        "A1. Introduction",
        "A2. Optimisation",
    ]
    assert "assignments" not in read["moodle"]


def test_what_is_gone_from_moodle_goes_unless_only_a_part_was_asked_for() -> None:
    only_second = [FOUND[1]]
    gone = merge(WRITTEN, CourseOnMoodle(COURSE.url, 2, only_second))
    assert gone.removed == ("A1. Old name",)
    assert "A paper exercise" in gone.text
    part = merge(WRITTEN, CourseOnMoodle(COURSE.url, 2, only_second, complete=False))
    assert (part.removed, "A1. Old name" in part.text) == ((), True)


@pytest.mark.parametrize(
    ("url", "number", "remedy"),
    [
        ("https://moodle.example.edu", 3, "course_id = 2 under"),
        ("https://test.example.edu", 2, 'url = "https://moodle.example.edu" under'),
        ("nonsense", 0, 'url = "https://moodle.example.edu" under'),
    ],
)
@pytest.mark.parametrize("complete", [True, False])
def test_the_assignments_of_another_course_are_not_removed(
    url: str, number: int, remedy: str, *, complete: bool
) -> None:
    """A wrong --course-id or --url took all tables away, with the teacher's own keys."""
    text = f'[moodle]\nurl = "{url}"\ncourse_id = {number}\n'
    tables = '[[assignments]]\nname = "A1. Introduction"\nid = 1\nmine = "kept"\n'
    with pytest.raises(InvalidInput, match="has the assignments of course") as refused:
        merge(text + tables, replace(COURSE, complete=complete))
    assert remedy in (refused.value.hint or "")
    assert merge(text, COURSE).added == ("A1. Introduction", "A2. Optimisation")
    unnumbered = merge(text + tables.replace("id = 1\n", ""), COURSE)
    assert tomllib.loads(unnumbered.text)["assignments"][0]["mine"] == "kept"


def test_an_address_in_another_spelling_is_the_same_site() -> None:
    text = WRITTEN.replace("example.edu", "example.edu/course/view.php?id=2")
    assert merge(text, COURSE).removed == ()


def test_of_two_assignments_of_one_name_the_one_that_is_gone_goes() -> None:
    """The other one's own keys counted as lost, and no sync was possible any more."""
    text = (
        '[[assignments]]\nname = "A2. Optimisation"\nid = 9\n\n'
        '[[assignments]]\nname = "A2. Optimisation"\nid = 2\nmine = "kept"\n'
    )
    merged = merge(text, COURSE)
    assert merged.removed == ("A2. Optimisation",)
    found = tomllib.loads(merged.text)["assignments"]
    assert [(each["id"], each.get("mine")) for each in found] == [(2, "kept"), (1, None)]


def test_edit_links_are_added_once_and_never_replaced() -> None:
    wanted = CourseOnMoodle(COURSE.url, 2, FOUND, edit_links=True)
    once = merge(WRITTEN, wanted).text
    (link,) = tomllib.loads(once)["edit_links"].values()
    assert "{content_lz}" in link
    own = '[edit_links]\nOurs = "https://editor.example/{dir}"\n'
    assert tomllib.loads(merge(own, wanted).text)["edit_links"] == {
        "Ours": "https://editor.example/{dir}"
    }
    assert merge(once, wanted).text == once


def test_two_assignments_never_get_one_directory() -> None:
    twins = [Assignment(1, 3, 2, "A1. Part one"), Assignment(5, 6, 2, "A1. Part two")]
    read = tomllib.loads(merge("", CourseOnMoodle(COURSE.url, 2, twins), ["A1-Intro"]).text)
    assert [each.get("dir") for each in read["assignments"]] == ["A1-Intro", None]


def test_an_assignment_that_is_renamed_on_moodle_keeps_its_directory() -> None:
    """Until now it had the one that belongs to its name, and its marks are under that."""
    text = '[[assignments]]\nname = "A1. Introduction"\nid = 1\n'
    renamed = [Assignment(1, 3, 2, "Getting started")]
    merged = merge(text, CourseOnMoodle(COURSE.url, 2, renamed), ["A1-Intro"])
    (table,) = tomllib.loads(merged.text)["assignments"]
    assert (table["name"], table["dir"]) == ("Getting started", "A1-Intro")


def test_a_file_that_is_no_toml_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"mograder\.toml cannot be read"):
        merge("title = \n", COURSE)


def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.toml").write_text("old")
    (tmp_path / "real.toml").chmod(0o640)
    link = tmp_path / "mograder.toml"
    link.symlink_to("real.toml")
    replace_course_file(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "real.toml").read_text() == "new"
    assert (tmp_path / "real.toml").stat().st_mode & 0o777 == 0o640


def test_line_ends_of_windows_stay(tmp_path: Path) -> None:
    file = tmp_path / "mograder.toml"
    file.write_bytes(b'title = "x"\r\n')
    replace_course_file(file, 'title = "x"\n[moodle]\n')
    assert file.read_bytes() == b'title = "x"\r\n[moodle]\r\n'


@pytest.mark.parametrize(
    "text",
    [
        '[moodle]\ncourse_id = 2\ncsv = "w.csv"\n[hub]\nport = 1\n[[moodle.assignments]]\nid = 1\n',
        'moodle = {url = "q", csv = "w.csv"}\ntitle = "x"\n',
        'moodle.url = "q"\nmoodle.csv = "w.csv"\n',
        'assignments = [{name = "A1", id = 1, mine = "k"}]\n[hub]\nport = 1\n',
        '[[assignments]]\nid = 1\nmine = "k"\n[hub]\nport = 1\n[[assignments]]\nid = 2\nalso = 1\n',
        'title = "x"   \n\n\n[hub]\nport = 1\n# the end',
    ],
    ids=["in two places", "inline", "dotted", "inline list", "apart", "no last line"],
)
def test_however_a_file_is_written_nothing_of_it_is_lost(text: str) -> None:
    before = tomllib.loads(text)
    merged = merge(text, COURSE)
    after = tomllib.loads(merged.text)
    assert [each["id"] for each in after["assignments"]] == [1, 2]
    assert (after["moodle"]["url"], after["moodle"]["course_id"]) == (COURSE.url, 2)
    assert after["moodle"].get("csv") == before.get("moodle", {}).get("csv")
    assert (after.get("title"), after.get("hub")) == (before.get("title"), before.get("hub"))
    own = [{"mine", "also"} & each.keys() for each in before.get("assignments", [])]
    assert [{"mine", "also"} & each.keys() for each in after["assignments"]][: len(own)] == own
    assert merge(merged.text, COURSE).text == merged.text
