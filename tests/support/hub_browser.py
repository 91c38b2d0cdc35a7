"""A browser of a hub without TLS, and a learning platform that does nothing but launch.

The platform of the tests, which does everything else too, is ``tests/support/lti_platform.py``.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from joserfc import jwt
from joserfc.jwk import RSAKey

_CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
_CLIENT, _COURSE, _DEPLOYMENT = "bench", "4", "1"


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


@dataclass(frozen=True, slots=True)
class LaunchingPlatform:
    """A platform at an address that signs tokens; its key set is all that it serves."""

    url: str
    key: RSAKey

    def settings(self) -> dict[str, object]:
        """Return its ``[[lti.platform]]`` table."""
        return {
            "issuer": self.url,
            "client_id": _CLIENT,
            "deployments": [_DEPLOYMENT],
            "courses": [_COURSE],
            "private_network": True,
        }

    def launch(self, browser: httpx.Client, hub: str, name: str, item: str) -> httpx.Response:
        """Launch an item of a hub in a tab; return the answer to the last form."""
        headers = {
            "Origin": self.url,
            "Sec-Fetch-Site": "cross-site",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
        }
        form = {
            "iss": self.url,
            "target_link_uri": f"{hub}/lti/launch",
            "login_hint": name,
            "client_id": _CLIENT,
            "lti_deployment_id": _DEPLOYMENT,
        }
        answer = browser.post(f"{hub}/lti/login", data=form, headers=headers)
        while answer.is_redirect and answer.headers["location"].startswith("/"):
            answer = browser.get(f"{hub}{answer.headers['location']}", headers=headers)
        asked = httpx.URL(answer.headers["location"]).params
        token = self._token(hub, name, item, asked["nonce"])
        sent = {"id_token": token, "state": asked["state"]}
        return browser.post(f"{hub}/lti/launch", data=sent, headers=headers)

    def _token(self, hub: str, name: str, item: str, nonce: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": _CLIENT,
            "sub": name,
            "name": name,
            "nonce": nonce,
            "iat": now,
            "exp": now + 60,
            f"{_CLAIM}deployment_id": _DEPLOYMENT,
            f"{_CLAIM}target_link_uri": f"{hub}/lti/launch",
            f"{_CLAIM}message_type": "LtiResourceLinkRequest",
            f"{_CLAIM}version": "1.3.0",
            f"{_CLAIM}roles": ["http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"],
            f"{_CLAIM}context": {"id": _COURSE, "label": "NUM", "title": "Numerics"},
            f"{_CLAIM}resource_link": {"id": "1", "title": item},
            f"{_CLAIM}ext": {"user_username": name},
            f"{_CLAIM}custom": {"item": item},
        }
        return jwt.encode({"typ": "JWT", "alg": "RS256", "kid": "bench"}, claims, self.key)


@contextmanager
def launching_platform() -> Iterator[LaunchingPlatform]:
    """Serve a platform with a new key on a free port of this machine."""
    key = RSAKey.generate_key(2048, {"kid": "bench", "alg": "RS256", "use": "sig"})
    content = json.dumps({"keys": [key.as_dict(private=False)]}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield LaunchingPlatform(f"http://127.0.0.1:{server.server_address[1]}", key)
        finally:
            server.shutdown()
            thread.join()
