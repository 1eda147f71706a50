"""Verdicts as records and in views: what they change, and everything that they leave alone."""

from __future__ import annotations

import random

import pytest

from actors.base import Role
from actors.index_manager import IndexManager, IndexSettings
from actors.messages.clients import BeatPassed
from actors.messages.connections import StandingChanged
from actors.messages.distro import NativeAdvanced
from actors.messages.health import HealthJudged, VerdictList, VerdictsFound, VerdictsWanted
from actors.messages.index import OwnersVisible, RecordsChanged
from actors.messages.values import Origin, Record, RecordKey, Route, Standing
from actors.verdict_lists import ListKey, VerdictLists
from actors.verdicts import SHARDS, fitting, last_verdicts, overlaid, verdict_instances, verdicts_in_force, verdicts_key
from actors.views import OwnerVerdict
from rollbook.errors import InvalidField
from rollbook.model import Instance, InstanceKey, Service, check_client_id
from tests.support import client_manager_bench as clients_bench
from tests.support.registry import HERE, ORDERS, THERE, at, told
from tests.support.registry import record as record_of
from tests.support.settings import settings_of

HIDDEN = {THERE: OwnerVerdict(15_000, 99)}


def stored(port: int, healthy: bool = True) -> Instance:
    return Instance("10.0.0.1", port, healthy=healthy, ephemeral=False)


def key(port: int) -> InstanceKey:
    return InstanceKey("10.0.0.1", port)


def word(origin: Origin = HERE, *, shard: int = 0, stamp: int = 1, seq: int = 1, **ports: bool) -> Record:
    """What a node says of ports: ``p80=False``."""
    client = verdicts_key(origin.owner, shard, ORDERS).client
    found = verdict_instances((key(int(port[1:])), healthy) for port, healthy in ports.items())
    return record_of(client, *found, origin=origin, session=origin.epoch, stamp=stamp, seq=seq)


# -- the rules


def test_the_newest_verdict_on_a_key_wins() -> None:
    older, newer = word(HERE, stamp=5, p80=False, p81=False), word(THERE, stamp=6, p80=True)
    assert verdicts_in_force([(older,), (newer,)], {}) == {key(80): True, key(81): False}
    assert verdicts_in_force([(newer,), (older,)], {}) == {key(80): True, key(81): False}


def test_the_word_of_a_hidden_node_does_not_count_but_is_remembered() -> None:
    records = [(word(HERE, stamp=5, p80=True),), (word(THERE, stamp=6, p80=False),)]
    assert verdicts_in_force(records, HIDDEN) == {key(80): True}
    assert last_verdicts(records) == {key(80): False}


def test_a_newer_life_of_a_node_has_the_last_word_also_by_silence() -> None:
    older, newer = word(HERE, stamp=50, p80=False), word(Origin("n1", 6), stamp=3, p81=False)
    assert verdicts_in_force([(older, newer)], {}) == {key(81): False}
    assert last_verdicts([(older, newer)]) == {key(81): False}


def test_verdicts_change_the_health_of_stored_instances_and_nothing_else() -> None:
    instances = (stored(80), stored(81), Instance("10.0.0.1", 82), stored(83, healthy=False))
    said = [(key(80), False), (key(81), True), (key(82), False), (key(83), True), (key(99), False)]
    found = overlaid(instances, dict(said))
    assert [instance.healthy for instance in found] == [False, True, True, True]
    assert found[1] is instances[1]
    assert [instance.port for instance in found] == [80, 81, 82, 83]


def test_a_record_takes_a_thousand_and_those_that_differ_first() -> None:
    stored_health = {key(port): True for port in range(1, 1_501)}
    found = fitting({key(port): port > 900 for port in range(1, 1_501)}, stored_health)
    assert len(found) == 1_000
    assert sum(not healthy for _, healthy in found) == 900
    assert list(found) == sorted(found)


def test_long_names_do_not_make_a_record_too_large() -> None:
    keys = [InstanceKey(f"{number:04}" + "x" * 124, 65_535, "c" * 64) for number in range(1_000)]
    found = fitting(dict.fromkeys(keys, False), dict.fromkeys(keys, True))
    assert 300 < len(found) < 1_000
    long_service = Service("n" * 64, "g" * 128, "s" * 512)
    record_of("health/" + "n" * 64 + "/15", *verdict_instances(found), service=long_service)  # else it raises


PLACE = ListKey(1, ORDERS)


def told_list(*verdicts: tuple[int, bool]) -> tuple[VerdictList, ...]:
    return (VerdictList(1, ORDERS, tuple((key(port), healthy) for port, healthy in verdicts)),)


def test_what_another_node_has_taken_over_is_said_for_a_while() -> None:
    lists = VerdictLists(3_000)
    lists.state(PLACE, key(80), healthy=False, stored=True)
    assert lists.take_due(0) == told_list((80, False))
    lists.hand_over(PLACE, key(80), now_ms=0)
    lists.state(PLACE, key(81), healthy=False, stored=True)
    assert lists.take_due(1_000) == told_list((80, False), (81, False)), "a flip neither waits nor cuts it short"
    lists.hand_over(PLACE, key(81), now_ms=1_000)
    lists.check_invariants()
    assert lists.take_due(2_999) == ()
    assert lists.take_due(3_000) == told_list((81, False))
    lists.check_invariants()
    assert lists.take_due(4_000) == told_list()
    assert not lists.is_pending


def test_handovers_of_one_list_end_one_after_the_other() -> None:
    lists = VerdictLists(3_000)
    for port, now_ms in ((80, 0), (81, 500), (82, 1_000)):
        lists.state(PLACE, key(port), healthy=False, stored=True)
        lists.hand_over(PLACE, key(port), now_ms)
    assert len(lists.take_due(1_000)) == 1
    assert lists.take_due(3_000) == told_list((81, False), (82, False))
    assert lists.take_due(3_500) == told_list((82, False))
    assert lists.take_due(4_000) == told_list()


def test_nothing_is_told_of_a_list_before_the_last_word_on_all_of_it_is_known() -> None:
    lists = VerdictLists(3_000)
    lists.await_word(PLACE)
    lists.await_word(PLACE)
    lists.state(PLACE, key(80), healthy=False, stored=True)
    lists.word_found(PLACE)
    assert lists.take_due(0) == ()
    lists.check_invariants()
    lists.state(PLACE, key(81), healthy=False, stored=True)
    lists.word_found(PLACE)
    assert lists.take_due(0) == told_list((80, False), (81, False))


def test_a_list_that_says_the_same_is_not_told_again() -> None:
    lists = VerdictLists(3_000)
    lists.state(PLACE, key(80), healthy=False, stored=True)
    assert len(lists.take_due(0)) == 1
    lists.state(PLACE, key(80), healthy=True, stored=True)
    lists.state(PLACE, key(80), healthy=False, stored=True)
    assert lists.take_due(0) == ()
    assert not lists.is_pending


def test_what_found_no_room_is_counted() -> None:
    lists = VerdictLists(3_000)
    for port in range(1, 1_101):
        lists.state(PLACE, key(port), healthy=False, stored=True)
    (full,) = lists.take_due(0)
    assert len(full.verdicts) == 1_000
    assert lists.unsaid == 100


def test_what_is_withdrawn_and_not_yet_told_is_not_unsaid() -> None:
    lists = VerdictLists(3_000)
    lists.state(PLACE, key(80), healthy=False, stored=True)
    lists.take_due(0)
    lists.await_word(PLACE)
    lists.withdraw(PLACE, key(80))
    assert (lists.take_due(0), lists.unsaid) == ((), 0)


# -- records of this node


def judged(*verdicts: tuple[InstanceKey, bool], shard: int = 3) -> HealthJudged:
    return HealthJudged((VerdictList(shard, ORDERS, verdicts),), 15_000)


def test_verdicts_become_a_native_record_and_are_replicated() -> None:
    clients = clients_bench.manager()
    effects = clients.handle(judged((key(80), False)), at(1))
    (record,) = told(effects, RecordsChanged, Role.INDEX)[0].records
    assert record.key == RecordKey("health/n1/3", ORDERS)
    assert (record.session, record.seq, record.grace_ms) == (5, 1, 15_000), "its session is the epoch"
    assert record.instances == (stored(80, healthy=False),)
    assert told(effects, NativeAdvanced, Role.DISTRO) == [NativeAdvanced(1)]
    clients.check_invariants()


def test_the_same_verdicts_take_no_version_and_none_at_all_is_a_tombstone() -> None:
    clients = clients_bench.manager()
    assert clients.handle(judged(), at(1)) == []
    clients.handle(judged((key(80), False)), at(1))
    assert clients.handle(judged((key(80), False)), at(2)) == []
    (record,) = told(clients.handle(judged(), at(3)), RecordsChanged)[0].records
    assert record.is_tombstone
    assert record.seq == 2
    clients.check_invariants()


def test_verdicts_outlive_what_sessions_left_over() -> None:
    """No session published them, so the end of self-preservation does not sweep them away with lost sessions."""
    clients = clients_bench.manager()
    clients.handle(judged((key(80), False)), at(1))
    clients._leavings.lingering.has_overdue = True
    clients.handle(StandingChanged(Standing(ready=True)), at(2))
    clients.handle(BeatPassed(1), at(3))
    assert not clients.native.records[verdicts_key("n1", 3, ORDERS)].is_tombstone


@pytest.mark.parametrize("client_id", ["health/n1/3", "health/"])
def test_no_client_passes_for_a_node_that_probes(client_id: str) -> None:
    with pytest.raises(InvalidField, match="must not begin with health/"):
        check_client_id(client_id)
    assert check_client_id("health") == "health"


# -- views


class IndexBench:
    def __init__(self) -> None:
        identity = clients_bench.manager().identity
        self.actor = IndexManager(identity, settings_of("index", IndexSettings), random.Random(0))
        self.ms = 0

    def tell(self, message: RecordsChanged | OwnersVisible | VerdictsWanted) -> list[VerdictsFound]:
        self.ms += 1
        effects = self.actor.handle(message, at(self.ms))
        self.actor.check_invariants()
        return told(effects, VerdictsFound, Role.HEALTH)

    def put(self, *records: Record) -> None:
        self.tell(RecordsChanged(records))

    def health(self) -> dict[int, bool]:
        entry = self.actor.index.entries[ORDERS]
        view = self.actor.index.views.of(entry, 1_700_000_000_000 + self.ms)
        self.actor.check_invariants()
        return {instance.port: instance.healthy for instance in view.instances}

    def version(self) -> int:
        view = self.actor.index.entries[ORDERS].view
        assert view is not None
        return view.version

    def names(self) -> list[str]:
        return self.actor.index.live_names("public", "DEFAULT_GROUP")


def test_a_view_shows_stored_instances_with_the_health_that_was_found() -> None:
    index = IndexBench()
    index.put(record_of("store", stored(80), stored(81)))
    assert index.health() == {80: True, 81: True}
    index.put(word(p80=False))
    assert index.health() == {80: False, 81: True}
    index.put(word(seq=2, stamp=2, p80=True))
    assert index.health() == {80: True, 81: True}


def test_a_verdict_lists_nothing_and_keeps_no_service_alive() -> None:
    index = IndexBench()
    index.put(word(p80=False))
    assert index.health() == {}
    assert index.names() == []
    index.put(record_of("store", stored(80), origin=THERE))
    assert index.names() == ["orders"]
    index.tell(RecordsChanged(removed=((THERE, RecordKey("store", ORDERS)),)))
    assert index.names() == []
    assert index.health() == {}
    index.tell(RecordsChanged(removed=((HERE, word().key),)))
    assert ORDERS not in index.actor.index.entries


def test_a_verdict_that_changes_nothing_wakes_nobody() -> None:
    index = IndexBench()
    index.put(record_of("store", stored(80)))
    index.health()
    before = index.version()
    index.put(word(p80=True, p99=False))
    assert index.health() == {80: True}
    assert index.version() == before


def test_ephemeral_instances_keep_the_health_that_their_client_says() -> None:
    index = IndexBench()
    index.put(record_of("c", Instance("10.0.0.1", 80)), word(p80=False))
    assert index.health() == {80: True}


def test_verdicts_of_hidden_and_purged_nodes_do_not_count() -> None:
    index = IndexBench()
    index.put(record_of("store", stored(80)), word(THERE, p80=False))
    assert index.health() == {80: False}
    index.tell(OwnersVisible(((THERE, 15_000),)))
    assert index.health() == {80: True}
    index.tell(OwnersVisible(()))
    assert index.health() == {80: False}
    index.tell(RecordsChanged(removed=((THERE, word(THERE).key),)))
    assert index.health() == {80: True}


def test_records_of_several_lives_of_a_node_stand_side_by_side() -> None:
    index = IndexBench()
    again = Origin("n1", 6)
    index.put(record_of("store", stored(80), stored(81)), word(HERE, p80=False), word(again, p81=False))
    assert index.health() == {80: True, 81: False}
    index.tell(RecordsChanged(removed=((again, word(again).key),)))
    assert index.health() == {80: True, 81: True}, "what the newer life superseded does not come back"


def test_a_subscribed_service_is_touched_by_a_verdict() -> None:
    index = IndexBench()
    index.put(record_of("store", stored(80)))
    index.actor.index.subscribe(Route(b"l", 1), ORDERS)
    index.actor.index.put((word(p80=False),))
    assert index.actor.index.take_touched() == {ORDERS: {HERE: 1}}


def test_who_takes_over_is_told_the_last_word_even_of_a_hidden_node() -> None:
    index = IndexBench()
    index.put(word(HERE, stamp=1, p80=True, p81=True), word(THERE, stamp=2, p80=False))
    index.tell(OwnersVisible(((THERE, 15_000),)))
    other = Service("public", "DEFAULT_GROUP", "nobody")
    targets = ((7, ORDERS, key(80)), (8, ORDERS, key(81)), (9, ORDERS, key(82)), (10, other, key(80)))
    (found,) = index.tell(VerdictsWanted(targets))
    assert found.verdicts == ((7, False), (8, True), (9, None), (10, None))


def test_the_number_of_shards_is_the_same_on_every_node() -> None:
    assert SHARDS == 16, "a node of another version would leave what this one said beside its own"
