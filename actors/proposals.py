"""Orders on their way into the store and back: each has exactly one answer, and those about one row keep their order.

Owns every order from its arrival to its answer, and the fence. An order waits until no earlier one about any of its
rows is under way (engines promise no order among proposals that do not wait for each other), is planned against the
image of that moment and proposed. It is answered when the image has reached the index of its change, so that whoever
has the answer finds the change in every later list of this node. If an expectation did not hold, it is planned anew
once the image shows why.

A store may not know what became of a proposal, and such a one could be written much later, over what was ordered since.
So every proposal expects the fence of this node, a row that is written anew after each such case: once the new fence
is in the image, what was proposed before it is written or never will be, and the image says which.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from actors.base import Now
from actors.durable_image import DurableImage, ImageChange
from actors.durable_orders import OrderAnswer, Plan, RowLimits, fate_of, lack_of_room, plan_of, row_keys
from actors.durable_rows import fence_row_key
from actors.messages.store import Expectation, Operation, Proposal, ProposalSettled
from actors.messages.values import NOBODY, Order, Reply
from rollbook.errors import RETRYABLE, Code
from rollbook.wire import Failed, Tag

_NOTHING_WRITTEN = "nothing was written"


class PendingOrder:
    __slots__ = (
        "attempts",
        "index",
        "is_applied",
        "is_doubtful",
        "keys",
        "number",
        "order",
        "overdue_ms",
        "plan",
        "proposal",
        "touched",
    )

    def __init__(self, number: int, order: Order, keys: tuple[str, ...], overdue_ms: int) -> None:
        self.number = number
        self.order = order
        self.keys = keys
        self.overdue_ms = overdue_ms
        self.plan: Plan | None = None  # from its proposal on
        self.proposal = 0  # the number of the one that is with the store; 0 if none is
        self.touched: set[str] = set()  # its rows that may have been written since it was planned
        self.attempts = 0
        self.index: int | None = None  # the image must reach this before anything else happens to it
        self.is_applied = False
        self.is_doubtful = False  # the store did not know; the next fence will tell


class ProposalDesk:
    def __init__(
        self,
        node_id: str,
        image: DurableImage,
        *,
        first_number: int,
        orders_max: int,
        order_ms: int,
        attempts_max: int,
        row_limits: RowLimits,
    ) -> None:
        """``first_number``: above all of earlier lives, whose late answers would be taken for those of this one."""
        self._fence_key = fence_row_key(node_id)
        self._image = image
        self._orders_max = orders_max
        self._order_ms = order_ms
        self._attempts_max = attempts_max
        self._row_limits = row_limits
        self._number = first_number
        self.may_write = False  # PersistentStore follows the store
        self._under_way: dict[int, PendingOrder] = {}  # by proposal
        self._pending: dict[int, PendingOrder] = {}
        self._lines: dict[str, deque[PendingOrder]] = {}  # by row: who stands in front may be under way
        self._behind: dict[int, PendingOrder] = {}  # those that wait for the image
        self._fence = 0  # its index; 0 while there is none that holds
        self._fence_number = 0  # of the proposal that writes the next one; 0 if none is under way
        self._fence_index: int | None = None  # the image must reach it before the new one holds
        self._proposals: list[Proposal] = []
        self._replies: list[Reply] = []
        self._looks: deque[PendingOrder] = deque()  # whose turn may have come

    def __len__(self) -> int:
        return len(self._pending)

    def take(self, order: Order, now: Now) -> None:
        if len(self._pending) >= self._orders_max:
            self._fail(order, Code.OVER_LIMIT, f"{self._orders_max} orders wait for the store already")
            return
        self._number += 1
        pending = PendingOrder(self._number, order, row_keys(order), now.monotonic_ms + self._order_ms)
        self._pending[pending.number] = pending
        for key in pending.keys:
            self._lines.setdefault(key, deque()).append(pending)
        self._looks.append(pending)
        self._begin_whose_turn_it_is(now)

    def refuse(self, order: Order, reason: str) -> None:
        """The store cannot be reached: nothing is queued for it."""
        self._fail(order, Code.STORE_UNAVAILABLE, f"{_NOTHING_WRITTEN}: {reason}")

    def ask_for_fence(self, now: Now) -> None:
        """Unless one stands, or is on its way, or the store cannot be followed: it may be another one."""
        if self.may_write and not self._fence and not self._fence_number and self._fence_index is None:
            self._number += 1
            self._fence_number = self._number
            value = str(now.wall_ms).encode()
            self._proposals.append(Proposal(self._number, (Operation(self._fence_key, value),)))

    def settled(self, message: ProposalSettled, now: Now) -> None:
        """The store has spoken of one proposal."""
        if message.number == self._fence_number:
            self._fence_number = 0
            self._fence_index = message.outcome.index if message.outcome is not None else None
            self._raise_fence()
        pending = self._under_way.pop(message.number, None)
        if pending is not None:
            pending.proposal = 0
            self._settle(pending, message, now)
        self._begin_whose_turn_it_is(now)

    def followed(self, changes: Iterable[ImageChange], now: Now, *, is_cut: bool) -> None:
        """The image has moved on. A cut does not show what came and went before it."""
        if is_cut:
            for pending in self._pending.values():
                pending.touched.update(pending.keys)
        for change in changes:
            if change.key in self._lines:
                self._lines[change.key][0].touched.add(change.key)
        self._raise_fence()
        for pending in tuple(self._behind.values()):
            self._catch_up(pending, now)
        self._begin_whose_turn_it_is(now)

    def expire(self, now: Now) -> None:
        """Who has waited long enough is told so, whatever the store still has to say of it."""
        for pending in tuple(self._pending.values()):
            if pending.overdue_ms > now.monotonic_ms:
                continue
            if pending.plan is None or (pending.index is not None and not pending.is_applied):
                sentence = f"{_NOTHING_WRITTEN}: the store takes too long"
                self._end(pending, Failed(Code.STORE_UNAVAILABLE, sentence, retryable=True))
            else:
                if pending.proposal:
                    self._doubt(now)
                sentence = "it may have been written: this node has not seen it come back from the store"
                self._end(pending, Failed(Code.OUTCOME_UNKNOWN, sentence, retryable=True))
        self._begin_whose_turn_it_is(now)

    def take_proposals(self) -> tuple[Proposal, ...]:
        made, self._proposals = tuple(self._proposals), []
        return made

    def take_replies(self) -> tuple[Reply, ...]:
        replies, self._replies = tuple(self._replies), []
        return replies

    def check_invariants(self) -> None:
        assert not self._proposals, "a proposal was not made"
        assert not self._replies, "an answer was not given"
        assert not self._looks, "nobody has looked whose turn it is"
        lined = {pending.number for line in self._lines.values() for pending in line}
        assert lined == self._pending.keys(), "an order stands in no line, or one that has ended in one"
        assert all(self._lines.values()), "an empty line is kept"
        assert all(pending.proposal == number for number, pending in self._under_way.items())
        assert not self._fence or not any(pending.is_doubtful for pending in self._pending.values()), "a doubt is left"
        for key, line in self._lines.items():
            assert all(pending.plan is None for pending in list(line)[1:]), f"two orders about {key} are under way"
        for number, pending in self._pending.items():
            assert (pending.index is not None) == (number in self._behind)
            assert not pending.proposal or self._under_way[pending.proposal] is pending
            stages = (pending.plan is None, pending.proposal != 0, pending.index is not None, pending.is_doubtful)
            assert sum(stages) == 1, f"an order is at one stage of its way, not {stages}"
            assert pending.index is None or pending.index > self._image.index, "the image is there already"
            assert pending.plan is not None or not self._fence or not self._is_first(pending), "it waits for nobody"

    # -- whose turn it is

    def _begin_whose_turn_it_is(self, now: Now) -> None:
        while self._looks and self._fence:
            pending = self._looks.popleft()
            if pending.number in self._pending and pending.plan is None and self._is_first(pending):
                self._begin(pending, now)
        self._looks.clear()  # Without a fence nobody's turn comes; all are looked at when there is one.

    def _is_first(self, pending: PendingOrder) -> bool:
        return all(self._lines[key][0] is pending for key in pending.keys)

    def _begin(self, pending: PendingOrder, now: Now) -> None:
        planned = plan_of(pending.order, self._image, now)
        if isinstance(planned, Plan):
            planned = lack_of_room(planned, self._image, self._row_limits) or planned
        if isinstance(planned, OrderAnswer):
            self._end(pending, planned)
            return
        pending.plan = planned
        pending.touched.clear()
        pending.attempts += 1
        self._number += 1  # anew for each attempt: a late answer of an earlier one says nothing of this
        pending.proposal = self._number
        self._under_way[pending.proposal] = pending
        expectations = (*planned.expectations, Expectation(self._fence_key, self._fence))
        self._proposals.append(Proposal(pending.proposal, planned.operations, expectations))

    # -- what became of it

    def _settle(self, pending: PendingOrder, message: ProposalSettled, now: Now) -> None:
        if message.outcome is not None:
            pending.index, pending.is_applied = message.outcome.index, message.outcome.applied
            self._behind[pending.number] = pending
            self._catch_up(pending, now)
        elif message.fault == "unknown":
            pending.is_doubtful = True
            self._doubt(now)
        else:
            self._end(pending, _fault(message))

    def _doubt(self, now: Now) -> None:
        """Something may yet be written: nothing more is proposed before a new fence holds."""
        self._fence = 0
        self.ask_for_fence(now)

    def _raise_fence(self) -> None:
        """The new fence holds once the image shows everything that was written before it."""
        if self._fence_index is None or self._fence_index > self._image.index:
            return
        written, expected = self._image.row_index(self._fence_key), self._fence_index
        self._fence_index = None
        if written < expected:
            return  # somebody has removed it: the next look asks for another
        self._fence = written
        for pending in tuple(self._pending.values()):
            if pending.is_doubtful:
                self._resolve(pending)
            elif pending.plan is None:
                self._looks.append(pending)

    def _resolve(self, pending: PendingOrder) -> None:
        assert pending.plan is not None
        pending.is_doubtful = False
        match fate_of(pending.plan, pending.touched, self._image):
            case "applied":
                self._end(pending, pending.plan.answer(self._image.index))
            case "not applied":
                self._again(pending)
            case "unknown":
                sentence = "it may have been written: others have changed the same since"
                self._end(pending, Failed(Code.OUTCOME_UNKNOWN, sentence, retryable=True))

    def _catch_up(self, pending: PendingOrder, now: Now) -> None:
        assert pending.index is not None
        assert pending.plan is not None
        if pending.index > self._image.index:
            return
        index, pending.index = pending.index, None
        del self._behind[pending.number]
        if pending.is_applied:
            self._end(pending, pending.plan.answer(index))
            return
        if self._image.row_index(self._fence_key) != self._fence:
            self._doubt(now)  # a newer one is on its way, or a late one has taken its place
        self._again(pending)

    def _again(self, pending: PendingOrder) -> None:
        """It was not written. Plan it anew, as things stand now."""
        if pending.attempts >= self._attempts_max:
            sentence = f"{_NOTHING_WRITTEN}: others changed the same {pending.attempts} times meanwhile"
            self._end(pending, Failed(Code.STORE_UNAVAILABLE, sentence, retryable=True))
            return
        pending.plan = None
        self._looks.append(pending)

    def _end(self, pending: PendingOrder, answer: OrderAnswer | Failed) -> None:
        tag, body = answer if isinstance(answer, OrderAnswer) else (Tag.FAILED, answer)
        if pending.order.route != NOBODY:
            self._replies.append(Reply(pending.order.route, pending.order.correlation, tag, body))
        del self._pending[pending.number]
        self._under_way.pop(pending.proposal, None)
        self._behind.pop(pending.number, None)
        for key in pending.keys:
            line = self._lines[key]
            line.remove(pending)
            if line:
                self._looks.append(line[0])
            else:
                del self._lines[key]

    def _fail(self, order: Order, code: Code, sentence: str) -> None:
        failed = Failed(code, sentence, retryable=code in RETRYABLE)
        if order.route != NOBODY:
            self._replies.append(Reply(order.route, order.correlation, Tag.FAILED, failed))


def _fault(message: ProposalSettled) -> Failed:
    if message.fault == "too_large":
        return Failed(Code.PARAMETER_INVALID, message.reason, field="instances")
    return Failed(Code.STORE_UNAVAILABLE, f"{_NOTHING_WRITTEN}: {message.reason}", retryable=True)
