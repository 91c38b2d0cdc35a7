"""A hostile answer of one student keeps no marker from the answers of the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.hostile_answers import HOSTILE
from tests.support.marking_course import A, MarkingCourse, open_marking_course, submission_of

API = f"/marking/-/api/{A}"


@pytest.fixture
async def course(tmp_path: Path) -> AsyncIterator[MarkingCourse]:
    """One submission for each hostile answer, as code and as an essay, beside two honest ones."""
    async with open_marking_course(tmp_path / "course", "alice", "bob") as course:
        for number, code in enumerate(HOSTILE):
            lines = code.replace("\n", "\n    ")
            course.grade(f"code{number}", submission_of().replace("area = 3.1", lines))
            course.grade(f"text{number}", submission_of(f"{code} [" + "$" * 99 + "*_[(<" * 99))
        yield course


@pytest.mark.full  # seconds
async def test_every_page_and_list_of_marking_answers(course: MarkingCourse) -> None:
    lists = [
        (f"{API}/{part}", {"question": question})
        for question in ("Q1", "Essay", "Q4")
        for part in ("queue", "groups")
    ]
    pages: list[tuple[str, dict[str, str]]] = [
        (f"/marking/{A}", {}),
        (f"/marking/{A}/questions/Essay", {}),
    ]
    pages += [(f"/marking/{A}/similarity", {}), (f"/marking/{A}/release", {}), ("/marking", {})]
    for address, query in (*lists, *pages):
        response = await course.ask("GET", address, "prof", params=query)
        assert response.status_code == 200, (address, response.text[:2000])
    for student in course.students:
        for question in ("Q1", "Essay"):
            response = await course.ask("GET", course.at(student, question))
            assert response.status_code == 200, (student, response.text[:2000])
        page = await course.ask("GET", f"/marking/{A}/release/{student}", "prof")
        assert page.status_code == 200, (student, page.text[:2000])
