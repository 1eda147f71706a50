"""HealthChecker: the health of persistent instances, found by probing them. Soft state: nothing of it is stored.

Owns: which instances this node probes (probe_table.py), when (probe_schedule.py), and what it has found
(verdict_lists.py). Accepts: messages/health.py. Tells: the prober (probes), ClientManager (verdicts, which become
records of this node), IndexManager (what was the last verdict on what it takes over).

Each instance is probed by one living node. Whoever takes one over goes on from the last verdict of any node, so nothing
flips because a node has come or gone; and it does not probe before it knows that verdict.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from typing import assert_never

import msgspec

from actors.base import Effect, Effects, Log, NodeIdentity, Now, Remind, Role, StatusRequested, Tell
from actors.messages.health import (
    CheckersChanged,
    HealthJudged,
    InstanceProbe,
    InstancesKept,
    LivingMembersChanged,
    ProbeResult,
    ProbesDone,
    ProbesOrdered,
    VerdictsFound,
    VerdictsWanted,
)
from actors.probe_schedule import Pace, Tally, TimerWheel, first_interval_ms, next_interval_ms, tallied
from actors.probe_table import ProbeCandidate, ProbeTable, ProbeTarget
from actors.probe_targets import Probing, networks_of
from actors.verdict_lists import VerdictLists
from rollbook.checkers import CheckerSettings, check_checker
from rollbook.errors import InvalidField
from rollbook.model import InstanceKey, Service


class HealthSettings(msgspec.Struct, frozen=True):
    tick_interval_ms: int
    probes_in_flight_max: int
    probes_per_second_max: int
    results_in_a_row: int
    first_interval_ms: int
    first_spread_ms: int
    tcp_interval_ms: int
    tcp_interval_ms_max: int
    tcp_factor_percent: int
    http_interval_ms: int
    http_interval_ms_max: int
    http_factor_percent: int
    handover_ms: int
    verdict_grace_ms: int
    questions_max: int
    networks: tuple[str, ...]
    probe_timeout_ms: int
    answer_bytes_max: int
    names_max: int
    names_waiting_max: int
    name_timeout_ms: int
    name_memory_ms: int


class _TickDue(msgspec.Struct, frozen=True):
    """It is time for the targets that the wheel has reached, and for lists that waited."""


HealthInput = (
    InstancesKept | CheckersChanged | LivingMembersChanged | VerdictsFound | ProbesDone | StatusRequested | _TickDue
)


class HealthChecker:
    role = Role.HEALTH

    def __init__(self, identity: NodeIdentity, settings: HealthSettings, chance: random.Random) -> None:
        self.settings = settings
        self.table = ProbeTable(identity.node_id, networks_of(settings.networks))
        self.lists = VerdictLists(settings.handover_ms)
        self.counters = dict.fromkeys(("probes", "probes_void", "probes_forbidden", "verdicts_turned"), 0)
        self._chance = chance
        self._paces = {
            "tcp": Pace(settings.tcp_interval_ms, settings.tcp_interval_ms_max, settings.tcp_factor_percent),
            "http": Pace(settings.http_interval_ms, settings.http_interval_ms_max, settings.http_factor_percent),
        }
        self._numbers = 0  # of targets and probes, in one row
        self._targets = 0
        self._awaiting: dict[int, ProbeTarget] = {}  # the last verdict of another node, by number of the target
        self._unasked: list[ProbeTarget] = []  # of these, those that have begun in this turn
        self._wheel: TimerWheel[ProbeTarget] = TimerWheel(settings.tick_interval_ms)
        self._ready: deque[ProbeTarget] = deque()  # their time has come; others go first
        self._in_flight: dict[int, ProbeTarget] = {}  # by number of the probe
        self._allowance = 0  # probes that may still leave before the next tick
        self._allowance_rest = 0  # thousandths of a probe
        self._is_ticking = False

    def start(self, now: Now) -> Effects:
        return []

    def handle(self, message: HealthInput, now: Now) -> Effects:
        match message:
            case InstancesKept():
                return self._on_instances_kept(message, now)
            case CheckersChanged():
                return self._on_checkers_changed(message, now)
            case LivingMembersChanged():
                return self._on_living_members(message, now)
            case VerdictsFound():
                return self._on_verdicts_found(message, now)
            case ProbesDone():
                return self._on_probes_done(message, now)
            case StatusRequested():
                counters = {**self.counters, "verdicts_unsaid": self.lists.unsaid}
                return [Tell(Role.PUSH, message.with_counters(counters))]
            case _TickDue():
                return self._on_tick(now)
            case _:
                assert_never(message)

    def _on_tick(self, now: Now) -> Effects:
        self._is_ticking = False
        earned = self.settings.probes_per_second_max * self.settings.tick_interval_ms + self._allowance_rest
        self._allowance, self._allowance_rest = divmod(earned, 1_000)
        self._ready.extend(self._wheel.take_due(now.monotonic_ms))
        return self._advance(now)

    # -- what there is to probe, and who does

    def _on_instances_kept(self, message: InstancesKept, now: Now) -> Effects:
        for service, key, stored in message.put:
            kept = self.table.keep(service, key, stored)
            if kept.stored != stored:
                kept.stored = stored
                self._restate(kept)
            self._settle(kept, now)
        for service, key in message.removed:
            removed = self.table.remove(service, key)
            if removed is not None:
                self._drop(removed, now)
        return self._advance(now)

    def _on_checkers_changed(self, message: CheckersChanged, now: Now) -> Effects:
        put: list[tuple[Service, str, CheckerSettings]] = []
        refused: list[Effect] = []
        for service, cluster, checker in message.put:
            try:
                put.append((service, cluster, check_checker(checker)))
            except InvalidField as error:  # whoever wrote it had other rules: nothing is probed by a guess
                put.append((service, cluster, CheckerSettings("none")))
                fields = {"service": service.grouped_name, "cluster": cluster, "reason": error.message}
                refused.append(Log("WARNING", "a stored checker cannot be used", fields))
        for kept in self.table.set_checkers(put, message.removed):
            self._settle(kept, now)
        return [*refused, *self._advance(now)]

    def _on_living_members(self, message: LivingMembersChanged, now: Now) -> Effects:
        for kept in self.table.share(message.node_ids):
            self._settle(kept, now)
        return self._advance(now)

    def _settle(self, kept: ProbeCandidate, now: Now) -> None:
        """Begin, change or end to probe it, as all that is known of it demands."""
        target = kept.target
        probing = self.table.probing_of(kept) if kept.is_mine else None
        if probing is None or probing.kind not in self._paces:
            self._drop(kept, now)
        elif target is None:
            self._begin(kept, probing)
        elif target.probing != probing:
            target.probing = probing
            target.tally = Tally(target.tally.healthy)
            target.is_changed = True

    def _begin(self, kept: ProbeCandidate, probing: Probing) -> None:
        self._numbers += 1
        interval_ms = first_interval_ms(self.settings.first_interval_ms, self._paces[probing.kind], self._chance)
        kept.target = self._awaiting[self._numbers] = ProbeTarget(self._numbers, kept, probing, interval_ms)
        self._unasked.append(kept.target)
        self.lists.await_word(kept.place)
        self._targets += 1

    def _drop(self, kept: ProbeCandidate, now: Now) -> None:
        """Not probed here any more. A place in the wheel or the queue is passed over when its turn comes."""
        if kept.target is None:
            return
        if self._awaiting.pop(kept.target.number, None) is not None:
            self.lists.word_found(kept.place)
        kept.target = None
        self._targets -= 1
        if kept.is_mine:
            self.lists.withdraw(kept.place, kept.key)
        else:
            self.lists.hand_over(kept.place, kept.key, now.monotonic_ms)

    # -- what others have said before

    def _questions(self) -> list[Effect]:
        """Ask about the targets that have begun."""
        begun, self._unasked = self._unasked, []
        size = self.settings.questions_max
        return [
            Tell(Role.INDEX, VerdictsWanted(tuple(map(_question, begun[first : first + size]))))
            for first in range(0, len(begun), size)
        ]

    def _on_verdicts_found(self, message: VerdictsFound, now: Now) -> Effects:
        spread_ms = min(self.settings.first_spread_ms, len(message.verdicts))
        for number, healthy in message.verdicts:
            target = self._awaiting.pop(number, None)
            if target is None:
                continue  # dropped meanwhile
            kept = target.kept
            self.lists.word_found(kept.place)
            if healthy is not None and healthy != kept.stored:
                target.tally = Tally(healthy)
                self.lists.state(kept.place, kept.key, healthy, kept.stored)
            else:
                target.tally = Tally(kept.stored)
                self.lists.withdraw(kept.place, kept.key)  # the end of a handover that was not needed
            self._wheel.add(target, now.monotonic_ms + self._chance.randint(0, spread_ms))
        return self._advance(now)

    # -- probes, and what came of them

    def _on_probes_done(self, message: ProbesDone, now: Now) -> Effects:
        turned: list[ProbeTarget] = []
        for result in message.results:
            target = self._in_flight.pop(result.number)
            if target.is_dropped:
                continue
            if target.is_changed:
                self._ready.append(target)
            elif self._judge(target, result, now):
                turned.append(target)
        return [*self._advance(now), *_told_turns(turned)]

    def _judge(self, target: ProbeTarget, result: ProbeResult, now: Now) -> bool:
        """Whether the verdict has turned."""
        outcome, before = result.outcome, target.tally.healthy
        if outcome in ("void", "forbidden"):
            self.counters[f"probes_{outcome}"] += 1
        pace = self._paces[target.probing.kind]
        target.interval_ms = next_interval_ms(target.interval_ms, outcome, result.duration_ms, pace)
        self._wheel.add(target, now.monotonic_ms + target.interval_ms)
        target.tally = tallied(target.tally, outcome, self.settings.results_in_a_row)
        if target.tally.healthy == before:
            return False
        self.counters["verdicts_turned"] += 1
        kept = target.kept
        self.lists.state(kept.place, kept.key, target.tally.healthy, kept.stored)
        return True

    def _restate(self, kept: ProbeCandidate) -> None:
        """What is stored has changed; what was found has not."""
        target = kept.target
        if target is None or target.number in self._awaiting:
            return
        healthy = target.tally.healthy
        if healthy != kept.stored or self.lists.states(kept.place, kept.key):
            self.lists.state(kept.place, kept.key, healthy, kept.stored)

    def _advance(self, now: Now) -> list[Effect]:
        """Ask and probe what can be, tell the lists that are due, and see to it that time goes on."""
        effects = self._questions()
        probes = self._probes()
        if probes:
            effects.append(Tell(Role.PROBER, ProbesOrdered(probes)))
        news = self.lists.take_due(now.monotonic_ms)
        if news:
            effects.append(Tell(Role.CLIENTS, HealthJudged(news, self.settings.verdict_grace_ms)))
        if not self._is_ticking and (self._targets or self.lists.is_pending):
            self._is_ticking = True
            effects.append(Remind(self.settings.tick_interval_ms, _TickDue()))
        return effects

    def _probes(self) -> tuple[InstanceProbe, ...]:
        probes: list[InstanceProbe] = []
        while self._ready and self._allowance and len(self._in_flight) < self.settings.probes_in_flight_max:
            target = self._ready.popleft()
            if target.is_dropped:
                continue
            self._allowance -= 1
            target.is_changed = False
            self._numbers += 1
            self._in_flight[self._numbers] = target
            probes.append(InstanceProbe(self._numbers, *target.probing[1:]))
        self.counters["probes"] += len(probes)
        return tuple(probes)

    def check_invariants(self) -> None:
        self.table.check_invariants()
        self.lists.check_invariants()
        assert not self._unasked, "a question was not asked"
        assert len(self._in_flight) <= self.settings.probes_in_flight_max
        targets = [kept.target for kept in self.table if kept.target is not None]
        assert self._targets == len(targets), "targets are miscounted"
        moving = [*self._awaiting.values(), *self._wheel, *self._ready, *self._in_flight.values()]
        places = [id(target) for target in moving if not target.is_dropped]
        assert sorted(places) == sorted(map(id, targets)), "a target waits in exactly one place"
        assert self._is_ticking or not (targets or self.lists.is_pending), "time stands still"
        for target in targets:
            kept = target.kept
            differs = target.number not in self._awaiting and target.tally.healthy != kept.stored
            assert not differs or self.lists.states(kept.place, kept.key), "a verdict is not said"


def _question(target: ProbeTarget) -> tuple[int, Service, InstanceKey]:
    return (target.number, target.kept.service, target.kept.key)


def _told_turns(turned: Iterable[ProbeTarget]) -> list[Effect]:
    """One line for all of a batch: a rack that goes dark is one fact."""
    found = [(target.kept, target.tally.healthy) for target in turned]
    if not found:
        return []
    (kept, healthy), count = found[0], len(found)
    fields = {
        "service": kept.service.grouped_name,
        "namespace": kept.service.namespace,
        "instance": f"{kept.key.ip}:{kept.key.port}@{kept.key.cluster}",
        "healthy": healthy,
        "verdicts": count,
    }
    return [Log("INFO", "probes have turned verdicts", fields)]
