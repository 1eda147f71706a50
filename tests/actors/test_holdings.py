"""The record tables together: who has taken over from whom, and what may be forgotten."""

from __future__ import annotations

from actors.holdings import Holdings
from actors.messages.values import Origin, RecordKey
from actors.owner_table import OwnerTable
from rollbook.model import Instance, Service

KEY = RecordKey("c1", Service("public", "DEFAULT_GROUP", "orders"))
OTHER = RecordKey("c2", KEY.service)
N1, N2 = Origin("n1", 5), Origin("n2", 7)
ONE = (Instance("10.0.0.1", 1),)


def holding(*records: tuple[Origin, RecordKey, int, tuple[Instance, ...]]) -> Holdings:
    """Each: whose, of which publication, of which session, showing what."""
    tables: dict[Origin, OwnerTable] = {}
    for origin, key, session, instances in records:
        table = tables.setdefault(origin, OwnerTable(origin))
        table.commit(key, session, 1, 15_000, instances, 1_000)
    holdings = Holdings(tables)
    holdings.check_invariants()
    return holdings


def test_a_newer_session_takes_over_wherever_it_is_as_long_as_it_shows_something() -> None:
    assert holding((N1, KEY, 1, ONE), (N2, KEY, 2, ONE)).is_taken_over(KEY, 1)
    assert not holding((N1, KEY, 1, ONE), (N2, KEY, 2, ())).is_taken_over(KEY, 1), "it has withdrawn it"
    assert not holding((N1, KEY, 1, ONE), (N2, KEY, 1, ONE)).is_taken_over(KEY, 1), "that is no newer one"
    assert not holding((N1, KEY, 1, ONE), (N2, OTHER, 2, ONE)).is_taken_over(KEY, 1), "that is another client"


def test_the_last_word_is_no_newer_session_s_be_it_a_removal() -> None:
    assert holding((N1, KEY, 2, ONE), (N2, KEY, 1, ONE), (N2, OTHER, 3, ONE)).is_last_word(KEY, 2)
    assert not holding((N1, KEY, 1, ONE), (N2, KEY, 2, ONE)).is_last_word(KEY, 1)
    assert not holding((N1, KEY, 1, ONE), (N2, KEY, 2, ())).is_last_word(KEY, 1)


def test_tombstones_go_by_count_but_not_one_that_hides_an_older_session_of_another_origin() -> None:
    holdings = holding((N1, KEY, 2, ()), (N1, OTHER, 2, ()), (N2, KEY, 1, ONE))
    assert holdings.collect(2_000, 60_000, 0) == [(N1, OTHER)]


def test_a_tombstone_hides_nothing_that_is_newer_or_gone_itself() -> None:
    holdings = holding((N1, KEY, 2, ()), (N2, KEY, 3, ONE), (N1, OTHER, 2, ()), (N2, OTHER, 1, ()))
    assert holdings.collect(2_000, 60_000, 0) == [(N1, KEY), (N1, OTHER), (N2, OTHER)]


def test_a_purge_names_all_that_it_takes_and_leaves_the_others() -> None:
    holdings = holding((N1, KEY, 1, ONE), (N2, KEY, 2, ()), (N2, OTHER, 1, ONE))
    assert holdings.purge([N2]) == [(N2, KEY), (N2, OTHER)]
    assert [(owner.owner, owner.records) for owner in holdings.status()] == [("n1", 1)]
