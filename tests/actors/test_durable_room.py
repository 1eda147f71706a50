"""How much the store may hold: what would add to a full one is refused, what rewrites or removes never is."""

from __future__ import annotations

from actors.durable_image import DurableImage
from actors.durable_orders import BindIntent, OrderAnswer, RowLimits, lack_of_room
from rollbook.durable import Intent
from rollbook.durable_bodies import PublishPersistent, PutService, WithdrawPersistent
from rollbook.errors import Code
from rollbook.model import Instance
from rollbook.wire import Done, Failed
from tests.actors.test_durable_orders import INSTANCE_ROW, INTENT_ROW, KEPT, SETTINGS, decided, image, planned
from tests.support.desk_bench import DeskBench
from tests.support.registry import ORDERS

WEIGHT = BindIntent(ORDERS, KEPT.key, Intent(weight=2.0), 0, "kept 8")
TWO_ROWS = RowLimits(rows_max=2, intents_max=10)
ONE_INTENT = RowLimits(rows_max=10, intents_max=1)


def refusal(body: object, there: DurableImage, limits: RowLimits) -> tuple[int, str] | None:
    answer = lack_of_room(planned(body, there), there, limits)
    if answer is None:
        return None
    assert isinstance(answer, OrderAnswer)
    assert isinstance(answer.body, Failed)
    return answer.body.code, answer.body.field


def test_a_full_store_takes_no_further_row_of_any_kind() -> None:
    full = image(INSTANCE_ROW, INTENT_ROW)
    other = Instance("10.0.0.2", 80, ephemeral=False)
    for body in (PublishPersistent(ORDERS, (other,)), PutService(ORDERS, SETTINGS), WEIGHT):
        assert refusal(body, full, TWO_ROWS) == (Code.OVER_LIMIT, "rows")
        assert refusal(body, image(INSTANCE_ROW), TWO_ROWS) is None


def test_of_a_full_store_rows_are_rewritten_and_removed() -> None:
    full = image(INSTANCE_ROW, INTENT_ROW)
    assert refusal(PublishPersistent(ORDERS, (KEPT,)), full, TWO_ROWS) is None
    assert refusal(WithdrawPersistent(ORDERS, (KEPT.key,)), full, TWO_ROWS) is None


def test_an_order_of_many_instances_needs_room_for_all_of_them() -> None:
    others = tuple(Instance("10.0.0.2", port, ephemeral=False) for port in (80, 81))
    assert refusal(PublishPersistent(ORDERS, others), image(INSTANCE_ROW), TWO_ROWS) == (Code.OVER_LIMIT, "rows")


def test_decisions_have_a_limit_of_their_own_and_may_be_changed_at_it() -> None:
    there = image(INSTANCE_ROW, decided(Intent(enabled=False), 6))
    assert refusal(WEIGHT, there, ONE_INTENT) == (Code.OVER_LIMIT, "intent")
    assert refusal(BindIntent(ORDERS, KEPT.key, Intent(enabled=True), 0, "kept 8"), there, ONE_INTENT) is None
    assert refusal(PutService(ORDERS, SETTINGS), there, ONE_INTENT) is None


def test_who_is_refused_for_lack_of_room_is_answered_and_the_next_has_his_turn() -> None:
    bench = DeskBench(row_limits=RowLimits(rows_max=2, intents_max=1))  # the fence is one of them
    bench.raise_fence()
    first = bench.publish(1)
    bench.settle_all()
    second, third, fourth = bench.publish(2), bench.withdraw(1), bench.publish(2)
    assert isinstance(bench.answers[first], Done)
    answer = bench.answers[second]
    assert isinstance(answer, Failed)
    assert (answer.code, answer.message) == (Code.OVER_LIMIT, "the store holds 2 of 2 rows")
    bench.settle_all()
    assert isinstance(bench.answers[third], Done)
    assert isinstance(bench.answers[fourth], Failed)  # it came before there was room
    fifth = bench.publish(2)
    bench.settle_all()
    assert isinstance(bench.answers[fifth], Done)
