"""The address by which nodes reach the hub."""

from __future__ import annotations

import socket

import pytest

from mograder.core.sections.node_settings import NodesSettings, address_for_nodes


@pytest.mark.parametrize(
    ("listen", "address", "expected"),
    [
        ("", "", ""),
        ("192.0.2.1:8442", "", "192.0.2.1:8442"),
        ("[2001:db8::1]:8442", "", "[2001:db8::1]:8442"),
        ("0.0.0.0:8442", "hub.example.edu:443", "hub.example.edu:443"),
        ("0.0.0.0:8442", "", f"{socket.getfqdn()}:8442"),
        ("[::]:8442", "", f"{socket.getfqdn()}:8442"),
    ],
)
def test_it_is_that_of_the_listener_unless_it_is_given(
    listen: str, address: str, expected: str
) -> None:
    settings = NodesSettings(listen=listen, address=address)
    assert address_for_nodes(settings) == expected
