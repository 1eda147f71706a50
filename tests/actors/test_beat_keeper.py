"""BeatKeeper: what beats, orders and silence make of what HTTP clients publish, where this node keeps it."""

from __future__ import annotations

import msgspec
import pytest

from actors.messages.beats import HttpOrdersAdmitted
from actors.messages.clients import BeatPassed
from actors.messages.distro import PeersChanged
from actors.messages.values import Order, Route
from rollbook.errors import Code
from rollbook.http_clients import BeatOutcome, Beats, HttpBeat, HttpPatch, HttpPublish, HttpWithdraw, InstanceChanges
from rollbook.model import Instance
from rollbook.wire import Done, Failed
from tests.support.keeping import ONE, ORDERS, KeeperBench, beats, record_of

TWO = Instance("10.0.0.2", 80)
UNHEALTHY = msgspec.structs.replace(ONE, healthy=False)


def patience(interval_ms: int, timeout_ms: int, delete_ms: int) -> Instance:
    metadata = {
        "preserved.heart.beat.interval": str(interval_ms),
        "preserved.heart.beat.timeout": str(timeout_ms),
        "preserved.ip.delete.timeout": str(delete_ms),
    }
    return msgspec.structs.replace(ONE, metadata=metadata)


# -- outcomes


def test_a_light_beat_of_nobody_is_unknown_and_publishes_nothing() -> None:
    bench = KeeperBench()
    assert bench.beat() == ("unknown", 5_000)
    assert bench.made == []


def test_a_beat_that_says_what_it_is_registers_and_the_next_one_renews() -> None:
    bench = KeeperBench()
    assert bench.beat(light=False) == ("registered", 5_000)
    assert bench.shown() == ONE
    assert (bench.beat(light=False), bench.beat()) == (("renewed", 5_000), ("renewed", 5_000))
    assert len(bench.made) == 1, "a beat that changes nothing makes no version"


def test_a_beat_finds_the_instance_whatever_its_cluster_and_changes_nothing_else_of_it() -> None:
    bench = KeeperBench()
    registered = Instance("10.0.0.1", 80, "east", 2.0, metadata={"zone": "a"})
    assert isinstance(bench.register(registered), Done)
    assert bench.beat(Instance("10.0.0.1", 80), light=False) == ("renewed", 5_000)
    assert bench.shown() == registered


def test_each_beat_of_a_batch_has_its_own_outcome_in_order() -> None:
    bench = KeeperBench()
    bench.register(TWO)
    wrong = HttpBeat(ORDERS, "10.0.0.3", 80, Instance("10.0.0.4", 80))
    said = Beats((*beats(ONE).beats, *beats(TWO).beats, wrong, *beats(ONE, light=False).beats, *beats(ONE).beats))
    outcomes = bench.answer(said).outcomes
    assert [outcome.word for outcome in outcomes] == ["unknown", "renewed", "refused", "registered", "renewed"]
    assert outcomes[2] == BeatOutcome(
        "refused", 0, Code.PARAMETER_INVALID, "ip and port are not those of the instance", "instance"
    )
    assert bench.answer(Beats(())).outcomes == ()


def test_registering_again_replaces_and_what_is_published_already_takes_no_version() -> None:
    bench = KeeperBench()
    first = bench.register()
    assert bench.register() == first
    moved = msgspec.structs.replace(ONE, cluster="east")
    again = bench.register(moved)
    assert again.seq == first.seq + 1
    assert again.stamp > first.stamp
    assert bench.shown() == moved


def test_an_update_changes_all_but_the_health_and_a_patch_what_it_names() -> None:
    bench = KeeperBench()
    failed = bench.answer(HttpPublish(ORDERS, ONE, "update"))
    assert (failed.code, failed.field) == (Code.INSTANCE_NOT_FOUND, "ip")
    registered = bench.register(UNHEALTHY)
    updated = bench.answer(HttpPublish(ORDERS, msgspec.structs.replace(ONE, weight=3.0), "update"))
    assert bench.shown() == msgspec.structs.replace(UNHEALTHY, weight=3.0)
    assert updated.stamp == registered.stamp, "its rank among clients that publish the same key"
    bench.answer(HttpPatch(ORDERS, ONE.ip, ONE.port, InstanceChanges(enabled=False, metadata={"zone": "b"})))
    assert bench.shown() == msgspec.structs.replace(UNHEALTHY, weight=3.0, enabled=False, metadata={"zone": "b"})
    refused = bench.answer(HttpPatch(ORDERS, ONE.ip, ONE.port, InstanceChanges(weight=-1.0)))
    assert (refused.code, refused.field) == (Code.INSTANCE_WEIGHT_INVALID, "weight")
    assert bench.shown() == msgspec.structs.replace(UNHEALTHY, weight=3.0, enabled=False, metadata={"zone": "b"})


def test_what_is_withdrawn_is_unknown_and_may_come_back() -> None:
    bench = KeeperBench()
    first = bench.register()
    gone = bench.withdraw()
    assert (gone.seq, bench.shown(), bench.beat()) == (first.seq + 1, None, ("unknown", 5_000))
    assert bench.withdraw().seq == gone.seq, "there was nothing to withdraw"
    bench.ms += 1_000
    assert bench.beat(light=False) == ("registered", 5_000)
    numbers = [record.session for record in bench.made]
    assert numbers == sorted(numbers)
    assert numbers[-1] > numbers[0], "a later publication supersedes the removal wherever it is"


def test_an_order_stands_above_what_a_node_beyond_a_cut_has_taken_over_before_it_and_a_beat_does_not() -> None:
    bench = KeeperBench()
    bench.register()
    number = bench.made[-1].session
    bench.run(16)
    bench.beat()
    assert [record.session for record in bench.made] == [number] * 3
    bench.answer(HttpPatch(ORDERS, ONE.ip, ONE.port, InstanceChanges(weight=2.0)))
    assert bench.made[-1].session == number + 16_000
    bench.hold(record_of("b", number + 20_000, ONE))
    bench.ms += 30_000
    bench.withdraw()
    assert bench.made[-1].is_tombstone
    assert bench.made[-1].session > number + 20_000


def test_beats_behind_a_registration_that_is_not_made_yet_make_no_further_versions() -> None:
    bench = KeeperBench()
    outcomes = bench.answer(beats(*[ONE] * 50, light=False)).outcomes
    assert [outcome.word for outcome in outcomes] == ["registered", *["renewed"] * 49]
    assert len(bench.made) == 1


def test_to_withdraw_what_nobody_knows_leaves_a_tombstone() -> None:
    bench = KeeperBench()
    done = bench.withdraw()
    assert done.seq == 1
    assert [record.is_tombstone for record in bench.made] == [True], "what is on its way here is superseded"


def test_orders_of_one_batch_about_one_client_build_on_each_other() -> None:
    bench = KeeperBench()
    register, withdraw = HttpPublish(ORDERS, ONE), HttpWithdraw(ORDERS, ONE.ip, ONE.port)
    patch = HttpPatch(ORDERS, ONE.ip, ONE.port, InstanceChanges(weight=2.0))
    numbers = [bench.ask(body) for body in (register, patch, withdraw, patch, register)]
    kinds = [type(bench.answers[number]) for number in numbers]
    assert kinds == [Done, Done, Done, Failed, Done]
    assert bench.shown() == ONE


def test_a_beat_behind_a_withdrawal_of_the_same_batch_is_checked_like_any_that_registers() -> None:
    bench = KeeperBench()
    bench.register()
    wrong = Beats((HttpBeat(ORDERS, ONE.ip, ONE.port, msgspec.structs.replace(ONE, weight=-1.0)),))
    bodies = (HttpWithdraw(ORDERS, ONE.ip, ONE.port), wrong, beats(ONE, light=False))
    bench.tell(HttpOrdersAdmitted(tuple(Order(Route(b"g", 1), 90 + n, body) for n, body in enumerate(bodies))))
    assert [bench.answers[number].outcomes[0].word for number in (91, 92)] == ["refused", "registered"]
    assert bench.shown() == ONE


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (HttpPublish(ORDERS, Instance("10.0.0.1", 80, weight=-1.0)), "weight"),
        (HttpPublish(ORDERS, Instance("10.0.0.1", 80, ephemeral=False)), "ephemeral"),
        (HttpPublish(ORDERS._replace(name="@a"), ONE), "service"),
        (HttpWithdraw(ORDERS, "", 80), "ip"),
        (HttpWithdraw(ORDERS, "10.0.0.1", 70_000), "port"),
        (HttpPublish(ORDERS, Instance("h" * 125, 80)), "ip"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_name(body: HttpPublish | HttpWithdraw, field: str) -> None:
    bench = KeeperBench()
    assert bench.answer(body).field == field
    assert bench.made == []


def test_a_service_with_persistent_instances_takes_none_that_beat() -> None:
    bench = KeeperBench()
    bench.become_persistent(ORDERS)
    assert bench.register().code == Code.KIND_MISMATCH
    assert bench.beat(light=False) == ("refused", 0)
    assert bench.beat() == ("unknown", 5_000)
    assert isinstance(bench.withdraw(), Done)


def test_a_node_keeps_so_many_and_refuses_the_next() -> None:
    bench = KeeperBench(publications_max=1)
    bench.register()
    assert bench.register(TWO).code == Code.OVER_LIMIT
    bench.withdraw()
    assert isinstance(bench.register(TWO), Done)


# -- silence


def test_the_silent_are_unhealthy_after_15_seconds_and_gone_after_30() -> None:
    bench = KeeperBench()
    bench.register()
    bench.run(14)
    assert bench.shown() == ONE
    bench.run(2)
    assert bench.shown() == UNHEALTHY
    bench.run(13)
    assert bench.shown() == UNHEALTHY
    bench.run(2)
    assert bench.shown() is None
    assert bench.beat() == ("unknown", 5_000)
    assert len(bench.made) == 3
    assert len({record.stamp for record in bench.made[:2]}) == 1, "a health that turns is no new claim to the key"


def test_a_beat_in_time_keeps_it_healthy_and_a_late_one_heals_it() -> None:
    bench = KeeperBench()
    bench.register()
    for _ in range(10):
        bench.run(14)
        assert bench.beat() == ("renewed", 5_000)
    assert len(bench.made) == 1
    bench.run(29)
    assert bench.shown() == UNHEALTHY
    assert bench.beat() == ("renewed", 5_000)
    assert bench.shown() == ONE
    bench.run(14)
    assert bench.shown() == ONE, "its time has begun anew"
    bench.run(2)
    assert bench.shown() == UNHEALTHY


def test_the_instance_may_say_for_how_long_it_may_be_silent() -> None:
    bench = KeeperBench()
    bench.register(patience(1_000, 3_000, 6_000))
    assert bench.beat() == ("renewed", 1_000)
    bench.run(2)
    assert bench.is_healthy()
    bench.run(2)
    assert not bench.is_healthy()
    bench.run(3)
    assert bench.shown() is None


def test_what_it_says_later_counts_from_its_last_beat() -> None:
    bench = KeeperBench()
    bench.register()
    bench.run(10)
    bench.answer(HttpPatch(ORDERS, ONE.ip, ONE.port, InstanceChanges(metadata=patience(1_000, 3_000, 60_000).metadata)))
    bench.run(1)
    assert not bench.is_healthy()
    bench.run(40)
    assert bench.shown() is not None
    bench.answer(HttpPatch(ORDERS, ONE.ip, ONE.port, InstanceChanges(metadata={})))
    bench.run(1)
    assert bench.shown() is None


@pytest.mark.parametrize("digits", ["9" * 300, "99999999999999999999"])
def test_numbers_without_end_are_bounded(digits: str) -> None:
    bench = KeeperBench()
    metadata = {"preserved.heart.beat.timeout": digits, "preserved.ip.delete.timeout": digits}
    bench.register(msgspec.structs.replace(ONE, metadata={**metadata, "preserved.heart.beat.interval": digits}))
    word, interval_ms = bench.beat()
    assert (word, interval_ms) == ("renewed", 366 * 86_400_000)
    bench.run(60)
    assert bench.is_healthy()


def test_nobody_falls_silent_while_the_node_must_not_judge_nor_at_once_after_it() -> None:
    bench = KeeperBench()
    bench.register()
    bench.run(60, suspended=True)
    assert bench.shown() == ONE
    bench.run(14)
    assert bench.shown() == ONE
    bench.run(2)
    assert bench.shown() == UNHEALTHY
    bench.run(12)
    bench.run(1, suspended=True)
    bench.run(28)
    assert bench.shown() == UNHEALTHY, "its end is put off too"
    bench.run(3)
    assert bench.shown() is None


def test_what_beats_keep_outlives_what_ends_sessions() -> None:
    """No session stands behind it, so a node that has preserved must not take it for what one has left."""
    bench = KeeperBench()
    bench.register()
    bench.clients._leavings.lingering.has_overdue = True
    bench.clients.handle(BeatPassed(1), bench.now)
    assert bench.shown() == ONE


def test_however_often_they_beat_each_waits_in_one_place_for_its_silence() -> None:
    bench = KeeperBench()
    instances = [Instance("10.0.0.1", port) for port in range(1, 51)]
    bench.answer(beats(*instances, light=False))
    for _ in range(12):
        bench.run(5)
        bench.answer(beats(*instances))
    assert all(bench.shown(each) == each for each in instances)
    assert len(list(bench.keeper.kept._wheel)) == len(instances)
    assert len(bench.made) == len(instances)


def test_the_answer_says_that_the_node_is_isolated() -> None:
    bench = KeeperBench()
    bench.register()
    assert not bench.answer(beats(ONE)).isolated
    bench.keepers("a", isolated=True)
    assert bench.answer(beats(ONE)).isolated


def test_who_is_met_again_changes_nothing_of_what_is_kept_here() -> None:
    bench = KeeperBench()
    bench.register()
    bench.meet("b", "c")
    assert bench.beat() == ("renewed", 5_000)
    bench.tell(PeersChanged((), ()))
    assert bench.beat() == ("renewed", 5_000)
    assert bench.sent == []
