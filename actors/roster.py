"""The roster: the configured members, who answers at each address, and what they last reported.

Pure rules and one table; MemberManager owns it. It joins three things that alone mean little: the list (addresses), the
link table (addresses and node ids) and the leases (node ids and epochs).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from actors.base import NodeIdentity
from actors.links import LinkTable
from actors.liveness import Leases, Patience, hide_after_ms
from actors.messages.peers import Digest, Hello, Welcome
from actors.messages.values import Standing
from rollbook.status import MemberStatus


class MemberReport(msgspec.Struct, frozen=True):
    """The latest digest of a member, as far as it says something of members."""

    ready: bool
    leaving: bool
    started_cold: bool
    links: dict[str, str]


class Member(msgspec.Struct):
    """One configured address but this node's own. ``node_id`` is empty until it is known who answers there."""

    address: str
    node_id: str = ""
    epoch: int = 0
    client_address: str = ""
    report: MemberReport | None = None  # of this epoch
    is_reached: bool = False  # a digest has come from there since this node started


class Roster:
    def __init__(self, me: NodeIdentity, links: LinkTable, leases: Leases, patience: Patience) -> None:
        self._me = me
        self._links = links
        self._leases = leases
        self._patience = patience
        self._suspect_ms = patience.suspect_ms
        self._own_addresses = {me.peer_address}
        self.is_listed = me.standalone  # a standalone node waits for no list
        self.members: dict[str, Member] = {}

    # The list and what is said about it.

    def configure(self, addresses: tuple[str, ...]) -> None:
        """The configured list is now this one; who stays in it stays known."""
        others = sorted(set(addresses) - self._own_addresses)
        self.members = {address: self.members.get(address) or Member(address) for address in others}
        self.is_listed = True

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
        member.report = MemberReport(digest.ready, digest.leaving, digest.started_cold, dict(digest.links))
        member.is_reached = True
        for other, node_id, client_address in digest.members:
            self._learn_from_afar(other, node_id, client_address, now_ms)

    def digest(self, standing: Standing, now_ms: int) -> Digest:
        """What this node says once a second: what it holds, what its links say of each member, whom it reaches."""
        reached = [member for member in self.members.values() if self._links.reaches(member.address, now_ms)]
        return Digest(
            node_id=self._me.node_id,
            epoch=self._me.epoch,
            ready=standing.ready,
            leaving=standing.leaving,
            links=tuple((address, self._links.evidence(address, now_ms)) for address in self.members),
            entries=self._leases.entries(now_ms),
            started_cold=standing.warming,
            members=tuple((member.address, member.node_id, member.client_address) for member in reached),
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

    def living(self, now_ms: int) -> tuple[str, ...]:
        """Node ids of members whose heart beats."""
        return tuple(sorted(m.node_id for m in self.members.values() if self._is_fresh(m.node_id, now_ms)))

    def has_majority(self, now_ms: int) -> bool:
        heard = 1 + sum(self.heard(member, now_ms) for member in self.members.values())
        return self.is_listed and heard > self.configured // 2

    def ready(self, now_ms: int) -> dict[str, bool]:
        """Node ids of ready members that are heard, and whether they have started cold a moment ago."""
        return {
            member.node_id: member.report.started_cold
            for member in self.members.values()
            if member.report is not None and member.report.ready and self.heard(member, now_ms)
        }

    def servers(self, now_ms: int) -> tuple[str, ...]:
        """Where clients may go instead: ready members first, then others that live, then the rest."""
        ranked = sorted((self._rank(member, now_ms), member.client_address) for member in self.members.values())
        return tuple(address for _, address in ranked if address)

    # Who is gone.

    def hide_after_ms(self, owner: str, now_ms: int) -> int:
        """After which silence the newest epoch of this owner is hidden, by the evidence of now."""
        accused = next((m for m in self.members.values() if m.node_id == owner), None)
        if accused is None:
            return self._patience.hide_silent_ms  # nobody has a link to it, so links prove nothing
        links = [self._links.evidence(accused.address, now_ms)]
        for member in self.members.values():
            if member is not accused and self.heard(member, now_ms):
                links.append(self._testimony(member, accused.address, now_ms))
        return hide_after_ms(self._patience, links, self.configured)

    def is_preserving(self, now_ms: int, waited_ms: int) -> bool:
        """More than half of the members look dead, so it may as well be this node that is cut off.

        Members pass their thresholds one after the other, also when they were lost at one moment. So as soon as the
        first is past its own, those that are within one suspicion of theirs count too.
        """
        overdue = [self._overdue_ms(member, now_ms, waited_ms) for member in self.members.values()]
        dying = sum(late >= -self._suspect_ms for late in overdue if late is not None)
        return any(late >= 0 for late in overdue if late is not None) and dying > self.configured / 2

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

    def _testimony(self, member: Member, address: str, now_ms: int) -> str:
        """What a member says of its link to an address; nothing, as long as only its link is back and not its voice."""
        if member.report is None or not self._is_fresh(member.node_id, now_ms):
            return ""
        return member.report.links.get(address, "")

    def _is_fresh(self, node_id: str, now_ms: int) -> bool:
        newest = self._leases.newest(node_id)
        age_ms = self._leases.age_ms(newest, now_ms)
        return age_ms is not None and age_ms < self._suspect_ms and not self._leases.has_left(newest)

    def _rank(self, member: Member, now_ms: int) -> int:
        report = member.report
        if not self.heard(member, now_ms) or (report is not None and report.leaving):
            return 2
        return 0 if report is not None and report.ready else 1

    def _overdue_ms(self, member: Member, now_ms: int, waited_ms: int) -> int | None:
        """By how much a member is past its threshold; None if it has left, is well or is not due yet."""
        newest = self._leases.newest(member.node_id)
        if self._leases.has_left(newest):
            return None
        age_ms = self._leases.age_ms(newest, now_ms)
        if age_ms is None:
            return waited_ms - self._patience.lease_ms if waited_ms >= self._patience.lease_ms else None
        if age_ms + self._suspect_ms < self._patience.hide_refused_ms:
            return None  # far from any threshold, so nobody need look at the evidence
        return age_ms - self.hide_after_ms(member.node_id, now_ms)

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
        return "alive" if self._is_fresh(member.node_id, now_ms) else "suspect"


def standing_name(standing: Standing) -> str:
    """One word for people; ``preserved`` is a flag of its own."""
    if standing.leaving:
        return "leaving"
    if not standing.ready:
        return "loading"
    return "isolated" if standing.isolated else "ready"
