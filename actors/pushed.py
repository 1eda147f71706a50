"""The pushed watermark: up to which seq of an origin all subscribers of a node have been told.

It is the applied one where nobody is behind, else the lowest seq not yet told, less one. IndexManager says at once what
a batch touched, PushActor says later what is still untold of it. As long as a batch is not covered by PushActor's word,
its touches count as untold, so what is claimed here is never too high.

To the owner of an origin every rise is told, and who holds it up: with the acknowledgement of its delta where that is
enough, else with one of its own. It is repeated beside the digests, for a frame may be lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from actors.messages.distro import OwnersPushed, Touches
from actors.messages.io import PeerFrame
from actors.messages.peers import DeltaAck, PeerTag
from actors.messages.values import Origin, Watermark
from actors.peer_frames import encode_peer
from actors.peer_table import PeerTable

BATCHES_MAX = 64  # that PushActor has not spoken of; the newest ones are taken together when there are more


class PushedWatermarks:
    """Of every origin, as this node knows it."""

    def __init__(self) -> None:
        self.indexed: dict[Origin, int] = {}  # applied, and IndexManager has said what that touched
        self.laggards: dict[Origin, tuple[str, ...]] = {}
        self._untold: dict[Origin, int] = {}  # as PushActor last said
        self._batches: deque[Touches] = deque()  # since then
        self._lowest: dict[Origin, int] = {}  # over both

    def index(self, watermarks: Iterable[Watermark], touches: Touches | None) -> None:
        for origin, applied, _ in watermarks:
            self.indexed[origin] = max(applied, self.indexed.get(origin, 0))
        if touches is None:
            return
        self._batches.append(touches)
        if len(self._batches) > BATCHES_MAX:
            newest, before = self._batches.pop(), self._batches.pop()
            lowest: dict[Origin, int] = {}
            _lower(lowest, (*before.lowest, *newest.lowest))
            self._batches.append(Touches(newest.number, tuple(lowest.items())))
        _lower(self._lowest, touches.lowest)

    def told(self, message: OwnersPushed) -> None:
        while self._batches and self._batches[0].number <= message.number:
            self._batches.popleft()
        self._untold = dict(message.untold)
        self.laggards = dict(message.laggards)
        self._lowest = dict(self._untold)
        for touches in self._batches:
            _lower(self._lowest, touches.lowest)

    def lowest_untold(self, origin: Origin) -> int | None:
        return self._lowest.get(origin)

    def through(self, origin: Origin) -> int:
        indexed, lowest = self.indexed.get(origin, 0), self._lowest.get(origin)
        return indexed if lowest is None else min(indexed, lowest - 1)

    def purge(self, origins: Iterable[Origin]) -> None:
        """From now on they begin at seq 0 again. What subscribers have yet to be told of them stays untold."""
        for origin in origins:
            self.indexed.pop(origin, None)

    def check_invariants(self) -> None:
        numbers = [touches.number for touches in self._batches]
        assert numbers == sorted(set(numbers)), "batches come in order"
        assert len(numbers) <= BATCHES_MAX, "batches without an answer have a limit"
        assert all(self._lowest[origin] <= seq for origin, seq in self._untold.items()), "something untold is forgotten"
        assert self.laggards.keys() <= self._untold.keys(), "nobody holds up what is told"


class PushedNews:
    """What the owners of other origins have been told of this node's pushed watermarks."""

    def __init__(self, peers: PeerTable, watermarks: PushedWatermarks) -> None:
        self._peers = peers
        self._watermarks = watermarks
        self._sent: dict[Origin, tuple[int, tuple[str, ...]]] = {}

    def acknowledged(self, watermarks: Iterable[Watermark]) -> None:
        """These were just acknowledged to their owners, with all that was known."""
        for watermark in watermarks:
            if self._peers.has_owner(watermark.origin):
                self._sent[watermark.origin] = self._state(watermark.origin)

    def risen(self) -> list[PeerFrame]:
        """PushActor has spoken."""
        return self._tell(self._watermarks.indexed)

    def met(self) -> list[PeerFrame]:
        """Links have changed: what was sent on old ones may be lost."""
        self._sent.clear()
        return self._tell(self._watermarks.indexed)

    def repeated(self, nodes: Iterable[str]) -> list[PeerFrame]:
        """Once more to these."""
        wanted = set(nodes)
        self._sent = {origin: sent for origin, sent in self._sent.items() if origin.owner not in wanted}
        return self._tell(origin for origin in self._watermarks.indexed if origin.owner in wanted)

    def purge(self, origins: Iterable[Origin]) -> None:
        for origin in origins:
            self._sent.pop(origin, None)

    def _tell(self, origins: Iterable[Origin]) -> list[PeerFrame]:
        frames: list[PeerFrame] = []
        for origin in sorted(origins):
            if not self._peers.has_owner(origin):
                continue
            pushed, laggards = state = self._state(origin)
            before, named = self._sent.get(origin, (0, ()))
            if pushed > before or laggards != named:
                self._sent[origin] = state
                indexed = self._watermarks.indexed.get(origin, 0)
                ack = DeltaAck(origin.owner, origin.epoch, indexed, pushed, laggards=laggards)
                frames.append(PeerFrame(self._peers.peers[origin.owner].link, encode_peer(PeerTag.DELTA_ACK, ack)))
        return frames

    def _state(self, origin: Origin) -> tuple[int, tuple[str, ...]]:
        return self._watermarks.through(origin), self._watermarks.laggards.get(origin, ())


def _lower(lowest: dict[Origin, int], seqs: Iterable[tuple[Origin, int]]) -> None:
    for origin, seq in seqs:
        lowest[origin] = min(seq, lowest.get(origin, seq))
