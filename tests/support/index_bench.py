"""IndexManager on the bench: messages in, answers and effects out, its tables checked after every turn."""

from __future__ import annotations

import random
from typing import Any

from actors.base import Effects, NodeIdentity, Role, StatusRequested
from actors.index_manager import IndexManager, IndexSettings
from actors.messages.index import RecordsChanged
from actors.messages.io import AnswerClients
from actors.messages.values import Order, Record, Route
from rollbook.model import Service, View
from rollbook.wire import Query
from tests.support.registry import ORDERS, at, opened, route, told
from tests.support.settings import settings_of


class IndexUnderTest:
    """The actor, at one second by its clock unless said otherwise."""

    def __init__(self, **overrides: Any) -> None:
        identity = NodeIdentity("n1", 5, "test", "127.0.0.1:1", "127.0.0.1:2", 256)
        self.actor = IndexManager(identity, settings_of("index", IndexSettings, **overrides), random.Random(0))
        assert list(self.actor.start(at(0))) == []

    def handle(self, message: Any, ms: int = 1_000) -> Effects:
        effects = self.actor.handle(message, at(ms))
        self.actor.check_invariants()
        return effects

    def put(self, *records: Record, ms: int = 1_000) -> Effects:
        return self.handle(RecordsChanged(records=records), ms)

    def ask(self, *bodies: Any, to: Route | None = None, ms: int = 1_000) -> tuple[list[Any], Effects]:
        """Send the requests in one batch; return the bodies of the answers, and all effects."""
        asker = to or route(1)
        requests = tuple(Order(asker, number, body) for number, body in enumerate(bodies, 1))
        effects = self.handle(RecordsChanged(requests=requests), ms)
        (answers,) = told(effects, AnswerClients, Role.IO)
        envelopes = [opened(frame.payload) for frame in answers.frames]
        assert [envelope.correlation for envelope, _ in envelopes] == list(range(1, len(bodies) + 1))
        assert all(envelope.session == asker.session for envelope, _ in envelopes)
        return [body for _, body in envelopes], effects

    def view(self, service: Service = ORDERS, clusters: str = "", ms: int = 1_000) -> View:
        (answer,), _ = self.ask(Query(service, clusters), ms=ms)
        assert isinstance(answer, View)
        return answer

    def ports(self, service: Service = ORDERS, clusters: str = "") -> list[int]:
        return [found.port for found in self.view(service, clusters).instances]

    def counters(self) -> dict[str, int]:
        (status,) = told(self.handle(StatusRequested(b"l", 1, 1)), StatusRequested, Role.PUSH)
        counters: dict[str, int] = status.parts["counters"]
        return counters
