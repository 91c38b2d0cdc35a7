"""Findings about the web server in front (`hub check --url`)."""

from __future__ import annotations

import dataclasses

import pytest

from mograder.clients.front_probe import Answered, FrontSeen, look_at_front
from mograder.operations.live_checks import front_lines
from mograder.operations.report import Level
from tests.support.fake_hub import Reply, running_hub

URL = "https://hub.example.org/live"
SOUND = FrontSeen(
    origin="https://hub.example.org",
    static=f"{URL}/static/",
    own=Answered(200, f"default-src 'none'; script-src {URL}/static/; x", True, ""),
    session=Answered(404, "sandbox allow-scripts", True, ""),
    websocket=403,
)


def levels(seen: FrontSeen, public_url: str = "") -> dict[str, Level]:
    return {line.check: line.level for line in front_lines(seen, public_url)}


def test_a_front_that_passes_on_what_it_should_is_all_good() -> None:
    assert set(levels(SOUND).values()) == {Level.OK}


@pytest.mark.parametrize(
    ("change", "check", "remedy"),
    [
        ({"own": Answered(200, "", False, "")}, "front-headers", "Content-Security-Policy"),
        (
            {"own": Answered(200, "script-src http://127.0.0.1:8080/static/; x", True, "")},
            "front-headers",
            "X-Forwarded-Proto",
        ),
        ({"own": Answered(302, "", False, "https://login/")}, "front-signin", "/health"),
        ({"session": Answered(302, "", False, "https://login/")}, "front-sessions", "/s/"),
        ({"websocket": 200}, "front-websocket", "Upgrade"),
        ({"websocket": 0, "websocket_trouble": "timed out"}, "front-websocket", "Upgrade"),
    ],
)
def test_what_a_front_gets_wrong_is_a_problem_with_its_remedy(
    change: dict[str, object], check: str, remedy: str
) -> None:
    seen = dataclasses.replace(SOUND, **change)  # type: ignore[arg-type]
    found = {line.check: line for line in front_lines(seen)}
    assert found[check].level is Level.PROBLEM
    assert remedy in found[check].hint


def test_a_configured_address_that_is_another_is_a_problem() -> None:
    assert levels(SOUND, "https://hub.example.org")["front-https"] is Level.OK
    assert levels(SOUND, "https://other.example.org")["front-url"] is Level.PROBLEM


def test_without_encryption_there_is_a_warning() -> None:
    plain = dataclasses.replace(SOUND, origin="http://hub.example.org")
    assert levels(plain)["front-https"] is Level.NOTE


def test_what_answers_is_read_over_real_http() -> None:
    with running_hub() as hub:
        policy = {"Content-Security-Policy": "x", "X-Content-Type-Options": "nosniff"}
        hub.replies["/live/health"] = Reply(headers=policy)
        seen = look_at_front(f"{hub.url}/live/")
    assert seen.own == Answered(200, "x", True, "")
    assert seen.session.status == 404
    assert seen.websocket_trouble, "an HTTP/1.0 server knows no WebSockets"
