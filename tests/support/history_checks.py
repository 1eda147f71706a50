"""The checks that read a history, event by event: in the simulated swarm while it runs, in a chaos round afterwards.

A2: what a live client publishes is listed, as last acknowledged, by every node that its session can reach; and once an
order that waits for the cluster is done, by every node that is reached at that moment.
A3: what was withdrawn, or whose client is gone, leaves every node in its time (zombies.py), and does not come back.
A7: in one session nobody sees an older list after a newer one, and a query shows what was acknowledged before it.
A8: the last list that a subscriber was told is the one that its node has.
A9: no node that a client's session reaches drops a live instance, whatever befalls the registry. Exactly: an instance
of a living client that a ready node of the majority has shown must not disappear from it while, for the chain time
(notice, connect, redo), that process has had a session without a break, at a node that runs and from which the other is
reachable both ways, directly or through nodes that run. Removals outside of this are excused, and counted.
A10: a node that says it is ready lists what all others it can reach have listed since before it started.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.claims import Claim, Listed
from tests.support.history import Event, NodeSeen, OrderAnswered, PathSeen, ViewSeen
from tests.support.history_state import NOTHING, HistoryState, NodeLife
from tests.support.parties import Party, Serving
from tests.support.reach import NEVER_MS
from tests.support.zombies import Bounds, deadline_ms, judged_ms, may_return


class ViolationFound(AssertionError):
    """One invariant is broken; ``invariant`` is its short name (A9), the text says what happened."""

    def __init__(self, invariant: str, text: str, subject: str = "") -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant
        self.subject = subject  # the client that it is about, if there is one


class HistoryChecks(HistoryState):
    """Feed it every event in order of time, and ``sweep`` at least once a second; it raises ViolationFound."""

    def __init__(self, nodes: Sequence[str], bounds: Bounds | None = None) -> None:
        super().__init__(nodes)
        self.bounds = bounds or Bounds()
        self.counts = dict.fromkeys(("A2", "A3", "A7", "A8", "A9", "A10"), 0)  # how often each was looked at
        self.removals_excused = 0
        self.zombie_ms: list[int] = []  # how long nodes listed clients that died with their own, once they could judge
        self.guarded_ms: list[int] = []  # the same, of services that the shrink guard held

    def see(self, event: Event) -> None:
        if not isinstance(event, PathSeen):
            self.settle_paths()
        match event:
            case ViewSeen(how="table"):
                node = self.nodes[event.node]
                if node is not None:
                    self._on_table(event, node)
            case ViewSeen():
                self._on_told(event)
            case NodeSeen(what="ready"):
                was_ready = (before := self.nodes[event.node]) is not None and before.is_ready
                self.note(event)
                node = self.nodes[event.node]
                if node is not None and not was_ready:
                    self._check_readiness(event.node, node)
            case OrderAnswered(error=""):
                waits = self.claims.waits_for_cluster(event)
                self.note(event)
                if waits:
                    self._check_confirmed(event)
            case _:
                self.note(event)

    def sweep(self, at_ms: int) -> None:
        """Look at everything that should have happened by now."""
        self.settle_paths()
        for name, node in self.nodes.items():
            if node is not None and node.is_ready and self.reach.runs(name):
                self._sweep_missing(name, node, at_ms)
                self._sweep_zombies(name, node, at_ms)
        for party in self.parties.values():
            self._check_told(party, at_ms)

    # -- lists that applications are told

    def _on_told(self, event: ViewSeen) -> None:
        party = self.party(event.observer)
        before = party.told.get(event.service)
        self.counts["A7"] += 1
        if event.how == "query":
            self._check_own_writes(party, event)
        if before is not None and before.session == event.session and before.version > event.version:
            self._fail(
                "A7",
                f"{event.observer} saw version {event.version} of {event.service} after {before.version}"
                f" in session {event.session}",
                event.observer,
            )
        if event.service in party.subscribed:
            party.told[event.service] = event

    def _check_own_writes(self, party: Party, event: ViewSeen) -> None:
        asked_ms = party.asked.pop(event.number, None)
        for (service, key), claim in self.claims.of_client.get(party.client, {}).items():
            if service != event.service or asked_ms is None or not claim.is_sure or claim.settled_ms > asked_ms:
                continue
            if key not in event.instances:
                self._fail(
                    "A7",
                    f"{party.client} published {key} of {service} (acknowledged at {claim.settled_ms} ms), asked at"
                    f" {asked_ms} ms, and {event.node} did not show it",
                    party.client,
                )

    # -- lists that nodes have

    def _on_table(self, event: ViewSeen, node: NodeLife) -> None:
        before = node.take(event)
        for key in sorted(before.instances.keys() - event.instances.keys()):
            node.dropped[event.service, key] = event.at_ms
            self._measure_zombie(event, node, key, self.guarded_ms if "guarded" in before.flags else self.zombie_ms)
            self._on_dropped(event.node, node, (event.service, key), event.at_ms)
        for key in sorted(event.instances.keys() - before.instances.keys()):
            if (event.service, key) in node.dropped:
                self._on_returned(event.node, node, (event.service, key), event.at_ms)

    def _on_dropped(self, name: str, node: NodeLife, listed: Listed, at_ms: int) -> None:
        for claim in self.claims.of_listed.get(listed, []):
            if not claim.is_sure:
                continue
            self.counts["A9"] += 1
            reached_ms = self.reached_since_ms(claim, name)
            patient = reached_ms is not None and at_ms - reached_ms >= self.bounds.chain_ms
            if node.is_ready and self.reach.majority_since_ms[name] != NEVER_MS and patient:
                self._fail(
                    "A9",
                    f"{name} dropped {listed[1]} of {listed[0]} though {claim.client} lives, and has reached it since"
                    f" {reached_ms} ms",
                    claim.client,
                )
            self.removals_excused += 1

    def _measure_zombie(self, event: ViewSeen, node: NodeLife, key: str, lasted_ms: list[int]) -> None:
        """For how long a client that died with its node, or after it, was listed once this node could tell."""
        claims = self.claims.on(event.service, key)
        if not claims or any(claim.is_possible for claim in claims):
            return
        claim = max(claims, key=lambda claim: claim.gone)
        sessions = self.parties[claim.client].sessions
        if not sessions or claim.gone.how == "withdrawn":
            return
        ended_ms = self.ended_ms.get((sessions[-1].node, sessions[-1].life))
        could_ms = judged_ms(self, event.node, node, sessions[-1])
        if ended_ms is not None and could_ms is not None:
            lasted_ms.append(event.at_ms - max(ended_ms, claim.gone.since_ms, could_ms))

    def _on_returned(self, name: str, node: NodeLife, listed: Listed, at_ms: int) -> None:
        claims = self.claims.of_listed.get(listed, [])
        self.counts["A3"] += 1
        if any(claim.is_possible for claim in claims) or not claims or self.reach.majority_since_ms[name] == NEVER_MS:
            return
        back_ms = max(self.reach.majority_since_ms[name], self.resumed_ms[name])
        if at_ms - back_ms < self.bounds.equal_ms + self.bounds.settle_ms:
            return  # it was cut off or stood still, and agrees with the others in this time; nobody signs in meanwhile
        claim = max(claims, key=lambda claim: claim.gone)
        if may_return(self, self.bounds, claim, at_ms):
            return
        if not node.is_ready:
            return  # it loads, owner by owner
        if "guarded" in node.tables[listed[0]].flags:
            return  # what comes late of an owner that is held on to is shown like the rest of it
        if any(self._is_out_of_reach(name, serving) for serving in self.parties[claim.client].sessions):
            return  # only the node that took its last order knows of it
        if at_ms - claim.gone.since_ms > self.bounds.sync_ms:
            self._fail(
                "A3",
                f"{name} lists {listed[1]} of {listed[0]} again, dropped at {node.dropped[listed]} ms, though it was"
                f" {claim.gone.how} at {claim.gone.since_ms} ms",
                claim.client,
            )

    def _is_out_of_reach(self, name: str, serving: Serving) -> bool:
        """It lives and runs beyond a cut."""
        lives = self.lives[serving.node] == serving.life and self.reach.runs(serving.node)
        return lives and not self.reach.are_together(name, serving.node)

    # -- what should have happened

    def _sweep_missing(self, name: str, node: NodeLife, at_ms: int) -> None:
        if "warming" in node.flags:
            return
        for listed, claims in self.claims.of_listed.items():
            sure = [claim for claim in claims if claim.is_sure]
            if not sure:
                continue
            self.counts["A2"] += 1
            shown = node.shows(listed)
            if shown is not None and (len(claims) > 1 or shown in sure[0].payloads):
                continue  # which of several claims counts is another matter (A6)
            since_ms = [self.reached_since_ms(claim, name) for claim in sure]
            if any(since is None or at_ms - since <= self.bounds.chain_ms for since in since_ms):
                continue
            if any(self._is_on_its_way(claim, name, at_ms) for claim in sure):
                continue
            self._fail(
                "A2",
                f"{name} lists {listed[1]} of {listed[0]} as {shown}, not as {sorted(sure[0].payloads)}, though"
                f" {sure[0].client} has reached it since {since_ms[0]} ms",
                sure[0].client,
            )

    def _is_on_its_way(self, claim: Claim, name: str, at_ms: int) -> bool:
        """Each step of a transfer on a slow path has the time of an exchange."""
        serving = self.parties[claim.client].serving
        if serving is None or not self.is_slowed(at_ms):
            return False
        ordered_ms = max(serving.since_ms, claim.settled_ms) + self.bounds.gone_ms
        moved_ms = self.news_moved_ms(name, serving.node, ordered_ms)
        return at_ms - moved_ms <= self.bounds.sync_ms

    def _check_confirmed(self, event: OrderAnswered) -> None:
        """An order that waited for the cluster is done: every node that its node can reach lists what it published."""
        party = self.party(event.client)
        serving = party.serving
        if serving is None or 0 < party.went_on_ms >= event.at_ms - self.bounds.sync_ms:
            return  # who stood still may read only now what was true when it was said
        for listed, claim in self.claims.of_client[event.client].items():
            if claim.settled_by != event.number or not claim.is_sure:
                continue
            self.counts["A2"] += 1
            for name in self.reached_calmly(serving.node, event.at_ms):
                node = self.nodes[name]
                if node is None or node.shows(listed) is not None:
                    continue
                self._fail(
                    "A2",
                    f"{serving.node} told {event.client} that everybody has {listed[1]} of {listed[0]}, and {name}"
                    " does not list it",
                    event.client,
                )

    def reached_calmly(self, node: str, at_ms: int) -> list[str]:
        """The nodes that this one must have asked if it says now that everybody has something."""
        found = []
        for name in self.reach.named(self.reach.groups[node]):
            changed_ms = max(self.reach.together_since_ms(name, node), self.reach.stands_since_ms(name, node))
            life, calm = self.nodes[name], changed_ms < at_ms - self.bounds.sync_ms
            if life is not None and life.is_ready and not life.is_leaving and calm:
                found.append(name)
        return found

    def _sweep_zombies(self, name: str, node: NodeLife, at_ms: int) -> None:
        for service, table in node.tables.items():
            for key in table.instances:
                if not any(claim.is_possible for claim in self.claims.on(service, key)):
                    self.counts["A3"] += 1
                    self._check_zombie(name, node, (service, key), at_ms)

    def _check_zombie(self, name: str, node: NodeLife, listed: Listed, at_ms: int) -> None:
        claims = self.claims.of_listed.get(listed, [])
        if not claims:
            self._fail("A3", f"{name} lists {listed[1]} of {listed[0]}, which nobody has ever published")
        deadlines = [(deadline_ms(self, self.bounds, name, node, claim, at_ms), claim) for claim in claims]
        if any(until_ms is None for until_ms, _ in deadlines):
            return
        until_ms, claim = max(((until or 0, claim) for until, claim in deadlines), key=lambda each: each[0])
        if at_ms > until_ms:
            self._fail(
                "A3",
                f"{name} still lists {listed[1]} of {listed[0]}, {claim.gone.how} by {claim.client} at"
                f" {claim.gone.since_ms} ms; it had time until {until_ms} ms",
                claim.client,
            )

    def _check_readiness(self, name: str, node: NodeLife) -> None:
        others = [
            other
            for peer, other in self.nodes.items()
            if other is not None and peer != name and other.is_ready and self.reach.are_together(name, peer)
        ]
        if not others or "warming" in node.flags:
            return
        before_ms = node.started_ms - self.bounds.chain_ms
        for listed, claims in self.claims.of_listed.items():
            self.counts["A10"] += 1
            reached = [claim for claim in claims if claim.is_sure and self._could_load(claim, name, node)]
            stood = any(self.has_stood_since(claim, before_ms) for claim in reached)
            missing = stood and node.shows(listed) is None
            guarded = any("guarded" in other.tables.get(listed[0], NOTHING).flags for other in others)
            # A new node has shown nothing yet: it does not hold on to what others keep for their subscribers' sake.
            if missing and not guarded and all(other.shows(listed) is not None for other in others):
                text = f"{name} is ready without {listed[1]} of {listed[0]}, which all others list"
                self._fail("A10", text, claims[0].client)

    def _could_load(self, claim: Claim, name: str, node: NodeLife) -> bool:
        """Whether paths have led to the claim since the node started, or for long enough."""
        since_ms = self.reached_since_ms(claim, name)
        if since_ms is None:
            return False
        return since_ms <= node.started_ms or node.ready_ms - since_ms > self.bounds.sync_ms

    def _check_told(self, party: Party, at_ms: int) -> None:
        """A8 of a subscriber whose session and list have not changed for as long as a change may take."""
        serving = party.serving
        if serving is None or not party.alive or party.still or party.blocked:
            return
        since_ms = party.reached_since_ms.get(serving.node)
        node = self.nodes[serving.node]
        if since_ms is None or node is None or self.is_slowed(at_ms) or "warming" in node.flags:
            return  # while its node warms, a client keeps what it was told before
        calm_ms = at_ms - self.bounds.sync_ms
        if max(since_ms, serving.since_ms, party.went_on_ms) > calm_ms:
            return
        for service, asked_ms in sorted(party.subscribed.items()):
            if asked_ms > calm_ms:
                continue
            self.counts["A8"] += 1
            table, told = node.tables.get(service, NOTHING), party.told.get(service)
            if "warming" in table.flags:
                continue  # it keeps what it knew before
            if told is not None and told.at_ms > calm_ms:  # a table that is looked at now and then may be the older one
                continue
            if table.since_ms < calm_ms and not self.is_up_to_date(party, service):
                self._fail(
                    "A8",
                    f"{party.client} knows {sorted(told.instances.items()) if told else 'nothing'} of {service},"
                    f" its node {serving.node} lists {sorted(table.instances.items())}",
                    party.client,
                )

    def _fail(self, invariant: str, text: str, subject: str = "") -> None:
        raise ViolationFound(invariant, text, subject)
