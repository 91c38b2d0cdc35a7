"""``mograder moodle`` as an ordinary teacher uses it, against the recorded Moodle."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import sqlite3
import stat
import tomllib
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mograder.store.gradebook import gradebook
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import MarkEntry, Penalty
from tests.support.command_line import cli
from tests.support.gradebooks import AT, FAIR, a_run, put_penalty
from tests.support.moodle.replay import Reply, Request
from tests.support.moodle.teacher import SUPPLIED, CourseSetup

RAW = Path(__file__).parent.parent / "data" / "moodle" / "raw"
GRADES = (
    "student,mark,feedback,feedback_format\n"
    'alice,"87,5","<p>Bien joué — <b>87.5</b> &amp; more</p>",html\n'
    "bob@example.edu,55,,\n"
    "carol,,only feedback,\n"
)
CHANGES = (
    "  alice   changed    - -> 87.50, comment, 1 file\n"
    "  bsmith  changed    - -> 55.00\n"
    "  carol   changed    comment\n"
    "A1. Introduction: 3 changed.\n"
)


def test_an_ordinary_teachers_way_from_sync_to_verified_grades(teacher: CourseSetup) -> None:
    """Sync, sync-users, fetch-submissions, upload-feedback, verify."""
    for name in ("A1-Introduction", "A2-Optimisation"):
        (teacher.course / "source" / name).mkdir(parents=True)
    assert "  updated: A1. Introduction\n" in cli("moodle sync").out
    text = (teacher.course / "mograder.toml").read_text()
    assert text.startswith('# Our course.\ntitle = "SciML 101"  # for students\n')
    assert tomllib.loads(text)["moodle"] == {"course_id": 2, "url": teacher.moodle.url}

    assert "Wrote 4 users" in cli("moodle sync-users --map students.csv").out
    fetched(teacher, cli("moodle fetch-submissions A1").out)

    write_feedback(teacher)
    upload = ["moodle", "upload-feedback", "A1", "--grades-csv", "grades.csv"]
    assert cli(*upload, "--dry-run").out == f"{CHANGES}Dry run — nothing was sent.\n"
    assert teacher.asked("mod_assign_save_grade") == []
    printed = cli(*upload)
    assert printed.out == (
        f"{CHANGES}Moodle was asked again: it holds what is listed as changed.\n"
    )

    teacher.sign_in("alice")
    told = cli("moodle feedback A1 -o mine").out
    assert "Grade: 87.50 / 100.00\nFeedback:\n  Bien joué — 87.5 & more\n" in told
    assert (teacher.course / "mine" / "alice_feedback.html").read_text() == "<h1>Feedback é</h1>"


def fetched(teacher: CourseSetup, told: str) -> None:
    """The files and the output of a first fetch."""
    submitted = teacher.course / "submitted" / "A1-Introduction"
    assert told.splitlines()[-1] == f"3 fetched, 1 skipped: {submitted}"
    assert "  dora    skipped    nothing handed in\n" in told
    assert (submitted / "alice.py").read_bytes() == b'# alice v2\nx = "\xc3\xa9"\n'
    assert (submitted / "alice.files" / "helper.py").read_bytes() == next(iter(SUPPLIED.values()))
    assert (submitted / "carol.py").read_bytes() == b'# carol\nx = "\xc3\xa9"\n'
    assert json.loads((submitted / ".fetch_metadata.json").read_text()) == {
        "alice": 1795156303,
        "bsmith": 1795156305,
        "carol": 1795156304,
    }


def write_feedback(teacher: CourseSetup) -> None:
    """Grade as recordings 155, 158 and 164 do: with a file, without words, with words only."""
    (teacher.course / "grades.csv").write_text(GRADES)
    folder = teacher.course / "feedback" / "A1-Introduction" / "alice"
    folder.mkdir(parents=True)
    (folder / "alice_feedback.html").write_text("<h1>Feedback é</h1>", encoding="utf-8")


def test_sync_is_repeatable_and_tells_what_it_did(teacher: CourseSetup) -> None:
    assert cli("moodle sync --dry-run").out.endswith("Dry run — nothing was changed.\n")
    assert "cmid" not in (teacher.course / "mograder.toml").read_text()
    printed = cli("moodle sync --include A1.,a2*")
    assert printed.out == (
        "  new: A2. Optimisation\n"
        "  updated: A1. Introduction\n"
        "Synced 2 assignments to mograder.toml.\n"
    )
    before = (teacher.course / "mograder.toml").read_text()
    assert "A3. Blind & hidden" in before
    told = cli("moodle sync --include A1.,a2* --json").json
    assert (told["new"], told["updated"]) == ([], [])
    assert [each["id"] for each in told["assignments"]] == [1, 2]
    assert (teacher.course / "mograder.toml").read_text() == before
    cli("moodle sync --include exam", status=3)
    printed = cli("moodle sync --include A1.,Z*")
    assert printed.out.endswith("mograder.toml is up to date (1 assignment).\n")
    assert "Warning: no assignment on Moodle matches Z*.\n" in printed.err


def test_sync_takes_the_regular_expressions_of_0_3_16(teacher: CourseSetup) -> None:
    """They are tried where no name holds the text or matches it with * and ?."""
    for pattern in ("^A[1-2]", "A1|A2", r"^A[12]\.\s\w{5,}"):
        told = cli("moodle", "sync", "--dry-run", "--json", "--include", pattern).json
        assert [each["id"] for each in told["assignments"]] == [1, 2], pattern
    told = cli("moodle", "sync", "--include", "A1(", status=3)
    assert "No assignment on Moodle matches A1(." in told.err


def test_sync_begins_a_course_that_has_no_file_yet(teacher: CourseSetup) -> None:
    """A teacher of one course on Moodle need not look up its number (recording 56)."""
    (teacher.course / "mograder.toml").unlink()
    printed = cli("moodle sync")
    assert printed.out.endswith(
        "  hidden from students, not added: A6. Hidden draft\n"
        "Synced 6 assignments to mograder.toml.\n"
    )
    read = tomllib.loads((teacher.course / "mograder.toml").read_text())
    assert read["moodle"] == {"url": teacher.moodle.url, "course_id": 2}
    assert [each["id"] for each in read["assignments"]] == [1, 2, 3, 4, 5, 7]


def test_sync_keeps_a_hidden_assignment_that_is_in_the_file_and_adds_it_if_asked(
    teacher: CourseSetup,
) -> None:
    """The file is handed to students, who would read of A6."""

    def synced() -> dict[int, str]:
        read = tomllib.loads((teacher.course / "mograder.toml").read_text())
        return {each["id"]: each.get("title", "") for each in read["assignments"] if "id" in each}

    cli("moodle sync --hidden")
    assert set(synced()) == {1, 2, 3, 4, 5, 6, 7}
    file = teacher.course / "mograder.toml"
    file.write_text(file.read_text().replace("id = 6\n", 'id = 6\ntitle = "Mine"\n'))
    cli("moodle sync")
    assert synced()[6] == "Mine"


def test_fetching_again_fetches_what_has_changed_and_keeps_what_was_there(
    teacher: CourseSetup,
) -> None:
    cli("moodle fetch-submissions A1 -o in --map students.csv")
    alice = teacher.course / "in" / "alice.py"
    alice.write_text("a teacher's own note")
    assert cli("moodle fetch-submissions A1 -o in").out.endswith("3 unchanged, 1 skipped: in\n")
    assert alice.read_text() == "a teacher's own note"
    told = {
        each["student"]: each["result"]
        for each in cli("moodle fetch-submissions A1 -o in --force --json").json
    }
    assert told == {"alice": "fetched", "bsmith": "fetched", "carol": "fetched", "dora": "skipped"}
    assert alice.read_bytes().startswith(b"# alice v2")
    (kept,) = (teacher.course / "in" / ".replaced").glob("*/alice.py")
    assert kept.read_text() == "a teacher's own note"
    assert stat.S_IMODE(alice.stat().st_mode) == 0o600


def test_without_usernames_files_are_called_by_email_and_a_note_says_so(
    teacher: CourseSetup,
) -> None:
    """Works for an ordinary teacher; grades find their way back by the same name."""
    told = cli("moodle fetch-submissions A1")
    assert "  alice@example.edu  fetched" in told.out
    assert "moodle/user:viewalldetails" in told.err
    submitted = teacher.course / "submitted" / "A1-Introduction"
    assert (submitted / "carol@example.edu.py").is_file()
    (teacher.course / "g.csv").write_text("student,mark,feedback\nbob@example.edu,55,\n")
    printed = cli("moodle upload-feedback A1 --grades-csv g.csv --dry-run")
    assert "  bob@example.edu  changed    - -> 55.00\n" in printed.out


def test_anonymous_work_is_called_by_participant(teacher: CourseSetup) -> None:
    """Recordings 129, 134: blind marking shows real ids, and we do not."""
    told = cli("moodle fetch-submissions A3 --dry-run")
    assert "  Participant-1  fetched" in told.out
    assert "alice" not in told.out + told.err
    assert not (teacher.course / "submitted").exists()


@pytest.mark.parametrize(
    ("grades", "told", "status"),
    [
        ("student,mark\nalice,abc\n", "line 2 (alice): 'abc' is not a mark", 2),
        ("student,mark\nalice,-1\n", "line 2 (alice): '-1' is not a mark", 2),
        ("a,b\n", "is not a file of grades", 2),
        ("student,mark\nzoe,5\n", "Nobody on Moodle matches: zoe.", 3),
    ],
)
def test_grades_that_cannot_be_meant_are_refused_before_anything_is_sent(
    teacher: CourseSetup, grades: str, told: str, status: int
) -> None:
    """Recordings 160 to 173: Moodle would drop them without a word."""
    (teacher.course / "g.csv").write_text(grades)
    assert told in cli("moodle upload-feedback A1 --grades-csv g.csv", status=status).err
    assert teacher.asked("mod_assign_save_grade") == []


def test_a_mark_above_the_maximum_is_skipped_and_ends_with_1(teacher: CourseSetup) -> None:
    """Recording 160: 150 of 100 is answered null, the grade dropped, the comment kept."""
    (teacher.course / "g.csv").write_text("student,mark,feedback\nalice,150,x\nzoe,1,\n")
    upload = ["moodle", "upload-feedback", "A1", "--grades-csv", "g.csv", "--map", "students.csv"]
    alice, zoe = cli(*upload, "--json", status=1).json
    assert (alice["student"], alice["result"]) == ("alice", "skipped")
    assert "above the maximum" in alice["why"]
    assert (zoe["result"], zoe["why"]) == (
        "skipped",
        "takes no part in this assignment on Moodle",
    )
    assert teacher.asked("mod_assign_save_grade") == []


def test_nothing_is_sent_before_it_can_be_noted_down(
    teacher: CourseSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a note an interrupted upload is taken for another person's change."""
    cli("moodle sync-users --map students.csv")
    write_feedback(teacher)
    monkeypatch.setattr(gradebook, "_WAIT_SECONDS", 0.0)
    with (teacher.course / "gradebook.db.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        printed = cli("moodle upload-feedback A1 --grades-csv grades.csv", status=75)
    assert "Another program holds gradebook.db.lock." in printed.err
    assert teacher.asked("mod_assign_save_grade") == []


def test_export_fills_the_worksheet_and_packs_the_feedback(teacher: CourseSetup) -> None:
    """import/<a>.csv, Full name_PID_assignsubmission_file_/<student>.html.

    See compatibility-0.3.16.md 9.
    """
    (teacher.course / "import").mkdir()
    worksheet = teacher.course / "import" / "A1.csv"
    assert "Download grading worksheet" in cli("moodle export A1", status=3).err
    worksheet.write_bytes((RAW / "worksheet-A1-identity.csv").read_bytes())
    (teacher.course / "g.csv").write_text("student,mark,feedback\nalice,90.5,fine\nzoe,1,\n")
    pages = teacher.course / "feedback" / "A1"
    pages.mkdir(parents=True)
    (pages / "bob.html").write_text("<p>b")
    told = cli("moodle export A1 --grades-csv g.csv").out
    assert "  skipped: zoe: not in the worksheet\n" in told
    assert "Wrote export/A1.csv: 1 rows changed, 0 unchanged.\n" in told
    assert "Wrote export/A1-feedback.zip: 1 feedback files.\n" in told
    filled = (teacher.course / "export" / "A1.csv").read_text("utf-8-sig")
    (alice,) = (line for line in filled.splitlines() if line.startswith("Participant 8,"))
    assert ",90.50,100.00,Yes," in alice
    assert alice.endswith(",fine")
    assert teacher.moodle.requests == []


def test_export_writes_into_the_course_from_any_directory_in_it(
    teacher: CourseSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marks lay in source/export, which was an item of the course from then on."""
    (teacher.course / "g.csv").write_text("student,mark\nalice,12\n")
    source = teacher.course / "source"
    source.mkdir(exist_ok=True)
    monkeypatch.chdir(source)
    worksheet = str(RAW / "worksheet-A1-identity.csv")
    export = ["moodle", "export", "A1", "--worksheet", worksheet, "--grades-csv", "../g.csv"]
    written = teacher.course.resolve() / "export" / "A1.csv"
    assert f"Wrote {written}: " in cli(*export).out
    assert written.is_file()
    assert list(source.iterdir()) == []
    assert "Wrote here/A1.csv: " in cli(*export, "-o", "here").out


def test_export_never_takes_the_place_of_the_files_that_it_reads(teacher: CourseSetup) -> None:
    """Marks that were filled in, and never uploaded, counted as Moodle's in the next export."""
    worksheet = (RAW / "worksheet-A1-identity.csv").read_bytes()
    for place in ("import", "export", "elsewhere"):
        (teacher.course / place).mkdir()
    for place in ("import", "export"):
        (teacher.course / place / "A1.csv").write_bytes(worksheet)
    (teacher.course / "elsewhere" / "A1.csv").write_text("student,mark\nalice,12\n")
    (teacher.course / "link").symlink_to("import")
    marks = "moodle export A1 --grades-csv elsewhere/A1.csv"
    for more in ("-o import", "-o link", "--worksheet export/A1.csv", "-o elsewhere"):
        told = cli(f"{marks} {more}", status=2).err
        assert "/A1.csv: results are made of what is there.\nName another directory by -o" in told
    assert (teacher.course / "import" / "A1.csv").read_bytes() == worksheet
    assert (teacher.course / "export" / "A1.csv").read_bytes() == worksheet
    assert "Wrote export/A1.csv: 1 rows changed" in cli(marks).out


def test_a_student_sees_the_earlier_mark_while_a_new_attempt_is_open(teacher: CourseSetup) -> None:
    """211: "No submission yet." hid the mark and the feedback."""
    teacher.at(210)
    teacher.sign_in("bob")
    told = cli("moodle feedback A1").out
    assert "Grade: 40.00 / 100.00 (attempt 1)\nFeedback:\n  try again\n" in told
    assert cli("moodle feedback A1 --json").json["graded_attempt"] == 1


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("A1", "A1"),
        ("1", "A1-Introduction"),
        ("Introduction", "A1-Introduction"),
        ("A1. Introduction", "A1-Introduction"),
        ("Week 1/2: intro", "Week 1_2_ intro"),
        ("Week", "Week 1_2_ intro"),
        ("Week 1", "Week 1"),
    ],
)
def test_exported_files_are_called_as_the_item_or_its_label(
    typed: str, name: str, teacher: CourseSetup
) -> None:
    """The typed text named them, which failed with a slash in it."""
    config = teacher.course / "mograder.toml"
    more = '[[assignments]]\nname = "Week 1/2: intro"\nid = 9\n\n[moodle]'
    config.write_text(config.read_text().replace("[moodle]", more))
    (teacher.course / "g.csv").write_text("student,mark\nalice,12\n")
    worksheet = str(RAW / "worksheet-A1-identity.csv")
    cli("moodle export", typed, "--worksheet", worksheet, "--grades-csv", "g.csv")
    assert [path.name for path in (teacher.course / "export").iterdir()] == [f"{name}.csv"]


def test_export_leaves_and_erases_comments_as_upload_feedback_does(teacher: CourseSetup) -> None:
    """An empty cell erased, and text in angle brackets was lost."""
    worksheet = str(RAW / "worksheet-A1-identity.csv")
    (teacher.course / "g.csv").write_text(
        'student,mark,feedback\nalice,90.5,\nbob,12,"if a<b and c>d: x"\n'
    )
    export = ["moodle", "export", "A1", "--worksheet", worksheet, "--grades-csv", "g.csv"]
    printed = cli(*export)
    text = (teacher.course / "export" / "A1.csv").read_text("utf-8-sig")
    rows = {row["Username"]: row for row in csv.DictReader(text.splitlines())}
    assert (rows["alice"]["Grade"], rows["alice"]["Feedback comments"]) == ("90.50", "89")
    assert set(rows) == {"alice", "bob"}, "the rows of others would change their comments"
    assert rows["bob"]["Feedback comments"] == "if a&lt;b and c&gt;d: x"
    assert "erases" not in printed.out
    shown = cli(*export, "--clear-comments")
    assert "  erases the comment of Alice Ångström: “89   ”\n" in shown.out
    output = cli(*export, "--clear-comments", "--json")
    assert output.json["erased_comments"] == {"Alice Ångström": "89   "}


def test_an_export_tells_of_two_people_with_one_name_apart(teacher: CourseSetup) -> None:
    """One of the two was missing from what was skipped and erased."""
    head = "Identifier,Full name,Username,Grade,Maximum grade,Grade can be changed"
    head += ",Last modified (grade),Feedback comments\n"
    rows = "Participant 7,Anna Meier,anna,,100,Yes,-,Old 7\n"
    rows += "Participant 8,Anna Meier,anna2,,100,Yes,-,Old 8\n"
    (teacher.course / "w.csv").write_text(f"{head}{rows}Participant 9,Bo Ek,bo,,100,No,-,\n")
    (teacher.course / "g.csv").write_text(
        "student,mark,feedback\nanna,1,\nanna2,2,\nbo,3,\nghost,1,\n"
    )
    export = ["moodle", "export", "A1", "--worksheet", "w.csv", "--grades-csv", "g.csv", "--json"]
    told = cli(*export, "--clear-comments").json
    first, second = (f"Anna Meier (Participant-{number})" for number in (7, 8))
    assert told["erased_comments"] == {first: "Old 7", second: "Old 8"}
    assert told["changed"] == [first, second]
    assert set(told["skipped"]) == {"Bo Ek", "ghost"}


def test_rows_of_an_export_are_dated_in_the_zone_of_the_course(teacher: CourseSetup) -> None:
    """On a server in UTC they were hours older than Moodle's grades, and Moodle skipped them."""
    config = teacher.course / "mograder.toml"
    config.write_text(f'timezone = "Pacific/Kiritimati"\n{config.read_text()}')
    (teacher.course / "g.csv").write_text("student,mark\nalice,90.5\n")
    worksheet = str(RAW / "worksheet-A1-identity.csv")
    before = datetime.now(UTC).replace(second=0, microsecond=0)
    cli("moodle export A1 --grades-csv g.csv --worksheet", worksheet)
    text = (teacher.course / "export" / "A1.csv").read_text("utf-8-sig")
    (alice,) = csv.DictReader(text.splitlines())
    dated = f"{alice['Last modified (grade)']} +1400"
    assert before <= datetime.strptime(dated, "%A, %d %B %Y, %I:%M %p %z") <= datetime.now(UTC)


def test_export_matches_by_whatever_column_names_the_students(teacher: CourseSetup) -> None:
    export = ["moodle", "export", "A1", "--worksheet", str(RAW / "worksheet-A1.csv")]
    (teacher.course / "g.csv").write_text("student,mark\nbsmith,12\n")
    assert "--match-column" in cli(*export, "--grades-csv", "g.csv", status=2).err
    (teacher.course / "g.csv").write_text("student,mark\nbob@example.edu,12\n")
    columns = ["--match-column", "Email address", "-o", "out", "--json"]
    printed = cli(*export, "--grades-csv", "g.csv", *columns)
    assert printed.json["changed"] == ["Bob Smith"]


def test_the_gradebook_gives_the_marks_where_no_file_does(teacher: CourseSetup) -> None:
    """Fractional marks are not cut to whole ones, and penalties count.

    See compatibility-0.3.16.md 9.
    """
    with closing(sqlite3.connect(teacher.course / "gradebook.db")) as connection:
        connection.execute(
            "CREATE TABLE submissions "
            "(assignment, student, total_mark, penalty_pct, penalised_mark, feedback)"
        )
        connection.executemany(
            "INSERT INTO submissions VALUES ('A1-Introduction', ?, ?, ?, ?, '')",
            [("alice", 87.5, 10, 78.75), ("bsmith", 12.125, None, None)],
        )
        connection.commit()
    upload = ["moodle", "upload-feedback", "A1", "--map", "students.csv", "--dry-run"]
    told = cli(*upload).out
    assert "  alice   changed    - -> 78.75, comment\n" in told
    assert "  bsmith  changed    - -> 12.125\n" in told


def test_a_penalised_zero_and_an_open_mark_are_sent_as_they_are(teacher: CourseSetup) -> None:
    """0.3.16 sends the raw mark for a zero, and the sum of all assignments."""
    with Gradebook(teacher.course / "gradebook.db") as book:
        for student in ("alice", "bsmith", "carol"):
            book.record_run(a_run(student, FAIR, assignment="A1-Introduction"))
        marks = {"Analysis": MarkEntry(12.5)}
        for student in ("alice", "bsmith"):
            book.record_marks("A1-Introduction", student, marks, marker="mia", at=AT)
        book.record_run(a_run("bsmith", FAIR, assignment="A2-Other"))
        book.record_marks("A2-Other", "bsmith", marks, marker="mia", at=AT)
        late = Penalty(100, 0, 1_795_292_502)
        put_penalty(book, "alice", late, assignment="A1-Introduction")
    upload = ["moodle", "upload-feedback", "A1", "--map", "students.csv", "--dry-run"]
    said = cli(*upload)
    assert "  alice   changed    - -> 0.00, comment\n" in said.out
    assert "  bsmith  changed    - -> 34.6" in said.out
    assert "carol" not in said.out
    assert "Warning: A1-Introduction: carol has no mark: Analysis is not marked yet." in said.err
    (teacher.course / "import").mkdir()
    worksheet = (RAW / "worksheet-A1-identity.csv").read_bytes()
    (teacher.course / "import" / "A1.csv").write_bytes(worksheet)
    assert "1 rows changed" in cli("moodle export A1").out
    filled = (teacher.course / "export" / "A1.csv").read_text("utf-8-sig")
    (alice,) = (row for row in csv.DictReader(io.StringIO(filled)) if "Alice" in row["Full name"])
    assert float(alice["Grade"]) == 0


def test_another_maximum_on_moodle_is_told(teacher: CourseSetup) -> None:
    """18 of 20 here would be 18 of 100 there, without a word from Moodle."""
    with Gradebook(teacher.course / "gradebook.db") as book:
        run = a_run("alice", {"Q1": 18.0}, assignment="A1-Introduction", marks={"Q1": 20.0})
        book.record_run(run)
    expected = (
        "Warning: A1-Introduction is marked out of 20 here, and out of 100 on Moodle, which takes "
        "the marks as they are. Make the two equal.\n"
    )
    said = cli("moodle upload-feedback A1 --map students.csv --dry-run")
    assert said.err == expected
    assert "  alice  changed    - -> 18" in said.out
    worksheet = str(RAW / "worksheet-A1-identity.csv")
    assert cli("moodle export A1 --worksheet", worksheet).err == expected


def test_deductions_on_moodle_beside_ours_are_told(
    teacher: CourseSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = teacher.moodle.answer

    def altered(request: Request) -> Reply:
        reply = answer(request)
        return replace(reply, body=reply.body.replace(b'"gradepenalty":0', b'"gradepenalty":1'))

    upload = ["moodle", "upload-feedback", "A1", "--grades-csv", "g.csv", "--map", "students.csv"]
    grades = teacher.course / "g.csv"
    grades.write_text("student,mark,penalty_pct,penalised_mark\nalice,50,10,45\n")
    assert cli(*upload, "--dry-run").err == ""
    monkeypatch.setattr(teacher.moodle, "answer", altered)
    assert cli(*upload, "--dry-run").err == (
        "Warning: late work on A1-Introduction has a deduction here, and “Grade penalties” are on "
        "in Moodle, which may deduct again. Use one of the two.\n"
    )
    grades.write_text("student,mark,penalty_pct,penalised_mark\nalice,50,,\n")
    assert cli(*upload, "--dry-run").err == ""


@pytest.mark.parametrize("form", ["submissions-A1.zip", "submissions-A1-flat.zip"])
def test_a_zip_that_was_downloaded_by_hand_becomes_the_same_files(
    teacher: CourseSetup, form: str
) -> None:
    """README, Zip: both forms, without web services; the worksheet tells the students apart."""
    fetch = ["moodle", "fetch-submissions", "A1", "--zip", str(RAW / form)]
    assert "  Participant-8  fetched" in cli(*fetch, "-o", "unknown", "--dry-run").out
    assert not (teacher.course / "unknown").exists()
    sheet = ["--worksheet", str(RAW / "worksheet-A1-identity.csv")]
    printed = cli(*fetch, *sheet, "-o", "in")
    assert printed.out == "  alice  fetched\n  carol  fetched\n2 fetched: in\n"
    found = sorted(str(p.relative_to("in")) for p in Path("in").rglob("*") if p.is_file())
    assert found == ["alice.files/helper.py", "alice.py", "carol.py"]
    assert (teacher.course / "in" / "alice.py").read_bytes() == b'# alice v2\nx = "\xc3\xa9"\n'
    assert teacher.moodle.requests == []


@pytest.mark.parametrize(
    "words",
    [
        ("--worksheet", "students.csv"),
        ("--zip", "students.csv", "--map", "students.csv"),
        ("--zip", "students.csv", "--username-from", "email"),
    ],
)
def test_an_option_that_would_name_nobody_is_refused(
    teacher: CourseSetup, words: tuple[str, ...]
) -> None:
    assert "who is who in" in cli("moodle fetch-submissions A1", *words, status=2).err
    assert teacher.moodle.requests == []
