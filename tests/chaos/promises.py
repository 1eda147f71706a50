"""What ``wait="cluster"`` says, held against what everybody is shown afterwards.

Once a caller was told that the cluster has its instance, every node that was waited for lists it to whoever asks then.
A look counts if the list was asked for after the answer, so no bound of time is needed. Who was waited for is known
from outside only in calm: a node that the serving one has reached for longer than it takes to notice, while nothing
makes links slow, because a node may rightly take a member for dead whose words get lost. A missing instance is judged a
while later, and only if its client still wants it and has the same session as at the answer: a node may see the end of
a session before its client writes it down.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.support.claims import Listed
from tests.support.history import OrderAnswered, OrderSent, ViewSeen
from tests.support.history_checks import HistoryChecks
from tests.support.parties import Serving

LOOK_MS_MAX = 2_000  # later lists may be without it for other reasons
JUDGED_AFTER_MS = 6_000  # by then it is written down if a session or a life ended


class Promise(NamedTuple):
    """One instance of one answer."""

    at_ms: int
    client: str
    serving: Serving
    listed: Listed
    lives: dict[str, int]  # by node that has yet to show it: the life that was waited for


class Missed(NamedTuple):
    promise: Promise
    node: str
    life: int
    view: ViewSeen

    @property
    def text(self) -> str:
        promise, (service, key) = self.promise, self.promise.listed
        return (
            f"{promise.serving.node} told {promise.client} at {promise.at_ms} ms that everybody has {key} of {service},"
            f" and {self.node}, asked at {self.view.asked_ms} ms, did not list it"
        )


class ClusterPromises:
    """Feed it answers and lists in order of time, and ``sweep`` now and then."""

    def __init__(self, checks: HistoryChecks) -> None:
        self.looks = 0
        self._checks = checks
        self._open: list[Promise] = []
        self._missed: list[Missed] = []

    def answered(self, order: OrderSent, answer: OrderAnswered) -> None:
        """The checks have noted that this order, which waited for the cluster, is done."""
        serving = self._checks.party(order.client).serving
        if serving is None or serving.since_ms > order.at_ms or self._checks.is_slowed(answer.at_ms):
            return
        nodes = self._checks.reached_calmly(serving.node, answer.at_ms)
        for key in order.instances:
            lives = {node: self._checks.lives[node] for node in nodes}
            self._open.append(Promise(answer.at_ms, order.client, serving, (order.service, key), lives))

    def shown(self, view: ViewSeen) -> None:
        """The first list of each node that was asked for after the answer decides."""
        for promise in self._open:
            service, key = promise.listed
            if service != view.service or view.node not in promise.lives or view.asked_ms <= promise.at_ms:
                continue
            life = promise.lives.pop(view.node)
            self.looks += 1
            missed = Missed(promise, view.node, life, view)
            if key not in view.instances and self._holds(missed):
                self._missed.append(missed)

    def sweep(self, at_ms: int) -> list[Missed]:
        """What was missed, once it is sure that nothing excuses it."""
        self._open = [each for each in self._open if each.lives and at_ms - each.at_ms <= LOOK_MS_MAX]
        due = [missed for missed in self._missed if at_ms - missed.view.at_ms > JUDGED_AFTER_MS]
        self._missed = [missed for missed in self._missed if missed not in due]
        return [missed for missed in due if self._holds(missed)]

    def _holds(self, missed: Missed) -> bool:
        promise, checks = missed.promise, self._checks
        claim = checks.claims.of_client[promise.client].get(promise.listed)
        if claim is None or not claim.is_sure or checks.party(promise.client).serving != promise.serving:
            return False
        lives = ((missed.node, missed.life), (promise.serving.node, promise.serving.life))
        return all(checks.nodes[node] is not None and checks.lives[node] == life for node, life in lives)
