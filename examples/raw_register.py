"""Registration with pyzmq and msgpack alone: python examples/raw_register.py 127.0.0.1:8850 orders 10.0.0.1 8080"""

import os
import sys
import time

import msgpack
import zmq

VERSION, OPEN_SESSION, CLOSE_SESSION, PUBLISH, FAILED = 1, 1, 2, 3, 70


def ask(socket: zmq.Socket[bytes], tag: int, correlation: int, session: int, body: list[object]) -> object:
    socket.send(msgpack.packb([VERSION, tag, correlation, session, body]))
    while socket.poll(3000):
        _, tag, answered, _, body = msgpack.unpackb(socket.recv())[:5]
        if tag == FAILED:
            sys.exit(f"refused: {body[1]}")
        if answered == correlation:  # Others are probes and advice.
            return body
    sys.exit("the node does not answer")


if len(sys.argv) != 5 or not sys.argv[4].isdigit():
    sys.exit("usage: python examples/raw_register.py HOST:PORT SERVICE IP PORT")
server, service, ip, port = sys.argv[1:]
with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
    socket.set(zmq.RECONNECT_IVL, -1)  # A session is one connection.
    socket.heartbeat_ivl, socket.heartbeat_ttl = 1000, 4000  # ms; pings by its own thread, and how long they count
    socket.set(zmq.LINGER, 500)
    socket.connect(f"tcp://{server}")
    session = time.time_ns() // 1_000_000  # Higher than every earlier one of this client id.
    try:
        ask(socket, OPEN_SESSION, 1, session, [os.urandom(16).hex(), session, "raw example"])
        ask(socket, PUBLISH, 2, session, [["public", "DEFAULT_GROUP", service], [[ip, int(port)]]])
        print(f"{service} is listed at {ip}:{port}; Ctrl-C takes it back", flush=True)
        while True:
            socket.recv()  # Heartbeats keep the session; a real client would watch for its end here.
    except KeyboardInterrupt:
        ask(socket, CLOSE_SESSION, 3, session, ["leave"])
