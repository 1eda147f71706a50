"""A process that subscribes to services and reports how old each change was when its callback ran.

    python -m benchmarks.subscriber SERVICES CHANGES SERVER

Changes carry the publisher's monotonic clock (one clock for all processes of a machine) in their metadata. Prints
``ready``, then one JSON line with the delays in ms once CHANGES of them have arrived.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence

from rollbook import Difference, Instance, NamingClient


def main() -> None:
    services, changes, server = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    delays_ms: list[float] = []
    complete = threading.Event()

    def on_change(_instances: Sequence[Instance], difference: Difference) -> None:
        now_ns = time.monotonic_ns()
        for instance in (*difference.added, *difference.changed):
            delays_ms.append((now_ns - int(instance.metadata["at_ns"])) / 1e6)
        if len(delays_ms) >= changes:
            complete.set()

    with NamingClient(servers=[server], app="subscriber") as client:
        for number in range(services):
            client.subscribe(f"watched-{number}", on_change)
        print("ready", flush=True)
        if not complete.wait(60):
            raise SystemExit(f"only {len(delays_ms)} of {changes} changes arrived")
        print(json.dumps(delays_ms), flush=True)


if __name__ == "__main__":
    main()
