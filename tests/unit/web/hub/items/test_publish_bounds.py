"""An upload is bounded in bytes and files, and half an upload changes nothing (security.md)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from mograder.auth.roles import Role
from tests.support.hub_app import NOTEBOOK, Hub, make_hub

LIMITS = "[limits]\nupload_mb = 1\nupload_files = 3\n"
MEGABYTE = 1024 * 1024


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Hub]:
    """A hub that takes one megabyte in three files."""
    made = make_hub(tmp_path / "course", LIMITS)
    made.publish("A1")
    yield made
    made.close()


async def publish(hub: Hub, *files: tuple[str, bytes]) -> httpx.Response:
    """Publish A1 with the files given."""
    async with hub.client("dana", role=Role.INSTRUCTOR) as client:
        return await client.post("/publish/A1", files=[("files", each) for each in files])


def leftovers(hub: Hub) -> list[Path]:
    """Return the staged files that are not published."""
    return list((hub.course / "hub-release" / ".staging").rglob("*.bin"))


@pytest.mark.parametrize("size", [MEGABYTE + 1000, 3 * MEGABYTE])
async def test_too_many_bytes_are_refused_with_the_bound(small: Hub, size: int) -> None:
    response = await publish(small, ("A1.py", NOTEBOOK.encode()), ("big.bin", b"x" * size))
    assert response.status_code == 413
    assert response.json()["detail"] == "An upload may have at most 1 MB."
    assert leftovers(small) == []


async def test_an_upload_without_a_length_is_bounded_too(small: Hub) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="A1.py"\r\n\r\n'
        while True:
            sent += 65536
            yield b"x" * 65536

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    async with small.client("dana", role=Role.INSTRUCTOR) as client:
        response = await client.post("/publish/A1", content=endless(), headers=headers)
    assert response.status_code == 413
    # The bound, a megabyte that is read so that the answer arrives, and what was under way.
    assert sent <= 3 * MEGABYTE


async def test_too_many_files_are_refused_with_the_bound(small: Hub) -> None:
    files = [(f"f{number}.txt", b"") for number in range(5)]
    response = await publish(small, *files)
    assert response.status_code == 413
    assert response.json()["detail"] == "An upload may have at most 3 files."


async def test_nothing_uploaded_is_refused(small: Hub) -> None:
    async with small.client("dana", role=Role.INSTRUCTOR) as client:
        plain = await client.post("/publish/A1", data={"x": "y"})
        empty = await client.post("/publish/A1", files=[("other", ("A1.py", b""))])
    assert (plain.status_code, empty.status_code) == (400, 400)
    assert "field 'files'" in plain.json()["detail"]
    assert "Nothing was uploaded." in empty.json()["detail"]


async def test_a_body_that_is_no_multipart_form_is_refused(small: Hub) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    async with small.client("dana", role=Role.INSTRUCTOR) as client:
        response = await client.post("/publish/A1", content=b"garbage", headers=headers)
        missing = await client.post(
            "/publish/A1", content=b"", headers={"Content-Type": "multipart/form-data"}
        )
    assert (response.status_code, missing.status_code) == (400, 400)


async def test_a_file_given_twice_is_refused(small: Hub) -> None:
    response = await publish(small, ("A1.py", NOTEBOOK.encode()), ("A1.py", b""))
    assert response.status_code == 400


async def test_a_notebook_that_does_not_parse_leaves_the_old_release(small: Hub) -> None:
    response = await publish(small, ("A1.py", b"import marimo\ndef ("))
    assert response.status_code == 400
    assert "A1.py" in response.json()["detail"]
    assert (small.course / "hub-release" / "A1" / "A1.py").read_text() == NOTEBOOK


async def test_a_folder_for_a_notebooks_pictures_is_kept(small: Hub) -> None:
    response = await publish(small, ("A1.py", NOTEBOOK.encode()), ("public/plot.svg", b"<svg/>"))
    assert response.json()["files"] == ["A1.py", "public/plot.svg"]
    async with small.client("alice") as client:
        picture = await client.get("/release/A1/public/plot.svg")
    assert picture.content == b"<svg/>"
    assert picture.headers["content-disposition"].startswith("attachment")
