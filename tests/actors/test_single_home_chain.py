"""HomeServer, HomeFollower and PersistentStore of several nodes over links that lose, delay, cross and end."""

from __future__ import annotations

import random

import pytest

from actors.base import Role
from actors.messages.store import Operation, Proposal, StoreFollowed
from rollbook.durable_bodies import PublishPersistent, WithdrawPersistent
from rollbook.model import Instance, InstanceKey, Service
from rollbook.wire import Done, Failed
from tests.support.home_chain import HOME, HomeChain

SERVICE = Service("public", "shop", "orders")


def publish(*ports: int, weight: float = 1.0) -> PublishPersistent:
    return PublishPersistent(
        SERVICE, tuple(Instance("10.0.0.1", port, weight=weight, ephemeral=False) for port in ports)
    )


def withdraw(*ports: int) -> WithdrawPersistent:
    return WithdrawPersistent(SERVICE, tuple(InstanceKey("10.0.0.1", port) for port in ports))


def fill(chain: HomeChain, rows: int, size: int = 50) -> None:
    for number in range(rows):
        chain.store.apply(Proposal(0, (Operation(f"note {number:06}", b"x" * size),)))


def ready(followers: str, seed: int = 1, **overrides: int) -> HomeChain:
    chain = HomeChain(followers, seed, **overrides)
    for name in followers:
        chain.connect(name)
    chain.run(2_500)
    return chain


def test_every_node_has_what_one_has_written() -> None:
    chain = ready("ab")
    order = chain.order("a", publish(1, 2))
    chain.run(2_000)
    assert isinstance(chain.answers[order], Done) or chain.answers[order].retryable
    chain.check_equal()
    assert all(followed.is_read and not followed.stale_since_ms for followed in chain.followed.values())


def test_a_node_that_has_read_nothing_yet_never_says_that_it_has() -> None:
    chain = HomeChain("a", 1)
    fill(chain, 100)
    chain.ports[HOME].is_readable = False
    chain.connect("a")
    chain.run(9_000)
    assert chain.followed["a"].is_read is False
    chain.ports[HOME].is_readable = True
    chain.run(3_000)
    assert chain.followed["a"] == StoreFollowed(True, 0, "")
    chain.check_equal()


def test_followers_say_that_they_are_stale_while_the_home_cannot_read_its_store() -> None:
    chain = ready("a")
    chain.ports[HOME].is_readable = False
    chain.run(6_000)
    assert chain.followed["a"].stale_since_ms
    chain.ports[HOME].is_readable = True
    chain.run(4_000)
    assert not chain.followed["a"].stale_since_ms


def test_a_follower_that_was_away_is_told_what_it_missed_and_no_more() -> None:
    chain = ready("a")
    chain.cut_links("a")
    fill(chain, 30)
    chain.run(2_000)
    assert chain.followed["a"].stale_since_ms
    chain.connect("a")
    chain.run(2_500)
    chain.check_equal()
    assert not chain.followed["a"].stale_since_ms


def test_a_follower_whose_log_is_gone_takes_everything_anew() -> None:
    chain = ready("a", frame_bytes_max=300)
    chain.cut_links("a")
    fill(chain, 60)
    chain.store.compact(chain.store.index - 3)
    chain.run(200)
    chain.connect("a")
    chain.run(3_000)
    chain.check_equal()


def test_a_change_that_no_frame_can_hold_comes_as_a_cut() -> None:
    chain = ready("a", frame_bytes_max=1_000, proposal_bytes_max=2_000)
    chain.store.apply(Proposal(0, tuple(Operation(f"note {number}", b"x" * 500) for number in range(20))))
    chain.run(2_000)
    chain.check_equal()


def test_a_follower_that_lags_far_behind_catches_up() -> None:
    chain = ready("a", frame_bytes_max=200, frames_in_flight_max=1, backlog_bytes_max=20_000)
    fill(chain, 500)
    chain.run(15_000, news_max=50)
    chain.check_equal()
    assert chain.nodes[HOME][Role.HOME].counters["store_streams_paused"]


def test_when_one_of_two_links_ends_nobody_is_stale() -> None:
    chain = ready("a")
    chain.connect("a")
    chain.run(1_000)
    for _ in range(4):
        chain.disconnect(sorted(chain.links)[0])
        chain.connect("a")
        fill(chain, 3)
        chain.run(1_500)
        chain.check_equal()
        assert not chain.followed["a"].stale_since_ms


def test_a_home_that_comes_back_is_followed_from_where_one_was() -> None:
    chain = ready("ab")
    chain.order("a", publish(1))
    chain.run(1_000)
    chain.start(HOME)
    chain.run(1_000)
    chain.connect("a")
    chain.connect("b")
    order = chain.order("b", publish(2))
    chain.run(4_000)
    chain.check_equal()
    assert chain.answers[order] is not None


def test_a_home_that_has_gone_back_is_noticed_by_everybody() -> None:
    chain = ready("a")
    fill(chain, 20)
    chain.run(1_000)
    rows = chain.rows_of("a")
    chain.cut_links("a")
    chain.run(100)
    newest = chain.store.log.pop()
    del chain.store.rows[newest.operations[0].key]
    chain.store.index -= 1
    chain.connect("a")
    chain.run(2_000)
    assert "lost" in chain.followed["a"].reason
    fill(chain, 5)
    chain.run(3_000)
    assert chain.rows_of("a") == rows, "for people to look at"


@pytest.mark.parametrize("seed", range(24))
def test_whatever_happens_to_links_and_nodes_no_image_is_wrong_and_all_agree_in_the_end(seed: int) -> None:
    chance = random.Random(seed)
    small = {"frame_bytes_max": 300, "frames_in_flight_max": 3, "backlog_bytes_max": 20_000}
    chain = HomeChain("abc", seed, loss=chance.choice([0.0, 0.02, 0.2]), **(small if seed % 2 else {}))
    orders: list[int] = []
    for _ in range(60):
        _disturb(chain, chance, orders)
        chain.run(chance.choice([20, 100, 900]), news_max=chance.choice([1, 5, 1_000]))
        chain.check_no_image_is_wrong()
    chain.loss = 0.0
    for name in "abc":
        chain.connect(name)
    chain.run(12_000)
    chain.check_equal()
    after = [chain.order(name, publish(100)) for name in "abc"]
    chain.run(6_000)
    chain.check_equal()
    for name in "abc":
        assert not chain.followed[name].stale_since_ms, name
    assert all(isinstance(chain.answers[order], Done | Failed) for order in after)


def _disturb(chain: HomeChain, chance: random.Random, orders: list[int]) -> None:
    name = chance.choice("abc")
    match chance.randrange(10):
        case 0:
            chain.cut_links(name)
        case 1 | 2:
            chain.connect(name)
        case 3:
            chain.connect(name, f"{name}-always")
        case 4 if chain.links:
            chain.disconnect(chance.choice(sorted(chain.links)))
        case 5:
            chain.start(chance.choice([name, name, HOME]))
        case _:
            body = publish if chance.random() < 0.7 else withdraw
            orders += [chain.order(chance.choice("abc"), body(chance.randrange(6))) for _ in range(chance.randrange(8))]
