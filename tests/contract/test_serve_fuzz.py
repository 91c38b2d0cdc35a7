"""Whatever is sent to the assignment server, nothing ends in a 500."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mograder.web.server.app import ROUTES
from mograder.web.server.services import ServerOptions
from tests.support.assignment_app import CODE, Course

EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
BOUNDARY = b"----MograderBoundary"
TYPES = st.sampled_from(
    [
        "multipart/form-data; boundary=----MograderBoundary",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary="' + "b" * 300 + '"',
        "multipart/form-data; boundary=%ff",
        "application/json",
        "application/octet-stream",
        "",
    ]
)
PIECES = st.sampled_from(
    [
        b"--" + BOUNDARY,
        b"--" + BOUNDARY + b"--",
        b"\r\n",
        b"\n",
        b'Content-Disposition: form-data; name="file"; filename="a.py"',
        b'Content-Disposition: form-data; name="f"; filename="../\xff\x00.html"',
        b"Content-Disposition: form-data; filename*=utf-8''%ff",
        b"Content-Disposition",
        b': ;="\\',
        b"x" * 3000,
    ]
)
FORMS = st.lists(st.one_of(PIECES, st.binary(max_size=40)), max_size=12).map(b"".join)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["alice", "__instructor__", CODE, "2026-09-01T09:00:00.000Z", "a" * 64]),
)
KEYS = st.one_of(
    st.sampled_from(
        ["user", "enrollment_code", "retry_key", "grades", "userid", "username", "grade", "version"]
    ),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=6)),
    max_leaves=20,
)
SEGMENTS = st.one_of(
    st.sampled_from(
        ["hw1", "alice", "homework.py", "%2e%2e", "..%2f", "%ff", "%00", "%F0%9F%98%80"]
    ),
    st.text(alphabet="abc/%.~ é?#&=+", max_size=12),
)
QUERIES = st.one_of(
    st.sampled_from(["user=alice", "user=alice&late=replace", "user=alice&detail=1", "user=%ff"]),
    st.text(alphabet="user=alic&%+;é", max_size=20),
)
POSTS = [route.path for route in ROUTES if route.method == "POST"]


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    """One course for all that is sent."""
    root = tmp_path_factory.mktemp("fuzz")
    made = Course(ServerOptions(root, enrollment_code=CODE))
    made.add("hw1")
    return made


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all requests of this module."""
    with asyncio.Runner() as runner:
        yield runner


def _filled(path: str) -> str:
    return path.format(name="hw1", file="homework.py", user="alice", person="carol")


@EXAMPLES
@given(path=st.sampled_from(POSTS), kind=TYPES, body=st.one_of(FORMS, st.binary(max_size=200)))
def test_a_fuzzed_form_never_ends_in_a_500(
    course: Course, runner: asyncio.Runner, path: str, kind: str, body: bytes
) -> None:
    headers = {"Content-Type": kind}
    query = f"{_filled(path)}?user=alice"
    answer = runner.run(course.ask("POST", query, "prof", headers=headers, content=body))
    assert answer.status_code < 500, answer.text


@EXAMPLES
@given(path=st.sampled_from(POSTS), value=VALUES)
def test_fuzzed_json_never_ends_in_a_500(
    course: Course, runner: asyncio.Runner, path: str, value: object
) -> None:
    body = json.dumps(value).encode()
    # Guesses at the code count against the guesser, who is everybody here.
    course.clock.advance(60)
    answer = runner.run(course.ask("POST", f"{_filled(path)}?user=alice", "prof", content=body))
    assert answer.status_code < 500, answer.text
    status = runner.run(course.ask("GET", "/assignments/hw1/status?user=alice", "alice"))
    assert status.status_code == 200, status.text


@EXAMPLES
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "PATCH"]),
    segments=st.lists(SEGMENTS, max_size=5),
    query=QUERIES,
    info=st.text(alphabet="bytes=0123456789-, ", max_size=16),
)
def test_a_fuzzed_address_never_ends_in_a_500(
    course: Course,
    runner: asyncio.Runner,
    method: str,
    segments: list[str],
    query: str,
    info: str,
) -> None:
    path = "/" + "/".join(["assignments", *segments])
    quoted = path.replace("?", "%3f").replace("#", "%23").replace(" ", "%20")
    address = f"{quoted}?{query.replace('#', '')}"
    headers = {"Range": info, "If-None-Match": info}
    answer = runner.run(course.ask(method, address, "prof", headers=headers))
    assert answer.status_code < 500, answer.text
