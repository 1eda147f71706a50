"""Tombstones that are too many may be forgotten, but not those that keep an older session's record hidden."""

from __future__ import annotations

import random

from actors.base import NodeIdentity, Now
from actors.client_manager import ClientManager, ClientsSettings, _CollectDue
from actors.messages.clients import ApplyDelta, OpenSessionOrdered, OrdersReceived
from actors.messages.values import Order, Origin, RecordKey, Route, Standing
from actors.records import make_record
from actors.views import live_winner
from rollbook.model import Instance, Service
from rollbook.wire import Withdraw
from tests.support.settings import settings_of

SERVICE = Service("public", "DEFAULT_GROUP", "orders")
ELSEWHERE = Origin("n2", 7)
MOVED, GONE = RecordKey("moved", SERVICE), RecordKey("gone", SERVICE)


def now(ms: int) -> Now:
    return Now(ms, 1_700_000_000_000 + ms)


def manager() -> ClientManager:
    identity = NodeIdentity("n1", 5, "test", "127.0.0.1:1", "127.0.0.1:2", 256)
    settings = settings_of("clients", ClientsSettings, tombstones_max=0)
    return ClientManager(identity, settings, random.Random(0))


def withdrawn(clients: ClientManager, client: str, session: int) -> None:
    route = Route(client.encode(), session)
    clients.handle(OpenSessionOrdered(route, 1, client, 15_000, Standing(ready=True)), now(1_000))
    clients.handle(OrdersReceived((Order(route, 2, Withdraw(SERVICE)),)), now(1_000))


def heard_of(clients: ClientManager, seq: int, *instances: Instance) -> None:
    record = make_record(ELSEWHERE, MOVED, 1, seq, 1, 15_000, instances)
    delta = ApplyDelta("link", ELSEWHERE, seq - 1, seq, False, 0, 0, 0, True, (record.body,))
    clients.handle(delta, now(1_000))


def shown(clients: ClientManager, key: RecordKey) -> bool:
    records = tuple(table.records[key] for table in clients.tables.values() if key in table.records)
    return bool(records) and live_winner(records, {}) is not None


def test_a_tombstone_that_supersedes_what_is_held_of_another_owner_outlives_the_count() -> None:
    clients = manager()
    heard_of(clients, 1, Instance("10.0.0.1", 1))
    withdrawn(clients, "moved", 2)
    withdrawn(clients, "gone", 2)
    clients.handle(_CollectDue(), now(2_000))
    assert GONE not in clients.native.records, "nobody needs that one"
    assert not shown(clients, MOVED)
    clients.check_invariants()


def test_it_goes_when_that_is_gone_and_when_it_is_old() -> None:
    clients = manager()
    heard_of(clients, 1, Instance("10.0.0.1", 1))
    withdrawn(clients, "moved", 2)
    heard_of(clients, 2)
    clients.handle(_CollectDue(), now(2_000))
    assert MOVED not in clients.native.records
    old = manager()
    heard_of(old, 1, Instance("10.0.0.1", 1))
    withdrawn(old, "moved", 2)
    old.handle(_CollectDue(), now(151_001))
    assert MOVED not in old.native.records, "after ten leases whoever held the session has long removed it"


def test_tombstones_that_are_kept_stay_in_order_and_hold_up_no_others() -> None:
    clients = manager()
    heard_of(clients, 1, Instance("10.0.0.1", 1))
    withdrawn(clients, "moved", 2)
    for number in range(5):
        withdrawn(clients, f"c{number}", 1)
    clients.handle(_CollectDue(), now(2_000))
    assert list(clients.native.records) == [MOVED]
    assert clients.native.gc_floor == 6
    heard_of(clients, 2)
    clients.handle(_CollectDue(), now(3_000))
    assert not clients.native.records
