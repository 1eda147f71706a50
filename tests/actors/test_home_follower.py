"""HomeFollower: which store is followed on which link, and what late, false and hostile frames do to it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from actors.base import Effects, NodeIdentity, Now, Remind, Role, Tell
from actors.home_follower import HomeFollower, HomeSettings
from actors.messages.distro import PeersChanged
from actors.messages.io import SendToPeers
from actors.messages.peers import (
    SettledProposal,
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
from actors.peer_frames import decode_peer
from tests.support.settings import settings_of

IDENTITY = NodeIdentity("n1", 5, "test", "h:1", "h:2", 256, store="away")
HOME_ON_A, HOME_ON_B = Peer("home", 1, "a"), Peer("home", 1, "b")
ROWS = (Row("k1", b"v", 3), Row("k2", b"v", 4))


class FollowerBench:
    def __init__(self, **overrides: Any) -> None:
        self.actor = HomeFollower(IDENTITY, settings_of("home", HomeSettings, **overrides), random.Random(1))
        self.ms = 1_000
        self.told: list[Any] = []  # to PersistentStore
        self.frames: list[tuple[str, Any]] = []
        [reminder] = self.actor.start(self.now)
        assert isinstance(reminder, Remind)
        self.look_due = reminder.message
        self.handle(FollowOrdered())
        self.peers(HOME_ON_A)

    @property
    def now(self) -> Now:
        return Now(self.ms, 1_700_000_000_000 + self.ms)

    def handle(self, message: Any) -> Effects:
        self.told, self.frames = [], []
        effects = self.actor.handle(message, self.now)
        for effect in effects:
            match effect:
                case Tell(Role.PERSISTENT, told):
                    self.told.append(told)
                case Tell(Role.IO, SendToPeers(frames)):
                    self.frames += [(frame.link, decode_peer(frame.payload)) for frame in frames]
        self.actor.check_invariants()
        return effects

    def peers(self, *peers: Peer) -> None:
        self.handle(PeersChanged(peers, ()))

    def receive(self, body: Any, link: str = "a") -> None:
        self.handle(StoreFrameReceived(link, body))

    def offer(self, stream: int = 0, sent: int = 0, store: str = "s1", link: str = "a") -> None:
        self.receive(StoreOffered(store, 0, stream, sent), link)

    def pass_time(self, ms: int) -> list[Any]:
        """In steps of the actor's rhythm; all that it tells meanwhile."""
        told: list[Any] = []
        for _ in range(0, ms, 1_000):
            self.ms += 1_000
            self.handle(self.look_due)
            told += self.told
        return told

    def adopt(self) -> int:
        """A home is here and its stream is asked for; its number."""
        self.offer()
        [(_, follow)] = self.frames
        assert isinstance(follow, StoreFollow)
        return follow.stream

    def load(self) -> int:
        stream = self.adopt()
        self.receive(StoreCut(stream, 1, "s1", 4, True, ROWS))
        return stream

    def propose(self, *numbers: int) -> None:
        self.handle(ProposalsMade(tuple(Proposal(number, (Operation("k", b"v"),)) for number in numbers)))


@pytest.fixture
def bench() -> FollowerBench:
    return FollowerBench()


def news(stream: int, number: int, index: int) -> StoreNews:
    return StoreNews(stream, number, index, (StoredChange(index, (Operation("k1", None),)),))


# -- the stream


def test_whoever_offers_the_store_is_asked_for_all_of_it(bench: FollowerBench) -> None:
    bench.offer()
    [(link, follow)] = bench.frames
    assert (link, follow.after, follow.store) == ("a", NOTHING, "")


def test_a_cut_in_pieces_is_handed_on_whole(bench: FollowerBench) -> None:
    stream = bench.adopt()
    bench.receive(StoreCut(stream, 1, "s1", 4, False, ROWS[:1]))
    assert (bench.told, bench.frames) == ([], [("a", StoreNewsAck(stream, 1))])
    bench.receive(StoreCut(stream, 2, "s1", 4, True, ROWS[1:]))
    assert bench.told == [CutTaken(Cut(ROWS, 4), store="s1")]


def test_news_is_handed_on_and_acknowledged(bench: FollowerBench) -> None:
    stream = bench.load()
    bench.receive(news(stream, 2, 7))
    assert bench.told == [ChangesSeen(news(stream, 2, 7).changes, 7)]
    assert bench.frames == [("a", StoreNewsAck(stream, 2))]


def test_after_a_gap_the_rest_is_asked_for_from_here(bench: FollowerBench) -> None:
    stream = bench.load()
    bench.receive(news(stream, 3, 8))
    [(_, follow)] = bench.frames
    assert (bench.told, follow.after, follow.store) == ([], 4, "s1")
    assert follow.stream > stream, "also within one millisecond"
    bench.receive(news(stream, 2, 7))
    assert (bench.told, bench.frames) == ([], []), "of an earlier stream"


def test_a_stream_of_which_nothing_arrives_is_not_asked_for_at_once(bench: FollowerBench) -> None:
    stream = bench.adopt()
    for number in (2, 3, 4):
        bench.receive(StoreCut(stream, number, "s1", 4, True, ROWS))
        assert (bench.told, bench.frames) == ([], [])
    bench.pass_time(1_000)
    assert [type(body) for _, body in bench.frames] == [StoreFollow]


def test_a_frame_that_came_over_another_link_is_not_of_this_stream(bench: FollowerBench) -> None:
    bench.peers(HOME_ON_A, HOME_ON_B)
    stream = bench.load()
    bench.receive(news(stream, 2, 9), "b")
    assert (bench.told, bench.frames) == ([], [])


def test_an_offer_of_another_stream_says_that_this_one_was_never_heard_of(bench: FollowerBench) -> None:
    stream = bench.load()
    bench.offer(stream - 1, 0)
    assert bench.frames == [], "it may have left before"
    bench.ms += 1_000
    bench.offer(stream - 1, 0)
    [(_, follow)] = bench.frames
    assert follow.stream > stream


def test_an_acknowledgement_that_may_be_lost_is_repeated_with_each_offer(bench: FollowerBench) -> None:
    stream = bench.load()
    bench.offer(stream, 1)
    assert bench.frames == [("a", StoreNewsAck(stream, 1))]


# -- silence


def test_a_home_whose_offers_say_that_nothing_is_missing_is_not_silent(bench: FollowerBench) -> None:
    stream = bench.load()
    for _ in range(8):
        bench.offer(stream, 1)
        assert bench.pass_time(1_000) == []


def test_a_home_that_is_still_reading_its_store_is_waited_for(bench: FollowerBench) -> None:
    stream = bench.adopt()
    for _ in range(8):
        bench.offer(stream, 0)
        assert bench.frames == []
        assert bench.pass_time(1_000) == []


@pytest.mark.parametrize("is_offered", [False, True])
def test_a_stream_of_which_something_is_missing_is_silent(bench: FollowerBench, is_offered: bool) -> None:
    stream = bench.load()
    told: list[Any] = []
    for _ in range(4):
        if is_offered:
            bench.offer(stream, 2)
        told += bench.pass_time(1_000)
    assert [type(each) for each in told] == [StoreSilent]
    bench.offer()
    assert [body.after for _, body in bench.frames] == [4], "and it is followed again from here"


def test_where_nobody_offers_a_store_it_is_said(bench: FollowerBench) -> None:
    assert bench.pass_time(4_000) == [StoreSilent("no node offers a store")]
    assert bench.pass_time(3_000) == [], "not at every look"
    assert len(bench.pass_time(1_000)) == 1


# -- links


def test_when_the_last_link_ends_the_store_is_silent(bench: FollowerBench) -> None:
    bench.load()
    bench.peers()
    assert [type(each) for each in bench.told] == [StoreSilent]


def test_when_one_of_two_links_ends_the_other_carries_on(bench: FollowerBench) -> None:
    bench.peers(HOME_ON_A, HOME_ON_B)
    bench.load()
    bench.peers(HOME_ON_B, HOME_ON_A)
    assert (bench.told, bench.frames) == ([], []), "preferred or not, it stands"
    bench.propose(1)
    bench.peers(HOME_ON_B)
    assert bench.told == [ProposalsSettled((ProposalSettled(1, None, "unknown", "its link has ended"),))]
    assert [(link, body.after) for link, body in bench.frames] == [("b", 4)]


# -- which store


def test_a_second_home_is_noticed_and_not_followed(bench: FollowerBench) -> None:
    bench.peers(HOME_ON_A, Peer("n9", 1, "z"))
    bench.load()
    effects = [bench.handle(StoreFrameReceived("z", StoreOffered("s1", 0))) for _ in range(3)]
    assert [len(each) for each in effects] == [1, 0, 0], "said once"
    bench.peers(HOME_ON_A)
    bench.peers(HOME_ON_A, Peer("n9", 1, "z"))
    assert len(bench.handle(StoreFrameReceived("z", StoreOffered("s1", 0)))) == 1, "and again when it has come again"
    bench.receive(news(1, 2, 9), "z")
    assert (bench.told, bench.frames) == ([], [])


def test_a_store_that_is_not_the_one_of_before_is_not_followed_while_the_home_is_away(bench: FollowerBench) -> None:
    bench.load()
    bench.peers(Peer("n9", 1, "z"))
    bench.offer(store="s2", link="z")
    assert bench.frames == []
    bench.peers(HOME_ON_A, Peer("n9", 1, "z"))
    bench.offer()
    assert [(link, body.after) for link, body in bench.frames] == [("a", 4)]


def test_a_home_whose_store_is_another_one_is_named(bench: FollowerBench) -> None:
    bench.load()
    bench.peers()
    bench.peers(Peer("home", 2, "a"))
    bench.offer(store="s2")
    assert bench.frames == []
    assert bench.pass_time(4_000)[-1] == StoreSilent("the node home offers another store than before")
    bench.offer(store="s1")
    assert bench.pass_time(8_000)[-1] == StoreSilent("the node home keeps the store, and is out of reach")


# -- proposals


def test_proposals_are_answered_by_what_the_home_says(bench: FollowerBench) -> None:
    bench.load()
    bench.propose(1, 2)
    [(link, body)] = bench.frames
    assert (link, type(body), len(body.proposals)) == ("a", StorePropose, 2)
    answers = (SettledProposal(1, True, 9), SettledProposal(2, False, 0, "unavailable", "x" * 5_000))
    bench.receive(StoreSettled(answers))
    done, refused = ProposalSettled(1, Outcome(True, 9)), ProposalSettled(2, None, "unavailable", "x" * 200)
    assert bench.told == [ProposalsSettled((done, refused))]
    bench.receive(StoreSettled(answers))
    assert bench.told == [], "once"


def test_without_a_home_nothing_was_written(bench: FollowerBench) -> None:
    bench.propose(1)
    assert bench.told == [ProposalsSettled((ProposalSettled(1, None, "unavailable", "no node offers a store"),))]


def test_a_proposal_without_an_answer_in_time_is_of_unknown_outcome(bench: FollowerBench) -> None:
    stream = bench.load()
    bench.propose(1)
    bench.offer(stream, 1)
    assert bench.pass_time(1_000) == []
    [overdue] = bench.pass_time(1_000)
    assert [each.fault for each in overdue.settled] == ["unknown"]
    bench.receive(StoreSettled((SettledProposal(1, True, 9),)))
    assert bench.told == [], "too late"


def test_what_no_frame_can_hold_is_refused_and_the_rest_is_parted(bench: FollowerBench) -> None:
    bench = FollowerBench(frame_bytes_max=250, proposal_bytes_max=300)
    bench.load()
    sizes = {1: 100, 2: 301, 3: 100, 4: 100}
    bench.handle(ProposalsMade(tuple(Proposal(n, (Operation("k", b"v" * size),)) for n, size in sizes.items())))
    [refused] = bench.told
    assert [(each.number, each.fault) for each in refused.settled] == [(2, "too_large")]
    assert [[each.number for each in body.proposals] for _, body in bench.frames] == [[1, 3], [4]]


def test_frames_of_proposals_are_filled_one_after_the_other() -> None:
    bench = FollowerBench(frame_bytes_max=250, proposal_bytes_max=300)
    bench.load()
    bench.handle(ProposalsMade(tuple(Proposal(n, (Operation("k", b"v" * 100),)) for n in (1, 2, 3, 4))))
    assert [[each.number for each in body.proposals] for _, body in bench.frames] == [[1, 2], [3, 4]]


# -- hostile frames


@pytest.mark.parametrize(
    "frame",
    [
        StoreCut(0, 2, "s2", 9, True, ()),  # of a store that was not offered
        StoreCut(0, 2, "s1", 9, True, (Row("k", b"", 10),)),  # a row from beyond
        StoreNews(0, 2, 9, (StoredChange(8, ()), StoredChange(7, ()))),  # not in order
        StoreNews(0, 2, 9, (StoredChange(4, ()),)),  # known already
        StoreNews(0, 2, 9, (StoredChange(10, ()),)),  # beyond what it says itself
        StoreNews(0, 2, 3, ()),  # backwards
    ],
)
def test_a_frame_that_cannot_be_true_is_counted_and_not_passed_on(bench: FollowerBench, frame: Any) -> None:
    stream = bench.load()
    bench.receive(type(frame)(stream, *(getattr(frame, name) for name in frame.__struct_fields__[1:])))
    assert (bench.told, bench.frames) == ([], [])
    assert bench.actor.counters["store_frames_refused"] == 1


def test_news_instead_of_a_cut_or_amid_one_is_no_image(bench: FollowerBench) -> None:
    stream = bench.adopt()
    bench.receive(news(stream, 1, 5))
    assert bench.told == []
    bench.pass_time(1_000)
    [(_, follow)] = bench.frames
    bench.receive(StoreCut(follow.stream, 1, "s1", 4, False, ROWS))
    bench.receive(news(follow.stream, 2, 5))
    assert bench.told == []
    assert bench.actor.counters["store_frames_refused"] == 2


def test_pieces_of_one_cut_are_of_one_index(bench: FollowerBench) -> None:
    stream = bench.adopt()
    bench.receive(StoreCut(stream, 1, "s1", 4, False, ROWS[:1]))
    bench.receive(StoreCut(stream, 2, "s1", 5, True, ROWS[1:]))
    assert (bench.told, bench.actor.counters["store_frames_refused"]) == ([], 1)


def test_news_amid_a_later_cut_is_no_image_either(bench: FollowerBench) -> None:
    stream = bench.load()
    bench.receive(StoreCut(stream, 2, "s1", 9, False, ROWS))
    bench.receive(news(stream, 3, 12))
    assert (bench.told, bench.actor.counters["store_frames_refused"]) == ([], 1)


def test_a_cut_without_end_is_let_go(bench: FollowerBench) -> None:
    bench = FollowerBench(cut_bytes_max=1_000)
    stream = bench.adopt()
    for number in range(1, 4):
        bench.receive(StoreCut(stream, number, "s1", 4, False, ROWS))
    assert bench.told == []
    bench.receive(StoreCut(stream, 4, "s1", 4, False, ROWS))
    [silent] = bench.told
    assert silent.reason.endswith("it holds more than 1000 bytes")


def test_no_frame_of_a_peer_makes_it_raise() -> None:
    bench, chance = FollowerBench(cut_bytes_max=3_000), random.Random(7)
    for _ in range(8_000):
        stream = chance.choice([bench.now.wall_ms, bench.now.wall_ms + 1, 0])
        number, index = chance.choice([1, 1, 2, 3, 1 << 60]), chance.choice([0, 4, 5, 1 << 60])
        changes = tuple(StoredChange(chance.randrange(9), ()) for _ in range(chance.randrange(3)))
        bodies = [
            StoreOffered(chance.choice(["s1", "s1", "s2"]), index, chance.choice([0, stream]), number),
            StoreCut(stream, number, "s1", index, chance.random() < 0.5, ROWS),
            StoreNews(stream, number, index, changes),
            StoreSettled((SettledProposal(number, True, index), SettledProposal(1, False, 0, "unknown"))),
            StoreFollow(stream, NOTHING, ""),
        ]
        bench.receive(chance.choice(bodies), chance.choice(["a", "a", "b", "z"]))
        if chance.random() < 0.05:
            bench.propose(1, 2)
        if chance.random() < 0.03:
            bench.pass_time(1_000)
        if chance.random() < 0.02:
            bench.peers(*chance.sample([HOME_ON_A, HOME_ON_B, Peer("n9", 1, "z")], chance.randrange(4)))
    assert bench.actor.counters["store_follows"] > 10
