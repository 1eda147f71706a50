"""A pipelined client in a process of its own: keeps a window of registrations in flight and reports how long they took.

    python -m benchmarks.load HOST:PORT REQUESTS WINDOW [RATE [node|cluster|durable]]

Every request is a change: the services take turns, and each turn has another port. Prints one JSON line: seconds,
requests, the latencies' quantiles in ms, failures. ``durable``: the instances are persistent.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Literal

import msgpack
import zmq

from rollbook.durable_bodies import PublishPersistent
from rollbook.model import Instance, Service
from rollbook.wire import OpenSession, Publish, Tag, encode

SERVICES = 5_000
SESSION = 1

Kind = Literal["node", "cluster", "durable"]  # where a registration has to be before it is answered


def registration(number: int, kind: Kind) -> bytes:
    """The frame of the ``number``-th registration."""
    turn, place = divmod(number, SERVICES)
    service = Service("public", "DEFAULT_GROUP", f"load-{place}")
    if kind == "durable":  # where nobody is probed by default (RFC 5737): what probes cost is measured by itself
        kept = Instance("192.0.2.9", 1_000 + turn, healthy=False, ephemeral=False)
        return encode(Tag.PUBLISH_PERSISTENT, number + 2, SESSION, PublishPersistent(service, (kept,)))
    body = Publish(service, (Instance("10.0.0.1", 1_000 + turn),), "replace", kind)
    return encode(Tag.PUBLISH, number + 2, SESSION, body)


def open_session(socket: zmq.Socket[bytes], client: str, session: int) -> None:
    """Ask until a node answers; a bare loop answers as well."""
    socket.send(encode(Tag.OPEN_SESSION, 1, session, OpenSession(client, session, "benchmark")))
    if not socket.poll(5_000):
        raise SystemExit("no answer to OPEN_SESSION")
    socket.recv()


def run(address: str, requests: int, window: int, rate: float, kind: Kind) -> None:
    """Keep ``window`` requests in flight (at most ``rate`` a second if it is not 0) until all are answered."""
    frames = [registration(number, kind) for number in range(requests)]
    sent_at = [0.0] * requests
    latencies: list[float] = []
    failures = 0
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, 10_000)
        socket.connect(f"tcp://{address}")
        open_session(socket, f"load-{time.time_ns()}", SESSION)
        started = time.perf_counter()
        sent = answered = 0
        while answered < requests:
            due = requests if not rate else min(requests, int((time.perf_counter() - started) * rate) + 1)
            while sent < due and sent - answered < window:
                sent_at[sent] = time.perf_counter()
                socket.send(frames[sent])
                sent += 1
            if not socket.poll(5_000 if sent - answered >= window or sent == requests else 1):
                if sent > answered and time.perf_counter() - sent_at[answered] > 5:
                    raise SystemExit(f"no answer for 5 s after {answered} of {requests}")
                continue
            while True:
                try:
                    payload = socket.recv(zmq.NOBLOCK)
                except zmq.Again:
                    break
                _version, tag, correlation, _session, _body = msgpack.unpackb(payload)
                if tag == Tag.PROBE:
                    continue
                latencies.append(time.perf_counter() - sent_at[correlation - 2])
                failures += tag != Tag.DONE
                answered += 1
        seconds = time.perf_counter() - started
        print(json.dumps(report(seconds, latencies, failures)), flush=True)
        sys.stdin.readline()  # the session ends when the parent has looked at the cluster


def report(seconds: float, latencies: list[float], failures: int) -> dict[str, Any]:
    ordered = sorted(latencies)
    quantiles = {f"p{q}_ms": 1_000 * ordered[min(len(ordered) - 1, len(ordered) * q // 100)] for q in (50, 99)}
    return {"seconds": seconds, "requests": len(ordered), "failures": failures, **quantiles}


def main() -> None:
    address, requests, window = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rate = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0
    kinds: dict[str, Kind] = {"node": "node", "cluster": "cluster", "durable": "durable"}
    run(address, requests, window, rate, kinds[sys.argv[5] if len(sys.argv) > 5 else "node"])


if __name__ == "__main__":
    main()
