"""``/metrics``: values and format, and that the reference page lists the same."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import cast

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from mograder.operations.machines import Machine, MachineState
from mograder.sandbox.protocol import Mode
from mograder.sessions.copy_recorder import RecordingCounters
from mograder.sessions.end_reasons import EndReason
from mograder.sessions.manager import SessionManager
from mograder.sessions.session import SessionKey
from mograder.web.hub.core.metrics import Metrics
from tests.support.clock import ManualClock
from tests.support.course import REPOSITORY
from tests.support.hub_app import FakePool, FakeSession, Hub

_REFERENCE = REPOSITORY / "docs" / "reference" / "metrics.md"
_ROW = re.compile(r"^\| `((?:mograder|process)_\w+)` \| (\w+) \|(.*)$", re.MULTILINE)


def eventful() -> FakePool:
    """A pool that has seen one of everything."""
    pool = FakePool(ManualClock())
    pool.tally.started(True, 0.08)
    pool.tally.started(False, 1.5)
    pool.tally.starts["unknown", "refused"] += 3
    pool.tally.fell_back("another marimo")
    pool.tally.endings[EndReason.IDLE] += 2
    pool.tally.queue_length = 4
    for user, size in (("alice", 40_000_000), ("bob", 50_000_000)):
        key = SessionKey(user, "A1", Mode.EDIT)
        pool.running[key] = FakeSession(key, pool.clock.now())
        pool.running[key].usage.memory = size
    return pool


NODES = (
    Machine(
        *("n1", MachineState.READY, "1.0", 16_000, 3_000, 4, 1.5),
        sessions=12,
        runs=2,
        environments=3,
        warm=1,
        seen=ManualClock().now(),
    ),
    Machine("n2", MachineState.DRAINING, sessions=1),
    Machine("n3", MachineState.AWAY, sessions=5, seen=ManualClock().now()),
)


def metrics_of(pool: FakePool) -> Metrics:
    return Metrics(cast(SessionManager, pool), RecordingCounters())


def metrics_with_nodes() -> Metrics:
    metrics = metrics_of(eventful())
    metrics.machines = lambda: NODES
    return metrics


def read(text: str) -> dict[str, float]:
    """Every sample as ``name{labels}``, as Prometheus itself would read it."""
    samples: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}"] = sample.value
    return samples


def test_the_pools_numbers_arrive_under_their_names() -> None:
    samples = read(metrics_of(eventful()).render().decode())
    assert samples["mograder_session_starts_total{kind=warm,outcome=ok}"] == 1
    assert samples["mograder_session_starts_total{kind=unknown,outcome=refused}"] == 3
    assert samples["mograder_session_starts_total{kind=cold,outcome=failed}"] == 0
    assert samples["mograder_session_start_seconds_bucket{le=0.1}"] == 1
    assert samples["mograder_session_start_seconds_bucket{le=+Inf}"] == 2
    assert samples["mograder_session_start_seconds_count{}"] == 2
    assert samples["mograder_session_start_seconds_sum{}"] == pytest.approx(1.58)
    assert samples["mograder_warm_start_fallbacks_total{reason=another marimo}"] == 1
    assert samples["mograder_session_endings_total{reason=idle}"] == 2
    assert samples["mograder_session_endings_total{reason=memory}"] == 0
    assert samples["mograder_start_queue_length{}"] == 4
    assert samples["mograder_item_memory_bytes{item=A1,mode=edit}"] == 90_000_000
    assert samples["mograder_item_sessions{item=A1,mode=edit}"] == 2
    assert samples["mograder_sessions{state=waiting}"] == 0
    assert samples["process_resident_memory_bytes{}"] > 1_000_000


def test_nodes_are_told_by_name_and_one_that_is_away_has_no_load() -> None:
    samples = read(metrics_with_nodes().render().decode())
    ups = {name: samples[f"mograder_node_up{{node={name}}}"] for name in ("n1", "n2", "n3")}
    assert ups == {"n1": 1, "n2": 1, "n3": 0}
    draining = "mograder_node_draining{node=%s}"
    assert [samples[draining % name] for name in ("n1", "n2", "n3")] == [0, 1, 0]
    of_n1 = {
        name.removeprefix("mograder_node_").removesuffix("{node=n1}"): value
        for name, value in samples.items()
        if name.endswith("{node=n1}")
    }
    assert of_n1 == {
        "up": 1,
        "draining": 0,
        "last_seen_seconds": ManualClock().now().timestamp(),
        "sessions": 12,
        "runs": 2,
        "memory_bytes": 16_000,
        "used_memory_bytes": 3_000,
        "processors": 4,
        "load": 1.5,
        "environments": 3,
        "zygotes": 1,
    }
    assert "mograder_node_sessions{node=n3}" not in samples


def test_a_hub_without_nodes_tells_none() -> None:
    assert "node" not in {
        name.split("_")[1] for name in read(metrics_of(eventful()).render().decode())
    }


def test_sessions_that_ran_before_the_hub_did_are_told_as_adopted(hub: Hub) -> None:
    hub.start("alice", "A1")
    metrics = metrics_of(hub.pool)
    hub.start("bob", "A1")
    samples = read(metrics.render().decode())
    assert samples["mograder_adopted_sessions{}"] == 1
    assert samples["mograder_sessions{state=running}"] == 2


def test_no_label_names_a_person() -> None:
    """Usernames would make one series per student (bounded cardinality), and are nobody's."""
    families = families_of(metrics_with_nodes())
    labels = {name for family in families for sample in family.samples for name in sample.labels}
    allowed = {"kind", "outcome", "state", "reason", "item", "mode", "direction", "le", "node"}
    assert labels <= allowed


def test_the_reference_lists_what_is_told_and_nothing_else() -> None:
    listed = {name: kind for name, kind, _ in _ROW.findall(_REFERENCE.read_text("utf-8"))}
    told = {full_name(family): family.type for family in families_of(metrics_with_nodes())}
    assert listed == told


def test_the_reference_lists_the_values_of_closed_labels() -> None:
    rows = {name: rest for name, _, rest in _ROW.findall(_REFERENCE.read_text("utf-8"))}
    told = {
        (full_name(family), value)
        for family in families_of(metrics_with_nodes())
        for sample in family.samples
        for label, value in sample.labels.items()
        if label in {"kind", "outcome", "state", "direction"}
    }
    told |= {("mograder_session_endings_total", reason.value) for reason in EndReason}
    assert [each for each in sorted(told) if f"`{each[1]}`" not in rows[each[0]]] == []


def families_of(metrics: Metrics) -> Iterable[Metric]:
    return list(text_string_to_metric_families(metrics.render().decode()))


def full_name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name
