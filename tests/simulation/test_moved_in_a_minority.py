"""What a session that has moved left at a node that hears no majority, and therefore not where its client has gone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from actors.base import Role
from runtime.simulation.clients import RawClient
from runtime.simulation.cluster import SimCluster
from tests.support.failure_scripts import everywhere, moved, native_of, registered
from tests.support.sim_cluster import shown, sim_cluster
from tests.swarm.turn_checks import TurnChecks


def cut_off(seed: int, *minority: int) -> tuple[SimCluster, RawClient]:
    """These hear no others; the client of n0 has moved to n1, and said so."""
    cluster = sim_cluster(nodes=5, seed=seed, start=False, invariants_every=97)
    cluster.checkers.append(TurnChecks())
    cluster.start_all()
    cluster.until(lambda: cluster.all_ready() and not any(node.standing.warming for node in cluster.nodes), 25_000)
    client = registered(cluster, 0, 2)
    cluster.until(lambda: everywhere(cluster, 2), 2_000, "listed")
    cluster.partition(minority, [number for number in range(5) if number not in minority])
    cluster.run_ms(1_000)
    moved(cluster, client, 1, 2)
    client.leave_old()
    return cluster, client


def test_a_minority_lists_who_has_moved_away_until_it_hears_where(seed: int) -> None:
    cluster, _ = cut_off(seed, 0, 3)
    cluster.always(lambda: everywhere(cluster, 2), 60_000, "listed on both sides")
    assert cluster.node(0).live_native(), "nobody has taken it over where n0 hears"
    cluster.heal()
    cluster.always(lambda: everywhere(cluster, 2), 10_000, "nor does it disappear when they are back")
    assert not cluster.node(0).live_native(), "the newer session has it"


def test_who_has_moved_out_of_a_minority_and_died_is_gone_soon_after_it(seed: int) -> None:
    cluster, client = cut_off(seed, 0)
    client.crash()
    cluster.crash(1)
    cluster.run_ms(60_000)
    others = [cluster.node(number) for number in (2, 3, 4)]
    assert all(not cluster.view(node, "orders") for node in others), "even its node is forgotten there"
    assert cluster.view(cluster.node(0), "orders") == shown(2), "and here nobody can know"
    cluster.heal()
    cluster.always(lambda: not any(cluster.view(node, "orders") for node in others), 3_000, "nobody shows it again")
    cluster.until(lambda: everywhere(cluster), 4_000, "gone")
    cluster.always(lambda: everywhere(cluster), 30_000, "it stays gone")
    visible = cluster.node(2).behaviour(Role.MEMBERS)._leases.is_shown(native_of(cluster, 0))
    assert visible, "and n0 itself is shown"


def test_a_node_that_has_started_during_the_cut_does_not_show_who_has_moved_out_of_it_and_died(seed: int) -> None:
    """The others have forgotten the owner and know that; this one has never met it."""
    cluster, client = cut_off(seed, 0)
    registered(cluster, 0, 3)
    client.crash()
    cluster.crash(1)
    cluster.run_ms(60_000)
    cluster.restart(2)
    fresh = cluster.node(2)
    cluster.until(lambda: fresh.is_ready, 10_000, "ready without that owner")
    cluster.heal()
    cluster.always(lambda: not set(shown(2)) & set(cluster.view(fresh, "orders")), 8_000, "it shows nobody dead")
    assert everywhere(cluster, 3), "and who lives there is listed"


@pytest.mark.parametrize("ends", [SimCluster.leave, SimCluster.crash])
def test_who_has_moved_out_of_a_minority_and_died_is_not_shown_when_the_old_node_ends_before_it_let_go(
    seed: int, ends: Callable[[SimCluster, int], None]
) -> None:
    cluster, client = cut_off(seed, 0)
    client.crash()
    cluster.crash(1)
    cluster.run_ms(60_000)
    others = [cluster.node(number) for number in (2, 3, 4)]
    old = native_of(cluster, 0)
    leases = [node.behaviour(Role.MEMBERS)._leases for node in others]
    cluster.heal()
    cluster.until(lambda: all(each.is_known(old) for each in leases), 3_000, "heard again")
    cluster.run_ms(1_000)
    ends(cluster, 0)
    cluster.run_ms(1_000)
    cluster.restart(0)
    nobody_lists = lambda: not any(cluster.view(node, "orders") for node in others)  # noqa: E731
    cluster.always(nobody_lists, 40_000, "nobody shows it again")
    assert everywhere(cluster)


def test_what_was_withdrawn_elsewhere_is_not_shown_again_after_a_cut_that_outlived_the_tombstone(seed: int) -> None:
    cluster, client = cut_off(seed, 0)
    client.withdraw("orders")
    cluster.run_ms(200_000)  # longer than a tombstone is kept
    others = [cluster.node(number) for number in (1, 2, 3, 4)]
    cluster.heal()
    cluster.always(lambda: not any(cluster.view(node, "orders") for node in others), 8_000, "nobody shows it again")
    assert everywhere(cluster)


def test_a_node_alone_shows_at_once_whom_it_meets_for_the_first_time(seed: int) -> None:
    """It has started during the cut and hears hardly anybody now: it doubts itself rather than a stranger, though that
    one may have to remove something yet."""
    cluster, _ = cut_off(seed, 0)
    registered(cluster, 0, 3)
    cluster.run_ms(60_000)
    cluster.restart(2)
    fresh = cluster.node(2)
    cluster.until(lambda: fresh.is_ready, 10_000, "ready without that owner")
    cluster.partition([2], [1, 3, 4])
    cluster.run_ms(10_000)
    cluster.heal()
    cluster.partition([0, 2], [1, 3, 4])
    cluster.until(lambda: shown(3)[0] in cluster.view(fresh, "orders"), 3_000, "listed as soon as it is heard")


def test_an_owner_that_comes_back_to_a_node_alone_is_shown_though_it_cannot_let_go_of_anything(seed: int) -> None:
    """Both hear hardly anybody, so the one lets go of nothing and the other doubts itself. Not so when all are back."""
    cluster, client = cut_off(seed, 0)
    registered(cluster, 0, 3)
    client.crash()
    cluster.crash(1)
    last = cluster.node(4)
    cluster.run_ms(40_000)
    assert not cluster.view(last, "orders"), "even the owner is forgotten"
    cluster.partition([4], [2, 3])
    cluster.run_ms(10_000)
    cluster.restore(0, 4)
    cluster.restore(4, 0)
    cluster.until(lambda: shown(3)[0] in cluster.view(last, "orders"), 6_000, "listed")


def test_a_node_that_was_alone_shows_nobody_dead_when_it_and_the_owner_are_back(seed: int) -> None:
    cluster, client = cut_off(seed, 0)
    registered(cluster, 0, 3)
    client.crash()
    cluster.crash(1)
    cluster.run_ms(40_000)
    cluster.partition([4], [2, 3])
    cluster.run_ms(10_000)
    cluster.heal()
    last = cluster.node(4)
    cluster.always(lambda: shown(2)[0] not in cluster.view(last, "orders"), 8_000, "nobody dead")
    assert everywhere(cluster, 3), "and who lives there is listed"


def test_an_owner_whose_records_come_late_to_a_node_alone_is_shown_before_them(seed: int) -> None:
    """What is shown then comes with each delta. The checks of every turn know that a beat is enough here."""
    cluster, _ = cut_off(seed, 0)
    registered(cluster, 0, 3)
    last, old = cluster.node(4), native_of(cluster, 0)
    cluster.run_ms(40_000)
    cluster.partition([4], [1, 2, 3])
    cluster.run_ms(10_000)
    cluster.slow_processing(4, 2_000_000)
    cluster.restore(0, 4)
    cluster.restore(4, 0)
    leases = last.behaviour(Role.MEMBERS)._leases
    cluster.until(lambda: leases.is_shown(old), 15_000, "shown")
    assert shown(3)[0] not in cluster.view(last, "orders"), "and nothing of it is here"
    cluster.slow_processing(4, 0)
    cluster.until(lambda: shown(3)[0] in cluster.view(last, "orders"), 6_000, "listed")
