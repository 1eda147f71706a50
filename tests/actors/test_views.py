"""The two-step view: sessions first, then instance keys; the order of arrival never shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages.values import Origin, Record
from actors.views import Filter, MergedInstances, OwnerVerdict, live_winner, live_winners, merge_instances
from rollbook.model import InstanceKey
from tests.support.registry import HERE, THERE, instance, record

ONE, TWO, THREE = instance(1), instance(2), instance(3)


def ports(merged: MergedInstances) -> list[int]:
    return [found.port for found in merged.instances]


def view_of(records: list[Record], hidden: Filter) -> MergedInstances:
    """The whole rule: group by client, keep one record per origin, then both steps."""
    clients: dict[str, dict[Origin, Record]] = {}
    for item in records:
        clients.setdefault(item.key.client, {})[item.origin] = item
    return merge_instances(live_winners([tuple(origins.values()) for origins in clients.values()], hidden))


def test_the_highest_session_of_a_client_wins_over_every_origin() -> None:
    older = record("c", ONE, origin=HERE, session=1, seq=90, stamp=90)
    newer = record("c", TWO, origin=THERE, session=2, seq=1, stamp=1)
    assert live_winner((older, newer), {}) is newer
    assert live_winner((newer, older), {}) is newer


def test_a_tombstone_of_a_higher_session_ends_the_lower_one() -> None:
    assert live_winner((record("c", ONE, session=1), record("c", origin=THERE, session=2)), {}) is None


def test_a_tombstone_of_a_lower_session_ends_nothing() -> None:
    live = record("c", ONE, session=2)
    assert live_winner((live, record("c", origin=THERE, session=1, seq=50, stamp=50)), {}) is live


def test_a_hidden_winner_does_not_bring_an_older_session_back() -> None:
    records = (record("c", ONE, session=1, origin=HERE), record("c", TWO, session=2, origin=THERE))
    assert live_winner(records, {THERE: OwnerVerdict(15_000, records[1].seq)}) is None
    assert live_winner(records, {HERE: OwnerVerdict(15_000, records[0].seq)}) is records[1]


def test_a_hidden_record_that_came_since_it_was_hidden_keeps_a_listed_client_and_lists_no_other() -> None:
    verdict = OwnerVerdict(15_000, held_seq=4)
    older, newer = record("c", ONE, session=1), record("c", TWO, session=2, seq=5, origin=THERE)
    assert live_winner((newer,), {THERE: verdict}) is None
    assert live_winner((older, newer), {THERE: verdict}) is newer, "as the newer record has it"
    assert live_winner((older, newer), {THERE: verdict, HERE: verdict}) is None, "nobody lists it"
    ended = record("c", session=1, seq=2)
    assert live_winner((ended, newer), {THERE: verdict}) is None, "nobody lists it any more"
    withdrawn = record("c", session=2, seq=6, origin=THERE)
    assert live_winner((older, withdrawn), {THERE: verdict}) is None


@pytest.mark.parametrize(("grace_ms", "is_live"), [(15_000, False), (14_999, False), (15_001, True)])
def test_a_filter_hides_graces_up_to_its_own(grace_ms: int, is_live: bool) -> None:
    assert (live_winner((record("c", ONE, grace_ms=grace_ms),), {HERE: OwnerVerdict(15_000, 9)}) is not None) is is_live


def test_ties_of_sessions_are_settled_by_epoch_then_owner_then_seq() -> None:
    by_epoch = (record("c", ONE, origin=Origin("z", 1)), record("c", TWO, origin=Origin("a", 2)))
    by_owner = (record("c", ONE, origin=Origin("a", 2), seq=9), record("c", TWO, origin=Origin("b", 2), seq=1))
    assert live_winner(by_epoch, {}) is by_epoch[1]
    assert live_winner(by_owner, {}) is by_owner[1]


def test_instances_of_all_clients_add_up_sorted_by_key() -> None:
    merged = merge_instances([record("b", THREE, ONE), record("a", TWO)])
    assert ports(merged) == [1, 2, 3]
    assert merged.conflicts == ()


def test_ports_are_sorted_as_numbers() -> None:
    assert ports(merge_instances([record("a", instance(10), instance(9))])) == [9, 10]


def test_between_clients_the_newest_stamp_has_the_key_and_the_conflict_is_named() -> None:
    early = record("a", instance(1, weight=5.0), stamp=10)
    late = record("b", instance(1, weight=7.0), stamp=11)
    merged = merge_instances([late, early])
    assert [found.weight for found in merged.instances] == [7.0]
    assert [(conflict.key, conflict.clients) for conflict in merged.conflicts] == [
        (InstanceKey("10.0.0.1", 1, "DEFAULT"), ("a", "b"))
    ]


def test_at_equal_stamps_the_greater_client_id_has_the_key() -> None:
    merged = merge_instances([record("b", instance(1, weight=7.0)), record("a", instance(1, weight=5.0))])
    assert [found.weight for found in merged.instances] == [7.0]


def test_the_same_address_in_two_clusters_is_two_instances() -> None:
    merged = merge_instances([record("a", instance(1, "east")), record("b", instance(1, "west"))])
    assert [found.cluster for found in merged.instances] == ["east", "west"]
    assert merged.conflicts == ()


ORIGINS = st.sampled_from([Origin("n1", 5), Origin("n1", 6), Origin("n2", 7), Origin("n3", 5)])
RECORDS = st.builds(
    lambda client, origin, session, seq, stamp, grace_ms, found: record(
        client, *found, origin=origin, session=session, seq=seq, stamp=stamp, grace_ms=grace_ms
    ),
    st.sampled_from("abcd"),
    ORIGINS,
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 4),
    st.sampled_from([15_000, 45_000]),
    st.lists(
        st.builds(lambda port, weight: instance(port, weight=weight), st.integers(1, 3), st.sampled_from([1.0, 2.0])),
        max_size=3,
        unique_by=lambda found: found.port,
    ),
)
FILTERS = st.dictionaries(
    ORIGINS, st.builds(OwnerVerdict, st.sampled_from([15_000, 45_000]), st.integers(0, 9)), max_size=2
)


@st.composite
def shuffled_records(draw: st.DrawFn) -> tuple[list[Record], list[Record]]:
    """Records with unique (client, origin), and the same ones in another order with repeats."""
    records = draw(st.lists(RECORDS, max_size=12, unique_by=lambda item: (item.key.client, item.origin)))
    repeats = draw(st.lists(st.sampled_from(records), max_size=4)) if records else []
    return records, draw(st.permutations(records + repeats))


@given(shuffled_records(), FILTERS)
def test_order_and_repeats_of_records_never_show(orders: tuple[list[Record], list[Record]], hidden: Filter) -> None:
    assert view_of(orders[0], hidden) == view_of(orders[1], hidden)


@given(st.lists(RECORDS, max_size=9, unique_by=lambda item: (item.key.client, item.origin)), st.integers(0, 9))
def test_a_client_may_be_judged_part_by_part(records: list[Record], cut: int) -> None:
    """Step 1 is associative: the winner of the winners of two parts is the winner of all."""
    by_client: dict[str, list[Record]] = {}
    for item in records:
        by_client.setdefault(item.key.client, []).append(item)
    for held in by_client.values():
        parts = [part for part in (held[:cut], held[cut:]) if part]
        winners = tuple(
            max(part, key=lambda item: (item.session, item.origin.epoch, item.origin.owner)) for part in parts
        )
        assert live_winner(tuple(held), {}) == live_winner(winners, {})


@given(st.lists(RECORDS, max_size=12), FILTERS)
def test_hiding_never_adds_an_instance_key(records: list[Record], hidden: Filter) -> None:
    shown = {found.key for found in view_of(records, {}).instances}
    assert {found.key for found in view_of(records, hidden).instances} <= shown
