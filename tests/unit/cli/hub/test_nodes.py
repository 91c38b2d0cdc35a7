"""``mograder hub nodes`` and ``mograder hub node-token``."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mograder.auth.node_tokens import NodeToken
from mograder.cli.main import run
from mograder.store.hub.hub_state import HubState
from mograder.store.hub.nodes import Nodes
from tests.support.joined_nodes import connected, joined, lapse


@pytest.fixture(autouse=True)
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course with nodes that is the working directory."""
    monkeypatch.delenv("MOGRADER_COURSE_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mograder.toml").write_text("[nodes]\nenabled = true\n")
    return tmp_path


def printed(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["hub", *arguments]) == 0
    return capfd.readouterr().out


def refused(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["hub", *arguments]) != 0
    return capfd.readouterr().err


def test_nodes_are_listed_with_their_load(
    state: HubState, capfd: pytest.CaptureFixture[str]
) -> None:
    connected(state.engine, "n1", version="1.2\x1b[31m")
    connected(state.engine, "gone")
    lapse(state.engine, "gone")
    joined(state.engine, "new")
    lines = printed(capfd, "nodes").splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["NAME", "STATE"],
        ["gone", "away"],
        ["n1", "ready"],
        ["new", "new"],
    ]
    assert lines[2].split()[2:6] == ["2", "3.0/16.0", "1.2/4", "1.2"]
    assert "never" in lines[3]
    assert "\x1b" not in "".join(lines)


def test_the_list_is_there_for_scripts(state: HubState, capfd: pytest.CaptureFixture[str]) -> None:
    connected(state.engine, "n1", draining=True, drain_seconds=600.0)
    (entry,) = json.loads(printed(capfd, "nodes", "--json"))
    assert (entry["name"], entry["state"], entry["sessions"]) == ("n1", "draining", 2)
    assert datetime.fromisoformat(entry["ends"]) > datetime.now(UTC) + timedelta(seconds=500)


def test_without_nodes_it_says_how_one_comes(
    state: HubState, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "mograder hub node-token" in printed(capfd, "nodes")
    assert printed(capfd, "nodes", "--json") == "[]\n"


def test_a_node_is_drained_used_again_and_removed(
    state: HubState, capfd: pytest.CaptureFixture[str]
) -> None:
    connected(state.engine, "n1")
    nodes = Nodes(state.engine)

    def row() -> tuple[bool, bool]:
        found = nodes.find("n1")
        assert found is not None
        return found.draining, bool(found.secret_hash)

    assert "takes no new sessions" in printed(capfd, "nodes", "drain", "n1")
    assert row() == (True, True)
    assert "takes sessions again" in printed(capfd, "nodes", "undrain", "n1")
    assert row() == (False, True)
    assert "refused from now on" in printed(capfd, "nodes", "remove", "n1")
    assert row() == (False, False)
    lapse(state.engine, "n1")
    assert "There is no node" in printed(capfd, "nodes")
    logged = [(each.action, each.what, each.origin) for each in state.recent_audit(9)]
    assert logged == [
        ("remove node", "n1", "command line"),
        ("undrain node", "n1", "command line"),
        ("drain node", "n1", "command line"),
    ]


@pytest.mark.parametrize("action", ["drain", "undrain", "remove"])
def test_an_unknown_node_changes_nothing_and_names_the_others(
    state: HubState, capfd: pytest.CaptureFixture[str], action: str
) -> None:
    connected(state.engine, "n1")
    before = Nodes(state.engine).all()
    assert "There is no node n2. There are n1." in " ".join(
        refused(capfd, "nodes", action, "n2").split()
    )
    assert Nodes(state.engine).all() == before
    assert state.recent_audit(9) == ()


def test_a_token_is_printed_once_and_stored_as_a_hash_only(
    state: HubState, course: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one, two = printed(capfd, "node-token", "n1", "n2").split()
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


def test_another_token_replaces_the_first_unless_the_node_is_at_work(
    state: HubState, capfd: pytest.CaptureFixture[str]
) -> None:
    first = NodeToken.find(printed(capfd, "node-token", "n1"), "")
    second = NodeToken.find(printed(capfd, "node-token", "n1"), "")
    nodes = Nodes(state.engine)
    assert nodes.known_by(first.secret_hash) is None
    assert nodes.renew_leases({"n1": second.secret_hash}, 60)
    assert "nodes remove n1" in " ".join(refused(capfd, "node-token", "n1").split())
    assert nodes.known_by(second.secret_hash) is not None


def test_a_bad_name_makes_no_token(state: HubState, capfd: pytest.CaptureFixture[str]) -> None:
    assert "cannot be named" in refused(capfd, "node-token", "n1", "../n2")
    assert Nodes(state.engine).all() == ()


def test_a_hub_without_nodes_makes_no_token(
    state: HubState, course: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (course / "mograder.toml").write_text('title = "Numerics"\n')
    assert "[nodes] enabled" in refused(capfd, "node-token", "n1")


def test_where_no_hub_has_run_nothing_is_made(
    course: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "No hub has run" in refused(capfd, "nodes")
    assert "No hub has run" in refused(capfd, "node-token", "n1")
    assert not (course / "hub.db").exists()
