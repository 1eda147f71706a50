"""MemberManager: the one liveness table.

Owns: the member list, the links to other nodes, the leases of all owners, the evidence of their death, and from these
what this node is good for (``Standing``). Accepts: messages/members.py. Tells: DistroSyncActor (peers, digests, loading),
IndexManager (hidden owners, standing), ClientManager (purged owners), ConnectionManager (standing, leaving), I/O.

The rules are in actors/links.py (who may be spoken to), actors/liveness.py (leases, hiding, purging), actors/roster.py
(what the members of the list are up to) and actors/readiness.py. Owners are judged at beats only, after the pause guard:
a node that was stopped itself handles its closed links and its mail before it declares anybody dead.
"""

from __future__ import annotations

import random
from typing import Any, Literal, assert_never

import msgspec

from actors.base import Effect, Log, NodeIdentity, Now, Remind, Role, StatusRequested, Tell, Terminate
from actors.links import LinkTable, PeerLink, refusal
from actors.liveness import Leases, Patience
from actors.messages.clients import OwnersPurged
from actors.messages.connections import SessionsShed, StandingChanged
from actors.messages.distro import CatchUpOrdered, DigestAccepted, DigestRound, FlushOrdered, PeersChanged
from actors.messages.index import OwnersVisible
from actors.messages.io import DialPeers, PeerFrame, SendToPeers
from actors.messages.members import (
    CaughtUp,
    DigestsTaken,
    Flushed,
    HeartbeatRaised,
    LeaveOrdered,
    LinkClosed,
    LinkOpened,
    MembersListed,
    PeerFrameReceived,
    SessionsGone,
)
from actors.messages.peers import Digest, Goodbye, Hello, LinkPing, LinkPong, PeerRefused, PeerTag, Welcome
from actors.messages.values import DigestEntry, Origin, Standing
from actors.peer_frames import encode_peer
from actors.readiness import Readiness, Sight, readiness
from actors.roster import Roster
from rollbook.errors import Code
from rollbook.status import MemberStatus

GOODBYE_LINGER_MS = 50  # so that the frames leave before the process does


class MembersSettings(msgspec.Struct, frozen=True):
    lease_ms: int
    isolation_ms: int
    suspect_ms: int
    hide_refused_ms: int
    hide_majority_ms: int
    hide_silent_ms: int
    graces_ms: tuple[int, ...]
    majority_wait_ms: int
    cold_start_wait_ms: int
    purged_memory_ms: int
    pong_timeout_ms: int
    leave_timeout_ms: int
    flush_timeout_ms: int

    @property
    def patience(self) -> Patience:
        return Patience(
            self.lease_ms,
            self.hide_refused_ms,
            self.hide_majority_ms,
            self.hide_silent_ms,
            tuple(sorted(self.graces_ms)),
            self.purged_memory_ms,
        )


class _LeaveOverdue(msgspec.Struct, frozen=True):
    """Leaving took too long: say goodbye with what is done."""


class _GoodbyeSent(msgspec.Struct, frozen=True):
    pass


MembersInput = (
    MembersListed
    | LinkOpened
    | LinkClosed
    | PeerFrameReceived
    | DigestsTaken
    | HeartbeatRaised
    | CaughtUp
    | LeaveOrdered
    | SessionsGone
    | Flushed
    | StatusRequested
    | _LeaveOverdue
    | _GoodbyeSent
)


class MemberManager:
    role = Role.MEMBERS

    def __init__(self, identity: NodeIdentity, settings: MembersSettings, chance: random.Random) -> None:
        del chance  # nothing here is left to chance
        self._me = identity
        self._settings = settings
        self._own = Origin(identity.node_id, identity.epoch)
        self._links = LinkTable(settings.pong_timeout_ms)
        self._leases = Leases(self._own, settings.patience)
        self._roster = Roster(identity, self._links, self._leases, settings.patience, settings.suspect_ms)
        self._stage: Literal["serving", "leaving", "flushing", "gone"] = "serving"
        self._heartbeat = 0
        self._held: dict[Origin, DigestEntry] = {}  # what the record table held at the last beat
        self._started_at_ms = 0
        self._beat_at_ms = 0
        self._suspended_until_ms = 0  # no expiry before this
        self._majority_at_ms = 0  # when a majority was last heard
        self._warming_until_ms = 0
        self._caught_up: set[str] = set()
        self._refused_at_ms: int | None = None  # since when others say that a living node has this node id
        self._is_welcomed = False
        self._warned: set[tuple[object, ...]] = set()
        # What the others were told last.
        self._peers = PeersChanged((), ())
        self._visible = OwnersVisible(())
        self._standing = Standing()
        self.counters = dict.fromkeys(
            (
                "beats",
                "pauses",
                "hellos_refused",
                "peer_frames_refused",
                "digest_entries_refused",
                "owners_purged",
            ),
            0,
        )

    def start(self, now: Now) -> list[Effect]:
        self._started_at_ms = self._beat_at_ms = self._majority_at_ms = now.monotonic_ms
        if self._me.standalone:
            self._standing = Standing(ready=True)
            return self._standing_told()
        self._standing = Standing(majority=False)
        return [Tell(Role.DISTRO, CatchUpOrdered(True)), *self._standing_told()]

    def handle(self, message: MembersInput, now: Now) -> list[Effect]:
        if self._stage == "gone" and not isinstance(message, _GoodbyeSent):
            return []
        match message:
            case MembersListed():
                return self._on_members_listed(message, now)
            case LinkOpened():
                self._links.opened(message.link, message.address)
                return [send((message.link, PeerTag.HELLO, self._hello(message.address))), *self._review(now)]
            case LinkClosed():
                self._links.closed(message.link, message.address, message.how)
                return self._review(now)
            case PeerFrameReceived():
                return self._on_peer_frame(message, now)
            case DigestsTaken():
                return self._on_digests_taken(message, now)
            case HeartbeatRaised():
                return self._on_heartbeat_raised(message, now)
            case CaughtUp():
                self._caught_up.add(message.node_id)
                return self._review(now)
            case StatusRequested():
                return self._on_status_requested(message, now)
            case LeaveOrdered() | SessionsGone() | Flushed() | _LeaveOverdue() | _GoodbyeSent():
                return self._on_leave(message, now)
            case _:
                assert_never(message)

    # The list.

    def _on_members_listed(self, message: MembersListed, now: Now) -> list[Effect]:
        self._roster.configure(message.addresses)
        effects: list[Effect] = [Tell(Role.IO, DialPeers(tuple(self._roster.members)))]
        if not self._me.standalone and self._me.peer_address not in message.addresses:
            effects += self._warn(
                "this node is not in its own member list; the others will refuse it", address=self._me.peer_address
            )
        return [*effects, *self._review(now)]

    # Frames of other nodes.

    def _on_peer_frame(self, frame: PeerFrameReceived, now: Now) -> list[Effect]:
        body = frame.body
        if isinstance(body, Hello):
            return self._on_hello(frame.link, body, now) if not frame.dialled_here else self._refuse_frame()
        if isinstance(body, Welcome):
            return self._on_welcome(frame.link, body, now)
        if isinstance(body, PeerRefused):
            return self._on_refused(frame.link, body, now)
        link = self._links.accepted(frame.link, self._roster.members)
        if link is None:
            return self._refuse_frame()
        match body:
            case LinkPing():
                return [send((link.name, PeerTag.PONG, LinkPong(body.number)))]
            case LinkPong():
                turned_usable = self._links.pong(link.name, body.number, now.monotonic_ms)
                return self._review(now) if turned_usable else []
            case Digest():
                return self._on_digest(link, body, now)
            case Goodbye():
                return self._on_goodbye(link, body, now)
            case _:
                assert_never(body)

    def _on_digest(self, link: PeerLink, digest: Digest, now: Now) -> list[Effect]:
        if (digest.node_id, digest.epoch) != (link.node_id, link.epoch):
            return self._refuse_frame()
        own_epoch = max((entry.epoch for entry in digest.entries if entry.owner == self._me.node_id), default=0)
        if own_epoch > self._me.epoch:
            return end_for_epoch(own_epoch)
        admitted = {
            entry.origin
            for entry in sorted(digest.entries, key=lambda entry: -entry.epoch)  # what is an orphan must be known first
            if self._leases.hear(entry.origin, entry.heartbeat, entry.age_ms, now.monotonic_ms, left=entry.left)
        }
        entries = tuple(entry for entry in digest.entries if entry.origin in admitted)
        self.counters["digest_entries_refused"] += len(digest.entries) - len(entries)
        self._roster.report(link.peer_address, digest, now.monotonic_ms)
        accepted = DigestAccepted(link.name, digest.node_id, digest.ready, entries)
        return [Tell(Role.DISTRO, accepted), *self._review(now)]

    def _on_goodbye(self, link: PeerLink, goodbye: Goodbye, now: Now) -> list[Effect]:
        if (goodbye.node_id, goodbye.epoch) != (link.node_id, link.epoch):
            return self._refuse_frame()
        self._leases.leave(Origin(goodbye.node_id, goodbye.epoch), now.monotonic_ms)
        self._links.release(goodbye.node_id, goodbye.epoch)
        return [Log("INFO", "a node has left", {"node_id": goodbye.node_id}), *self._review(now)]

    def _on_heartbeat_raised(self, message: HeartbeatRaised, now: Now) -> list[Effect]:
        if message.origin.owner == self._me.node_id and message.origin.epoch > self._me.epoch:
            return end_for_epoch(message.origin.epoch)
        self._leases.hear(message.origin, message.heartbeat, 0, now.monotonic_ms)
        return self._review(now)

    # The beat.

    def _on_digests_taken(self, message: DigestsTaken, now: Now) -> list[Effect]:
        effects = self._guard_pause(now)
        self._heartbeat += 1
        self.counters["beats"] += 1
        self._held = {entry.origin: entry for entry in message.entries}
        for origin in self._held:
            # A delta may come before the first digest; whatever is held must have a lease, or it would never end.
            if origin not in self._leases.lives:
                self._leases.hear(origin, 0, 0, now.monotonic_ms)
        if self._refused_at_ms is not None and now.monotonic_ms - self._refused_at_ms >= self._settings.lease_ms:
            advice = "give this one a data directory of its own"
            return self._end(EXIT_USAGE, f"another living node uses node id {self._me.node_id}; {advice}")
        effects += self._call_links(now)
        effects += self._judge(now)
        effects += self._review(now)
        return [*effects, Tell(Role.DISTRO, DigestRound(self._digest(now)))]

    def _guard_pause(self, now: Now) -> list[Effect]:
        gap_ms = now.monotonic_ms - self._beat_at_ms
        self._beat_at_ms = now.monotonic_ms
        if gap_ms <= self._settings.lease_ms // 3:
            return []
        self.counters["pauses"] += 1
        self._suspended_until_ms = now.monotonic_ms + self._settings.lease_ms
        return [Log("WARNING", "this node was paused; nothing expires for one lease", {"gap_ms": gap_ms})]

    def _call_links(self, now: Now) -> list[Effect]:
        """Ping who has shaken hands, greet the others again: frames may be lost."""
        frames: list[tuple[str, PeerTag, object]] = []
        for name in sorted(self._links.links):
            link = self._links.links[name]
            if self._links.accepted(name, self._roster.members) is not None:
                frames.append((name, PeerTag.PING, LinkPing(now.monotonic_ms)))
            elif link.dialled and not link.node_id:
                frames.append((name, PeerTag.HELLO, self._hello(link.dialled)))
        return [send(*frames)] if frames else []

    def _judge(self, now: Now) -> list[Effect]:
        """Hide and purge, unless this node has reason to doubt itself."""
        at_ms = now.monotonic_ms
        has_majority = self._roster.has_majority(at_ms)
        suspended = at_ms < self._suspended_until_ms
        if has_majority or suspended:
            self._majority_at_ms = at_ms
        if suspended:
            return []
        preserved = self._roster.is_preserving(at_ms, at_ms - self._started_at_ms)
        is_long = at_ms - self._majority_at_ms >= self._settings.isolation_ms
        isolated = not has_majority and (is_long or self._standing.isolated)
        effects = self._set_standing(preserved=preserved, isolated=isolated)
        if preserved:
            return effects
        self._leases.judge(lambda owner: self._roster.hide_after_ms(owner, at_ms), at_ms)
        purged = self._leases.purge(at_ms)
        if purged:
            self.counters["owners_purged"] += len(purged)
            told = OwnersPurged(purged)
            effects += [Log("INFO", "owners purged", {"origins": purged})]
            effects += [Tell(Role.CLIENTS, told), Tell(Role.DISTRO, told)]
        return effects

    def _digest(self, now: Now) -> Digest:
        origins = sorted([*self._leases.lives, self._own])
        return Digest(
            node_id=self._me.node_id,
            epoch=self._me.epoch,
            ready=self._standing.ready,
            leaving=self._standing.leaving,
            links=self._roster.evidence(now.monotonic_ms),
            entries=tuple(self._entry(origin, now) for origin in origins),
            started_cold=self._standing.warming,
            members=self._roster.identities(now.monotonic_ms),
        )

    # What follows from every change, told only if it is news.

    def _review(self, now: Now) -> list[Effect]:
        at_ms = now.monotonic_ms
        effects = [*self._tell_peers(at_ms), *self._tell_visible(at_ms)]
        has_majority = self._roster.has_majority(at_ms)
        effects += self._set_standing(
            majority=has_majority,
            isolated=self._standing.isolated and not has_majority,
            warming=at_ms < self._warming_until_ms,
            servers=self._roster.servers(at_ms),
        )
        return [*effects, *self._check_readiness(now)]

    def _tell_peers(self, at_ms: int) -> list[Effect]:
        current = {peer.node_id: peer.link for peer in self._peers.peers}
        peers = self._links.preferred(current, self._roster.members, at_ms)
        told = PeersChanged(peers, self._roster.living(at_ms))
        if told == self._peers:
            return []
        self._peers = told
        return [Tell(Role.DISTRO, told)]

    def _tell_visible(self, at_ms: int) -> list[Effect]:
        told = OwnersVisible(self._leases.hidden(at_ms))
        if told == self._visible:
            return []
        self._visible = told
        return [Log("INFO", "hidden owners changed", {"hidden": told.hidden}), Tell(Role.INDEX, told)]

    def _set_standing(self, **changes: Any) -> list[Effect]:
        before, self._standing = self._standing, msgspec.structs.replace(self._standing, **changes)
        if self._standing == before:
            return []
        effects: list[Effect] = []
        for name in ("isolated", "preserved"):
            if getattr(before, name) != getattr(self._standing, name):
                effects.append(Log("WARNING", f"{name} changed", {name: getattr(self._standing, name)}))
        return [*effects, *self._standing_told()]

    def _standing_told(self) -> list[Effect]:
        told = StandingChanged(self._standing)
        return [Tell(Role.INDEX, told), Tell(Role.CONNECTIONS, told)]

    def _check_readiness(self, now: Now) -> list[Effect]:
        """A node whose id may be another's, or that is about to go, does not become ready."""
        doubtful = self._refused_at_ms is not None or self._stage != "serving"
        if self._standing.ready or doubtful or not self._roster.is_listed:
            return []
        ready = self._roster.ready(now.monotonic_ms)
        waited_ms = now.monotonic_ms - self._started_at_ms
        sight = Sight(self._roster.configured, self._roster.reached, ready.keys(), self._caught_up, waited_ms)
        outcome = readiness(sight, self._settings.majority_wait_ms, self._settings.cold_start_wait_ms)
        if outcome is Readiness.LOADING:
            return []
        # Who caught up with nodes that have just started cold knows no more than they do.
        warming = all(ready.values()) and self._roster.configured > 1
        if warming:
            self._warming_until_ms = now.monotonic_ms + self._settings.lease_ms
        effects: list[Effect] = [Tell(Role.DISTRO, CatchUpOrdered(False))]
        effects += self._set_standing(ready=True, warming=warming)
        effects.append(Log("INFO", "ready", {"after_ms": waited_ms, "how": outcome.value}))
        return [*effects, *self._broadcast(now)]

    # Leaving.

    def _on_leave(
        self, message: LeaveOrdered | SessionsGone | Flushed | _LeaveOverdue | _GoodbyeSent, now: Now
    ) -> list[Effect]:
        match message, self._stage:
            case LeaveOrdered(), "serving":
                return self._begin_leaving(now)
            case SessionsGone(), "leaving":
                self._stage = "flushing"
                return [Tell(Role.DISTRO, FlushOrdered(self._settings.flush_timeout_ms))]
            case (Flushed(), "flushing") | (_LeaveOverdue(), "leaving" | "flushing"):
                return self._say_goodbye()
            case _GoodbyeSent(), "gone":
                return [Terminate(0, "left the cluster")]
        return []  # A step that has been taken already.

    def _begin_leaving(self, now: Now) -> list[Effect]:
        self._stage = "leaving"
        shed_ms = self._settings.leave_timeout_ms - self._settings.flush_timeout_ms
        return [
            Log("INFO", "leaving", {}),
            *self._set_standing(leaving=True),
            Tell(Role.CONNECTIONS, SessionsShed(shed_ms)),
            *self._broadcast(now),
            Remind(self._settings.leave_timeout_ms, _LeaveOverdue()),
        ]

    def _say_goodbye(self) -> list[Effect]:
        self._stage = "gone"
        names = [name for name in sorted(self._links.links) if self._links.links[name].node_id]
        frames = [(name, PeerTag.GOODBYE, Goodbye(*self._own)) for name in names]
        return [*([send(*frames)] if frames else []), Remind(GOODBYE_LINGER_MS, _GoodbyeSent())]

    # The status question.

    def _on_status_requested(self, message: StatusRequested, now: Now) -> list[Effect]:
        standing = self._standing
        me = self._me
        own = MemberStatus(me.node_id, me.peer_address, me.client_address, "self", standing.ready, me.epoch, 0)
        parts: dict[str, Any] = {"seq": 0, "sessions": 0, "records": 0, "owners": (), **message.parts}
        answer = message.with_parts(
            **parts,
        )
        return [Tell(Role.IO, answer)]

    # Small things.

    def _digest_frames(self, names: tuple[str, ...], now: Now) -> list[tuple[str, PeerTag, object]]:
        digest = self._digest(now)
        return [(name, PeerTag.DIGEST, digest) for name in names]

    def _broadcast(self, now: Now) -> list[Effect]:
        """What has just changed here is worth more than the rhythm."""
        frames = self._digest_frames(tuple(peer.link for peer in self._peers.peers), now)
        return [send(*frames)] if frames else []

    def _refuse_frame(self) -> list[Effect]:
        """A frame that this link may not send now; a restart makes some, so they cost nothing but a count."""
        self.counters["peer_frames_refused"] += 1
        return []

    def check_invariants(self) -> None:
        self._links.check_invariants()
        self._leases.check_invariants()
