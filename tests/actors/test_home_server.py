"""HomeServer: streams for followers, and what late, false and hostile words do to them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from actors.base import Effects, NodeIdentity, Now, Role, Tell
from actors.home_follower import HomeSettings
from actors.home_server import ITEMS_PER_FRAME_MAX, HomeServer
from actors.messages.distro import PeersChanged
from actors.messages.io import SendToPeers
from actors.messages.peers import (
    StoreCut,
    StoreFollow,
    StoreNews,
    StoreNewsAck,
    StoreOffered,
    StorePropose,
    StoreSettled,
)
from actors.messages.store import (
    NOTHING,
    ChangesSeen,
    Cut,
    CutTaken,
    FollowEnded,
    FollowOrdered,
    Operation,
    Outcome,
    Proposal,
    ProposalSettled,
    ProposalsMade,
    ProposalsSettled,
    Row,
    StoredChange,
    StoreFrameReceived,
    StoreSilent,
)
from actors.messages.values import Peer
from actors.peer_frames import PEER_FRAME_BYTES_MAX, decode_peer
from tests.support.settings import settings_of

IDENTITY = NodeIdentity("home", 5, "test", "h:1", "h:2", 256, store="home")


class ServerBench:
    def __init__(self, **overrides: Any) -> None:
        self.actor = HomeServer(IDENTITY, settings_of("home", HomeSettings, **overrides), "s1", random.Random(1))
        self.frames: list[tuple[str, Any]] = []
        self.ordered: list[Any] = []  # of the store port
        [reminder] = self.actor.start(Now(0, 0))
        self.offer_due: Any = reminder.message  # type: ignore[union-attr]
        self.peers(Peer("a", 1, "la"), Peer("b", 1, "lb"))

    def handle(self, message: Any) -> Effects:
        self.frames, self.ordered = [], []
        effects = self.actor.handle(message, Now(0, 0))
        for effect in effects:
            match effect:
                case Tell(Role.IO, SendToPeers(frames)):
                    assert all(len(frame.payload) <= PEER_FRAME_BYTES_MAX for frame in frames)
                    self.frames += [(frame.link, decode_peer(frame.payload)) for frame in frames]
                case Tell(Role.STORE, told):
                    self.ordered.append(told)
        self.actor.check_invariants()
        return effects

    def peers(self, *peers: Peer) -> None:
        self.handle(PeersChanged(peers, ()))

    def receive(self, link: str, body: Any) -> None:
        self.handle(StoreFrameReceived(link, body))

    def follow(self, stream: int = 10, after: int = NOTHING, store: str = "", link: str = "la") -> str:
        self.receive(link, StoreFollow(stream, after, store))
        return str(self.ordered[-1].follower)

    def offers(self) -> dict[str, tuple[int, int]]:
        self.handle(self.offer_due)
        return {link: (body.stream, body.sent) for link, body in self.frames if isinstance(body, StoreOffered)}


def change(index: int, size: int = 10) -> StoredChange:
    return StoredChange(index, (Operation(f"note {index}", b"x" * size),))


def news(follower: str, *indices: int) -> ChangesSeen:
    return ChangesSeen(tuple(change(index) for index in indices), indices[-1], follower)


@pytest.fixture
def bench() -> ServerBench:
    return ServerBench()


def test_the_store_is_offered_to_whoever_comes_and_then_at_a_rhythm(bench: ServerBench) -> None:
    bench.peers(Peer("a", 1, "la"), Peer("b", 1, "lb"), Peer("c", 1, "lc"))
    assert [(link, body.store) for link, body in bench.frames] == [("lc", "s1")]
    assert bench.offers() == {"la": (0, 0), "lb": (0, 0), "lc": (0, 0)}


def test_a_follower_is_sent_what_the_store_says_of_it(bench: ServerBench) -> None:
    name = bench.follow()
    assert bench.ordered == [FollowOrdered(name, NOTHING)]
    bench.handle(CutTaken(Cut((Row("k", b"v", 3),), 4), name))
    assert bench.frames == [("la", StoreCut(10, 1, "s1", 4, True, (Row("k", b"v", 3),)))]
    bench.handle(news(name, 5, 6))
    assert bench.frames == [("la", StoreNews(10, 2, 6, (change(5), change(6))))]
    assert bench.offers() == {"la": (10, 2), "lb": (0, 0)}


def test_an_empty_store_is_a_cut_too(bench: ServerBench) -> None:
    bench.handle(CutTaken(Cut((), 4), bench.follow()))
    assert bench.frames == [("la", StoreCut(10, 1, "s1", 4, True, ()))]


@pytest.mark.parametrize(("store", "after"), [("s1", 7), ("s2", NOTHING), ("", NOTHING)])
def test_an_index_counts_only_in_the_store_that_it_is_of(bench: ServerBench, store: str, after: int) -> None:
    name = bench.follow(after=7, store=store)
    assert bench.ordered == [FollowOrdered(name, after)]


def test_a_stream_says_nothing_before_the_store_has(bench: ServerBench) -> None:
    bench.follow()
    assert bench.offers()["la"] == (10, 0)
    assert all(isinstance(body, StoreOffered) for _, body in bench.frames)


def test_late_news_of_an_earlier_stream_is_not_sent_in_the_new_one(bench: ServerBench) -> None:
    early = bench.follow(10, 7, "s1")
    bench.handle(news(early, 8))
    late = bench.follow(11, 7, "s1")
    assert bench.ordered == [FollowEnded(early), FollowOrdered(late, 7)]
    bench.handle(news(early, 9))
    bench.handle(CutTaken(Cut((), 20), early))
    assert bench.frames == []
    bench.handle(news(late, 8, 9))
    assert bench.frames == [("la", StoreNews(11, 1, 9, (change(8), change(9))))]


def test_asking_again_before_the_store_has_answered_does_not_ask_the_store_again(bench: ServerBench) -> None:
    name = bench.follow(10)
    bench.receive("la", StoreFollow(11, NOTHING, ""))
    assert bench.ordered == []
    bench.handle(CutTaken(Cut((), 4), name))
    assert bench.frames == [("la", StoreCut(11, 1, "s1", 4, True, ()))]


def test_asking_again_from_elsewhere_before_the_store_has_answered_asks_it_again(bench: ServerBench) -> None:
    early = bench.follow(10, 3, "s1")
    late = bench.follow(11, 5, "s1")
    assert bench.ordered == [FollowEnded(early), FollowOrdered(late, 5)]


def test_an_order_that_comes_twice_begins_one_stream(bench: ServerBench) -> None:
    name = bench.follow(10, 0, "s1")
    bench.handle(news(name, 1))
    bench.receive("la", StoreFollow(10, 0, "s1"))
    assert (bench.ordered, bench.frames) == ([], [])
    assert bench.offers()["la"] == (10, 1)


def test_an_order_that_was_overtaken_is_ignored(bench: ServerBench) -> None:
    bench.peers(Peer("a", 1, "la"), Peer("a", 1, "la2"))
    bench.follow(11, link="la2")
    bench.receive("la", StoreFollow(10, 3, "s1"))
    assert (bench.ordered, bench.offers()["la"]) == ([], (11, 0))


def test_a_new_life_of_a_follower_may_count_from_below(bench: ServerBench) -> None:
    early = bench.follow(1_000)
    bench.handle(PeersChanged((Peer("a", 2, "la"),), ()))
    assert bench.ordered == [FollowEnded(early)]
    assert bench.follow(10) != early
    assert bench.offers() == {"la": (10, 0)}


def test_a_window_of_frames_is_under_way_and_the_rest_waits(bench: ServerBench) -> None:
    bench = ServerBench(frames_in_flight_max=2)
    name = bench.follow(10, 0, "s1")
    for index in (1, 2, 3, 4):
        bench.handle(news(name, index))
    assert bench.frames == []
    bench.receive("la", StoreNewsAck(10, 1))
    assert [body.number for _, body in bench.frames] == [3]
    for number, stream in ((1, 10), (4, 10), (9, 10), (2, 9), (2, 11)):  # 4 has not left yet
        ack = StoreNewsAck(stream, number)
        bench.receive("la", ack)
        assert bench.frames == [], "none of these makes room"
    bench.receive("la", StoreNewsAck(10, 3))
    assert [body.number for _, body in bench.frames] == [4]


def test_a_quiet_store_makes_no_frames_that_wait(bench: ServerBench) -> None:
    bench = ServerBench(frames_in_flight_max=1)
    name = bench.follow(10, 0, "s1")
    bench.handle(news(name, 1))
    for index in range(2, 500):
        bench.handle(ChangesSeen((), index, name))
    bench.receive("la", StoreNewsAck(10, 1))
    assert bench.frames == [("la", StoreNews(10, 2, 499, ()))]
    bench.receive("la", StoreNewsAck(10, 2))
    assert bench.frames == []


def test_what_is_known_already_makes_no_frame(bench: ServerBench) -> None:
    name = bench.follow(10, 0, "s1")
    bench.handle(news(name, 3))
    for index in (3, 2):
        bench.handle(ChangesSeen((), index, name))
        assert bench.frames == []


def test_an_offer_names_the_newest_change_that_any_follower_was_told(bench: ServerBench) -> None:
    first, second = bench.follow(10, 0, "s1"), bench.follow(10, 0, "s1", link="lb")
    bench.handle(news(first, 7))
    bench.handle(news(second, 5))
    bench.handle(bench.offer_due)
    assert [body.index for _, body in bench.frames] == [7, 7]


def test_for_a_follower_that_lags_far_behind_the_store_is_not_followed(bench: ServerBench) -> None:
    bench = ServerBench(frames_in_flight_max=1, backlog_bytes_max=3_000)
    name = bench.follow(10, 0, "s1")
    for index in (1, 2, 3):
        bench.handle(news(name, index))
        assert bench.ordered == []
    bench.handle(news(name, 4))
    assert bench.ordered == [FollowEnded(name)]
    bench.handle(news(name, 5))
    for number in (1, 2, 3):
        bench.receive("la", StoreNewsAck(10, number))
    [resumed] = bench.ordered
    assert resumed.after == 4
    bench.handle(news(resumed.follower, 5))
    bench.receive("la", StoreNewsAck(10, 4))
    assert [(body.number, body.index) for _, body in bench.frames] == [(5, 5)]


def test_a_change_that_no_frame_holds_makes_the_stream_go_on_with_a_cut(bench: ServerBench) -> None:
    name = bench.follow(10, 0, "s1")
    bench.handle(ChangesSeen((change(1, 800_000),), 1, name))
    ended, ordered = bench.ordered
    assert ended == FollowEnded(name)
    assert (bench.frames, ordered.after) == ([], NOTHING)
    bench.handle(CutTaken(Cut((), 1), ordered.follower))
    assert bench.frames == [("la", StoreCut(10, 1, "s1", 1, True, ()))]


def test_rows_are_cut_into_frames_that_everybody_takes(bench: ServerBench) -> None:
    rows = tuple(Row("𐍈" * 250 + f" {number:05}", b"", 1) for number in range(2_000))
    bench.handle(CutTaken(Cut(rows, 4), bench.follow()))
    assert [row for _, body in bench.frames for row in body.rows] == list(rows)
    assert [body.last for _, body in bench.frames] == [False] * (len(bench.frames) - 1) + [True]


def test_a_frame_has_a_limit_of_rows_and_of_operations_however_small_they_are() -> None:
    bench = ServerBench(frames_in_flight_max=100)
    name = bench.follow()
    rows = tuple(Row(f"{number}", b"", 1) for number in range(2 * ITEMS_PER_FRAME_MAX + 1))
    bench.handle(CutTaken(Cut(rows, 1), name))
    assert [len(body.rows) for _, body in bench.frames] == [ITEMS_PER_FRAME_MAX, ITEMS_PER_FRAME_MAX, 1]
    operations = tuple(Operation(f"{number}", None) for number in range(100))
    changes = tuple(StoredChange(index, operations) for index in range(2, 52))
    bench.handle(ChangesSeen(changes, 51, name))
    assert [len(body.changes) for _, body in bench.frames] == [ITEMS_PER_FRAME_MAX // 100, 10]


def test_a_second_cut_amid_the_first_ends_the_stream_so_that_the_follower_asks_anew() -> None:
    bench = ServerBench(frames_in_flight_max=1, frame_bytes_max=10)
    name = bench.follow()
    rows = (Row("k1", b"x" * 10, 1), Row("k2", b"x" * 10, 1))
    bench.handle(CutTaken(Cut(rows, 4), name))
    bench.handle(CutTaken(Cut(rows, 5), name))
    assert (bench.ordered, bench.frames) == ([FollowEnded(name)], [])
    assert bench.offers()["la"] == (0, 0)


def test_a_store_that_cannot_be_followed_is_not_said_to_be_served(bench: ServerBench) -> None:
    name = bench.follow(10, 0, "s1")
    bench.handle(news(name, 1))
    bench.handle(StoreSilent("the disk is gone", name))
    assert bench.offers()["la"] == (0, 0)
    bench.handle(ChangesSeen((), 2, name))
    assert bench.offers()["la"] == (10, 2)


def test_proposals_pass_on_and_their_answers_come_back(bench: ServerBench) -> None:
    proposal = Proposal(7, (Operation("k", b"v"),))
    bench.receive("la", StorePropose((proposal,)))
    assert bench.ordered == [ProposalsMade((proposal,), "la")]
    done, refused = ProposalSettled(7, Outcome(True, 9)), ProposalSettled(8, None, "unavailable", "full")
    bench.handle(ProposalsSettled((done, refused), "la"))
    [(link, body)] = bench.frames
    assert (link, type(body)) == ("la", StoreSettled)
    assert [(each.number, each.index, each.fault) for each in body.settled] == [(7, 9, ""), (8, 0, "unavailable")]
    bench.peers(Peer("b", 1, "lb"))
    bench.handle(ProposalsSettled((ProposalSettled(9, Outcome(True, 9)),), "la"))
    assert bench.frames == [], "nobody is there any more"


def test_many_long_answers_come_in_frames_that_a_peer_reads(bench: ServerBench) -> None:
    bench.peers(Peer("a", 1, "la"))
    bench.frames.clear()
    reason = "the disk is full " * 40
    refused = tuple(ProposalSettled(number, None, "unavailable", reason) for number in range(1, 10_001))
    bench.handle(ProposalsSettled(refused, "la"))
    assert [each.number for _, body in bench.frames for each in body.settled] == list(range(1, 10_001))


def test_proposals_that_break_the_rules_of_the_store_never_reach_it(bench: ServerBench) -> None:
    twice = Proposal(1, (Operation("k", b"v"), Operation("k", None)))
    large = Proposal(2, (Operation("k", b"v" * 600_000),))
    fine = Proposal(3, (Operation("k", b"v"),))
    bench.receive("la", StorePropose((twice, large, fine)))
    assert bench.ordered == [ProposalsMade((fine,), "la")]
    assert bench.actor.counters["store_proposals_refused"] == 2


def test_strangers_are_not_served(bench: ServerBench) -> None:
    for body in (StoreFollow(1, NOTHING, ""), StorePropose((Proposal(1, (Operation("k", None),)),))):
        bench.receive("nobody", body)
        assert (bench.ordered, bench.frames) == ([], [])


def test_no_frame_of_a_peer_makes_it_raise() -> None:
    bench, chance = ServerBench(frames_in_flight_max=2, backlog_bytes_max=5_000), random.Random(7)
    numbers = (0, 1, 2, 3, 1 << 60)
    index = 1
    for _ in range(5_000):
        link = chance.choice(["la", "lb", "lx"])
        body = chance.choice(
            [
                StoreFollow(chance.choice(numbers), chance.choice((-1, *numbers)), chance.choice(["", "s1", "s2"])),
                StoreNewsAck(chance.choice(numbers), chance.choice(numbers)),
                StorePropose(()),
                StorePropose((Proposal(1, ()), Proposal(1, (Operation("", b""),)))),
                StoreOffered("s2", chance.choice(numbers)),
                StoreSettled(()),
            ]
        )
        bench.receive(link, body)
        for order in bench.ordered:
            if isinstance(order, FollowOrdered) and chance.random() < 0.5:
                index += 1
                bench.handle(news(order.follower, index))
        if chance.random() < 0.02:
            bench.peers(
                *chance.sample([Peer("a", 1, "la"), Peer("a", 2, "la"), Peer("b", 1, "lb")][chance.randrange(2) :], 2)
            )
    assert bench.actor.counters["store_streams"] > 10
