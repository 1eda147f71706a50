"""HealthChecker under test: it answers its own questions and its probes as the test says, in virtual time."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from actors.base import Effects, Log, NodeIdentity, Now, Remind, Role, Tell
from actors.health_checker import HealthChecker, HealthSettings
from actors.messages.health import (
    HealthJudged,
    InstanceProbe,
    InstancesKept,
    LivingMembersChanged,
    Outcome,
    ProbeResult,
    ProbesDone,
    ProbesOrdered,
    VerdictsFound,
    VerdictsWanted,
)
from rollbook.model import InstanceKey, Service
from tests.support.settings import settings_of

ORDERS = Service("public", "DEFAULT_GROUP", "orders")
WALL_MS = 1_700_000_000_000


def place(number: int, cluster: str = "DEFAULT") -> InstanceKey:
    return InstanceKey(f"10.0.{number // 250}.{number % 250 + 1}", 80, cluster)


class HealthBench:
    """One node. ``outcomes`` by host decide what comes of a probe, ``before`` what others have said."""

    def __init__(self, node_id: str = "n1", **overrides: Any) -> None:
        self.node_id = node_id
        self.actor = HealthChecker(
            self.identity(1), settings_of("health", HealthSettings, **overrides), random.Random(1)
        )
        self.ms = 1_000_000
        self.outcomes: dict[str, Outcome] = {}
        self.before: dict[tuple[Service, InstanceKey], bool] = {}
        self.is_answering = True
        self.held: list[InstanceProbe] = []  # ordered and not answered, while nobody answers
        self.probed: Counter[str] = Counter()
        self.orders: list[ProbesOrdered] = []
        self.questions: list[VerdictsWanted] = []
        self.judged: list[HealthJudged] = []
        self.said: dict[tuple[int, Service], dict[InstanceKey, bool]] = {}  # what the records say by now
        self.logs: list[Log] = []
        self.on_question: Callable[[VerdictsWanted], VerdictsFound] = self._answer
        self.on_judged: Callable[[HealthJudged], None] = lambda _: None
        self._reminders: list[tuple[int, Any]] = []
        self._mailbox: deque[Any] = deque()  # the first one is being handled
        self.effects(self.actor.start(self.now))

    @property
    def now(self) -> Now:
        return Now(self.ms, WALL_MS + self.ms)

    def tell(self, message: Any) -> None:
        """Answers to what this brings about are handled after it, in order."""
        self._mailbox.append(message)
        if len(self._mailbox) > 1:
            return
        while self._mailbox:
            found = self.actor.handle(self._mailbox[0], self.now)
            self.actor.check_invariants()
            self.effects(found)
            self._mailbox.popleft()

    def effects(self, effects: Effects) -> None:
        for effect in effects:
            match effect:
                case Tell(Role.INDEX, VerdictsWanted() as question):
                    self.questions.append(question)
                    self.tell(self.on_question(question))
                case Tell(Role.PROBER, ProbesOrdered() as order):
                    self.orders.append(order)
                    self._probe(order.probes)
                case Tell(Role.CLIENTS, HealthJudged() as judged):
                    self._note(judged)
                case Remind(delay_ms, message):
                    self._reminders.append((self.ms + delay_ms, message))
                case Log():
                    self.logs.append(effect)
                case _:
                    raise AssertionError(f"nobody expects {effect}")

    def pass_time(self, delay_ms: int) -> None:
        end_ms = self.ms + delay_ms
        while self._reminders and min(self._reminders, key=lambda each: each[0])[0] <= end_ms:
            first = min(self._reminders, key=lambda each: each[0])
            self._reminders.remove(first)
            self.ms = first[0]
            self.tell(first[1])
        self.ms = end_ms

    def living(self, *node_ids: str) -> None:
        self.tell(LivingMembersChanged(node_ids))

    def keep(self, *keys: InstanceKey, service: Service = ORDERS, healthy: bool = True) -> None:
        self.tell(InstancesKept(tuple((service, key, healthy) for key in keys)))

    def answer_held(self, outcome: Outcome = "ok") -> None:
        held, self.held = self.held, []
        self.tell(ProbesDone(tuple(ProbeResult(probe.number, outcome, 1) for probe in held)))

    def verdicts(self, service: Service = ORDERS) -> dict[InstanceKey, bool]:
        """All that this node says of one service."""
        return {
            key: healthy
            for (_, named), verdicts in self.said.items()
            if named == service
            for key, healthy in verdicts.items()
        }

    def identity(self, epoch: int) -> NodeIdentity:
        return NodeIdentity(self.node_id, epoch, "test", "127.0.0.1:1", "127.0.0.1:2", 256)

    def _answer(self, question: VerdictsWanted) -> VerdictsFound:
        return VerdictsFound(
            tuple((number, self.before.get((service, key))) for number, service, key in question.targets)
        )

    def _probe(self, probes: tuple[InstanceProbe, ...]) -> None:
        self.probed.update(probe.host for probe in probes)
        if not self.is_answering:
            self.held += probes
            return
        results = tuple(ProbeResult(probe.number, self.outcomes.get(probe.host, "ok"), 1) for probe in probes)
        self.tell(ProbesDone(results))

    def _note(self, judged: HealthJudged) -> None:
        self.judged.append(judged)
        self.on_judged(judged)
        for shard, service, verdicts in judged.lists:
            assert list(verdicts) == sorted(verdicts), "lists are in order of key"
            self.said[shard, service] = dict(verdicts)
