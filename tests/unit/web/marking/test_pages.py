"""The page on which people mark: what it holds by itself, and the cells that its script gets."""

from __future__ import annotations

import json
import re

import pytest

from mograder.grading.marking.shown_work import WorkCell
from mograder.web.marking.api_answers import cells_json
from mograder.web.pages import load_pages
from tests.support.hub_copies import read, see
from tests.support.marking_course import A, MarkingCourse, course

__all__ = ["course"]

_WORDS = re.compile(r'word\((?:"(\w+)"|[^"]* \? "(\w+)" : "(\w+)")')
"""The words that a script asks for; of a condition both."""


@pytest.mark.parametrize("path", ["questions/Essay", "answers/0123456789abcdef"])
async def test_the_page_names_no_student_and_frames_only_ours(
    course: MarkingCourse, path: str
) -> None:
    answer = await see(course.hub, f"/marking/{A}/{path}", "mia")
    assert answer.status_code == 200
    assert not re.search(r"\b(alice|bob|eve)\b", answer.text)
    policy = answer.headers["content-security-policy"]
    assert policy.endswith("; frame-src 'self'")
    assert "'unsafe" not in policy
    assert "<script>" not in answer.text
    assert 'data-marker="mia"' in answer.text


async def test_a_key_with_any_characters_has_a_page(course: MarkingCourse) -> None:
    page = await read(course.hub, f"/marking/{A}/questions/~=PGI-Jm9uZQ", "mia")
    assert "&lt;b&gt;&amp;one" in page
    assert "<b>&one" not in page


async def test_the_page_has_every_word_that_its_scripts_say(course: MarkingCourse) -> None:
    page = await read(course.hub, f"/marking/{A}/questions/Essay", "mia")
    _, _, words = page.partition('id="words"')
    known = set(re.findall(r' data-(\w+)="', words))
    scripts = load_pages().static.by_name
    said = {
        word
        for name, file in scripts.items()
        if name.startswith("marking") and name.endswith(".js")
        for found in _WORDS.findall(file.body.decode())
        for word in found
        if word
    }
    assert len(said) > 60
    assert said <= known
    assert known - said <= {"status"}  # that is said by words.js


def test_texts_beyond_a_limit_are_shown_as_they_are() -> None:
    """A student chooses how much Markdown there is, and some of it takes a second a page."""
    cells = [WorkCell(index, "", "", 1, "**x**" + " y" * 9000) for index in range(7)]
    shown = [str(each["html"]) for each in cells_json(cells)]
    assert ["<strong>" in each for each in shown] == [True] * 6 + [False]
    assert shown[6].startswith("<pre>**x** y")


def test_a_text_of_15_million_characters_is_cut() -> None:
    long = "mo.md('" + "&" * 15_000_000
    shown = cells_json([WorkCell(0, "", long, 1, long), *[WorkCell(1, "", "x = 1", 2)] * 9])
    assert len(json.dumps(shown)) < 1_000_000
    assert str(shown[0]["code"]).endswith("\n[14900007 more characters are not shown]")
    assert [each["code"] for each in shown[1:]] == ["x = 1"] * 9


def test_of_many_long_cells_the_first_are_sent() -> None:
    shown = cells_json([WorkCell(index, "", "&" * 90_000, 1) for index in range(100)])
    assert str(shown[4]["code"]) == "&" * 90_000
    assert len(json.dumps(shown)) < 600_000


def test_no_character_of_an_answer_turns_the_direction_of_its_text() -> None:
    (cell,) = cells_json([WorkCell(0, "", "1  # ok \u202e }edoc live{", 1)])
    assert cell["code"] == "1  # ok \ufffd }edoc live{"


def test_half_a_surrogate_pair_in_a_long_text_can_be_sent() -> None:
    (cell,) = cells_json([WorkCell(0, "", "", 1, "\udc80" * 20_001)])
    assert str(cell["html"]).encode()
