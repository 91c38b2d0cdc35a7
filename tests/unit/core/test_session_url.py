"""``[hub] session_url``: what isolates is taken, what only looks like it is refused."""

from __future__ import annotations

import pytest

from mograder.core.errors import InvalidInput
from mograder.core.web_origin import session_url

HUB = "https://hub.uni.ac.uk"


@pytest.mark.parametrize(
    ("text", "public_url"),
    [
        ("https://{session}.example.net", HUB),
        ("https://{session}.sessions.example.net", HUB),
        ("https://{session}.example.net:8443", HUB),
        ("https://{session}.other.ac.uk", HUB),
        ("https://{session}.uni-sessions.edu", "https://hub.uni.edu"),
        ("http://{session}.localhost:9000", "http://127.0.0.1:9000"),
    ],
)
def test_a_wildcard_on_a_domain_of_its_own_is_taken(text: str, public_url: str) -> None:
    found = session_url(text, public_url)
    assert found is not None
    label = "a" * 32
    origin = found.origin(label)
    assert origin == text.replace("{session}", label)
    host = origin.partition("://")[2]
    assert found.label_of(host) == label
    assert found.label_of(host.upper()) == label


@pytest.mark.parametrize(
    ("text", "public_url", "why"),
    [
        ("https://hub.uni.ac.uk:8443", HUB, "port only"),
        ("https://sessions.example.net", HUB, "all sessions"),
        ("https://sessions.example.net/{session}", HUB, "all sessions"),
        ("https://x-{session}.example.net", HUB, "all sessions"),
        ("https://{session}.hub.uni.ac.uk", HUB, "same domain"),
        ("https://{session}.uni.ac.uk", HUB, "same domain"),
        ("https://{session}.notebooks.uni.ac.uk", HUB, "same domain"),
        ("https://{session}.example.org", "https://hub.example.org", "same domain"),
        ("https://{session}.nb.kth.se", "https://mograder.kth.se", "same domain"),
        ("https://{session}.nb.uu.nl", "https://mograder.uu.nl", "same domain"),
        ("https://{session}.sessions.example.org", "https://hub.example.org", "same domain"),
        ("http://{session}.example.net", HUB, "https"),
        ("https://{session}.example.net/x", HUB, "host only"),
        ("https://u:p@{session}.example.net", HUB, "all sessions"),
        ("https://{session}.exa_mple.net", HUB, "host only"),
        ("https://{session}.{session}.net", HUB, "host only"),
        ("https://{session}.example.net:99999", HUB, "no address"),
        ("https://{session}.example.net", "", "public_url"),
    ],
)
def test_what_isolates_nothing_is_refused(text: str, public_url: str, why: str) -> None:
    """security.md: a port is no border for cookies, and a shared address none for students."""
    with pytest.raises(InvalidInput, match=why) as refused:
        session_url(text, public_url)
    assert "{session}" in refused.value.hint


def test_none_is_asked_for_by_default() -> None:
    assert session_url("", "") is None


@pytest.mark.parametrize(
    "host", ["example.net", "short.example.net", "a.b.example.net", f"{'a' * 32}.x.example.net"]
)
def test_other_hosts_below_the_domain_are_no_session_and_not_the_hub(host: str) -> None:
    found = session_url("https://{session}.example.net", HUB)
    assert found is not None
    assert found.is_below(host)
    assert found.is_below(f"{host}.:443")
    assert found.label_of(host) == ""
    assert not found.is_below("notexample.net")
    assert not found.is_below("hub.uni.ac.uk")
