"""All measures, one command: ``.venv/bin/python -m benchmarks.run``. Writes docs/performance.md; takes about a
quarter of an hour.

Timings of one machine mean little on another, so registrations are ratios against a bare loop in the same run.
"""

from __future__ import annotations

import datetime
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks import (
    beats,
    durable,
    etcd,
    faults,
    gateways,
    health,
    overload,
    sdk_traffic,
    spreading,
    stores,
    throughput,
)
from benchmarks.processes import ROOT, median
from runtime.store.etcd_child import find_etcd


class Row(NamedTuple):
    measure: str
    target: str
    measured: str
    met: bool


def rows(folder: Path) -> Iterator[Row]:
    for name, measure in _MEASURES.items():
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        place = folder / name
        place.mkdir()
        yield from measure(place)


def _registrations(folder: Path) -> Iterator[Row]:
    result = throughput.one_node_against_a_bare_loop(folder / "pinned", pinned=True)
    cpu = f"{result.cpu_ratio:.2f}x ({result.node.cpu_us:.1f} µs against {result.bare.cpu_us:.1f} µs)"
    name = "server CPU per registration, one node, against a bare ROUTER loop"
    yield Row(name, "≤ 2.5x", cpu, result.cpu_ratio <= 2.5)
    speed = f"{result.speed_ratio:.0%} ({result.node.per_second:,.0f}/s against {result.bare.per_second:,.0f}/s)"
    yield Row("registrations/s in the same pairs", "≥ 45 %", speed, result.speed_ratio >= 0.45)
    free = throughput.one_node_against_a_bare_loop(folder / "free", pinned=False)
    text = f"{free.speed_ratio:.0%} ({free.node.per_second:,.0f}/s against {free.bare.per_second:,.0f}/s)"
    yield Row("the same with the cores left to the scheduler", "none", f"{text}, CPU {free.cpu_ratio:.2f}x", True)


def _cluster(folder: Path) -> Iterator[Row]:
    result = throughput.three_nodes_converging(folder)
    text = f"{result.ratio_to_bare:.0%} ({result.per_second:,.0f}/s), converged after {result.converged_s:.2f} s"
    met = result.ratio_to_bare >= 0.2 and result.converged_s <= 1
    yield Row("registrations/s at one node of three while all converge", "≥ 20 % of the bare loop, ≤ 1 s", text, met)


def _visible(folder: Path) -> Iterator[Row]:
    p50, p99 = spreading.register_until_everywhere(folder)
    text = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    name = "register on one node → indexed on all three, at 1,000 changes/s"
    yield Row(name, "p50 ≤ 10 ms, p99 ≤ 50 ms", text, p50 <= 10 and p99 <= 50)


def _called(folder: Path) -> Iterator[Row]:
    p50, p99 = spreading.register_until_called(folder)
    text = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    name = "register on A → subscriber on B called (200 services)"
    yield Row(name, "p50 ≤ 20 ms, p99 ≤ 100 ms", text, p50 <= 20 and p99 <= 100)


def _round_trips(folder: Path) -> Iterator[Row]:
    result = throughput.round_trips(folder)
    text = f"p50 {result.lone_p50_ms:.2f} ms; p99 {result.window_p99_ms:.1f} ms"
    met = result.lone_p50_ms <= 0.6 and result.window_p99_ms <= 15
    yield Row("a lone registration; p99 at 200 in flight", "p50 ≤ 0.6 ms; ≤ 15 ms", text, met)


def _client_killed(folder: Path) -> Iterator[Row]:
    times = faults.client_killed(folder)
    text = f"median {median(times):.2f} s, worst {max(times):.2f} s of {len(times)}"
    yield Row("client process killed (-9) → gone on every node", "≤ 1 s", text, max(times) <= 1)


def _node_killed(folder: Path) -> Iterator[Row]:
    times = faults.node_killed_with_its_clients(folder)
    text = f"median {median(times):.1f} s, worst {max(times):.1f} s of {len(times)}"
    met = max(times) <= 15 and median(times) <= 8
    yield Row("node killed with its clients → gone elsewhere", "≤ 15 s, median ≤ 8 s", text, met)


def _watches(folder: Path) -> Iterator[Row]:
    cases = {
        "node killed, its 50 clients live: instances missing elsewhere": faults.node_killed_clients_live,
        "same-address restart: live instances missing from a ready node": faults.same_address_restart,
        "rolling restart of three: live instances missing from a ready node": faults.rolling_restart,
    }
    for number, (name, case) in enumerate(cases.items()):
        watch = case(folder / f"case-{number}")
        yield Row(name, "0", f"{watch.missing} in {watch.answers:,} answers", watch.missing == 0)


def _idle(folder: Path) -> Iterator[Row]:
    idle = throughput.idle_node(folder)
    text = f"{idle.resident_mib:.0f} MiB, {idle.cpu_percent:.1f} %"
    met = idle.resident_mib <= 80 and idle.cpu_percent <= 2
    yield Row("idle node process of three", "RSS ≤ 80 MB, CPU ≤ 2 % of a core", text, met)


def _overload(folder: Path) -> Iterator[Row]:
    found = overload.three_times_the_work(folder)
    name = "three times the sessions that saturate a node, windows full, against those: answers/s; p99"
    cpu = f"CPU {found.cpu_ratio:.2f}x ({found.overloaded.cpu_us:.1f} µs against {found.peak.cpu_us:.1f} µs)"
    text = f"{found.goodput:.0%} of {found.peak.per_second:,.0f}/s, {cpu}; {found.overloaded.p99_ms:,.0f} ms"
    yield Row(name, "≥ 90 %; ≤ 2 s", text, found.goodput >= 0.9 and found.overloaded.p99_ms <= 2_000)
    name = "meanwhile: live instances missing; requests failed; new sessions refused with a code, and otherwise"
    failed = found.peak.failures + found.overloaded.failures
    text = f"{found.missing} in {found.answers:,} answers; {failed}; {found.refused}, {found.refused_otherwise}"
    met = (found.missing, failed, found.refused_otherwise) == (0, 0, 0) and found.refused > 0
    yield Row(name, "0; 0; > 0, 0", text, met)


def _idle_crowd(folder: Path) -> Iterator[Row]:
    found = overload.idle_crowd(folder)
    name = "20,000 silent and dribbling connections: p99 of register on both nodes, without and with them"
    text = f"{found.alone_p99_ms:.0f} ms, {found.flooded_p99_ms:.0f} ms; {found.missing} instances missing"
    yield Row(name, "≤ 1 s; 0", text, found.flooded_p99_ms <= 1_000 and found.missing == 0)
    name = "their cost, opened again after each cut: CPU for each; RSS; time until their descriptors are free"
    cpu_us = 10_000 * found.cpu_percent / found.opened_per_second
    cpu = f"{cpu_us:.0f} µs ({found.cpu_percent:.0f} % of a core at {found.opened_per_second:,.0f}/s)"
    met = cpu_us <= 250 and found.resident_mib <= 700 and found.recovered_s <= 10
    text = f"{cpu}; {found.resident_mib:.0f} MiB; {found.recovered_s:.1f} s"
    yield Row(name, "≤ 250 µs; ≤ 700 MiB; ≤ 10 s", text, met)


def _deaf(folder: Path) -> Iterator[Row]:
    found = overload.deaf_subscribers(folder)
    name = "1,000 subscribers that do not read: growth; p99 of change → another one called, without and with them"
    text = f"{found.grown_mib:.0f} MiB; {found.alone_p99_ms:.0f} ms, {found.deaf_p99_ms:.0f} ms"
    yield Row(name, "≤ 40 MiB; ≤ 100 ms", text, found.grown_mib <= 40 and found.deaf_p99_ms <= 100)


def _store(folder: Path) -> Iterator[Row]:
    found = stores.store_against_bare_sqlite(folder)
    name = "a lone durable change in the embedded store; a bare upsert in sqlite, in turns"
    bare = f"{found.bare_lone_p50_ms:.2f} ms ({found.bare_lone_per_second:,.0f}/s)"
    text = f"p50 {found.lone_p50_ms:.2f} ms ({found.lone_per_second:,.0f}/s); {bare}"
    yield Row(name, "p50 ≤ 0.4 ms above the bare one", text, found.lone_p50_ms <= found.bare_lone_p50_ms + 0.4)
    name = f"durable changes/s with {stores.WINDOW} in flight, against bare transactions of so many upserts"
    text = f"{found.speed_ratio:.0%} ({found.per_second:,.0f}/s against {found.bare_per_second:,.0f}/s)"
    yield Row(name, "≥ 20 %", text, found.speed_ratio >= 0.2)


def _health(_: Path) -> Iterator[Row]:
    found = health.one_node_probing()
    name = f"one node probes {health.INSTANCES:,} instances over TCP, at the shortest pause: share of a core"
    bare = f"{found.us_per_probe:.0f} µs each, a bare connect and reset {found.bare_us_per_probe:.0f} µs"
    text = f"{found.core_percent:.0f} % ({found.probes_per_second:,.0f}/s; {bare})"
    yield Row(name, "≤ 20 %, no verdict turned", text, found.core_percent <= 20 and not found.turned)


def _durable(folder: Path) -> Iterator[Row]:
    for nodes, where, p50_ms_max in ((1, "standalone", 0.6), (3, "by a follower of a single home", 1.2)):
        lone = durable.lone_writes(folder, nodes)
        bare = f"a bare upsert p50 {lone.bare_p50_ms:.2f} ms, p99 {lone.bare_p99_ms:.1f} ms"
        text = f"p50 {lone.p50_ms:.2f} ms, p99 {lone.p99_ms:.1f} ms; {bare}"
        name = f"an acknowledged persistent write, {where}"
        yield Row(name, f"p50 ≤ {p50_ms_max} ms", text, lone.p50_ms <= p50_ms_max)
    piped = durable.pipelined_writes(folder)
    text = f"{piped.ratio:.0%} ({piped.per_second:,.0f}/s against {piped.bare_per_second:,.0f}/s)"
    yield Row("persistent registrations/s, pipelined, against bare transactions of upserts", "none", text, True)
    p50, p99 = durable.written_until_called(folder / "called")
    text = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    yield Row("persistent change on A → subscriber on B called", "p50 ≤ 25 ms", text, p50 <= 25)
    found = durable.starts(folder / "starts")
    text = f"{found.full_s:.1f} s; without any {found.empty_s:.1f} s"
    yield Row(
        f"restart of a node with {durable.KEPT:,} persistent instances → ready", "≤ 10 s", text, found.full_s <= 10
    )


def _durable_in_etcd(folder: Path) -> Iterator[Row]:
    if find_etcd() is None:
        print("no etcd on the path: what is measured with its children is left out", file=sys.stderr, flush=True)
        return
    lone = etcd.lone_writes(folder / "lone")
    bare = f"a bare put p50 {lone.bare_p50_ms:.2f} ms, p99 {lone.bare_p99_ms:.1f} ms"
    text = f"p50 {lone.p50_ms:.2f} ms, p99 {lone.p99_ms:.1f} ms; {bare}"
    yield Row("an acknowledged persistent write, three etcd children", "p50 ≤ 3 ms", text, lone.p50_ms <= 3)
    piped = etcd.pipelined_writes(folder / "piped")
    text = f"{piped.per_second:,.0f}/s, {piped.ratio:.0%} (of {piped.bare_per_second:,.0f}/s)"
    name = "persistent registrations/s, pipelined, three etcd children, against a bare client of their gateway"
    yield Row(name, "≥ 5,000/s, ≥ 60 %", text, piped.per_second >= 5_000 and piped.ratio >= 0.6)
    p50, p99 = etcd.written_until_called(folder / "called")
    text = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    yield Row("persistent change on A → subscriber on B called, etcd children", "p50 ≤ 25 ms", text, p50 <= 25)


def _grpc(folder: Path) -> Iterator[Row]:
    found = gateways.registrations_over_grpc(folder)
    name = "gRPC registrations/s through one gateway, against a bare grpc.aio echo of the same requests"
    yield Row(name, "≥ 50 %", _against(found), found.speed_ratio >= 0.5)


def _http_lists(folder: Path) -> Iterator[Row]:
    found = gateways.lists_over_http(folder)
    name = f"HTTP lists/s of {gateways.LISTED} instances, against a bare uvicorn and starlette with the same bytes"
    yield Row(name, "≥ 60 %", _against(found), found.speed_ratio >= 0.6)


def _against(found: gateways.GatewayComparison) -> str:
    bare, gateway = found.bare, found.gateway
    cpu = f"CPU {found.cpu_ratio:.2f}x ({gateway.cpu_us:.0f} µs against {bare.cpu_us:.0f} µs)"
    load = f"the load took {gateway.load_percent:.0f} % and {bare.load_percent:.0f} % of a core"
    return f"{found.speed_ratio:.0%} ({gateway.per_second:,.0f}/s against {bare.per_second:,.0f}/s), {cpu}; {load}"


def _beats(folder: Path) -> Iterator[Row]:
    one = beats.beats_over_http(folder / "one")
    text = f"{one.per_second:,.0f}/s, {one.cpu_us:.0f} µs each"
    yield Row("HTTP beats/s of one gateway", "≥ 2,000/s", text, one.per_second >= 2_000)
    held = beats.beating_over_http(folder / "held")
    name = f"{beats.INSTANCES:,} instances beat over HTTP at three gateways: seen to flap at any node in 40 s; p99"
    cores = f"{held.nodes_percent:.0f} % of a core for the nodes, {held.gateways_percent:.0f} % for the gateways"
    flaps = held.seen.total() + beats.INSTANCES - held.healthy
    text = f"{flaps}; {held.p99_ms:,.0f} ms at {held.beats_per_second:,.0f}/s; {cores}"
    yield Row(name, "0", text, flaps == held.failures == 0)
    frames = beats.gathered_and_alone(folder / "frames")
    text = f"{frames.gathered_us:.0f} µs, {frames.alone_us:.0f} µs"
    yield Row("CPU of a node for a beat among 100 in a frame, and for one alone", "none", text, True)


def _pushed(folder: Path) -> Iterator[Row]:
    p50, p99 = sdk_traffic.register_until_pushed(folder)
    name = "SDK register on A → push at an SDK on B, over gRPC, 200 changes/s"
    yield Row(name, "p50 ≤ 30 ms, p99 ≤ 150 ms", f"p50 {p50:.1f} ms, p99 {p99:.1f} ms", p50 <= 30 and p99 <= 150)


def _native_beside(folder: Path) -> Iterator[Row]:
    name = "native registrations while the gateway is saturated, against quiet: p99"
    for pinned, target in ((True, "≤ 2x"), (False, "none")):
        found = sdk_traffic.native_beside_gateways(folder / f"pinned-{pinned}", pinned=pinned)
        text = f"{found.ratio:.1f}x ({found.saturated_p99_ms:.1f} ms against {found.quiet_p99_ms:.1f} ms)"
        text += f"; gateway and load took {found.gateway_percent:.0f} % of a core"
        where = "the gateway and its load have a core of their own" if pinned else "cores left to the scheduler"
        yield Row(f"{name}; {where}", target, text, not pinned or (found.ratio <= 2 and found.gateway_percent >= 80))


def _idle_gateway(folder: Path) -> Iterator[Row]:
    idle = gateways.idle_gateway(folder)
    text = f"{idle.resident_mib:.0f} MiB, {idle.cpu_percent:.1f} %"
    yield Row("idle gateway process of three", "RSS ≤ 90 MB", text, idle.resident_mib * 1.048576 <= 90)


_MEASURES: dict[str, Callable[[Path], Iterator[Row]]] = {
    "registrations": _registrations,
    "cluster": _cluster,
    "visible": _visible,
    "called": _called,
    "round-trips": _round_trips,
    "client-killed": _client_killed,
    "node-killed": _node_killed,
    "watches": _watches,
    "idle": _idle,
    "overload": _overload,
    "idle-crowd": _idle_crowd,
    "deaf": _deaf,
    "store": _store,
    "health": _health,
    "durable": _durable,
    "durable-etcd": _durable_in_etcd,
    "grpc": _grpc,
    "http-lists": _http_lists,
    "beats": _beats,
    "pushed": _pushed,
    "native-beside": _native_beside,
    "idle-gateway": _idle_gateway,
}


def page(found: list[Row]) -> str:
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, CPython {platform.python_version()}"
    lines = [
        "# Performance",
        "",
        f"Written by `python -m benchmarks.run` on {datetime.date.today()}: {machine}.",
        "Clients and servers share the machine.",
        "",
        "| Measure | Target | Measured | Met |",
        "|---|---|---|---|",
        *(f"| {row.measure} | {row.target} | {row.measured} | {'yes' if row.met else '**no**'} |" for row in found),
        "",
        "The bare loop is a ROUTER that unpacks one msgpack request and packs one answer (`benchmarks/bare_loop.py`).",
        "In its pairs server and client have a core each, the two alternate, and the medians are quoted. Left to the",
        "scheduler, a node's threads change cores at every hop and meet cold caches, while the bare loop gets a second",
        "core for the library's own thread.",
        "Each registration of the load is a change: validated, versioned, hashed and indexed.",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    chosen = sys.argv[1:]
    for name in [name for name in _MEASURES if chosen and name not in chosen]:
        del _MEASURES[name]
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for row in rows(Path(folder)):
            found.append(row)
            print(f"{'met ' if row.met else 'MISS'} {row.measure}: {row.measured} (target {row.target})", flush=True)
    if not chosen:
        (ROOT / "docs" / "performance.md").write_text(page(found))
    return 0 if all(row.met for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
