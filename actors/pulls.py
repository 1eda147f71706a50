"""What this node has of every origin, and what it asks for: the receiving side of replication.

Digests say who is behind. The owner pushes by itself, so a node that is behind waits one digest, then pulls from the
owner, and from the relay that told it if that did not help either. What has no reachable owner is pulled from the
relay at once, and so is everything while this node loads. One pull is open per origin.

What is much, and what has to be looked at as a whole because its tombstones are gone or because it differs from what
the owner has (actors/differences.py), is pulled in parts (actors/parted_pulls.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from actors.buckets import comes_in_parts, must_be_pulled
from actors.differences import Differences
from actors.messages.distro import ChunkApplied, DeltaRejected, PartsExpected
from actors.messages.io import PeerFrame
from actors.messages.peers import Delta, DeltaAck, PeerTag, Pull
from actors.messages.values import DigestEntry, Origin, Watermark
from actors.parted_pulls import PartedPulls
from actors.peer_frames import encode_peer
from actors.peer_table import PeerTable
from actors.pushed import PushedWatermarks

PURGED_MAX = 10_000  # origins; the oldest are forgotten first


class ArrivingDelta:
    """A delta on its way in, by link and origin."""

    def __init__(self, upper: int, in_part: bool, now_ms: int) -> None:
        self.upper = upper
        self.in_part = in_part
        self.through = 0  # the seq up to which its chunks are in the record table
        self.heard_ms = now_ms


class OpenPull:
    def __init__(self, source: str, link: str, target: int, resumed: bool, now_ms: int) -> None:
        self.source = source
        self.link = link
        self.target = target
        self.resumed = resumed
        self.heard_ms = now_ms


class Gap(NamedTuple):
    """How far a peer was ahead when it was first seen to be."""

    target: int
    owner_asked: bool


class Broken(NamedTuple):
    """How far a transfer had come that broke. Of use only for a source that has at least what that one froze: what was
    superseded in the frozen range must come later in the new one."""

    through: int
    upper: int


class Incoming:
    def __init__(
        self,
        origin: Origin,
        peers: PeerTable,
        pushed: PushedWatermarks,
        parts: PartedPulls,
        counters: dict[str, int],
        *,
        arrival_ms: int,
        timeout_ms: int,
        interval_ms: int,
        part_records_max: int,
    ) -> None:
        self.origin = origin
        self.applied: dict[Origin, int] = {}  # and indexed
        self.pulls: dict[Origin, OpenPull] = {}
        self.arrivals: dict[tuple[str, Origin], ArrivingDelta] = {}
        self.loading = False
        self._peers = peers
        self._pushed = pushed
        self._parts = parts
        self._counters = counters
        self._arrival_ms = arrival_ms
        self._timeout_ms = timeout_ms
        self._interval_ms = interval_ms
        self._part_records_max = part_records_max
        self._differences = Differences(peers)
        self._pulled_ms: dict[Origin, int] = {}
        self._broken: dict[Origin, Broken] = {}
        self._gaps: dict[tuple[Origin, str], Gap] = {}
        self._goals: dict[str, dict[Origin, int]] = {}  # while loading: the first digest of each ready peer
        self._caught_up: set[str] = set()
        self._purged: dict[Origin, None] = {}  # until MemberManager lets them in again

    # -- what arrives

    def is_purged(self, origin: Origin) -> bool:
        """An owner that stood still does not know yet that it was given up. What it sends would be shown at once, also
        what died meanwhile, so nothing is taken before its heart beats again."""
        return origin in self._purged

    def turned_away(self, link: str, delta: Delta) -> list[PeerFrame]:
        """The sender may try again in a while."""
        return [self._ack(link, delta.origin, delta.upper, 0)] if delta.index == 0 else []

    def take(self, link: str, delta: Delta, now_ms: int) -> bool:
        """Note a chunk; False if its delta did not begin here or has been refused."""
        if delta.length and not self._parts.take(link, delta, now_ms):
            return False
        key = (link, delta.origin)
        arrival = self.arrivals.get(key)
        if delta.index == 0:
            arrival = self.arrivals[key] = ArrivingDelta(delta.upper, delta.length > 0, now_ms)
        elif arrival is None or arrival.upper != delta.upper:
            return False
        arrival.heard_ms = now_ms
        pull = self.pulls.get(delta.origin)
        if pull is not None and pull.link == link:
            pull.heard_ms = now_ms
        return True

    def chunk_applied(self, message: ChunkApplied, now_ms: int) -> list[PeerFrame]:
        """Let the sender go on: it keeps at most a window of chunks ahead of the record table."""
        arrival = self.arrivals.get((message.link, message.origin))
        if arrival is None:
            return []
        arrival.through = message.through
        if message.ended.length:
            del self.arrivals[message.link, message.origin]
            self._parts.part_ended(message.link, message.origin, message.ended, now_ms)
        return [self._ack(message.link, message.origin, arrival.upper, message.index + 1)]

    def parts_expected(self, message: PartsExpected, now_ms: int) -> None:
        have = self._indexed(message.origin, message.have)
        self._parts.expected(message.origin, have, message.sums, now_ms)

    def owners_applied(self, watermarks: Iterable[Watermark]) -> list[PeerFrame]:
        """Raise what this node has, acknowledge to whoever sent it, end the pulls that this completes."""
        acks: dict[tuple[str, Origin], PeerFrame] = {}
        for origin, applied, link in watermarks:
            here = self.applied[origin] = max(applied, self.applied.get(origin, 0))
            arrival = self.arrivals.get((link, origin))
            if arrival is not None and arrival.upper <= applied:
                del self.arrivals[link, origin]
            broken = self._broken.get(origin)
            if broken is not None and broken.upper <= here:
                del self._broken[origin]
            self._complete(origin, here)
            if link in self._peers:
                acks[link, origin] = self._ack(link, origin, applied, 0)
            if self._peers.has_owner(origin) and self._peers.node_of(link) != origin.owner:
                owner_link = self._peers.peers[origin.owner].link  # it need not push what a relay has brought
                acks[owner_link, origin] = self._ack(owner_link, origin, here, 0)
        return list(acks.values())

    def rejected(self, message: DeltaRejected) -> list[PeerFrame]:
        """Tell the sender what is here instead; a pull over this link has failed and waits for the next digest."""
        arrival = self.arrivals.pop((message.link, message.origin), None)
        self._parts.rejected(message.link, message.origin)
        pull = self.pulls.get(message.origin)
        was_resumed = False
        if pull is not None and pull.link == message.link:
            was_resumed = pull.resumed
            del self.pulls[message.origin]
        if arrival is not None and message.resume > 0 and not was_resumed:
            self._broken[message.origin] = Broken(message.resume, arrival.upper)
        if arrival is None or message.link not in self._peers:
            return []
        applied = self._indexed(message.origin, message.applied)
        ack = DeltaAck(message.origin.owner, message.origin.epoch, applied, upper=arrival.upper)
        return [PeerFrame(message.link, encode_peer(PeerTag.DELTA_ACK, ack))]

    # -- digests

    def note_round(self, entries: Iterable[DigestEntry]) -> None:
        """What ClientManager counted at this beat; it has passed the index since."""
        entries = [entry for entry in entries if entry.origin not in self._purged]
        self._differences.note_round(entries)
        for entry in entries:
            self.applied[entry.origin] = max(entry.applied, self.applied.get(entry.origin, 0))

    def compare(
        self, node_id: str, ready: bool, entries: Iterable[DigestEntry], now_ms: int
    ) -> tuple[list[PeerFrame], list[dict[str, Any]]]:
        """A peer's digest: what to pull, and the facts of each confirmed difference."""
        entries = tuple(entries)
        for entry in entries if self._purged else ():
            self._purged.pop(entry.origin, None)
        others = [entry for entry in entries if entry.owner != self.origin.owner or entry.epoch < self.origin.epoch]
        if self.loading:
            self._note_goal(node_id, ready, others)
        frames: list[PeerFrame] = []
        differences: list[dict[str, Any]] = []
        for entry in others:
            origin = entry.origin
            here = self.applied.get(origin, 0)
            if entry.applied > here:
                self._differences.forget(origin, node_id)
                frames += self._close_gap(entry, node_id, here, now_ms)
                continue
            self._gaps.pop((origin, node_id), None)
            if self._is_moving(origin, now_ms):
                self._differences.forget(origin, node_id)
            elif self._differences.is_confirmed(entry, node_id, here):
                frames += self._pull(entry, node_id, True, now_ms)
                differences.append(self._differences.facts(entry, node_id))
        return frames, differences

    def order_loading(self, loading: bool) -> None:
        self.loading = loading
        self._goals.clear()
        self._caught_up.clear()

    def take_caught_up(self) -> list[str]:
        """Ready peers whose first digest is now wholly here; each is named once."""
        done = [
            node_id
            for node_id, goal in sorted(self._goals.items())
            if all(self.applied.get(origin, 0) >= applied for origin, applied in goal.items())
        ]
        for node_id in done:
            del self._goals[node_id]
        self._caught_up.update(done)
        return done

    # -- time and loss

    def change_peers(self, now_ms: int) -> None:
        """Drop what came over links that are gone; remember how far it had come."""
        for key, arrival in list(self.arrivals.items()):
            if key[0] not in self._peers:
                self._break(key, arrival)
        self.pulls = {origin: pull for origin, pull in self.pulls.items() if pull.link in self._peers}
        present = self._peers.peers
        self._gaps = {key: gap for key, gap in self._gaps.items() if key[1] in present}
        self._differences.change_peers()
        self._parts.change_peers(now_ms)
        self._goals = {node_id: goal for node_id, goal in self._goals.items() if node_id in present}

    def expire(self, now_ms: int) -> None:
        for key, arrival in list(self.arrivals.items()):
            if arrival.heard_ms + self._arrival_ms <= now_ms:
                self._break(key, arrival)
        for origin, pull in list(self.pulls.items()):
            if pull.heard_ms + self._timeout_ms <= now_ms:
                self._counters["pulls_timed_out"] += 1
                del self.pulls[origin]
        self._parts.expire(now_ms)

    def deadlines(self) -> list[int]:
        deadlines = self._parts.deadlines()
        deadlines += [arrival.heard_ms + self._arrival_ms for arrival in self.arrivals.values()]
        deadlines += [pull.heard_ms + self._timeout_ms for pull in self.pulls.values()]
        return deadlines

    def purge(self, origins: Iterable[Origin]) -> None:
        gone = frozenset(origins)
        tables: list[dict[Origin, Any]] = [self.applied, self.pulls, self._pulled_ms, self._broken]
        for table in (*tables, *self._goals.values()):
            for origin in gone:
                table.pop(origin, None)
        self.arrivals = {key: arrival for key, arrival in self.arrivals.items() if key[1] not in gone}
        self._gaps = {key: gap for key, gap in self._gaps.items() if key[0] not in gone}
        self._differences.purge(gone)
        self._parts.purge(gone)
        self._purged |= dict.fromkeys(sorted(gone))
        for origin in list(self._purged)[:-PURGED_MAX]:
            del self._purged[origin]

    def check_invariants(self) -> None:
        self._parts.check_invariants()
        assert self.origin not in self.pulls.keys() | self._parts.pulls.keys(), "nobody pulls its own origin"
        assert not self.pulls.keys() & self._parts.pulls.keys(), "one pull is open per origin"
        assert all(pull.link in self._peers for pull in self.pulls.values()), "a pull goes to a current peer"
        assert all(link in self._peers for link, _ in self.arrivals), "what arrives comes from a current peer"
        assert not self._purged.keys() & self.applied.keys(), "nothing is known of a purged origin"
        assert not self._goals.keys() & self._caught_up, "a peer is caught up with once"

    # -- how

    def _indexed(self, origin: Origin, here: int) -> int:
        """Of what the record table has, as much as may be told: whatever a peer hears counts as acknowledged."""
        return min(here, self.applied.get(origin, 0))

    def _close_gap(self, entry: DigestEntry, node_id: str, here: int, now_ms: int) -> list[PeerFrame]:
        """Whom to ask for what is missing, if it is time to ask."""
        origin = entry.origin
        if origin in self._parts.pulls:
            self._parts.offer(entry, node_id, now_ms)
            return []
        if self._is_arriving(origin, now_ms):
            return []
        is_asked = origin in self._pulled_ms
        if not self._peers.has_owner(origin) or (self.loading and is_asked):
            return self._pull(entry, node_id, False, now_ms)
        if self.loading or must_be_pulled(here, entry.applied, entry.gc_floor, self._part_records_max):
            # The owner first: so the load is spread, and what it would push meanwhile is not sent twice.
            is_owner_asked = is_asked or self._is_sending(origin.owner, origin)
            return self._pull(entry, node_id if is_owner_asked else origin.owner, False, now_ms)
        gap = self._gaps.get((origin, node_id))
        if gap is None or here >= gap.target:
            self._gaps[origin, node_id] = Gap(entry.applied, owner_asked=False)
            return []
        source = node_id if gap.owner_asked or self._is_sending(origin.owner, origin) else origin.owner
        frames = self._pull(entry, source, False, now_ms)
        if frames:
            self._gaps[origin, node_id] = Gap(gap.target, owner_asked=True)
        return frames

    def _pull(self, entry: DigestEntry, source: str, full: bool, now_ms: int) -> list[PeerFrame]:
        """Open a pull unless one is open that moves, or the last one is too fresh."""
        origin, peer = entry.origin, self._peers.peers.get(source)
        pulled_ms = self._pulled_ms.get(origin)
        if peer is None or (pulled_ms is not None and now_ms < pulled_ms + self._interval_ms):
            return []
        if self._is_sending(source, origin):
            return []
        known = self.pulls.get(origin)
        if known is not None:
            # Another source takes over from one that keeps silent, though the link looks alive.
            patience_ms = self._timeout_ms if known.source == source else self._interval_ms
            if now_ms < known.heard_ms + patience_ms:
                return []
        self._pulled_ms[origin] = now_ms
        have, resume = self.applied.get(origin, 0), 0
        if full or comes_in_parts(have, entry.applied, entry.gc_floor, self._part_records_max):
            self.pulls.pop(origin, None)
            self._parts.begin(entry, source, full, now_ms)
            return []
        broken = self._broken.get(origin)
        if broken is not None and have < broken.through and broken.upper <= entry.applied:
            resume = broken.through
            del self._broken[origin]  # tried once: a source that cannot go on from there begins at ``have`` next time
        self.pulls[origin] = OpenPull(source, peer.link, entry.applied, resume > 0, now_ms)
        self._counters["pulls_sent"] += 1
        pull = Pull(origin.owner, origin.epoch, have, resume)
        return [PeerFrame(peer.link, encode_peer(PeerTag.PULL, pull))]

    def _is_arriving(self, origin: Origin, now_ms: int) -> bool:
        after_ms = now_ms - self._interval_ms
        heard_ms = [arrival.heard_ms for (_, arriving), arrival in self.arrivals.items() if arriving == origin]
        return max(heard_ms, default=after_ms) > after_ms

    def _is_sending(self, source: str, origin: Origin) -> bool:
        """A delta of it is under way from there, however slowly: asked again, the source would begin it anew."""
        return any(arriving == origin and self._peers.node_of(link) == source for link, arriving in self.arrivals)

    def _is_moving(self, origin: Origin, now_ms: int) -> bool:
        return origin in self.pulls or origin in self._parts.pulls or self._is_arriving(origin, now_ms)

    def _complete(self, origin: Origin, here: int) -> None:
        pull = self.pulls.get(origin)
        if pull is not None and here >= pull.target:
            del self.pulls[origin]
        self._parts.reached(origin, here)

    def _break(self, key: tuple[str, Origin], arrival: ArrivingDelta) -> None:
        del self.arrivals[key]
        if not arrival.in_part and arrival.through > self.applied.get(key[1], 0):
            self._broken[key[1]] = Broken(arrival.through, arrival.upper)

    def _note_goal(self, node_id: str, ready: bool, entries: list[DigestEntry]) -> None:
        """The first digest of a ready peer is the goal; what that peer has purged since is no longer part of it."""
        there = {entry.origin: entry.applied for entry in entries}
        goal = self._goals.get(node_id)
        if goal is not None:
            self._goals[node_id] = {
                origin: min(applied, there[origin]) for origin, applied in goal.items() if origin in there
            }
        elif ready and node_id not in self._caught_up:
            self._goals[node_id] = there

    def _ack(self, link: str, origin: Origin, upper: int, chunk: int) -> PeerFrame:
        applied = self.applied.get(origin, 0)
        pushed, laggards = self._pushed.through(origin), self._pushed.laggards.get(origin, ())
        ack = DeltaAck(origin.owner, origin.epoch, applied, pushed, upper, chunk, laggards)
        return PeerFrame(link, encode_peer(PeerTag.DELTA_ACK, ack))
