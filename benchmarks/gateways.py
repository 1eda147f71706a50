"""What a gateway gives: registrations over gRPC and lists over HTTP, in turns with a bare server of the same library;
and what it takes when it has nothing to do.

The gateway, or the bare server, has one core, and everything else the other: its node, the load. What the load itself
takes is part of every result, so that it can be seen that it was not the limit.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec

from benchmarks.processes import cpu_seconds, line_of, median, module, pin, report_of, resident_mib, say
from rollbook import NamingClient
from tests.support.http_gateway import HttpCaller
from tests.support.real_cluster import RealCluster, RealNode, free_base_ports, pause_s, until

PAIRS = 3
SECONDS = 4.0
SERVER_CORE, OTHER_CORE = 0, 1
SDKS, WINDOW = 16, 8  # over gRPC: connections, and requests in flight on each
POLLERS = 64  # connections over HTTP, with one request in flight on each
LISTED = 100
LIST_PATH = "/nacos/v1/ns/instance/list"
READY_S = 60.0


class GatewayRun(NamedTuple):
    per_second: float
    cpu_us: float  # of the server, per answer
    load_percent: float  # of a core, that the load took


class GatewayComparison(NamedTuple):
    """Medians of the pairs; the ratios are medians of the pairs' own ratios."""

    bare: GatewayRun
    gateway: GatewayRun
    speed_ratio: float
    cpu_ratio: float


def compared(pairs: Sequence[tuple[GatewayRun, GatewayRun]]) -> GatewayComparison:
    return GatewayComparison(
        _typical([bare for bare, _ in pairs]),
        _typical([gateway for _, gateway in pairs]),
        median([gateway.per_second / bare.per_second for bare, gateway in pairs]),
        median([gateway.cpu_us / bare.cpu_us for bare, gateway in pairs]),
    )


def _typical(runs: Sequence[GatewayRun]) -> GatewayRun:
    return GatewayRun(*(median(column) for column in zip(*runs, strict=True)))


@contextmanager
def cluster_with_gateways(folder: Path, nodes: int) -> Iterator[RealCluster]:
    """One beside each node, all of them ready."""
    with RealCluster(folder, nodes, gateways=1) as cluster:
        callers = [HttpCaller(node.base_port) for node in cluster]
        until(lambda: all(caller.finds_it_ready() for caller in callers), READY_S, "every gateway is ready")
        pause_s(1.0)
        yield cluster


def gateway_of(node: RealNode) -> int:
    (pid,) = node.gateways()
    return pid


def measured(server: int, *load: str) -> GatewayRun:
    """Run this load against the server process."""
    pin(server, SERVER_CORE)
    with module(*load) as client:
        pin(client.pid, OTHER_CORE)
        assert line_of(client) == "ready"
        before, load_before = cpu_seconds(server), cpu_seconds(client.pid)
        say(client)
        report = report_of(client)
        cpu, load_cpu = cpu_seconds(server) - before, cpu_seconds(client.pid) - load_before
    assert report["failures"] == 0, report
    seconds, answers = report["seconds"], report["requests"]
    return GatewayRun(answers / seconds, 1e6 * cpu / answers, 100 * load_cpu / seconds)


# -- gRPC


def registrations_over_grpc(folder: Path) -> GatewayComparison:
    """Changes of 800 services by 16 SDKs, against an echo of the same requests."""
    return compared([(_bare_grpc(), _gateway_grpc(folder / f"pair-{number}")) for number in range(PAIRS)])


def _bare_grpc() -> GatewayRun:
    port = free_base_ports(1)[0]
    with module("bare_grpc", str(port)) as server:
        assert line_of(server) == "ready"
        return measured(server.pid, *grpc_load(port), "bare")


def _gateway_grpc(folder: Path) -> GatewayRun:
    with cluster_with_gateways(folder, 1) as cluster:
        node = cluster.nodes[0]
        pin(node.pid, OTHER_CORE)
        return measured(gateway_of(node), *grpc_load(node.base_port + 1_000))


def grpc_load(port: int, seconds: float = SECONDS) -> tuple[str, ...]:
    return "grpc_load", f"127.0.0.1:{port}", str(SDKS), str(WINDOW), str(seconds)


# -- HTTP


def lists_over_http(folder: Path) -> GatewayComparison:
    """A list of 100 instances that does not change, against a route that answers the same bytes."""
    return compared([_list_pair(folder / f"pair-{number}") for number in range(PAIRS)])


def _list_pair(folder: Path) -> tuple[GatewayRun, GatewayRun]:
    target = f"{LIST_PATH}?{urlencode({'serviceName': 'listed', 'healthyOnly': True, 'groupName': 'DEFAULT_GROUP'})}"
    lines, content = folder.with_suffix(".lines"), folder.with_suffix(".json")
    lines.write_text(f"GET {target}\n")
    with (
        cluster_with_gateways(folder, 1) as cluster,
        NamingClient(servers=cluster.addresses, app="listed") as client,
    ):
        node = cluster.nodes[0]
        for number in range(LISTED):
            client.register_instance("listed", f"10.0.0.{number}", 8080, metadata={"zone": "a", "version": "1.0.0"})
        caller = HttpCaller(node.base_port)
        content.write_bytes(caller.ask("GET", target).body)
        assert len(msgspec.json.decode(content.read_bytes())["hosts"]) == LISTED
        pin(node.pid, OTHER_CORE)
        gateway = measured(gateway_of(node), *http_load([node.base_port], lines))
    return _bare_list(lines, content), gateway


def _bare_list(lines: Path, content: Path) -> GatewayRun:
    port = free_base_ports(1)[0]
    with module("bare_http", str(port), LIST_PATH, str(content)) as server:
        assert line_of(server) == "ready"
        until(lambda: _answers(port), READY_S, "the bare server answers")
        return measured(server.pid, *http_load([port], lines))


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", LIST_PATH)
        return connection.getresponse().status == 200
    except ConnectionRefusedError:
        return False
    finally:
        connection.close()


def http_load(ports: list[int], lines: Path, rate: float = 0, seconds: float = SECONDS) -> tuple[str, ...]:
    return "http_load", ",".join(map(str, ports)), str(POLLERS), str(seconds), str(rate), str(lines)


# -- nothing to do


class IdleGateway(NamedTuple):
    resident_mib: float
    cpu_percent: float


def idle_gateway(folder: Path, seconds: float = 20.0) -> IdleGateway:
    """The hungriest gateway of three that have nothing to do."""
    with cluster_with_gateways(folder, 3) as cluster:
        pids = [gateway_of(node) for node in cluster]
        began, before = time.monotonic(), [cpu_seconds(pid) for pid in pids]
        pause_s(seconds)
        passed = time.monotonic() - began
        percents = [100 * (cpu_seconds(pid) - start) / passed for pid, start in zip(pids, before, strict=True)]
        return IdleGateway(max(map(resident_mib, pids)), max(percents))
