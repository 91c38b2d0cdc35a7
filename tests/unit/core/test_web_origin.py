"""core.web_origin: the origin of an address."""

from __future__ import annotations

import pytest

from mograder.core.errors import InvalidInput
from mograder.core.web_origin import network_of, origin_of


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("", ""),
    ],
)
def test_the_addresses_of_one_machine_are_one_network(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://moodle.test/a?b=c", "https://moodle.test"),
        ("HTTPS://Moodle.Test:443/", "https://moodle.test"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://[::1]:8080/x", "http://[::1]:8080"),
        ("https://moodle.test:8443", "https://moodle.test:8443"),
    ],
)
def test_origins(url: str, origin: str) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "moodle.test",
        "//moodle.test/x",
        "ftp://moodle.test",
        "javascript:alert(1)",
        "https://",
        "https://a@moodle.test/",
        "https://hub.test@evil.test/",
        "https://moodle.test\\@evil.test/",
        "https://moodle.test/#x",
        "https://moodle.test/ x",
        "https://moodle.test/\n",
        "https://m\u00f6odle.test/",
        "https://moodle.test:99999/",
        "https://moodle.test/" + "x" * 2000,
    ],
)
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        origin_of(url)
    assert "moodle" not in str(refused.value)
