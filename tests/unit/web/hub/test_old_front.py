"""An nginx whose configuration an earlier release wrote asks about each request of a session."""

from __future__ import annotations

import logging

import pytest

from tests.support.hub_app import Hub


async def test_its_question_is_refused_and_the_log_says_once_what_to_do(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    """403 is "let the hub answer" there; anything of 200 would send it to a socket."""
    asked = {"X-Mograder-Uri": "/s/abc/x", "X-Mograder-Method": "GET"}
    with caplog.at_level(logging.WARNING):
        async with hub.client() as client:
            for _ in range(3):
                answer = await client.get("/_front/session", headers=asked)
                assert (answer.status_code, answer.content) == (403, b"")
                assert not [name for name in answer.headers if name.startswith("x-mograder")]
    told = [each for each in caplog.messages if "mograder hub proxy-config nginx" in each]
    assert len(told) == 1
