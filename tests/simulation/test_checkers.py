"""The safety checks themselves: each rule, broken by a hand-made turn, is named; and a real run keeps them awake."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from actors.base import Effects, Role, Tell
from actors.messages.clients import ApplyDelta, BeatPassed
from actors.messages.index import RecordsChanged
from actors.messages.io import AnswerClients, ClientFrame, PeerFrame, PushToClients, SendToPeers
from actors.messages.push import PushesAcknowledged, ServicesTouched, Subscription, SubscriptionsChanged, ViewsBuilt
from actors.messages.values import Origin, Record, RecordKey, Route
from actors.messages.verify import VerifyDue
from actors.peer_frames import PEER_FRAME_BYTES_MAX
from actors.records import make_record
from rollbook.model import Instance, View
from rollbook.wire import Tag, encode
from runtime.simulation.clients import Answer, service_of
from runtime.simulation.cluster import SimCluster
from runtime.simulation.scheduler import Turn
from tests.support.checkers import MAILBOX_MESSAGES_MAX, SafetyChecks
from tests.support.sim_cluster import instance, sim_cluster

ORDERS = service_of("orders")
STRANGER = Origin("node-9", 1)
KEY = RecordKey("someone", ORDERS)


@pytest.fixture
def cluster() -> SimCluster:
    return sim_cluster()


def own_origin(cluster: SimCluster) -> Origin:
    identity = cluster.node(0).identity
    assert identity is not None
    return Origin(identity.node_id, identity.epoch)


def record(seq: int, *instances: Instance, origin: Origin = STRANGER) -> Record:
    return make_record(origin, KEY, 1, seq, seq, 15_000, instances)


def turn(role: Role, message: Any, *effects: Tell) -> Turn:
    told: Effects = effects
    return Turn(0, "n0", role, message, told)


def indexed(message: Any, *records: Record) -> Turn:
    return turn(Role.CLIENTS, message, Tell(Role.INDEX, RecordsChanged(records)))


def answered(*instances: Instance, version: int = 1) -> Turn:
    frame = ClientFrame(Route(b"link", 1), encode(Tag.VIEW, 1, 1, View(ORDERS, version, instances)))
    return turn(Role.INDEX, RecordsChanged(), Tell(Role.IO, AnswerClients((frame,))))


def pushed(*, version: int) -> Turn:
    frame = ClientFrame(Route(b"link", 1), encode(Tag.PUSH, 0, 1, View(ORDERS, version)))
    return turn(Role.PUSH, PushesAcknowledged(()), Tell(Role.IO, PushToClients((frame,))))


def check(cluster: SimCluster, *turns: Turn) -> None:
    checks = SafetyChecks()
    for each in turns:
        checks(cluster, cluster.node(0), each)


def test_a_seq_that_goes_down_is_named(cluster: SimCluster) -> None:
    with pytest.raises(AssertionError, match="A4: n0 went from seq 2 to 1"):
        check(cluster, indexed(BeatPassed(1), record(2, instance(1))), indexed(BeatPassed(2), record(1, instance(1))))


def test_what_was_collected_may_come_back_as_it_was_but_no_older(cluster: SimCluster) -> None:
    first = indexed(BeatPassed(1), record(2, instance(1)))
    collected = turn(Role.CLIENTS, BeatPassed(2), Tell(Role.INDEX, RecordsChanged(removed=((STRANGER, KEY),))))
    check(cluster, first, collected, indexed(BeatPassed(3), record(2, instance(1))))
    with pytest.raises(AssertionError, match="A4: n0 went from seq 1 to 1"):
        check(cluster, first, collected, indexed(BeatPassed(3), record(1, instance(1))))


def test_two_contents_of_one_version_are_named(cluster: SimCluster) -> None:
    checks = SafetyChecks()
    checks(cluster, cluster.node(0), indexed(BeatPassed(1), record(1, instance(1))))
    with pytest.raises(AssertionError, match="A4: two contents"):
        checks(cluster, cluster.node(1), indexed(BeatPassed(1), record(1, instance(2))))


def test_a_peer_that_changes_native_records_is_named(cluster: SimCluster) -> None:
    own = own_origin(cluster)
    chunk = ApplyDelta("link", own, 0, 1, False, 0, 0, 0, True, ())
    with pytest.raises(AssertionError, match="A5"):
        check(cluster, indexed(chunk, record(1, origin=own)))


def test_an_instance_that_is_listed_twice_is_named(cluster: SimCluster) -> None:
    with pytest.raises(AssertionError, match="A6"):
        check(cluster, answered(instance(1), instance(1, weight=2.0)))


def test_a_view_that_goes_back_in_time_is_named(cluster: SimCluster) -> None:
    client = cluster.client()
    client.answers += [Answer(1, 1, 1, View(ORDERS, 7)), Answer(2, 1, 2, View(ORDERS, 6))]
    with pytest.raises(AssertionError, match="A7"):
        check(cluster, turn(Role.VERIFY, None))


def test_a_node_that_sends_an_older_view_after_a_newer_one_is_named(cluster: SimCluster) -> None:
    with pytest.raises(AssertionError, match="A7: n0 sent version 6"):
        check(cluster, answered(instance(1), version=7), answered(instance(1), version=6))


@pytest.mark.parametrize(
    "news",
    [
        ServicesTouched((ORDERS,)),
        ViewsBuilt((View(ORDERS, 7),)),
        SubscriptionsChanged(added=(Subscription(Route(b"link", 1), ORDERS, "", 7),), views=(View(ORDERS, 7),)),
        SubscriptionsChanged(removed=((Route(b"link", 1), ORDERS),)),
    ],
)
def test_an_answer_may_overtake_a_push_while_push_actor_has_yet_to_hear_of_it(cluster: SimCluster, news: Any) -> None:
    overtaken = answered(instance(1), version=7), pushed(version=6)
    with pytest.raises(AssertionError, match="A7: n0 sent version 6 of orders after 7"):
        check(cluster, *overtaken)
    cluster.node(0).tell(Role.PUSH, ServicesTouched((service_of("payments"),)))
    with pytest.raises(AssertionError, match="A7"):
        check(cluster, *overtaken)
    cluster.node(0).tell(Role.PUSH, news)
    check(cluster, *overtaken)
    with pytest.raises(AssertionError, match="A7: n0 sent version 5 of orders after 7"):
        check(cluster, pushed(version=6), answered(instance(1), version=7), pushed(version=5))
    with pytest.raises(AssertionError, match="A7: n0 sent version 6 of orders after 7"):
        check(cluster, pushed(version=7), answered(instance(1), version=6))


def test_an_answer_may_overtake_a_push_while_push_actor_waits_for_the_view_or_its_quiet_time(
    cluster: SimCluster,
) -> None:
    overtaken = answered(instance(1), version=7), pushed(version=6)
    client = cluster.client(at=0)
    client.subscribe("orders")
    cluster.run_ms(200)
    topic = cluster.node(0).behaviour(Role.PUSH).topics[ORDERS]
    client.publish("orders", instance(1))
    cluster.until(lambda: topic.asked and not cluster.node(0).waiting(Role.PUSH), deadline_ms=1_000)
    check(cluster, *overtaken)
    cluster.until(lambda: not topic.asked, deadline_ms=1_000)
    client.publish("orders", instance(2))
    cluster.until(lambda: topic.dirty and not cluster.node(0).waiting(Role.PUSH), deadline_ms=1_000)
    check(cluster, *overtaken)
    cluster.run_ms(200)
    with pytest.raises(AssertionError, match="A7"):
        check(cluster, *overtaken)


@pytest.mark.parametrize(("push", "is_named"), [(6, False), (5, True)])
def test_a_client_may_see_a_push_behind_a_newer_answer_but_not_behind_a_newer_push(
    cluster: SimCluster, push: int, is_named: bool
) -> None:
    client = cluster.client()
    client.answers += [Answer(1, 1, 0, View(ORDERS, 6)), Answer(2, 1, 1, View(ORDERS, 7))]
    client.answers += [Answer(3, 1, 0, View(ORDERS, push))]
    with pytest.raises(AssertionError, match="A7") if is_named else nullcontext():
        check(cluster, turn(Role.VERIFY, None))


def test_a_frame_that_is_larger_than_any_may_be_is_named(cluster: SimCluster) -> None:
    frame = PeerFrame("link", bytes(PEER_FRAME_BYTES_MAX + 1))
    with pytest.raises(AssertionError, match="A11: peer frame bytes at n0"):
        check(cluster, turn(Role.DISTRO, None, Tell(Role.IO, SendToPeers((frame,)))))


def test_a_mailbox_that_grows_and_grows_is_named(cluster: SimCluster) -> None:
    for number in range(MAILBOX_MESSAGES_MAX + 1):
        cluster.node(0).tell(Role.VERIFY, VerifyDue(number))
    with pytest.raises(AssertionError, match="A11: mailbox messages at n0"):
        SafetyChecks().check_queues(cluster.node(0))


def test_a_view_of_a_node_that_was_never_ready_is_named() -> None:
    with pytest.raises(AssertionError, match="A10"):
        check(sim_cluster(ready=False), answered(instance(1)))


def test_a_real_run_gives_every_check_something_to_look_at(cluster: SimCluster) -> None:
    client = cluster.client(at=0)
    client.subscribe("orders")
    client.publish("orders", instance(1))
    cluster.run_ms(500)
    (checks,) = cluster.checkers
    assert isinstance(checks, SafetyChecks)
    assert all(checks.looked_at.values()), checks.looked_at
