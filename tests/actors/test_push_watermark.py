"""PushActor: what is reported as untold, when, and who holds it up."""

from __future__ import annotations

from typing import Any

import pytest

from actors.base import Effects, Role
from actors.messages.distro import OwnersPushed
from actors.messages.push import ServicesTouched, SubscriberHeard, Subscription, SubscriptionsChanged, ViewsBuilt
from actors.messages.values import LAGGARDS_MAX, Origin, Route
from rollbook.model import Service, View
from tests.support.pushing import EAST, ONE, TWO, A, B, PushUnderTest, pushes, view
from tests.support.registry import HERE, ORDERS, STOCK, THERE, route, told


class ReportingPush(PushUnderTest):
    def __init__(self, **overrides: Any) -> None:
        super().__init__(**overrides)
        self.number = 0

    def subscribe(self, who: Route, view: View, clusters: str = "") -> Effects:
        added = Subscription(who, view.service, clusters, view.version, f"client-{who.session}")
        return self.handle(SubscriptionsChanged(added=(added,), views=(view,)))

    def change(self, seq: int, origin: Origin = HERE, service: Service = ORDERS) -> Effects:
        """A record was indexed."""
        self.number += 1
        return self.handle(ServicesTouched((service,), ((service, origin, seq),), self.number))


@pytest.fixture
def push() -> ReportingPush:
    return ReportingPush()


def reports(effects: Any) -> list[OwnersPushed]:
    return told(effects, OwnersPushed, Role.DISTRO)


def untold(effects: Any) -> list[dict[Origin, int]]:
    return [dict(report.untold) for report in reports(effects)]


def test_a_change_is_told_when_its_last_subscriber_has_acknowledged_it(push: ReportingPush) -> None:
    push.subscribe(A, view(1))
    push.subscribe(B, view(1))
    assert reports(push.change(7)) == []
    push.build(view(2, ONE))
    assert reports(push.acknowledge(A, 2)) == []
    assert reports(push.acknowledge(B, 2)) == [OwnersPushed(1, ())]


def test_an_acknowledgement_of_an_older_list_tells_nothing(push: ReportingPush) -> None:
    push.subscribe(A, view(1))
    push.push(view(2, ONE))
    push.change(7)
    assert reports(push.acknowledge(A, 2)) == []
    push.advance(50)
    push.build(view(3, TWO))
    assert untold(push.acknowledge(A, 3)) == [{}]


def test_a_view_that_shows_nothing_new_is_told_at_once(push: ReportingPush) -> None:
    push.subscribe(A, view(2, ONE))
    push.change(7)
    assert untold(push.handle(ViewsBuilt((view(2, ONE),)))) == [{}]


def test_what_a_cluster_filter_does_not_show_counts_as_told(push: ReportingPush) -> None:
    push.subscribe(A, view(1, EAST), "east")
    push.change(7)
    assert untold(push.handle(ViewsBuilt((view(2, ONE, EAST),)))) == [{}]


def test_changes_while_a_list_is_under_way_wait_for_the_next_one(push: ReportingPush) -> None:
    push.subscribe(A, view(1))
    push.change(7)
    push.build(view(2, ONE))
    push.change(8)
    assert untold(push.acknowledge(A, 2)) == [{HERE: 8}]
    push.advance(50)
    push.build(view(3, TWO))
    assert untold(push.acknowledge(A, 3)) == [{}]


def test_a_slow_reader_of_ever_new_lists_still_moves_the_watermark(push: ReportingPush) -> None:
    """Each of its acknowledgements confirms all that stood in that list."""
    push.subscribe(A, view(1))
    push.subscribe(B, view(1))
    push.change(10)
    push.build(view(2, ONE))
    for version in range(3, 8):
        push.change(10 * version)
        push.acknowledge(B, version - 1)
        push.advance(50)
        push.build(view(version, TWO if version % 2 else ONE))
    assert untold(push.acknowledge(A, 2)) == [{HERE: 30}]
    push.advance(50)
    assert untold(push.acknowledge(A, 7)) == [], "version 7 was on its way to it only now"
    push.acknowledge(B, 7)
    assert push.actor.untold.lowest == {}


def test_origins_and_services_are_kept_apart(push: ReportingPush) -> None:
    push.subscribe(A, view(1))
    push.subscribe(A, view(1, service=STOCK))
    push.change(7)
    push.change(3, THERE)
    push.change(9, service=STOCK)
    push.build(view(2, ONE))
    push.build(view(3, ONE, service=STOCK))
    assert untold(push.acknowledge(A, 2)) == [{HERE: 9}]
    push.advance(20)
    assert untold(push.acknowledge(A, 3, STOCK)) == [{}]


def test_the_first_report_leaves_at_once_and_later_ones_once_per_interval(push: ReportingPush) -> None:
    services = [Service("public", "g", f"s{number}") for number in range(4)]
    for place, service in enumerate(services):
        push.subscribe(A, view(1, service=service))
        push.change(place + 1, service=service)
        push.build(view(2, ONE, service=service))
    assert untold(push.acknowledge(A, 2, services[0])) == [{HERE: 2}]
    assert [untold(push.acknowledge(A, 2, service)) for service in services[1:3]] == [[], []]
    assert untold(push.advance(19)) == []
    assert untold(push.advance(1)) == [{HERE: 4}]
    assert untold(push.advance(400)) == [], "nothing has risen"


@pytest.mark.parametrize("how", ["gone", "removed", "moved on"])
def test_nobody_waits_for_a_subscriber_that_is_no_more(push: ReportingPush, how: str) -> None:
    push.subscribe(A, view(1))
    push.subscribe(B, view(1))
    push.change(7)
    push.build(view(2, ONE))
    push.acknowledge(B, 2)
    match how:
        case "gone":
            effects = push.handle(SubscriptionsChanged(gone=(A,)))
        case "removed":
            effects = push.handle(SubscriptionsChanged(removed=((A, ORDERS),)))
        case _:
            effects = push.subscribe(A, view(2, ONE), "east")
    assert untold(effects) == [{}]


def test_a_change_whose_last_subscriber_leaves_before_the_list_comes_is_told(push: ReportingPush) -> None:
    push.subscribe(A, view(1))
    push.change(7)
    assert untold(push.handle(SubscriptionsChanged(gone=(A,)))) == [{}]
    assert untold(push.advance(19)) == []
    push.change(8)
    assert reports(push.advance(1)) == [OwnersPushed(2, ())], "and so is one that nobody subscribed to any more"


def test_a_cut_subscriber_counts_as_told_until_it_reads_again(push: ReportingPush) -> None:
    push.subscribe(A, view(1))
    push.change(7)
    push.build(view(2, ONE))
    effects = push.advance(30_000)
    assert untold(effects)[-1] == {}, "it was cut"
    push.advance(50)
    push.change(8)
    assert untold(push.handle(ViewsBuilt((view(3, TWO),)))) == [{}], "who is cut holds nobody up"
    push.handle(SubscriberHeard(A.link))
    push.change(9)
    push.advance(50)
    assert untold(push.handle(ViewsBuilt((view(4, ONE),)))) == []
    push.acknowledge(A, 3)
    assert untold(push.advance(400)) == [], "version 4 is still out"
    assert untold(push.acknowledge(A, 4)) == [{}]


def test_who_holds_up_an_origin_for_long_is_named_and_no_longer_once_it_reads(push: ReportingPush) -> None:
    push.subscribe(A, view(1))
    push.subscribe(B, view(1))
    push.change(7)
    push.build(view(2, ONE))
    push.advance(300)
    push.acknowledge(B, 2)
    assert reports(push.advance(199)) == []
    assert reports(push.advance(1)) == [OwnersPushed(1, ((HERE, 7),), ((HERE, ("client-1",)),))]
    assert reports(push.advance(2_000)) == [], "the same names again say nothing"
    assert reports(push.acknowledge(A, 2)) == [OwnersPushed(1, ())]


def test_the_first_to_be_waited_for_is_named_first_and_there_is_a_limit(push: ReportingPush) -> None:
    push.subscribe(B, view(1, service=STOCK))
    push.change(9, service=STOCK)
    push.build(view(2, ONE, service=STOCK))
    for number in range(100, 130):
        push.subscribe(route(number), view(3))
    push.change(4)
    push.build(view(4, ONE))
    [report] = reports(push.advance(500))
    ((_, names),) = report.laggards
    assert names == tuple(f"client-{number}" for number in range(100, 100 + LAGGARDS_MAX))


def test_what_is_kept_does_not_grow_with_the_number_of_changes(push: ReportingPush) -> None:
    push.subscribe(A, view(1))
    for version in range(2, 300):
        push.change(version)
        push.change(version, THERE)
        push.advance(50)
        push.build(view(version, ONE if version % 2 else TWO))
    [entry] = push.actor.untold.topics.values()
    assert [len(step) for step in entry.steps()] == [0, 2, 2]
    assert push.actor.untold.lowest == {HERE: 2, THERE: 2}


def test_a_slow_subscriber_that_drops_what_it_did_not_read_is_served_again(push: ReportingPush) -> None:
    """Else nothing of it would be in flight, so nothing would cut it, and what else it lacks would stay untold."""
    push.subscribe(A, view(1))
    push.subscribe(A, view(1, service=STOCK))
    push.change(7)
    push.build(view(2, ONE))
    push.advance(9_000)
    assert push.counters["push_subscribers_slow"] == 1
    push.change(8, service=STOCK)
    push.build(view(2, ONE, service=STOCK))
    assert pushes(push.handle(SubscriptionsChanged(removed=((A, ORDERS),)))) == [(A, view(2, ONE, service=STOCK))]
    push.advance(20)
    assert untold(push.acknowledge(A, 2, STOCK)) == [{}]
