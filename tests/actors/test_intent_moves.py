"""PersistentStore and SDKs that come back as other clients: rows of decisions are bound to those, as they are."""

from __future__ import annotations

import pytest

from actors.durable_rows import intent_row_value
from actors.durable_values import KeptIntent
from actors.messages.health import LivingMembersChanged
from actors.messages.index import IntentHeirsWanted, OverlaysChanged
from actors.messages.store import (
    ChangesSeen,
    Expectation,
    IntentHeir,
    IntentHeirsFound,
    Operation,
    Outcome,
    PersistentOrders,
    ProposalSettled,
    ProposalsMade,
    ProposalsSettled,
    StoredChange,
    StoreSilent,
)
from actors.messages.values import BoundIntent, IntentPlace, Order, Route
from actors.node_shares import NodeShares, identity_of
from rollbook.durable import Intent
from rollbook.durable_bodies import ClearIntent
from tests.actors.test_persistent_store import (
    SERVICE,
    VERSION,
    WALL_MS,
    PersistentBench,
    instance,
    intent_row,
    proposed,
)


@pytest.fixture
def ready() -> PersistentBench:
    """With a decision, written at index 12, that is over in a minute."""
    made = PersistentBench()
    made.load()
    made.raise_fence()
    made.handle(ChangesSeen((StoredChange(12, (Operation(VERSION.key, intent_row(7, 12, END_MS).value),)),), 12))
    return made


HEIR = IntentHeir(IntentPlace(SERVICE, instance(7).key, "weight"), "a process", "its next connection")
END_MS = WALL_MS + 60_000


def moved_after_ms(bench: PersistentBench, heir: IntentHeir = HEIR, patience_ms: int = 30_000) -> int:
    """How long the row stays bound to whom it was, counted from when the heir is known."""
    since_ms = bench.ms
    while bench.ms - since_ms < patience_ms:
        bench.handle(bench.look_due)
        assert bool(bench.told(IntentHeirsWanted)) == bool(bench.actor.image.intent_count), "asked at each look"
        bench.handle(IntentHeirsFound((heir,)))
        if bench.told(ProposalsMade):
            return bench.ms - since_ms
        bench.ms += 500
    return patience_ms


def test_a_decision_goes_on_for_the_heir_as_it_was_made(ready: PersistentBench) -> None:
    assert moved_after_ms(ready) == 3_000
    [made] = ready.told(ProposalsMade)
    [proposal] = made.proposals
    kept = KeptIntent(SERVICE, instance(7).key, Intent(weight=2.0), HEIR.heir, "ann", 5, END_MS, 0)
    assert proposal.operations == (Operation(VERSION.key, intent_row_value(kept)),)
    assert Expectation(VERSION.key, 12) in proposal.expectations
    ready.handle(ProposalsSettled((ProposalSettled(proposal.number, Outcome(True, 13)),)))
    ready.handle(ChangesSeen((StoredChange(13, proposal.operations),), 13))
    [told] = ready.told(OverlaysChanged)
    assert told.intents == ((HEIR.place, BoundIntent(Intent(weight=2.0), HEIR.heir)),)
    assert moved_after_ms(ready) == 30_000, "an old answer of the index moves nothing"


def test_what_somebody_clears_or_decides_meanwhile_stays_as_he_wants_it(ready: PersistentBench) -> None:
    clear = ClearIntent(SERVICE, instance(7).key)
    ready.handle(PersistentOrders((Order(Route(b"c", 1), 7, clear, "client"),)))
    [cleared] = ready.told(ProposalsMade)
    ready.ms = 3_000
    for _ in range(2):
        ready.handle(IntentHeirsFound((HEIR,)))
        assert proposed(ready) == [], "it waits behind the order of a person"
        ready.ms += 3_000
    ready.handle(ProposalsSettled((ProposalSettled(cleared.proposals[0].number, Outcome(True, 13)),)))
    ready.handle(ChangesSeen((StoredChange(13, cleared.proposals[0].operations),), 13))
    assert proposed(ready) == []
    assert moved_after_ms(ready) == 30_000


def test_while_the_store_is_away_nothing_waits_for_it_and_it_is_tried_again_while_the_heir_is_known(
    ready: PersistentBench,
) -> None:
    ready.handle(StoreSilent("it is away"))
    assert moved_after_ms(ready, patience_ms=10_000) == 10_000
    ready.handle(ChangesSeen((), 12))
    assert proposed(ready) == []
    assert moved_after_ms(ready) == 3_000
    [made] = ready.told(ProposalsMade)
    ready.handle(ProposalsSettled((ProposalSettled(made.proposals[0].number, None, "unavailable", "it is away"),)))
    ready.ms += 500
    assert moved_after_ms(ready) == 2_500, "it was not written"


@pytest.mark.parametrize("port", [1, 2, 3, 4, 5, 6])
def test_one_node_binds_a_row_to_an_heir_first_and_the_others_later_if_it_is_still_there(port: int) -> None:
    turn = NodeShares(("n1", "n2", "n3")).turn_of("n1", identity_of(SERVICE, instance(port).key))
    bench = PersistentBench(store="etcd")
    bench.load(intent_row(port, port))
    bench.raise_fence()
    bench.handle(LivingMembersChanged(("n1", "n2", "n3")))
    heir = HEIR._replace(place=HEIR.place._replace(key=instance(port).key))
    assert moved_after_ms(bench, heir) == {0: 3_000, 1: 6_000, 2: 9_000}[turn or 0]


def test_who_only_follows_binds_nothing_to_heirs() -> None:
    bench = PersistentBench(store="away")
    bench.load(intent_row(7, 7))
    bench.raise_fence()
    bench.handle(LivingMembersChanged(("n1",)))
    assert moved_after_ms(bench) == 30_000


def test_where_many_sdks_move_at_once_their_rows_leave_room_for_orders() -> None:
    bench = PersistentBench(heirs_per_look_max=2)
    bench.load(*(intent_row(port, port) for port in (1, 2, 3)))
    bench.raise_fence()
    found = IntentHeirsFound(
        tuple(HEIR._replace(place=HEIR.place._replace(key=instance(port).key)) for port in (1, 2, 3))
    )
    bench.handle(found)
    bench.ms = 3_000
    for count in (2, 1, 0):
        bench.handle(found)
        assert len(proposed(bench)) == count
