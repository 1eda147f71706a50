"""The rules of large clusters: who is accused, what refutes it, and when accusations are a verdict."""

from __future__ import annotations

import random

import pytest

from actors.links import REFUSED, SILENT
from actors.liveness import Leases
from actors.member_manager import MembersSettings
from actors.messages.peers import Accusation
from actors.messages.values import Origin
from actors.swim import (
    ACCUSATIONS_PER_DIGEST,
    ACCUSERS_MAX,
    LocalHealth,
    ProbeRing,
    Suspicions,
    gossip_ms,
    suspicion_ms,
)
from tests.support.settings import settings_of

SETTINGS = settings_of("members", MembersSettings)
B = Origin("b", 100)
MEMBERS = dict.fromkeys("bcdefghijklmnop", None)


class Court:
    """Node a and its suspicions; b's counter was 5 when it was last heard, at 100 s."""

    def __init__(self) -> None:
        self.leases = Leases(Origin("a", 100), SETTINGS)
        self.table = Suspicions("a", self.leases, SETTINGS)
        self.leases.hear(B, 5, 0, 100_000)

    def hear(self, refused: str = "", silent: str = "", *, heartbeat: int = 5, epoch: int = 100) -> None:
        self.table.hear([Accusation("b", epoch, heartbeat, tuple(refused), tuple(silent))], MEMBERS, 101_000)
        self.table.check_invariants()

    def beat(self) -> None:
        self.table.review()
        self.table.check_invariants()

    def verdict(self, now_ms: int, witnesses: int = 40) -> str:
        return self.table.verdict(B, 50, lambda: witnesses, now_ms)


# Accusations.


def test_an_accusation_names_the_counter_that_was_heard_last() -> None:
    court = Court()
    assert court.table.accuse(B, SILENT, 101_000, 102_000)
    assert court.table.told() == (Accusation("b", 100, 5, (), ("a",)),)
    assert court.table.is_suspect(B)


def test_who_is_accused_again_is_no_news_and_a_refusal_is_the_stronger_word() -> None:
    court = Court()
    court.table.accuse(B, REFUSED, 101_000, 102_000)
    assert not court.table.accuse(B, SILENT, 102_000, 103_000)
    assert court.table.told()[0].refused_to == ("a",)


def test_a_heartbeat_that_was_raised_after_the_evidence_refutes_it() -> None:
    court = Court()
    court.table.accuse(B, SILENT, 101_000, 102_000)
    court.leases.hear(B, 6, 500, 103_000)
    assert not court.table.is_suspect(B)
    court.beat()
    assert court.table.told() == ()


def test_a_heartbeat_that_was_raised_before_the_evidence_and_came_late_does_not() -> None:
    court = Court()
    court.table.accuse(B, SILENT, 101_000, 102_000)
    court.leases.hear(B, 6, 2_500, 103_000)
    court.beat()
    assert court.table.told() == (Accusation("b", 100, 6, (), ("a",)),)


def test_nobody_is_accused_by_evidence_older_than_its_last_heartbeat() -> None:
    court = Court()
    assert not court.table.accuse(B, SILENT, 99_000, 101_000)


def test_what_others_say_is_refuted_by_any_higher_counter() -> None:
    court = Court()
    court.hear(silent="cd", heartbeat=5)
    assert court.table.is_suspect(B)
    court.leases.hear(B, 6, 0, 102_000)
    court.beat()
    court.hear(silent="cd", heartbeat=5)
    assert court.table.told() == ()


def test_an_accusation_at_a_higher_counter_than_was_heard_here_stands_until_a_higher_one_still() -> None:
    court = Court()
    court.hear(silent="c", heartbeat=7)
    court.leases.hear(B, 7, 0, 102_000)
    court.beat()
    assert court.table.is_suspect(B)


@pytest.mark.parametrize("accuser", ["a", "b", "z"])
def test_no_word_counts_of_oneself_of_the_accused_or_of_a_stranger(accuser: str) -> None:
    court = Court()
    court.hear(silent=accuser)
    assert court.table.told() == ()


def test_an_earlier_epoch_and_who_has_left_cannot_be_accused() -> None:
    court = Court()
    court.hear(silent="c", epoch=99)
    court.leases.leave(B, 101_000)
    court.hear(silent="c")
    assert court.table.told() == ()


def test_who_answers_this_node_is_no_longer_accused_by_it() -> None:
    court = Court()
    court.table.accuse(B, SILENT, 101_000, 102_000)
    court.hear(silent="c")
    court.table.acquit(B, 100_999)
    assert court.table.told() == (Accusation("b", 100, 5, (), ("a", "c")),), "that answer is older"
    court.table.acquit(B, 101_000)
    assert court.table.told() == (Accusation("b", 100, 5, (), ("c",)),)


def test_accusers_have_a_limit() -> None:
    court = Court()
    court.hear(silent="".join(MEMBERS)[1:])
    assert len(court.table.told()[0].silent_to) == ACCUSERS_MAX


def test_of_many_accusations_each_digest_carries_those_that_were_told_least_often() -> None:
    court = Court()
    for number in range(40):
        origin = Origin(f"n{number:02}", 1)
        court.leases.hear(origin, 1, 0, 100_000)
        court.table.accuse(origin, SILENT, 101_000, 101_000)
    told = [{each.owner for each in court.table.told()} for _ in range(3)]
    assert [len(owners) for owners in told] == [ACCUSATIONS_PER_DIGEST] * 3
    assert len(set.union(*told)) == 40


# Verdicts.


def test_three_refusals_are_a_verdict_and_two_are_none() -> None:
    court = Court()
    court.hear(refused="cd", silent="e")
    assert court.verdict(101_000) == ""
    court.hear(refused="f")
    assert court.verdict(101_000) == REFUSED


def test_four_who_got_no_answer_are_a_verdict_once_nothing_has_refuted_them_for_long_enough() -> None:
    court = Court()
    court.hear(silent="cde")
    assert court.verdict(200_000) == ""
    court.hear(silent="f")
    needed_ms = suspicion_ms(SETTINGS, 50, 4)
    assert court.verdict(101_000 + needed_ms - 1) == ""
    assert court.verdict(101_000 + needed_ms) == SILENT


def test_where_only_two_are_left_these_two_are_enough_but_they_wait_longer() -> None:
    court = Court()
    court.hear(silent="cd")
    assert court.verdict(101_000 + suspicion_ms(SETTINGS, 50, 4), witnesses=2) == ""
    assert court.verdict(101_000 + suspicion_ms(SETTINGS, 50, 2), witnesses=2) == SILENT


@pytest.mark.parametrize(("members", "shortest_ms"), [(10, 4_000), (100, 8_000), (1_000, 12_000)])
def test_a_suspicion_lasts_longer_in_a_larger_cluster_and_shorter_with_each_accuser(
    members: int, shortest_ms: int
) -> None:
    times_ms = [suspicion_ms(SETTINGS, members, accusers) for accusers in range(1, 6)]
    assert times_ms == sorted(times_ms, reverse=True)
    assert (times_ms[0], times_ms[3], times_ms[4]) == (6 * shortest_ms, shortest_ms, shortest_ms)


@pytest.mark.parametrize(("members", "expected_ms"), [(3, 0), (10, 0), (11, 2_000), (50, 4_000), (200, 6_000)])
def test_what_gossip_adds_to_an_age(members: int, expected_ms: int) -> None:
    assert gossip_ms(SETTINGS, members) == expected_ms


# Local health and the order of probes.


def test_local_health_stretches_times_and_has_a_worst_and_a_best() -> None:
    health = LocalHealth(8)
    assert health.stretched(400) == 400
    health.note(20)
    assert health.stretched(400) == 3_600
    health.note(-30)
    assert health.score == 0


def test_everybody_is_probed_once_a_round_in_an_order_that_changes() -> None:
    ring = ProbeRing(random.Random(1))
    rounds = [[ring.next(set("bcdefgh")) for _ in range(7)] for _ in range(3)]
    assert [set(turn) for turn in rounds] == [set("bcdefgh")] * 3
    assert rounds[0] != rounds[1]


def test_who_is_no_candidate_any_more_is_skipped_and_nobody_is_nobody() -> None:
    ring = ProbeRing(random.Random(1))
    first = ring.next({"b", "c"})
    assert ring.next({"d"}) == "d"
    assert first in {"b", "c"}
    assert ring.next(set()) is None
