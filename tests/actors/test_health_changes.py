"""HealthChecker and what changes under it: stored health, checkers, who probes, and what others say."""

from __future__ import annotations

from actors.base import Now, StatusRequested, Tell
from actors.messages.health import CheckersChanged, InstancesKept, VerdictsFound
from actors.node_shares import identity_of
from actors.verdict_lists import ListKey
from actors.verdicts import shard_of
from rollbook.checkers import CheckerSettings
from rollbook.model import InstanceKey
from rollbook.wire import INSTANCES_PER_RECORD_MAX
from tests.actors.test_health_checker import ONE, alone, moved_key
from tests.support.health_bench import ORDERS, HealthBench, place


def list_of(key: InstanceKey) -> ListKey:
    return ListKey(shard_of(identity_of(ORDERS, key)), ORDERS)


def unsaid(bench: HealthBench) -> int:
    (effect,) = bench.actor.handle(StatusRequested(b"l", 1, 1), Now(0, 0))
    assert isinstance(effect, Tell)
    count: int = effect.message.parts["counters"]["verdicts_unsaid"]
    return count


def test_fewer_probes_a_second_than_ticks_are_just_so_many() -> None:
    bench = alone(probes_per_second_max=3)
    bench.keep(*map(place, range(100)))
    bench.pass_time(10_000)
    assert 29 <= sum(bench.probed.values()) <= 31


def test_failures_of_the_checker_before_do_not_count_for_the_next() -> None:
    bench = alone()
    bench.outcomes[ONE.ip] = "busy"
    bench.keep(ONE)
    while bench.probed[ONE.ip] < 2:
        bench.pass_time(50)
    bench.tell(CheckersChanged(((ORDERS, "DEFAULT", CheckerSettings(use_instance_port=False, port=81)),)))
    while bench.probed[ONE.ip] < 4:
        bench.pass_time(50)
    assert bench.verdicts() == {}, "two of the one and two of the other are not three of any"
    while bench.probed[ONE.ip] < 5:
        bench.pass_time(50)
    assert bench.verdicts() == {ONE: False}


def test_a_verdict_that_the_store_says_too_by_now_makes_room_for_those_that_differ() -> None:
    bench = alone()
    for number in range(INSTANCES_PER_RECORD_MAX):
        bench.actor.lists.state(list_of(ONE), InstanceKey("10.9.0.1", number), healthy=False, stored=True)
    bench.outcomes[ONE.ip] = "refused"
    bench.keep(ONE)
    bench.pass_time(100)
    assert ONE in bench.verdicts()
    bench.keep(ONE, healthy=False)
    assert ONE not in bench.verdicts()
    assert len(bench.verdicts()) == INSTANCES_PER_RECORD_MAX


def test_what_is_stored_anew_while_the_last_word_is_awaited_is_no_verdict() -> None:
    bench = alone()
    bench.on_question = lambda _: VerdictsFound(())
    bench.keep(ONE)
    bench.keep(ONE, healthy=False)
    bench.pass_time(1_000)
    assert (bench.judged, unsaid(bench)) == ([], 0)


def test_what_comes_back_and_is_healthy_by_the_word_of_the_other_is_not_spoken_of_any_more() -> None:
    key = moved_key(("n2",))
    bench = alone()
    bench.outcomes[key.ip] = "refused"
    bench.keep(key)
    bench.pass_time(100)
    bench.living("n1", "n2")
    bench.before[ORDERS, key] = True
    bench.outcomes[key.ip] = "ok"
    assert bench.verdicts() == {key: False}
    bench.living("n1")
    assert bench.verdicts() == {}


def test_a_list_does_not_wait_for_the_word_on_an_instance_that_is_gone() -> None:
    other = next(place(number) for number in range(2, 250) if list_of(place(number)) == list_of(ONE))
    bench = alone()
    answer, bench.on_question = bench.on_question, lambda _: VerdictsFound(())
    bench.keep(ONE)
    bench.on_question = answer
    bench.outcomes[other.ip] = "refused"
    bench.keep(other)
    bench.pass_time(1_100)
    assert bench.verdicts() == {}, "the word on the first may be another"
    bench.tell(InstancesKept(removed=((ORDERS, ONE),)))
    assert bench.verdicts() == {other: False}
