"""What a listener remembers of nodes that are not connected any more."""

from __future__ import annotations

from datetime import UTC, datetime

from mograder.auth.node_certificates import CertificateFacts
from mograder.sandbox.nodes.known_nodes import KnownNodes


def peer(name: str, fingerprint: str = "f") -> CertificateFacts:
    return CertificateFacts(name, fingerprint, datetime(2026, 12, 1, tzinfo=UTC))


def test_the_limit_of_a_nodes_traffic_is_the_same_on_each_connection() -> None:
    known = KnownNodes()
    first = known.note(peer("a"), "10.0.0.1", ())
    assert known.note(peer("a"), "10.0.0.2", ()) is first
    assert known.note(peer("b"), "10.0.0.3", ()) is not first


def test_the_last_address_of_a_node_is_known_until_the_node_is_removed() -> None:
    known = KnownNodes()
    for address in ("10.0.0.1", "10.0.0.2"):
        known.note(peer("a"), address, ())
    assert "10.0.0.1" not in known
    known.forget(peer("a", "the key that it had before"))
    assert "10.0.0.2" in known
    known.forget(peer("a"))
    assert "10.0.0.2" not in known


def test_a_node_that_connects_without_end_is_refused_and_others_are_not() -> None:
    known = KnownNodes()
    limits = [known.note(peer("a"), "10.0.0.1", ()) for _ in range(30)]
    assert None not in limits[:20]
    assert limits[-1] is None
    assert known.note(peer("b"), "10.0.0.2", ()) is not None


def test_of_more_than_1000_nodes_one_that_is_away_is_forgotten() -> None:
    known = KnownNodes()
    for number in range(1001):
        known.note(peer(f"n{number}"), f"10.0.{number // 250}.{number % 250}", {"n0"})
    assert "10.0.0.0" in known
    assert "10.0.0.1" not in known
    assert "10.0.4.0" in known
