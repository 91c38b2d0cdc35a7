"""The hub's metrics, in the text format of Prometheus.

Everything is read at a scrape, from counters that exist anyway, so the hot path pays only an
addition. Labels are items, reasons and states, never people. The page ``reference/metrics.md``
lists them all, and a test compares.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from starlette.responses import Response

from mograder.operations.machines import Machine
from mograder.sessions.copy_recorder import RecordingCounters
from mograder.sessions.counters import Counters, Kind, Outcome
from mograder.sessions.end_reasons import EndReason
from mograder.sessions.manager import SessionManager

STATES = ("waiting", "starting", "running", "ending")
_KINDS: tuple[Kind, ...] = ("warm", "cold", "unknown")
_OUTCOMES: tuple[Outcome, ...] = ("ok", "failed", "refused")


@dataclass(slots=True)
class ProxyCounters:
    """The session proxy's counts since the hub's start; ``in`` is towards the session.

    Plain numbers that its hot path only adds to, on the event loop.
    """

    http: int = 0
    websockets: int = 0
    refused: int = 0
    """Requests that the proxy answered without a session's server."""
    open_websockets: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    messages_in: int = 0
    messages_out: int = 0


class Metrics:
    """The hub's metrics, in their own registry; the proxy writes to ``traffic``.

    Create it when the pool is open: sessions that run by then count as adopted.
    """

    def __init__(self, pool: SessionManager) -> None:
        self.traffic = ProxyCounters()
        self.machines: Callable[[], Iterable[Machine]] | None = None
        """Returns the nodes; None on a hub that has none."""
        self.recording = RecordingCounters()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_HubCollector(pool, self, adopted=len(pool.all())))
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """Return all metrics as text."""
        return generate_latest(self._registry)

    def response(self) -> Response:
        """Return the answer to a scrape."""
        return Response(self.render(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


class _HubCollector(Collector):
    def __init__(self, pool: SessionManager, metrics: Metrics, *, adopted: int) -> None:
        self._pool = pool
        self._metrics = metrics
        self._adopted = adopted

    def collect(self) -> Iterable[Metric]:
        yield from _starts(self._pool.tally)
        yield from _sessions(self._pool, self._adopted)
        yield from _proxied(self._metrics.traffic)
        yield _recorded(self._metrics.recording)
        if self._metrics.machines is not None:
            yield from _of_nodes(self._metrics.machines())


def _starts(tally: Counters) -> Iterator[Metric]:
    starts = CounterMetricFamily(
        "mograder_session_starts", "Sessions asked for that were not running.", labels=_START
    )
    for kind in _KINDS:
        for outcome in _OUTCOMES:
            starts.add_metric((kind, outcome), tally.starts[kind, outcome])
    yield starts
    seconds = HistogramMetricFamily(
        "mograder_session_start_seconds",
        "Time from the request to a session that answers, the wait in line included.",
    )
    histogram = tally.start_seconds
    buckets = [(_bound(bound), count) for bound, count in histogram.cumulative()]
    seconds.add_metric((), buckets, histogram.total)
    yield seconds
    fallbacks = CounterMetricFamily(
        "mograder_warm_start_fallbacks",
        "Sessions that started cold although a warm start was wanted.",
        labels=("reason",),
    )
    for reason, count in sorted(tally.fallbacks.items()):
        fallbacks.add_metric((reason,), count)
    yield fallbacks


def _sessions(pool: SessionManager, adopted: int) -> Iterator[Metric]:
    counted = pool.states()
    states = GaugeMetricFamily("mograder_sessions", "Sessions by state.", labels=("state",))
    for state in STATES:
        states.add_metric((state,), counted[state])
    yield states
    yield GaugeMetricFamily(
        "mograder_start_queue_length", "Starts that wait in line.", pool.tally.queue_length
    )
    endings = CounterMetricFamily(
        "mograder_session_endings", "Sessions that ended, by reason.", labels=("reason",)
    )
    for reason in EndReason:
        endings.add_metric((reason.value,), pool.tally.endings[reason])
    yield endings
    items = GaugeMetricFamily(
        "mograder_item_sessions", "Running sessions of an item.", labels=_ITEM
    )
    memory = GaugeMetricFamily(
        "mograder_item_memory_bytes",
        "Memory of all running sessions of an item together, as measured.",
        labels=_ITEM,
    )
    used: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for live in pool.all():
        used[live.key.item, live.key.mode.value].append(live.usage.memory)
    for item, sizes in sorted(used.items()):
        items.add_metric(item, len(sizes))
        memory.add_metric(item, sum(sizes))
    yield items
    yield memory
    yield GaugeMetricFamily(
        "mograder_adopted_sessions",
        "Sessions that ran already when this hub started, and were taken over.",
        adopted,
    )


def _proxied(traffic: ProxyCounters) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "mograder_proxy_requests", "Requests for sessions' addresses.", labels=("kind",)
    )
    requests.add_metric(("http",), traffic.http)
    requests.add_metric(("websocket",), traffic.websockets)
    requests.add_metric(("refused",), traffic.refused)
    yield requests
    size = CounterMetricFamily(
        "mograder_proxy_bytes", "Bytes of bodies and messages passed on.", labels=("direction",)
    )
    size.add_metric(("in",), traffic.bytes_in)
    size.add_metric(("out",), traffic.bytes_out)
    yield size
    messages = CounterMetricFamily(
        "mograder_proxy_websocket_messages", "Messages passed on.", labels=("direction",)
    )
    messages.add_metric(("in",), traffic.messages_in)
    messages.add_metric(("out",), traffic.messages_out)
    yield messages
    yield GaugeMetricFamily(
        "mograder_proxy_open_websockets",
        "WebSockets that are open at the moment.",
        traffic.open_websockets,
    )


def _recorded(recording: RecordingCounters) -> Metric:
    saves = CounterMetricFamily(
        "mograder_recorded_saves",
        "Saves of notebooks, by whether they were recorded as versions.",
        labels=("outcome",),
    )
    saves.add_metric(("ok",), recording.recorded)
    saves.add_metric(("failed",), recording.failed)
    saves.add_metric(("too_large",), recording.too_large)
    return saves


def _of_nodes(machines: Iterable[Machine]) -> Iterator[Metric]:
    families = {name: GaugeMetricFamily(name, text, labels=("node",)) for name, text in _NODES}
    for each in machines:
        numbers = (
            each.at_work,
            each.state == "draining",
            each.seen.timestamp() if each.seen else 0,
            *(_numbers(each) if each.at_work else ()),
        )
        for family, number in zip(families.values(), numbers, strict=False):
            family.add_metric((each.name,), float(number))
    yield from families.values()


def _numbers(machine: Machine) -> tuple[float, ...]:
    """Return the numbers of a node that is connected, in the order of ``_NODES``."""
    return (
        machine.sessions,
        machine.runs,
        machine.memory,
        machine.used,
        machine.processors,
        machine.load,
        machine.environments,
        machine.warm,
    )


def _bound(seconds: float) -> str:
    return "+Inf" if seconds == float("inf") else str(seconds)


_START = ("kind", "outcome")
_ITEM = ("item", "mode")
_NODES = (
    ("mograder_node_up", "Whether a node is connected."),
    ("mograder_node_draining", "Whether a node is connected and takes no new sessions."),
    ("mograder_node_last_seen_seconds", "Unix time at which a node was last connected."),
    ("mograder_node_sessions", "Running sessions of a node."),
    ("mograder_node_runs", "Validations and gradings that run on a node."),
    ("mograder_node_memory_bytes", "Memory that a node has for sessions and runs."),
    ("mograder_node_used_memory_bytes", "Memory that its sessions, runs and zygotes use."),
    ("mograder_node_processors", "Processors of a node."),
    ("mograder_node_load", "Load average of a node over a minute."),
    ("mograder_node_environments", "Environments that a node has built."),
    ("mograder_node_zygotes", "Environments whose sessions start warm on a node."),
)
"""Names and descriptions; a node that is not connected has the first three only."""
