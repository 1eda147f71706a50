"""A process that writes persistent instances without end, one after the other, and keeps a ledger of what it was told.

    python -m tests.durability.writer NUMBER LEDGER SERVERS

A line is written after the answer, so what the ledger calls done was acknowledged. It ends when its input does.
"""

from __future__ import annotations

import random
import select
import sys
import time
from pathlib import Path

import msgspec

from rollbook import NamingClient
from rollbook.errors import ClusterUnreachable, OutcomeUnknown, Refused
from tests.durability.ledger import REMOVED, End, LedgerLine

SERVICE = "kept"
PORTS = range(1_000, 1_020)
PAUSE_S = 0.002  # between writes
REFUSED_PAUSE_S = 0.05


def address_of(number: int) -> str:
    """Of all that this writer writes: the nodes probe it, and nobody is there."""
    return f"127.7.0.{number}"


def write(client: NamingClient, ip: str, port: int, weight: float) -> End:
    try:
        if weight == REMOVED:
            client.deregister_instance(SERVICE, ip, port, ephemeral=False)
        else:
            client.register_instance(SERVICE, ip, port, weight=weight, ephemeral=False)
    except OutcomeUnknown:
        return "unknown"
    except (Refused, ClusterUnreachable) as error:
        if not error.retryable:
            raise
        return "refused"
    return "done"


def main() -> None:
    number, path, servers = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    chance = random.Random(number)
    with path.open("ab", buffering=0) as ledger, NamingClient(servers=servers, app="writer") as client:
        for turn in range(1, sys.maxsize):
            port = chance.choice(PORTS)
            weight = REMOVED if chance.random() < 0.25 else turn / 100
            began_ns = time.monotonic_ns()
            end = write(client, address_of(number), port, weight)
            ledger.write(msgspec.json.encode(LedgerLine(port, weight, end, began_ns)) + b"\n")
            if select.select([sys.stdin], [], [], PAUSE_S if end == "done" else REFUSED_PAUSE_S)[0]:
                return


if __name__ == "__main__":
    main()
