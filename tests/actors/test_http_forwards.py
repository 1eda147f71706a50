"""Orders about HTTP clients that are for another node: who gets them, what comes back, and what if nothing does."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.http_owners import HERE, HttpOwners
from actors.http_records import http_key
from actors.messages.beats import HttpRecordsHeld
from actors.messages.distro import PeersChanged
from actors.messages.peers import ORDERS_PER_FORWARD_MAX, Forwarded, ForwardSettled, HttpOutcome
from actors.messages.values import Origin, Peer
from rollbook.errors import Code
from rollbook.http_clients import HttpPatch, HttpPublish, HttpWithdraw, InstanceChanges
from rollbook.model import Instance
from rollbook.wire import Done
from tests.support.keeping import EPOCH, ONE, ORDERS, WALL_MS, KeeperBench, beats, order_of, record_of

RENEWED = HttpOutcome("renewed", 5_000)


def bench_of(*names: str, **overrides: Any) -> KeeperBench:
    """With these other nodes, the first of which owns ONE."""
    bench = KeeperBench(**overrides)
    bench.meet(*names)
    bench.hold(record_of(names[0], 10, ONE))
    return bench


def test_a_beat_goes_to_the_owner_of_the_record_and_its_answer_comes_back() -> None:
    bench = bench_of("b", "c")
    asked = bench.ask(beats(ONE))
    ((link, sent),) = bench.take_sent(Forwarded)
    assert (link, sent.hops, [order.kind for order in sent.orders]) == ("b", 1, ["beat"])
    assert asked not in bench.answers
    bench.settled("b", sent.number, RENEWED)
    assert bench.answers[asked].outcomes[0].word == "renewed"
    assert bench.made == []


def test_what_is_asked_in_one_frame_leaves_in_few_and_is_answered_in_its_order() -> None:
    bench = bench_of("b")
    instances = [Instance("10.0.1.1", number) for number in range(1, 101)]
    for each in instances:
        bench.hold(record_of("b", 10, each, client=each, seq=each.port))
    asked = bench.ask(beats(*instances))
    sent = bench.take_sent(Forwarded)
    assert [len(body.orders) for _, body in sent] == [ORDERS_PER_FORWARD_MAX, 100 - ORDERS_PER_FORWARD_MAX]
    for _, body in reversed(sent):
        outcomes = [HttpOutcome("renewed", order.port) for order in body.orders]
        bench.settled("b", body.number, *outcomes)
    assert [outcome.interval_ms for outcome in bench.answers[asked].outcomes] == list(range(1, 101))


def test_whoever_is_told_of_a_registration_elsewhere_sees_it_here() -> None:
    bench = bench_of("b")
    asked = bench.ask(HttpPublish(ORDERS, msgspec.structs.replace(ONE, weight=2.0)))
    ((_, sent),) = bench.take_sent(Forwarded)
    bench.settled("b", sent.number, HttpOutcome("done", 5_000, 0, "", "", False, "b", EPOCH, 2, 77))
    assert asked not in bench.answers, "it has yet to come"
    bench.hold(record_of("b", 10, msgspec.structs.replace(ONE, weight=2.0), seq=2))
    assert bench.answers[asked] == Done(EPOCH, 2, 77)


def test_if_it_does_not_come_the_answer_does_after_a_second() -> None:
    bench = bench_of("b")
    asked = bench.ask(HttpWithdraw(ORDERS, ONE.ip, ONE.port))
    ((_, sent),) = bench.take_sent(Forwarded)
    bench.settled("b", sent.number, HttpOutcome("done", 5_000, 0, "", "", False, "b", EPOCH, 2, 77))
    bench.run(0.9)
    assert asked not in bench.answers
    bench.run(0.3)
    assert bench.answers[asked] == Done(EPOCH, 2, 77)
    assert bench.made == []


@pytest.mark.parametrize("code", [Code.KIND_MISMATCH, Code.OVER_LIMIT])
def test_a_refusal_comes_back_as_it_was_said(code: Code) -> None:
    bench = bench_of("b")
    asked = bench.ask(HttpPublish(ORDERS, ONE))
    ((_, sent),) = bench.take_sent(Forwarded)
    bench.settled("b", sent.number, HttpOutcome("refused", 0, code, "no", "service", code == Code.OVER_LIMIT))
    failed = bench.answers[asked]
    assert (failed.code, failed.field, failed.retryable) == (code, "service", code == Code.OVER_LIMIT)


# -- nobody answers


def test_without_an_answer_for_a_second_the_client_is_taken_over_as_it_was() -> None:
    bench = bench_of("b")
    named = msgspec.structs.replace(ONE, metadata={"zone": "a"})
    known = record_of("b", WALL_MS + 10**9, named, seq=2)
    bench.hold(known)
    asked = bench.ask(beats(ONE))
    bench.run(0.9)
    assert asked not in bench.answers
    bench.run(0.3)
    assert bench.answers[asked].outcomes[0].word == "renewed"
    (record,) = bench.made
    assert (record.instances, record.stamp, record.grace_ms) == ((named,), known.stamp, 45_000)
    assert record.session > known.session, "above the owner's, by whatever clock"
    bench.settled("b", bench.take_sent(Forwarded)[0][1].number, RENEWED)  # too late


def test_one_that_was_unhealthy_is_healthy_with_the_beat_that_takes_it_over() -> None:
    bench = bench_of("b")
    bench.hold(record_of("b", 10, msgspec.structs.replace(ONE, healthy=False), seq=2))
    bench.tell(PeersChanged((), ()))
    bench.keepers("a")
    assert bench.beat() == ("renewed", 5_000)
    assert bench.shown() == ONE


def test_what_was_on_its_way_to_a_node_that_is_gone_goes_elsewhere_at_once() -> None:
    bench = bench_of("b")
    asked = bench.ask(beats(ONE))
    bench.tell(PeersChanged((), ()))
    assert bench.answers[asked].outcomes[0].word == "renewed"
    assert bench.shown() == ONE


def test_a_client_that_nobody_knew_and_nobody_answered_for_is_taken_in_above_what_may_still_come_of_it() -> None:
    bench = KeeperBench()
    bench.meet("b", "c", "d")
    asked = {bench.ask(HttpPublish(ORDERS, Instance("10.0.2.1", port))): port for port in range(1, 20)}
    sent = {order.port: order.session for _, body in bench.take_sent(Forwarded) for order in body.orders}
    assert 8 <= len(sent) < 19, "each of four nodes takes some in"
    bench.run(1.2)
    assert set(bench.answers) == set(asked)
    made = {int(record.key.client.split("#")[0].split(":")[1]): record.session for record in bench.made}
    assert all(made[port] > number for port, number in sent.items())


def test_a_node_that_stood_still_itself_takes_nobody_over_for_that() -> None:
    bench = bench_of("b")
    asked = bench.ask(HttpPatch(ORDERS, ONE.ip, ONE.port, InstanceChanges(weight=2.0)))
    bench.stand_still(20)
    assert (bench.answers[asked].code, bench.answers[asked].retryable) == (Code.NOT_READY, True)
    assert bench.made == []


def test_so_many_orders_are_on_their_way_to_one_node_and_the_next_is_refused() -> None:
    bench = bench_of("b", orders_under_way_max=1)
    first = bench.ask(beats(ONE))
    (outcome,) = bench.answer(beats(ONE)).outcomes
    assert (outcome.word, outcome.code) == ("refused", Code.OVER_LIMIT)
    ((_, sent),) = bench.take_sent(Forwarded)
    bench.settled("b", sent.number, RENEWED)
    assert bench.answers[first].outcomes[0].word == "renewed"
    bench.ask(beats(ONE))
    assert len(bench.take_sent(Forwarded)) == 1, "there is room again"


@pytest.mark.parametrize("link", ["b", "c"])
def test_what_is_no_answer_to_what_was_sent_there_is_dropped(link: str) -> None:
    bench = bench_of("b", "c")
    asked = bench.ask(beats(ONE))
    ((_, sent),) = bench.take_sent(Forwarded)
    outcomes = (RENEWED,) if link == "c" else (RENEWED, RENEWED)
    bench.settled(link, sent.number, *outcomes)
    bench.settled(link, sent.number + 1, RENEWED)
    bench.settled("a stranger", sent.number, RENEWED)
    bench.settled("b", sent.number, HttpOutcome("done"))
    assert asked not in bench.answers
    assert bench.keeper.counters["forwards_refused"] == 4
    bench.settled("b", sent.number, RENEWED)
    assert asked in bench.answers


# -- what others ask


def test_what_a_peer_asks_of_the_owner_is_carried_out_and_answered_on_its_link() -> None:
    bench = KeeperBench()
    bench.meet("b")
    bench.forwarded("b", 1, order_of("beat", instance=ONE), order_of("beat"))
    ((link, settled),) = bench.take_sent(ForwardSettled)
    assert (link, settled.number) == ("b", 1)
    assert [outcome.word for outcome in settled.outcomes] == ["registered", "renewed"]
    assert (settled.outcomes[0].owner, settled.outcomes[0].epoch, settled.outcomes[0].seq) == ("a", EPOCH, 1)
    assert bench.shown() == ONE


def test_a_copy_of_a_frame_and_what_a_stranger_asks_are_dropped() -> None:
    bench = KeeperBench()
    bench.meet("b")
    bench.forwarded("b", 5, order_of("register", instance=ONE))
    bench.withdraw()
    bench.forwarded("b", 5, order_of("register", instance=ONE))
    bench.forwarded("c", 6, order_of("register", instance=ONE))
    assert bench.shown() is None
    assert bench.keeper.counters["forwards_refused"] == 2
    bench.forwarded("b", 6, order_of("register", instance=ONE))
    assert bench.shown() == ONE


def test_what_a_peer_says_wrongly_is_refused_and_ends_nothing() -> None:
    bench = KeeperBench()
    bench.meet("b")
    wrong = (
        order_of("register"),
        order_of("patch"),
        order_of("update", instance=Instance("10.9.9.9", 80)),
        order_of("beat", instance=Instance(ONE.ip, ONE.port, weight=-1.0)),
        order_of("register", instance=Instance(ONE.ip, ONE.port, metadata={"a": "b" * 2_000})),
    )
    bench.forwarded("b", 1, *wrong)
    ((_, settled),) = bench.take_sent(ForwardSettled)
    assert [outcome.word for outcome in settled.outcomes] == ["refused"] * len(wrong)
    assert bench.made == []


def test_an_order_that_came_to_the_wrong_node_goes_on_once_and_then_no_further() -> None:
    bench = bench_of("c", "b")
    bench.forwarded("b", 1, order_of("beat"))
    ((link, sent),) = bench.take_sent(Forwarded)
    assert (link, sent.hops) == ("c", 2)
    bench.settled("c", sent.number, RENEWED)
    assert bench.take_sent(ForwardSettled)[0][0] == "b"
    bench.forwarded("b", 2, order_of("beat"), hops=2)
    assert bench.take_sent(Forwarded) == []
    assert bench.take_sent(ForwardSettled)[0][1].outcomes[0].word == "renewed"
    assert bench.shown() == ONE, "whoever has it at its second hop keeps it"


def test_a_second_hop_has_half_the_time() -> None:
    bench = bench_of("c", "b")
    bench.forwarded("b", 1, order_of("beat"))
    bench.run(0.65)
    assert bench.take_sent(ForwardSettled)[0][1].outcomes[0].word == "renewed"


def test_an_old_order_that_is_read_late_makes_nothing_that_counts() -> None:
    """The node that was asked has carried it out itself, above the number that it came with."""
    asked, slow = KeeperBench("a"), KeeperBench("b")
    asked.meet("b")
    slow.meet("a")
    port = next(port for port in range(1, 99) if _is_for("b", Instance("10.0.3.1", port)))
    instance = Instance("10.0.3.1", port)
    asked.ask(HttpPublish(ORDERS, instance))
    ((_, sent),) = asked.take_sent(Forwarded)
    asked.run(1.2)
    asked.withdraw(instance)
    slow.ms += 60_000
    slow.forwarded("a", sent.number, *sent.orders)
    assert slow.made[-1].session < asked.made[-1].session
    slow.hold(asked.made[-1])
    assert slow.beat(instance) == ("unknown", 5_000)


def _is_for(node: str, instance: Instance) -> bool:
    owners = HttpOwners(Origin("a", EPOCH))
    owners.meet((Peer("b", EPOCH, "b"),))
    owners.judge(("a", "b"), ("b",))
    return (owners.place(None, http_key(ORDERS, instance.ip, instance.port).client, 0) or "a") == node


# -- two owners


def test_who_hears_of_a_higher_number_lets_go_and_removes_its_own_when_that_is_everywhere() -> None:
    bench = KeeperBench()
    bench.register()
    bench.meet("b")
    bench.hold(record_of("b", WALL_MS * 2, ONE))
    asked = bench.ask(beats(ONE))
    ((link, sent),) = bench.take_sent(Forwarded)
    assert (link, asked in bench.answers) == ("b", False)
    bench.settled("b", sent.number, RENEWED)
    bench.run(44)
    assert bench.shown() == ONE, "a third node may not have heard of the newer one"
    bench.run(2)
    assert bench.shown() is None
    assert bench.made[-1].session == bench.made[0].session, "its own removal, which supersedes nothing"


@pytest.mark.parametrize(
    ("owner", "epoch", "yields"), [("b", EPOCH, True), ("Z", EPOCH, False), ("Z", EPOCH + 1, True)]
)
def test_of_two_equal_numbers_epoch_and_node_id_decide(owner: str, epoch: int, yields: bool) -> None:
    bench = KeeperBench()
    bench.register()
    number = bench.made[0].session
    bench.hold(record_of(owner, number, ONE, epoch=epoch))
    assert (bench.keeper.kept.get(http_key(ORDERS, ONE.ip, ONE.port)) is None) == yields
    bench.hold(record_of(owner, number - 1, ONE, seq=2, epoch=epoch))


def test_a_lower_number_changes_nothing() -> None:
    bench = KeeperBench()
    bench.register()
    bench.hold(record_of("b", bench.made[0].session - 1))
    assert bench.beat() == ("renewed", 5_000)


def test_what_was_left_comes_back_if_the_newer_owner_goes_in_time() -> None:
    bench = KeeperBench()
    bench.register()
    bench.meet("b")
    newer = record_of("b", WALL_MS * 2, ONE)
    bench.hold(newer)
    bench.run(10)
    bench.tell(PeersChanged((), ()))
    bench.keepers("a")
    assert bench.beat() == ("renewed", 5_000)
    assert bench.made[-1].session > newer.session
    for _ in range(8):
        bench.run(10)
        assert bench.beat() == ("renewed", 5_000)
    assert bench.shown() == ONE, "nor does what was left take it along"


def test_what_is_forgotten_of_others_is_forgotten_here() -> None:
    bench = bench_of("b")
    bench.tell(HttpRecordsHeld((), ((Origin("b", EPOCH), http_key(ORDERS, ONE.ip, ONE.port)),)))
    bench.tell(PeersChanged((), ()))
    bench.keepers("a")
    assert bench.beat() == ("unknown", 5_000)
    assert list(bench.keeper.records) == []


# -- whose it is


def owners_of(*reached: str, living: tuple[str, ...] = (), leaving: tuple[str, ...] = ()) -> HttpOwners:
    owners = HttpOwners(Origin("a", EPOCH))
    owners.meet(tuple(Peer(name, EPOCH, f"to-{name}") for name in reached))
    keepers = sorted({"a", *reached, *living} - set(leaving))
    owners.judge(tuple(keepers), (*reached, *living))
    return owners


def test_an_owner_of_an_earlier_life_is_no_owner() -> None:
    owners = owners_of("b")
    assert owners.place(record_of("b", 10, ONE), "c1", 0) == "to-b"
    assert {owners.place(record_of("b", 10, ONE, epoch=EPOCH - 1), f"c{n}", 0) for n in range(50)} == {HERE, "to-b"}


def test_an_owner_that_lives_beyond_a_cut_is_reached_by_way_of_another() -> None:
    owners = owners_of("c", living=("b",))
    assert {owners.place(record_of("b", 10, ONE), f"c{n}", 0) for n in range(50)} == {"to-c"}
    assert owners.place(record_of("b", 10, ONE), "c1", 1) == HERE, "the other one should have reached it"
    alone = owners_of(living=("b",))
    assert alone.place(record_of("b", 10, ONE), "c1", 0) == HERE


def test_nodes_that_see_the_same_nodes_agree_on_who_takes_a_client_in() -> None:
    names = ("a", "b", "c")
    chosen: dict[str, set[str]] = {}
    for me in names:
        owners = HttpOwners(Origin(me, EPOCH))
        owners.meet(tuple(Peer(name, EPOCH, name) for name in names if name != me))
        owners.judge(names, names)
        for number in range(300):
            client = f"10.0.0.1:{number}#true"
            chosen.setdefault(client, set()).add(owners.place(None, client, 0) or me)
    assert all(len(heirs) == 1 for heirs in chosen.values())
    shares = [sum(heirs == {name} for heirs in chosen.values()) for name in names]
    assert min(shares) >= 60


def test_who_leaves_takes_nobody_in_and_keeps_whom_it_has() -> None:
    owners = owners_of("b", leaving=("b",))
    assert {owners.place(None, f"c{n}", 0) for n in range(50)} == {HERE}
    assert owners.place(record_of("b", 10, ONE), "c1", 0) == "to-b"
    assert {owners.place(record_of("b", 10), f"c{n}", 0) for n in range(50)} == {HERE}, "what is withdrawn has no owner"
