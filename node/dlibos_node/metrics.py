"""The tile's Prometheus metrics: one collector at the edge turns the plain statistics of the rooms into samples."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector

from dlibos_node.apps.web.statistics import WebStatistics
from dlibos_node.noc.faults import Faults
from dlibos_node.noc.peer import Peer
from dlibos_node.noc.queues import Queues
from dlibos_node.protection_metrics import ProtectionMetrics, Sample
from dlibos_node.roles.app import App
from dlibos_node.roles.driver import Driver
from dlibos_node.roles.stack import Stack


def listen(collector: Collector, host: str, port: int) -> WSGIServer:
    """Return a server of `collector` over HTTP that listens (at a free port for 0) and answers once it is served.

    Two steps, because the port is opened before the tile is hardened, and the thread is made after it.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    return make_server(host, port, make_wsgi_app(registry), ThreadingWSGIServer, _Handler)


def serve(server: WSGIServer) -> None:
    """Answer scrapes in a daemon thread."""
    threading.Thread(target=server.serve_forever, daemon=True, name="metrics").start()


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name the base class has
        """Say nothing: a scrape every few seconds would fill the log."""


class TileCollector(Collector):
    """Reads the statistics of one tile at scrape time."""

    def __init__(self, tile: int, role: str, queues: Queues, peers: Mapping[int, Peer], faults: Faults) -> None:
        self._tile = str(tile)
        self._role = role
        self._queues = queues
        self._peers = peers
        self._faults = faults
        self._handover: Mapping[Any, int] = {}
        self._protection = ProtectionMetrics(faults, self._counter, self._gauge)
        self._sources: list[Callable[[], Iterator[Metric]]] = [self._process, self._noc, self._protection.families]

    def watch_protection(self, mode: str, costs: Mapping[str, float]) -> None:
        """Say in which mode the mesh runs, and what one check costs by kind, in CPU seconds."""
        self._protection.mode, self._protection.costs = mode, costs

    def watch_handover(self, refused: Mapping[Any, int]) -> None:
        """Add who was refused this tile's memory to the drops."""
        self._handover = refused

    def watch_driver(self, driver: Driver) -> None:
        """Add the metrics of a driver tile."""
        self._sources.append(lambda: self._driver(driver))

    def watch_stack(self, stack: Stack) -> None:
        """Add the metrics of a stack tile."""
        self._sources.append(lambda: self._stack(stack))

    def watch_app(self, app: App, statistics: WebStatistics) -> None:
        """Add the metrics of an application tile."""
        self._sources.append(lambda: self._app(app, statistics))

    def collect(self) -> Iterator[Metric]:
        """Yield all families; every sample carries the tile and its role, and for some metrics its room."""
        families: dict[str, Metric] = {}
        for source in self._sources:
            for family in source():
                known = families.setdefault(family.name, family)
                if known is not family:  # a fused tile has several roles, and a family may appear only once
                    known.samples.extend(family.samples)
        yield from families.values()

    # --- families -----------------------------------------------------------------------------------------------

    def _counter(self, name: str, text: str, labels: tuple[str, ...], samples: list[Sample]) -> Metric:
        family = CounterMetricFamily(f"dlibos_{name}", text, labels=("tile", "role", *labels))
        for values, number in samples:
            family.add_metric((self._tile, self._role, *values), number)
        return family

    def _gauge(self, name: str, text: str, labels: tuple[str, ...], samples: list[Sample]) -> Metric:
        family = GaugeMetricFamily(f"dlibos_{name}", text, labels=("tile", "role", *labels))
        for values, number in samples:
            family.add_metric((self._tile, self._role, *values), number)
        return family

    def _drops(self, room: str, counts: Mapping[Any, int]) -> list[Sample]:
        return [((room, reason.value if hasattr(reason, "value") else str(reason)), n) for reason, n in counts.items()]

    def _drop_family(self, samples: list[Sample]) -> Metric:
        samples.append((("memory", "gone"), self._faults.gone))
        text = "Frames, messages, descriptors and callers that went no further, by room and reason."
        return self._counter("drops", text, ("room", "reason"), samples + self._drops("handover", self._handover))

    def _process(self) -> Iterator[Metric]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        modes: list[Sample] = [(("user",), usage.ru_utime), (("system",), usage.ru_stime)]
        yield self._counter("cpu_seconds", "CPU time of the tile's process.", ("mode",), modes)

    def _noc(self) -> Iterator[Metric]:
        peers = list(self._peers.values())
        source = ("source", "source_role")
        target = ("destination", "destination_role")

        def each(value: Callable[[Peer], float]) -> list[Sample]:
            return [((str(peer.number), peer.role), value(peer)) for peer in peers]

        yield self._counter(
            "noc_messages_received", "NoC messages, counted where they arrive.", source,
            each(lambda p: p.statistics.messages_in),
        )  # fmt: skip
        yield self._counter(
            "noc_hops", "Mesh links crossed by the messages received.", source,
            each(lambda p: p.statistics.messages_in * p.hops),
        )  # fmt: skip
        yield self._counter(
            "noc_frames_received", "gRPC messages received.", source, each(lambda p: p.statistics.frames_in)
        )
        yield self._counter("noc_frames_sent", "gRPC messages sent.", target, each(lambda p: p.statistics.frames_out))
        yield self._counter(
            "noc_words_received", "64-bit words received, headers included.", source,
            each(lambda p: p.statistics.words_in),
        )  # fmt: skip
        yield self._counter(
            "noc_credit_stalls", "Times a queue's words had to wait for credit.", target,
            each(lambda p: p.statistics.stalls),
        )  # fmt: skip
        yield self._gauge("noc_links_up", "Links that are up.", (), [((), sum(p.up for p in peers))])
        depth: list[Sample] = [((str(q),), self._queues.depth(q)) for q in range(4)]
        yield self._gauge("noc_queue_depth", "Messages that wait in a demux queue.", ("queue",), depth)
        yield self._gauge(
            "noc_waiting_words", "Words that wait to be sent.", target, each(lambda p: sum(map(len, p.waiting)))
        )
        refused: list[Sample] = [((reason.value,), n) for reason, n in self._queues.refused.items()]
        yield self._counter("noc_refused", "Links and frames refused.", ("reason",), refused)

    def _driver(self, driver: Driver) -> Iterator[Metric]:
        device, memory = driver.device.statistics, driver.memory
        frames: list[Sample] = [(("in",), device.rx_frames), (("out",), device.tx_frames)]
        octets: list[Sample] = [(("in",), device.rx_bytes), (("out",), device.tx_bytes)]
        yield self._counter("nic_frames", "Frames at the network device.", ("direction",), frames)
        yield self._counter("nic_bytes", "Bytes at the network device, Ethernet included.", ("direction",), octets)
        pools: list[Sample] = []
        for domain, rx in memory.memories.items():
            pools += [((f"rx_small_{domain}",), rx.small.in_use), ((f"rx_large_{domain}",), rx.large_in_use)]
        yield self._buffers(pools)
        yield self._drop_family(
            self._drops("driver", driver.drops)
            + self._drops("dispatch", driver.dispatch.drops)
            + self._drops("redirect", driver.redirect.drops)
            + self._drops("nic", device.drops)
            + [(("driver", "no_buffer"), memory.overflowed)]
        )

    def _buffers(self, samples: list[Sample]) -> Metric:
        return self._gauge("buffers_in_use", "Buffers taken or leased, by pool.", ("pool",), samples)

    def _stack(self, stack: Stack) -> Iterator[Metric]:
        flows = stack.host.flows
        counts, tcp = flows.statistics, flows.tcp_statistics
        yield self._gauge("connections", "TCP connections, half-open included.", (), [((), len(flows))])
        yield self._gauge("time_wait", "Connections in TIME-WAIT.", (), [((), flows.waiting)])
        yield self._counter("connections_accepted", "Handshakes completed.", (), [((), counts.accepted)])
        ends: list[Sample] = [(("reset",), counts.reset), (("normal",), counts.closed - counts.reset)]
        yield self._counter("connections_closed", "Connections that ended.", ("how",), ends)
        moves: list[Sample] = [
            (("to_stack",), stack.departures.moved),
            (("from_stack",), stack.arrivals.adopted),
            (("between_apps",), stack.hand_overs.done),
        ]
        yield self._counter("connections_moved", "Connections that changed tiles unnoticed.", ("how",), moves)
        yield self._gauge("buckets_held", "Buckets of flows this tile owns.", (), [((), stack.host.buckets.held)])
        segments: list[Sample] = [(("in",), counts.segments_in), (("out",), counts.segments_out)]
        yield self._counter("tcp_segments", "TCP segments; a super-segment counts once.", ("direction",), segments)
        events: list[Sample] = [
            ((name,), getattr(tcp, name))
            for name in (
                "retransmits",
                "fast_retransmits",
                "timeouts",
                "window_probes",
                "challenge_acks",
                "out_of_order",
            )
        ]
        events.append((("resets_sent",), counts.resets_sent))
        yield self._counter("tcp_events", "What TCP had to do besides sending and receiving.", ("event",), events)
        yield self._buffers([(("tx",), stack.port.in_use)])
        yield self._drop_family(
            self._drops("stack", stack.drops)
            + self._drops("dispatch", stack.dispatch.drops)
            + self._drops("host", stack.host.drops)
            + self._drops("tcp", tcp.dropped())
            + self._drops("departures", stack.departures.drops)
            + self._drops("orphans", stack.orphans.drops)
            + [(("tx", "unroutable"), stack.port.unroutable)]
        )

    def _app(self, app: App, statistics: WebStatistics) -> Iterator[Metric]:
        sockets = app.sockets
        yield self._gauge("application_connections", "Connections of the application.", (), [((), len(sockets))])
        text = "Connections the application took."
        yield self._counter("application_connections_accepted", text, (), [((), sockets.accepted)])
        yield self._buffers([(("app",), sockets.memory.in_use)])
        yield self._drop_family(self._drops("sockets", sockets.drops) + self._drops("dispatch", app.dispatch.drops))
        yield from self._web(statistics)

    def _web(self, web: WebStatistics) -> Iterator[Metric]:
        yield self._counter("requests", "Requests whose head was understood.", (), [((), web.requests)])
        classes: list[Sample] = [((f"{digit}xx",), web.responses[digit]) for digit in range(2, 6)]
        yield self._counter("responses", "Final responses, by class of status.", ("status",), classes)
        octets: list[Sample] = [(("in",), web.bytes_received), (("out",), web.bytes_sent)]
        yield self._counter("application_bytes", "Bytes the application read and wrote.", ("direction",), octets)
        refusals: list[Sample] = [((reason.name.lower(),), n) for reason, n in web.refusals.items()]
        yield self._counter("requests_refused", "Requests refused before any resource saw them.", ("reason",), refusals)
        yield self._counter("request_timeouts", "Connections ended because nothing moved.", (), [((), web.timeouts)])
