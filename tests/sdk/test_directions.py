"""Registered through any SDK at one node, seen through every SDK and the native client at every node, and how soon."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol

import pytest

from rollbook import NamingClient
from tests.support.official_sdk import KINDS, NPM, PYTHON_GRPC, PYTHON_HTTP, SdkClientOf, SdkKind
from tests.support.real_cluster import pause_s, until
from tests.support.sdk_crowd import IP, SOON_SECONDS, SdkCrowd

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

SERVICE, ANCHOR = "everywhere", f"{IP}:9"
NODES = (1, 2, 3)
ROUNDS = 8
QUIET_SECONDS = 0.1  # a change within 50 ms of another one of its service waits for the rest of them
# Far above what is promised, for the machines of tests are busy; far below every rhythm at which an SDK asks by itself.
MEDIAN_MS_MAX = 500.0


class Watcher(Protocol):
    def until_told_at(self, addresses: list[str]) -> float: ...


class SdkWatcher(NamedTuple):
    client: SdkClientOf

    def until_told_at(self, addresses: list[str]) -> float:
        return self.client.until_told_of(SERVICE, addresses).at


class NativeWatcher:
    """What it was told, and when; its callbacks run on a thread of the client."""

    def __init__(self, client: NamingClient) -> None:
        self._told: SimpleQueue[tuple[float, list[str]]] = SimpleQueue()
        client.subscribe(SERVICE, self._noted)

    def until_told_at(self, addresses: list[str]) -> float:
        deadline = time.monotonic() + SOON_SECONDS
        try:
            while (told := self._told.get(timeout=max(0.0, deadline - time.monotonic())))[1] != sorted(addresses):
                pass
        except Empty:
            raise AssertionError(f"the native client is not told of {addresses}") from None
        return told[0]

    def _noted(self, instances: object, _: object) -> None:
        assert isinstance(instances, tuple)
        self._told.put((time.monotonic(), sorted(f"{found.ip}:{found.port}" for found in instances)))


@pytest.fixture(scope="module")
def watchers(crowd: SdkCrowd) -> Iterator[dict[str, Watcher]]:
    """Of each SDK that is pushed to, and of the native client, one at each node."""
    crowd.native(1).register_instance(SERVICE, IP, 9)
    crowd.until_listed(SERVICE, [ANCHOR])
    made: dict[str, Watcher] = {}
    for node in NODES:
        for kind in (PYTHON_GRPC, NPM):
            client = crowd.client(kind, node)
            client.ask("subscribe", service=SERVICE)
            made[f"{kind.name} at {node}"] = SdkWatcher(client)
        made[f"native at {node}"] = NativeWatcher(crowd.native(node))
    for watcher in made.values():
        watcher.until_told_at([ANCHOR])
    yield made
    crowd.native(1).deregister_instance(SERVICE, IP, 9)


def delays_ms(
    watchers: dict[str, Watcher], register: Callable[[], float], deregister: Callable[[], object], address: str
) -> dict[str, list[float]]:
    """From before the call that registers until each watcher is told, in every round."""
    found: dict[str, list[float]] = {name: [] for name in watchers}
    for _ in range(ROUNDS):
        pause_s(QUIET_SECONDS)
        began = register()
        for name, watcher in watchers.items():
            found[name].append((watcher.until_told_at([ANCHOR, address]) - began) * 1000)
        deregister()
        for watcher in watchers.values():
            watcher.until_told_at([ANCHOR])
    return found


def check_delays(publisher: str, found: dict[str, list[float]]) -> None:
    for name, delays in found.items():
        median, longest = statistics.median(delays), max(delays)
        print(f"{publisher} -> {name}: median {median:.0f} ms, longest {longest:.0f} ms of {len(delays)}")
        assert median <= MEDIAN_MS_MAX, f"{publisher} -> {name}: {delays}"


@pytest.mark.parametrize(("kind", "node"), [*zip(KINDS, NODES, strict=True)], ids=[kind.name for kind in KINDS])
def test_what_one_sdk_registers_every_watcher_at_every_node_is_told_at_once(
    crowd: SdkCrowd, watchers: dict[str, Watcher], kind: SdkKind, node: int
) -> None:
    publisher, about = crowd.client(kind, node), {"service": SERVICE, "ip": IP, "port": 80, "cluster": "DEFAULT"}
    found = delays_ms(
        watchers,
        lambda: publisher.timed("register", **about).began,
        lambda: publisher.ask("deregister", **about),
        f"{IP}:80",
    )
    check_delays(f"{kind.name} at {node}", found)


def test_what_a_native_client_registers_every_watcher_at_every_node_is_told_at_once(
    crowd: SdkCrowd, watchers: dict[str, Watcher]
) -> None:
    publisher = crowd.native(1)

    def register() -> float:
        began = time.monotonic()
        publisher.register_instance(SERVICE, IP, 80)
        return began

    found = delays_ms(watchers, register, lambda: publisher.deregister_instance(SERVICE, IP, 80), f"{IP}:80")
    check_delays("native at 1", found)


def test_every_sdk_and_the_native_client_list_what_all_of_them_registered(crowd: SdkCrowd) -> None:
    addresses = [f"{IP}:{port}" for port in range(80, 84)]
    for port, (kind, node) in enumerate(zip(KINDS, NODES, strict=True), 80):
        crowd.client(kind, node).ask("register", service="all-of-them", ip=IP, port=port, cluster="DEFAULT")
    crowd.native(3).register_instance("all-of-them", IP, 83)
    crowd.until_listed("all-of-them", addresses)
    for node in NODES:
        for kind in (PYTHON_GRPC, PYTHON_HTTP, NPM):
            assert crowd.client(kind, node).shown("all-of-them") == addresses, f"{kind.name} at {node}"

        native = crowd.native(node)
        until(lambda native=native: seen(native) == addresses, SOON_SECONDS, f"native at {node} has them")  # type: ignore[misc]


def seen(native: NamingClient) -> list[str]:
    return sorted(f"{found.ip}:{found.port}" for found in native.get_all_instances("all-of-them"))
