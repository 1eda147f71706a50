"""HomeFollower: the store port of a node whose durable data another node keeps.

Owns: which link leads to the node that offers the store, the stream that is followed there, the proposals under way.
Accepts: messages/store.py (what PersistentStore tells its store port), the frames of the home, PeersChanged. Tells: I/O
(frames to the home), PersistentStore (what it would be told by a store of this node).

Frames may be lost and links end. The stream is numbered, belongs to one link, and with any gap it is asked for anew
from where this node is. Offers say whether it is served at all: they count as a sign of life while nothing of it is
missing. A proposal that was sent and has no answer in time, or whose link has ended, is of unknown outcome.

Once a store has been followed, only this one is: a member that takes itself for the home is no reason to forget.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import pairwise
from typing import assert_never

import msgspec

from actors.base import Effect, Effects, Log, NodeIdentity, Now, Remind, Role, StatusRequested, Tell
from actors.messages.distro import PeersChanged
from actors.messages.io import PeerFrame
from actors.messages.peers import (
    PeerTag,
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
    StoreFrameReceived,
    StoreSilent,
)
from actors.peer_frames import encode_peer, sending
from actors.peer_table import PeerTable
from rollbook.codec import REASON_LENGTH_MAX

ROW_BYTES_KEPT = 150  # that a row takes in memory beside its key and value, roughly


class HomeSettings(msgspec.Struct, frozen=True):
    """Section ``home``: of the node that keeps the store for all, and of those that follow it."""

    offer_interval_ms: int
    silence_ms: int
    propose_timeout_ms: int
    frame_bytes_max: int
    proposal_bytes_max: int
    frames_in_flight_max: int
    backlog_bytes_max: int
    cut_bytes_max: int


class _HomeLookDue(msgspec.Struct, frozen=True):
    """Time to see whether the home is silent, and which proposals are overdue."""


FollowerInput = (
    ProposalsMade | FollowOrdered | FollowEnded | StoreFrameReceived | PeersChanged | StatusRequested | _HomeLookDue
)


class HomeFollower:
    role = Role.STORE

    def __init__(self, identity: NodeIdentity, settings: HomeSettings, chance: random.Random) -> None:
        del chance  # nothing here is left to chance
        self._own_node_id = identity.node_id
        self._settings = settings
        self._peers = PeerTable()
        self._home = ""  # the node that offers the store
        self._link = ""  # to it; empty while there is none
        self._strangers: set[str] = set()  # other nodes that offer one too, and whoever offers another store
        self._offered = ""  # the store that is offered on this link
        self._store = ""  # the one that was followed last
        self._after = NOTHING
        self._is_wanted = False
        self._stream = 0
        self._number = 0  # of the last frame of the stream
        self._is_broken = False  # the stream is of no use from its very beginning; it is not asked for again at once
        self._pieces: list[Row] = []  # of a cut that is arriving
        self._pieces_bytes = 0
        self._pieces_index = 0
        self._asked_ms = 0  # when the stream was asked for
        self._heard_ms = 0  # when something of the stream came, or an offer said that nothing is missing
        self._proposals: dict[int, int] = {}  # sent: when each is overdue
        self.counters = dict.fromkeys(("store_follows", "store_frames_refused", "store_offers_refused"), 0)

    def start(self, now: Now) -> Effects:
        self._heard_ms = now.monotonic_ms
        return [Remind(self._settings.offer_interval_ms, _HomeLookDue())]

    def handle(self, message: FollowerInput, now: Now) -> Effects:
        match message:
            case ProposalsMade():
                return self._on_proposals(message, now)
            case FollowOrdered() | FollowEnded():
                self._is_wanted = isinstance(message, FollowOrdered)
                return self._follow(now)
            case StoreFrameReceived():
                return self._on_frame(message, now)
            case PeersChanged():
                return self._on_peers_changed(message, now)
            case StatusRequested():
                return [Tell(Role.HEALTH, message.with_counters(self.counters))]
            case _HomeLookDue():
                return self._on_look(now)
            case _:
                assert_never(message)

    # -- proposals

    def _on_proposals(self, message: ProposalsMade, now: Now) -> Effects:
        if not self._link:
            reason = self._missing()
            told = (ProposalSettled(proposal.number, None, "unavailable", reason) for proposal in message.proposals)
            return [Tell(Role.PERSISTENT, ProposalsSettled(tuple(told)))]
        effects: list[Effect] = []
        frames: list[list[Proposal]] = [[]]
        size = 0
        for proposal in message.proposals:
            proposal_bytes = operations_bytes(proposal.operations)
            if proposal_bytes > self._settings.proposal_bytes_max:
                sentence = (
                    f"one order takes {proposal_bytes} bytes, and at most {self._settings.proposal_bytes_max} fit"
                )
                refused = ProposalSettled(proposal.number, None, "too_large", sentence)
                effects.append(Tell(Role.PERSISTENT, ProposalsSettled((refused,))))
                continue
            if frames[-1] and size + proposal_bytes > self._settings.frame_bytes_max:
                frames.append([])
                size = 0
            frames[-1].append(proposal)
            size += proposal_bytes
            self._proposals[proposal.number] = now.monotonic_ms + self._settings.propose_timeout_ms
        bodies = [StorePropose(tuple(frame)) for frame in frames if frame]
        return [*effects, *sending([self._frame(PeerTag.STORE_PROPOSE, body) for body in bodies])]

    # -- what the home says

    def _on_frame(self, message: StoreFrameReceived, now: Now) -> Effects:
        node_id = self._peers.node_of(message.link)
        if node_id is None:
            return []
        match message.body:
            case StoreOffered():
                return self._on_offered(node_id, message.link, message.body, now)
            case StoreCut() if message.link == self._link:
                return self._on_cut(message.body, now)
            case StoreNews() if message.link == self._link:
                return self._on_news(message.body, now)
            case StoreSettled() if node_id == self._home:
                return self._on_settled(message.body)
            case _:
                return []  # of a link that was, of a stranger, or a follower's: the sender takes this node for the home

    def _on_offered(self, node_id: str, link: str, offer: StoreOffered, now: Now) -> Effects:
        if (self._store or offer.store) != offer.store or (self._link and node_id != self._home):
            return self._on_strange_offer(node_id, offer)
        if self._link and offer.stream == self._stream:
            if offer.sent <= self._number:
                self._heard_ms = now.monotonic_ms
            return sending([self._ack()]) if self._number else []  # the last one may have been lost
        if self._link and now.monotonic_ms - self._asked_ms < self._settings.offer_interval_ms // 2:
            return []  # it left before the stream was asked for
        facts: list[Effect] = []
        if not self._link:
            facts.append(Log("INFO", "following the store of another node", {"home": node_id, "store": offer.store}))
            self._heard_ms = now.monotonic_ms
        self._home, self._link, self._offered = node_id, link, offer.store
        self._strangers.discard(node_id)
        return [*facts, *self._follow(now)]

    def _on_strange_offer(self, node_id: str, offer: StoreOffered) -> Effects:
        self.counters["store_offers_refused"] += 1
        if node_id in self._strangers:
            return []
        self._strangers.add(node_id)
        fields = {"node": node_id, "its store": offer.store, "home": self._home, "store": self._store}
        return [Log("ERROR", "a node offers a store that is not the one which is followed here", fields)]

    def _on_cut(self, piece: StoreCut, now: Now) -> Effects:
        if not self._is_next(piece.stream, piece.number):
            return self._again(piece.stream, now)
        if not self._is_sound_piece(piece):
            return self._refuse_stream()
        self._take(piece.number, now)
        self._pieces += piece.rows
        self._pieces_index = piece.index
        self._pieces_bytes += sum(len(row.key) + len(row.value) + ROW_BYTES_KEPT for row in piece.rows)
        if self._pieces_bytes > self._settings.cut_bytes_max:
            self.counters["store_frames_refused"] += 1
            return self._let_go(f"it holds more than {self._settings.cut_bytes_max} bytes")
        effects: list[Effect] = list(sending([self._ack()]))
        if piece.last:
            rows = tuple(self._pieces)
            self._pieces, self._pieces_bytes = [], 0
            self._store, self._after = piece.store, piece.index
            effects.append(Tell(Role.PERSISTENT, CutTaken(Cut(rows, piece.index), store=piece.store)))
        return effects

    def _on_news(self, news: StoreNews, now: Now) -> Effects:
        if not self._is_next(news.stream, news.number):
            return self._again(news.stream, now)
        if not self._is_sound_news(news):
            return self._refuse_stream()
        self._take(news.number, now)
        self._after = news.index
        return [Tell(Role.PERSISTENT, ChangesSeen(news.changes, news.index)), *sending([self._ack()])]

    def _on_settled(self, message: StoreSettled) -> Effects:
        told: list[ProposalSettled] = []
        for settled in message.settled:
            if self._proposals.pop(settled.number, None) is not None:
                outcome = None if settled.fault else Outcome(settled.applied, settled.index)
                reason = settled.reason[:REASON_LENGTH_MAX]
                told.append(ProposalSettled(settled.number, outcome, settled.fault, reason))
        return [Tell(Role.PERSISTENT, ProposalsSettled(tuple(told)))] if told else []

    # -- links and time

    def _on_peers_changed(self, message: PeersChanged, now: Now) -> Effects:
        self._peers.replace(message.peers, self._own_node_id)
        self._strangers &= self._peers.peers.keys()
        if not self._link or self._peers.node_of(self._link) == self._home:
            return []
        peer = self._peers.peers.get(self._home)
        if peer is None:
            return self._let_go("the link to it has ended")
        self._link = peer.link
        return [*self._lose_proposals("its link has ended"), *self._follow(now)]

    def _on_look(self, now: Now) -> Effects:
        effects: list[Effect] = [Remind(self._settings.offer_interval_ms, _HomeLookDue())]
        overdue = [number for number, due_ms in self._proposals.items() if due_ms <= now.monotonic_ms]
        for number in overdue:
            del self._proposals[number]
        if overdue:
            sentence = "the node that keeps the store did not answer in time"
            told = tuple(ProposalSettled(number, None, "unknown", sentence) for number in overdue)
            effects.append(Tell(Role.PERSISTENT, ProposalsSettled(told)))
        if self._is_broken:
            effects += self._follow(now)
        if now.monotonic_ms - self._heard_ms < self._settings.silence_ms:
            return effects
        self._heard_ms = now.monotonic_ms
        if self._link:
            return [*effects, *self._let_go("it is silent")]
        return [*effects, Tell(Role.PERSISTENT, StoreSilent(self._missing()))]

    def _let_go(self, reason: str) -> list[Effect]:
        """The home is out of reach until it offers its store again."""
        self._link, self._pieces, self._pieces_bytes = "", [], 0
        self._is_broken = False
        sentence = f"the node {self._home} keeps the store, and {reason}"
        return [*self._lose_proposals(sentence), Tell(Role.PERSISTENT, StoreSilent(sentence))]

    def _lose_proposals(self, reason: str) -> list[Effect]:
        lost, self._proposals = sorted(self._proposals), {}
        told = tuple(ProposalSettled(number, None, "unknown", reason) for number in lost)
        return [Tell(Role.PERSISTENT, ProposalsSettled(told))] if told else []

    # -- the stream

    def _follow(self, now: Now) -> list[Effect]:
        if not self._link or not self._is_wanted:
            return []
        self._stream = max(self._stream + 1, now.wall_ms)  # above those of earlier lives, which the home may remember
        self._number, self._is_broken, self._asked_ms = 0, False, now.monotonic_ms
        self._pieces, self._pieces_bytes = [], 0
        self.counters["store_follows"] += 1
        return sending([self._frame(PeerTag.STORE_FOLLOW, StoreFollow(self._stream, self._after, self._store))])

    def _is_next(self, stream: int, number: int) -> bool:
        return stream == self._stream and number == self._number + 1 and not self._is_broken

    def _take(self, number: int, now: Now) -> None:
        self._number, self._heard_ms = number, now.monotonic_ms

    def _is_sound_piece(self, piece: StoreCut) -> bool:
        """Of the store that was offered, and with those before it of one index."""
        is_of_one = piece.index == self._pieces_index or not self._pieces
        return is_of_one and piece.store == self._offered and all(row.index <= piece.index for row in piece.rows)

    def _is_sound_news(self, news: StoreNews) -> bool:
        """After what is here, in order, and not amid a cut or instead of one."""
        indices = [self._after, *(change.index for change in news.changes)]
        is_rising = all(before < after for before, after in pairwise(indices))
        return self._after != NOTHING and not self._pieces and is_rising and indices[-1] <= news.index

    def _again(self, stream: int, now: Now) -> list[Effect]:
        """Something of this stream was lost; frames of earlier ones only come late."""
        if stream != self._stream or self._is_broken:
            return []
        if self._number:
            return self._follow(now)
        self._is_broken = True  # nothing of it came: perhaps nothing ever will, so not at once
        return []

    def _refuse_stream(self) -> list[Effect]:
        """No home of this version sends that."""
        self.counters["store_frames_refused"] += 1
        self._is_broken = True
        return []

    def _ack(self) -> PeerFrame:
        return self._frame(PeerTag.STORE_NEWS_ACK, StoreNewsAck(self._stream, self._number))

    def _frame(self, tag: PeerTag, body: object) -> PeerFrame:
        return PeerFrame(self._link, encode_peer(tag, body))

    def _missing(self) -> str:
        if self._home in self._strangers:
            return f"the node {self._home} offers another store than before"
        return f"the node {self._home} keeps the store, and is out of reach" if self._home else "no node offers a store"

    def check_invariants(self) -> None:
        self._peers.check_invariants()
        assert self._link or not self._proposals, "a proposal is under way to nobody"


def operations_bytes(operations: Iterable[Operation]) -> int:
    return sum(len(operation.key.encode()) + len(operation.value or b"") for operation in operations)
