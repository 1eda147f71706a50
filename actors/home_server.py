"""HomeServer: the node that keeps the durable data of a cluster serves it to the others.

Owns: a stream for each follower: what waits to be sent, what it has acknowledged. Accepts: the frames of followers,
what the store port says of them, PeersChanged. Tells: the store port (whom to follow for, their proposals), I/O
(frames).

It knows no rows: the store port follows the store once for each follower, from where that one is, and this actor cuts
what comes into frames, a window of them under way. For a follower that lags too far the store is not followed until it
has what waits for it. Each offer says which stream
of the receiver is served and how far, so that whoever is served nothing, or not what was sent, asks anew from where it
is.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator
from typing import assert_never

import msgspec

from actors.base import Effect, Effects, Log, NodeIdentity, Now, Remind, Role, StatusRequested, Tell
from actors.home_follower import HomeSettings, operations_bytes
from actors.messages.distro import PeersChanged
from actors.messages.io import PeerFrame
from actors.messages.peers import (
    PeerTag,
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
    CutTaken,
    FollowEnded,
    FollowOrdered,
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
from actors.peer_frames import encode_peer, sending
from actors.peer_table import PeerTable

FRAME_BYTES_KEPT = 1_024  # that a frame takes in memory beside what it carries, roughly
_ANSWER_BYTES = 32  # of what became of a proposal, besides the reason
ITEMS_PER_FRAME_MAX = 4_096  # rows, or operations of changes: the decoder takes ten times as many


class _OfferDue(msgspec.Struct, frozen=True):
    """Time to say that the store is here."""


ServerInput = (
    StoreFrameReceived
    | CutTaken
    | ChangesSeen
    | StoreSilent
    | ProposalsSettled
    | PeersChanged
    | StatusRequested
    | _OfferDue
)


class _Stream:
    """What one follower is sent, on the link that its order came on."""

    def __init__(self, number: int, link: str, epoch: int, after: int, follower: str) -> None:
        self.number = number
        self.link = link
        self.epoch = epoch  # which life of the follower asked
        self.after = after
        self.follower = follower  # as the store port knows it: what is late for an earlier one has another name
        self.has_begun = False  # the store has said something
        self.is_paused = False  # the store port does not follow for it
        self.is_silent = False  # the store has said that it cannot be followed
        self.waiting: deque[tuple[PeerTag, StoreCut | StoreNews, int]] = deque()  # each with its bytes
        self.waiting_bytes = 0
        self.numbered = 0  # the last frame that was made
        self.sent = 0
        self.acknowledged = 0
        self.index = 0


class HomeServer:
    role = Role.HOME

    def __init__(self, identity: NodeIdentity, settings: HomeSettings, store: str, chance: random.Random) -> None:
        """``store``: the identity of the store that this node keeps."""
        del chance  # nothing here is left to chance
        self._own_node_id = identity.node_id
        self._settings = settings
        self._store = store
        self._index = 0  # the newest that was told to anybody
        self._peers = PeerTable()
        self._streams: dict[str, _Stream] = {}  # by node
        self._followers = 0  # names given so far
        self.counters = dict.fromkeys(("store_streams", "store_streams_paused", "store_proposals_refused"), 0)

    def start(self, now: Now) -> Effects:
        return [Remind(self._settings.offer_interval_ms, _OfferDue())]

    def handle(self, message: ServerInput, now: Now) -> Effects:
        match message:
            case StoreFrameReceived():
                return self._on_frame(message)
            case CutTaken():
                return self._on_cut(message)
            case ChangesSeen():
                return self._on_changes(message)
            case StoreSilent():
                return self._on_silent(message)
            case ProposalsSettled():
                return self._on_settled(message)
            case PeersChanged():
                return self._on_peers_changed(message)
            case StatusRequested():
                return [Tell(Role.HEALTH, message.with_counters(self.counters))]
            case _OfferDue():
                return self._on_offer_due()
            case _:
                assert_never(message)

    # -- what followers say

    def _on_frame(self, message: StoreFrameReceived) -> Effects:
        node_id = self._peers.node_of(message.link)
        if node_id is None:
            return []  # it will ask again when the handshake is known here
        match message.body:
            case StoreFollow():
                return self._on_follow(node_id, message.link, message.body)
            case StoreNewsAck():
                return self._on_ack(node_id, message.body)
            case StorePropose():
                return self._on_propose(message.link, message.body)
            case _:
                return []  # what only a home says: the sender believes to be one

    def _on_follow(self, node_id: str, link: str, order: StoreFollow) -> Effects:
        known = self._streams.get(node_id)
        if known is not None and order.stream <= known.number:
            return []
        after = order.after if order.store == self._store else NOTHING
        if known is not None and not known.has_begun and known.after == after:
            known.number, known.link = order.stream, link  # the store has been asked for just this
            return []
        self.counters["store_streams"] += 1
        dropped = self._drop(node_id)
        stream = _Stream(order.stream, link, self._peers.peers[node_id].epoch, after, self._name(node_id))
        self._streams[node_id] = stream
        return [*dropped, Tell(Role.STORE, FollowOrdered(stream.follower, after))]

    def _on_ack(self, node_id: str, ack: StoreNewsAck) -> Effects:
        stream = self._streams.get(node_id)
        if stream is None or ack.stream != stream.number or not stream.acknowledged < ack.number <= stream.sent:
            return []
        stream.acknowledged = ack.number
        frames = self._sendable(stream)
        resumed = self._resume(stream) if stream.is_paused and not stream.waiting else []
        return [*sending(frames), *resumed]

    def _on_propose(self, link: str, message: StorePropose) -> Effects:
        """What no follower of this version sends is not answered: it may break every rule of the store."""
        fitting = tuple(proposal for proposal in message.proposals if self._is_fitting(proposal))
        self.counters["store_proposals_refused"] += len(message.proposals) - len(fitting)
        return [Tell(Role.STORE, ProposalsMade(fitting, asker=link))] if fitting else []

    def _is_fitting(self, proposal: Proposal) -> bool:
        keys = {operation.key for operation in proposal.operations}
        is_small = operations_bytes(proposal.operations) <= self._settings.proposal_bytes_max
        return is_small and len(keys) == len(proposal.operations)

    # -- what the store port says

    def _on_cut(self, message: CutTaken) -> Effects:
        node_id, stream = self._stream_of(message.follower)
        if stream is None:
            return []
        if any(tag == PeerTag.STORE_CUT for tag, _, _ in stream.waiting):
            return self._drop(node_id)  # two cuts at once: it learns from the next offer that it has to ask anew
        stream.has_begun, stream.is_silent = True, False
        pieces = list(_pieces_of_rows(message.cut.rows, self._settings.frame_bytes_max)) or [((), 0)]
        index = message.cut.index
        for place, (rows, size) in enumerate(pieces, 1):
            stream.numbered += 1
            body = StoreCut(stream.number, stream.numbered, self._store, index, place == len(pieces), rows)
            stream.waiting.append((PeerTag.STORE_CUT, body, size))
        stream.index = index
        return sending(self._sendable(stream))

    def _on_changes(self, message: ChangesSeen) -> Effects:
        node_id, stream = self._stream_of(message.follower)
        if stream is None:
            return []
        stream.has_begun, stream.is_silent = True, False
        self._index = max(self._index, message.index)
        changes_max = self._settings.proposal_bytes_max
        if any(operations_bytes(change.operations) > changes_max for change in message.changes):
            return self._order_cut(node_id, stream)
        for changes, size in _pieces_of_changes(message.changes, self._settings.frame_bytes_max):
            self._append(stream, changes, changes[-1].index, size)
        if message.index > stream.index:
            self._append(stream, (), message.index, 0)
        paused = self._pause(node_id, stream) if stream.waiting_bytes > self._settings.backlog_bytes_max else []
        return [*paused, *sending(self._sendable(stream))]

    def _on_silent(self, message: StoreSilent) -> Effects:
        _, stream = self._stream_of(message.follower)
        if stream is not None:
            stream.is_silent = True  # so the next offers do not say that it is served
        return []

    def _on_settled(self, message: ProposalsSettled) -> Effects:
        if message.asker not in self._peers:
            return []
        frames = [
            PeerFrame(message.asker, encode_peer(PeerTag.STORE_SETTLED, StoreSettled(answers)))
            for answers in _pieces_of_answers(map(_answer_of, message.settled), self._settings.frame_bytes_max)
        ]
        return sending(frames)

    # -- links and time

    def _on_peers_changed(self, message: PeersChanged) -> Effects:
        before = self._peers.peers
        self._peers.replace(message.peers, self._own_node_id)
        gone = [node_id for node_id, stream in sorted(self._streams.items()) if not self._is_reached(node_id, stream)]
        dropped = [effect for node_id in gone for effect in self._drop(node_id)]
        news = [peer for node_id, peer in sorted(self._peers.peers.items()) if before.get(node_id) != peer]
        return [*dropped, *sending([self._offer(peer) for peer in news])]

    def _on_offer_due(self) -> Effects:
        frames = [self._offer(peer) for _, peer in sorted(self._peers.peers.items())]
        return [*sending(frames), Remind(self._settings.offer_interval_ms, _OfferDue())]

    def _is_reached(self, node_id: str, stream: _Stream) -> bool:
        return self._peers.node_of(stream.link) == node_id and self._peers.peers[node_id].epoch == stream.epoch

    def _offer(self, peer: Peer) -> PeerFrame:
        stream = self._streams.get(peer.node_id)
        served = (0, 0) if stream is None or stream.is_silent else (stream.number, stream.sent)
        return PeerFrame(peer.link, encode_peer(PeerTag.STORE_OFFERED, StoreOffered(self._store, self._index, *served)))

    # -- streams

    def _name(self, node_id: str) -> str:
        self._followers += 1
        return f"{node_id} {self._followers}"

    def _stream_of(self, follower: str) -> tuple[str, _Stream | None]:
        """The stream that this name stands for, unless the word is late."""
        node_id = follower.rpartition(" ")[0]
        stream = self._streams.get(node_id)
        return node_id, stream if stream is not None and stream.follower == follower else None

    def _drop(self, node_id: str) -> list[Effect]:
        stream = self._streams.pop(node_id, None)
        return [] if stream is None else [Tell(Role.STORE, FollowEnded(stream.follower))]

    def _pause(self, node_id: str, stream: _Stream) -> list[Effect]:
        self.counters["store_streams_paused"] += 1
        stream.is_paused = True
        ended, stream.follower = stream.follower, self._name(node_id)
        fact = Log("WARNING", "a follower of the store lags far behind", {"follower": node_id, "at": stream.index})
        return [fact, Tell(Role.STORE, FollowEnded(ended))]

    def _resume(self, stream: _Stream) -> list[Effect]:
        """From the index of the last frame that was made; if the log is gone by then, all rows come instead."""
        stream.is_paused = False
        return [Tell(Role.STORE, FollowOrdered(stream.follower, stream.index))]

    def _order_cut(self, node_id: str, stream: _Stream) -> list[Effect]:
        """A change that no frame can hold, as a restore makes: the stream goes on with all rows."""
        ended, stream.follower = stream.follower, self._name(node_id)
        return [Tell(Role.STORE, FollowEnded(ended)), Tell(Role.STORE, FollowOrdered(stream.follower))]

    def _append(self, stream: _Stream, changes: tuple[StoredChange, ...], index: int, size: int) -> None:
        stream.index = index
        if not changes and stream.waiting and isinstance(stream.waiting[-1][1], StoreNews):
            tag, body, size = stream.waiting.pop()
            stream.waiting.append((tag, msgspec.structs.replace(body, index=index), size))
            return
        stream.numbered += 1
        size += FRAME_BYTES_KEPT
        stream.waiting.append((PeerTag.STORE_NEWS, StoreNews(stream.number, stream.numbered, index, changes), size))
        stream.waiting_bytes += size

    def _sendable(self, stream: _Stream) -> list[PeerFrame]:
        frames: list[PeerFrame] = []
        while stream.waiting and stream.sent - stream.acknowledged < self._settings.frames_in_flight_max:
            tag, body, size = stream.waiting.popleft()
            stream.waiting_bytes -= size if tag == PeerTag.STORE_NEWS else 0
            stream.sent += 1
            frames.append(PeerFrame(stream.link, encode_peer(tag, body)))
        return frames

    def check_invariants(self) -> None:
        self._peers.check_invariants()
        for node_id, stream in self._streams.items():
            assert self._is_reached(node_id, stream), "a stream leads to nobody"
            assert stream.has_begun or not stream.numbered
            assert stream.acknowledged <= stream.sent <= stream.numbered
            assert stream.sent + len(stream.waiting) == stream.numbered, "frames are numbered without a gap"
            window = self._settings.frames_in_flight_max
            assert not stream.waiting or stream.sent - stream.acknowledged >= window, "something could be sent"


def _answer_of(settled: ProposalSettled) -> SettledProposal:
    outcome = settled.outcome
    applied, index = (False, 0) if outcome is None else (outcome.applied, outcome.index)
    return SettledProposal(settled.number, applied, index, settled.fault, settled.reason)


def _pieces_of_answers(answers: Iterable[SettledProposal], bytes_max: int) -> Iterator[tuple[SettledProposal, ...]]:
    piece: list[SettledProposal] = []
    size = 0
    for answer in answers:
        answer_bytes = _ANSWER_BYTES + len(answer.reason.encode())
        if piece and (size + answer_bytes > bytes_max or len(piece) == ITEMS_PER_FRAME_MAX):
            yield tuple(piece)
            piece, size = [], 0
        piece.append(answer)
        size += answer_bytes
    if piece:
        yield tuple(piece)


def _pieces_of_rows(rows: Iterable[Row], bytes_max: int) -> Iterator[tuple[tuple[Row, ...], int]]:
    piece: list[Row] = []
    size = 0
    for row in rows:
        row_bytes = len(row.key.encode()) + len(row.value)
        if piece and (size + row_bytes > bytes_max or len(piece) == ITEMS_PER_FRAME_MAX):
            yield tuple(piece), size
            piece, size = [], 0
        piece.append(row)
        size += row_bytes
    if piece:
        yield tuple(piece), size


def _pieces_of_changes(
    changes: Iterable[StoredChange], bytes_max: int
) -> Iterator[tuple[tuple[StoredChange, ...], int]]:
    """A change is never divided: it is of one index."""
    piece: list[StoredChange] = []
    size = items = 0
    for change in changes:
        change_bytes = operations_bytes(change.operations)
        is_full = size + change_bytes > bytes_max or items + len(change.operations) > ITEMS_PER_FRAME_MAX
        if piece and is_full:
            yield tuple(piece), size
            piece, size, items = [], 0, 0
        piece.append(change)
        size += change_bytes
        items += len(change.operations)
    if piece:
        yield tuple(piece), size
