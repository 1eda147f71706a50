"""A ProposalDesk between clients and a model store: who ordered what, what came of it, and what it did to the rows."""

from __future__ import annotations

from actors.base import Now
from actors.durable_image import DurableImage
from actors.durable_orders import RowLimits, row_keys
from actors.durable_rows import instance_row_key, instance_row_value
from actors.messages.store import Fault, Outcome, Proposal, ProposalSettled
from actors.messages.values import Order, Route
from actors.proposals import ProposalDesk
from rollbook.durable_bodies import PublishPersistent, WithdrawPersistent
from rollbook.model import Instance, InstanceKey, Service
from rollbook.wire import Done, Failed
from tests.support.model_store import ModelStore

SERVICE = Service("public", "shop", "orders")
FIRST_NUMBER = 1_000
FENCE = "fence n1"
ROW_LIMITS = RowLimits(rows_max=1_000, intents_max=100)


def instance(port: int, weight: float) -> Instance:
    return Instance("10.0.0.1", port, weight=weight, ephemeral=False)


def key_of(port: int) -> str:
    return instance_row_key(SERVICE, InstanceKey("10.0.0.1", port))


class DeskBench:
    """Orders are numbered from 1, and a published weight is the number of its order: so a row says who wrote it."""

    def __init__(
        self,
        orders_max: int = 100,
        order_ms: int = 2_500,
        attempts_max: int = 5,
        row_limits: RowLimits = ROW_LIMITS,
    ) -> None:
        self.store = ModelStore()
        self.image = DurableImage()
        self.image.replace(self.store.cut())
        self.desk = ProposalDesk(
            "n1",
            self.image,
            first_number=FIRST_NUMBER,
            orders_max=orders_max,
            order_ms=order_ms,
            attempts_max=attempts_max,
            row_limits=row_limits,
        )
        self.desk.may_write = True
        self.ms = 0
        self.orders: dict[int, Order] = {}
        self.answers: dict[int, Done | Failed] = {}
        self.sent: dict[int, Proposal] = {}  # not settled yet
        self.order_of: dict[int, int] = {}  # by proposal: whose it is; 0 for fences
        self.effects: list[tuple[int, Proposal]] = []  # what changed rows, in order: whose

    @property
    def now(self) -> Now:
        return Now(self.ms, 1_700_000_000_000 + self.ms)

    # -- clients

    def publish(self, *ports: int) -> int:
        weight = len(self.orders) + 1
        return self._order(PublishPersistent(SERVICE, tuple(instance(port, weight) for port in ports)))

    def withdraw(self, *ports: int) -> int:
        return self._order(WithdrawPersistent(SERVICE, tuple(InstanceKey("10.0.0.1", port) for port in ports)))

    def write_elsewhere(self, port: int, weight: float | None) -> int:
        """Another node's write, acknowledged there."""
        value = None if weight is None else instance_row_value(instance(port, weight), "another", self.now.wall_ms, 1)
        return self.store.write(key_of(port), value)

    def weight_in_store(self, port: int) -> float | None:
        image = DurableImage()
        image.replace(self.store.cut())
        kept = image.rows.get(key_of(port))
        return getattr(kept, "instance", instance(port, 0)).weight if kept is not None else None

    # -- the store

    def settle(self, number: int, fault: Fault = "") -> Outcome | None:
        """The store answers this proposal, having carried it out unless there is a fault."""
        outcome = None if fault else self.carry_out(self.sent[number])
        del self.sent[number]
        self.tell_settled(ProposalSettled(number, outcome, fault, "so it is" if fault else ""))
        return outcome

    def settle_all(self) -> None:
        """Answers, and what follows from them, until nothing is left to be said."""
        while self.sent:
            for number in tuple(self.sent):
                self.settle(number)
            self.catch_up()

    def carry_out(self, proposal: Proposal) -> Outcome:
        before = self.store.index
        outcome = self.store.apply(proposal)
        if self.store.index > before:
            self.effects.append((self.order_of[proposal.number], proposal))
        return outcome

    def tell_settled(self, message: ProposalSettled) -> None:
        self.desk.settled(message, self.now)
        self._take()

    def catch_up(self, count_max: int = 1 << 30) -> None:
        news = self.store.changes_after(self.image.index, count_max)
        assert news is not None
        index = news[-1].index if len(news) == count_max else self.store.index
        changes, reasons = self.image.follow(news, index)
        assert not reasons
        self.desk.followed(changes, self.now, is_cut=False)
        self._take()

    def cut(self) -> None:
        changes, _ = self.image.replace(self.store.cut())
        self.desk.followed(changes, self.now, is_cut=True)
        self._take()

    # -- time

    def pass_time(self, ms: int) -> None:
        self.ms += ms
        self.desk.expire(self.now)
        self.desk.ask_for_fence(self.now)
        self._take()

    def raise_fence(self) -> None:
        self.desk.ask_for_fence(self.now)
        self._take()
        self.settle_all()

    @property
    def proposals(self) -> list[int]:
        """Those of orders that wait for the store."""
        return [number for number in self.sent if self.order_of[number]]

    @property
    def proposal(self) -> int:
        """The only one."""
        [number] = self.proposals
        return number

    @property
    def fence(self) -> int:
        """The only one."""
        [number] = self.fences
        return number

    @property
    def fences(self) -> list[int]:
        return [number for number in self.sent if not self.order_of[number]]

    def _order(self, body: PublishPersistent | WithdrawPersistent) -> int:
        number = len(self.orders) + 1
        self.orders[number] = Order(Route(b"c", 1), number, body, f"client-{number}")
        self.desk.take(self.orders[number], self.now)
        self._take()
        return number

    def _take(self) -> None:
        for reply in self.desk.take_replies():
            assert reply.correlation not in self.answers, "an order was answered twice"
            self.answers[reply.correlation] = reply.body
        for proposal in self.desk.take_proposals():
            assert proposal.number not in self.order_of, "a number was used twice"
            self.sent[proposal.number] = proposal
            self.order_of[proposal.number] = self._asker(proposal.operations[0].key)
        self.desk.check_invariants()
        self.image.check_invariants()

    def _asker(self, key: str) -> int:
        """Whoever stands in front of this row's line; 0 for a fence."""
        open_orders = (number for number, order in self.orders.items() if number not in self.answers)
        return 0 if key == FENCE else next(number for number in open_orders if key in row_keys(self.orders[number]))
