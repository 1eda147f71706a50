"""The rules of a stall by themselves: when a node settles, whom it sends elsewhere, whose leavings go."""

from __future__ import annotations

import pytest

from actors.client_manager import ClientsSettings
from actors.messages.values import Route
from actors.stalls import Lingering, StallBeat, Stalls
from tests.support.settings import settings_of

SETTINGS = settings_of("clients", ClientsSettings, stall_ms=1_800, stall_settle_ms=3_000, stall_welcome_ms=2_000)
HERE = Route(b"l1", 7)
WELL = StallBeat(0, settles=False, has_settled=False)


def beaten(*times_ms: int) -> Stalls:
    stalls = Stalls(SETTINGS)
    for ms in times_ms:
        stalls.beat(ms)
    return stalls


def test_the_first_beat_of_a_node_is_no_stall_however_late_it_comes() -> None:
    assert Stalls(SETTINGS).beat(60_000) == WELL


@pytest.mark.parametrize(("gap_ms", "stood_still"), [(1_800, False), (1_801, True)])
def test_a_node_has_stood_still_when_its_beat_is_later_than_the_limit(gap_ms: int, stood_still: bool) -> None:
    beat = beaten(1_000).beat(1_000 + gap_ms)
    assert (beat.stood_still_ms, beat.settles) == ((gap_ms, True) if stood_still else (0, False))


def test_it_settles_for_three_seconds_and_says_once_that_it_has() -> None:
    stalls = beaten(1_000, 41_000)
    assert stalls.beat(43_900) == StallBeat(0, settles=True, has_settled=False)
    assert stalls.beat(44_000) == StallBeat(0, settles=False, has_settled=True)
    assert stalls.beat(45_000) == WELL


@pytest.mark.parametrize(("gap_ms", "again"), [(3_600, False), (3_601, True)])
def test_while_it_settles_only_a_gap_of_twice_the_limit_is_another_stall(gap_ms: int, again: bool) -> None:
    assert bool(beaten(1_000, 41_000).beat(41_000 + gap_ms).stood_still_ms) == again


def test_a_stall_is_known_before_any_beat_says_so() -> None:
    stalls = beaten(1_000)
    assert not stalls.settles(2_800)
    assert stalls.settles(2_801)


def test_clients_are_sent_elsewhere_for_two_seconds_more_than_it_settles() -> None:
    stalls = beaten(1_000, 41_000, 42_500, 44_000, 45_500)
    assert not stalls.settles(45_999)
    assert stalls.turns_away(None, 45_999)
    assert not stalls.turns_away(None, 46_000)


def test_whoever_has_a_session_here_is_sent_elsewhere_once_in_a_stall() -> None:
    stalls = beaten(1_000, 41_000)
    assert [stalls.turns_away(HERE, ms) for ms in (41_100, 41_200)] == [True, False]
    for ms in (42_500, 44_000, 45_500, 46_000):
        stalls.beat(ms)
    stalls.beat(90_000)
    assert stalls.turns_away(HERE, 90_000), "another stall"


def test_a_session_that_ends_is_known_to_live_on_only_if_its_client_was_sent_elsewhere() -> None:
    stalls = beaten(1_000, 41_000)
    stalls.turns_away(HERE, 41_100)
    assert [stalls.closed(HERE), stalls.closed(HERE), stalls.closed(Route(b"l2", 8))] == [True, False, False]
    stalls.check_invariants(lambda *_: False)


def test_what_was_lost_is_taken_up_once_in_its_order() -> None:
    stalls = beaten(1_000, 41_000)
    lost = [Route(b"l2", 2), Route(b"l1", 1)]
    for route in lost:
        stalls.put_off(route)
    assert [stalls.take_lost(), stalls.take_lost()] == [lost, []]


def test_leavings_go_after_a_stall_unless_their_client_may_still_be_redoing() -> None:
    lingering = Lingering()
    for client, redone_by_ms in (("b", 2_000), ("here", 2_000), ("a", 41_000), ("late", 41_001)):
        lingering.begin(client, 5, redone_by_ms)
    assert lingering.after_stall(lambda client: client == "here", 41_000) == [("a", 5), ("b", 5)]


def test_what_has_had_its_grace_lingers_no_more() -> None:
    lingering = Lingering()
    lingering.begin("a", 5, 1_000)
    lingering.begin("a", 6, 1_000)
    lingering.end("a", 5)
    assert lingering.after_stall(lambda *_: False, 41_000) == [("a", 6)]
