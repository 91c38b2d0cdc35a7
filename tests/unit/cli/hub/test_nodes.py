"""``mograder hub nodes`` and ``mograder hub node-token``."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mograder.auth.node_certificates import Authority
from mograder.auth.node_tokens import NodeToken
from mograder.cli.main import run
from mograder.store.hub.active_hub import Hubs
from mograder.store.hub.hub_state import HubState
from mograder.store.hub.nodes import Nodes
from tests.support.joined_nodes import connected, joined, lapse

SECRET = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course with nodes that is the working directory, and the hub's secret."""
    monkeypatch.delenv("MOGRADER_COURSE_DIR", raising=False)
    monkeypatch.setenv("MOGRADER_HUB_SECRET", SECRET)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mograder.toml").write_text('[nodes]\nlisten = "192.0.2.1:8442"\n')
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


def test_without_nodes_it_says_how_one_joins(
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
        return found.draining, bool(found.fingerprint)

    assert "takes no new sessions" in printed(capfd, "nodes", "drain", "n1")
    assert row() == (True, True)
    assert "takes sessions again" in printed(capfd, "nodes", "undrain", "n1")
    assert row() == (False, True)
    assert "refused from now on" in printed(capfd, "nodes", "remove", "n1")
    assert row() == (False, False)
    lapse(state.engine, "n1")
    assert "No node has joined" in printed(capfd, "nodes")
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


def test_a_token_names_the_hubs_and_is_stored_as_a_hash_only(
    state: HubState, course: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Hubs(state.engine).note("192.0.2.2:8442")
    token = NodeToken.parse(printed(capfd, "node-token", "--uses", "2", "--minutes", "5"))
    assert token.hubs == ("192.0.2.2:8442", "192.0.2.1:8442")
    nodes, now = Nodes(state.engine), datetime.now(UTC)
    stored = nodes.authority()
    assert stored is not None
    authority = Authority.unsealed(stored[0].encode(), stored[1], SECRET)
    assert token.authority == authority.fingerprint
    assert not nodes.use_token(token.secret_hash, now + timedelta(minutes=6))
    used = [nodes.use_token(token.secret_hash, now) for _ in range(3)]
    assert used == [True, True, False]
    files = b"".join(each.read_bytes() for each in course.rglob("hub.db*"))
    assert token.secret_hash.encode() in files
    assert token.secret.encode() not in files
    assert [each.action for each in state.recent_audit(9)] == ["make node token"]


def test_the_authority_stays_the_same(state: HubState, capfd: pytest.CaptureFixture[str]) -> None:
    tokens = [NodeToken.parse(printed(capfd, "node-token")) for _ in range(2)]
    assert tokens[0].authority == tokens[1].authority
    assert tokens[0].secret != tokens[1].secret


def test_with_another_secret_no_token_is_made(
    state: HubState, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed(capfd, "node-token")
    monkeypatch.setenv("MOGRADER_HUB_SECRET", SECRET[::-1])
    assert "authority" in refused(capfd, "node-token")
    monkeypatch.delenv("MOGRADER_HUB_SECRET")
    assert "MOGRADER_HUB_SECRET" in refused(capfd, "node-token")


def test_a_new_authority_is_made_after_the_secret_was_changed(
    state: HubState, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = NodeToken.parse(printed(capfd, "node-token"))
    monkeypatch.setenv("MOGRADER_HUB_SECRET", SECRET[::-1])
    assert "--new-authority" in refused(capfd, "node-token")
    after = NodeToken.parse(printed(capfd, "node-token", "--new-authority"))
    assert after.authority != before.authority
    assert NodeToken.parse(printed(capfd, "node-token")).authority == after.authority


def test_a_hub_without_nodes_makes_no_token(
    state: HubState, course: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (course / "mograder.toml").write_text('title = "Numerics"\n')
    assert "[nodes] listen" in refused(capfd, "node-token")


def test_where_no_hub_has_run_nothing_is_made(
    course: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "No hub has run" in refused(capfd, "nodes")
    assert "No hub has run" in refused(capfd, "node-token")
    assert not (course / "hub.db").exists()
