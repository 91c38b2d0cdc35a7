"""The choice of a node: usable, warm, least loaded; bursts are in ``test_node_machines.py``."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mograder.sandbox.protocol import NodeStatus
from mograder.sessions.capacity import MEGABYTE
from mograder.sessions.nodes.node_registry import (
    NodeLoad,
    choose_for_run,
    choose_node,
    dependable,
    fits,
)

ENVIRONMENT = "numpy-environment"
EXPECTED = 100 * MEGABYTE


def node(name: str, *, usable: bool = True, used_mb: int = 0, warm: bool = False) -> NodeLoad:
    """A node with 1000 MB, two processors and four starts at the same time."""
    status = NodeStatus(
        number=1,
        memory=1000 * MEGABYTE,
        used=used_mb * MEGABYTE,
        processors=2,
        starts=4,
        environments=(ENVIRONMENT,) if warm else (),
        zygotes=(ENVIRONMENT,) if warm else (),
    )
    return NodeLoad(name, usable, status)


def saying(of: NodeLoad, **said: object) -> NodeLoad:
    """The node with another status."""
    return replace(of, status=of.status.model_copy(update=said))


MORE, LESS = node("a", used_mb=300, warm=True), node("b", used_mb=200, warm=True)
PLACES: dict[str, tuple[list[NodeLoad], str | None]] = {
    "nowhere without a node": ([], None),
    "nowhere without a usable node": ([node("a", usable=False, warm=True)], None),
    "never on one that is not usable": (
        [node("a", usable=False, warm=True), node("b", used_mb=990)],
        "b",
    ),
    "on a warm one rather than on an idle cold one": (
        [node("cold"), node("warm", used_mb=700, warm=True)],
        "warm",
    ),
    "last on one that would have to build the environment": (
        [node("without"), saying(node("built", used_mb=700), environments=(ENVIRONMENT,))],
        "built",
    ),
    "not on a warm one without memory to spare": (
        [node("cold"), node("warm", used_mb=950, warm=True)],
        "cold",
    ),
    "not on a warm one whose memory goes to starts that it has not reported": (
        [node("cold"), replace(node("warm", warm=True), reserved_memory=950 * MEGABYTE)],
        "cold",
    ),
    "of two warm ones on that with more memory": ([MORE, LESS], "b"),
    "of two warm ones on that whose processors rest": ([MORE, saying(LESS, load=4.0)], "a"),
    "of two warm ones on that which starts less": ([MORE, saying(LESS, starting=2)], "a"),
    "of two warm ones on that with fewer starts that it has not reported": (
        [replace(node("a", warm=True), reserved=1), node("b", warm=True)],
        "b",
    ),
    "of two warm ones on that with less memory for starts that it has not reported": (
        [replace(node("a", warm=True), reserved_memory=EXPECTED), node("b", warm=True)],
        "b",
    ),
    "last on a warm one whose starts are all taken": (
        [replace(node("a", warm=True), reserved=4), node("b", used_mb=800, warm=True)],
        "b",
    ),
    "on that with the most memory where it fits nowhere": (
        [node("a", used_mb=950), node("b", used_mb=930)],
        "b",
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_session_starts(place: str) -> None:
    nodes, name = PLACES[place]
    assert choose_node(nodes, ENVIRONMENT, EXPECTED) == name


def test_a_start_that_must_fit_waits_where_nothing_fits_but_on_an_empty_node() -> None:
    full = node("a", used_mb=950)
    assert choose_node([full], ENVIRONMENT, EXPECTED, must_fit=True) is None
    assert choose_node([full, node("b")], ENVIRONMENT, 2000 * MEGABYTE, must_fit=True) == "b"


def test_a_node_that_fails_counts_only_where_all_do() -> None:
    failing = replace(node("a"), failing=True)
    assert dependable([failing, node("b"), node("c", usable=False)]) == [node("b")]
    assert dependable([failing, node("c", usable=False)]) == [failing]


def test_an_empty_node_takes_a_start_that_needs_more_than_it_has() -> None:
    assert fits(node("a"), 2000 * MEGABYTE)
    assert not fits(node("a", used_mb=1), 2000 * MEGABYTE)


def test_a_run_goes_where_the_most_memory_is_free() -> None:
    nodes = [node("a", used_mb=300, warm=True), node("b", used_mb=200)]
    assert choose_for_run(nodes, ENVIRONMENT, EXPECTED) == "b"
    assert choose_for_run([node("a", usable=False)], ENVIRONMENT, EXPECTED) is None
