"""``mograder hub nodes`` and ``mograder hub node-token``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mograder.auth.node_tokens import NodeToken
from mograder.store.hub.hub_state import HubState
from mograder.store.hub.nodes import Nodes
from tests.support.command_line import cli
from tests.support.joined_nodes import connected, joined, lapse


@pytest.fixture(autouse=True)
def course(here: Path) -> Path:
    """A course with nodes that is the working directory."""
    (here / "mograder.toml").write_text("[nodes]\nenabled = true\n")
    return here


def test_nodes_are_listed_with_their_load(state: HubState) -> None:
    connected(state.engine, "n1", version="1.2\x1b[31m")
    connected(state.engine, "gone")
    lapse(state.engine, "gone")
    joined(state.engine, "new")
    lines = cli("hub nodes").lines
    assert [line.split()[:2] for line in lines] == [
        ["NAME", "STATE"],
        ["gone", "away"],
        ["n1", "ready"],
        ["new", "new"],
    ]
    assert lines[2].split()[2:6] == ["2", "3.0/16.0", "1.2/4", "1.2"]
    assert "never" in lines[3]
    assert "\x1b" not in "".join(lines)


def test_the_list_is_there_for_scripts(state: HubState) -> None:
    connected(state.engine, "n1", draining=True, drain_seconds=600.0)
    (entry,) = cli("hub nodes --json").json
    assert (entry["name"], entry["state"], entry["sessions"]) == ("n1", "draining", 2)
    assert datetime.fromisoformat(entry["ends"]) > datetime.now(UTC) + timedelta(seconds=500)


def test_without_nodes_it_says_how_one_comes(state: HubState) -> None:
    assert "mograder hub node-token" in cli("hub nodes").out
    assert cli("hub nodes --json").out == "[]\n"


def test_a_node_is_drained_used_again_and_removed(state: HubState) -> None:
    connected(state.engine, "n1")
    nodes = Nodes(state.engine)

    def row() -> tuple[bool, bool]:
        found = nodes.find("n1")
        assert found is not None
        return found.draining, bool(found.secret_hash)

    assert "takes no new sessions" in cli("hub nodes drain n1").out
    assert row() == (True, True)
    assert "takes sessions again" in cli("hub nodes undrain n1").out
    assert row() == (False, True)
    assert "refused from now on" in cli("hub nodes remove n1").out
    assert row() == (False, False)
    lapse(state.engine, "n1")
    assert "There is no node" in cli("hub nodes").out
    logged = [(each.action, each.what, each.origin) for each in state.recent_audit(9)]
    assert logged == [
        ("remove node", "n1", "command line"),
        ("undrain node", "n1", "command line"),
        ("drain node", "n1", "command line"),
    ]


@pytest.mark.parametrize("action", ["drain", "undrain", "remove"])
def test_an_unknown_node_changes_nothing_and_names_the_others(state: HubState, action: str) -> None:
    connected(state.engine, "n1")
    before = Nodes(state.engine).all()
    assert "There is no node n2. There are n1." in " ".join(
        cli("hub nodes", action, "n2", status=3).err.split()
    )
    assert Nodes(state.engine).all() == before
    assert state.recent_audit(9) == ()


def test_a_token_is_printed_once_and_stored_as_a_hash_only(state: HubState, course: Path) -> None:
    one, two = cli("hub node-token n1 n2").out.split()
    nodes = Nodes(state.engine)
    token = NodeToken.find(one, "")
    assert (token.name, NodeToken.find(two, "").name) == ("n1", "n2")
    known = nodes.known_by(token.secret_hash)
    assert known is not None
    assert known.name == "n1"
    files = b"".join(each.read_bytes() for each in course.rglob("hub.db*"))
    assert token.secret_hash.encode() in files
    assert token.secret.encode() not in files
    logged = [(each.action, each.what) for each in state.recent_audit(9)]
    assert logged == [("make node token", "n2"), ("make node token", "n1")]


def test_a_name_that_is_given_twice_gets_one_token(state: HubState) -> None:
    (only,) = cli("hub node-token n1 n1").out.split()
    assert Nodes(state.engine).known_by(NodeToken.find(only, "").secret_hash) is not None


def test_another_token_replaces_the_first_unless_the_node_is_at_work(state: HubState) -> None:
    first = NodeToken.find(cli("hub node-token n1").out, "")
    second = NodeToken.find(cli("hub node-token n1").out, "")
    nodes = Nodes(state.engine)
    assert nodes.known_by(first.secret_hash) is None
    assert nodes.renew_leases({"n1": second.secret_hash}, 60)
    assert "nodes remove n1" in " ".join(cli("hub node-token n1", status=5).err.split())
    assert nodes.known_by(second.secret_hash) is not None


def test_a_bad_name_makes_no_token(state: HubState) -> None:
    assert "cannot be named" in cli("hub node-token n1 ../n2", status=2).err
    assert Nodes(state.engine).all() == ()


def test_a_hub_without_nodes_makes_no_token(state: HubState, course: Path) -> None:
    (course / "mograder.toml").write_text('title = "Numerics"\n')
    assert "[nodes] enabled" in cli("hub node-token n1", status=2).err


def test_where_no_hub_has_run_nothing_is_made(course: Path) -> None:
    assert "No hub has run" in cli("hub nodes", status=3).err
    assert "No hub has run" in cli("hub node-token n1", status=3).err
    assert not (course / "hub.db").exists()
