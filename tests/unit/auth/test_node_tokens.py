"""auth.node_tokens: what is written is read again, and nothing else is."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode

import pytest

from mograder.auth.node_tokens import NodeToken, secret_hash, split_address
from mograder.core.errors import InvalidInput

AUTHORITY = "0a" * 32
HUBS = ("hub-1.example.edu:8443", "10.0.0.2:8443", "[2001:db8::1]:8443")


def written(**members: object) -> str:
    whole = {"hubs": list(HUBS), "authority": AUTHORITY, "secret": "s" * 32} | members
    return "mograder-node-" + urlsafe_b64encode(json.dumps(whole).encode()).decode().rstrip("=")


def test_a_token_is_read_again_even_if_it_was_broken_over_lines() -> None:
    token = NodeToken.new(HUBS, AUTHORITY)
    assert NodeToken.parse(token.text) == token
    assert NodeToken.parse(f" {token.text[:40]}\n  {token.text[40:]}\n") == token
    assert NodeToken.parse(written()).hubs == HUBS


def test_each_token_has_a_secret_of_its_own_that_its_hash_does_not_show() -> None:
    one, two = NodeToken.new(HUBS, AUTHORITY), NodeToken.new(HUBS, AUTHORITY)
    assert one.secret_hash != two.secret_hash
    assert one.secret_hash == secret_hash(one.secret)
    assert one.secret not in one.secret_hash


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mograder-node-",
        "mograder-node-%%%",
        "mograder-node-é",
        "mograder-node-" + "A" * 5000,
        written()[len("mograder-node-") :],
        written(authority="0a"),
        written(authority=7),
        written(secret="short"),
        written(secret=["s" * 32]),
        written(hubs=[7]),
        "mograder-node-" + urlsafe_b64encode(b"[]").decode(),
        "mograder-node-" + urlsafe_b64encode(b"[" * 3000).decode(),
    ],
)
def test_other_texts_are_no_tokens(text: str) -> None:
    with pytest.raises(InvalidInput, match="not a join token"):
        NodeToken.parse(text)


@pytest.mark.parametrize("hubs", [None, [], ["h:1"] * 17])
def test_a_token_has_addresses_but_not_too_many(hubs: object) -> None:
    with pytest.raises(InvalidInput, match="between 1 and 16"):
        NodeToken.parse(written(hubs=hubs))


@pytest.mark.parametrize(
    "address", ["hub", "hub:", ":8443", "hub:x", "https://hub:8443", "2001:db8::1:8443", "a b:1"]
)
def test_addresses_that_cannot_be_used(address: str) -> None:
    with pytest.raises(InvalidInput, match="not the address of a hub"):
        NodeToken.new((address,), AUTHORITY)


@pytest.mark.parametrize("address", ["hub:0", "hub:65536"])
def test_ports_that_cannot_be_used(address: str) -> None:
    with pytest.raises(InvalidInput, match="not between 1 and 65535"):
        split_address(address)


def test_an_address_is_split_into_host_and_port() -> None:
    assert split_address("hub.example.edu:8443") == ("hub.example.edu", 8443)
    assert split_address("[2001:db8::1]:8443") == ("2001:db8::1", 8443)
