"""The endpoints of drafts: who may, bounds, preconditions."""

from __future__ import annotations

import hashlib

import httpx

from mograder.store.assignment_server.drafts import DRAFT_LIMIT
from tests.support.assignment_app import Course
from tests.support.fake_disks import FailingDisk

PATH = "/assignments/hw1/draft?user=alice"
FIRST = {"If-None-Match": "*"}


async def put(
    course: Course, text: bytes, headers: dict[str, str], user: str | None = "alice"
) -> httpx.Response:
    return await course.ask("PUT", PATH, user, headers=headers, content=text)


async def test_a_draft_is_kept_and_given_back(course: Course) -> None:
    nothing = await course.ask("GET", PATH, "alice")
    empty = {"tag": None, "version": 0, "saved": None, "sha256": None, "text": None}
    assert nothing.json() == empty
    saved = await put(course, b"x = 1\n", FIRST)
    tag = saved.json()["tag"]
    assert saved.headers["etag"] == f'"{tag}"'
    found = (await course.ask("GET", PATH, "alice")).json()
    assert (found["text"], found["version"], found["tag"]) == ("x = 1\n", 1, tag)
    course.restart()
    again = await put(course, b"x = 2\n", {"If-Match": f'"{tag}"'})
    assert again.json()["version"] == 2


async def test_a_newer_version_is_never_overwritten_in_silence(course: Course) -> None:
    first = (await put(course, b"x = 1\n", FIRST)).json()
    for headers in (FIRST, {"If-Match": '"1-feedfeedfeedfeed"'}):
        refused = await put(course, b"x = 2\n", headers)
        assert refused.status_code == 412
        assert (refused.json()["tag"], refused.json()["reason"]) == (first["tag"], "changed")
    assert (await put(course, b"x = 2\n", {})).status_code == 428
    assert (await course.ask("GET", PATH, "alice")).json()["text"] == "x = 1\n"


async def test_bounds(course: Course) -> None:
    large = await put(course, b"x" * (DRAFT_LIMIT + 1), FIRST)
    assert large.status_code == 413
    assert (await put(course, b"\xff", FIRST)).status_code == 400
    nowhere = await course.ask("PUT", "/assignments/no/draft?user=alice", "alice", headers=FIRST)
    assert nowhere.status_code == 404


async def test_a_disk_that_is_full_at_an_items_first_draft_is_told(course: Course) -> None:
    await course.ask("GET", PATH, "alice")
    course.disk = FailingDisk(0, full=True)
    course.restart()
    answer = await put(course, b"x = 1\n", FIRST)
    assert answer.status_code == 503
    assert "disk is full" in answer.json()["error"]


async def status(course: Course, user: str) -> dict[str, object]:
    """Alice's status, as this person is told it."""
    answer = await course.ask("GET", "/assignments/hw1/status?user=alice&detail=1", user)
    found: dict[str, object] = answer.json()
    return found


async def test_the_status_tells_the_owner_alone_of_the_draft(course: Course) -> None:
    assert (await status(course, "alice"))["draft"] == {
        "tag": None,
        "version": 0,
        "saved": None,
        "sha256": None,
    }
    saved = (await put(course, b"x = 1\n", FIRST)).json()
    assert saved["sha256"] == hashlib.sha256(b"x = 1\n").hexdigest()
    assert (await status(course, "alice"))["draft"] == saved
    assert "draft" not in await status(course, "prof")
    plain = await course.ask("GET", "/assignments/hw1/status?user=alice", "alice")
    assert "draft" not in plain.json()


async def test_a_damaged_draft_does_not_hide_the_status(course: Course) -> None:
    await put(course, b"x = 1\n", FIRST)
    (course.root / ".mograder" / "drafts" / "hw1" / "alice.json").write_text("{")
    assert (await course.ask("GET", PATH, "alice")).status_code == 500
    found = await status(course, "alice")
    assert found["status"] == "new"
    assert "draft" not in found
