"""Probes between members: who is asked whether it lives, through whom else, and what comes of no answer.

MemberManager hands it beats and frames, above ten members only; the rules are in actors/swim.py. It also lets links
take turns: each beat a fixed number of them is pinged, those of doubtful members first. A link that nobody pings for
a while is no risk: the sockets' own heartbeats close it within 3 s of silence, and who is suspected is pinged at once.
"""

from __future__ import annotations

import heapq
import math
import random
from typing import NamedTuple, Protocol

import msgspec

from actors.base import Effect, Now, Remind
from actors.links import SILENT, UP, LinkTable, PeerLink, send
from actors.liveness import Leases
from actors.messages.peers import Digest, LinkPong, PeerTag, ProbeAnswered, ProbeAsked
from actors.messages.values import Origin
from actors.roster import Roster
from actors.swim import LocalHealth, ProbeRing, Suspicions

FAVOURS_MAX = 64  # probes for others that wait for their answer at one time
BEAT_SLACK_MS = 100  # beats are not exact: a period of one second has ended at the next one

PeerFrameParts = tuple[str, PeerTag, object]


class ProbingSettings(Protocol):
    """The members section of configs/defaults.toml, as far as it is about probes."""

    @property
    def gossip_round_ms(self) -> int: ...

    @property
    def probe_timeout_ms(self) -> int: ...

    @property
    def probe_helpers(self) -> int: ...

    @property
    def link_pings_max(self) -> int: ...

    @property
    def turn_pong_timeout_ms(self) -> int: ...

    @property
    def pong_timeout_ms(self) -> int: ...

    @property
    def health_max(self) -> int: ...


class ProbeDue(msgspec.Struct, frozen=True):
    """The direct ping of this probe should have been answered by now."""

    number: int


class FavourDue(msgspec.Struct, frozen=True):
    """What was asked of this node should have been answered by now."""


class MemberProbe(msgspec.Struct):
    """The one under way."""

    target: Origin
    sent_at_ms: int  # also its number
    ends_at_ms: int
    helpers: int = 0  # asked; each answers, also if it gets no answer itself
    answers: int = 0


class Favour(NamedTuple):
    """A ping for somebody else."""

    link: str
    number: int
    node_id: str
    sent_at_ms: int


class Prober:
    def __init__(
        self,
        links: LinkTable,
        leases: Leases,
        roster: Roster,
        suspicions: Suspicions,
        settings: ProbingSettings,
        chance: random.Random,
    ) -> None:
        self._links = links
        self._leases = leases
        self._roster = roster
        self._suspicions = suspicions
        self._health = LocalHealth(settings.health_max)
        self._settings = settings
        self._chance = chance
        self._ring = ProbeRing(chance)
        self._probe: MemberProbe | None = None
        self._favours: list[Favour] = []
        self._refuted = 0  # this node's counter when it was last accused
        names = ("pings_sent", "probes_sent", "probes_failed", "probes_asked", "favours_done", "favours_refused")
        self.counters = dict.fromkeys(names, 0)

    # The beat.

    def ping_all(self, now: Now) -> list[Effect]:
        """In a small cluster every link is pinged at every beat, and nothing else is needed."""
        timeout_ms = self._settings.pong_timeout_ms
        self._links.expect_proof(timeout_ms + self._settings.gossip_round_ms, timeout_ms)
        links = [name for name in self._links.shaken() if self._links.accepted(name, self._roster.members)]
        frames = [self._links.ping(name, now.monotonic_ms) for name in links]
        self.counters["pings_sent"] += len(frames)
        return [send(*frames)] if frames else []

    def beat(self, now: Now, *, is_doubtful: bool) -> list[Effect]:
        """One probe and some pings. A node that was just paused accuses nobody: its own ears were shut."""
        now_ms = now.monotonic_ms
        if is_doubtful:
            self._probe = None
        else:
            self._accuse_unreachable(now_ms)
        self._suspicions.review()
        frames, reminders = self._next_probe(now_ms)
        frames += self._ping_in_turn(now_ms)
        self.counters["pings_sent"] += sum(tag is PeerTag.PING for _, tag, _ in frames)
        return [*([send(*frames)] if frames else []), *reminders]

    def on_link_closed(self, address: str, now: Now) -> None:
        """The sockets have noticed silence or an end; nobody need wait for a probe to find the same."""
        member = self._roster.members.get(address)
        if member is not None and member.node_id:
            self._accuse_by_links(address, member.node_id, now.monotonic_ms)

    def _accuse_unreachable(self, now_ms: int) -> None:
        for address in sorted(self._links.failures):
            member = self._roster.members.get(address)
            if member is not None and member.node_id:
                self._accuse_by_links(address, member.node_id, now_ms)

    def _accuse_by_links(self, address: str, node_id: str, now_ms: int) -> None:
        """A broken connection is dialled again in a moment: it means something only if the heart has stopped too."""
        origin = self._leases.newest(node_id)
        age_ms = self._leases.age_ms(origin, now_ms)
        if age_ms is None or age_ms < self._settings.pong_timeout_ms:
            return
        how = self._links.evidence(address, now_ms)
        if how != UP:
            self._suspicions.accuse(origin, how, now_ms, now_ms)

    # Probes.

    def _next_probe(self, now_ms: int) -> tuple[list[PeerFrameParts], list[Effect]]:
        if self._probe is not None:
            if now_ms < self._probe.ends_at_ms:
                return [], []
            self._fail(self._probe, now_ms)
        target = self._ring.next(self._candidates())
        if target is None:
            return [], []
        period_ms = self._health.stretched(self._settings.gossip_round_ms) - BEAT_SLACK_MS
        self._probe = MemberProbe(self._leases.newest(target), now_ms, now_ms + period_ms)
        self.counters["probes_sent"] += 1
        link = self._links.way_to(target, now_ms)
        if link is None:
            return self._ask_helpers(self._probe, now_ms), []
        due = Remind(self._health.stretched(self._settings.probe_timeout_ms), ProbeDue(now_ms))
        return [self._links.ping(link.name, now_ms)], [due]

    def _candidates(self) -> set[str]:
        """Members that are not given up: of the others, their own heartbeat is the first news."""
        known = {member.node_id for member in self._roster.members.values() if member.node_id}
        return {node_id for node_id in known if self._leases.is_shown(self._leases.newest(node_id))}

    def _fail(self, probe: MemberProbe, now_ms: int) -> None:
        self._probe = None
        self.counters["probes_failed"] += 1
        self._health.note(probe.helpers - probe.answers if probe.helpers else 1)
        self._suspicions.accuse(probe.target, SILENT, probe.sent_at_ms, now_ms)

    def on_probe_due(self, message: ProbeDue, now: Now) -> list[Effect]:
        probe = self._probe
        if probe is None or probe.sent_at_ms != message.number or probe.helpers:
            return []
        frames = self._ask_helpers(probe, now.monotonic_ms)
        return [send(*frames)] if frames else []

    def _ask_helpers(self, probe: MemberProbe, now_ms: int) -> list[PeerFrameParts]:
        others = sorted(
            member.node_id
            for member in self._roster.members.values()
            if member.node_id not in ("", probe.target.owner) and self._links.reaches(member.address, now_ms)
        )
        chosen = self._chance.sample(others, min(self._settings.probe_helpers, len(others)))
        ways = [self._links.way_to(node_id, now_ms) for node_id in chosen]
        asked = ProbeAsked(probe.sent_at_ms, probe.target.owner)
        frames: list[PeerFrameParts] = [(link.name, PeerTag.PROBE_ASKED, asked) for link in ways if link is not None]
        probe.helpers = len(frames)
        self.counters["probes_asked"] += len(frames)
        return frames

    def on_pong(self, link: PeerLink, pong: LinkPong) -> list[Effect]:
        """An answer to a ping proves what the probe wanted to know, whichever link it came by."""
        probe = self._probe
        if probe is not None and link.node_id == probe.target.owner and pong.number >= probe.sent_at_ms:
            self._probe = None
            self._health.note(-1)
        self._suspicions.acquit(Origin(link.node_id, link.epoch), pong.number)
        mine = [favour for favour in self._favours if favour.node_id == link.node_id]
        done = [favour for favour in mine if pong.number >= favour.sent_at_ms]
        return self._answer(done, reached=True)

    def on_answered(self, answered: ProbeAnswered) -> None:
        probe = self._probe
        if probe is None or (answered.number, answered.node_id) != (probe.sent_at_ms, probe.target.owner):
            return
        probe.answers = min(probe.answers + 1, probe.helpers)
        if answered.reached:
            self._probe = None
            self._suspicions.acquit(probe.target, probe.sent_at_ms)

    # Probes for others.

    def on_asked(self, link: PeerLink, asked: ProbeAsked, now: Now) -> list[Effect]:
        now_ms = now.monotonic_ms
        way = self._links.way_to(asked.node_id, now_ms)
        if way is None or len(self._favours) >= FAVOURS_MAX:
            self.counters["favours_refused"] += 1
            return [send((link.name, PeerTag.PROBE_ANSWERED, ProbeAnswered(asked.number, asked.node_id, False)))]
        self._favours.append(Favour(link.name, asked.number, asked.node_id, now_ms))
        self.counters["pings_sent"] += 1
        return [send(self._links.ping(way.name, now_ms)), Remind(self._settings.probe_timeout_ms, FavourDue())]

    def on_favour_due(self, now: Now) -> list[Effect]:
        oldest_ms = now.monotonic_ms - self._settings.probe_timeout_ms
        return self._answer([favour for favour in self._favours if favour.sent_at_ms <= oldest_ms], reached=False)

    def _answer(self, favours: list[Favour], *, reached: bool) -> list[Effect]:
        if not favours:
            return []
        self._favours = [favour for favour in self._favours if favour not in favours]
        self.counters["favours_done"] += len(favours)
        frames = [
            (favour.link, PeerTag.PROBE_ANSWERED, ProbeAnswered(favour.number, favour.node_id, reached))
            for favour in favours
        ]
        return [send(*frames)]

    # Accusations of others.

    def on_digest(self, digest: Digest, own: Origin, own_heartbeat: int, now: Now) -> bool:
        """True if this node is accused itself: a heartbeat out of rhythm refutes that soonest."""
        node_ids = {member.node_id: member for member in self._roster.members.values()}
        self._suspicions.hear(digest.accusations, node_ids, now.monotonic_ms)
        accused = any(each.origin == own and each.heartbeat > self._refuted for each in digest.accusations)
        if accused:
            self._refuted = own_heartbeat
            self._health.note(1)
        return accused

    # Links take turns.

    def _ping_in_turn(self, now_ms: int) -> list[PeerFrameParts]:
        """Half of the pings are for links that owe an answer or lead to somebody suspected; the rest go round."""
        accused = self._suspicions.accused()
        links = [
            link for link in self._links.links.values() if link.node_id and link.peer_address in self._roster.members
        ]
        budget = self._settings.link_pings_max
        urgent = [link for link in links if link.asked_at_ms is not None or link.node_id in accused]
        chosen = heapq.nsmallest(budget // 2, urgent, key=_turn)
        names = {link.name for link in chosen}
        chosen += heapq.nsmallest(budget - len(chosen), (link for link in links if link.name not in names), key=_turn)
        round_ms = math.ceil(len(links) / (budget - budget // 2)) * self._settings.gossip_round_ms
        timeout_ms = self._settings.turn_pong_timeout_ms
        self._links.expect_proof(timeout_ms + 2 * round_ms, timeout_ms)
        return [self._links.ping(link.name, now_ms) for link in chosen]


def _turn(link: PeerLink) -> tuple[int, str]:
    return (link.pinged_at_ms, link.name)
