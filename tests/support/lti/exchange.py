"""Requests to the fake platform, its answers, and what may go wrong with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

CLOSED = "closed"
"""The connection is closed without an answer, and nothing is done."""
LOST = "lost"
"""The request is done, and the connection closed without an answer."""
NO_HTTP = "no HTTP"
"""The answer is a status line that no client can read."""
HTML = "HTML"
"""200 with a page, as of a proxy or of maintenance."""
HUGE = "huge"
"""200 with 8 MB of JSON."""


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    @property
    def bearer(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; ``broken`` is sent as it is instead, as an answer that is no HTTP."""

    status: int = 200
    body: bytes = b""
    media_type: str = "text/html"
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    broken: str = ""


def as_json(value: object, media_type: str = "application/json") -> Reply:
    return Reply(200, json.dumps(value).encode(), media_type)


def refused(asked: Asked, status: int, reason: str) -> Reply:
    """Return an error as the platform's services give it: the reason in two places."""
    request = {
        "method": asked.method,
        "url": asked.target,
        "accept": asked.headers.get("accept", "*/*"),
    }
    if asked.body:
        request["contentType"] = asked.headers.get("content-type", "")
    told = {"status": status, "reason": reason, "request": request}
    return Reply(status, json.dumps(told).encode(), "application/json", reason)


def error_page() -> Reply:
    """Return the platform's page for requests that it does not understand."""
    return Reply(
        404, b"<!doctype html><title>Error</title><p>Something went wrong", reason="Not Found"
    )
