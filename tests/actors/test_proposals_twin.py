"""A ProposalDesk and a store that answers as it likes: every history can be explained, and no effect comes late."""

from __future__ import annotations

import random

import pytest

from actors.durable_orders import row_keys
from actors.messages.store import Proposal, ProposalSettled
from rollbook.errors import Code
from rollbook.wire import Done, Failed
from tests.support.desk_bench import DeskBench, key_of
from tests.support.linearizability import Call, RegisterAction, register_step, unexplained


class RandomBench(DeskBench):
    """Clients, other nodes and a store that answers in any order, late, wrongly late or never; one step at a time."""

    PORTS = (1, 2, 3)

    def __init__(self, chance: random.Random) -> None:
        super().__init__(orders_max=12, attempts_max=chance.choice([2, 5]))
        self.chance = chance
        self.step = 0
        self.spans: dict[int, int] = {}
        self.answered: dict[int, int] = {}
        self.calls: list[Call[tuple[int, RegisterAction]]] = []
        self.lost: list[Proposal] = []  # their fate was not told; they may be carried out at any time
        self.said: list[ProposalSettled] = []  # what may be said again

    def run(self, steps: int) -> None:
        actions = (
            self._order_something,
            self._order_something,
            self._settle,
            self._settle,
            self._settle,
            self._see,
            self._see,
        )
        rare = (self._write_elsewhere, self._zombie, self._repeat, self._wait, self._cut)
        for _ in range(steps):
            self._do(self.chance.choice(actions if self.chance.random() < 0.7 else rare))
            self._read()
        while len(self.answers) < len(self.orders):
            self._do(self._finish)
        for proposal in self.lost:
            self.carry_out(proposal)
        self._read()
        self.catch_up()

    def _do(self, action: object) -> None:
        assert callable(action)
        self.step += 1
        action()
        for order in self.answers.keys() - self.answered.keys():
            self.answered[order] = self.step
        for order in self.orders.keys() - self.spans.keys():
            self.spans[order] = self.step

    def _order_something(self) -> None:
        ports = self.chance.sample(self.PORTS, self.chance.choice([1, 1, 1, 2]))
        (self.publish if self.chance.random() < 0.6 else self.withdraw)(*ports)

    def _settle(self) -> None:
        if not self.sent:
            self.pass_time(100)
            return
        number = self.chance.choice(sorted(self.sent))
        proposal, fate = self.sent[number], self.chance.random()
        if fate < 0.65:
            self.said.append(ProposalSettled(number, self.settle(number)))
        elif fate < 0.75:
            self.settle(number, "unavailable")
        else:
            outcome = self.carry_out(proposal) if fate < 0.85 else None
            self.settle(number, "unknown")
            if outcome is not None:
                self.said.append(ProposalSettled(number, outcome))
            else:
                self.lost.append(proposal)

    def _see(self) -> None:
        self.catch_up(self.chance.choice([1, 2, 100]))

    def _write_elsewhere(self) -> None:
        port, weight = self.chance.choice(self.PORTS), self.chance.choice([None, 1_000 + self.step])
        self.write_elsewhere(port, weight)
        action = RegisterAction(True, None if weight is None else str(weight))
        self.calls.append(Call(self.step, self.step, (port, action)))

    def _zombie(self) -> None:
        if self.lost:
            proposal = self.lost.pop(self.chance.randrange(len(self.lost)))
            self.said.append(ProposalSettled(proposal.number, self.carry_out(proposal)))

    def _repeat(self) -> None:
        if self.said:
            self.tell_settled(self.chance.choice(self.said))

    def _wait(self) -> None:
        self.pass_time(self.chance.choice([10, 300, 2_600]))

    def _cut(self) -> None:
        self.cut()

    def _finish(self) -> None:
        self.pass_time(100)
        for number in tuple(self.sent):
            self.settle(number)
        self.catch_up()

    def _read(self) -> None:
        self.step += 1
        for port in self.PORTS:
            weight = self.weight_in_store(port)
            action = RegisterAction(False, None if weight is None else f"{weight:g}")
            self.calls.append(Call(self.step, self.step, (port, action)))

    def histories(self) -> list[Call[tuple[int, RegisterAction]]]:
        """Refused orders had no effect; of those of unknown outcome nobody knows."""
        calls = list(self.calls)
        for order, answer in self.answers.items():
            if isinstance(answer, Failed) and answer.code != Code.OUTCOME_UNKNOWN:
                continue
            end = self.answered[order] if isinstance(answer, Done) else None
            body = self.orders[order].body
            value = str(order) if hasattr(body, "instances") else None
            for port in self.PORTS:
                if key_of(port) in row_keys(self.orders[order]):
                    calls.append(Call(self.spans[order], end, (port, RegisterAction(True, value))))
        return calls


def _step(state: str, action: tuple[int, RegisterAction]) -> str | None:
    return register_step(state, action[1])


@pytest.mark.parametrize("block", range(8))
def test_whatever_the_store_does_every_history_can_be_explained(block: int) -> None:
    codes: set[object] = set()
    for seed in range(block * 25, block * 25 + 25):
        bench = RandomBench(random.Random(seed))
        bench.run(60)
        assert bench.answers.keys() == bench.orders.keys(), seed
        assert unexplained(bench.histories(), lambda action: action[0], "", _step) == {}, seed
        _check_effects(bench, seed)
        codes |= {answer.code if isinstance(answer, Failed) else "done" for answer in bench.answers.values()}
    assert {"done", Code.OUTCOME_UNKNOWN, Code.STORE_UNAVAILABLE} <= codes, "the store was too kind"


def _check_effects(bench: RandomBench, seed: int) -> None:
    newest: dict[str, int] = {}
    for order, proposal in bench.effects:
        if not order:
            continue
        for operation in proposal.operations:
            assert newest.get(operation.key, 0) < order, f"seed {seed}: order {order} has its effect late, or twice"
            newest[operation.key] = order
    done = {order for order, answer in bench.answers.items() if isinstance(answer, Done)}
    had_effect = {order for order, _ in bench.effects}
    publishing = {order for order in done if hasattr(bench.orders[order].body, "instances")}
    assert publishing <= had_effect, f"seed {seed}: acknowledged, and nothing of it was written"
    refused = {
        order
        for order, answer in bench.answers.items()
        if isinstance(answer, Failed) and answer.code != Code.OUTCOME_UNKNOWN
    }
    assert not refused & had_effect, f"seed {seed}: refused, and written all the same"
