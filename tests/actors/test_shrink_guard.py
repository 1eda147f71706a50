"""The shrink guard: what a verdict would take from a service of some size is shown for one more lease, once."""

from __future__ import annotations

import random
from typing import Any

from actors.base import Effects, NodeIdentity, Remind, Role, StatusRequested
from actors.index_manager import IndexManager, IndexSettings
from actors.messages.connections import StandingChanged
from actors.messages.index import OwnersVisible, RecordsChanged, ViewsWanted
from actors.messages.push import ServicesTouched, ViewsBuilt
from actors.messages.values import Order, Origin, Record, RecordKey, Standing
from rollbook.model import Service, View
from rollbook.wire import Subscribe
from tests.support.registry import ORDERS, STOCK, at, instance, record, route, told
from tests.support.settings import settings_of

GUARD_MS = 15_000
NATIVE_MS, SDK_MS = 15_000, 45_000
A, B, C = Origin("a", 1), Origin("b", 1), Origin("c", 1)


class GuardedIndex:
    """An IndexManager with a clock and the reminders it asked for; every turn ends with its invariants."""

    def __init__(self) -> None:
        identity = NodeIdentity("n1", 5, "test", "127.0.0.1:1", "127.0.0.1:2", 256)
        self.actor = IndexManager(identity, settings_of("index", IndexSettings), random.Random(0))
        self.ms = 1_000
        self.reminders: list[tuple[int, Any]] = []

    def handle(self, message: Any) -> Effects:
        effects = self.actor.handle(message, at(self.ms))
        self.reminders += [(self.ms + item.delay_ms, item.message) for item in effects if isinstance(item, Remind)]
        self.actor.check_invariants()
        return effects

    def put(self, *records: Record) -> Effects:
        return self.handle(RecordsChanged(records=records))

    def publish(self, origin: Origin, *numbers: int, service: Service = ORDERS, grace_ms: int = NATIVE_MS) -> None:
        """One client for each number, all at this owner."""
        self.put(
            *(record(f"client-{n}", instance(n), service=service, origin=origin, grace_ms=grace_ms) for n in numbers)
        )

    def hide(self, *origins: Origin, grace_ms: int = NATIVE_MS) -> Effects:
        return self.handle(OwnersVisible(tuple((origin, grace_ms) for origin in sorted(origins))))

    def preserve(self, preserved: bool) -> Effects:
        return self.handle(StandingChanged(Standing(preserved=preserved, hides_nobody=preserved)))

    def pass_time(self, ms: int) -> list[Effects]:
        until, happened = self.ms + ms, []
        while self.reminders and min(self.reminders, key=lambda due: due[0])[0] <= until:
            due = min(self.reminders, key=lambda due: due[0])
            self.reminders.remove(due)
            self.ms = due[0]
            happened.append(self.handle(due[1]))
        self.ms = until
        return happened

    def view(self, service: Service = ORDERS) -> View:
        [built] = told(self.handle(ViewsWanted((service,))), ViewsBuilt)
        return built.views[0]

    def shows(self, service: Service = ORDERS) -> tuple[list[int], bool]:
        view = self.view(service)
        return [found.port for found in view.instances], view.guarded

    def counters(self) -> dict[str, int]:
        [status] = told(self.handle(StatusRequested(b"x", 1, 1)), StatusRequested)
        return dict(status.parts["counters"])


def test_a_service_of_five_that_would_lose_three_shows_them_one_lease_longer_and_says_so() -> None:
    index = GuardedIndex()
    index.publish(A, 1, 2, 3)
    index.publish(B, 4, 5)
    assert index.shows() == ([1, 2, 3, 4, 5], False)
    index.hide(A)
    assert index.shows() == ([1, 2, 3, 4, 5], True)
    index.pass_time(GUARD_MS - 1)
    assert index.shows() == ([1, 2, 3, 4, 5], True)
    index.pass_time(1)
    assert index.shows() == ([4, 5], False)


def test_a_smaller_service_and_one_that_loses_just_half_are_not_guarded() -> None:
    index = GuardedIndex()
    index.publish(A, 1, 2, 3, 4)
    index.publish(A, 1, 2, 3, service=STOCK)
    index.publish(B, 4, 5, 6, service=STOCK)
    index.hide(A)
    assert index.shows() == ([], False)
    assert index.shows(STOCK) == ([4, 5, 6], False)
    assert index.reminders == []


def test_instances_count_and_not_publications() -> None:
    index = GuardedIndex()
    index.put(record("many", *(instance(n) for n in range(1, 6)), origin=A), record("one", instance(6), origin=B))
    index.hide(A)
    assert index.shows() == ([1, 2, 3, 4, 5, 6], True)


def test_subscribers_are_told_when_a_guard_begins_and_when_it_ends() -> None:
    index = GuardedIndex()
    index.publish(A, 1, 2, 3, 4, 5)
    index.handle(RecordsChanged(requests=(Order(route(1), 1, Subscribe(ORDERS)),)))
    assert told(index.hide(A), ServicesTouched, Role.PUSH) == [ServicesTouched((ORDERS,))]
    before = index.view()
    [ended] = index.pass_time(GUARD_MS)
    assert told(ended, ServicesTouched, Role.PUSH) == [ServicesTouched((ORDERS,))]
    assert index.view().version > before.version


def test_a_guard_whose_time_is_over_ends_when_its_node_preserves_no_more_and_not_before() -> None:
    index = GuardedIndex()
    index.publish(A, 1, 2, 3)
    index.publish(B, 4, 5)
    index.hide(A)
    index.pass_time(GUARD_MS - 1)
    index.preserve(True)
    index.pass_time(GUARD_MS)
    assert index.shows() == ([1, 2, 3, 4, 5], True)
    index.preserve(False)
    index.pass_time(0)
    assert index.shows() == ([4, 5], False)


def test_a_guard_that_a_short_loss_of_the_majority_did_not_outlast_ends_in_its_time() -> None:
    index = GuardedIndex()
    index.publish(A, 1, 2, 3, 4, 5)
    index.hide(A)
    index.preserve(True)
    index.pass_time(1_000)
    index.preserve(False)
    index.pass_time(GUARD_MS - 1_001)
    assert index.shows() == ([1, 2, 3, 4, 5], True)
    index.pass_time(1)
    assert index.shows() == ([], False)


def test_an_owner_that_is_heard_again_as_preserving_ends_was_never_missed() -> None:
    index = GuardedIndex()
    index.publish(A, 1, 2, 3, 4, 5)
    index.hide(A)
    index.preserve(True)
    index.pass_time(2 * GUARD_MS)
    index.preserve(False)
    assert index.shows() == ([1, 2, 3, 4, 5], True), "what the same beat says of owners comes right behind it"
    index.hide()
    index.pass_time(GUARD_MS)
    assert index.shows() == ([1, 2, 3, 4, 5], False)


def test_two_owners_that_die_a_second_apart_are_one_loss_and_what_is_gone_does_not_come_back() -> None:
    index = GuardedIndex()
    for origin, numbers in ((A, (1, 2)), (B, (3, 4)), (C, (5, 6))):
        index.publish(origin, *numbers)
    index.hide(A)
    assert index.shows() == ([3, 4, 5, 6], False), "a third of it is no reason to wait"
    index.pass_time(1_000)
    index.hide(A, B)
    assert index.shows() == ([3, 4, 5, 6], True), "two thirds are"
    index.pass_time(GUARD_MS)
    assert index.shows() == ([5, 6], False)


def test_two_owners_that_die_a_lease_apart_are_two_losses() -> None:
    index = GuardedIndex()
    for origin, numbers in ((A, (1, 2)), (B, (3, 4)), (C, (5, 6, 7))):
        index.publish(origin, *numbers)
    index.hide(A)
    index.pass_time(GUARD_MS)
    index.hide(A, B)
    assert index.shows() == ([5, 6, 7], False)


def test_a_guard_is_given_once_however_often_the_filter_flaps_or_grows() -> None:
    index = GuardedIndex()
    index.publish(A, 1, 2, 3, 4, 5)
    index.hide(A)
    index.pass_time(10_000)
    index.hide()
    assert index.shows() == ([1, 2, 3, 4, 5], False), "the owner is back"
    index.hide(A)
    index.pass_time(2_000)
    index.hide(A, grace_ms=SDK_MS)
    index.pass_time(2_999)
    assert index.shows() == ([1, 2, 3, 4, 5], True)
    index.pass_time(1)
    assert index.shows() == ([], False), "15 s after it began"
    index.hide()
    index.hide(A)
    assert index.shows() == ([], False)
    assert index.counters()["shrink_guards"] == 1


def test_records_of_a_longer_grace_are_judged_when_it_is_their_turn_and_bring_back_no_others() -> None:
    index = GuardedIndex()
    index.publish(A, 1, 2)
    index.publish(A, 3, 4, 5, 6, grace_ms=SDK_MS)
    index.publish(B, 7)
    index.hide(A)
    assert index.shows() == ([3, 4, 5, 6, 7], False)
    index.pass_time(1_000)
    index.hide(A, grace_ms=SDK_MS)
    assert index.shows() == ([3, 4, 5, 6, 7], True)
    index.pass_time(GUARD_MS)
    assert index.shows() == ([7], False)


def test_records_of_a_longer_grace_whose_turn_comes_a_lease_later_are_guarded_too() -> None:
    index = GuardedIndex()
    index.publish(A, 1, 2, 3, 4, 5, grace_ms=SDK_MS)
    index.hide(A)
    index.pass_time(GUARD_MS)
    index.hide(A, grace_ms=SDK_MS)
    assert len(index.view().instances) == 5
    assert index.view().guarded


def test_whoever_signs_in_elsewhere_or_withdraws_is_taken_at_its_word_during_the_guard() -> None:
    index = GuardedIndex()
    index.publish(A, 1, 2, 3, 4, 5)
    index.hide(A)
    index.put(record("client-1", instance(9), origin=B, session=2))
    index.put(record("client-2", origin=A, seq=2))
    index.handle(RecordsChanged(removed=((A, RecordKey("client-3", ORDERS)),)))
    assert index.shows() == ([4, 5, 9], True)
    index.put(*(record(f"client-{n}", instance(n), origin=B, session=2) for n in (4, 5)))
    assert index.shows() == ([4, 5, 9], False), "nothing that is hidden is shown any more"


def test_nothing_is_kept_of_a_guard_when_the_records_of_its_owner_are_gone() -> None:
    index = GuardedIndex()
    index.publish(A, 1, 2, 3, 4, 5)
    index.hide(A)
    index.handle(RecordsChanged(removed=tuple((A, RecordKey(f"client-{n}", ORDERS)) for n in range(1, 6))))
    assert index.shows() == ([], False)
    assert (index.counters()["views_guarded"], index.counters()["shrink_guards"]) == (0, 1)
    index.pass_time(2 * GUARD_MS)
    assert index.reminders == []


def test_the_status_counts_guards_and_the_services_under_one() -> None:
    index = GuardedIndex()
    for service in (ORDERS, STOCK):
        index.publish(A, 1, 2, 3, 4, 5, service=service)
    index.hide(A)
    assert (index.counters()["views_guarded"], index.counters()["shrink_guards"]) == (2, 2)
    index.pass_time(GUARD_MS)
    assert (index.counters()["views_guarded"], index.counters()["shrink_guards"]) == (0, 2)


def test_a_guarded_service_stays_listed() -> None:
    index = GuardedIndex()
    index.publish(A, 1, 2, 3, 4, 5)
    index.hide(A)
    assert index.actor.index.live_names(*ORDERS[:2]) == [ORDERS.name]
    index.pass_time(GUARD_MS)
    assert index.actor.index.live_names(*ORDERS[:2]) == []
