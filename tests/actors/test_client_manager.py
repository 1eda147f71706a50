"""ClientManager: orders in, changes and answers out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.base import Log, Remind, Role, StatusRequested
from actors.messages.clients import (
    ApplyDelta,
    BeatPassed,
    GetRecordRange,
    OpenSessionOrdered,
    OrdersReceived,
    OwnersPurged,
    ReleaseSession,
)
from actors.messages.connections import SessionDiscarded
from actors.messages.distro import ChunkApplied, DeltaRejected, NativeAdvanced, RecordRange
from actors.messages.index import RecordsChanged, SubscribersReleased
from actors.messages.io import AnswerClients, PushToClients
from actors.messages.members import DigestsTaken
from actors.messages.values import Order, Origin, Route, Standing, Watermark
from rollbook.errors import Code
from rollbook.model import Instance, InstanceKey, Service
from rollbook.wire import (
    Done,
    Failed,
    Ping,
    Publish,
    Query,
    Tag,
    Withdraw,
)
from tests.support.client_manager_bench import (
    ONE,
    SERVICE,
    TWO,
    answer,
    copied,
    manager,
    now,
    opened,
    ordered,
    publish,
    told,
)


def test_a_registration_becomes_a_record_and_its_answer_waits_for_the_index() -> None:
    clients = manager()
    route = opened(clients, "c1", 10)
    changes, effects = ordered(clients, route, publish(ONE))
    (record,) = changes.records
    assert (record.origin, record.session, record.seq, record.instances) == (Origin("n1", 5), 10, 1, (ONE,))
    (reply,) = changes.replies
    assert (reply.route, reply.correlation, reply.body) == (route, 1, Done(5, 1, record.stamp))
    assert told(effects, NativeAdvanced, Role.DISTRO) == [NativeAdvanced(1)]
    assert not told(effects, AnswerClients), "nothing is answered past the index"


def test_an_order_without_a_session_is_refused() -> None:
    changes, effects = ordered(manager(), Route(b"l9", 1), publish(ONE))
    assert changes.replies[0].body.code == Code.SESSION_REQUIRED
    assert not changes.records
    assert not told(effects, NativeAdvanced)


def test_several_registrations_of_one_service_add_up_by_key() -> None:
    clients = manager()
    route = opened(clients, "c1", 10)
    heavier = Instance("10.0.0.1", 1, weight=5.0)
    changes, _ = ordered(clients, route, publish(TWO), publish(ONE), publish(heavier))
    assert changes.records[-1].instances == (heavier, TWO)
    assert [record.seq for record in changes.records] == [1, 2, 3]


def test_replace_puts_instances_in_the_place_of_all_others() -> None:
    clients = manager()
    route = opened(clients, "c1", 10)
    changes, _ = ordered(clients, route, publish(ONE), publish(TWO, mode="replace"))
    assert changes.records[-1].instances == (TWO,)


def test_an_identical_registration_takes_no_seq() -> None:
    clients = manager()
    route = opened(clients, "c1", 10)
    changes, _ = ordered(clients, route, publish(ONE), publish(ONE), publish(ONE, mode="replace"))
    assert len(changes.records) == 1
    assert len({reply.body for reply in changes.replies}) == 1


def test_a_redo_in_a_newer_session_keeps_its_stamp_and_takes_a_seq() -> None:
    clients = manager()
    first, _ = ordered(clients, opened(clients, "c1", 10), publish(ONE))
    route = opened(clients, "c1", 11, b"l2")
    again, _ = ordered(clients, route, publish(ONE, mode="replace", stamp=first.records[0].stamp), ms=9_000)
    assert (again.records[0].session, again.records[0].seq) == (11, 2)
    assert again.records[0].stamp == first.records[0].stamp


def test_a_stamp_from_the_future_gains_nothing() -> None:
    clients = manager()
    changes, _ = ordered(clients, opened(clients, "c1", 10), publish(ONE, stamp=1 << 63), publish(TWO))
    assert changes.records[0].stamp < changes.records[1].stamp < 1 << 63


def test_deregistration_of_one_instance_keeps_the_others() -> None:
    clients = manager()
    route = opened(clients, "c1", 10)
    changes, _ = ordered(clients, route, publish(ONE, TWO), Withdraw(SERVICE, (ONE.key,)), Withdraw(SERVICE))
    assert [record.instances for record in changes.records] == [(ONE, TWO), (TWO,), ()]


@pytest.mark.parametrize("order", [Withdraw(SERVICE, (InstanceKey("10.0.0.1", 1),)), publish(mode="replace")])
def test_a_deregistration_writes_a_tombstone_even_where_nothing_is_held(order: Withdraw | Publish) -> None:
    clients = manager()
    route = opened(clients, "c1", 10)
    changes, _ = ordered(clients, route, order, Withdraw(SERVICE))
    (record,) = changes.records
    assert (record.is_tombstone, record.session) == (True, 10)
    assert [reply.body.seq for reply in changes.replies] == [1, 1], "the second one changes nothing"


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        (publish(Instance("", 1)), "ip", Code.INSTANCE_INVALID),
        (publish(Instance("10.0.0.1", 65_536)), "port", Code.INSTANCE_INVALID),
        (publish(Instance("10.0.0.1", 1, weight=-1.0)), "weight", Code.INSTANCE_WEIGHT_INVALID),
        (publish(Instance("10.0.0.1", 1, metadata={"k": "v" * 2_000})), "metadata", Code.INSTANCE_METADATA_INVALID),
        (publish(Instance("10.0.0.1", 1, ephemeral=False)), "ephemeral", Code.INSTANCE_INVALID),
        (Publish(Service("public", "g", "@x"), (ONE,)), "service", Code.SERVICE_NAME_INVALID),
        (publish(*(Instance("10.0.0.1", port) for port in range(1_001))), "instances", Code.OVER_LIMIT),
        (Query(Service("public", "g g", "x")), "group", Code.PARAMETER_INVALID),
    ],
)
def test_bad_input_is_refused_by_field_and_changes_nothing(body: Any, field: str, code: int) -> None:
    clients = manager()
    changes, _ = ordered(clients, opened(clients, "c1", 10), body, Ping())
    failed, pong = changes.replies
    assert (failed.tag, failed.body.code, failed.body.field) == (Tag.FAILED, code, field)
    assert pong.tag == Tag.PONG, "the session lives on"
    assert (changes.records, clients.native.applied) == ((), 0)


def test_an_unexpected_exception_costs_its_session_and_nobody_else() -> None:
    class Unknown(msgspec.Struct, frozen=True):
        pass

    clients = manager()
    bad, good = opened(clients, "c1", 10, b"l1"), opened(clients, "c2", 10, b"l2")
    orders = (Order(bad, 1, publish(ONE)), Order(bad, 2, Unknown()), Order(good, 3, publish(TWO)))
    effects = clients.handle(OrdersReceived(orders), now())
    clients.check_invariants()
    changes, removal = told(effects, RecordsChanged)
    assert [reply.body.code for reply in changes.replies if isinstance(reply.body, Failed)] == [Code.INTERNAL]
    assert [(record.key.client, record.is_tombstone) for record in removal.records] == [("c1", True)]
    assert told(effects, SessionDiscarded) == [SessionDiscarded(bad)]
    assert any(isinstance(effect, Log) for effect in effects)
    assert clients.counters["orders_failed"] == 1


def test_a_stale_session_is_answered_with_the_highest_known() -> None:
    clients = manager()
    opened(clients, "c1", 10)
    route = Route(b"l2", 10)
    effects = clients.handle(OpenSessionOrdered(route, 4, "c1", 15_000, Standing()), now())
    failed = answer(told(effects, AnswerClients)[0].frames[0].payload)
    assert (failed.code, failed.session, failed.retryable) == (Code.SESSION_STALE, 10, True)
    assert told(effects, SessionDiscarded) == [SessionDiscarded(route)]


def test_a_newer_session_ends_the_older_one_but_not_its_publications() -> None:
    clients = manager()
    old = opened(clients, "c1", 10)
    ordered(clients, old, publish(ONE))
    effects = clients.handle(OpenSessionOrdered(Route(b"l2", 11), 1, "c1", 15_000, Standing()), now())
    ended = answer(told(effects, PushToClients)[0].frames[0].payload)
    assert (ended.code, ended.session) == (Code.SESSION_SUPERSEDED, 11)
    assert told(effects, SubscribersReleased) == [SubscribersReleased((old,))]
    assert not told(effects, RecordsChanged)
    assert clients.native.live == 1


@pytest.mark.parametrize("how", ["leave", "lost"])
def test_the_end_of_a_session_removes_exactly_what_it_published(how: Any) -> None:
    clients = manager()
    other = opened(clients, "c2", 10, b"l2")
    ordered(clients, other, publish(TWO))
    route = opened(clients, "c1", 10)
    ordered(clients, route, publish(ONE))
    effects = clients.handle(ReleaseSession(route, how), now())
    clients.check_invariants()
    (changes,) = told(effects, RecordsChanged)
    assert [(record.key.client, record.session, record.is_tombstone) for record in changes.records] == [
        ("c1", 10, True)
    ]
    assert told(effects, NativeAdvanced) == [NativeAdvanced(3)]


def test_a_session_that_moved_keeps_its_publications_until_its_grace_ends() -> None:
    clients = manager()
    route = opened(clients, "c1", 10)
    ordered(clients, route, publish(ONE))
    effects = clients.handle(ReleaseSession(route, "moved"), now())
    assert not told(effects, RecordsChanged)
    (reminder,) = [effect for effect in effects if isinstance(effect, Remind)]
    assert reminder.delay_ms == 15_000
    later = clients.handle(reminder.message, now(16_000))
    assert [record.is_tombstone for record in told(later, RecordsChanged)[0].records] == [True]


def test_a_lost_session_whose_client_is_back_elsewhere_leaves_no_tombstone() -> None:
    here, there = manager("n1"), manager("n2", 6)
    route = opened(here, "c1", 10)
    ordered(here, route, publish(ONE))
    ordered(there, opened(there, "c1", 11), publish(ONE))
    effects = copied(there, here)
    assert told(effects, SessionDiscarded) == [SessionDiscarded(route)], "the old session ends as the new one is seen"
    assert not here.handle(ReleaseSession(route, "lost"), now())
    assert here.native.live == 1


def test_the_grace_of_a_moved_session_never_touches_what_a_newer_session_published() -> None:
    clients = manager()
    route = opened(clients, "c1", 10)
    ordered(clients, route, publish(ONE))
    (reminder,) = [e for e in clients.handle(ReleaseSession(route, "moved"), now()) if isinstance(e, Remind)]
    ordered(clients, opened(clients, "c1", 11, b"l2"), publish(ONE, mode="replace"))
    assert not clients.handle(reminder.message, now(16_000))
    assert clients.native.live == 1


def test_a_delta_is_indexed_with_its_watermark() -> None:
    source, target = manager("n2", 6), manager("n1")
    ordered(source, opened(source, "c1", 10), publish(ONE), publish(TWO))
    (changes,) = told(copied(source, target, "l7"), RecordsChanged)
    assert [record.seq for record in changes.records] == [2]
    assert changes.watermarks == (Watermark(Origin("n2", 6), 2, "l7"),)
    assert target.clock.last >= source.clock.last


def test_chunks_before_the_last_report_progress_and_claim_nothing() -> None:
    source, target = manager("n2", 6, chunk_bytes_max=100), manager("n1")
    route = opened(source, "c1", 10)
    for name in "abc":
        ordered(source, route, Publish(Service("public", "g", name), (ONE,)))
    effects = copied(source, target)
    progress = told(effects, ChunkApplied)
    assert [(chunk.index, chunk.through) for chunk in progress] == [(0, 1), (1, 2)]
    assert [changes.watermarks != () for changes in told(effects, RecordsChanged)] == [False, False, True]


def test_records_that_claim_this_nodes_own_epoch_are_refused_and_counted() -> None:
    clients, forger = manager(), manager()
    ordered(forger, opened(forger, "evil", 1), publish(ONE))
    effects = copied(forger, clients)
    assert told(effects, DeltaRejected)[0].applied == 0
    assert (clients.counters["foreign_claims"], clients.native.records) == (1, {})


def test_an_invalid_record_is_refused_as_a_whole() -> None:
    clients = manager()
    delta = ApplyDelta("l7", Origin("n2", 6), 0, 1, False, 0, 0, 0, True, (b"\xc1",))
    effects = clients.handle(delta, now())
    assert told(effects, DeltaRejected) == [DeltaRejected("l7", Origin("n2", 6), 0, 0)]
    assert clients.counters["records_invalid"] == 1
    assert list(clients.tables) == [clients.origin]


def test_a_range_of_an_unknown_origin_says_so() -> None:
    (part,) = told(manager().handle(GetRecordRange(Origin("x", 1), 0, False, 0, ("l",)), now()), RecordRange)
    assert not part.known


def test_a_beat_takes_the_digest_of_every_origin() -> None:
    source, target = manager("n2", 6), manager("n1")
    ordered(source, opened(source, "c1", 10), publish(ONE))
    copied(source, target)
    (taken,) = told(target.handle(BeatPassed(3), now()), DigestsTaken)
    assert [(entry.owner, entry.applied, entry.records) for entry in taken.entries] == [("n1", 0, 0), ("n2", 1, 1)]
    assert taken.entries[1].digest == source.native.digest != 0


def test_beats_after_a_stall_prove_no_life_until_closed_sockets_are_handled() -> None:
    clients = manager()
    proofs = [
        told(clients.handle(BeatPassed(number), now(ms)), DigestsTaken)[0].proves_life
        for number, ms in enumerate((1_000, 41_000, 42_500, 43_900, 44_000))
    ]
    assert proofs == [True, False, False, False, True]
    assert clients.counters["stalls"] == 1


@pytest.mark.parametrize("beat_comes_first", [True, False])
def test_a_session_lost_in_a_stall_waits_for_news_of_where_its_client_went(beat_comes_first: bool) -> None:
    here, there = manager("n1"), manager("n2", 6)
    route = opened(here, "c1", 10)
    ordered(here, route, publish(ONE))
    here.handle(BeatPassed(1), now(1_000))
    ordered(there, opened(there, "c1", 11, ms=20_000), publish(ONE), ms=20_000)
    if beat_comes_first:
        here.handle(BeatPassed(2), now(41_000))
    assert not here.handle(ReleaseSession(route, "lost"), now(41_300))
    copied(there, here, ms=42_000)
    for number, ms in enumerate((41_400, 42_400, 43_400, 44_400), start=3):
        here.handle(BeatPassed(number), now(ms))
    assert here.native.live == 1, "the newer session's record is shown instead of it; no tombstone was needed"


def test_a_session_lost_in_a_stall_and_seen_nowhere_else_is_released_all_the_same() -> None:
    clients = manager()
    route = opened(clients, "c1", 10)
    ordered(clients, route, publish(ONE))
    clients.handle(BeatPassed(1), now(1_000))
    assert not clients.handle(ReleaseSession(route, "lost"), now(41_000))
    for number, ms in enumerate((41_100, 42_100, 43_100)):
        assert not told(clients.handle(BeatPassed(number), now(ms)), RecordsChanged)
    effects = clients.handle(BeatPassed(5), now(44_100))
    assert [record.is_tombstone for record in told(effects, RecordsChanged)[0].records] == [True]


def test_the_beat_that_releases_what_a_stall_has_lost_proves_no_life_but_the_next_one_does() -> None:
    clients = manager()
    route = opened(clients, "c1", 10)
    ordered(clients, route, publish(ONE))
    clients.handle(BeatPassed(1), now(1_000))
    clients.handle(BeatPassed(2), now(41_000))
    clients.handle(ReleaseSession(route, "lost"), now(41_300))
    clients.handle(BeatPassed(3), now(42_500))
    (at_release,) = told(clients.handle(BeatPassed(3), now(44_000)), DigestsTaken)
    (after,) = told(clients.handle(BeatPassed(4), now(45_000)), DigestsTaken)
    assert [(taken.proves_life, taken.entries[0].records) for taken in (at_release, after)] == [(False, 0), (True, 0)]


def test_a_purged_origin_leaves_the_index_but_the_own_one_never_does() -> None:
    source, target = manager("n2", 6), manager("n1")
    ordered(source, opened(source, "c1", 10), publish(ONE))
    copied(source, target)
    effects = target.handle(OwnersPurged((source.origin, target.origin)), now())
    assert [key.client for _, key in told(effects, RecordsChanged)[0].removed] == ["c1"]
    assert list(target.tables) == [target.origin]


def test_session_numbers_of_clients_that_are_gone_are_forgotten() -> None:
    clients = manager(tombstone_age_ms=10)
    for number in range(1_100):
        route = opened(clients, f"c{number}", 10, b"l%d" % number)
        clients.handle(ReleaseSession(route, "leave"), now())
    kept = opened(clients, "kept", 10)
    (start,) = clients.start(now())
    assert isinstance(start, Remind)
    clients.handle(start.message, now(60_000))
    assert (clients.sessions.highest("c1"), clients.sessions.highest("kept")) == (0, kept.session)


def test_a_session_that_publishes_too_much_is_refused_by_field() -> None:
    clients = manager(publications_per_session_max=1)
    route = opened(clients, "c1", 10)
    changes, _ = ordered(clients, route, publish(ONE), Publish(Service("public", "g", "b"), (ONE,)), publish(TWO))
    assert [reply.tag for reply in changes.replies] == [Tag.DONE, Tag.FAILED, Tag.DONE]
    refusal = changes.replies[1].body
    assert (refusal.code, refusal.retryable) == (Code.OVER_LIMIT, False), "to publish it again changes nothing"


def test_a_caller_that_waits_for_the_cluster_waits_for_its_seq() -> None:
    clients = manager()
    changes, _ = ordered(clients, opened(clients, "c1", 10), publish(ONE, wait="cluster", wait_ms=700))
    (wait,) = changes.waits
    assert (wait.seq, wait.wait_ms, wait.tag, changes.replies) == (1, 700, Tag.DONE, ())


def test_status_names_every_owner_and_goes_on() -> None:
    clients = manager()
    ordered(clients, opened(clients, "c1", 10), publish(ONE))
    (status,) = told(clients.handle(StatusRequested(b"l", 0, 1, {"sessions": 1}), now()), StatusRequested, Role.BEATS)
    assert (status.parts["sessions"], status.parts["seq"], status.parts["records"]) == (1, 1, 1)
    assert [owner.owner for owner in status.parts["owners"]] == ["n1"]
    assert status.parts["counters"]["orders"] == 1
