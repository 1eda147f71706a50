"""What a round proves: its history, read in order of time by the checks of the swarm and by measures of its own.

The checks (tests/support/history_checks.py) know the promises; here they are fed with what a real machine can see. What
the observers ask for every 300 ms stands for a node's table, so bounds are longer by ``MARGIN_MS``: one look, one
scheduling delay. Measured beside: how long after each fault the nodes still disagreed (A1), lists that name an instance
twice (A6), and memory (A11).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from tests.chaos.promises import ClusterPromises
from tests.chaos.stalls import Stall, longest_between
from tests.support.claims import Claim
from tests.support.history import (
    ClientEnded,
    Event,
    FaultBegan,
    FaultEnded,
    MemorySeen,
    NodeSeen,
    OrderAnswered,
    OrderSent,
    ViewSeen,
)
from tests.support.history_checks import HistoryChecks, ViolationFound
from tests.support.zombies import Bounds

MARGIN_MS = 1_500
EQUAL_MS_MAX = 3_000  # nodes agree so long after a fault
FRESH_MS = 1_000  # a change younger than this may still be on its way
PEACE_MS_MIN = EQUAL_MS_MAX + MARGIN_MS  # a shorter peace proves nothing
RESIDENT_KIB_MAX = 256 * 1_024  # of a node under this workload
_FORGET_MS = 120_000  # what is gone for this long is looked for no more, as long as nobody lists it
_SWEEP_MS = 1_000
_KEPT_MAX = 200


class Violation:
    """One broken promise towards one subject; later ones of the same kind are only counted."""

    def __init__(self, invariant: str, at_ms: int, text: str, faults: Sequence[str]) -> None:
        self.invariant = invariant
        self.at_ms = at_ms
        self.text = text
        self.faults = tuple(faults)  # under way at that time
        self.times = 1


class Peace:
    """The time from the end of one group of faults to the beginning of the next."""

    def __init__(self, began_ms: int, after: str) -> None:
        self.began_ms = began_ms
        self.ended_ms = began_ms
        self.after = after
        self.last_wrong_ms = began_ms
        self.wrong = ""

    @property
    def convergence_ms(self) -> int:
        return self.last_wrong_ms - self.began_ms

    @property
    def is_long_enough(self) -> bool:
        return self.ended_ms - self.began_ms >= PEACE_MS_MIN


class Verdict:
    """Feed it the whole history in order of time, then ``conclude``."""

    def __init__(self, nodes: Sequence[str]) -> None:
        bounds = Bounds()
        self.checks = HistoryChecks(nodes, Bounds(*(bound + MARGIN_MS for bound in bounds)))
        self.promises = ClusterPromises(self.checks)
        self.violations: dict[tuple[str, str], Violation] = {}
        self.faults: Counter[str] = Counter()
        self.views: Counter[str] = Counter()
        self.orders: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.peaces: list[Peace] = []
        self.memory_kib: dict[str, int] = {}
        self.zombie_ms: dict[tuple[str, str], int] = {}  # how long a gone instance was listed by any node
        self.orphan_ms: dict[tuple[str, str], int] = {}  # of those, the ones whose client died with its node
        self.removals: list[str] = []  # of live instances, as told to whoever studies a round
        self.start_ms = self.end_ms = 0
        self._kinds: dict[tuple[str, int], str] = {}  # of orders without an answer yet
        self._waiting: dict[tuple[str, int], OrderSent] = {}  # of those, the ones that wait for the cluster
        self._active: dict[int, FaultBegan] = {}
        self._tables: dict[tuple[str, str], ViewSeen] = {}
        self._died_with_node: set[str] = set()
        self._claims: dict[str, dict[str, list[Claim]]] = {}  # by service and instance
        self._sweep_ms = 0

    def see(self, event: Event) -> None:
        self.start_ms = self.start_ms or event.at_ms
        self.end_ms = event.at_ms
        self._count(event)
        if isinstance(event, ViewSeen) and event.how == "table":
            self._look_at(event)
            if self._is_news(event):
                self._checked(event)
        else:
            self._checked(event)
        if event.at_ms >= self._sweep_ms:
            self._sweep_ms = event.at_ms + _SWEEP_MS
            self._sweep(event.at_ms)

    def conclude(self, complaints: Iterable[str], stalls: list[Stall]) -> None:
        """The end of a round, after some time without faults and orders: now everything must be as it was meant."""
        self._end_peace(self.end_ms)
        for text in self.checks.unsettled():
            self._violated("A1", text, text)
        for text in complaints:
            self._violated("node", text, text)
        for peace in self.peaces:
            stall_ms = longest_between(stalls, peace.began_ms, peace.last_wrong_ms)
            if peace.is_long_enough and peace.convergence_ms > EQUAL_MS_MAX + MARGIN_MS:
                text = f"{peace.convergence_ms} ms after {peace.after}: {peace.wrong}; longest stall {stall_ms} ms"
                self._violated("A1", text, text)
        for node, kib in self.memory_kib.items():
            if kib > RESIDENT_KIB_MAX:
                self._violated("A11", f"{node} took {kib} KiB of memory, more than {RESIDENT_KIB_MAX}", node)

    def convergences_ms(self) -> list[int]:
        return [peace.convergence_ms for peace in self.peaces if peace.is_long_enough]

    # -- what passes by

    def _count(self, event: Event) -> None:
        match event:
            case ViewSeen():
                self.views[event.how] += 1
            case OrderSent():
                self._kinds[event.client, event.number] = event.kind
            case OrderAnswered():
                kind = self._kinds.pop((event.client, event.number))
                if event.error:
                    self.errors[f"{kind}: {event.error.partition(':')[0]}"] += 1
                else:
                    self.orders[kind] += 1
            case FaultBegan():
                self.faults[event.kind] += 1
                self._end_peace(event.at_ms)
                self._active[event.number] = event
            case FaultEnded():
                ended = self._active.pop(event.number)
                if not self._active:
                    self.peaces.append(Peace(event.at_ms, ended.what))
            case ClientEnded():
                serving = self.checks.parties[event.client].serving if event.client in self.checks.parties else None
                if serving is not None and self.checks.nodes[serving.node] is None:
                    self._died_with_node.add(event.client)
            case MemorySeen():
                self.memory_kib[event.node] = max(event.resident_kib, self.memory_kib.get(event.node, 0))
            case _:
                return

    def _is_news(self, event: ViewSeen) -> bool:
        """The checks take a table as what a node lists from now on, so an unchanged one says nothing."""
        place = (event.node, event.service)
        before = self._tables.get(place)
        self._tables[place] = event
        if before is not None and before.session != event.session:
            return True
        return before is None or (before.instances, before.flags) != (event.instances, event.flags)

    def _checked(self, event: Event) -> None:
        if isinstance(event, OrderSent) and event.wait == "cluster":
            self._waiting[event.client, event.number] = event
            event = msgspec.structs.replace(event, wait="node")  # what a look showed before the answer proves nothing
        if isinstance(event, NodeSeen) and event.what == "started":
            if self.checks.nodes[event.node] is not None:
                text = f"{event.node} began a new life though no fault had ended the one before: see its log"
                self._violated("node", text, event.node)
            self._tables = {place: view for place, view in self._tables.items() if place[0] != event.node}
        excused = self.checks.removals_excused
        try:
            self.checks.see(event)
        except ViolationFound as found:
            self._violated(found.invariant, str(found), found.subject)
        if isinstance(event, OrderAnswered):
            order = self._waiting.pop((event.client, event.number), None)
            if order is not None and not event.error:
                self.promises.answered(order, event)
        if self.checks.removals_excused > excused and isinstance(event, ViewSeen):
            self._remember_removal(event)
        if isinstance(event, OrderSent) and event.kind == "publish":
            for instance in event.instances:
                claims = self.checks.claims.of_listed[event.service, instance]
                self._claims.setdefault(event.service, {})[instance] = claims

    def _sweep(self, at_ms: int) -> None:
        try:
            self.checks.sweep(at_ms)
        except ViolationFound as found:
            self._violated(found.invariant, str(found), found.subject)
        for missed in self.promises.sweep(at_ms):
            self._violated("A2", f"A2: {missed.text}", missed.promise.client)
        self._forget(at_ms)

    # -- what the nodes list

    def _look_at(self, view: ViewSeen) -> None:
        """Note what is gone and still listed, and in peace everything that is not as it should be."""
        if "doubled" in view.flags:
            self._violated("A6", f"{view.node} lists an instance of {view.service} twice", view.node)
        self.promises.shown(view)
        claims_of = self._claims.get(view.service, {})
        wrong = [
            text for instance in view.instances if (text := self._gone(view, instance, claims_of.get(instance, [])))
        ]
        peace = self._peace()
        if peace is None:
            return
        wrong += [text for instance, claims in claims_of.items() if (text := _missing(view, instance, claims))]
        if wrong:
            peace.last_wrong_ms, peace.wrong = view.at_ms, f"{view.node}: {wrong[0]}, {len(wrong)} in all"

    def _gone(self, view: ViewSeen, instance: str, claims: list[Claim]) -> str:
        if not claims or any(claim.is_possible for claim in claims):
            return ""
        gone = max(claim.gone for claim in claims)
        age_ms = view.at_ms - gone.since_ms
        listed = (view.service, instance)
        self.zombie_ms[listed] = max(age_ms, self.zombie_ms.get(listed, 0))
        if claims[-1].client in self._died_with_node:
            self.orphan_ms[listed] = self.zombie_ms[listed]
            return ""  # nobody is left who saw its end: a lease decides, whether or not links are whole again
        return f"{instance} of {view.service}, {gone.how} {age_ms} ms ago" if age_ms > FRESH_MS else ""

    def _peace(self) -> Peace | None:
        return self.peaces[-1] if self.peaces and not self._active else None

    def _end_peace(self, at_ms: int) -> None:
        peace = self._peace()
        if peace is not None:
            peace.ended_ms = at_ms

    def _remember_removal(self, view: ViewSeen) -> None:
        if len(self.removals) < _KEPT_MAX:
            faults = "; ".join(fault.what for fault in self._active.values()) or "peace"
            before = self.checks.nodes.get(view.node)
            dropped = _dropped_now(before.dropped, view) if before else []
            at_s = (view.at_ms - self.start_ms) / 1000
            self.removals.append(f"{at_s:.1f} s: {view.node} dropped {dropped} of {view.service} during {faults}")

    def _forget(self, at_ms: int) -> None:
        listed = {(service, key) for (_, service), view in self._tables.items() for key in view.instances}
        of_listed = self.checks.claims.of_listed
        for name, claims in list(of_listed.items()):
            if any(claim.is_possible for claim in claims) or name in listed:
                continue
            if at_ms - max(claim.gone for claim in claims).since_ms > _FORGET_MS:
                del of_listed[name], self._claims[name[0]][name[1]]
                for claim in claims:
                    del self.checks.claims.of_client[claim.client][name]

    def _violated(self, invariant: str, text: str, subject: str) -> None:
        known = self.violations.get((invariant, subject))
        if known is not None:
            known.times += 1
            return
        faults = [fault.what for fault in self._active.values()]
        self.violations[invariant, subject] = Violation(invariant, self.end_ms - self.start_ms, text, faults)


def _dropped_now(dropped: dict[tuple[str, str], int], view: ViewSeen) -> list[str]:
    return sorted(key for (service, key), at_ms in dropped.items() if (service, at_ms) == (view.service, view.at_ms))


def _missing(view: ViewSeen, instance: str, claims: list[Claim]) -> str:
    sure = [claim for claim in claims if claim.is_sure and view.at_ms - claim.settled_ms > FRESH_MS]
    shown = view.instances.get(instance)
    if not sure or any(shown in claim.payloads for claim in claims):
        return ""
    return f"{instance} of {view.service} as {shown}, not as {sorted(sure[0].payloads)}"
