"""What is laid over instances: intents of operators, bound to one incarnation, and the protection of a service."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from actors.durable_rows import record_of
from actors.durable_values import KeptInstance
from actors.messages.values import BoundIntent, IntentPlace, Record, RecordKey, Trail
from actors.overlays import Incarnations, ServiceOverlays, incarnation_of, publishers_of, with_intents, with_protection
from actors.records import make_record
from actors.views import merge_instances, winners_and_heirs
from rollbook.durable import Intent, IntentField, decisions_of
from rollbook.model import Instance
from tests.support.registry import HERE, ORDERS, instance, record

ONE, TWO = instance(1), instance(2)


def bound(incarnation: str, *intents: Intent) -> dict[IntentField, BoundIntent]:
    return {field: BoundIntent(intent, incarnation) for intent in intents for field in decisions_of(intent)}


def test_an_intent_wins_where_it_says_something_and_nowhere_else() -> None:
    winners = [record("a", ONE), record("b", TWO)]
    intents = {ONE.key: bound("a", Intent(enabled=False), Intent(metadata={"zone": "b"}))}
    shown = with_intents((ONE, TWO), Incarnations(winners, {}), intents)
    assert shown[0] == msgspec.structs.replace(ONE, enabled=False, metadata={**ONE.metadata, "zone": "b"})
    assert shown[1] is TWO


def test_a_new_process_at_the_same_address_does_not_inherit_an_intent() -> None:
    intents = {ONE.key: bound("the one before", Intent(enabled=False))}
    assert with_intents((ONE,), Incarnations([record("a", ONE)], {}), intents) == (ONE,)


def test_of_two_decisions_each_concerns_the_process_that_it_was_made_for() -> None:
    intents = {ONE.key: {**bound("the one before", Intent(enabled=False)), **bound("a", Intent(weight=3.0))}}
    shown = with_intents((ONE,), Incarnations([record("a", ONE)], {}), intents)
    assert shown == (msgspec.structs.replace(ONE, weight=3.0),)


def test_of_two_decisions_about_an_instance_the_end_of_one_leaves_the_other() -> None:
    overlays = ServiceOverlays()
    places = [IntentPlace(ORDERS, ONE.key, "enabled"), IntentPlace(ORDERS, ONE.key, "weight")]
    bounds = [BoundIntent(Intent(enabled=False), "a"), BoundIntent(Intent(weight=3.0), "a")]
    overlays.take((), zip(places, bounds, strict=True))
    winners = [record("a", ONE)]
    assert overlays.laid_over(ORDERS, (ONE,), winners, {})[0][0].enabled is False
    assert overlays.take((), [(places[0], None), (places[0], None)]) == [ORDERS]
    assert overlays.laid_over(ORDERS, (ONE,), winners, {})[0] == (msgspec.structs.replace(ONE, weight=3.0),)
    overlays.take((), [(places[1], None)])
    assert overlays.laid_over(ORDERS, (ONE,), winners, {})[0] == (ONE,)


def test_a_persistent_instance_stays_the_same_when_it_is_written_again_and_is_another_after_it_was_gone() -> None:
    kept = msgspec.structs.replace(ONE, ephemeral=False)
    first = record_of(KeptInstance(ORDERS, kept, "deployer", written_ms=10, added_ms=10, index=4))
    again = record_of(KeptInstance(ORDERS, kept, "another", written_ms=20, added_ms=10, index=9))
    later = record_of(KeptInstance(ORDERS, kept, "deployer", written_ms=30, added_ms=30, index=12))
    assert incarnation_of(first) == incarnation_of(again) != incarnation_of(later)


def test_of_two_publishers_the_intent_concerns_the_one_whose_word_counts() -> None:
    older, newer = record("a", ONE, stamp=5), record("b", ONE, stamp=6)
    for winners in ([older, newer], [newer, older]):
        assert publishers_of(winners)[ONE.key] is newer


@pytest.mark.parametrize(
    ("healthy", "threshold", "protected"),
    [(0, 0.0, False), (0, 0.5, True), (2, 0.5, True), (3, 0.5, False), (4, 1.0, False), (3, 1.0, True)],
)
def test_a_service_is_protected_when_no_larger_share_of_it_is_healthy(
    healthy: int, threshold: float, protected: bool
) -> None:
    instances = tuple(msgspec.structs.replace(instance(number), healthy=number <= healthy) for number in (1, 2, 3, 4))
    shown, is_protected = with_protection(instances, threshold)
    assert is_protected is protected
    assert all(each.healthy for each in shown) is (protected or healthy == 4)


def test_who_is_disabled_neither_counts_for_protection_nor_against_it() -> None:
    off = msgspec.structs.replace(instance(1), enabled=False)
    ill = msgspec.structs.replace(instance(2), healthy=False)
    assert with_protection((off, ill), 0.4)[1] is True
    assert with_protection((off,), 1.0) == ((off,), False)
    assert with_protection((), 1.0) == ((), False)


def moved(client: str, *instances: Instance, connected: int, orphaned: int = 0, stamp: int = 1) -> Record:
    """What a connection of one SDK publishes; without instances it has withdrawn the first one."""
    withdrawn = () if instances else (ONE.key,)
    trail = Trail(7, connected, orphaned, withdrawn)
    return make_record(HERE, RecordKey(client, ORDERS), connected, 1, stamp, 45_000, instances, trail)


def holding(bound_to: str, *records: Record) -> bool:
    """Whether a decision of that incarnation holds for the first instance, in whatever order records have come."""
    intents = {ONE.key: bound(bound_to, Intent(enabled=False))}
    answers: set[bool] = set()
    for order in itertools.permutations(records):
        winners, heirs = winners_and_heirs([(each,) for each in order], {})
        listed = merge_instances(winners).instances
        shown = with_intents(listed, Incarnations(winners, heirs), intents)
        answers.add([each.enabled for each in shown if each.key == ONE.key] == [False])
    (answer,) = answers
    return answer


LOST = moved("old", ONE, connected=10_000, orphaned=100_000)
BACK = moved("new", ONE, connected=100_900, stamp=2)


def test_an_intent_holds_for_the_sdk_that_has_come_back_as_another_client() -> None:
    assert holding("old", LOST)
    assert holding("old", LOST, BACK)
    assert not holding("nobody", LOST, BACK)


def test_an_intent_holds_while_nobody_knows_yet_that_the_sdk_has_moved() -> None:
    standing = moved("old", ONE, connected=10_000)
    assert holding("old", standing, BACK)
    assert holding("new", standing, moved("new", ONE, connected=100_900, stamp=0)), "whichever of the two is shown"
    assert not holding("old", standing, record("stranger", ONE, stamp=2)), "another application"
    assert not holding("old", moved("old", TWO, connected=10_000), BACK), "it is elsewhere"


def test_an_intent_follows_a_chain_of_moves_and_ends_with_it() -> None:
    second = moved("second", ONE, connected=100_900, orphaned=103_000, stamp=2)
    assert holding("old", LOST, second, moved("third", ONE, connected=103_500, stamp=3))
    assert not holding("old", LOST, moved("new", connected=100_900, stamp=2), record("stranger", ONE, stamp=3))


def test_of_two_processes_that_have_moved_each_has_its_own_heir() -> None:
    other = moved("other", ONE, connected=20_000, orphaned=100_000)
    assert holding("old", LOST, other, BACK), "its heir is shown"
    assert not holding("old", LOST, other, moved("new", connected=100_900)), "it has withdrawn; the other one is shown"
    assert holding("other", LOST, other, moved("new", connected=100_900))
