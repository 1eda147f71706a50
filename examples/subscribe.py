"""Print every change of a service until Ctrl-C.

python examples/subscribe.py 127.0.0.1:8850 orders
"""

from __future__ import annotations

import signal
import sys

from rollbook import Difference, InstanceList, NamingClient, RollbookError


def show(instances: InstanceList, difference: Difference) -> None:
    for sign, changed in zip("+-~", difference, strict=True):
        for instance in changed:
            print(f"{sign} {instance.ip}:{instance.port} weight {instance.weight:g} {instance.metadata}")
    print(f"  {len(instances)} in all", flush=True)


def main(servers: str, service: str) -> None:
    with NamingClient(servers, app="example") as client:
        client.subscribe(service, show)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/subscribe.py HOST:PORT[,HOST:PORT] SERVICE")
    try:
        main(sys.argv[1], sys.argv[2])
    except RollbookError as error:
        sys.exit(f"{type(error).__name__}: {error}")
