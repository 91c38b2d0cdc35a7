"""The choice of a node: usable, warm, least loaded, and a burst spread over all."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mograder.sandbox.protocol import NodeStatus
from mograder.sessions.capacity import MEGABYTE
from mograder.sessions.nodes.placement import (
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


def chosen(*nodes: NodeLoad, expected: int = EXPECTED) -> str | None:
    """The node that gets a start."""
    return choose_node(nodes, ENVIRONMENT, expected)


def test_without_a_usable_node_there_is_no_place() -> None:
    assert chosen() is None
    assert chosen(node("a", usable=False, warm=True)) is None
    assert choose_for_run([node("a", usable=False)], ENVIRONMENT, EXPECTED) is None


def test_a_node_that_is_not_usable_is_never_chosen() -> None:
    assert chosen(node("a", usable=False, warm=True), node("b", used_mb=990)) == "b"


def test_a_warm_node_is_better_than_an_idle_cold_one() -> None:
    assert chosen(node("cold"), node("warm", used_mb=700, warm=True)) == "warm"


def test_a_node_that_would_have_to_build_the_environment_comes_last() -> None:
    built = saying(node("built", used_mb=700), environments=(ENVIRONMENT,))
    assert chosen(node("without"), built) == "built"


def test_a_warm_node_without_memory_to_spare_is_passed_over() -> None:
    assert chosen(node("cold"), node("warm", used_mb=950, warm=True)) == "cold"


def test_of_two_warm_nodes_the_less_loaded_one_is_chosen() -> None:
    a, b = node("a", used_mb=300, warm=True), node("b", used_mb=200, warm=True)
    assert chosen(a, b) == "b"
    assert chosen(a, saying(b, load=4.0)) == "a"
    assert chosen(a, saying(b, starting=2)) == "a"


def test_a_warm_node_whose_starts_are_all_taken_comes_after_a_free_one() -> None:
    busy = replace(node("a", warm=True), reserved=4)
    assert chosen(busy, node("b", used_mb=800, warm=True)) == "b"


def test_where_nothing_fits_the_node_with_the_most_memory_is_chosen() -> None:
    assert chosen(node("a", used_mb=950), node("b", used_mb=930)) == "b"


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


@given(st.integers(1, 8), st.integers(1, 120))
def test_a_burst_is_spread_evenly(nodes: int, starts: int) -> None:
    """No node has reported anything meanwhile."""
    loads = {str(each): node(str(each), warm=True) for each in range(nodes)}
    given_to: Counter[str] = Counter(dict.fromkeys(loads, 0))
    for _ in range(starts):
        name = choose_node(loads.values(), ENVIRONMENT, EXPECTED)
        assert name is not None
        given_to[name] += 1
        before = loads[name]
        loads[name] = replace(
            before,
            reserved=before.reserved + 1,
            reserved_memory=before.reserved_memory + EXPECTED,
        )
    assert max(given_to.values()) - min(given_to.values()) <= 1
