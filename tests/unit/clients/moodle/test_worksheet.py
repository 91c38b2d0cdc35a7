"""Moodle's grading worksheet and zips, with files that a real Moodle made.

See compatibility-0.3.16.md 9.
"""

from __future__ import annotations

import io
import zipfile
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mograder.clients.moodle import grading_files
from mograder.clients.moodle.grading_files import (
    COMMENTS,
    GRADE,
    GRADED,
    Entry,
    FeedbackFile,
    Worksheet,
    feedback_zip,
    fill,
    moodle_date,
    parse_worksheet,
    read_submissions,
    render_worksheet,
)
from mograder.clients.moodle.texts import comment_html, mark_text, parse_mark, same_comment
from mograder.core.errors import InvalidInput, TooLarge

RAW = Path(__file__).parents[3] / "data" / "moodle" / "raw"
SHEETS = sorted(RAW.glob("worksheet-*.csv"))
NOW = datetime(2026, 11, 21, 0, 5)  # noqa: DTZ001  # what a clock on the wall shows


def sheet(name: str) -> Worksheet:
    return parse_worksheet((RAW / f"worksheet-{name}.csv").read_bytes())


def zipped(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def cell(sheet: Worksheet, participant: int, column: str) -> str:
    (row,) = (row for row in sheet.rows if row.participant == participant)
    return sheet.cell(row, column)


@pytest.mark.parametrize("path", SHEETS, ids=lambda path: path.stem)
def test_a_worksheet_comes_back_as_it_was(path: Path) -> None:
    """Every cell, every column that this site shows, and the BOM by which Excel knows UTF-8."""
    read = parse_worksheet(path.read_bytes())
    written = render_worksheet(read)
    assert written.startswith(b"\xef\xbb\xbf")
    assert parse_worksheet(written) == read
    assert len(read.rows) == 4


def test_which_columns_there_are_depends_on_the_site_and_the_assignment() -> None:
    identity, workflow, blind = sheet("A1-identity"), sheet("A2"), sheet("A3")
    assert cell(identity, 8, "Username") == "alice"
    assert cell(identity, 8, "ID number") == "s1001"
    assert cell(workflow, 9, "Marking workflow state") == "In marking"
    assert cell(blind, 3, "Full name") == ""
    assert [row.participant for row in blind.rows] == [1, 3, 2, 4]


def test_marks_and_comments_go_into_their_rows_and_nowhere_else() -> None:
    """Recording 266: rows that nobody had touched got new comments, without their markup."""
    before = sheet("A1")
    after = fill(before, {8: Entry(Decimal("90.5"), "well &lt; done"), 6: Entry(Decimal(41))}, NOW)
    assert (after.changed, after.unchanged) == ((8,), (6,))
    assert cell(after.sheet, 8, GRADE) == "90.50"
    assert cell(after.sheet, 8, COMMENTS) == "well &lt; done"
    assert [row.participant for row in after.sheet.rows] == [8]


def test_a_comment_that_stays_is_not_taken_for_html() -> None:
    """Moodle's worksheet has text; what stood in angle brackets was lost at the import."""
    text = (RAW / "worksheet-A1.csv").read_text("utf-8-sig")
    code = parse_worksheet(text.replace('"carol   "', '"if a<b and c>d: x   "').encode())
    alone = fill(code, {7: Entry(Decimal(1)), 8: Entry(Decimal(89))}, NOW)
    assert COMMENTS not in alone.sheet.columns, "Moodle leaves all comments then"
    beside = fill(code, {7: Entry(Decimal(1)), 8: Entry(Decimal(2), "new")}, NOW)
    assert cell(beside.sheet, 7, COMMENTS) == "if a&lt;b and c&gt;d: x"
    ours = comment_html("if a<b and c>d: x")
    same = fill(code, {7: Entry(Decimal(70), ours), 8: Entry(Decimal(2), "new")}, NOW)
    assert same.unchanged == (7,)
    marked = fill(code, {7: Entry(Decimal(71), ours)}, NOW)
    assert cell(marked.sheet, 7, COMMENTS) == ours


def test_a_row_that_changes_gets_a_new_date_or_moodle_would_skip_it() -> None:
    """Recording 268: a date older than the grade that Moodle holds, and the row is skipped."""
    after = fill(sheet("A1"), {8: Entry(Decimal(12))}, NOW)
    assert cell(after.sheet, 8, GRADED) == "Saturday, 21 November 2026, 12:05 AM"


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 11, 20, 7, 31), "Friday, 20 November 2026, 7:31 AM"),  # noqa: DTZ001
        (datetime(2026, 1, 4, 12, 0), "Sunday, 4 January 2026, 12:00 PM"),  # noqa: DTZ001
        (datetime(2026, 7, 1, 23, 59), "Wednesday, 1 July 2026, 11:59 PM"),  # noqa: DTZ001
    ],
)
def test_dates_are_in_moodles_own_words(moment: datetime, text: str) -> None:
    assert moodle_date(moment) == text


def test_filling_twice_changes_nothing_the_second_time() -> None:
    entries = {8: Entry(Decimal("90.5"), "two\nlines"), 5: Entry(None, "no mark yet")}
    once = fill(sheet("A1"), entries, NOW)
    again = fill(parse_worksheet(render_worksheet(once.sheet)), entries, NOW)
    assert (again.changed, set(again.unchanged)) == ((), {8, 5})


def test_a_mark_above_the_maximum_is_refused_since_moodle_would_skip_it_silently() -> None:
    """Recording 270."""
    with pytest.raises(InvalidInput, match=r"Participant 8: 150.00 is more than .* 100.00"):
        fill(sheet("A1"), {8: Entry(Decimal(150))}, NOW)


def test_a_mark_for_a_scale_is_refused_since_moodle_would_skip_it_silently() -> None:
    """It looks for the item of that name; the worksheet has the column of the scale then."""
    scaled = (RAW / "worksheet-A1.csv").read_bytes().replace(b'"Maximum grade"', b"Scale")
    with pytest.raises(InvalidInput, match="graded by a scale"):
        fill(parse_worksheet(scaled), {8: Entry(Decimal(2))}, NOW)
    assert fill(parse_worksheet(scaled), {8: Entry(None, "fine")}, NOW).changed == (8,)


def test_nobody_is_left_out_without_a_word() -> None:
    locked = (RAW / "worksheet-A1.csv").read_bytes().replace(b"100.00,Yes", b"100.00,No", 1)
    filled = fill(parse_worksheet(locked), {8: Entry(Decimal(1)), 99: Entry(Decimal(1))}, NOW)
    assert filled.changed == ()
    assert filled.skipped == {
        8: "Moodle says that its grade cannot be changed",
        99: "not in the worksheet",
    }


def test_a_spreadsheet_may_have_saved_it_with_semicolons_and_without_the_bom() -> None:
    text = (RAW / "worksheet-A3.csv").read_text("utf-8-sig").replace(", ", "§").replace(",", ";")
    read = parse_worksheet(text.replace("§", ", ").encode())
    assert [row.participant for row in read.rows] == [1, 3, 2, 4]
    assert (
        render_worksheet(read).splitlines()[0].endswith(b"Last modified (grade);Feedback comments")
    )


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "no column 'Identifier'"),
        (b"Identifier,Grade\nParticipant 1,2\n", r"no column 'Last modified \(grade\)'"),
        (b"Identifier,Grade,Last modified (grade)\nPeter,1,-\n", "Row 2 .* identifier 'Peter'"),
        (b"Identifier,Grade,Last modified (grade)\nParticipant 1,1\n", "Row 2 .* 2 cells for 3"),
        (b"Identifier,Grade,Last modified (grade),Grade\n", "two columns of one name"),
        (b'Identifier,Grade,Last modified (grade)\n"Participant 1', "no CSV"),
        ("Identifier,Grade,Last modified (grade)\nß".encode("latin-1"), "not UTF-8"),
        (
            b"Identifier,Grade,Last modified (grade)\nParticipant 1,1,-\nParticipant 1,1,-\n",
            "Participant 1 is in the worksheet twice",
        ),
    ],
)
def test_what_is_no_worksheet_is_refused_with_the_place(data: bytes, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        parse_worksheet(data)


@pytest.mark.parametrize(
    ("text", "mark"),
    [("71.5", "71.5"), ("71,5", "71.5"), (" 8 ", "8"), ("", None), ("-", None), ("0", "0")],
)
def test_a_mark_may_have_a_decimal_comma(text: str, mark: str | None) -> None:
    assert parse_mark(text) == (None if mark is None else Decimal(mark))


@pytest.mark.parametrize("text", ["abc", "1,234.5", "-5", "1e2", "nan", "7 1", "71%"])
def test_what_moodle_would_misread_is_no_mark(text: str) -> None:
    """Recording 270: Moodle imports "abc" as 0 and "71,5" as 71."""
    with pytest.raises(InvalidInput, match="is not a mark"):
        parse_mark(text)


@given(st.decimals(0, 1000, places=5))
def test_a_mark_survives_being_written(mark: Decimal) -> None:
    assert parse_mark(mark_text(mark)) == mark


def test_a_comment_becomes_html_that_moodle_keeps() -> None:
    """Recordings 332 to 365: NUL is refused, `<details>` is stripped with its line breaks."""
    assert comment_html("a < b\nc\n\nd & e\x00") == "<p>a &lt; b<br>c</p><p>d &amp; e</p>"
    assert comment_html("if a<b and c>d:\n    x") == (
        "<p>if a&lt;b and c&gt;d:<br>&nbsp;&nbsp;&nbsp; x</p>"
    ), "text in angle brackets is no HTML (Moodle review M3)"
    kept = comment_html("<details open><summary>Q1</summary>fine</details>", is_html=True)
    assert kept == "<div><p><b>Q1</b></p>fine</div>"
    assert comment_html(" \n") == ""


def test_a_backslash_before_a_quote_damages_no_row_in_moodles_reader() -> None:
    """PHP's fgetcsv takes a quotation mark behind a backslash for a part of the cell."""
    comments = {1: 'Write print("a \\"b\\", c").', 2: "No, not \\", 3: '\\\\"', 4: r"\(x^2\)"}
    read = sheet("A1-identity")
    numbers = {at: row.participant for at, row in enumerate(read.rows, start=1)}
    entries = {numbers[at]: Entry(comment=comment_html(text)) for at, text in comments.items()}
    written = render_worksheet(fill(read, entries, NOW).sheet)
    assert b'\\"' not in written
    found = parse_worksheet(written)
    for at, text in comments.items():
        assert same_comment(cell(found, numbers[at], COMMENTS), text)
    assert cell(found, numbers[4], COMMENTS) == r"\(x^2\)"


def test_a_comment_is_the_same_however_moodle_rewrote_it() -> None:
    sent = '<p style="color:red" onclick="x()">a &lt; b <code>x</code></p>\nplain'
    kept = '<p style="color:#FF0000;">a &lt; b <code>x</code></p> plain '
    assert same_comment(sent, kept)
    assert not same_comment(sent, kept.replace("plain", "other"))


@pytest.mark.parametrize("name", ["submissions-A1", "submissions-A1-flat"])
def test_submissions_are_read_from_folders_and_flat(name: str) -> None:
    files = read_submissions((RAW / f"{name}.zip").read_bytes())
    found = {(file.participant, file.person, str(file.path)): file.content for file in files}
    assert found.keys() == {
        (7, "Carol Nguyễn-Łukasz", "étude n°1 – 山田.py"),
        (8, "Alice Ångström", "A1-Introduction.py"),
        (8, "Alice Ångström", "helper.py"),
    }
    assert all(found.values())


def test_a_full_name_that_looks_like_an_entry_is_nobodys() -> None:
    """Without folders, another student may have chosen it."""
    name = "Alice_8_assignsubmission_file_12_assignsubmission_file_a.py"
    (found,) = read_submissions(zipped({name: b"x"}))
    assert found.participant == 0


def test_folders_of_other_submission_plug_ins_do_not_make_a_zip_unusable() -> None:
    """Moodle puts those of every plug-in that is on into the same zip."""
    names = (
        "Alice A_8_assignsubmission_file_/a.py",
        "Alice A_8_assignsubmission_cloud_docs_/a.pdf",
        "Bo_7_assignsubmission_file_12_assignsubmission_file_/b.py",
    )
    files = read_submissions(zipped(dict.fromkeys(names, b"x")))
    read = [(each.participant, each.plugin) for each in files]
    assert read == [(8, "file"), (8, "cloud_docs"), (12, "file")]


def test_a_blind_zip_has_numbers_for_names() -> None:
    files = read_submissions((RAW / "submissions-A3.zip").read_bytes())
    assert [(file.participant, file.person) for file in files] == [
        (3, "Participant"),
        (1, "Participant"),
    ]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"<!DOCTYPE html><html>nothing submitted", "a web page, not a zip"),
        (b"PK\x03\x04 broken", "damaged"),
        (b"", "damaged"),
    ],
)
def test_what_is_no_zip_of_submissions_says_so(data: bytes, problem: str) -> None:
    """Recording 257: nothing submitted is a web page with status 200."""
    with pytest.raises(InvalidInput, match=problem):
        read_submissions(data)


@pytest.mark.parametrize(("bound", "most"), [("_MOST_OF_ONE", 1000), ("_MOST_ZIP_BYTES", 150_000)])
def test_a_bomb_does_not_go_off(bound: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one large file nor many."""
    monkeypatch.setattr(grading_files, bound, most)
    bomb = zipped({f"A B_{n}_assignsubmission_file/x.py": bytes(100_000) for n in (1, 2)})
    with pytest.raises(TooLarge, match="unpacks to more than"):
        read_submissions(bomb)


def test_feedback_goes_back_under_the_participants_number() -> None:
    """Recordings 342 to 347: Moodle goes by the number, 0.3.16 by the underscore.

    See compatibility-0.3.16.md 9.
    """
    files = [
        FeedbackFile(12, "Dora O'Connor", "dora.html", b"d"),
        FeedbackFile(8, "Alice Ångström", "alice.html", b"a"),
    ]
    data = feedback_zip(files)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == [
            "Alice Ångström_8_assignsubmission_file_/alice.html",
            "Dora OConnor_12_assignsubmission_file_/dora.html",
        ]
        assert archive.read(archive.namelist()[0]) == b"a"
    assert feedback_zip(reversed(files)) == data
    assert {file.participant for file in read_submissions(data)} == {8, 12}


def test_feedback_for_a_name_with_an_underscore_arrives() -> None:
    """Moodle splits the folder's name at underscores and takes the second part for the number."""
    data = feedback_zip([FeedbackFile(7, "Anna_Maria Test_1", "a.html", b"a")])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (name,) = archive.namelist()
    assert name.split("_")[1:4] == ["7", "assignsubmission", "file"]


def test_a_long_online_text_comes_back_as_it_was() -> None:
    """One text of more than 128 KiB made the worksheet of the whole class unreadable."""
    data = (
        "\ufeffIdentifier,Online text,Grade,Last modified (grade)\n"
        f'Participant 9,"{"x, " * 70_000}",,-\n'
    ).encode()
    assert render_worksheet(parse_worksheet(data)) == data
