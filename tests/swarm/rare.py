"""What random work and random faults hardly ever bring about, and what some rule is there for.

Made from a plan, by a source of chance of its own, so that the rest of the plan stays as it is.
"""

from __future__ import annotations

import random

import msgspec

from tests.swarm.plan import Deed, Plan, make_plan

BURSTS = 10
BURSTS_PER_FAULT = {"duplication": 12, "loss": 4, "delay": 4, "reset": 4}  # repeats, and what comes late
HOPS = 4
CLAIMS = 3
CHANGES_PER_CRASH = 8
KILLS_PER_PAUSE = 6
FORGETFUL_SHARE = 0.3  # of the seeds keep so few tombstones that most are younger than the shipped settings let them be
TOMBSTONES_MAX = 25
PAYLOAD_FIRST = 1_000_000  # above those of the plan
CRASHES = frozenset({"crash", "crash with clients", "power loss", "new address", "failpoint", "isolation", "pause"})
LONG_PAUSE_MS = 10_000  # unscaled


def whole_plan(seed: int, nodes: int, clients: int, scale: int) -> Plan:
    """What the swarm runs under this seed: the plan, and what is rare."""
    plan = make_plan(seed, nodes, clients, scale)
    rare = RareDeeds(plan)
    deeds = tuple(sorted([*plan.deeds, *rare.make()], key=lambda deed: deed.at_ms))
    return msgspec.structs.replace(plan, deeds=deeds, tombstones_max=rare.tombstones_max)


class RareDeeds:
    def __init__(self, plan: Plan) -> None:
        self._chance = random.Random(f"rare {plan.seed} {plan.nodes}")
        self._plan = plan
        self._deeds: list[Deed] = []
        self._published = [deed for deed in plan.deeds if deed.kind == "publish"]
        self._payloads = PAYLOAD_FIRST
        self.tombstones_max = TOMBSTONES_MAX if self._chance.random() < FORGETFUL_SHARE else 0

    def make(self) -> list[Deed]:
        chance = self._chance
        for published in self._some(BURSTS):
            self._burst(published, published.at_ms + 1)
        for fault in self._plan.deeds:
            if fault.kind in CRASHES:
                self._change_around(fault)
            if fault.lasts_ms:
                for published in self._some(BURSTS_PER_FAULT.get(fault.kind, 0), before_ms=fault.at_ms):
                    self._burst(published, fault.at_ms + chance.randrange(fault.lasts_ms))
            if fault.kind == "pause" and fault.lasts_ms * self._plan.scale > LONG_PAUSE_MS:
                self._kill_during(fault)
        for published in self._some(HOPS):
            self._hop(published)
        for published in self._some(CLAIMS):
            self._deeds.append(Deed(published.at_ms, "foreign claim", nodes=tuple(self._some_nodes(2))))
        disaster = chance.choices(
            (self._nothing, self._twin_restart, self._cold_restart, self._rolling_restart, self._long_isolation),
            weights=(4, 2, 2, 2, 2),
        )[0]
        disaster(chance.randrange(8_000, self._plan.duration_ms - 25_000))
        return self._deeds

    # -- work

    def _burst(self, published: Deed, at_ms: int) -> None:
        """One publication changes faster than messages travel: versions, repeats and their order."""
        for _ in range(self._chance.randrange(3, 8)):
            (self._withdraw if self._chance.random() < 0.2 else self._publish)(published, at_ms)
            at_ms += self._chance.choice((1, 5, 20, 80, 200))

    def _change_around(self, crash: Deed) -> None:
        """What is withdrawn while a node goes, and changed while one comes back: tombstones that nobody was told of,
        owners that go on before the new node has caught up."""
        for at_ms, act in ((crash.at_ms, self._withdraw), (crash.at_ms + crash.lasts_ms, self._publish)):
            for published in self._some(CHANGES_PER_CRASH, before_ms=at_ms):
                act(published, max(0, at_ms + self._chance.randrange(-100, 300)))

    def _hop(self, published: Deed) -> None:
        """A client goes from node to node and back before its older sessions have had their time."""
        at_ms = published.at_ms
        for _ in range(self._chance.randrange(2, 6)):
            at_ms += 5_000 // self._plan.scale
            self._deeds.append(Deed(at_ms, "cut client", 3_000 // self._plan.scale, client=published.client))

    def _kill_during(self, pause: Deed) -> None:
        """Clients die before they have noticed that their node stands still."""
        for published in self._some(KILLS_PER_PAUSE, before_ms=pause.at_ms):
            at_ms = pause.at_ms + self._chance.randrange(1_000 // self._plan.scale)
            self._deeds.append(Deed(at_ms, "kill", client=published.client))

    # -- disasters

    def _nothing(self, at_ms: int) -> None:
        """Most seeds do without."""

    def _twin_restart(self, at_ms: int) -> None:
        """All but one restart at a time: whoever loads meets others that load."""
        for node in self._some_nodes(self._plan.nodes - 1):
            self._take_down("crash", at_ms, self._chance.choice((100, 100, 300)), node)

    def _cold_restart(self, at_ms: int) -> None:
        """The whole cluster is gone for a moment."""
        for node in range(self._plan.nodes):
            self._take_down("crash", at_ms + self._chance.randrange(50), 300, node)

    def _rolling_restart(self, at_ms: int) -> None:
        """A node dies with its clients, and the others are restarted one after the other before it is back."""
        dead, *others = self._some_nodes(self._plan.nodes)
        rounds, gap_ms = 6, 4_000 // self._plan.scale
        self._take_down("crash with clients", at_ms, (rounds + 4) * gap_ms, dead)
        for turn in range(rounds):
            self._take_down("crash", at_ms + (turn + 1) * gap_ms, 100, others[turn % len(others)])

    def _long_isolation(self, at_ms: int) -> None:
        """Longer than anybody is waited for."""
        nodes = self._some_nodes(max(1, (self._plan.nodes - 1) // 2))
        self._deeds.append(Deed(at_ms, "isolation", 70_000 // self._plan.scale, nodes=tuple(nodes)))
        if len(nodes) > 1:  # and one that starts there has never met anybody of the other side
            self._take_down("crash", at_ms + 37_000 // self._plan.scale, 100, nodes[0])

    # -- how

    def _some(self, count: int, before_ms: int | None = None) -> list[Deed]:
        known = [each for each in self._published if before_ms is None or each.at_ms < before_ms]
        return self._chance.sample(known, min(count, len(known)))

    def _some_nodes(self, count: int) -> list[int]:
        return self._chance.sample(range(self._plan.nodes), count)

    def _take_down(self, kind: str, at_ms: int, lasts_ms: int, node: int) -> None:
        word = "with clients" if kind == "crash with clients" else ""
        self._deeds.append(Deed(at_ms, kind, lasts_ms, nodes=(node,), word=word))

    def _publish(self, published: Deed, at_ms: int) -> None:
        self._payloads += 1
        client, service, key = published.client, published.service, published.key
        deed = Deed(at_ms, "publish", client=client, service=service, key=key, amount=self._payloads, word="node")
        self._deeds.append(deed)

    def _withdraw(self, published: Deed, at_ms: int) -> None:
        client, service, key = published.client, published.service, published.key
        self._deeds.append(Deed(at_ms, "withdraw", client=client, service=service, key=key))
