"""Ask for an instance before each call, as an application does; answers come from a cache that pushes keep fresh.

python examples/discover.py 127.0.0.1:8850 orders
"""

from __future__ import annotations

import sys
from collections import Counter

from rollbook import NamingClient, RollbookError

CALLS = 1_000


def main(servers: str, service: str) -> None:
    with NamingClient(servers, app="example") as client:
        everyone = client.get_all_instances(service)
        print(f"{len(everyone)} instances of {service}{' (last known)' if everyone.stale else ''}")
        calls: Counter[str] = Counter()
        for _ in range(CALLS):
            instance = client.select_one_healthy_instance(service)
            calls[f"{instance.ip}:{instance.port}"] += 1
        for address, count in calls.most_common():
            print(f"{address} would have served {count} of {CALLS} calls")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/discover.py HOST:PORT[,HOST:PORT] SERVICE")
    try:
        main(sys.argv[1], sys.argv[2])
    except RollbookError as error:
        sys.exit(f"{type(error).__name__}: {error}")
