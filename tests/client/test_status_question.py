"""The status question over a connection that the node itself has doubts about."""

from __future__ import annotations

import threading

import zmq

from rollbook.status import NodeStatus
from rollbook.status_question import fetch_status
from rollbook.wire import Probe, Tag, encode


def test_a_probe_before_the_answer_is_not_taken_for_it() -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        port = router.bind_to_random_port("tcp://127.0.0.1")
        router.set(zmq.RCVTIMEO, 5_000)

        def answer() -> None:
            link, _ = router.recv_multipart()
            router.send_multipart([link, encode(Tag.PROBE, 0, 0, Probe())])
            status = NodeStatus("n1", 1, 0, True, "ready", False, 0, 0)
            router.send_multipart([link, encode(Tag.STATUS, 1, 0, status)])

        thread = threading.Thread(target=answer)
        thread.start()
        assert fetch_status(f"127.0.0.1:{port}", 5.0).node_id == "n1"
        thread.join()
