"""The page with the line that installs the student's commands, and the wheel that it names."""

from __future__ import annotations

import hashlib
import html
import re
import zipfile
from io import BytesIO

import pytest

from mograder.core.sections.settings_model import HttpsSettings, Settings
from mograder.core.settings import LoadedSettings
from tests.support.assignment_app import Course

LINE = re.compile(
    r'uvx --from "mograder-hub @ (https?://[\w./]+?(/client/[0-9a-f]{16}/mograder_hub-[^"/]+\.whl))'
    r'#sha256=([0-9a-f]{64})" mograder student ([^\s<]+)<'
)


async def line_of(course: Course) -> tuple[str, str, str]:
    """Return the wheel's path, its digest and the server's address from the page."""
    answer = await course.ask("GET", "/client")
    assert answer.status_code == 200
    found = {match.group(2, 3, 4) for match in LINE.finditer(html.unescape(answer.text))}
    ((path, digest, server),) = found
    return str(path), str(digest), str(server)


async def test_the_page_has_the_line_of_this_course_for_every_system(course: Course) -> None:
    answer = await course.ask("GET", "/client")
    assert len(LINE.findall(html.unescape(answer.text))) == 3
    for system in ("Windows", "macOS", "Linux"):
        assert f">{system}</h2>" in answer.text
    assert (await line_of(course))[2] == "http://course.test/"


async def test_the_wheel_at_that_address_has_that_digest_and_is_kept(course: Course) -> None:
    path, digest, _ = await line_of(course)
    answer = await course.ask("GET", path)
    assert answer.status_code == 200
    assert hashlib.sha256(answer.content).hexdigest() == digest
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    with zipfile.ZipFile(BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
    tag = {"If-None-Match": answer.headers["etag"]}
    assert (await course.ask("GET", path, headers=tag)).status_code == 304
    head = await course.ask("HEAD", path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(answer.content))
    part = await course.ask("GET", path, headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"PK\x03\x04")


@pytest.mark.parametrize(
    "path",
    [
        f"/client/{'0' * 16}/mograder_hub-1.0-py3-none-any.whl",
        f"/client/{'0' * 16}/..%2F..%2Fpeople.jsonl",
        "/client/..%2F..%2F/.mograder-secret",
        "/client/static/1/app.css",
        "/client/static",
    ],
)
async def test_nothing_else_is_below_it(path: str, course: Course) -> None:
    assert (await course.ask("GET", path)).status_code == 404


async def test_the_page_loads_its_own_stylesheet_and_nothing_else(course: Course) -> None:
    answer = await course.ask("GET", "/client")
    (sheet,) = re.findall(r'href="(/client/static/[^"]+\.css)"', answer.text)
    assert (await course.ask("GET", sheet)).headers["content-type"].startswith("text/css")
    policy = answer.headers["content-security-policy"]
    assert "style-src http://course.test/client/static/;" in policy
    assert "'unsafe" not in policy
    assert "access-control-allow-origin" not in answer.headers


async def test_the_line_names_the_address_of_the_settings(course: Course) -> None:
    public = "https://course.example.org/numerics/"
    settings = Settings(title="Numerics & <Friends> I", https=HttpsSettings(url=public))
    course.restart(loaded=LoadedSettings(settings, course.root, {}, ()))
    text = (await course.ask("GET", "/client")).text
    assert (await line_of(course))[2] == public
    wheels = [match[1] for match in LINE.finditer(html.unescape(text))]
    assert [each.partition("client/")[0] for each in wheels] == [public] * 3
    assert "mkdir numerics-friends-i\n" in text
    assert "<Friends>" not in text


async def test_a_course_without_a_title_has_a_folder_of_its_own(course: Course) -> None:
    """Two courses in one folder would be taken for one another."""
    public = "https://course.example.org/algebra/"
    settings = Settings(https=HttpsSettings(url=public))
    course.restart(loaded=LoadedSettings(settings, course.root, {}, ()))
    assert "mkdir course-example-org-algebra\n" in (await course.ask("GET", "/client")).text
