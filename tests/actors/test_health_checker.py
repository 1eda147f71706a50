"""HealthChecker: who is probed, when, what turns a verdict, and what is said of it."""

from __future__ import annotations

import pytest

from actors.base import Now, StatusRequested, Tell
from actors.messages.health import CheckersChanged, InstancesKept, Outcome
from actors.verdict_lists import ListKey
from rollbook.checkers import CheckerSettings
from rollbook.model import InstanceKey, Service
from tests.support.health_bench import ORDERS, HealthBench, place

ONE, TWO = place(1), place(2)
STOCK = Service("public", "DEFAULT_GROUP", "stock")


def alone(**overrides: object) -> HealthBench:
    bench = HealthBench(**overrides)  # type: ignore[arg-type]
    bench.living("n1")
    return bench


def test_nothing_is_probed_before_the_living_nodes_are_known() -> None:
    bench = HealthBench()
    bench.keep(ONE)
    bench.pass_time(10_000)
    assert not bench.probed
    bench.living("n1")
    bench.pass_time(100)
    assert bench.probed == {ONE.ip: 1}


def test_an_instance_is_probed_at_once_and_then_at_its_own_pace() -> None:
    bench = alone()
    bench.keep(ONE)
    bench.pass_time(100)
    assert bench.probed[ONE.ip] == 1
    bench.pass_time(60_000)
    before = bench.probed[ONE.ip]
    bench.pass_time(10_000)
    assert 9 <= bench.probed[ONE.ip] - before <= 10, "one that answers fast is probed every second"


def test_many_instances_are_spread_and_need_one_reminder() -> None:
    bench = alone()
    bench.keep(*map(place, range(2_000)))
    bench.pass_time(1_100)
    assert sum(bench.probed.values()) == 2_000
    assert len(bench.orders) >= 15, "not all at one tick"
    assert max(len(order.probes) for order in bench.orders) < 300
    assert len(bench._reminders) == 1


def test_a_verdict_that_agrees_with_what_is_stored_is_not_said() -> None:
    bench = alone()
    bench.keep(ONE)
    bench.keep(TWO, healthy=False)
    bench.outcomes[TWO.ip] = "busy"
    bench.pass_time(60_000)
    assert bench.judged == []


def test_three_failures_in_a_row_make_an_instance_unhealthy_and_a_refusal_does_so_at_once() -> None:
    bench = alone()
    bench.keep(ONE, TWO)
    bench.outcomes |= {ONE.ip: "busy", TWO.ip: "refused"}
    bench.pass_time(100)
    assert bench.verdicts() == {TWO: False}
    while bench.probed[ONE.ip] < 2:
        bench.pass_time(50)
    assert bench.verdicts() == {TWO: False}
    while bench.probed[ONE.ip] < 3:
        bench.pass_time(50)
    assert bench.verdicts() == {ONE: False, TWO: False}


def test_a_verdict_that_turned_is_said_either_way_from_then_on() -> None:
    bench = alone()
    bench.keep(ONE)
    bench.outcomes[ONE.ip] = "refused"
    bench.pass_time(100)
    bench.outcomes[ONE.ip] = "ok"
    bench.pass_time(60_000)
    assert bench.verdicts() == {ONE: True}
    assert len(bench.judged) == 2, "each turn is said once"


@pytest.mark.parametrize("outcome", ["void", "forbidden"])
def test_what_was_no_probe_turns_nothing(outcome: Outcome) -> None:
    bench = alone()
    bench.keep(ONE)
    bench.outcomes[ONE.ip] = outcome
    bench.pass_time(60_000)
    assert bench.probed[ONE.ip] > 5
    assert bench.judged == []
    assert bench.actor.counters[f"probes_{outcome}"] == bench.probed[ONE.ip]


def test_flips_of_one_batch_are_one_message_and_one_line() -> None:
    bench = alone(first_spread_ms=0)
    keys = [place(number) for number in range(100)]
    bench.outcomes = dict.fromkeys((key.ip for key in keys), "refused")
    bench.keep(*keys)
    bench.pass_time(100)
    assert len(bench.judged) == 1
    assert len(bench.judged[0].lists) <= 16
    assert [log.fields["verdicts"] for log in bench.logs] == [100]


def test_what_is_removed_is_neither_probed_nor_spoken_of() -> None:
    bench = alone()
    bench.outcomes[ONE.ip] = "refused"
    bench.keep(ONE)
    bench.pass_time(100)
    bench.tell(InstancesKept(removed=((ORDERS, ONE), (ORDERS, TWO))))
    assert bench.verdicts() == {}
    before = bench.probed[ONE.ip]
    bench.pass_time(60_000)
    assert bench.probed[ONE.ip] == before
    assert not bench._reminders, "with nothing to do no time passes"


def test_a_result_of_what_was_removed_meanwhile_is_dropped() -> None:
    bench = alone()
    bench.is_answering = False
    bench.keep(ONE)
    bench.pass_time(100)
    bench.tell(InstancesKept(removed=((ORDERS, ONE),)))
    bench.answer_held("refused")
    assert bench.judged == []


def test_no_more_probes_are_in_flight_than_allowed_and_the_others_follow() -> None:
    bench = alone(probes_in_flight_max=10, first_spread_ms=0)
    bench.is_answering = False
    bench.keep(*map(place, range(25)))
    bench.pass_time(1_000)
    counts = []
    while bench.held:
        counts.append(len(bench.held))
        bench.answer_held()
    assert counts == [10, 10, 5]


def test_more_instances_than_probes_a_second_are_all_probed_less_often() -> None:
    bench = alone(probes_per_second_max=100)
    bench.keep(*map(place, range(400)))
    bench.pass_time(20_000)
    bench.probed.clear()
    bench.pass_time(20_000)
    assert 1_990 <= sum(bench.probed.values()) <= 2_010
    assert set(bench.probed.values()) <= {4, 5, 6}, "each gets its turn"


# -- checkers


def test_a_cluster_without_checker_is_not_probed_and_shows_what_is_stored() -> None:
    bench = alone()
    bench.outcomes[ONE.ip] = "refused"
    bench.keep(ONE)
    bench.pass_time(100)
    assert bench.verdicts() == {ONE: False}
    bench.tell(CheckersChanged(((ORDERS, "DEFAULT", CheckerSettings("none")),)))
    assert bench.verdicts() == {}
    bench.outcomes[ONE.ip] = "ok"
    before = bench.probed[ONE.ip]
    bench.pass_time(20_000)
    assert bench.probed[ONE.ip] == before
    bench.tell(CheckersChanged(removed=((ORDERS, "DEFAULT"),)))
    bench.pass_time(100)
    assert bench.probed[ONE.ip] == before + 1, "the default checker is back"


def test_a_checker_is_for_one_cluster_of_one_service() -> None:
    bench = alone()
    checker = CheckerSettings("http", use_instance_port=False, port=9_000, path="up", expected_status=204)
    bench.tell(CheckersChanged(((ORDERS, "web", checker),)))
    bench.is_answering = False
    web = place(3, "web")
    bench.keep(ONE, web)
    bench.keep(web, service=STOCK)
    bench.pass_time(100)
    found = sorted((probe.host, probe.port, probe.request[:7], probe.expected_status) for probe in bench.held)
    assert found == [
        (ONE.ip, 80, b"", 200),
        (web.ip, 80, b"", 200),
        (web.ip, 9_000, b"GET /up", 204),
    ]


def test_a_result_of_the_checker_before_does_not_count() -> None:
    bench = alone()
    bench.is_answering = False
    bench.keep(ONE)
    bench.pass_time(100)
    bench.tell(CheckersChanged(((ORDERS, "DEFAULT", CheckerSettings(use_instance_port=False, port=81)),)))
    bench.answer_held("refused")
    assert bench.judged == []
    assert [probe.port for probe in bench.held] == [81], "the new one is tried at once"


def test_a_stored_checker_that_cannot_be_used_probes_nothing_and_is_told() -> None:
    bench = alone()
    bench.tell(CheckersChanged(((ORDERS, "DEFAULT", CheckerSettings("http", headers="a\r\nb")),)))
    bench.keep(ONE)
    bench.pass_time(10_000)
    assert not bench.probed
    assert [log.level for log in bench.logs] == ["WARNING"]


@pytest.mark.parametrize("host", ["8.8.8.8", "169.254.169.254", "a b"])
def test_no_probe_leaves_the_allowed_networks(host: str) -> None:
    bench = alone()
    bench.keep(InstanceKey(host, 80))
    bench.pass_time(10_000)
    assert not bench.probed


# -- sharing


def test_every_instance_is_probed_by_exactly_one_of_the_living_nodes() -> None:
    keys = [place(number) for number in range(300)]
    nodes = [HealthBench(f"n{number}") for number in (1, 2, 3)]
    for node in nodes:
        node.keep(*keys)
        node.living("n1", "n2", "n3")
        node.pass_time(2_000)
    assert all(sum(node.probed[key.ip] > 0 for node in nodes) == 1 for key in keys)
    assert all(len(node.probed) > 60 for node in nodes)
    nodes[0].living("n1", "n2")
    nodes[1].living("n1", "n2")
    for node in nodes[:2]:
        node.probed.clear()
        node.pass_time(10_000)
    assert all(sum(node.probed[key.ip] > 0 for node in nodes[:2]) == 1 for key in keys)


def moved_key(others: tuple[str, ...]) -> InstanceKey:
    """One that n1 probes alone, and not beside these."""
    bench = HealthBench()
    bench.living("n1")
    bench.keep(*map(place, range(64)))
    bench.living("n1", *others)
    bench.pass_time(3_000)
    return next(place(number) for number in range(64) if not bench.probed[place(number).ip])


def test_a_verdict_that_was_in_force_goes_on_with_the_node_that_takes_over() -> None:
    key = moved_key(("n2",))
    bench = HealthBench()
    bench.before[ORDERS, key] = False
    bench.outcomes[key.ip] = "busy"
    bench.keep(key)
    bench.living("n1", "n2")
    bench.pass_time(5_000)
    assert not bench.probed
    bench.living("n1")
    assert bench.verdicts() == {key: False}, "said at once: the dead node's word is soon hidden"
    bench.pass_time(60_000)
    assert len(bench.judged) == 1, "and nothing has flipped"


def test_what_others_found_and_the_store_says_too_is_not_repeated() -> None:
    bench = HealthBench()
    bench.before[ORDERS, ONE] = True
    bench.keep(ONE)
    bench.living("n1")
    bench.pass_time(60_000)
    assert bench.judged == []


def test_a_node_that_hands_over_says_what_it_found_until_the_other_has_said_it() -> None:
    key = moved_key(("n2",))
    bench = alone()
    bench.outcomes[key.ip] = "refused"
    bench.keep(key)
    bench.pass_time(100)
    assert bench.verdicts() == {key: False}
    bench.living("n1", "n2")
    assert bench.verdicts() == {key: False}, "the other may not have spoken yet"
    bench.pass_time(2_900)
    assert bench.verdicts() == {key: False}
    before = bench.probed[key.ip]
    bench.pass_time(200)
    assert bench.verdicts() == {}
    assert bench.probed[key.ip] == before


def test_what_comes_back_in_between_was_never_gone() -> None:
    key = moved_key(("n2",))
    bench = alone()
    bench.outcomes[key.ip] = "refused"
    bench.keep(key)
    bench.pass_time(100)
    bench.before[ORDERS, key] = False
    bench.living("n1", "n2")
    bench.living("n1")
    bench.pass_time(20_000)
    assert bench.verdicts() == {key: False}
    assert len(bench.judged) == 1


def test_questions_are_asked_in_parts() -> None:
    bench = HealthBench(questions_max=100)
    bench.keep(*map(place, range(250)))
    bench.living("n1")
    assert [len(question.targets) for question in bench.questions] == [100, 100, 50]


def test_a_change_of_the_stored_health_does_not_change_what_was_found() -> None:
    bench = alone()
    bench.keep(ONE)
    bench.pass_time(3_000)
    bench.keep(ONE, healthy=False)
    assert bench.verdicts() == {ONE: True}


def test_the_status_says_how_many_verdicts_wait_or_find_no_room() -> None:
    bench = alone()
    for number in range(3):
        bench.actor.lists.state(ListKey(3, ORDERS), InstanceKey("10.0.0.1", 80 + number), healthy=False, stored=True)
    asked = StatusRequested(b"l", 1, 1, {"counters": {"orders": 5}})
    effects = bench.actor.handle(asked, Now(0, 0))
    (answer,) = (effect.message for effect in effects if isinstance(effect, Tell))
    assert (answer.parts["counters"]["orders"], answer.parts["counters"]["verdicts_unsaid"]) == (5, 3)
