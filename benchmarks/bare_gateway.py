"""The bare peer of persistent data in an etcd: a client of its gateway that only writes, in a process of its own.

    python -m benchmarks.bare_gateway HOST:PORT... LANES ROWS PUTS

Writes ROWS rows, each once, in transactions of PUTS (at 1: plain puts), over LANES connections that stay open; the
lanes take the members in turns. Prints one JSON line: rows, seconds, the latencies of requests in ms.
"""

from __future__ import annotations

import base64
import http.client
import json
import sys
import threading
import time

VALUE = b"v" * 300  # about a record with some metadata
KEY_PREFIX = f"bare/{time.time_ns()}/"


class GatewayLane:
    """One connection, one request at a time."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=10)

    def put(self, number: int) -> float:
        """How long it took, in seconds."""
        return self._ask("/v3/kv/put", json.dumps(_row(number)))

    def put_many(self, numbers: range) -> float:
        operations = [{"request_put": _row(number)} for number in numbers]
        return self._ask("/v3/kv/txn", json.dumps({"success": operations}))

    def close(self) -> None:
        self._connection.close()

    def _ask(self, path: str, request: str) -> float:
        begun = time.perf_counter()
        self._connection.request("POST", path, request)
        response = self._connection.getresponse()
        content = response.read()
        if response.status != http.client.OK:
            raise SystemExit(f"etcd refused: {content.decode(errors='replace')}")
        return time.perf_counter() - begun


def _row(number: int) -> dict[str, str]:
    key = f"{KEY_PREFIX}{number}".encode()
    return {"key": base64.b64encode(key).decode(), "value": base64.b64encode(VALUE).decode()}


def run(addresses: list[str], lanes: int, rows: int, puts: int) -> None:
    latencies: list[float] = []
    groups = [range(first, min(first + puts, rows)) for first in range(0, rows, puts)]

    def write(number: int) -> None:
        lane = GatewayLane(addresses[number % len(addresses)])
        for group in groups[number::lanes]:
            latencies.append(lane.put(group[0]) if puts == 1 else lane.put_many(group))
        lane.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(lanes)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begun
    if len(latencies) != len(groups):
        raise SystemExit("a lane did not come to its end")
    print(json.dumps({"rows": rows, "seconds": seconds, "latencies_ms": [1_000 * each for each in latencies]}))


if __name__ == "__main__":
    run(sys.argv[1:-3], *(int(each) for each in sys.argv[-3:]))
