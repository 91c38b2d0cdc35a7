"""Answers to forms: a short one, such as a redirect, is sent without waiting for a front."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest
from starlette.types import Message

from mograder.web.context import DrainBeforeReply


def ends_at_once(work: Coroutine[Any, Any, Any]) -> bool:
    """Whether a coroutine ends without waiting for anything."""
    try:
        work.send(None)
    except StopIteration:
        return True
    work.close()
    return False


@pytest.mark.parametrize(
    ("status", "length", "at_once"), [(303, 0, True), (200, 13, True), (200, 1 << 20, False)]
)
async def test_the_answer_to_a_form_waits_for_a_front_only_if_it_is_long(
    status: int, length: int, at_once: bool
) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"a=1"}

    async def send(message: Message) -> None:
        sent.append(message)

    reply = DrainBeforeReply({"headers": []}, receive, send)
    assert ends_at_once(reply.receive())
    headers = [(b"content-length", str(length).encode())]
    start = {"type": "http.response.start", "status": status, "headers": headers}
    assert ends_at_once(reply.send(start)) is at_once
    if at_once:
        assert ends_at_once(reply.send({"type": "http.response.body", "body": b""}))
        assert [each["type"] for each in sent] == ["http.response.start", "http.response.body"]
