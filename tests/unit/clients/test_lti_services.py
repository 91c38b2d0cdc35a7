"""The client of a platform's services against what the recorded Moodle answered, and worse."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from mograder.auth.lti_addresses import SCORE_SCOPES
from mograder.clients.guarded_http import GuardedHttp
from mograder.clients.lti_platform import LtiServices, Result, Score
from mograder.core.errors import RemoteFailed
from mograder.core.sections.settings_model import LtiPlatform
from tests.support.clock import ManualClock
from tests.support.lti.tokens import RECORDED_PLATFORM, recording

PLATFORM = LtiPlatform(issuer=RECORDED_PLATFORM, client_id="client-full")
TOKEN_URL = f"{RECORDED_PLATFORM}/mod/lti/token.php"
MEMBERS_URL = f"{RECORDED_PLATFORM}/mod/lti/services.php/CourseSection/4/bindings/1/memberships"
PUBLIC = "93.184.216.34"
ASKED = [each for each in recording("moodle-token") if each["request"]["url"] == TOKEN_URL]
Answers = Callable[[httpx.Request], httpx.Response]


def http(answers: Answers) -> GuardedHttp:
    return GuardedHttp(
        [RECORDED_PLATFORM],
        private_network=False,
        name="the platform",
        transport=httpx.MockTransport(answers),
        resolve=lambda host, port: [PUBLIC],
    )


def asking(answers: Answers, clock: ManualClock | None = None) -> LtiServices:
    signed = "header.claims.signature"
    return LtiServices(PLATFORM, lambda claims: signed, clock or ManualClock(), http(answers))


def token_of(request: httpx.Request) -> httpx.Response | None:
    """Answer a request for a token as usual; None for any other request."""
    if not request.url.path.endswith("token.php"):
        return None
    scopes = dict(httpx.QueryParams(request.content.decode()))["scope"]
    told = {"access_token": "secret-token", "token_type": "Bearer", "expires_in": 3600}
    return httpx.Response(200, text=json.dumps({**told, "scope": scopes}))


def services(answers: Answers) -> LtiServices:
    def both(request: httpx.Request) -> httpx.Response:
        return token_of(request) or answers(request)

    return asking(both)


def members(
    count: int, start: int = 0, course: object = "4", following: str = ""
) -> httpx.Response:
    told: list[dict[str, Any]] = [
        {"user_id": str(number), "status": "Active"} for number in range(start, start + count)
    ]
    headers = {"Link": f'<{following}>; rel="next"'} if following else {}
    return httpx.Response(200, json={"context": {"id": course}, "members": told}, headers=headers)


@pytest.mark.parametrize("each", ASKED, ids=[each["step"] for each in ASKED])
def test_each_recorded_answer_is_a_token_or_a_refusal_without_secrets(each: dict[str, Any]) -> None:
    recorded = each["response"]

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(recorded["status"], text=recorded["body"])

    if recorded["status"] == 200:
        found = asking(answer).access(["scope"])
        assert found.text == json.loads(recorded["body"])["access_token"]
        assert found.scopes == set(json.loads(recorded["body"])["scope"].split())
        return
    with pytest.raises(RemoteFailed, match="no access") as refused:
        asking(answer).access(["scope"])
    assert "signature" not in str(refused.value)
    assert '"kid"' not in str(refused.value)


def test_a_token_is_kept_until_five_minutes_before_its_end() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return token_of(request) or httpx.Response(404)

    clock = ManualClock()
    kept = asking(answer, clock)
    kept.access(["a", "b"])
    clock.advance(3299)
    kept.access(["b", "a"])
    assert len(asked) == 1
    clock.advance(2)
    kept.access(["a", "b"])
    kept.access(["a"])
    assert len(asked) == 3


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        '{"access_token": 5}',
        '{"access_token": "a\\nb"}',
        '{"access_token": "x", "token_type": "mac"}',
    ],
)
def test_an_answer_without_a_usable_token_is_refused(body: str) -> None:
    with pytest.raises(RemoteFailed):
        asking(lambda _: httpx.Response(200, text=body)).access(["a"])


def test_numbers_that_no_computer_counts_with_are_none() -> None:
    huge = 10**400
    told = {"access_token": "secret-token", "expires_in": huge, "scope": " ".join(SCORE_SCOPES)}
    marks: list[dict[str, object]] = [
        {"userId": "1", "resultScore": huge, "resultMaximum": 10},
        {"userId": "2", "resultScore": 5, "resultMaximum": -huge},
        {"userId": "3", "resultScore": float("nan"), "resultMaximum": 10},
        {"userId": "4", "resultScore": 5, "resultMaximum": 10},
    ]

    def answer(request: httpx.Request) -> httpx.Response:
        asks_token = request.url.path.endswith("token.php")
        return httpx.Response(200, text=json.dumps(told if asks_token else marks))

    found = asking(answer).results(f"{RECORDED_PLATFORM}/lineitem")
    assert found == {
        "1": Result(None, 10),
        "2": Result(5, 1),
        "3": Result(None, 10),
        "4": Result(5, 10),
    }


def test_the_time_of_an_assertion_lies_back() -> None:
    seen: list[Any] = []
    clock = ManualClock()
    now = int(clock.now().timestamp())
    LtiServices(
        PLATFORM,
        lambda claims: seen.append(claims) or "a.b.c",  # type: ignore[func-returns-value]
        clock,
        http(lambda request: token_of(request) or httpx.Response(404)),
    ).access(["a"])
    (claims,) = seen
    assert (claims["iat"], claims["exp"]) == (now - 30, now + 300)
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("client-full",) * 2 + (TOKEN_URL,)


def test_a_score_is_what_the_recorded_platform_took() -> None:
    place = f"{RECORDED_PLATFORM}/mod/lti/services.php/4/lineitems/34/lineitem?type_id=1"
    stamp = datetime(2026, 11, 21, 21, 21, 25, tzinfo=UTC)
    assert json.loads(Score("16", 8.5, 10, "Task 1: 5/5", stamp).body(place)) == {
        "userId": "16",
        "scoreGiven": 8.5,
        "scoreMaximum": 10,
        "comment": "Task 1: 5/5",
        "activityProgress": "Completed",
        "gradingProgress": "FullyGraded",
        "timestamp": "2026-11-21T21:21:25Z",
    }


def test_a_comment_is_no_longer_in_the_body_than_its_limit_counts() -> None:
    """Escapes made 4 kB of Cyrillic 12 kB, which a refusal of Moodle repeats in its status line."""
    comment = "я" * 2048
    body = Score("16", 8.5, 10, comment, datetime(2026, 11, 21, tzinfo=UTC)).body("x")
    assert len(body) < 4096 + 300
    assert json.loads(body)["comment"] == comment


@pytest.mark.parametrize("given", [8.5, None])
def test_a_score_for_canvas_is_no_attempt_of_the_student(given: float | None) -> None:
    """Each mark was one, submitted when marks were released: late, with Canvas's deduction."""
    place = "https://canvas.example.org/api/lti/courses/4/line_items/34"
    stamp = datetime(2026, 11, 21, 21, 21, 25, tzinfo=UTC)
    told = json.loads(Score("16", given, 10, "", stamp).body(place))
    assert told["https://canvas.instructure.com/lti/submission"] == {"new_submission": False}


def test_an_address_with_a_query_gets_its_part_before_it() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        return httpx.Response(200, json=[{"userId": "1&2", "resultScore": 3, "resultMaximum": 10}])

    place = f"{RECORDED_PLATFORM}/mod/lti/services.php/4/lineitems/34/lineitem?type_id=1"
    found = services(answer).result(place, "1&2")
    assert asked == [
        "/mod/lti/services.php/4/lineitems/34/lineitem/results?type_id=1&user_id=1%262"
    ]
    assert found is not None
    assert (found.score, found.maximum) == (3, 10)


def test_pages_that_lead_in_a_circle_are_refused() -> None:
    with pytest.raises(RemoteFailed, match="pages"):
        services(lambda _: members(1, following=MEMBERS_URL)).members(MEMBERS_URL, "4")


def test_more_pages_than_a_course_has_are_refused() -> None:
    count = iter(range(1000))
    answer = services(lambda _: members(1, following=f"{MEMBERS_URL}?from={next(count)}"))
    with pytest.raises(RemoteFailed, match="pages"):
        answer.members(MEMBERS_URL, "4")
    assert next(count) == 200


def test_a_header_with_many_addresses_names_no_next_page() -> None:
    """Searched from each of them to the end, this took a minute, in which nothing else ran."""

    def answer(_: httpx.Request) -> httpx.Response:
        found = members(1)
        found.headers["link"] = "<a>;" * 25_000
        return found

    assert len(services(answer).members(MEMBERS_URL, "4")) == 1


def test_more_members_than_a_course_has_are_refused() -> None:
    with pytest.raises(RemoteFailed, match="20000"):
        services(lambda _: members(20_001)).members(MEMBERS_URL, "4")


@pytest.mark.parametrize("following", ["https://evil.example.org/", "http://10.0.0.1/", "//evil"])
def test_a_next_page_of_another_server_is_refused(following: str) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["host"])
        return members(1, following=following)

    with pytest.raises(RemoteFailed):
        services(answer).members(MEMBERS_URL, "4")
    assert asked == ["moodle.example.org"]


def test_a_name_with_other_spaces_than_plain_ones_is_a_name() -> None:
    """It counted as missing, and the member was shown as a number."""
    told = {"user_id": "1", "name": "Zo\u00eb\u00a0M &amp; Co \u0645\u06cc\u200c\u062e"}
    answer = httpx.Response(200, json={"context": {"id": "4"}, "members": [told]})
    (member,) = services(lambda _: answer).members(MEMBERS_URL, "4")
    assert member.name == "Zo\u00eb M & Co \u0645\u06cc \u062e"


@pytest.mark.parametrize(
    "told",
    [
        {"context": {"id": "4"}},
        {"members": []},
        {"context": {"id": "5"}, "members": []},
        {"context": {"id": "4"}, "members": [{"name": "Nobody"}]},
        {"context": {"id": "4"}, "members": [{"user_id": "x" * 256}]},
        [],
    ],
)
def test_a_list_that_is_none_is_refused(told: object) -> None:
    with pytest.raises(RemoteFailed):
        services(lambda _: httpx.Response(200, json=told)).members(MEMBERS_URL, "4")
