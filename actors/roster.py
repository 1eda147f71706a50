"""The roster: the configured members, who answers at each address, and what they last reported.

Pure rules and one table; MemberManager owns it. It joins three things that alone mean little: the list (addresses), the
link table (addresses and node ids) and the leases (node ids and epochs).
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from itertools import islice
from typing import NamedTuple, Protocol

import msgspec

from actors.base import NodeIdentity
from actors.links import REFUSED, SILENT, UP, LinkTable
from actors.liveness import Leases, Patience, hide_after_ms
from actors.messages.connections import MemberSessions
from actors.messages.peers import Digest, Hello, Welcome
from actors.messages.values import Origin, Standing
from actors.readiness import Sight
from actors.swim import Suspicions, SwimPatience, gossip_ms
from rollbook.status import MemberStatus

MEMBERS_PER_DIGEST = 16  # above swim_members_min: the next ones follow in the next digest


class MemberReport(msgspec.Struct, frozen=True):
    """The latest digest of a member, as far as it says something of members."""

    ready: bool
    leaving: bool
    started_cold: bool
    links: dict[str, str]
    sessions: int
    ready_since_ms: int  # by this node's clock; it has said so in every report since
    hidden: dict[Origin, int]  # whom it hides, and the last heartbeat that it knows of each
    preserved: bool  # it has missed most of the members until a moment ago


class Member(msgspec.Struct):
    """One configured address but this node's own. ``node_id`` is empty until it is known who answers there."""

    address: str
    node_id: str = ""
    epoch: int = 0
    client_address: str = ""
    report: MemberReport | None = None  # of this epoch
    is_reached: bool = False  # a digest has come from there since this node started


class RosterPatience(Patience, SwimPatience, Protocol):
    """The members section of configs/defaults.toml."""


class Census(NamedTuple):
    """Who is there, by one look over all members."""

    living: tuple[str, ...]  # node ids of members whose heart beats
    has_majority: bool
    known: tuple[str, ...]  # node ids of members that were heard once, and have neither left nor been purged
    servers: tuple[str, ...]  # where clients may go instead: ready members first, then others that live, then the rest


class Roster:
    def __init__(
        self, me: NodeIdentity, links: LinkTable, leases: Leases, suspicions: Suspicions, patience: RosterPatience
    ) -> None:
        self._me = me
        self._links = links
        self._leases = leases
        self._suspicions = suspicions
        self._patience = patience
        self.suspect_ms = patience.suspect_ms
        self._gossip_ms = 0
        self._digests = 0
        self._own_addresses = {me.peer_address}
        self.is_listed = me.standalone  # a standalone node waits for no list
        self.members: dict[str, Member] = {}
        self.sessions = 0  # open at this node

    # The list and what is said about it.

    def configure(self, addresses: tuple[str, ...]) -> None:
        """The configured list is now this one; who stays in it stays known."""
        others = sorted(set(addresses) - self._own_addresses)
        self.members = {address: self.members.get(address) or Member(address) for address in others}
        self.is_listed = True
        self._gossip_ms = gossip_ms(self._patience, self.configured)
        self.suspect_ms = self._patience.suspect_ms + self._gossip_ms

    @property
    def is_large(self) -> bool:
        """Too many for everybody to ping and tell everybody: probes, accusations and gossip take over."""
        return self.configured > self._patience.swim_members_min

    def own_address(self, address: str) -> None:
        """This node has met itself there."""
        self._own_addresses.add(address)
        self.members.pop(address, None)

    def learn(self, who: Hello | Welcome) -> None:
        """A handshake: this node answers at its address now."""
        member = self.members.get(who.peer_address)
        if member is None:
            return
        if (member.node_id, member.epoch) != (who.node_id, who.epoch):
            member.report = None
        member.node_id, member.epoch, member.client_address = who.node_id, who.epoch, who.client_address

    def report(self, address: str, digest: Digest, now_ms: int) -> None:
        member = self.members[address]
        last = member.report
        since_ms = last.ready_since_ms if last is not None and last.ready else now_ms
        member.report = MemberReport(
            digest.ready,
            digest.leaving,
            digest.started_cold,
            dict(digest.links),
            digest.sessions,
            since_ms,
            {entry.origin: entry.heartbeat for entry in digest.entries if entry.hidden_ms},
            digest.preserved,
        )
        member.is_reached = True
        for other, node_id, client_address in digest.members:
            self._learn_from_afar(other, node_id, client_address, now_ms)

    def digest(self, standing: Standing, now_ms: int) -> Digest:
        """What this node says once a second: what it holds, what its links say of each member, whom it reaches."""
        reached = [member for member in self.members.values() if self._links.reaches(member.address, now_ms)]
        if self.is_large:
            first = self._digests * MEMBERS_PER_DIGEST % max(1, len(reached))
            reached = list(islice([*reached[first:], *reached[:first]], MEMBERS_PER_DIGEST))
        self._digests += 1
        links = () if self.is_large else self.members
        return Digest(
            node_id=self._me.node_id,
            epoch=self._me.epoch,
            ready=standing.ready,
            leaving=standing.leaving,
            links=tuple((address, self._links.evidence(address, now_ms)) for address in links),
            entries=self._leases.entries(now_ms),
            started_cold=standing.warming,
            members=tuple((member.address, member.node_id, member.client_address) for member in reached),
            sessions=self.sessions,
            accusations=self._suspicions.told() if self.is_large else (),
            preserved=standing.preserved,
        )

    # Who is there.

    @property
    def configured(self) -> int:
        return len(self.members) + 1

    @property
    def reached(self) -> int:
        return 1 + sum(member.is_reached for member in self.members.values())

    @property
    def loading(self) -> int:
        """One that was ready does not count, though it be out of hearing now: it may still know what others do not."""
        ready = (member.report is not None and member.report.ready for member in self.members.values())
        return self.reached - sum(ready)

    def heard(self, member: Member, now_ms: int) -> bool:
        """Directly or through others."""
        return self._is_fresh(member.node_id, now_ms) or self._links.reaches(member.address, now_ms)

    def is_silent(self, node_id: str, now_ms: int) -> bool:
        """Heard once, and not for so long that it counts as suspect."""
        return self._leases.is_known(self._leases.newest(node_id)) and not self._is_fresh(node_id, now_ms)

    def census(self, now_ms: int) -> Census:
        living: list[str] = []
        known: list[str] = []
        ranked: list[tuple[int, str]] = []
        heard = 1
        for member in self.members.values():
            life = self._leases.newest_life(member.node_id)
            is_known = life is not None and not life.left
            is_fresh = life is not None and is_known and now_ms - life.heard_at_ms < self.suspect_ms
            is_heard = is_fresh or self._links.reaches(member.address, now_ms)
            heard += is_heard
            if is_fresh:
                living.append(member.node_id)
            if is_known:
                known.append(member.node_id)
            if member.client_address:
                ranked.append((_rank(member.report, is_heard), member.client_address))
        has_majority = self.is_listed and heard > self.configured // 2
        servers = tuple(address for _, address in sorted(ranked))
        return Census(tuple(sorted(living)), has_majority, tuple(sorted(known)), servers)

    def sight(self, caught_up: Set[str], waited_ms: int, now_ms: int) -> Sight:
        """What a loading node sees."""
        ready = self._ready(now_ms)
        reports = [member.report for member in self.members.values() if member.node_id in ready]
        is_informed = self.reached == self.configured or any(report and not report.preserved for report in reports)
        return Sight(
            self.configured,
            self.reached,
            self.loading,
            ready.keys(),
            caught_up,
            waited_ms,
            is_informed and not self._leases.is_catching_up,
        )

    def started_cold(self, now_ms: int) -> bool:
        """Who caught up with nodes that have just started cold knows no more than they do."""
        return all(self._ready(now_ms).values()) and self.configured > 1

    def keepers(self, now_ms: int) -> list[str]:
        """Node ids of ready members that are heard and do not leave."""
        return [
            member.node_id
            for member in self.members.values()
            if member.report is not None
            and member.report.ready
            and not member.report.leaving
            and self.heard(member, now_ms)
        ]

    def _ready(self, now_ms: int) -> dict[str, bool]:
        """Node ids of ready members that are heard, and whether they have started cold a moment ago."""
        return {
            member.node_id: member.report.started_cold
            for member in self.members.values()
            if member.report is not None and member.report.ready and self.heard(member, now_ms)
        }

    def spread(self, now_ms: int) -> tuple[MemberSessions, ...] | None:
        """How many sessions the living members have; None while one is suspect or leaves, as its sessions move by
        themselves."""
        found = []
        for member in self.members.values():
            state, report = self._state(member, now_ms), member.report
            if state == "suspect" or (state == "alive" and report is not None and report.leaving):
                return None
            if state == "alive" and report is not None:
                is_settled = report.ready and now_ms - report.ready_since_ms >= self._patience.lease_ms
                found.append(MemberSessions(member.client_address, report.sessions, is_settled))
        return tuple(found)

    # Who is gone.

    def hide_after_ms(self, owner: str, now_ms: int) -> int:
        """After which silence the newest epoch of this owner is hidden, by the evidence of now."""
        accused = next((m for m in self.members.values() if m.node_id == owner), None)
        if accused is not None:
            return self._hide_member_after_ms(accused, owner, now_ms)
        # This node has started since that owner fell silent, or no list names it. Who has not said its name may be it.
        nameless = [m for m in self.members.values() if not m.node_id and not self.heard(m, now_ms)]
        if not nameless:
            return self._patience.hide_silent_ms + self._gossip_ms  # nobody has a link to it, so links prove nothing
        by_links_ms = max(self._hide_member_after_ms(member, owner, now_ms) for member in nameless)
        return max(by_links_ms, self._patience.hide_majority_ms + self._gossip_ms)  # no guess is as good as a refusal

    def misses_most(self, now_ms: int) -> bool:
        """More than half of the members are silent, so it may as well be this node that is cut off. Their clients may
        have gone where it hears nobody."""
        return self._misses_most(self.suspect_ms, now_ms)

    def may_miss_most(self, now_ms: int) -> bool:
        """The same half a suspicion early: of members that were lost at one moment some were heard a little later."""
        return self._misses_most(self.suspect_ms // 2, now_ms)

    def rows(self, now_ms: int, is_ready: bool, lags: Mapping[str, int]) -> tuple[MemberStatus, ...]:
        """What the status shows, this node included."""
        me = self._me
        own = MemberStatus(me.node_id, me.peer_address, me.client_address, "self", is_ready, me.epoch, 0)
        others = [self._row(member, now_ms, lags) for member in self.members.values()]
        return tuple(sorted([own, *others], key=lambda row: row.peer_address))

    def _learn_from_afar(self, address: str, node_id: str, client_address: str, now_ms: int) -> None:
        member = self.members.get(address)
        if member is None or node_id == self._me.node_id or self.heard(member, now_ms):
            return  # What this node sees itself, or hears of the one it knows, needs no hearsay.
        if member.node_id != node_id:
            member.node_id, member.epoch, member.report = node_id, 0, None
        member.client_address = client_address

    def _witnesses(self, accused: Member, now_ms: int) -> int:
        """Living nodes that could accuse it, this one included."""
        return 1 + sum(member is not accused and self.heard(member, now_ms) for member in self.members.values())

    def _testimony(self, member: Member, address: str, now_ms: int) -> str:
        """What a member says of its link to an address; nothing, as long as only its link is back and not its voice."""
        if member.report is None or not self._is_fresh(member.node_id, now_ms):
            return ""
        return member.report.links.get(address, "")

    def _is_fresh(self, node_id: str, now_ms: int) -> bool:
        life = self._leases.newest_life(node_id)
        return life is not None and now_ms - life.heard_at_ms < self.suspect_ms and not life.left

    def _misses_most(self, silent_ms: int, now_ms: int) -> bool:
        missed = 0
        for member in self.members.values():
            life = self._leases.newest_life(member.node_id)
            is_heard = life is not None and now_ms - life.heard_at_ms < silent_ms
            missed += not is_heard and not self._leases.has_left(self._leases.newest(member.node_id))
        return missed > self.configured / 2

    def _hide_member_after_ms(self, accused: Member, owner: str, now_ms: int) -> int:
        if self.is_large:
            return self._hide_accused_after_ms(accused, owner, now_ms)
        links = [self._links.evidence(accused.address, now_ms)]
        for member in self.members.values():
            if member is not accused and self.heard(member, now_ms):
                links.append(self._testimony(member, accused.address, now_ms))
        by_links_ms = hide_after_ms(self._patience, links, self.configured)
        if links[0] != UP and self._is_hidden_elsewhere(owner, now_ms):
            return min(by_links_ms, self._patience.hide_majority_ms)
        return by_links_ms

    def _is_hidden_elsewhere(self, owner: str, now_ms: int) -> bool:
        """A living member says that it hides this epoch, and knows no older heartbeat of it than this node.

        Who reaches only some members has no majority to judge by; who reaches the others too had one. What was judged
        before a heartbeat that came here counts for nothing: who was heard again is not hidden by old hearsay.
        """
        newest = self._leases.newest(owner)
        life = self._leases.newest_life(owner)
        return life is not None and any(
            member.report is not None
            and member.report.hidden.get(newest, -1) >= life.counter
            and self._is_fresh(member.node_id, now_ms)
            for member in self.members.values()
        )

    def _hide_accused_after_ms(self, accused: Member, owner: str, now_ms: int) -> int:
        """The same three patiences as in a small cluster, by accusations: nobody hears from every member's links."""
        newest = self._leases.newest(owner)
        verdict = self._suspicions.verdict(newest, self.configured, lambda: self._witnesses(accused, now_ms), now_ms)
        if verdict == REFUSED and not self._links.reaches(accused.address, now_ms):
            return self._patience.hide_refused_ms + self._gossip_ms
        if verdict in (REFUSED, SILENT):
            return self._patience.hide_majority_ms + self._gossip_ms
        return self._patience.hide_silent_ms + self._gossip_ms

    def _row(self, member: Member, now_ms: int, lags: Mapping[str, int]) -> MemberStatus:
        newest = self._leases.newest(member.node_id)
        age_ms = self._leases.age_ms(newest, now_ms)
        return MemberStatus(
            node_id=member.node_id,
            peer_address=member.address,
            client_address=member.client_address,
            state=self._state(member, now_ms),
            ready=member.report is not None and member.report.ready,
            epoch=newest.epoch if member.node_id else 0,
            heartbeat_age_ms=-1 if age_ms is None else age_ms,
            lag=lags.get(member.node_id, -1),
        )

    def _state(self, member: Member, now_ms: int) -> str:
        newest = self._leases.newest(member.node_id)
        if self._leases.has_left(newest):
            return "left"
        life = self._leases.lives.get(newest)
        if life is None:
            return "hidden" if newest in self._leases.purged else "unreachable"
        if life.hidden_grace_ms:
            return "hidden"
        is_suspect = self.is_large and self._suspicions.is_suspect(newest)
        return "alive" if self._is_fresh(member.node_id, now_ms) and not is_suspect else "suspect"


def _rank(report: MemberReport | None, is_heard: bool) -> int:
    if not is_heard or (report is not None and report.leaving):
        return 2
    return 0 if report is not None and report.ready else 1
