"""A process that watches services at several nodes and counts whom it sees go, or become unhealthy.

    python -m benchmarks.flaps SERVICES INSTANCES SERVERS

Prints ``ready`` when it is subscribed and ``complete`` when every server lists so many healthy instances in all, waits
for a line, and prints one JSON line: how often an instance went, became unhealthy, or changed otherwise since; how few
each server lists now.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from rollbook import Difference, Instance, NamingClient

COMPLETE_S = 60.0


class FlapCounter:
    """Of one server; called by its client's threads."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self._healthy: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def healthy(self) -> int:
        with self._lock:
            return sum(self._healthy.values())

    def changed(self, service: str, instances: Sequence[Instance], difference: Difference) -> None:
        with self._lock:
            self._healthy[service] = sum(instance.healthy for instance in instances)
            unhealthy = sum(not instance.healthy for instance in difference.changed)
            self.seen["gone"] += len(difference.removed)
            self.seen["unhealthy"] += unhealthy
            self.seen["changed"] += len(difference.changed) - unhealthy


def watch(stack: ExitStack, server: str, services: int) -> FlapCounter:
    counter = FlapCounter()
    client = stack.enter_context(NamingClient(servers=[server], app="flaps"))
    for number in range(services):
        name = f"service-{number}"
        client.subscribe(name, partial(counter.changed, name))
    return counter


def main() -> None:
    services, instances, servers = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(",")
    with ExitStack() as stack:
        counters = [watch(stack, server, services) for server in servers]
        print("ready", flush=True)
        deadline = time.monotonic() + COMPLETE_S
        while any(counter.healthy < instances for counter in counters):
            if time.monotonic() > deadline:
                raise SystemExit(f"listed are only {[counter.healthy for counter in counters]}")
            time.sleep(0.05)
        before = sum((counter.seen for counter in counters), Counter[str]())
        print("complete", flush=True)
        sys.stdin.readline()
        seen = sum((counter.seen for counter in counters), Counter[str]()) - before
        print(json.dumps({"seen": dict(seen), "healthy": [counter.healthy for counter in counters]}), flush=True)


if __name__ == "__main__":
    main()
