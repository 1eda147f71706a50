"""What becomes of clients around a stall of their node: whoever it lets in may be hidden with it by the others."""

from __future__ import annotations

import random
from typing import Any

import pytest

from actors.base import NodeIdentity, Now, Role, Tell
from actors.client_manager import ClientManager, ClientsSettings
from actors.messages.clients import BeatPassed, OpenSessionOrdered, OrdersReceived, ReleaseSession
from actors.messages.connections import SessionDiscarded
from actors.messages.io import AnswerClients
from actors.messages.values import Order, Route, Standing
from rollbook.errors import Code
from rollbook.model import Instance, Service
from rollbook.wire import Failed, Publish, SessionOpened, answer_body, open_envelope
from tests.support.settings import settings_of

IDENTITY = NodeIdentity("a", 100, "test", "a:8851", "a:8850", 256)
OTHERS = ("b:8850", "c:8850")
SETTINGS = settings_of("clients", ClientsSettings)
AWAKE_MS = 41_000


def asleep() -> ClientManager:
    """It has had one beat, at 1,000 ms."""
    clients = ClientManager(IDENTITY, SETTINGS, random.Random(1))
    clients.handle(BeatPassed(1), now(1_000))
    return clients


def now(ms: int) -> Now:
    return Now(ms, 1_700_000_000_000 + ms)


def asked(clients: ClientManager, ms: int, servers: tuple[str, ...] = OTHERS) -> Any:
    """The answer to a client that wants a session, and whether it is still counted."""
    order = OpenSessionOrdered(Route(b"l1", ms), 1, "c1", 15_000, Standing(ready=True, servers=servers))
    effects = clients.handle(order, now(ms))
    (frame,) = [e.message.frames[0] for e in effects if isinstance(e, Tell) and isinstance(e.message, AnswerClients)]
    body = answer_body(open_envelope(frame.payload))
    discarded = any(e == Tell(Role.CONNECTIONS, SessionDiscarded(order.route)) for e in effects)
    assert discarded == isinstance(body, Failed)
    return body


@pytest.mark.parametrize("beats", [(), (AWAKE_MS,), (AWAKE_MS, AWAKE_MS + 1_000, AWAKE_MS + 2_000)])
def test_a_node_that_has_just_stood_still_sends_clients_elsewhere(beats: tuple[int, ...]) -> None:
    clients = asleep()
    for number, ms in enumerate(beats, 2):
        clients.handle(BeatPassed(number), now(ms))
    refusal = asked(clients, max(beats, default=AWAKE_MS))
    assert (refusal.code, refusal.retryable, refusal.servers) == (Code.NOT_READY, True, OTHERS)


def test_it_lets_them_in_again_once_the_others_have_had_time_to_hear_it() -> None:
    clients = asleep()
    welcome_ms = AWAKE_MS + SETTINGS.stall_settle_ms + SETTINGS.stall_welcome_ms
    for number, ms in enumerate(range(AWAKE_MS, welcome_ms, 1_000), 2):
        clients.handle(BeatPassed(number), now(ms))
    assert isinstance(asked(clients, welcome_ms - 1), Failed)
    assert isinstance(asked(clients, welcome_ms), SessionOpened)


def test_a_node_without_others_lets_everyone_in_at_once() -> None:
    assert isinstance(asked(asleep(), AWAKE_MS, servers=()), SessionOpened)


def lose_in_the_stall(clients: ClientManager) -> None:
    """A session of c1 that was opened and has published before the stall, and whose connection broke in it."""
    assert isinstance(asked(clients, 1_100), SessionOpened)
    route = Route(b"l1", 1_100)
    order = Order(route, 2, Publish(Service("public", "DEFAULT_GROUP", "orders"), (Instance("10.0.0.1", 80),)))
    clients.handle(OrdersReceived((order,)), now(1_200))
    assert clients.native.live == 1
    clients.handle(BeatPassed(2), now(AWAKE_MS))
    clients.handle(ReleaseSession(route, "lost"), now(AWAKE_MS + 300))


def beat(clients: ClientManager, until_ms: int) -> None:
    for number, ms in enumerate(range(AWAKE_MS + 1_000, until_ms + 1, 1_000), 3):
        clients.handle(BeatPassed(number), now(ms))
        clients.check_invariants()


def test_a_client_that_comes_back_from_the_others_is_let_in_where_its_last_session_stands() -> None:
    clients = asleep()
    lose_in_the_stall(clients)
    assert isinstance(asked(clients, AWAKE_MS + 400), Failed), "the others may show it sooner"
    assert isinstance(asked(clients, AWAKE_MS + 500), SessionOpened), "but they have not taken it either"
    beat(clients, AWAKE_MS + 6_000)
    assert clients.native.live == 1


def test_a_client_that_has_just_asked_for_a_new_session_loses_nothing_when_the_stall_is_over() -> None:
    clients = asleep()
    lose_in_the_stall(clients)
    assert isinstance(asked(clients, AWAKE_MS + 400), Failed)
    beat(clients, AWAKE_MS + 6_000)
    assert clients.native.live == 1, "it lives, and its next session is on its way"


def test_who_was_sent_elsewhere_is_forgotten_with_a_session_that_has_published_nothing() -> None:
    clients = asleep()
    assert isinstance(asked(clients, 1_100), SessionOpened)
    assert isinstance(asked(clients, AWAKE_MS), Failed)
    clients.check_invariants()
    clients.handle(ReleaseSession(Route(b"l1", 1_100), "leave"), now(AWAKE_MS))
    clients.check_invariants()
