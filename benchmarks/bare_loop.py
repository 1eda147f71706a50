"""The peer of the registration benchmark: a ROUTER that decodes one msgpack request and answers it, and does
nothing else."""

from __future__ import annotations

import sys

import msgpack
import zmq


def main() -> None:
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.SNDHWM, 10_000)
    socket.bind(f"tcp://127.0.0.1:{sys.argv[1]}")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        link, payload = socket.recv_multipart()
        _version, _tag, correlation, session, _body = msgpack.unpackb(payload)
        socket.send_multipart([link, msgpack.packb([1, 66, correlation, session, [1, correlation, correlation]])])


if __name__ == "__main__":
    main()
