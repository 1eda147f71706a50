"""A group's list of live services, as its entries settle and come and go."""

from __future__ import annotations

import msgspec

from actors.service_entry import BODIES_PER_VIEW_MAX, ServiceEntry, ServiceGroup
from actors.service_news import ServiceNews
from rollbook.model import Instance, Service, View


def grouped(*names: str) -> tuple[ServiceGroup, list[ServiceEntry]]:
    group = ServiceGroup(("public", "DEFAULT_GROUP"), ServiceNews())
    entries = [ServiceEntry(Service(*group.key, name), group) for name in names]
    group.size = len(entries)
    return group, entries


def test_only_live_services_are_listed_and_in_order() -> None:
    group, entries = grouped("c", "a", "b")
    for entry, live in zip(entries, (True, True, False), strict=True):
        entry.settle(live)
    assert group.listing() == ["a", "c"]
    entries[0].settle(0)
    entries[2].settle(1)
    assert group.listing() == ["a", "b"]
    group.check_invariants(entries)


def test_a_listing_without_changes_costs_no_new_list() -> None:
    group, (entry,) = grouped("a")
    entry.settle(1)
    listed = group.listing()
    entry.unsettle()
    entry.settle(1)
    assert group.listing() is listed


def test_a_changed_service_is_unsettled_until_it_is_looked_at() -> None:
    group, (entry,) = grouped("a")
    entry.settle(1)
    entry.dirty = False
    entry.unsettle()
    assert (entry.settled, entry.dirty, group.unsettled) == (False, True, {entry})
    entry.settle(1)
    assert (entry.settled, group.unsettled) == (True, set())


def test_the_name_of_a_service_that_came_and_went_between_two_listings_is_not_kept() -> None:
    group, (kept, passing) = grouped("kept", "passing")
    kept.settle(1)
    group.listing()
    passing.settle(1)
    passing.settle(0)
    group.forget("passing")
    assert group.names_changed == set()
    kept.settle(0)
    group.forget("kept")
    assert group.names_changed == {"kept"}, "who listed it has to hear of it"
    assert group.listing() == []


def test_a_view_is_encoded_once_for_each_filter_and_for_not_too_many_of_them() -> None:
    _, (entry,) = grouped("a")
    entry.view = View(entry.service, 3, (Instance("10.0.0.1", 1, "x"), Instance("10.0.0.1", 1, "y")))
    body = entry.body("x", frozenset("x"))
    assert msgspec.msgpack.decode(body, type=View).instances == (Instance("10.0.0.1", 1, "x"),)
    assert entry.body("x", frozenset("x")) is body
    for number in range(BODIES_PER_VIEW_MAX + 5):
        entry.body(f"c{number}", frozenset((f"c{number}",)))
    assert len(entry.bodies) == BODIES_PER_VIEW_MAX
