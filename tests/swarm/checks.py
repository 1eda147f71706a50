"""What can be asked of a history only where its times are exact to the millisecond: in the simulator.

A1: nodes list the same, but for one that lists the dead for a while yet where others list who lives at that address.
A6: of two clients that publish one instance key, every node shows what was published last, if whoever took that order
listed the other's by then: so its stamp is the newer one.
A3, of nodes that start when an owner is dead already: its lease goes on for them where it stood.
A9, of what is out of reach: a node that hears less than half of the members drops nothing that it cannot judge.
A10: a subscriber of a node that has started with the whole cluster forgets nobody for one lease.
A9, of those who are between two sessions: what a client publishes outlives the node that held its session, if that node
ended while all was well with it, for as long as nobody can take its silence for a death. So who cannot sign in
elsewhere at once, because its application is busy, is not missed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.support.claims import Claim, Listed
from tests.support.history import Event, NodeSeen, OrderAnswered, OrderSent, ViewSeen
from tests.support.history_checks import HistoryChecks
from tests.support.history_state import NOTHING, NodeLife
from tests.support.parties import Party, Serving
from tests.support.reach import NEVER_MS
from tests.support.zombies import Bounds, deadline_ms, read_ms

FLASH_MS = 100  # what several owners did comes within one exchange with each


class Overtaken(NamedTuple):
    """A client has published a key that another one had, at a node that knew."""

    later: Claim
    earlier: Claim
    number: int  # the order of the later one
    serving: Serving  # who took it
    orders_of_earlier: int  # for this service, by then


class Ended(NamedTuple):
    """One life of a node that was well until its end."""

    at_ms: int
    nodes: frozenset[str]  # that knew all of it
    clients: frozenset[str]  # whose sessions it held


class SwarmChecks(HistoryChecks):
    def __init__(self, nodes: Sequence[str], bounds: Bounds, spared_ms: int, warming_ms: int) -> None:
        super().__init__(nodes, bounds)
        self.counts["A6"] = 0
        self.spared_ms = spared_ms  # nothing of a node that has ended is hidden sooner
        self.warming_ms = warming_ms  # for so long after a cold start nothing is removed from what subscribers know
        self._cold_until_ms: dict[tuple[str, int], int] = {}  # by node and life
        self._informed: set[tuple[str, int]] = (
            set()
        )  # by node and life: who has met a ready one that ended before it was
        self._orders: dict[tuple[str, str], int] = {}  # by client and service: changes ordered so far
        self._overtaken: dict[Listed, Overtaken] = {}
        self._flashes: dict[tuple[str, Listed], int] = {}  # by node: what it lists again since when, just after a cut
        self._shown_before: dict[str, str] = {}  # what the node listed whose list is looked at
        self._ended: dict[tuple[str, int], Ended] = {}  # by node and life

    def see(self, event: Event) -> None:
        if isinstance(event, NodeSeen) and event.what in ("crashed", "left"):
            self._on_node_ended(event)
            self._note_informed(event.node)
        was_ready = self._is_ready(event.node) if isinstance(event, NodeSeen) else False
        super().see(event)
        if isinstance(event, NodeSeen) and event.what == "ready" and not was_ready:
            self._on_node_ready(event)
        if isinstance(event, OrderSent) and event.kind in ("publish", "withdraw"):
            self._on_change_ordered(event)
        elif isinstance(event, OrderAnswered):
            self._on_change_answered(event)

    def _is_ready(self, name: str) -> bool:
        node = self.nodes[name]
        return node is not None and node.is_ready

    def sweep(self, at_ms: int) -> None:
        super().sweep(at_ms)
        for listed, overtaken in sorted(self._overtaken.items()):
            if overtaken.later.settled_by == overtaken.number:
                self._check_overtaken(listed, overtaken, at_ms)

    # -- A1

    def differences(self, names: Sequence[str], at_ms: int) -> Iterator[str]:
        """What these nodes do not list the same, of what may be alive and as far as each of them can tell."""
        self.settle_paths()
        for listed, claims in self.claims.of_listed.items():
            shown = {name: self._shows(name, listed) for name in names}
            if len(set(shown.values())) > 1 and any(claim.is_possible for claim in claims):
                judged = {name: shown[name] for name in names if not self._is_judged_later(name, listed, at_ms)}
                if len(set(judged.values())) > 1:
                    yield f"{listed[1]} of {listed[0]} is listed as {judged}"

    def _shows(self, name: str, listed: Listed) -> str | None:
        node = self.nodes[name]
        return node.shows(listed) if node is not None else None

    def _is_judged_later(self, name: str, listed: Listed, at_ms: int) -> bool:
        """It lists who has published the same instance last and is gone, and has time for that still (A3)."""
        node, shown = self.nodes[name], self._shows(name, listed)
        claims = [claim for claim in self.claims.on(*listed) if shown in claim.said]
        if node is None or any(claim.is_possible for claim in claims):
            return False
        deadlines = [deadline_ms(self, self.bounds, name, node, claim, at_ms) for claim in claims]
        return any(until_ms is None or at_ms <= until_ms for until_ms in deadlines)

    # -- A6

    def _on_change_ordered(self, event: OrderSent) -> None:
        key = (event.client, event.service)
        self._orders[key] = self._orders.get(key, 0) + 1
        for instance in event.instances:
            listed = (event.service, instance)
            known = self._overtaken.get(listed)
            if known is not None and event.client in (known.later.client, known.earlier.client):
                del self._overtaken[listed]
            if event.kind == "publish":
                self._note_overtaking(event, listed)

    def _note_overtaking(self, event: OrderSent, listed: Listed) -> None:
        serving, claims = self.party(event.client).serving, self.claims.on(*listed)
        node = self.nodes[serving.node] if serving is not None else None
        if serving is None or node is None or len(claims) != 2:
            return
        later, earlier = sorted(claims, key=lambda claim: claim.client != event.client)
        is_known = earlier.is_sure and not earlier.pending and node.shows(listed) == earlier.payload
        if is_known and later.payload is None:
            orders = self._orders.get((earlier.client, event.service), 0)
            self._overtaken[listed] = Overtaken(later, earlier, event.number, serving, orders)

    def _on_change_answered(self, event: OrderAnswered) -> None:
        """Somebody else may have taken the order in the end, who knew nothing of the other claim."""
        for listed, overtaken in list(self._overtaken.items()):
            is_it = (overtaken.later.client, overtaken.number) == (event.client, event.number)
            if is_it and self.party(event.client).serving != overtaken.serving:
                del self._overtaken[listed]

    def _check_overtaken(self, listed: Listed, overtaken: Overtaken, at_ms: int) -> None:
        later, earlier = overtaken.later, overtaken.earlier
        has_more = self._orders[earlier.client, listed[0]] != overtaken.orders_of_earlier
        if has_more or not (later.is_sure and earlier.is_sure) or len(self.claims.on(*listed)) != 2:
            return
        for name, node in self.nodes.items():
            if node is None or not node.is_ready or not self.reach.runs(name):
                continue
            since_ms = [self.reached_since_ms(claim, name) for claim in (later, earlier)]
            if any(since is None or at_ms - since <= self.bounds.chain_ms for since in since_ms):
                continue
            self.counts["A6"] += 1
            shown = node.shows(listed)
            if shown not in later.payloads:
                text = f"{name} lists {listed[1]} of {listed[0]} as {shown}, not as {sorted(later.payloads)}: published"
                text += f" last, by {later.client} at {overtaken.serving.node}, which listed that of {earlier.client}"
                self._fail("A6", text, later.client)

    # -- A3

    def _check_zombie(self, name: str, node: NodeLife, listed: Listed, at_ms: int) -> None:
        super()._check_zombie(name, node, listed, at_ms)
        claim = max(self.claims.on(*listed), key=lambda claim: claim.gone)
        ends_ms = [self.ended_ms.get((serving.node, serving.life)) for serving in self.parties[claim.client].sessions]
        known_ms = [end_ms for end_ms in ends_ms if end_ms is not None]
        majority_ms = self.reach.majority_since_ms[name]
        has_been_well = (
            NEVER_MS < majority_ms <= node.started_ms
            and max(self.resumed_ms[name], *self.listed_ms.values()) < node.started_ms
            and not self.unlisted
            and node.preserved_ms == NEVER_MS
            and "preserved" not in node.flags
            and not self.is_slowed(at_ms)
        )
        if not has_been_well or len(known_ms) < len(ends_ms):
            return
        guarded_ms = self.bounds.guard_ms if "guarded" in node.tables[listed[0]].flags else 0
        read = [read_ms(self, self.bounds, serving) for serving in self.parties[claim.client].sessions]
        until_ms = max(*known_ms, *read, claim.gone.since_ms) + self.bounds.owner_ms + guarded_ms
        if at_ms > max(until_ms, node.ready_ms + self.bounds.sync_ms + guarded_ms):
            text = f"{name} still lists {listed[1]} of {listed[0]}, {claim.gone.how} like the node of {claim.client}"
            self._fail("A3", f"{text}: until {until_ms} ms. {name} has started since and grants more", claim.client)

    def _on_returned(self, name: str, node: NodeLife, listed: Listed, at_ms: int) -> None:
        """After a cut what several owners did meanwhile comes from each in its turn; that takes a moment."""
        claims = self.claims.on(*listed)
        if not claims or any(claim.is_possible for claim in claims):
            return
        for serving in self.parties[max(claims, key=lambda claim: claim.gone).client].sessions:
            joined_ms = self.reach.together_since_ms(name, serving.node)
            is_back = self.reach.are_together(name, serving.node) and at_ms - joined_ms <= self.bounds.sync_ms
            if is_back and joined_ms > max(self.resumed_ms[serving.node], node.started_ms):
                self._flashes[name, listed] = at_ms
                return
        super()._on_returned(name, node, listed, at_ms)

    def _check_flash(self, name: str, node: NodeLife, listed: Listed, at_ms: int) -> None:
        since_ms = self._flashes.pop((name, listed), at_ms)
        claims = self.claims.of_listed.get(listed, [])
        is_long = at_ms - since_ms > FLASH_MS and since_ms > node.started_ms and not self.is_slowed(at_ms)
        if not is_long or any(claim.is_possible for claim in claims):
            return
        deadlines = [deadline_ms(self, self.bounds, name, node, claim, at_ms) for claim in claims]
        known = [until_ms for until_ms in deadlines if until_ms is not None]
        if len(known) == len(deadlines) and at_ms > max(known):
            text = f"{name} listed {listed[1]} of {listed[0]} again for {at_ms - since_ms} ms, and had time until"
            self._fail("A3", f"{text} {max(known)} ms", claims[-1].client)

    # -- A10

    def _note_informed(self, ended: str) -> None:
        """Who loads now may have all that this one knew, if they were together since it started."""
        for name, node in self.nodes.items():
            if node is None or node.is_ready or not self._is_ready(ended):
                continue
            if self.reach.are_together(name, ended) or self.reach.apart_since_ms(name, ended) > node.started_ms:
                self._informed.add((name, self.lives[name]))

    def _on_node_ready(self, event: NodeSeen) -> None:
        """Nobody was there to load from: only clients that sign in again can tell it who lives."""
        life = (event.node, self.lives[event.node])
        others = [node for name, node in self.nodes.items() if name != event.node and node is not None]
        if life not in self._informed and not any(node.is_ready for node in others):
            self._cold_until_ms[life] = event.at_ms + self.warming_ms

    def _on_told(self, event: ViewSeen) -> None:
        party = self.party(event.observer)
        before = party.told.get(event.service)
        super()._on_told(event)
        node = self.nodes[event.node] if event.node else None
        if (
            before is None
            or node is None
            or any(life != self.lives[event.node] for life in party.lives_of(event.session))
            or event.at_ms >= self._cold_until_ms.get((event.node, self.lives[event.node]), 0)
        ):
            return
        for key in sorted(before.instances.keys() - event.instances.keys()):
            self.counts["A10"] += 1
            claims = [claim for claim in self.claims.on(event.service, key) if claim.is_sure]
            if claims and before.at_ms < node.started_ms and claims[0].settled_ms < node.started_ms:
                text = f"{event.observer} was told that {key} of {event.service} is gone, by {event.node}, which has"
                self._fail("A10", f"{text} started with the whole cluster and cannot know", event.observer)

    # -- A9

    def _keeps_what_it_cannot_judge(self, claim: Claim, name: str, node: NodeLife, at_ms: int) -> bool:
        """A node that has lost more than half of the members, among them all that ever served this client: they live,
        and it cannot know."""
        far = [other for other in self.nodes if not self.reach.are_together(name, other)]
        owners = {serving.node for serving in self.parties[claim.client].sessions}
        if 2 * len(far) <= len(self.nodes) or not owners <= set(far) or not all(map(self.reach.runs, self.nodes)):
            return False
        starts_ms = [life.started_ms for other in far if (life := self.nodes[other]) is not None]
        parted_ms = [self.reach.apart_since_ms(name, other) for other in far]
        first_ms, last_ms = min(parted_ms), max(parted_ms)
        is_alone = len(far) == len(self.nodes) - 1
        if not is_alone and self.parties[claim.client].went_on_ms > first_ms - self.bounds.sync_ms:
            return (
                False  # it stood still and was rightly removed, and some of those who are near may have heard of that
            )
        if self.is_slowed(at_ms):
            return False  # a path so slow that nobody could dial on it counts as closed, and may still carry
        is_listed = not self.unlisted and max(self.listed_ms.values()) < first_ms - self.bounds.sync_ms
        was_well = node.is_ready and max(self.resumed_ms.values()) < first_ms - self.bounds.sync_ms
        are_same = max(starts_ms) < last_ms
        return is_listed and was_well and are_same and at_ms - last_ms > self.bounds.sync_ms

    def _on_node_ended(self, event: NodeSeen) -> None:
        """Before it is noted: who was well until this moment, and whom it concerns."""
        owner, calm_ms = event.node, event.at_ms - self.bounds.vanished_ms
        life, node = self.lives[owner], self.nodes[owner]
        is_quiet = not self.unlisted and max(self.listed_ms.values()) < calm_ms and not self.is_slowed(event.at_ms)
        if node is None or not is_quiet or self.resumed_ms[owner] >= calm_ms:
            return
        nodes = [name for name in self.nodes if self._knew_well(name, owner, calm_ms)]
        clients = [party.client for party in self.parties.values() if self._was_served(party, owner, life, calm_ms)]
        self._ended[owner, life] = Ended(event.at_ms, frozenset(nodes), frozenset(clients))

    def _knew_well(self, name: str, owner: str, calm_ms: int) -> bool:
        node = self.nodes[name]
        if node is None or not node.is_ready or not (self.reach.runs(name) and self.reach.runs(owner)):
            return False  # who stands still knows only what was before; an owner that does may be given up rightly
        is_calm = max(node.ready_ms, self.resumed_ms[name]) < calm_ms
        paths_ms = (self.reach.together_since_ms(name, owner), self.reach.stands_since_ms(name, owner))
        return is_calm and name != owner and self.reach.is_open(name, owner) and max(paths_ms) < calm_ms

    def _was_served(self, party: Party, owner: str, life: int, calm_ms: int) -> bool:
        serving = party.serving
        if serving is None or (serving.node, serving.life) != (owner, life) or not party.alive or party.still:
            return False
        path_ms = self.reach.stands_since_ms(party.client, owner)
        is_heard = self.reach.is_open(party.client, owner)
        return is_heard and max(serving.since_ms, path_ms, party.went_on_ms) < calm_ms

    def _on_table(self, event: ViewSeen, node: NodeLife) -> None:
        """What the list before it said of itself (``guarded``) holds for what is in it no more."""
        self._shown_before = node.tables.get(event.service, NOTHING).instances
        for key in sorted(self._shown_before.keys() - event.instances.keys()):
            self._check_flash(event.node, node, (event.service, key), event.at_ms)
        super()._on_table(event, node)

    def _on_dropped(self, name: str, node: NodeLife, listed: Listed, at_ms: int) -> None:
        super()._on_dropped(name, node, listed, at_ms)
        for claim in self.claims.of_listed.get(listed, []):
            if self._shown_before[listed[1]] not in claim.payloads:
                continue  # it has dropped the instance as another client published it
            if claim.is_sure and self._keeps_what_it_cannot_judge(claim, name, node, at_ms):
                text = (
                    f"{name} dropped {listed[1]} of {listed[0]}, of {claim.client}, which lives, though it hears less"
                )
                self._fail("A9", f"{text} than half of the members", claim.client)
            sessions = self.parties[claim.client].sessions
            ended = self._ended.get((sessions[-1].node, sessions[-1].life)) if sessions else None
            if ended is None or not claim.is_sure or claim.settled_ms > ended.at_ms - self.bounds.vanished_ms:
                continue
            knew_well = name in ended.nodes and node.is_ready and node.ready_ms < ended.at_ms  # it, and no later life
            if knew_well and claim.client in ended.clients:
                self.counts["A9"] += 1
                if at_ms < ended.at_ms + self.spared_ms:
                    text = (
                        f"{name} dropped {listed[1]} of {listed[0]} {at_ms - ended.at_ms} ms after the end of the node"
                    )
                    self._fail("A9", f"{text} that served {claim.client}, which lives", claim.client)
