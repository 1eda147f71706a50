"""What the events of a history add up to: what applications want, who runs, who reaches whom, what every node lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, assert_never

import msgspec

from tests.support.claims import Claim, Claims, Listed
from tests.support.copies import Copies
from tests.support.history import (
    ClientEnded,
    ClientStood,
    Event,
    FaultBegan,
    FaultEnded,
    MemorySeen,
    NodeSeen,
    OrderAnswered,
    OrderSent,
    PathSeen,
    SessionSeen,
    ViewSeen,
)
from tests.support.parties import Party, Serving
from tests.support.reach import NEVER_MS, Reach

# Faults that cut nothing off and only make things slow.
SLOWING = frozenset({"reset", "loss", "delay", "bandwidth", "slow node", "slow processing", "duplication"})
SLOW_AFTER_MS = 1_000  # queues and retransmissions outlive what made them


class Table(NamedTuple):
    """What a node lists for one service."""

    since_ms: int
    instances: dict[str, str]
    flags: tuple[str, ...]


NOTHING = Table(0, {}, ())


class NodeLife:
    """What is known of the present life of one node."""

    def __init__(self, started_ms: int) -> None:
        self.started_ms = started_ms
        self.ready_ms = NEVER_MS
        self.is_leaving = False  # it was asked to end in good order
        self.tables: dict[str, Table] = {}
        self.dropped: dict[Listed, int] = {}  # what it has listed and lists no more, since when
        self.flags: tuple[str, ...] = ()
        self.preserved_ms = NEVER_MS  # until when it hid nothing because too many looked dead

    @property
    def is_ready(self) -> bool:
        return self.ready_ms != NEVER_MS

    def shows(self, listed: Listed) -> str | None:
        """The payload under which it lists this instance."""
        return self.tables.get(listed[0], NOTHING).instances.get(listed[1])

    def take(self, event: ViewSeen) -> Table:
        """Take over one list; returns the one before it."""
        before = self.tables.get(event.service, NOTHING)
        self.tables[event.service] = Table(event.at_ms, event.instances, event.flags)
        self.flag(event.flags, event.at_ms)
        return before

    def flag(self, flags: tuple[str, ...], at_ms: int) -> None:
        if "preserved" in self.flags and "preserved" not in flags:
            self.preserved_ms = at_ms
        self.flags = flags


class HistoryState:
    def __init__(self, nodes: Sequence[str]) -> None:
        self.reach = Reach(nodes)
        self.claims = Claims()
        self.copies = Copies()
        self.parties: dict[str, Party] = {}
        self.nodes: dict[str, NodeLife | None] = dict.fromkeys(nodes)
        self.lives = dict.fromkeys(nodes, 0)
        self.ended_ms: dict[tuple[str, int], int] = {}  # when each life of a node was over
        self.unlisted: set[str] = set()  # members that the lists of the others do not name at the moment
        self.listed_ms = dict.fromkeys(nodes, 0)  # when each last came back into them
        self.paused_ms = dict.fromkeys(nodes, 0)  # when each last began to stand still
        self.resumed_ms = dict.fromkeys(nodes, 0)  # when each last went on after it stood still
        self.stalls: list[tuple[int, int]] = []  # of all nodes that stood still and went on: from when to when
        self._path_ms: int | None = None  # when paths changed that nothing was worked out from yet
        self._slowing: set[int] = set()  # faults under way that only make things slow
        self._slow_until_ms = 0

    def note(self, event: Event) -> None:
        """Everything but lists, which are judged against what was before."""
        match event:
            case OrderSent():
                self._on_order(event)
            case OrderAnswered():
                self.claims.answered(event)
            case SessionSeen():
                self._on_session(event)
            case ClientEnded():
                self._on_client_ended(event)
            case ClientStood():
                self._on_client_stood(event)
            case NodeSeen():
                self._on_node(event)
            case PathSeen():
                self.reach.path(event.source, event.target, event.carries, event.at_ms)
                self._path_ms = event.at_ms
            case FaultBegan() | FaultEnded():
                self._on_fault(event)
            case ViewSeen() | MemorySeen():
                return
            case _:
                assert_never(event)

    def settle_paths(self) -> None:
        """Paths change in bursts; what follows from them is worked out before anything else is looked at."""
        if self._path_ms is not None:
            self.reach.regroup(self._path_ms)
            self._note_reach(self._path_ms)
            self._path_ms = None

    # -- what can be asked

    def party(self, client: str) -> Party:
        if client not in self.parties:
            self.parties[client] = Party(client)
        return self.parties[client]

    def reached_since_ms(self, claim: Claim, node: str) -> int | None:
        """Since when the node can know of the claim; None if it cannot now."""
        since_ms = self.parties[claim.client].reached_since_ms.get(node)
        return None if since_ms is None else max(since_ms, claim.settled_ms)

    def has_stood_since(self, claim: Claim, at_ms: int) -> bool:
        """Acknowledged before that time, and served by one session ever since."""
        serving = self.parties[claim.client].serving
        return serving is not None and max(serving.since_ms, claim.settled_ms) <= at_ms

    def is_slowed(self, at_ms: int) -> bool:
        """Something makes things slow, or has just done so."""
        return bool(self._slowing) or at_ms < self._slow_until_ms

    def news_moved_ms(self, name: str, owner: str, done_by_ms: int) -> int:
        """When what the owner had done by then last came closer to this node, itself or who passes it on; 0: all is
        here."""
        passing = [each for each in self.reach.named(self.reach.groups[name]) if each not in (name, owner)]
        return self.copies.moved_ms(name, owner, done_by_ms, () if self.reach.is_open(name, owner) else passing)

    def is_up_to_date(self, party: Party, service: str) -> bool:
        """The last list that this subscriber was told is its node's."""
        if party.serving is None or party.still:
            return False
        node = self.nodes[party.serving.node]
        told = party.told.get(service)
        table = node.tables.get(service, NOTHING) if node is not None else NOTHING
        return told is not None and told.instances == table.instances

    def unsettled(self) -> list[str]:
        """In a time of peace: what is not yet as it must be in the end."""
        self.settle_paths()
        wrong: list[str] = []
        for name, node in self.nodes.items():
            if node is None or not node.is_ready:
                wrong.append(f"{name} is not ready")
                continue
            for listed in self.claims.of_listed:
                shown, meant = node.shows(listed), self.claims.meant(listed)
                if shown not in meant if meant else shown is not None:
                    wrong.append(f"{name} lists {listed[1]} of {listed[0]} as {shown}, not {sorted(meant)}")
        for party in self.parties.values():
            for service in sorted(party.subscribed) if party.alive else ():
                if not self.is_up_to_date(party, service):
                    wrong.append(f"{party.client} does not know what its node lists for {service}")
        return wrong

    # -- what happened

    def _on_order(self, event: OrderSent) -> None:
        self.claims.sent(event)
        party = self.party(event.client)
        if event.kind == "subscribe":
            party.subscribed.setdefault(event.service, event.at_ms)
        elif event.kind == "unsubscribe":
            party.subscribed.pop(event.service, None)
            party.told.pop(event.service, None)
        elif event.kind == "query":
            party.asked[event.number] = event.at_ms

    def _on_session(self, event: SessionSeen) -> None:
        party, life = self.party(event.client), self.lives.get(event.node, 0)
        serving = Serving(event.node, event.session, life, event.at_ms) if event.node else None

        def knows(older: Serving) -> bool:
            return self.lives[older.node] != older.life or self.reach.are_together(event.node, older.node)

        party.serve(serving, knows)
        party.note_reach(self.reach, self.lives, event.at_ms)

    def _on_client_ended(self, event: ClientEnded) -> None:
        party = self.party(event.client)
        party.alive = False
        serving = party.serving
        if serving is None or not self.reach.is_open(event.client, serving.node):
            event = msgspec.structs.replace(event, how="vanished")  # no node hears its end
        self.claims.ended(event)
        party.note_reach(self.reach, self.lives, event.at_ms)

    def _on_client_stood(self, event: ClientStood) -> None:
        party = self.party(event.client)
        if event.blocked:
            party.blocked, party.blocked_ms = event.still, event.at_ms
        else:
            party.still = event.still
            party.resumed_ms = event.at_ms
        if not event.still:
            party.went_on_ms = event.at_ms
        party.note_reach(self.reach, self.lives, event.at_ms)

    def _on_node(self, event: NodeSeen) -> None:
        name, node = event.node, self.nodes[event.node]
        match event.what:
            case "started":
                self.nodes[name] = NodeLife(event.at_ms)
                self.lives[name] += 1
                self.reach.run(name, True, event.at_ms)
            case "ready":
                assert node is not None, "only a node that has started gets ready"
                node.ready_ms = event.at_ms if not node.is_ready else node.ready_ms
                node.flag(event.flags, event.at_ms)
            case "crashed" | "left":
                self.nodes[name] = None
                self.ended_ms[name, self.lives[name]] = event.at_ms
                self.reach.run(name, False, event.at_ms)
            case "leaving":
                assert node is not None, "only a node that has started can leave"
                node.is_leaving = True
            case "unlisted":
                self.unlisted.add(name)
            case "listed":
                self.unlisted.discard(name)
                self.listed_ms[name] = event.at_ms
            case "paused":
                self.paused_ms[name] = event.at_ms
                self.reach.run(name, False, event.at_ms)
            case "resumed":
                self.resumed_ms[name] = event.at_ms
                self.stalls.append((self.paused_ms[name], event.at_ms))
                self.reach.run(name, True, event.at_ms)
            case _:
                assert_never(event.what)
        self._note_reach(event.at_ms)

    def _note_reach(self, at_ms: int) -> None:
        for party in self.parties.values():
            party.note_reach(self.reach, self.lives, at_ms)

    def _on_fault(self, event: FaultBegan | FaultEnded) -> None:
        if isinstance(event, FaultBegan):
            if event.kind in SLOWING:
                self._slowing.add(event.number)
        elif event.number in self._slowing:
            self._slowing.discard(event.number)
            self._slow_until_ms = event.at_ms + SLOW_AFTER_MS
