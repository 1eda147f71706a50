"""HTTP clients of a simulated cluster: instances that beat through the sessions of gateways, as SDKs do.

There is a gateway beside each node. An instance takes the nodes in a random order at each beat, and goes on to the next
one where there is no answer, a refusal, or a node that hears no majority.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from rollbook.http_clients import Beaten, Beats, HttpBeat, HttpPatch, HttpPublish, HttpWithdraw, InstanceChanges
from rollbook.model import Instance
from rollbook.wire import Done, Tag
from runtime.simulation.clients import RawClient, service_of
from runtime.simulation.cluster import SimCluster

ANSWER_MS = 3_000  # the SDKs' own time-out
LOOK_MS = 20
REOPEN_MS = 200

Then = Callable[[Any], None]  # the answer; None: there was none


class SimGateways:
    """One session at each node, opened again when it is lost."""

    def __init__(self, cluster: SimCluster) -> None:
        self.cluster = cluster
        self.sessions: list[RawClient] = [
            cluster.client(number, f"gateway-{number}") for number in range(len(cluster.nodes))
        ]
        self._answers: list[dict[int, Any]] = [{} for _ in self.sessions]
        self._seen = [0] * len(self.sessions)
        self._keep_open()

    def ask(self, number: int, tag: Tag, body: object, then: Then, within_ms: int = ANSWER_MS) -> None:
        session = self.sessions[number]
        if not session.is_open:
            then(None)
            return
        correlation = session.order(tag, body)
        self._look(number, correlation, self.cluster.now_ms + within_ms, then)

    def settled(self, number: int, tag: Tag, body: object) -> Any:
        """Let time pass until the answer has come."""
        answers: list[Any] = []
        self.ask(number, tag, body, answers.append)
        self.cluster.until(lambda: bool(answers), ANSWER_MS + 100, "answered")
        return answers[0]

    def _look(self, number: int, correlation: int, until_ms: int, then: Then) -> None:
        session, answers = self.sessions[number], self._answers[number]
        for answer in session.answers[self._seen[number] :]:
            answers[answer.correlation] = answer.body
        self._seen[number] = len(session.answers)
        if correlation in answers:
            then(answers.pop(correlation))
        elif self.cluster.now_ms >= until_ms:
            then(None)
        else:
            self.cluster.scheduler.after(LOOK_MS * 1_000, self._look, number, correlation, until_ms, then)

    def _keep_open(self) -> None:
        for number, session in enumerate(self.sessions):
            node = self.cluster.nodes[number]
            if session.closed is not None and node.is_running:
                session.session = max(session.session, self.cluster.now_ms)
                session.open(node.client_address)
            elif not session.is_open and node.is_ready and session.session < self.cluster.now_ms - 5_000:
                session.session = self.cluster.now_ms  # refused while it was not ready
                session.open(node.client_address)
        self.cluster.scheduler.after(REOPEN_MS * 1_000, self._keep_open)


class BeatingInstance:
    """One instance of one service. It registers when it is not known, and counts what it is told."""

    def __init__(self, gateways: SimGateways, instance: Instance, service: str, interval_ms: int) -> None:
        self.told: Counter[str] = Counter()
        self.instance = instance
        self.is_beating = False
        self._gateways = gateways
        self._service = service_of(service)
        self._interval_ms = interval_ms
        self._chance = random.Random(f"{gateways.cluster.seed}/{instance.ip}:{instance.port}")
        self._life = 0

    def begin(self) -> BeatingInstance:
        self.is_beating = True
        self._life += 1
        first_ms = self._chance.randint(0, self._interval_ms)
        self._gateways.cluster.scheduler.after(first_ms * 1_000, self._beat, self._life)
        return self

    def end(self) -> None:
        """Without a word."""
        self.is_beating = False

    def register(self, number: int) -> Any:
        return self._gateways.settled(number, Tag.HTTP_PUBLISH, HttpPublish(self._service, self.instance))

    def update(self, number: int, instance: Instance) -> Any:
        order = HttpPublish(self._service, instance, "update")
        return self._gateways.settled(number, Tag.HTTP_PUBLISH, order)

    def patch(self, number: int, **changes: Any) -> Any:
        order = HttpPatch(self._service, self.instance.ip, self.instance.port, InstanceChanges(**changes))
        return self._gateways.settled(number, Tag.HTTP_PATCH, order)

    def withdraw(self, number: int) -> Any:
        order = HttpWithdraw(self._service, self.instance.ip, self.instance.port)
        return self._gateways.settled(number, Tag.HTTP_WITHDRAW, order)

    def beat_at(self, number: int, *, light: bool = True) -> Any:
        return self._gateways.settled(number, Tag.BEATS, self.beats(light=light))

    def beats(self, *, light: bool = True) -> Beats:
        instance = None if light else self.instance
        return Beats((HttpBeat(self._service, self.instance.ip, self.instance.port, instance),))

    def _beat(self, life: int) -> None:
        if not self.is_beating or life != self._life:
            return
        numbers = list(range(len(self._gateways.sessions)))
        self._chance.shuffle(numbers)
        self._try(numbers)
        self._gateways.cluster.scheduler.after(self._interval_ms * 1_000, self._beat, life)

    def _try(self, numbers: list[int]) -> None:
        if not numbers:
            self.told["unheard"] += 1
            return
        here, others = numbers[0], numbers[1:]

        def then(answer: Any) -> None:
            if not isinstance(answer, Beaten):
                self.told["no answer"] += 1
                self._try(others)
                return
            word = answer.outcomes[0].word
            self.told[word] += 1
            if word == "unknown":
                order = HttpPublish(self._service, self.instance)
                self._gateways.ask(here, Tag.HTTP_PUBLISH, order, self._registered)
            elif word == "refused" or (answer.isolated and others):
                self._try(others)

        self._gateways.ask(here, Tag.BEATS, self.beats(), then)

    def _registered(self, answer: Any) -> None:
        self.told["registered again" if isinstance(answer, Done) else "not registered"] += 1
