"""A registry of one node, small enough to read: an honest peer for tests of the client over real sockets.

It speaks rollbook/wire.py on a ROUTER: sessions, publications, what is kept, views, pushes. It can fall silent,
refuse sessions and be killed; what it is asked is kept for the test to read. It is no node: no replication, no limits,
no admission. What people decide (small_decisions.py) outlives every life.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import zmq

from rollbook import wire
from rollbook.durable_bodies import PublishPersistent, WithdrawPersistent
from rollbook.errors import Code
from rollbook.model import Instance, InstanceKey, Service, View
from rollbook.status import NodeStatus
from rollbook.wire import (
    CloseSession,
    Done,
    Failed,
    GetStatus,
    ListServices,
    OpenSession,
    Ping,
    Pong,
    Publish,
    PushAck,
    Query,
    Services,
    SessionOpened,
    Subscribe,
    Tag,
    Unsubscribe,
    Withdraw,
)
from tests.support.small_decisions import SmallDecisions
from tests.support.small_rows import SmallRows


class SmallRegistry:
    """Start with ``with``; the port stays the same over ``kill`` and ``start``."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.silent = threading.Event()  # reads, but answers nothing
        self.refusal: Failed | None = None  # of every session
        self.port = 0
        self._kept: dict[Service, dict[InstanceKey, Instance]] = {}  # persistent; outlives every life
        self.decisions = SmallDecisions()
        self.rows = SmallRows()  # for backups; nothing of what is published is in them
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> SmallRegistry:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """A fresh life: nothing is known of earlier sessions."""
        started = threading.Event()
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(started,), name="small-registry", daemon=True)
        self._thread.start()
        assert started.wait(5.0), "the small registry does not start"

    def kill(self) -> None:
        """Close every connection without a word."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5.0)
        self._thread = None

    def instances(self, service: Service) -> dict[InstanceKey, Instance]:
        """What is published now, by whichever session, and what is kept."""
        tables = [table for (_, name), table in list(self._published.items()) if name == service]
        tables.append(dict(self._kept.get(service, {})))
        return {key: instance for table in tables for key, instance in table.items()}

    def clients(self) -> set[str]:
        return {body.client_id for body in list(self.requests) if isinstance(body, OpenSession)}

    def _run(self, started: threading.Event) -> None:
        self._published: dict[tuple[bytes, Service], dict[InstanceKey, Instance]] = {}
        self._subscribers: dict[Service, dict[bytes, int]] = {}
        self._sessions: dict[bytes, str] = {}
        self._version = 0
        with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
            router.set(zmq.LINGER, 0)
            router.set(zmq.HEARTBEAT_IVL, 1_000)
            router.set(zmq.HEARTBEAT_TIMEOUT, 4_000)
            if self.port:
                router.bind(f"tcp://{self.address}")
            else:
                self.port = router.bind_to_random_port("tcp://127.0.0.1")
            self._router = router
            started.set()
            while not self._stop.is_set():
                if router.poll(10):
                    link, payload = router.recv_multipart()
                    self._on_frame(link, payload)

    def _on_frame(self, link: bytes, payload: bytes) -> None:
        envelope = wire.open_envelope(payload)
        body = wire.request_body(envelope)
        self.requests.append(body)
        if self.silent.is_set():
            return
        if link not in self._sessions and not isinstance(body, OpenSession | GetStatus | CloseSession):
            answer: tuple[Tag, Any] | None = (Tag.FAILED, Failed(Code.SESSION_REQUIRED, "no session", retryable=True))
        else:
            answer = self._answer(link, body)
        if answer is not None:
            self._send(link, answer[0], envelope.correlation, envelope.session, answer[1])

    def _answer(self, link: bytes, body: Any) -> tuple[Tag, Any] | None:
        match body:
            case OpenSession():
                return self._open(link, body)
            case CloseSession():
                self._close(link, body)
                return Tag.DONE, Done()
            case Publish() | Withdraw():
                self._change(link, body)
                return Tag.DONE, Done(1, 1, 1)
            case PublishPersistent() | WithdrawPersistent():
                self._keep(body)
                return Tag.DONE, Done(seq=1)
            case _ if self.rows.concerns(body):
                return self.rows.answer(body)
            case _ if self.decisions.concerns(body):
                answer = self.decisions.answer(body, self._sessions[link], self.instances)
                self._push_everything()
                return answer
            case Query():
                return Tag.VIEW, self._view(body.service)
            case Subscribe():
                self._subscribers.setdefault(body.service, {})[link] = 1
                return Tag.VIEW, self._view(body.service)
            case Unsubscribe():
                self._subscribers.get(body.service, {}).pop(link, None)
                return Tag.DONE, Done()
            case ListServices():
                names = sorted({name.name for (_, name), table in self._published.items() if table})
                start = (body.page - 1) * body.size
                return Tag.SERVICES, Services(len(names), tuple(names[start : start + body.size]))
            case GetStatus():
                return Tag.STATUS, NodeStatus("small", 1, 1, True, "ready", False, len(self._sessions), 0)
            case Ping():
                return Tag.PONG, Pong()
            case PushAck():
                return None
        raise AssertionError(f"no answer to {body!r}")

    def _open(self, link: bytes, body: OpenSession) -> tuple[Tag, Any]:
        if self.refusal is not None:
            return Tag.FAILED, self.refusal
        self._sessions[link] = body.client_id
        return Tag.SESSION_OPENED, SessionOpened("small", 1, body.session, 256)

    def _close(self, link: bytes, body: CloseSession) -> None:
        self._sessions.pop(link, None)
        for service in [name for owner, name in self._published if owner == link]:
            table = self._published.pop((link, service))
            if body.reason == "leave" and table:
                self._push(service)

    def _change(self, link: bytes, body: Publish | Withdraw) -> None:
        table = self._published.setdefault((link, body.service), {})
        if isinstance(body, Publish):
            if body.mode == "replace":
                table.clear()
            table.update((instance.key, instance) for instance in body.instances)
        else:
            for key in body.keys or tuple(table):
                table.pop(key, None)
        self._push(body.service)

    def _keep(self, body: PublishPersistent | WithdrawPersistent) -> None:
        kept = self._kept.setdefault(body.service, {})
        if isinstance(body, PublishPersistent):
            kept.update((instance.key, instance) for instance in body.instances)
        else:
            for key in body.keys:
                kept.pop(key, None)
        self._push(body.service)

    def _view(self, service: Service) -> View:
        self._version += 1
        found = self.instances(service)
        shown = tuple(self.decisions.shown(service, found[key]) for key in sorted(found))
        return View(service, self._version, shown)

    def _push_everything(self) -> None:
        for service in self._subscribers:
            self._push(service)

    def _push(self, service: Service) -> None:
        view = self._view(service)
        for link in self._subscribers.get(service, {}):
            self._send(link, Tag.PUSH, 0, 0, view)

    def _send(self, link: bytes, tag: Tag, correlation: int, session: int, body: Any) -> None:
        self._router.send_multipart([link, wire.encode(tag, correlation, session, body)])


@contextlib.contextmanager
def registries(count: int) -> Iterator[list[SmallRegistry]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(SmallRegistry()) for _ in range(count)]
