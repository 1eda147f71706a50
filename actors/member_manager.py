"""MemberManager: the one liveness table.

Owns: the member list, the links to other nodes, the leases of all owners, the evidence of their death, and from these
what this node is good for (``Standing``). Accepts: messages/members.py. Tells: DistroSyncActor (peers, digests), I/O,
IndexManager (hidden owners, standing), ClientManager (purged owners, standing), ConnectionManager (standing, leaving),
BeatKeeper (peers, what is judged of nodes).

The rules stand beside it: links.py (which links can be sent on), handshake.py (who may speak on them), liveness.py
(leases, hiding, purging), roster.py (what the members are up to), swim.py and probing.py (above ten members),
loading.py and readiness.py (when this node may answer), self_doubt.py, judgement.py, departure.py, haste.py (what does
not wait for the next beat), session_balance.py (when sessions of all nodes are compared), announcements.py (what was
told last). Owners are judged at beats only, after the pause
guard: a node that was stopped itself handles its closed links and its mail before it declares anybody dead.
"""

from __future__ import annotations

import random
from typing import assert_never

import msgspec

from actors.announcements import Announcements
from actors.base import Effect, Log, NodeIdentity, Now, Role, StatusRequested, Tell, Terminate
from actors.departure import Departure, DepartureInput, GoodbyeSent, LeaveOverdue
from actors.handshake import Handshakes, end_for_epoch
from actors.haste import CatchUpDue, GreetDue, Haste, HasteDue, ReviewDue
from actors.judgement import Judgement
from actors.links import LinkTable, PeerLink, send
from actors.liveness import Leases
from actors.loading import Loading
from actors.member_status import completed
from actors.messages.beats import NodesJudged
from actors.messages.distro import CatchUpOrdered, DigestAccepted, DigestRound
from actors.messages.io import DialPeers
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
    SessionsCounted,
    SessionsGone,
)
from actors.messages.peers import (
    Digest,
    Goodbye,
    Hello,
    LinkPing,
    LinkPong,
    PeerRefused,
    PeerTag,
    ProbeAnswered,
    ProbeAsked,
    Welcome,
)
from actors.messages.store import StoreFollowed
from actors.messages.values import Origin, Standing
from actors.probing import FavourDue, ProbeDue, Prober
from actors.roster import Roster
from actors.self_doubt import SelfDoubt
from actors.session_balance import SessionBalance
from actors.swim import Suspicions


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
    swim_members_min: int
    gossip_round_ms: int
    probe_timeout_ms: int
    probe_helpers: int
    link_pings_max: int
    turn_pong_timeout_ms: int
    suspicion_ms: int
    suspicion_stretch: int
    accusers_refused: int
    accusers_silent: int
    health_max: int
    rebalance_interval_ms: int
    store_wait_ms: int


MembersInput = (
    MembersListed
    | LinkOpened
    | LinkClosed
    | PeerFrameReceived
    | DigestsTaken
    | HeartbeatRaised
    | CaughtUp
    | SessionsCounted
    | StoreFollowed
    | LeaveOrdered
    | SessionsGone
    | Flushed
    | StatusRequested
    | LeaveOverdue
    | GoodbyeSent
    | HasteDue
    | ProbeDue
    | FavourDue
)


class MemberManager:
    role = Role.MEMBERS

    def __init__(self, identity: NodeIdentity, settings: MembersSettings, chance: random.Random) -> None:
        self._me = identity
        self._settings = settings
        self._own = Origin(identity.node_id, identity.epoch)
        self._links = LinkTable(settings.pong_timeout_ms)
        self._leases = Leases(self._own, settings)
        self._suspicions = Suspicions(identity.node_id, self._leases, settings)
        self._roster = Roster(identity, self._links, self._leases, self._suspicions, settings)
        self._prober = Prober(self._links, self._leases, self._roster, self._suspicions, settings, chance)
        self._handshakes = Handshakes(identity, self._links, self._leases, self._roster)
        self._doubt = SelfDoubt(settings.lease_ms, settings.isolation_ms)
        self._haste = Haste()
        is_ready = identity.standalone and identity.store == "none"
        self._told = Announcements(Standing(ready=is_ready, majority=identity.standalone), identity)
        names = ("beats", "pauses", "peer_frames_refused", "digest_entries_refused", "owners_purged")
        self.counters = dict.fromkeys(names, 0)
        self._judgement = Judgement(self._leases, self._roster, self._doubt, self._told, self.counters)
        self._loading = Loading(identity, self._roster, self._handshakes, self._doubt, self._told, settings)
        self._balance = SessionBalance(self._roster, self._doubt, self._told, settings.rebalance_interval_ms)
        self._departure = Departure(self._own, self._links, self._told, settings)

    def start(self, now: Now) -> list[Effect]:
        self._doubt.start(now.monotonic_ms)
        if self._me.standalone:
            return self._told.tell_standing()
        return [Tell(Role.DISTRO, CatchUpOrdered(True)), *self._told.tell_standing()]

    def handle(self, message: MembersInput, now: Now) -> list[Effect]:
        if self._departure.stage == "gone" and not isinstance(message, GoodbyeSent):
            return []
        effects = self._route(message, now)
        if any(isinstance(effect, Terminate) for effect in effects):
            self._departure.stage = "gone"
        return effects

    def _route(self, message: MembersInput, now: Now) -> list[Effect]:
        match message:
            case MembersListed():
                return self._on_members_listed(message, now)
            case LinkOpened():
                return [*self._handshakes.on_opened(message.link, message.address), *self._review_soon(now)]
            case LinkClosed():
                return self._on_link_closed(message, now)
            case PeerFrameReceived():
                return self._on_peer_frame(message, now)
            case DigestsTaken():
                return self._on_digests_taken(message, now)
            case HeartbeatRaised():
                return self._on_heartbeat_raised(message, now)
            case CaughtUp() | SessionsCounted() | StoreFollowed():
                return self._on_own_state(message, now)
            case StatusRequested():
                return self._on_status_requested(message, now)
            case CatchUpDue() | GreetDue() | ReviewDue() | ProbeDue() | FavourDue():
                return self._on_due(message, now)
            case LeaveOrdered() | SessionsGone() | Flushed() | LeaveOverdue() | GoodbyeSent():
                return self._on_leave(message)
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

    def _on_link_closed(self, message: LinkClosed, now: Now) -> list[Effect]:
        address = self._links.closed(message.link, message.address, message.how)
        if self._roster.is_large and not self._doubt.suspends(now.monotonic_ms):
            self._prober.on_link_closed(address, now)
        return self._review_soon(now)

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
                return self._on_pong(link, body, now)
            case Digest():
                return self._on_digest(link, body, now)
            case Goodbye():
                return self._on_goodbye(link, body, now)
            case ProbeAsked():
                return self._prober.on_asked(link, body, now)
            case ProbeAnswered():
                self._prober.on_answered(body)
                return []
            case _:
                assert_never(body)

    def _on_pong(self, link: PeerLink, pong: LinkPong, now: Now) -> list[Effect]:
        turned_usable = self._links.pong(link.name, pong.number, now.monotonic_ms)
        effects = self._prober.on_pong(link, pong) if self._roster.is_large else []
        if turned_usable:
            effects += [*self._review_soon(now), *self._greet_usable(link, now)]
        return effects

    def _greet_usable(self, link: PeerLink, now: Now) -> list[Effect]:
        """In a large cluster a beat would tell three others; who was out of hearing is told what it missed directly."""
        if not self._roster.is_large:
            return self._haste.beat_now()
        is_missed = self._roster.is_silent(link.node_id, now.monotonic_ms)
        return self._haste.greet_soon(link.name) if is_missed else []

    def _on_handshake(self, frame: PeerFrameReceived, body: Hello | Welcome | PeerRefused, now: Now) -> list[Effect]:
        if isinstance(body, Hello) == frame.dialled_here:
            return self._refuse_frame()  # Who dialled asks, the other answers.
        match body:
            case Hello():
                effects = self._handshakes.on_hello(frame.link, body, now)
            case Welcome():
                effects = self._handshakes.on_welcome(frame.link, body, now)
            case PeerRefused():
                return self._handshakes.on_refused(frame.link, body, now, serving=self._told.standing.ready)
            case _:
                assert_never(body)
        return [*effects, *self._review_soon(now)]

    def _on_digest(self, link: PeerLink, digest: Digest, now: Now) -> list[Effect]:
        if (digest.node_id, digest.epoch) != (link.node_id, link.epoch):
            return self._refuse_frame()
        own_epoch = max((entry.epoch for entry in digest.entries if entry.owner == self._me.node_id), default=0)
        if own_epoch > self._me.epoch:
            return end_for_epoch(own_epoch)
        waited_ms = self._doubt.stale_ms(self._links.proven_at_ms(link.name), now.monotonic_ms)
        entries = self._leases.admit(digest.entries, now.monotonic_ms, waited_ms)
        self.counters["digest_entries_refused"] += len(digest.entries) - len(entries)
        self._roster.report(link.peer_address, digest, now.monotonic_ms)
        accepted = DigestAccepted(link.name, digest.node_id, digest.ready, entries)
        effects = [Tell(Role.DISTRO, accepted), *self._review_soon(now)]
        if self._leases.is_catching_up:
            effects += self._haste.look_soon()
        if self._roster.is_large and self._prober.on_digest(digest, self._own, self._leases.heartbeat, now):
            effects += self._haste.beat_now()
        return effects

    def _on_goodbye(self, link: PeerLink, goodbye: Goodbye, now: Now) -> list[Effect]:
        if (goodbye.node_id, goodbye.epoch) != (link.node_id, link.epoch):
            return self._refuse_frame()
        self._leases.leave(Origin(goodbye.node_id, goodbye.epoch), now.monotonic_ms)
        self._links.release(goodbye.node_id, goodbye.epoch)
        return [Log("INFO", "a node has left", {"node_id": goodbye.node_id}), *self._review(now)]

    def _on_heartbeat_raised(self, message: HeartbeatRaised, now: Now) -> list[Effect]:
        if message.origin.owner == self._me.node_id and message.origin.epoch > self._me.epoch:
            return end_for_epoch(message.origin.epoch)
        waited_ms = self._doubt.stale_ms(self._links.proven_at_ms(message.link), now.monotonic_ms)
        self._leases.hear(message.origin, message.heartbeat, waited_ms, now.monotonic_ms)
        return self._review_soon(now)

    # What this actor reminded itself of.

    def _on_due(self, message: HasteDue | ProbeDue | FavourDue, now: Now) -> list[Effect]:
        match message:
            case CatchUpDue():
                self._haste.look_came()
                return self._haste.beat_now() if self._leases.is_catching_up else []
            case GreetDue():
                digest = self._roster.digest(self._told.standing, now.monotonic_ms)
                return [send((message.link, PeerTag.DIGEST, digest))]
            case ReviewDue():
                self._haste.review_came()
                return self._review(now)
            case ProbeDue():
                return self._prober.on_probe_due(message, now)
            case FavourDue():
                return self._prober.on_favour_due(now)

    # The beat.

    def _on_digests_taken(self, message: DigestsTaken, now: Now) -> list[Effect]:
        self.counters["beats"] += 1
        self._haste.beat_came()
        at_ms = now.monotonic_ms
        self._leases.hold(
            message.entries,
            at_ms,
            waited_ms=at_ms - message.taken_ms,
            proves_life=message.proves_life,
            is_uncertain=message.is_uncertain,
        )
        ending = self._handshakes.give_way(now, self._settings.lease_ms)
        if ending:
            return ending
        effects = [*self._call(now), *self._judgement.judge(at_ms), *self._review(now)]
        effects += self._balance.compare(at_ms, is_serving=self._departure.stage == "serving")
        effects.append(self._judged(message.proves_life, at_ms))
        return [*effects, Tell(Role.DISTRO, DigestRound(self._roster.digest(self._told.standing, at_ms)))]

    def _judged(self, proves_life: bool, at_ms: int) -> Tell:
        """For who judges HTTP clients: by the same guard, at the same moments."""
        standing, keepers = self._told.standing, self._roster.keepers(at_ms)
        if standing.ready and not standing.leaving:
            keepers.append(self._me.node_id)
        suspended = standing.hides_nobody or not proves_life
        living = self._roster.census(at_ms).living
        return Tell(Role.BEATS, NodesJudged(tuple(sorted(keepers)), living, standing.isolated, suspended))

    def _call(self, now: Now) -> list[Effect]:
        """Frames may be lost, so who has not shaken hands is greeted again; of the others all are pinged, or some."""
        if not self._roster.is_large:
            return [*self._handshakes.greet(), *self._prober.ping_all(now)]
        is_doubtful = self._doubt.suspends(now.monotonic_ms) or self._doubt.gap_ms(now.monotonic_ms) > 0
        return [*self._handshakes.greet(), *self._prober.beat(now, is_doubtful=is_doubtful)]

    def _on_own_state(self, message: CaughtUp | SessionsCounted | StoreFollowed, now: Now) -> list[Effect]:
        """How far this node is, and how busy."""
        match message:
            case SessionsCounted():
                self._roster.sessions = message.sessions
                return []
            case CaughtUp():
                self._loading.caught_up(message.node_id)
            case StoreFollowed():
                self._loading.is_store_read = message.is_read
        return self._review(now)

    # What follows from every change, told only if it is news.

    def _review(self, now: Now) -> list[Effect]:
        at_ms = now.monotonic_ms
        census = self._roster.census(at_ms)
        peers = self._links.preferred(self._told.current_links(), self._roster.members, at_ms)
        visible = self._told.tell_visible(self._leases.hidden(at_ms), self._leases.silent())
        effects = [*self._told.tell_peers(peers, census), *visible]
        effects += self._told.set_standing(
            majority=census.has_majority,
            isolated=self._told.standing.isolated and not census.has_majority,
            warming=self._loading.is_warming(at_ms),
            servers=census.servers,
        )
        effects += self._check_readiness(now)
        return [*effects, *self._told.tell_living(census.living)]

    def _review_soon(self, now: Now) -> list[Effect]:
        """At once in a small cluster."""
        return self._haste.review_soon() if self._roster.is_large else self._review(now)

    def _check_readiness(self, now: Now) -> list[Effect]:
        """A node that is about to go does not become ready."""
        effects = self._loading.finish(now.monotonic_ms) if self._departure.stage == "serving" else []
        standing = self._told.standing
        self._leases.doubts_strangers = standing.ready and not standing.hides_nobody
        return [*effects, *self._haste.beat_now()] if effects else []

    def _on_leave(self, message: DepartureInput) -> list[Effect]:
        effects = self._departure.step(message)
        return [*effects, *self._haste.beat_now()] if effects and self._departure.stage == "leaving" else effects

    # The status question.

    def _on_status_requested(self, message: StatusRequested, now: Now) -> list[Effect]:
        ready, lags = self._told.standing.ready, message.parts.get("lags", {})
        rows = self._roster.rows(now.monotonic_ms, ready, lags)
        return [Tell(Role.IO, completed(message, self._me, self._told.standing, rows, self._all_counters()))]

    def _all_counters(self) -> dict[str, int]:
        return {**self._handshakes.counters, **self._prober.counters, **self.counters}

    # Small things.

    def _refuse_frame(self) -> list[Effect]:
        """A frame that this link may not send now; a restart makes some, so they cost nothing but a count."""
        self.counters["peer_frames_refused"] += 1
        return []

    def check_invariants(self) -> None:
        self._links.check_invariants()
        self._leases.check_invariants()
        self._suspicions.check_invariants()
