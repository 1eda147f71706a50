"""A subscriber whose connection lives and that acknowledges nothing: a blocked application, as a node sees it."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import zmq

from rollbook.model import DEFAULT_GROUP, DEFAULT_NAMESPACE, Service
from rollbook.wire import ANSWER_LIMITS, OpenSession, PushAck, Subscribe, Tag, answer_body, encode, open_envelope

SESSION = 7


class DeafSubscriber:
    def __init__(self, server: str, client_id: str, service: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.HEARTBEAT_IVL, 1_000)
        self._socket.connect(f"tcp://{server}")
        self._service = Service(DEFAULT_NAMESPACE, DEFAULT_GROUP, service)
        self._send(Tag.OPEN_SESSION, OpenSession(client_id, SESSION, "deaf"))
        self._receive(Tag.SESSION_OPENED)
        self._send(Tag.SUBSCRIBE, Subscribe(self._service))
        self._receive(Tag.VIEW)

    def acknowledge_next(self) -> None:
        """It reads at last: the next push that waits."""
        view = self._receive(Tag.PUSH)
        self._send(Tag.PUSH_ACK, PushAck(self._service, view.version))

    def close(self) -> None:
        self._socket.close()
        self._context.term()

    def __enter__(self) -> DeafSubscriber:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, tag: Tag, body: object) -> None:
        self._socket.send(encode(tag, 1, SESSION, body))

    def _receive(self, tag: Tag) -> Any:
        return receive(self._socket, tag)


def receive(socket: zmq.Socket[bytes], tag: Tag, deadline_s: float = 5.0) -> Any:
    """The body of the next frame of this kind; others are passed over."""
    while socket.poll(int(1_000 * deadline_s)):
        envelope = open_envelope(socket.recv(), ANSWER_LIMITS)
        if envelope.tag == tag:
            return answer_body(envelope)
    raise TimeoutError(f"no {tag.name} within {deadline_s:g} s")
