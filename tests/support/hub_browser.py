"""A browser of a hub without TLS."""

from __future__ import annotations

from typing import Any

import httpx


def hub_browser(**choices: Any) -> httpx.Client:
    """Return a client that keeps a hub's cookies as browsers do for loopback addresses.

    They take loopback for safe, and send Secure cookies there without TLS.
    """
    return httpx.Client(transport=_Loopback(), timeout=60, **choices)


class _Loopback(httpx.HTTPTransport):
    """Makes a client send Secure cookies without TLS, which its library does not."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        answer.headers = httpx.Headers(
            [
                (name, value.replace("; Secure", "") if name.lower() == "set-cookie" else value)
                for name, value in answer.headers.multi_items()
            ]
        )
        return answer
