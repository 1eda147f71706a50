"""Owner leases: who renews them, when they hide, when they are forgotten, and who may come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.links import REFUSED, SILENT, UP
from actors.liveness import Leases, ended_grace_ms, hide_after_ms
from actors.member_manager import MembersSettings
from actors.messages.values import Origin
from tests.support.member_node import entry
from tests.support.settings import settings_of

OWN, OLD_OWN = Origin("a", 100), Origin("a", 99)
B, OLD_B = Origin("b", 100), Origin("b", 99)
NATIVE_MS, SDK_MS = 15_000, 45_000
LEASE_MS, SILENT_MS = 15_000, 30_000
PATIENCE = settings_of("members", MembersSettings, graces_ms=[NATIVE_MS, SDK_MS])
NATIVE_ONLY = settings_of("members", MembersSettings, graces_ms=[NATIVE_MS])


def leases(patience: MembersSettings = NATIVE_ONLY) -> Leases:
    return Leases(OWN, patience)


def judged(table: Leases, now_ms: int, threshold_ms: int = SILENT_MS) -> tuple[tuple[Origin, int], ...]:
    table.judge(lambda _: threshold_ms, now_ms)
    table.check_invariants()
    return table.hidden(now_ms)


def purged(table: Leases, now_ms: int) -> tuple[Origin, ...]:
    origins = table.purge(now_ms)
    table.check_invariants()
    return origins


# Leases.


def test_the_lease_of_an_unknown_origin_starts_at_the_age_that_is_reported() -> None:
    table = leases()
    assert table.hear(B, 5, 4_000, 100_000)
    assert table.age_ms(B, 101_000) == 5_000


def test_only_a_higher_counter_renews_a_lease() -> None:
    table = leases()
    table.hear(B, 5, 0, 100_000)
    table.hear(B, 5, 0, 103_000)
    table.hear(B, 4, 0, 103_000)
    assert table.age_ms(B, 103_000) == 3_000
    table.hear(B, 6, 1_000, 103_000)
    assert table.age_ms(B, 103_000) == 1_000


def test_a_higher_counter_that_comes_late_makes_nobody_older() -> None:
    table = leases()
    table.hear(B, 5, 0, 100_000)
    table.hear(B, 6, 9_000, 101_000)
    assert table.age_ms(B, 101_000) == 1_000


def test_an_age_from_the_future_counts_as_now() -> None:
    table = leases()
    table.hear(B, 5, -60_000, 100_000)
    assert table.age_ms(B, 100_000) == 0


def test_the_own_current_origin_is_never_judged() -> None:
    table = leases()
    assert table.hear(OWN, 5, 90_000, 100_000)
    assert judged(table, 100_000) == ()
    assert table.age_ms(OWN, 100_000) is None


# Hiding.


@pytest.mark.parametrize(
    ("threshold_ms", "age_ms", "expected"),
    [
        pytest.param(0, 14_999, 0, id="an orphan keeps its grace"),
        pytest.param(0, 15_000, NATIVE_MS, id="and no longer"),
        pytest.param(0, 45_000, SDK_MS, id="each grace for itself"),
        pytest.param(6_000, 5_999, 0, id="nobody is hidden before the threshold"),
        pytest.param(6_000, 6_000, NATIVE_MS, id="native records go with the process"),
        pytest.param(6_000, 44_999, NATIVE_MS, id="others when their grace has ended too"),
        pytest.param(6_000, 45_000, SDK_MS, id="and not later"),
        pytest.param(60_000, 59_999, 0, id="a grace that ended before the threshold waits for it"),
        pytest.param(60_000, 60_000, SDK_MS, id="then all go at once"),
    ],
)
def test_which_graces_are_hidden(threshold_ms: int, age_ms: int, expected: int) -> None:
    assert ended_grace_ms((NATIVE_MS, SDK_MS), threshold_ms, age_ms) == expected


@given(threshold_ms=st.sampled_from([0, 6_000, 12_000, 30_000]), ages_ms=st.lists(st.integers(0, 100_000), min_size=2))
def test_who_is_silent_longer_never_has_less_hidden(threshold_ms: int, ages_ms: list[int]) -> None:
    hidden = [ended_grace_ms((NATIVE_MS, SDK_MS), threshold_ms, age_ms) for age_ms in sorted(ages_ms)]
    assert hidden == sorted(hidden)


def test_a_newer_epoch_makes_orphans_of_older_ones() -> None:
    table = leases()
    table.hear(OLD_B, 5, 0, 100_000)
    table.hear(B, 1, 0, 110_000)
    assert judged(table, 114_999) == ()
    table.hear(B, 2, 0, 115_000)
    assert judged(table, 115_000) == ((OLD_B, NATIVE_MS),)


def test_the_order_in_which_epochs_are_heard_does_not_matter() -> None:
    table = leases()
    table.hear(B, 1, 0, 100_000)
    table.hear(OLD_B, 5, 0, 100_000)
    assert table.is_orphan(OLD_B)
    assert not table.is_orphan(B)


def test_orphans_of_own_earlier_epochs_are_treated_like_anyones() -> None:
    table = leases()
    assert table.hear(OLD_OWN, 5, 3_000, 100_000)
    assert judged(table, 112_000) == ((OLD_OWN, NATIVE_MS),)


def test_an_orderly_leave_makes_an_orphan_at_once_and_for_good() -> None:
    table = leases()
    table.hear(B, 5, 0, 100_000)
    table.leave(B, 101_000)
    table.hear(B, 6, 0, 101_500)
    assert table.has_left(B)
    assert judged(table, 116_500) == ((B, NATIVE_MS),)


def test_a_leave_is_believed_from_a_relay() -> None:
    table = leases()
    table.hear(B, 5, 0, 100_000)
    table.hear(B, 5, 0, 101_000, left=True)
    assert table.is_orphan(B)


def test_what_is_hidden_stays_hidden_when_the_evidence_changes() -> None:
    table = leases()
    table.hear(B, 5, 0, 100_000)
    assert judged(table, 106_000, threshold_ms=6_000) == ((B, NATIVE_MS),)
    assert judged(table, 107_000, threshold_ms=30_000) == ((B, NATIVE_MS),)


def test_an_owner_that_is_heard_again_is_shown_again() -> None:
    table = leases()
    table.hear(B, 5, 0, 100_000)
    judged(table, 130_000)
    table.hear(B, 6, 1_000, 131_000, owner_seq=0)
    assert table.hidden(131_000) == ()
    assert judged(table, 132_000) == ()


def held_and_hidden() -> Leases:
    """b holds back what it did after seq 4, and is hidden at 130 s."""
    table = leases()
    table.hear(B, 5, 0, 100_000)
    table.hold([entry("b", 0, applied=4, records=1)], 101_000)
    assert judged(table, 130_000) == ((B, NATIVE_MS),)
    return table


def test_an_owner_that_returns_is_shown_once_what_it_did_meanwhile_is_held() -> None:
    table = held_and_hidden()
    table.hear(B, 6, 0, 131_000, owner_seq=9)
    table.hear(B, 7, 0, 132_000, owner_seq=20)
    table.hold([entry("b", 0, applied=8)], 133_000)
    assert (judged(table, 133_000), purged(table, 146_000)) == (((B, NATIVE_MS),), ())
    table.hold([entry("b", 0, applied=9)], 134_000)
    assert (judged(table, 134_000), table.is_catching_up) == ((), False)


def test_an_owner_that_returns_and_did_nothing_meanwhile_is_shown_at_once() -> None:
    table = held_and_hidden()
    table.hear(B, 6, 0, 131_000, owner_seq=4)
    assert judged(table, 131_000) == ()


def test_a_heartbeat_that_came_with_a_delta_shows_nobody_until_a_digest_says_what_is_owed() -> None:
    table = held_and_hidden()
    table.hear(B, 6, 0, 131_000)
    table.hold([entry("b", 0, applied=9)], 131_500)
    assert table.hidden(131_500) == ((B, NATIVE_MS),)
    table.admit([entry("b", 6, owner_seq=9)], 132_000)
    assert table.hidden(132_000) == ()


def test_a_relay_passes_on_how_far_the_owner_was_and_not_how_far_itself_is() -> None:
    table = leases()
    table.admit([entry("b", 6, applied=2, owner_seq=9)], 100_000)
    table.hold([entry("b", 0, applied=3)], 100_500)
    assert [(each.owner_seq, each.applied) for each in table.entries(101_000)] == [(0, 0), (9, 3)]


def test_an_owner_that_cannot_say_yet_what_it_owes_is_shown_when_it_has_and_that_is_held() -> None:
    table = held_and_hidden()
    table.hold([entry("b", 0, applied=4)], 131_000)
    table.admit([entry("b", 6, applied=4)], 131_000)
    assert table.hidden(131_000) == ((B, NATIVE_MS),), "it may have to remove something yet"
    table.admit([entry("b", 7, applied=5, owner_seq=5)], 132_000)
    assert table.hidden(132_000) == ((B, NATIVE_MS),)
    table.hold([entry("b", 0, applied=5)], 132_500)
    assert table.hidden(132_500) == ()


def test_an_owner_that_a_serving_node_has_never_met_is_shown_like_one_that_returns() -> None:
    table = leases()
    table.doubts_strangers = True
    table.hear(B, 0, 0, 100_000)  # a handshake
    table.admit([entry("b", 6, applied=4)], 100_100)
    table.hold([entry("b", 0, applied=4, records=1)], 100_200)
    assert judged(table, 100_200) == ((B, NATIVE_MS),), "it may have to remove something yet"
    table.admit([entry("b", 7, applied=5, owner_seq=5)], 101_000)
    table.hold([entry("b", 0, applied=5)], 101_100)
    assert judged(table, 101_100) == ()


def test_neither_a_node_that_loads_hides_an_owner_that_it_meets_nor_anybody_a_later_life_of_one_it_has_met() -> None:
    table = leases()
    table.hear(B, 6, 0, 100_000)
    table.doubts_strangers = True
    table.hear(Origin("b", 101), 0, 0, 101_000)
    assert judged(table, 101_000) == ()


def test_a_beat_that_was_taken_before_a_pause_is_as_old_as_that() -> None:
    table = leases()
    table.hold([], 100_000, waited_ms=20_000)
    assert [(each.heartbeat, each.age_ms) for each in table.entries(100_000)] == [(1, 20_000)]
    table.hold([], 101_000, waited_ms=3)
    assert [(each.heartbeat, each.age_ms) for each in table.entries(101_000)] == [(2, 0)]


def test_who_keeps_what_may_have_been_withdrawn_does_not_say_how_far_it_has_come() -> None:
    table = leases()
    table.hold([entry("a", 0, applied=4)], 100_000, is_uncertain=True)
    assert [(each.heartbeat, each.owner_seq) for each in table.entries(100_000)] == [(1, -1)]
    table.hold([entry("a", 0, applied=5)], 101_000)
    assert [(each.heartbeat, each.owner_seq) for each in table.entries(101_000)] == [(2, 5)]


def test_an_owner_that_cannot_be_caught_up_with_is_shown_a_lease_after_its_return() -> None:
    table = held_and_hidden()
    for second in range(LEASE_MS // 1_000):
        table.hear(B, 6 + second, 0, 131_000 + second * 1_000, owner_seq=9)
        table.hold([entry("b", 0, applied=4)], 131_000 + second * 1_000)
        assert table.hidden(131_000) == ((B, NATIVE_MS),)
    table.hold([entry("b", 0, applied=4)], 131_000 + LEASE_MS)
    assert table.hidden(131_000 + LEASE_MS) == ()


def test_a_node_that_misses_most_of_the_members_shows_whom_it_hears_again_after_a_beat() -> None:
    table = held_and_hidden()
    table.misses_most = True
    table.hear(B, 6, 0, 131_000)
    assert judged(table, 132_000) == ((B, NATIVE_MS),), "the others may be back at this moment too"
    table.hold([entry("b", 0, applied=4)], 132_400)
    assert judged(table, 132_400) == ()


@pytest.mark.parametrize("has_restarted", [False, True])
def test_an_epoch_that_ends_before_it_was_caught_up_with_is_not_shown_after_a_lease(has_restarted: bool) -> None:
    table = held_and_hidden()
    table.hear(B, 6, 0, 131_000)
    table.hear(B, 8, 0, 134_000)
    table.hear(*((Origin("b", 101), 1) if has_restarted else (B, 8)), 0, 135_000, left=not has_restarted)
    table.hold([entry("b", 0, applied=4, records=1)], 131_000 + LEASE_MS)
    assert judged(table, 131_000 + LEASE_MS) == ((B, NATIVE_MS),), "its grace has yet to end"
    judged(table, 134_000 + LEASE_MS)
    assert purged(table, 134_000 + 2 * LEASE_MS) == (B,)


def test_an_epoch_that_has_ended_and_is_held_as_far_as_it_had_come_is_shown() -> None:
    table = held_and_hidden()
    table.hear(B, 6, 0, 131_000, owner_seq=9)
    table.leave(B, 132_000)
    table.hold([entry("b", 0, applied=9, records=1)], 133_000)
    assert judged(table, 133_000) == ()


def test_an_owner_that_falls_silent_before_it_was_caught_up_with_is_purged_a_lease_later() -> None:
    table = held_and_hidden()
    table.hear(B, 6, 0, 131_000, owner_seq=9)
    assert judged(table, 143_000, threshold_ms=12_000) == ((B, NATIVE_MS),)
    assert purged(table, 143_000 + LEASE_MS - 1) == ()
    assert purged(table, 143_000 + LEASE_MS) == (B,)


def test_a_purged_origin_that_comes_back_is_shown_once_it_is_held_as_far_as_it_had_come() -> None:
    table = held_and_hidden()
    assert purged(table, 145_000) == (B,)
    assert table.hear(B, 6, 0, 146_000, owner_seq=9)
    assert judged(table, 146_000) == ((B, NATIVE_MS),)
    table.hold([entry("b", 0, applied=9)], 147_000)
    assert judged(table, 147_000) == ()


def test_old_news_of_a_hidden_owner_does_not_show_it_for_a_moment() -> None:
    table = leases()
    table.hear(B, 5, 0, 100_000)
    judged(table, 130_000)
    table.hear(B, 6, 25_000, 131_000)
    assert table.hidden(131_000) == ((B, NATIVE_MS),)


@pytest.mark.parametrize(
    ("links", "configured", "expected"),
    [
        pytest.param([REFUSED], 2, PATIENCE.hide_refused_ms, id="alone, and its port is closed"),
        pytest.param([REFUSED, REFUSED], 3, PATIENCE.hide_refused_ms, id="everybody found its port closed"),
        pytest.param([REFUSED, SILENT], 3, PATIENCE.hide_majority_ms, id="most have no link"),
        pytest.param([SILENT, SILENT], 4, PATIENCE.hide_silent_ms, id="half of the members is no majority"),
        pytest.param([SILENT, SILENT, SILENT], 4, PATIENCE.hide_majority_ms, id="three of four are one"),
        pytest.param([REFUSED, UP], 3, PATIENCE.hide_silent_ms, id="somebody reaches it"),
        pytest.param([REFUSED, ""], 3, PATIENCE.hide_silent_ms, id="somebody has no opinion"),
        pytest.param([SILENT], 2, PATIENCE.hide_silent_ms, id="one of two proves nothing by silence"),
        pytest.param([], 3, PATIENCE.hide_silent_ms, id="no evidence at all"),
    ],
)
def test_how_long_the_silence_of_an_owner_is_borne(links: list[str], configured: int, expected: int) -> None:
    assert hide_after_ms(PATIENCE, links, configured) == expected


# Purging.


def test_an_owner_is_purged_one_lease_after_the_largest_grace_is_hidden() -> None:
    table = leases(PATIENCE)
    table.hear(B, 5, 0, 100_000)
    judged(table, 130_000)
    judged(table, 145_000)
    assert purged(table, 145_000 + LEASE_MS - 1) == ()
    assert purged(table, 145_000 + LEASE_MS) == (B,)
    assert table.age_ms(B, 160_000) is None


def test_a_purged_origin_stays_in_the_filter_until_its_records_are_surely_gone() -> None:
    table = leases()
    table.hear(B, 5, 0, 100_000)
    judged(table, 130_000)
    purged(table, 145_000)
    assert table.hidden(145_000) == ((B, NATIVE_MS),)
    assert table.hidden(145_000 + LEASE_MS) == ()


def test_a_purged_origin_comes_back_only_with_a_higher_counter() -> None:
    table = leases()
    table.hear(B, 5, 0, 100_000)
    judged(table, 130_000)
    purged(table, 145_000)
    assert not table.hear(B, 5, 0, 146_000)
    assert table.hear(B, 6, 0, 146_000, owner_seq=0)
    assert table.hidden(146_000) == ()


def test_what_was_purged_is_forgotten_in_the_end() -> None:
    table = leases()
    table.hear(B, 5, 0, 100_000)
    judged(table, 130_000)
    purged(table, 145_000)
    purged(table, 145_000 + NATIVE_ONLY.purged_memory_ms)
    assert table.purged == {}
    assert table.newest("b") == Origin("b", 0), "nothing grows with every node that ever was"
    assert table.hear(B, 5, 0, 145_000 + NATIVE_ONLY.purged_memory_ms)


def test_an_origin_that_is_first_heard_past_its_purge_age_does_not_come_in() -> None:
    table = leases()
    assert not table.hear(B, 5, SILENT_MS + LEASE_MS, 100_000)
    assert table.hear(B, 5, SILENT_MS + LEASE_MS - 1, 100_000)


def test_an_orphan_is_past_its_purge_age_earlier() -> None:
    table = leases()
    table.hear(B, 1, 0, 100_000)
    assert not table.hear(OLD_B, 5, NATIVE_MS + LEASE_MS, 100_000)
    assert not table.hear(Origin("c", 1), 5, NATIVE_MS + LEASE_MS, 100_000, left=True)


def test_one_digest_makes_its_own_older_epochs_orphans_before_they_are_admitted() -> None:
    table = leases()
    orphan = entry("b", 5, epoch=99, age_ms=NATIVE_MS + LEASE_MS)
    assert table.admit([orphan, entry("b", 1)], 100_000) == (entry("b", 1),)


def test_what_others_hide_of_an_ended_epoch_is_hidden_here_too_but_nothing_of_a_living_one() -> None:
    table = leases()
    others_hide = [entry("b", 5, epoch=99, hidden_ms=NATIVE_MS), entry("c", 7, hidden_ms=NATIVE_MS)]
    table.admit([*others_hide, entry("b", 1)], 100_000)
    assert table.hidden(100_000) == ((Origin("b", 99), NATIVE_MS),)
    assert next(each for each in table.entries(100_000) if each.epoch == 99).hidden_ms == NATIVE_MS, "and says so"


# What goes into a digest.


def test_a_digest_holds_ages_and_counters_of_all_origins_with_or_without_records() -> None:
    table = leases()
    table.hear(B, 5, 1_000, 100_000, left=True)
    table.hold([entry("a", 0, applied=7, records=2, digest=9), entry("c", 0, applied=3)], 100_000)
    assert table.entries(102_000) == (
        entry("a", 1, age_ms=2_000, applied=7, records=2, digest=9, owner_seq=7),
        entry("b", 5, age_ms=3_000, left=True),
        entry("c", 0, age_ms=2_000, applied=3),
    )


def test_what_is_held_has_a_lease_even_if_it_was_never_heard_of() -> None:
    table = leases()
    table.hold([entry("b", 0, applied=3)], 100_000)
    assert judged(table, 130_000) == ((B, NATIVE_MS),)


def test_what_is_still_held_of_a_purged_origin_is_not_in_the_digest() -> None:
    table = leases()
    table.hear(B, 5, 0, 100_000)
    judged(table, 130_000)
    purged(table, 145_000)
    table.hold([entry("b", 0, applied=3)], 145_000)
    assert [each.owner for each in table.entries(145_000)] == ["a"]


def test_what_comes_after_the_purge_stays_hidden_and_is_purged_again() -> None:
    table = leases()
    table.hear(B, 5, 0, 100_000)
    judged(table, 130_000)
    purged(table, 145_000)
    table.hold([entry("b", 0, applied=3, records=1)], 161_000)
    assert table.hidden(161_000) == ((B, NATIVE_MS),)
    assert purged(table, 161_000) == (B,)
    table.hold([], 162_000)
    assert (table.hidden(162_000), purged(table, 162_000)) == ((), ())


def test_the_own_counter_is_as_old_as_the_last_beat_that_proved_life() -> None:
    table = leases()
    table.hold([], 100_000)
    table.hold([], 140_000, proves_life=False)
    (own,) = table.entries(140_000)
    assert (own.heartbeat, own.age_ms) == (1, 40_000)
    table.hold([], 143_000)
    (own,) = table.entries(143_000)
    assert (own.heartbeat, own.age_ms) == (2, 0)
