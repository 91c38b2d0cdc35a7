"""The variables of a node."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.core.settings import read_environ


def test_the_variables_are_read(tmp_path: Path) -> None:
    (tmp_path / "node-token").write_text(" a-token\n")
    node = read_environ(
        {
            "HOME": "/home/node",
            "CREDENTIALS_DIRECTORY": str(tmp_path),
            "MOGRADER_NODE_SHARE": "/srv/a:/srv/b",
            "MOGRADER_NODE_NAME": "n1",
            "MOGRADER_NODE_HUB": "https://hub.example.edu",
            "MOGRADER_NODE_MEMORY_MB": "4096",
            "MOGRADER_NODE_DRAIN_SECONDS": "1.5",
        }
    ).node
    assert node.shares == (Path("/srv/a"), Path("/srv/b"))
    assert node.state == Path("/home/node/.local/state/mograder-node")
    assert (node.name, node.memory_mb, node.drain_seconds) == ("n1", 4096, 1.5)
    assert node.hub == "https://hub.example.edu"
    assert node.token is not None
    assert node.token.get_secret_value() == "a-token"
    assert "a-token" not in repr(node)


def test_the_directory_of_systemd_is_taken_unless_one_is_named() -> None:
    given = {"STATE_DIRECTORY": "/var/lib/mograder-node", "MOGRADER_NODE_TOKEN": "t"}
    assert read_environ(given).node.state == Path("/var/lib/mograder-node")
    named = {**given, "MOGRADER_NODE_STATE": "/srv/node"}
    assert read_environ(named).node.state == Path("/srv/node")
    assert read_environ({}).node.token is None
    assert read_environ({}).node.name


@pytest.mark.parametrize("text", ["many", "-1", "inf", "nan"])
def test_a_number_that_is_none_is_named(text: str) -> None:
    with pytest.raises(InvalidInput, match="MOGRADER_NODE_MEMORY_MB"):
        read_environ({"MOGRADER_NODE_MEMORY_MB": text})
