"""Statistics and similar submissions, through the hub and by their commands."""

from __future__ import annotations

from asyncio import to_thread
from pathlib import Path

import pytest

from mograder.store.marking.similarity_verdicts import SimilarityVerdicts
from tests.support.command_line import cli
from tests.support.gradebooks import AT
from tests.support.hub_app import opened
from tests.support.marking_course import SOURCE, A, MarkingCourse, course
from tests.support.similar_submissions import copied, honest

__all__ = ["course"]

PAGES = f"/marking/{A}"
EVIL = "</code><script>alert(1)</script>"


@pytest.fixture
def copies(course: MarkingCourse) -> MarkingCourse:
    """Two honest students, and ``eve``, who handed in a changed copy of ``alice``'s work."""
    one = honest(1)
    texts = {"alice": one, "bob": honest(2), "eve": copied(one, 3) + f"# {EVIL}\n"}
    submitted = course.hub.course / "submitted" / A
    submitted.mkdir(parents=True, exist_ok=True)
    for student, text in texts.items():
        (submitted / f"{student}.py").write_text(text)
    with course.book() as book:
        book.put_students({"alice": "Alice <b>Bold</b>"})
    return course


async def page(course: MarkingCourse, path: str, user: str = "prof") -> str:
    response = await course.ask("GET", f"{PAGES}/{path}", user)
    assert response.status_code == 200, response.text
    return response.text


async def test_statistics_tell_the_marks_the_questions_and_the_checks(
    course: MarkingCourse,
) -> None:
    course.grade("bob", points=10, later=5)
    for student, points in (("alice", 4), ("bob", 8), ("eve", 6)):
        await course.saved(student, points=points)
        await course.saved(student, "Q4", points=5)
    html = await page(course, "statistics")
    assert 'role="img"' in html
    assert "<desc" in html
    assert "21 to 24: 2; 24 to 27: 0; 27 to 30: 1." in html  # 21.5, 23.5 and 28
    assert "Discrimination" in html
    assert "Q1: area" in html
    csv = await course.ask("GET", f"{PAGES}/statistics.csv", "prof")
    assert csv.headers["content-type"].startswith("text/csv")
    assert 'filename="hw1-statistics.csv"' in csv.headers["content-disposition"]
    rows = [line.split(",") for line in csv.text.splitlines()]
    assert [row[:4] for row in rows[1:]] == [
        ["Q1", "10", "3", "8.33"],
        ["Q2", "5", "3", "5"],
        ["Essay", "10", "3", "6"],
        ["Q4", "5", "3", "5"],
    ]


async def test_statistics_follow_a_new_mark(course: MarkingCourse) -> None:
    assert "No student has a total yet." in await page(course, "statistics")
    for question in ("Essay", "Q4"):
        await course.saved("alice", question, points=5)
    assert "22.5 of 30" in await page(course, "statistics")


async def test_similar_submissions_lead_to_their_lines(copies: MarkingCourse) -> None:
    html = await page(copies, "similarity")
    assert f'href="{PAGES}/similarity/alice/eve"' in html
    assert "bob" not in html
    assert "A share proves nothing." in html
    assert "Alice &lt;b&gt;Bold&lt;/b&gt; (alice)" in html
    pair = await page(copies, "similarity/alice/eve")
    assert "Match 1" in pair
    assert '<li value="' in pair
    assert 'class="alike"' in pair
    assert "&lt;script&gt;" in pair
    assert "<script>" not in pair
    assert await page(copies, "similarity/eve/alice") == pair
    refused = await copies.ask("GET", f"{PAGES}/similarity/alice/bob", "prof")
    assert refused.status_code == 404
    assert ("prof", "compare submissions", f"alice+eve/{A}", "ok") in copies.hub.audit()


async def test_the_release_is_not_similar(course: MarkingCourse) -> None:
    """Three equal submissions of little more than the teacher's text are no pair."""
    assert "No two submissions are similar." in await page(course, "similarity")
    (course.hub.course / "source" / A / f"{A}.py").write_text(SOURCE.replace("My", "Our"))
    assert "No two submissions are similar." in await page(course, "similarity")


async def test_a_verdict_is_kept_with_its_history(copies: MarkingCourse) -> None:
    address = f"{PAGES}/similarity/eve/alice"
    for verdict, note in (("chance", ""), ("copied", "Eve <i>says</i> so.")):
        form = {"verdict": verdict, "note": note}
        sent = await copies.ask("POST", address, "prof", data=form)
        assert sent.status_code == 303, sent.text
    html = await page(copies, "similarity/alice/eve")
    assert html.index("Eve &lt;i&gt;says&lt;/i&gt; so.") < html.index("<strong>By chance</strong>")
    assert "Copied <span" in await page(copies, "similarity")
    assert ("prof", "verdict: copied", f"eve+alice/{A}", "ok") in copies.hub.audit()
    await copies.ask("POST", address, "prof", data={"verdict": "open"})
    with copies.book() as book:
        pair = ("alice", "eve")
        SimilarityVerdicts(book).give("other", pair, "allowed", note="", by="prof", at=AT)
    assert "to look at" in await page(copies, "similarity"), "it is about another assignment"


async def test_a_verdict_that_cannot_be_is_refused(copies: MarkingCourse) -> None:
    for path, form, status in (
        ("alice/eve", {"verdict": "guilty"}, 400),
        ("alice/eve", {}, 400),
        ("alice/eve", {"verdict": "copied", "note": "x" * 2001}, 400),
        ("alice/nobody", {"verdict": "copied"}, 404),
        ("alice/alice", {"verdict": "copied"}, 404),
    ):
        sent = await copies.ask("POST", f"{PAGES}/similarity/{path}", "prof", data=form)
        assert sent.status_code == status, (path, form)
    assert "to look at" in await page(copies, "similarity")


async def test_an_assignment_without_submissions_has_no_reports(course: MarkingCourse) -> None:
    for path in ("statistics", "statistics.csv", "similarity", "similarity/a/b"):
        answer = await course.ask("GET", f"/marking/other/{path}", "prof")
        assert answer.status_code == 404, path


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("statistics", "The marks and results are being read."),
        ("similarity", "The submissions are being read and compared."),
        ("similarity/alice/eve", "The submissions are being read and compared."),
    ],
)
async def test_a_page_that_takes_long_says_so_and_looks_again(
    copies: MarkingCourse, path: str, told: str
) -> None:
    reports = opened(copies.hub.app).marking.reports
    reports.patience_seconds = 0
    html = await page(copies, path)
    assert told in html
    assert 'data-again="3"' in html
    assert '<noscript><a class="button main" href="">Look again</a></noscript>' in html
    assert "http-equiv" not in html
    reports.patience_seconds = 60
    assert told not in await page(copies, path)


async def test_the_commands_tell_the_same(copies: MarkingCourse, tmp_path: Path) -> None:
    await copies.ask("POST", f"{PAGES}/similarity/alice/eve", "prof", data={"verdict": "allowed"})
    where = ["--course-dir", str(copies.hub.course)]
    told = (await to_thread(cli, "similarity", A, "--csv", str(tmp_path / "p.csv"), *where)).out
    assert "alice and eve: " in told
    assert "[allowed: no note]" in told
    assert "A share proves nothing" in told
    assert (tmp_path / "p.csv").read_text().splitlines()[1].startswith("alice,eve,")
    found = (await to_thread(cli, "similarity --json", A, *where)).json
    assert [pair["students"] for pair in found["pairs"]] == [["alice", "eve"]]
    csv = str(tmp_path / "s.csv")
    shown = (await to_thread(cli, "gradebook statistics", A, "--csv", csv, *where)).out
    assert "Essay" not in shown  # no mark yet
    assert (tmp_path / "s.csv").read_text("utf-8-sig").startswith("question,available,students")
