"""The hub's metrics, in the text format of Prometheus.

Everything is read at a scrape, from counters that exist anyway, so the hot path pays only an
addition. Labels are items, reasons and states, never people. The page ``reference/metrics.md``
lists them all, and a test compares.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

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
from mograder.sessions.counters import Kind, Outcome
from mograder.sessions.end_reasons import EndReason
from mograder.sessions.manager import SessionManager

F = TypeVar("F", CounterMetricFamily, GaugeMetricFamily)
STATES = ("waiting", "starting", "running", "ending")
_KINDS: tuple[Kind, ...] = ("warm", "cold", "unknown")
_OUTCOMES: tuple[Outcome, ...] = ("ok", "failed", "refused")
_ALWAYS = 3
_NODES: tuple[tuple[str, str, Callable[[Machine], float]], ...] = (
    ("up", "Whether a node is connected.", lambda each: each.at_work),
    (
        "draining",
        "Whether a node is connected and takes no new sessions.",
        lambda each: each.state == "draining",
    ),
    (
        "last_seen_seconds",
        "Unix time at which a node was last connected.",
        lambda each: each.seen.timestamp() if each.seen else 0,
    ),
    ("sessions", "Running sessions of a node.", lambda each: each.sessions),
    ("runs", "Validations and gradings that run on a node.", lambda each: each.runs),
    ("memory_bytes", "Memory that a node has for sessions and runs.", lambda each: each.memory),
    (
        "used_memory_bytes",
        "Memory that its sessions, runs and zygotes use.",
        lambda each: each.used,
    ),
    ("processors", "Processors of a node.", lambda each: each.processors),
    ("load", "Load average of a node over a minute.", lambda each: each.load),
    ("environments", "Environments that a node has built.", lambda each: each.environments),
    ("zygotes", "Environments whose sessions start warm on a node.", lambda each: each.warm),
)
"""The numbers of a node; one that is not connected has the first three (``_ALWAYS``) only."""


@dataclass(slots=True)
class ProxyCounters:
    """The session proxy's counts since its start, by the event loop; ``in``: to the session."""

    http: int = 0
    websockets: int = 0
    refused: int = 0
    """Requests that the proxy answered without a session's server."""
    open_websockets: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    messages_in: int = 0
    messages_out: int = 0


class Metrics(Collector):
    """The hub's metrics; sessions that run when it is made count as adopted."""

    def __init__(self, pool: SessionManager, recording: RecordingCounters) -> None:
        self.traffic = ProxyCounters()
        self.machines: Callable[[], Iterable[Machine]] | None = None
        self._pool = pool
        self._recording = recording
        self._adopted = len(pool.all())
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        return generate_latest(self._registry)

    def response(self) -> Response:
        return Response(self.render(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    def collect(self) -> Iterator[Metric]:
        yield from self._starts()
        yield from self._sessions()
        yield from self._proxied()
        if self.machines is not None:
            machines = tuple(self.machines())
            for at, (name, text, number) in enumerate(_NODES):
                there = (each for each in machines if each.at_work or at < _ALWAYS)
                numbers = {each.name: float(number(each)) for each in there}
                yield _filled(GaugeMetricFamily, f"mograder_node_{name}", text, "node", numbers)

    def _starts(self) -> Iterator[Metric]:
        tally, counter = self._pool.tally, CounterMetricFamily
        name, text = "mograder_session_starts", "Sessions asked for that were not running."
        starts: dict[tuple[str, ...], float] = {
            (kind, how): tally.starts[kind, how] for kind in _KINDS for how in _OUTCOMES
        }
        yield _filled(counter, name, text, "kind outcome", starts)
        seconds = HistogramMetricFamily(
            "mograder_session_start_seconds",
            "Time from the request to a session that answers, the wait in line included.",
        )
        counts = tally.start_seconds.cumulative()
        buckets = [("+Inf" if at == float("inf") else str(at), count) for at, count in counts]
        seconds.add_metric((), buckets, tally.start_seconds.total)
        yield seconds
        name = "mograder_warm_start_fallbacks"
        text = "Sessions that started cold although a warm start was wanted."
        yield _filled(counter, name, text, "reason", dict(sorted(tally.fallbacks.items())))

    def _sessions(self) -> Iterator[Metric]:
        tally, states, gauge = self._pool.tally, self._pool.states(), GaugeMetricFamily
        by_state = {each: states[each] for each in STATES}
        yield _filled(gauge, "mograder_sessions", "Sessions by state.", "state", by_state)
        text = "Starts that wait in line."
        yield gauge("mograder_start_queue_length", text, tally.queue_length)
        name, text = "mograder_session_endings", "Sessions that ended, by reason."
        endings = {each.value: tally.endings[each] for each in EndReason}
        yield _filled(CounterMetricFamily, name, text, "reason", endings)
        used: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for live in self._pool.all():
            used[live.key.item, live.key.mode.value].append(live.usage.memory)
        name, text = "mograder_item_sessions", "Running sessions of an item."
        numbers = {item: len(used[item]) for item in sorted(used)}
        yield _filled(gauge, name, text, "item mode", numbers)
        name = "mograder_item_memory_bytes"
        text = "Memory of all running sessions of an item together, as measured."
        memory = {item: sum(used[item]) for item in sorted(used)}
        yield _filled(gauge, name, text, "item mode", memory)
        text = "Sessions that ran already when this hub started, and were taken over."
        yield gauge("mograder_adopted_sessions", text, self._adopted)

    def _proxied(self) -> Iterator[Metric]:
        traffic, saves, counter = self.traffic, self._recording, CounterMetricFamily
        name, text = "mograder_proxy_requests", "Requests for sessions' addresses."
        kinds = {"http": traffic.http, "websocket": traffic.websockets, "refused": traffic.refused}
        yield _filled(counter, name, text, "kind", kinds)
        name, text = "mograder_proxy_bytes", "Bytes of bodies and messages passed on."
        size = {"in": traffic.bytes_in, "out": traffic.bytes_out}
        yield _filled(counter, name, text, "direction", size)
        name, text = "mograder_proxy_websocket_messages", "Messages passed on."
        messages = {"in": traffic.messages_in, "out": traffic.messages_out}
        yield _filled(counter, name, text, "direction", messages)
        text = "WebSockets that are open at the moment."
        opened = traffic.open_websockets
        yield GaugeMetricFamily("mograder_proxy_open_websockets", text, opened)
        name = "mograder_recorded_saves"
        text = "Saves of notebooks, by whether they were recorded as versions."
        done = {"ok": saves.recorded, "failed": saves.failed, "too_large": saves.too_large}
        yield _filled(counter, name, text, "outcome", done)


def _filled(
    kind: type[F],
    name: str,
    text: str,
    labels: str,
    numbers: Mapping[str, float] | Mapping[tuple[str, ...], float],
) -> F:
    family = kind(name, text, labels=labels.split())
    for values, number in numbers.items():
        family.add_metric((values,) if isinstance(values, str) else values, number)
    return family
