"""store.hub.nodes: a removed node counts no more at once, and its row stays for its lease."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from mograder.core.errors import Conflict
from mograder.store.hub.nodes import Nodes
from tests.support.joined_nodes import connected, joined, lapse


def test_a_node_at_work_is_refused_and_forgotten_after_its_lease(engine: Engine) -> None:
    nodes = Nodes(engine)
    connected(engine, "n1")
    connected(engine, "n2")
    before = nodes.find("n1")
    assert before is not None
    assert nodes.remove("n1")
    assert not nodes.renew_leases({"n1": before.secret_hash}, 12)
    assert nodes.known_by(before.secret_hash) is None
    assert nodes.known_by("") is None
    assert nodes.find("n1") == replace(before, secret_hash="")
    assert nodes.holding() == {"n1", "n2"}
    with pytest.raises(Conflict):  # its sessions may run until then
        nodes.add(before)
    assert nodes.forget_removed() == 0
    lapse(engine, "n1")
    lapse(engine, "n2")
    assert nodes.forget_removed() == 1
    assert [each.name for each in nodes.all()] == ["n2"]


def test_a_node_that_is_away_or_was_never_connected_goes_at_once(engine: Engine) -> None:
    nodes = Nodes(engine)
    joined(engine, "new")
    connected(engine, "gone")
    lapse(engine, "gone")
    assert nodes.remove("new")
    assert nodes.remove("gone")
    assert nodes.all() == ()
    assert not nodes.remove("gone")


def test_a_node_with_another_token_is_drained_as_before_unless_it_was_removed(
    engine: Engine,
) -> None:
    nodes = Nodes(engine)
    for name in ("away", "removed"):
        connected(engine, name)
        nodes.drain(name, draining=True)
    nodes.remove("removed")
    for name in ("away", "removed"):
        lapse(engine, name)
        row = nodes.find(name)
        assert row is not None
        nodes.add(replace(row, secret_hash="new", draining=False))
    assert {each.name: each.draining for each in nodes.all()} == {"away": True, "removed": False}


def test_a_lease_that_was_written_by_a_clock_ahead_holds_no_longer_than_any_lease(
    engine: Engine,
) -> None:
    def ahead() -> timedelta:
        row = nodes.find("n1")
        assert row is not None
        assert row.lease_until is not None
        return row.lease_until - datetime.now(UTC)

    nodes = Nodes(engine)
    connected(engine, "n1")
    before = nodes.find("n1")
    assert before is not None
    lapse(engine, "n1", -3600)
    assert nodes.holding() == {"n1"}, "its node may still run"
    assert ahead() < timedelta(seconds=330)
    lapse(engine, "n1", -3600)
    with pytest.raises(Conflict):
        nodes.add(before)
    assert ahead() < timedelta(seconds=330)
