"""Origins that are pulled in parts, by bucket: whom to ask for which, so that several sources carry a share each.

ClientManager first notes what is here, then parts are asked for: each source has one under way per origin and a few in
all, and gets the next when that is in. So a slow source carries less, one that fails hands its part back, and one that
is heard of later joins in. ClientManager claims the origin when every bucket has come, from whomever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from actors.buckets import scopes
from actors.messages.clients import ExpectParts, GiveUpParts
from actors.messages.io import PeerFrame
from actors.messages.peers import Delta, PeerTag, Pull
from actors.messages.values import DigestEntry, Origin, Scope
from actors.peer_frames import encode_peer
from actors.peer_table import PeerTable


class OpenPart:
    def __init__(self, link: str, scope: Scope, now_ms: int) -> None:
        self.link = link
        self.scope = scope
        self.heard_ms = now_ms


class PartedPull:
    def __init__(self, target: int, full: bool, waiting: Iterable[Scope], now_ms: int) -> None:
        self.target = target  # a source has at least this
        self.full = full
        self.waiting = deque(waiting)
        self.open: dict[str, OpenPart] = {}  # by source
        self.sources: dict[str, None] = {}
        self.have = 0
        self.sums: tuple[int, ...] | None = None  # until ClientManager has noted what is here
        self.moved_ms = now_ms


class PartedPulls:
    def __init__(
        self,
        peers: PeerTable,
        counters: dict[str, int],
        *,
        part_records_max: int,
        sources_max: int,
        parts_per_source_max: int,
        timeout_ms: int,
        patience_ms: int,
    ) -> None:
        self.pulls: dict[Origin, PartedPull] = {}
        self._peers = peers
        self._counters = counters
        self._part_records_max = part_records_max
        self._sources_max = sources_max
        self._parts_per_source_max = parts_per_source_max
        self._timeout_ms = timeout_ms
        self._patience_ms = patience_ms
        self._asks: list[ExpectParts | GiveUpParts] = []
        self._frames: list[PeerFrame] = []

    def take_asks(self) -> list[ExpectParts | GiveUpParts]:
        """What to tell ClientManager because of all that happened since."""
        asks, self._asks = self._asks, []
        return asks

    def take_frames(self) -> list[PeerFrame]:
        frames, self._frames = self._frames, []
        return frames

    # -- whom to ask

    def begin(self, entry: DigestEntry, source: str, full: bool, now_ms: int) -> None:
        """``full``: this node's copy differs, and that source's word counts."""
        waiting = scopes(entry.records, self._part_records_max)
        pull = self.pulls[entry.origin] = PartedPull(entry.applied, full, waiting, now_ms)
        pull.sources[source] = None
        if not full and self._peers.has_owner(entry.origin):
            pull.sources[entry.owner] = None
        self._asks.append(ExpectParts(entry.origin))
        self._counters["parted_pulls"] += 1

    def offer(self, entry: DigestEntry, node_id: str, now_ms: int) -> None:
        """A peer tells what it has: it may carry a share. If it has forgotten more than the others are sure to know,
        its part would not go with theirs; when nobody else is left, all begins anew with what it has."""
        pull = self.pulls[entry.origin]
        if pull.full or entry.applied < pull.target:
            return
        if entry.gc_floor <= pull.target:
            pull.sources[node_id] = None
            self._assign(now_ms)
        elif not pull.open:
            self.begin(entry, node_id, False, now_ms)

    # -- what comes

    def expected(self, origin: Origin, have: int, sums: tuple[int, ...], now_ms: int) -> None:
        pull = self.pulls.get(origin)
        if pull is not None:
            pull.have, pull.sums = have, sums
            self._assign(now_ms)

    def take(self, link: str, delta: Delta, now_ms: int) -> bool:
        """Note a chunk; False if nobody waits for this part on this link."""
        pull = self.pulls.get(delta.origin)
        part = self._part_on(pull, link)
        if pull is None or part is None or part.scope != delta.scope:
            return False
        part.heard_ms = pull.moved_ms = now_ms
        return True

    def part_ended(self, link: str, origin: Origin, scope: Scope, now_ms: int) -> None:
        """All of a part is in the record table."""
        pull = self.pulls.get(origin)
        part = self._part_on(pull, link)
        if pull is None or part is None or part.scope != scope:
            return
        pull.open = {node_id: other for node_id, other in pull.open.items() if other is not part}
        self._counters["parts_pulled"] += 1
        if not pull.waiting and not pull.open:
            self._drop(origin)  # ClientManager has claimed it, or a digest will say that it could not
        self._assign(now_ms)

    def reached(self, origin: Origin, applied: int) -> None:
        """Ordinary deltas may be faster than parts."""
        pull = self.pulls.get(origin)
        if pull is not None and not pull.full and applied >= pull.target:
            self._drop(origin)

    def rejected(self, link: str, origin: Origin) -> None:
        """ClientManager expects no such part: what came of this origin so far is of no use either."""
        if self._part_on(self.pulls.get(origin), link) is not None:
            self._drop(origin)

    # -- time and loss

    def change_peers(self, now_ms: int) -> None:
        for origin, pull in list(self.pulls.items()):
            pull.sources = {node_id: None for node_id in pull.sources if node_id in self._peers.peers}
            for node_id, part in list(pull.open.items()):
                if part.link not in self._peers:
                    self._hand_back(pull, node_id)
            if pull.full and not pull.sources:
                self._drop(origin)  # the only one whose word counts is gone
        self._assign(now_ms)

    def expire(self, now_ms: int) -> None:
        for origin, pull in list(self.pulls.items()):
            for node_id, part in list(pull.open.items()):
                if part.heard_ms + self._timeout_ms <= now_ms:
                    self._counters["pulls_timed_out"] += 1
                    self._hand_back(pull, node_id)
                    if len(pull.sources) > 1:
                        del pull.sources[node_id]  # until its next digest
            if pull.moved_ms + self._patience_ms <= now_ms:
                self._drop(origin)
        self._assign(now_ms)

    def deadlines(self) -> list[int]:
        deadlines: list[int] = []
        for pull in self.pulls.values():
            deadlines.append(pull.moved_ms + self._patience_ms)
            deadlines += [part.heard_ms + self._timeout_ms for part in pull.open.values()]
        return deadlines

    def purge(self, origins: Iterable[Origin]) -> None:
        for origin in origins:
            self.pulls.pop(origin, None)

    def check_invariants(self) -> None:
        for pull in self.pulls.values():
            assert all(part.link in self._peers for part in pull.open.values()), "a part comes from a current peer"
            assert pull.sources.keys() <= self._peers.peers.keys(), "a source is a current peer"
            assert len(pull.open) <= self._sources_max, "so many sources at a time"
        assert all(self._load(node_id) <= self._parts_per_source_max for node_id in self._peers.peers), "a fair share"

    # -- how

    def _assign(self, now_ms: int) -> None:
        """The next parts to the sources that have least to do."""
        for origin, pull in self.pulls.items():
            while pull.sums is not None and pull.waiting and len(pull.open) < self._sources_max:
                idle = [
                    (self._load(node_id), node_id)
                    for node_id in pull.sources
                    if node_id not in pull.open and self._load(node_id) < self._parts_per_source_max
                ]
                if not idle:
                    break
                self._ask(origin, pull, min(idle)[1], now_ms)

    def _ask(self, origin: Origin, pull: PartedPull, node_id: str, now_ms: int) -> None:
        assert pull.sums is not None, "what is here has been noted"
        scope, link = pull.waiting.popleft(), self._peers.peers[node_id].link
        pull.open[node_id] = OpenPart(link, scope, now_ms)
        sums = pull.sums[scope.first : scope.first + scope.length]
        body = Pull(*origin, pull.have, 0, pull.full, scope.first, scope.length, sums)
        self._frames.append(PeerFrame(link, encode_peer(PeerTag.PULL, body)))
        self._counters["pulls_sent"] += 1

    def _load(self, node_id: str) -> int:
        return sum(node_id in pull.open for pull in self.pulls.values())

    def _part_on(self, pull: PartedPull | None, link: str) -> OpenPart | None:
        parts = pull.open.values() if pull is not None else ()
        return next((part for part in parts if part.link == link), None)

    def _hand_back(self, pull: PartedPull, node_id: str) -> None:
        pull.waiting.appendleft(pull.open.pop(node_id).scope)

    def _drop(self, origin: Origin) -> None:
        del self.pulls[origin]
        self._asks.append(GiveUpParts(origin))
