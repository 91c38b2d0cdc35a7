"""The preview by the address that instructors know from 0.3.16.

See compatibility-0.3.16.md 2.3, ``/view-as``.
"""

from __future__ import annotations

import pytest

from tests.support.hub_app import Hub
from tests.support.hub_copies import ask, read


@pytest.mark.parametrize(
    ("query", "leads"),
    [
        ("role=student", "/?as=student"),
        (
            "role=student&as_of=2026-10-05T09:00",
            "/?as=student&at=2026-10-05T08%3A00%3A00%2B00%3A00",
        ),
        (
            "role=student&as_of=2026-10-05T09:00Z",
            "/?as=student&at=2026-10-05T09%3A00%3A00%2B00%3A00",
        ),
        ("role=", "/"),
    ],
)
async def test_it_leads_an_instructor_to_the_preview(hub: Hub, query: str, leads: str) -> None:
    """A time without a zone is London's; and no cookie is set, since a link must change nothing."""
    answer = await ask(hub, "GET", f"/view-as?{query}", user="prof")
    assert (answer.status_code, answer.headers["location"]) == (303, leads)
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    page = await read(hub, answer.headers["location"], "prof")
    assert ("The course as a student sees it" in page) == ("as=student" in leads)


async def test_it_is_for_nothing_else(hub: Hub) -> None:
    for query in ("role=marker", "role=student&as_of=yesterday", "role=student&as_of=9999-12-31"):
        assert (await ask(hub, "GET", f"/view-as?{query}", user="prof")).status_code == 400
