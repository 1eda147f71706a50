"""One question to one node, over a connection of its own: how it is. For people and scripts; no session is needed."""

from __future__ import annotations

import time
from typing import Any

import zmq

from rollbook import wire
from rollbook.errors import ClusterUnreachable, Refused
from rollbook.servers import check_server
from rollbook.status import NodeStatus
from rollbook.transport import dealer
from rollbook.wire import GetStatus, Tag


def fetch_status(server: str, timeout: float = 3.0) -> NodeStatus:
    """Ask one node what it says of itself; needs no session. ClusterUnreachable if it does not answer in time."""
    check_server(server)
    with zmq.Context() as context, dealer(context, server) as socket:
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.IMMEDIATE, 0)
        socket.connect(f"tcp://{server}")
        socket.send(wire.encode(Tag.GET_STATUS, 1, 0, GetStatus()))
        deadline = time.monotonic() + timeout
        answer: Any = wire.Probe()
        while isinstance(answer, wire.Probe):  # a node may want to know whether this connection stands
            if not socket.poll(max(0, int((deadline - time.monotonic()) * 1000))):
                raise ClusterUnreachable(f"{server} did not answer within {timeout:g} s")
            answer = wire.answer_body(wire.open_envelope(socket.recv(), wire.ANSWER_LIMITS))
    if isinstance(answer, wire.Failed):
        raise Refused(answer.message, code=answer.code, field=answer.field, retryable=answer.retryable)
    status: NodeStatus = answer
    return status
