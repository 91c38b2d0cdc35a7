"""Our own pages' Content-Security-Policy (security.md, "Our own pages")."""

from __future__ import annotations

import pytest

from mograder.web.app import content_security_policy
from mograder.web.context import RequestContext


@pytest.mark.parametrize("host", ["[::1]:8080", "a;b", "a b", "", "a,b", "x'"])
def test_a_host_that_a_policy_cannot_name_gets_no_scripts(host: str) -> None:
    own = RequestContext("", "https", host, frozenset(), None, "r", "/")
    assert "script-src 'none';" in content_security_policy(own)
