"""auth.node_tokens: what is written is read again, and nothing else is."""

from __future__ import annotations

import pytest

from mograder.auth.node_tokens import NodeToken, secret_hash
from mograder.core.errors import InvalidInput

ONE, TWO = NodeToken.new("node-1"), NodeToken.new("node-2.example.edu")


def test_the_only_token_of_a_text_is_taken_whatever_the_machine_is_called() -> None:
    assert NodeToken.find(f" {ONE.text}\n", "elsewhere") == ONE


def test_of_several_tokens_a_machine_takes_that_of_its_name() -> None:
    text = f"{ONE.text}\n{TWO.text}\n"
    assert NodeToken.find(text, "node-1") == ONE
    assert NodeToken.find(text, "node-2.example.edu") == TWO
    with pytest.raises(InvalidInput, match="None of the 2 node tokens is for 'node-2'"):
        NodeToken.find(text, "node-2")


def test_each_token_has_a_secret_of_its_own_that_neither_hash_nor_repr_shows() -> None:
    again = NodeToken.new("node-1")
    assert again.secret_hash != ONE.secret_hash == secret_hash(ONE.secret)
    assert ONE.secret not in ONE.secret_hash
    assert ONE.secret not in repr(ONE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "node-1",
        "node-1:",
        "node-1:short",
        f":{'x' * 43}",
        f"../n:{'x' * 43}",
        "n:" + "é" * 43,
        f"node-1:{'x' * 43}\nnode-2:short",
        "n:" + "x" * 70_000,
    ],
    ids=range(10),
)
def test_other_texts_are_no_tokens(text: str) -> None:
    with pytest.raises(InvalidInput, match="not the token of a node"):
        NodeToken.find(text, "node-1")
