"""Sending marks to Moodle loses nothing and changes no other grades (derived exchanges)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import Printed, cli
from tests.support.moodle.derived import (
    ALICE,
    BOB,
    C1,
    E1,
    E2,
    M1,
    R1,
    S1,
    T1,
    T2,
    T3,
)
from tests.support.moodle.recordings import Recording, tape
from tests.support.moodle.replay import Reply
from tests.support.moodle.teacher import CourseSetup

SAVE = "mod_assign_save_grade"


@pytest.fixture
def teacher(teacher: CourseSetup) -> CourseSetup:
    """A teacher of the derived course, before the first grade."""
    first = next(each for each in tape() if each.is_derived and each.function == SAVE)
    teacher.at(first.number - 1)
    return teacher


def saves(number: int, by: str) -> list[Recording]:
    """Return the derived saves of an assignment by a person."""
    return [
        each
        for each in tape()
        if (each.actor, each.function, each.assignment) == (by, SAVE, number)
    ]


def tutor_saves(teacher: CourseSetup, number: int) -> None:
    """Let the tutor have graded on Moodle's page."""
    for each in saves(number, "tutor"):
        teacher.moodle.world.apply(each)


def upload(number: int, grades: str, *options: str, status: int = 0) -> Printed:
    """Write a CSV of grades and send it."""
    Path("g.csv").write_text(grades)
    words = "moodle upload-feedback --grades-csv g.csv --map students.csv"
    return cli(words, str(number), *options, status=status)


def told(printed: Printed) -> dict[str, dict[str, Any]]:
    """Return the lines of --json by student."""
    return {each["student"]: each for each in printed.json}


def sent(teacher: CourseSetup) -> list[tuple[str, str, str]]:
    """Return the grades and comments sent, by person."""
    text = "plugindata[assignfeedbackcomments_editor][text]"
    return [(each["userid"], each["grade"], each[text]) for each in teacher.asked(SAVE)]


def test_one_row_leaves_the_members_with_grades_of_their_own_alone(teacher: CourseSetup) -> None:
    """H1, 1: bob's 60 and his comment were overwritten, and he was in no list."""
    upload(T1, "student,mark,feedback\nalice,80,team\nbsmith,60,other\n")
    row = "student,mark,feedback\nalice,85,new\n"
    lines = told(upload(T1, row, "--dry-run", "--json"))
    assert list(lines) == ["alice"]
    assert lines["alice"]["not_for"] == ["bsmith"]
    printed = upload(T1, row)
    assert printed.out.startswith(
        "  alice  changed    80.00 -> 85.00, comment, "
        "not for the team (bsmith): bsmith holds something of their own on Moodle\n"
    )
    assert sent(teacher)[-1] == (str(ALICE), "85", "new")
    assert {each["applytoall"] for each in teacher.asked(SAVE)} == {"0"}


def test_an_upload_without_the_right_to_edit_sends_one_mark_before_the_others(
    teacher: CourseSetup,
) -> None:
    """A non-editing teacher, with the grading worksheet off, which is Moodle's default."""
    hidden = {
        b"core_course_get_course_module": b"core_course_get_nothing",
        b"offline": b"elsewhere",
    }

    def less(reply: Reply) -> Reply:
        body = reply.body
        for word, other in hidden.items():
            body = body.replace(word, other)
        return replace(reply, body=body)

    teacher.moodle.between = less
    rows = "student,mark,feedback\nalice,80,team\nbsmith,60,other\n"
    printed = upload(T1, rows, "--dry-run")
    assert "one mark is sent first, and the others if Moodle keeps it." in printed.out
    assert sent(teacher) == []
    upload(T1, rows)
    assert sent(teacher) == [(str(ALICE), "80", "team"), (str(BOB), "60", "other")]
    asked = [each.fields.get("wsfunction") for each in teacher.moodle.requests]
    first = asked.index(SAVE)
    assert "mod_assign_get_grades" in asked[first : asked.index(SAVE, first + 1)]


def test_a_member_whose_grade_was_changed_on_moodle_is_left_alone_and_named(
    teacher: CourseSetup,
) -> None:
    """H1, 2: the tutor's 99 became 13, without --force and without a word."""
    printed = upload(T2, "student,mark,feedback\nalice,12,t\n")
    assert printed.lines[:2] == [
        "  alice   changed    - -> 12.00, comment",
        "  bsmith  changed    - -> 12.00, comment, as alice, for the whole team",
    ]
    tutor_saves(teacher, T2)
    lines = told(upload(T2, "student,mark,feedback\nalice,13,t2\n", "--json", status=1))
    assert (lines["alice"]["result"], lines["alice"]["not_for"]) == ("changed", ["bsmith"])
    bob = lines["bsmith"]
    assert (bob["result"], bob["before"], bob["team_of"]) == ("skipped", "99.00", "alice")
    assert bob["changed_on_moodle"] == ["grade 12.00 to 99.00", "comment"]
    assert bob["changed_by"] == "Theo Tutor"
    assert sent(teacher)[-1] == (str(ALICE), "13", "t2")


def test_a_team_that_holds_nothing_else_gets_one_grade_and_its_correction(
    teacher: CourseSetup,
) -> None:
    for grade, words in ((12, "t"), (13, "t2")):
        lines = told(upload(T3, f"student,mark,feedback\nalice,{grade},{words}\n", "--json"))
        assert [each["result"] for each in lines.values()] == ["changed", "changed"]
        assert lines["bsmith"]["team_of"] == "alice"
    assert [each[:2] for each in sent(teacher)] == [
        *((str(user), "12") for user in (ALICE, BOB)),
        *((str(user), "13") for user in (ALICE, BOB)),
    ]


def test_moodle_is_asked_once_what_the_members_of_a_team_hold(teacher: CourseSetup) -> None:
    upload(T3, "student,mark,feedback\nalice,12,t\n")
    before = len(teacher.moodle.requests)
    upload(T3, "student,mark,feedback\nalice,13,t2\n", "--dry-run")
    asked = [each.fields.get("wsfunction") for each in teacher.moodle.requests[before:]]
    assert asked.count("mod_assign_get_grades") == 1
    assert asked.count("mod_assign_get_submission_status") == 2


@pytest.mark.parametrize("header", ["student,mark,feedback", "student,mark"])
def test_an_empty_cell_or_no_column_sends_back_the_comment_that_moodle_holds(
    header: str, teacher: CourseSetup
) -> None:
    """H2, 1: the tutor's comments were erased, and only the grades were shown."""
    tutor_saves(teacher, E1)
    empty = "," * (header.count(",") - 1)
    grades = f"{header}\nalice,60{empty}\ncarol,60{empty}\n"
    lines = upload(E1, grades, "--force").lines[:2]
    assert [line.partition(",")[0] for line in lines] == [
        "  alice  changed    50.00 -> 60.00",
        "  carol  changed    - -> 60.00",
    ]
    assert [each[2] for each in sent(teacher)] == ["HAND alice", "HAND carol no grade"]


def test_a_comment_is_erased_only_when_asked_and_the_dry_run_shows_it(teacher: CourseSetup) -> None:
    """H2: erasing has a word of its own."""
    tutor_saves(teacher, E2)
    grades = "student,mark,feedback\nalice,60,\ncarol,60,\n"
    printed = upload(E2, grades, "--force", "--clear-comments", "--dry-run")
    assert "  alice  changed    50.00 -> 60.00, erases the comment “HAND alice”, " in printed.out
    erased = {
        name: line["erased_comment"]
        for name, line in told(upload(E2, grades, "--force", "--clear-comments", "--json")).items()
    }
    assert erased == {"alice": "HAND alice", "carol": "HAND carol no grade"}
    assert [each[2] for each in sent(teacher)] == ["", ""]


def test_a_comment_that_somebody_changed_is_left_alone_unless_forced(teacher: CourseSetup) -> None:
    """H3: better words with the same grade were overwritten without --force."""
    upload(C1, "student,mark,feedback\nalice,60,one\nbsmith,45,mine\n")
    tutor_saves(teacher, C1)
    before = len(sent(teacher))
    again = "student,mark,feedback\nalice,70,two\nbsmith,45,mine v2\n"
    out = upload(C1, again, status=1).out
    assert (
        "  bsmith  skipped    45.00, changed on Moodle since our upload (comment, by Theo Tutor, "
    ) in out
    assert "--force overwrites it\n" in out
    assert len(sent(teacher)) == before
    upload(C1, again, "--force")
    assert [each[2] for each in sent(teacher)[before:]] == ["two", "mine v2"]


def test_the_same_upload_again_sends_nothing_and_reads_no_feedback(teacher: CourseSetup) -> None:
    """L6; Moodle's time of each grade tells that nothing has changed."""
    grades = "student,mark,feedback\nalice,60,one\nbsmith,45,mine\n"
    upload(C1, grades)
    teacher.moodle.requests.clear()
    upload(C1, grades)
    assert sent(teacher) == []
    assert teacher.asked("mod_assign_get_submission_status") == []


def test_a_second_attempt_is_graded_without_force(teacher: CourseSetup) -> None:
    """M4: Moodle lists no grade for a new attempt, which looked like somebody's change."""
    upload(R1, "student,mark,feedback\nbsmith,40,try again\n")
    (handed_in,) = (each for each in tape() if each.actor == "bob" and each.assignment == R1)
    teacher.moodle.world.apply(handed_in)
    printed = upload(R1, "student,mark,feedback\nbsmith,45,better\n", "--dry-run", "--json")
    assert told(printed)["bsmith"]["attempt"] == 2
    out = upload(R1, "student,mark,feedback\nbsmith,45,better\n").out
    assert "  bsmith  changed    - -> 45.00, comment, for attempt 2\n" in out


def test_a_scale_is_sent_by_name_or_number(teacher: CourseSetup) -> None:
    err = upload(S1, "student,mark\nalice,excellent\nbsmith,4\n", status=2).err
    assert "line 2 (alice): 'excellent' is not an item of the scale" in err
    assert "line 3 (bsmith): '4' is not" in err
    assert "1 Poor, 2 Good, 3 Very good" in err
    printed = upload(S1, "student,mark\nalice,good\nbsmith,3\n")
    assert printed.lines[:2] == [
        "  alice   changed    - -> Good",
        "  bsmith  changed    - -> Very good",
    ]


def test_a_scale_whose_names_are_hidden_is_sent_by_number(teacher: CourseSetup) -> None:
    """Moodle tells the names to those who may edit the assignment, the number to all teachers."""
    teacher.moodle.between = lambda reply: replace(
        reply, body=reply.body.replace(b'"scale":', b'"hidden":')
    )
    printed = upload(S1, "student,mark\nalice,good\n", status=2)
    assert "numbers from 1 to 3 (Moodle does not tell you the names)" in printed.err
    assert "  alice   changed    - -> 2.00\n" in upload(S1, "student,mark\nalice,2\nbsmith,3\n").out


FIRST = "student,mark,feedback\nalice,11,one\nbsmith,22,one\ncarol,23,one\n"
SECOND = "student,mark,feedback\nalice,21,two\nbsmith,32,two\ncarol,33,two\n"
THIRD = "student,mark,feedback\nalice,31,three\nbsmith,42,three\ncarol,43,three\n"


def at_save(count: int, then: Callable[[Reply], Reply]) -> Callable[[Reply], Reply]:
    """Do something with the answer to one of the saves."""
    left = [count]

    def between(reply: Reply) -> Reply:
        if reply.body != b"null":
            return reply
        left[0] -= 1
        return then(reply) if left[0] == 0 else reply

    return between


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_lost_answer_is_found_out_by_what_moodle_holds(lost: int, teacher: CourseSetup) -> None:
    """M1: the run said "failed 23.00" although Moodle held 33, and the next one refused it."""
    upload(M1, FIRST)
    teacher.moodle.between = at_save(lost, lambda reply: replace(reply, cut=0))
    printed = upload(M1, SECOND)
    name, before, after = (
        ("alice", 11, 21),
        ("bsmith", 22, 32),
        ("carol", 23, 33),
    )[lost - 1]
    assert (
        f"  {name:<6}  changed    {before}.00 -> {after}.00, comment, "
        "the answer was lost, and Moodle has saved it\n"
    ) in printed.out
    teacher.moodle.between = None
    upload(M1, SECOND)
    assert len(sent(teacher)) == 6
    upload(M1, THIRD)


@pytest.mark.full
@pytest.mark.parametrize("killed_at", [1, 2, 3])
def test_a_killed_upload_goes_on(killed_at: int, teacher: CourseSetup) -> None:
    """M1: kill -9 after a save that Moodle took; then the same command, and another."""
    upload(M1, FIRST)
    interrupted(teacher, killed_at, signal.SIGKILL)
    results = [line["result"] for line in told(upload(M1, SECOND, "--json")).values()]
    assert results == ["unchanged"] * killed_at + ["changed"] * (3 - killed_at)
    assert len(sent(teacher)) == 6
    upload(M1, THIRD)


@pytest.mark.full
@pytest.mark.parametrize("killed_at", [1, 3])
def test_other_marks_after_an_interrupted_upload_are_sent(
    killed_at: int, teacher: CourseSetup
) -> None:
    """M1, 4: Ctrl-C; what was being sent is on record, so that it is no stranger's change."""
    upload(M1, FIRST)
    interrupted(teacher, killed_at, signal.SIGINT)
    upload(M1, THIRD)
    assert len(sent(teacher)) == 6 + killed_at


@pytest.mark.full
def test_two_interruptions_in_a_row_lose_no_record(teacher: CourseSetup) -> None:
    """M1: the second interrupted upload wrote over what the first had noted down."""
    upload(M1, FIRST)
    interrupted(teacher, 3, signal.SIGKILL)
    interrupted(teacher, 1, signal.SIGKILL, THIRD)
    upload(M1, THIRD)
    assert len(sent(teacher)) == 3 + 3 + 1 + 2


_MOGRADER = """import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("mograder", run_name="__main__")
"""
"""The command, also where Ctrl-C is ignored and this is inherited: in the background of a shell."""


def interrupted(
    teacher: CourseSetup, at: int, number: signal.Signals, grades: str = SECOND
) -> None:
    """Send marks, and end the process when Moodle has saved one of them and not answered."""
    begun = threading.Event()
    process: list[subprocess.Popen[bytes]] = []

    def kill(reply: Reply) -> Reply:
        begun.wait()
        process[0].send_signal(number)
        process[0].wait()
        return replace(reply, cut=0)

    teacher.moodle.between = at_save(at, kill)
    Path("g.csv").write_text(grades)
    before = len(sent(teacher))
    command = [sys.executable, "-c", _MOGRADER, "moodle", "upload-feedback", str(M1)]
    process.append(
        subprocess.Popen(
            [*command, "--grades-csv", "g.csv", "--map", "students.csv"],
            env=dict(os.environ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    )
    begun.set()
    assert process[0].wait() != 0
    teacher.moodle.between = None
    assert len(sent(teacher)) == before + at


def test_a_question_that_fails_once_is_asked_again(teacher: CourseSetup) -> None:
    """L11: one 500 on a read ended the command."""
    answers = [Reply(500, "text/html", b"<html>"), None]

    def once(reply: Reply) -> Reply:
        return (answers.pop(0) if answers else None) or reply

    teacher.moodle.between = once
    upload(C1, "student,mark,feedback\nalice,60,one\nbsmith,45,mine\n", "--dry-run")
