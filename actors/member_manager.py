"""MemberManager: the one liveness table.

Owns: the member list, the links to other nodes, the leases of all owners, the evidence of their death, and from these
what this node is good for (``Standing``). Accepts: messages/members.py. Tells: DistroSyncActor (peers, digests), I/O,
IndexManager (hidden owners, standing), ClientManager (purged owners), ConnectionManager (standing, leaving).

The rules are in actors/links.py (which links can be sent on), actors/handshake.py (who may speak on them),
actors/liveness.py (leases, hiding, purging), actors/roster.py (what the members are up to), actors/readiness.py and
actors/self_doubt.py. Owners are judged at beats only, after the pause guard: a node that was stopped itself handles
its closed links and its mail before it declares anybody dead.
"""

from __future__ import annotations

import random
from typing import Any, Literal, assert_never

import msgspec

from actors.base import Effect, Log, NodeIdentity, Now, Remind, Role, StatusRequested, Tell, Terminate
from actors.handshake import Handshakes, end_for_epoch
from actors.links import LinkTable, PeerLink, send
from actors.liveness import Leases
from actors.messages.clients import OwnersPurged
from actors.messages.connections import SessionsShed, StandingChanged
from actors.messages.distro import CatchUpOrdered, DigestAccepted, DigestRound, FlushOrdered, PeersChanged
from actors.messages.index import OwnersVisible
from actors.messages.io import Beat, DialPeers
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
from actors.messages.values import Origin, Standing
from actors.readiness import Readiness, Sight, readiness
from actors.roster import Roster, standing_name
from actors.self_doubt import SelfDoubt

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
        self._leases = Leases(self._own, settings)
        self._roster = Roster(identity, self._links, self._leases, settings)
        self._handshakes = Handshakes(identity, self._links, self._leases, self._roster)
        self._doubt = SelfDoubt(settings.lease_ms, settings.isolation_ms)
        self._stage: Literal["serving", "leaving", "flushing", "gone"] = "serving"
        self._started_at_ms = 0
        self._warming_until_ms = 0
        self._caught_up: set[str] = set()
        self._is_beat_asked = False  # a beat out of rhythm is on its way
        # What the others were told last.
        self._peers = PeersChanged((), ())
        self._visible = OwnersVisible(())
        self._standing = Standing()
        names = ("beats", "pauses", "peer_frames_refused", "digest_entries_refused", "owners_purged")
        self.counters = dict.fromkeys(names, 0)

    def start(self, now: Now) -> list[Effect]:
        self._started_at_ms = now.monotonic_ms
        self._doubt.start(now.monotonic_ms)
        if self._me.standalone:
            self._standing = Standing(ready=True)
            return self._standing_told()
        self._standing = Standing(majority=False)
        return [Tell(Role.DISTRO, CatchUpOrdered(True)), *self._standing_told()]

    def handle(self, message: MembersInput, now: Now) -> list[Effect]:
        if self._stage == "gone" and not isinstance(message, _GoodbyeSent):
            return []
        effects = self._route(message, now)
        if any(isinstance(effect, Terminate) for effect in effects):
            self._stage = "gone"
        return effects

    def _route(self, message: MembersInput, now: Now) -> list[Effect]:
        match message:
            case MembersListed():
                return self._on_members_listed(message, now)
            case LinkOpened():
                return [*self._handshakes.on_opened(message.link, message.address), *self._review(now)]
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
            effects += self._handshakes.warn("this node is not in its own member list", address=self._me.peer_address)
        return [*effects, *self._review(now)]

    # Links and the frames of other nodes.

    def _on_peer_frame(self, frame: PeerFrameReceived, now: Now) -> list[Effect]:
        body = frame.body
        if isinstance(body, Hello | Welcome | PeerRefused):
            return self._on_handshake(frame, body, now)
        link = self._links.accepted(frame.link, self._roster.members)
        if link is None:
            return self._refuse_frame()
        match body:
            case LinkPing():
                return [send((link.name, PeerTag.PONG, LinkPong(body.number)))]
            case LinkPong():
                turned_usable = self._links.pong(link.name, body.number, now.monotonic_ms)
                return [*self._review(now), *self._beat_now()] if turned_usable else []
            case Digest():
                return self._on_digest(link, body, now)
            case Goodbye():
                return self._on_goodbye(link, body, now)
            case _:
                assert_never(body)

    def _on_handshake(self, frame: PeerFrameReceived, body: Hello | Welcome | PeerRefused, now: Now) -> list[Effect]:
        if isinstance(body, Hello) == frame.dialled_here:
            return self._refuse_frame()  # Who dialled asks, the other answers.
        match body:
            case Hello():
                effects = self._handshakes.on_hello(frame.link, body, now)
            case Welcome():
                effects = self._handshakes.on_welcome(frame.link, body, now)
            case PeerRefused():
                return self._handshakes.on_refused(frame.link, body, now, serving=self._standing.ready)
            case _:
                assert_never(body)
        return [*effects, *self._review(now)]

    def _on_digest(self, link: PeerLink, digest: Digest, now: Now) -> list[Effect]:
        if (digest.node_id, digest.epoch) != (link.node_id, link.epoch):
            return self._refuse_frame()
        own_epoch = max((entry.epoch for entry in digest.entries if entry.owner == self._me.node_id), default=0)
        if own_epoch > self._me.epoch:
            return end_for_epoch(own_epoch)
        entries = self._leases.admit(digest.entries, now.monotonic_ms)
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
        self.counters["beats"] += 1
        self._is_beat_asked = False
        self._leases.hold(message.entries, now.monotonic_ms, proves_life=message.proves_life)
        ending = self._handshakes.give_way(now, self._settings.lease_ms)
        if ending:
            return ending
        effects = [*self._handshakes.call(now), *self._judge(now), *self._review(now)]
        return [*effects, Tell(Role.DISTRO, DigestRound(self._roster.digest(self._standing, now.monotonic_ms)))]

    def _judge(self, now: Now) -> list[Effect]:
        """Hide and purge, unless this node has reason to doubt itself."""
        at_ms = now.monotonic_ms
        effects = self._doubt_oneself(at_ms)
        if self._doubt.suspends(at_ms) or self._standing.preserved:
            return effects
        self._leases.judge(lambda owner: self._roster.hide_after_ms(owner, at_ms), at_ms)
        purged = self._leases.purge(at_ms)
        if purged:
            self.counters["owners_purged"] += len(purged)
            told = OwnersPurged(purged)
            log = Log("INFO", "owners purged", {"origins": purged})
            effects += [log, Tell(Role.CLIENTS, told), Tell(Role.DISTRO, told)]
        return effects

    def _doubt_oneself(self, at_ms: int) -> list[Effect]:
        effects: list[Effect] = []
        gap_ms = self._doubt.beat(at_ms)
        if gap_ms:
            self.counters["pauses"] += 1
            effects.append(Log("WARNING", "this node was paused; nothing expires for one lease", {"gap_ms": gap_ms}))
        self._doubt.note_majority(self._roster.has_majority(at_ms), at_ms)
        preserved = self._standing.preserved
        if not self._doubt.suspends(at_ms):
            preserved = self._roster.is_preserving(at_ms, at_ms - self._started_at_ms)
        return [*effects, *self._set_standing(preserved=preserved, isolated=self._doubt.is_isolated)]

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
        current = {peer.node_id: peer.link for peer in reversed(self._peers.peers)}
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
        changed = [name for name in ("isolated", "preserved") if getattr(before, name) != getattr(self._standing, name)]
        logs = [Log("WARNING", f"{name} changed", {name: getattr(self._standing, name)}) for name in changed]
        return [*logs, *self._standing_told()]

    def _standing_told(self) -> list[Effect]:
        told = StandingChanged(self._standing)
        return [Tell(Role.INDEX, told), Tell(Role.CONNECTIONS, told)]

    def _check_readiness(self, now: Now) -> list[Effect]:
        """A node whose id may be another's, or that is about to go, does not become ready."""
        doubtful = self._handshakes.is_doubtful or self._stage != "serving"
        if self._standing.ready or doubtful or not self._roster.is_listed:
            return []
        ready = self._roster.ready(now.monotonic_ms)
        waited_ms = now.monotonic_ms - self._started_at_ms
        roster = self._roster
        sight = Sight(roster.configured, roster.reached, roster.loading, ready.keys(), self._caught_up, waited_ms)
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
        return [*effects, *self._beat_now()]

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
            *self._beat_now(),
            Remind(self._settings.leave_timeout_ms, _LeaveOverdue()),
        ]

    def _say_goodbye(self) -> list[Effect]:
        self._stage = "gone"
        frames = [(name, PeerTag.GOODBYE, Goodbye(*self._own)) for name in self._links.shaken()]
        return [send(*frames), Remind(GOODBYE_LINGER_MS, _GoodbyeSent())]

    # The status question.

    def _on_status_requested(self, message: StatusRequested, now: Now) -> list[Effect]:
        """Complete what the answer needs; the I/O adds what it counts and answers."""
        standing = self._standing
        missing = {"seq": 0, "sessions": 0, "records": 0, "owners": ()}
        answer = message.with_parts(
            **{name: value for name, value in missing.items() if name not in message.parts},
            node_id=self._me.node_id,
            epoch=self._me.epoch,
            ready=standing.ready,
            standing=standing_name(standing),
            preserved=standing.preserved,
            members=self._roster.rows(now.monotonic_ms, standing.ready, message.parts.get("lags", {})),
            counters={**message.parts.get("counters", {}), **self._handshakes.counters, **self.counters},
        )
        return [Tell(Role.IO, answer)]

    # Small things.

    def _beat_now(self) -> list[Effect]:
        """What has just changed is worth more than the rhythm: a fresh cluster waits for digests. It is a whole beat,
        because a digest of the last one could be a second old, and who loads must not take it for the present."""
        if self._is_beat_asked:
            return []
        self._is_beat_asked = True
        return [Tell(Role.IO, Beat(0))]

    def _refuse_frame(self) -> list[Effect]:
        """A frame that this link may not send now; a restart makes some, so they cost nothing but a count."""
        self.counters["peer_frames_refused"] += 1
        return []

    def check_invariants(self) -> None:
        self._links.check_invariants()
        self._leases.check_invariants()
