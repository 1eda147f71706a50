"""ClientManager and HTTP clients: orders go on, records are made and told, and no session has a say in them."""

from __future__ import annotations

from actors.base import Role, Tell
from actors.messages.beats import HttpCommitted, HttpOrdersAdmitted, HttpRecordsHeld
from actors.messages.clients import (
    BeatPassed,
    HttpPublication,
    HttpPublicationsOrdered,
    OwnersPurged,
    PersistentServicesChanged,
)
from actors.messages.distro import NativeAdvanced
from actors.messages.index import RecordsChanged
from actors.messages.values import RecordKey
from rollbook.errors import Code
from rollbook.http_clients import HttpWithdraw
from tests.support.client_manager_bench import ONE, SERVICE, TWO, copied, manager, now, opened, ordered, publish, told

KEY = RecordKey("10.0.0.1:1#true", SERVICE)
GRACE_MS = 45_000


def test_publications_become_records_in_their_order_and_are_told_behind_the_index() -> None:
    clients = manager()
    publications = (HttpPublication(KEY, 5, 0, ONE), HttpPublication(KEY, 5, 77, None))
    effects = clients.handle(HttpPublicationsOrdered(publications, GRACE_MS), now())
    clients.check_invariants()
    (changed,) = told(effects, RecordsChanged, Role.INDEX)
    (made,) = told(effects, HttpCommitted, Role.BEATS)
    assert changed.records == made.records
    assert [(record.session, record.seq, record.grace_ms) for record in made.records if record] == [
        (5, 1, GRACE_MS),
        (5, 2, GRACE_MS),
    ]
    assert [record.instances for record in made.records if record] == [(ONE,), ()]
    assert made.records[1] is not None
    assert made.records[1].stamp == 77
    assert told(effects, NativeAdvanced) == [NativeAdvanced(2)]
    assert [effect.to for effect in effects if isinstance(effect, Tell)][-1] is Role.BEATS


def test_a_service_with_persistent_instances_gets_none_but_loses_those_it_has() -> None:
    clients = manager()
    clients.handle(PersistentServicesChanged((SERVICE,), ()), now())
    publications = (HttpPublication(KEY, 5, 0, ONE), HttpPublication(KEY, 5, 0, None))
    effects = clients.handle(HttpPublicationsOrdered(publications, GRACE_MS), now())
    (made,) = told(effects, HttpCommitted)
    assert [record is None for record in made.records] == [True, False]


def test_orders_about_http_clients_go_on_to_who_keeps_them_unless_the_node_has_just_stood_still() -> None:
    clients = manager()
    route = opened(clients, "gateway", 10)
    body = HttpWithdraw(SERVICE, "10.0.0.1", 80)
    changes, effects = ordered(clients, route, body)
    (passed,) = told(effects, HttpOrdersAdmitted, Role.BEATS)
    assert [(order.route, order.body) for order in passed.orders] == [(route, body)]
    assert changes.replies == ()
    clients.handle(BeatPassed(1), now(2_000))
    changes, effects = ordered(clients, route, body, ms=30_000)
    assert told(effects, HttpOrdersAdmitted) == []
    (reply,) = changes.replies
    assert (reply.body.code, reply.body.retryable) == (Code.NOT_READY, True)


def test_what_peers_say_of_http_clients_is_told_behind_the_index() -> None:
    here, there = manager("n1"), manager("n2", 6)
    there.handle(HttpPublicationsOrdered((HttpPublication(KEY, 5, 0, ONE),), 45_000), now())
    ordered(there, opened(there, "c1", 10), publish(TWO))
    effects = copied(there, here)
    roles = [effect.to for effect in effects if isinstance(effect, Tell)]
    assert roles.index(Role.INDEX) < roles.index(Role.BEATS)
    (held,) = told(effects, HttpRecordsHeld)
    assert [(record.key, record.session, record.grace_ms) for record in held.records] == [(KEY, 5, 45_000)]
    (held,) = told(here.handle(OwnersPurged((there.origin,)), now()), HttpRecordsHeld)
    assert (held.records, held.removed) == ((), ((there.origin, KEY),))
