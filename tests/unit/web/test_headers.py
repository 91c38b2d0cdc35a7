"""Our own pages' Content-Security-Policy (security.md, "Our own pages")."""

from __future__ import annotations

import pytest

from mograder.web.context import RequestContext
from mograder.web.headers import content_security_policy


def policy(host: str, prefix: str = "", scheme: str = "https") -> str:
    """The policy of a page at this address."""
    return content_security_policy(
        RequestContext(
            prefix=prefix,
            scheme=scheme,
            host=host,
            own_origins=frozenset(),
            client=None,
            request_id="r",
            path="/",
        )
    )


def test_scripts_come_from_the_static_path_only() -> None:
    """'self' would include the session paths, where student code chooses the bytes."""
    text = policy("hub.test:8443", "/live/hub")
    assert "script-src https://hub.test:8443/live/hub/static/;" in text
    assert "script-src 'self'" not in text


@pytest.mark.parametrize("host", ["[::1]:8080", "a;b", "a b", "", "a,b", "x'"])
def test_a_host_that_a_policy_cannot_name_gets_no_scripts(host: str) -> None:
    assert "script-src 'none';" in policy(host)
