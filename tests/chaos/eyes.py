"""The observers: one session at every node, over the bare protocol, that asks for every list again and again and is
pushed some of them.

    python -m tests.chaos.eyes SPEC

A NamingClient would move to another node when its own fails; these stay, so that it is known who said what. Ends with
its standard input.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, Literal

import msgspec
import zmq

from rollbook.errors import RemoteProtocolError
from rollbook.model import DEFAULT_GROUP, DEFAULT_NAMESPACE, Service, View
from rollbook.transport import dealer
from rollbook.wire import (
    ANSWER_LIMITS,
    OpenSession,
    PushAck,
    Query,
    SessionOpened,
    Subscribe,
    Tag,
    answer_body,
    encode,
    open_envelope,
)
from tests.chaos.journal import NOW, Journal, now_ms
from tests.support.history import NodeSeen, OrderSent, SessionSeen, ViewSeen

_SILENCE_S = 2.0  # without an answer for this long, the connection is given up
_RETRY_S = 0.1
_FIRST_QUERY = 1_000  # correlations below are of subscriptions


class EyesSpec(msgspec.Struct, frozen=True):
    servers: dict[str, str]  # client address by node
    services: tuple[str, ...]
    pushed: tuple[str, ...]  # of these services
    interval_ms: int
    journal: str


class NodeEye:
    """Looks at one node, in a thread of its own, for ever."""

    def __init__(self, node: str, spec: EyesSpec, journal: Journal) -> None:
        self._node = node
        self._name = f"eye-{node}"
        self._server = spec.servers[node]
        self._spec = spec
        self._journal = journal
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._session = 0
        self._epoch = 0  # of the node's life that was last seen
        self._open_queries = 0
        self._asked_ms = 0  # when the open ones were sent
        self._unanswered: set[str] = set()  # services that this session has not shown yet

    def run(self) -> None:
        while True:
            with dealer(self._context, self._server) as socket:
                socket.set(zmq.LINGER, 0)
                socket.set(zmq.IMMEDIATE, 0)
                socket.connect(f"tcp://{self._server}")
                with contextlib.suppress(zmq.Again):  # the connection is gone, so nothing can be sent any more
                    self._look(socket)
            self._journal.note(SessionSeen(NOW, self._name))
            threading.Event().wait(_RETRY_S)

    def _look(self, socket: zmq.Socket[bytes]) -> None:
        """One session, until it ends or the node is silent."""
        self._session = max(self._session + 1, time.time_ns() // 1_000_000)
        _send(socket, encode(Tag.OPEN_SESSION, 1, self._session, OpenSession(self._name, self._session, "eye")))
        heard = asked = time.monotonic()
        is_open = False
        while time.monotonic() - heard < _SILENCE_S:
            now = time.monotonic()
            wait_s = max(0.0, asked + self._spec.interval_ms / 1000 - now) if is_open else _SILENCE_S
            if socket.poll(int(wait_s * 1000) + 1):
                heard = time.monotonic()
                body = self._read(socket)
                if body is None:
                    return
                if isinstance(body, SessionOpened):
                    is_open, asked = True, 0.0
                    self._begin(socket, body)
            elif is_open:
                asked = now
                if self._open_queries == 0:  # a slow node is not asked more and more
                    self._ask(socket)

    def _read(self, socket: zmq.Socket[bytes]) -> Any:
        """None ends the session."""
        try:
            envelope = open_envelope(socket.recv(), ANSWER_LIMITS)
            body = answer_body(envelope)
        except RemoteProtocolError as error:
            sys.stderr.write(f"{self._node} sent what the protocol does not allow: {error}\n")
            return None
        match envelope.tag:
            case Tag.FAILED | Tag.SESSION_ENDED:
                return None
            case Tag.VIEW:
                is_asked = envelope.correlation >= _FIRST_QUERY
                self._note("table", body, self._asked_ms if is_asked else 0)
                self._open_queries -= is_asked
                if not is_asked:  # the answer to a subscription is what pushes change
                    self._note("push", body)
            case Tag.PUSH:
                _send(socket, encode(Tag.PUSH_ACK, 0, self._session, PushAck(body.service, body.version)))
                self._note("push", body)
        return body

    def _begin(self, socket: zmq.Socket[bytes], opened: SessionOpened) -> None:
        """A session stands; a higher epoch is a new life of the node."""
        self._open_queries = 0
        self._unanswered = set(self._spec.services)
        if opened.epoch > self._epoch:
            self._epoch = opened.epoch
            self._journal.note(NodeSeen(NOW, self._node, "started"))
        self._journal.note(SessionSeen(NOW, self._name, self._node, self._session))
        for number, service in enumerate(self._spec.pushed):
            self._journal.note(OrderSent(NOW, self._name, 100 + number, "subscribe", service))
            _send(socket, encode(Tag.SUBSCRIBE, 100 + number, self._session, Subscribe(_service(service))))

    def _ask(self, socket: zmq.Socket[bytes]) -> None:
        self._open_queries = len(self._spec.services)
        self._asked_ms = now_ms()
        for number, service in enumerate(self._spec.services):
            _send(socket, encode(Tag.QUERY, _FIRST_QUERY + number, self._session, Query(_service(service))))

    def _note(self, how: Literal["push", "table"], view: View, asked_ms: int = 0) -> None:
        seen = {f"{found.ip}:{found.port}": found.metadata.get("v", "") for found in view.instances}
        flags = [name for name in ("warming", "preserved", "guarded") if getattr(view, name)]
        flags += ["doubled"] * (len(seen) < len(view.instances))
        observer = self._node if how == "table" else self._name
        place = (observer, how, self._node, self._session)
        shown = ViewSeen(NOW, *place, view.service.name, view.version, seen, tuple(flags), asked_ms=asked_ms)
        self._journal.note(shown)
        if view.service.name in self._unanswered:
            self._unanswered.discard(view.service.name)
            if not self._unanswered:  # now, and not before, it is known what it lists as a ready node
                self._journal.note(NodeSeen(NOW, self._node, "ready"))


def _send(socket: zmq.Socket[bytes], payload: bytes) -> None:
    socket.send(payload, zmq.NOBLOCK)


def _service(name: str) -> Service:
    return Service(DEFAULT_NAMESPACE, DEFAULT_GROUP, name)


def main() -> None:
    spec = msgspec.json.decode(sys.argv[1], type=EyesSpec)
    journal = Journal(Path(spec.journal))
    for node in spec.servers:
        threading.Thread(target=NodeEye(node, spec, journal).run, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)  # the sockets of the threads need no goodbye


if __name__ == "__main__":
    main()
