"""Orders on their way into the store: one answer each, in order by row, and no write after it was given up."""

from __future__ import annotations

import pytest

from actors.messages.store import Outcome, Proposal, ProposalSettled
from rollbook.errors import Code
from rollbook.wire import Done, Failed
from tests.support.desk_bench import FENCE, FIRST_NUMBER, DeskBench


@pytest.fixture
def bench() -> DeskBench:
    made = DeskBench()
    made.raise_fence()
    return made


def failure(bench: DeskBench, order: int) -> int:
    answer = bench.answers[order]
    assert isinstance(answer, Failed)
    return answer.code


def lose(bench: DeskBench) -> Proposal:
    """The one proposal that is under way gets no answer."""
    [number] = bench.proposals
    proposal = bench.sent[number]
    bench.settle(number, "unknown")
    return proposal


# -- the way of one order


def test_an_order_is_answered_once_its_change_is_in_the_image(bench: DeskBench) -> None:
    order = bench.publish(1)
    outcome = bench.settle(bench.proposal)
    assert outcome is not None
    assert bench.answers == {}
    bench.catch_up()
    assert bench.answers == {order: Done(seq=outcome.index)}


def test_an_order_whose_change_is_in_the_image_already_is_answered_at_once(bench: DeskBench) -> None:
    order = bench.publish(1)
    [number] = bench.proposals
    outcome = bench.carry_out(bench.sent[number])
    bench.catch_up()
    assert bench.answers == {}
    bench.tell_settled(ProposalSettled(number, outcome))
    assert bench.answers == {order: Done(seq=outcome.index)}


def test_nothing_is_proposed_before_a_fence_holds() -> None:
    bench = DeskBench()
    bench.publish(1)
    bench.raise_fence()
    assert [order for order, _ in bench.effects] == [0, 1]
    assert [expected.key for expected in bench.effects[1][1].expectations] == [FENCE]


def test_orders_about_one_row_wait_for_each_other_and_others_do_not(bench: DeskBench) -> None:
    first, second, third = bench.publish(1, 2), bench.withdraw(2, 3), bench.publish(4)
    assert [bench.order_of[number] for number in bench.proposals] == [first, third]
    bench.settle_all()
    assert [order for order, _ in bench.effects[1:]] == [first, third, second]
    assert bench.answers.keys() == {first, second, third}


def test_too_many_orders_are_refused() -> None:
    bench = DeskBench(orders_max=2)
    first, second, third = bench.publish(1), bench.publish(1), bench.publish(2)
    assert failure(bench, third) == Code.OVER_LIMIT
    bench.raise_fence()
    assert bench.answers.keys() == {first, second, third}


def test_what_is_unavailable_was_not_written_and_the_next_has_its_turn(bench: DeskBench) -> None:
    first, second = bench.publish(1), bench.publish(1)
    bench.settle(bench.proposal, "unavailable")
    assert failure(bench, first) == Code.STORE_UNAVAILABLE
    bench.settle_all()
    assert bench.answers[second] == Done(seq=2)


def test_what_is_too_large_is_refused_for_good(bench: DeskBench) -> None:
    order = bench.publish(1)
    bench.settle(bench.proposal, "too_large")
    answer = bench.answers[order]
    assert isinstance(answer, Failed)
    assert (answer.code, answer.field, answer.retryable) == (Code.PARAMETER_INVALID, "instances", False)


def test_an_order_that_is_always_refused_ends() -> None:
    bench = DeskBench(attempts_max=2)
    bench.raise_fence()
    order = bench.publish(1)
    for _ in range(2):
        bench.store.write(FENCE, b"somebody else")
        bench.settle(bench.proposal)
        bench.catch_up()
        for fence in bench.fences:
            bench.settle(fence)
        bench.catch_up()
    assert failure(bench, order) == Code.STORE_UNAVAILABLE
    assert bench.weight_in_store(1) is None


def test_after_one_refusal_for_an_old_fence_the_next_attempt_is_made_under_a_new_one() -> None:
    bench = DeskBench(attempts_max=2)
    bench.raise_fence()
    order = bench.publish(1)
    bench.store.write(FENCE, b"somebody else")
    bench.settle(bench.proposal)
    bench.catch_up()
    assert (bench.proposals, len(bench.fences)) == ([], 1)
    bench.settle_all()
    assert isinstance(bench.answers[order], Done)


# -- numbers


def test_numbers_of_proposals_begin_above_those_of_earlier_lives(bench: DeskBench) -> None:
    bench.publish(1)
    assert min(bench.order_of) > FIRST_NUMBER


def test_a_late_answer_of_an_earlier_attempt_says_nothing_of_the_next(bench: DeskBench) -> None:
    order = bench.publish(1)
    early = lose(bench)
    bench.settle(bench.fence)
    bench.catch_up()
    late = bench.carry_out(early)
    assert late.applied is False, "the fence keeps it out"
    [number] = bench.proposals
    outcome = bench.carry_out(bench.sent.pop(number))
    bench.tell_settled(ProposalSettled(early.number, late))
    bench.settle_all()
    bench.tell_settled(ProposalSettled(number, outcome))
    bench.catch_up()
    assert [asker for asker, _ in bench.effects].count(order) == 1
    assert bench.answers == {order: Done(seq=3)}


# -- unknown outcomes


def test_a_lost_write_that_came_through_is_done(bench: DeskBench) -> None:
    order = bench.publish(1)
    bench.carry_out(lose(bench))
    bench.settle_all()
    assert isinstance(bench.answers[order], Done)
    assert [asker for asker, _ in bench.effects].count(order) == 1


def test_a_lost_write_that_did_not_come_through_is_repeated(bench: DeskBench) -> None:
    order = bench.publish(1)
    lose(bench)
    bench.settle_all()
    assert isinstance(bench.answers[order], Done)
    assert bench.weight_in_store(1) == order


def test_nothing_more_is_proposed_while_something_may_yet_be_written(bench: DeskBench) -> None:
    bench.publish(1)
    lose(bench)
    bench.publish(2)
    assert bench.proposals == []
    bench.settle(bench.fence)
    assert bench.proposals == [], "the image has not seen the fence"
    bench.catch_up()
    assert len(bench.proposals) == 2


def test_where_others_have_written_since_nobody_can_tell(bench: DeskBench) -> None:
    order = bench.publish(1)
    lose(bench)
    bench.write_elsewhere(1, 99)
    bench.settle_all()
    assert failure(bench, order) == Code.OUTCOME_UNKNOWN
    assert bench.weight_in_store(1) == 99


def test_an_instance_that_came_and_was_taken_away_is_not_written_again(bench: DeskBench) -> None:
    order = bench.publish(1)
    bench.carry_out(lose(bench))
    bench.write_elsewhere(1, None)
    bench.settle_all()
    assert failure(bench, order) == Code.OUTCOME_UNKNOWN
    assert bench.weight_in_store(1) is None, "an acknowledged removal stands"


def test_after_a_cut_an_absent_instance_may_have_come_and_gone(bench: DeskBench) -> None:
    order = bench.publish(1)
    bench.carry_out(lose(bench))
    bench.write_elsewhere(1, None)
    bench.cut()
    bench.settle_all()
    assert failure(bench, order) == Code.OUTCOME_UNKNOWN
    assert bench.weight_in_store(1) is None


def test_rows_that_are_gone_anyway_do_not_say_that_others_were_withdrawn(bench: DeskBench) -> None:
    bench.write_elsewhere(2, 50)
    bench.catch_up()
    order = bench.withdraw(1, 2)
    lose(bench)
    bench.write_elsewhere(2, 60)
    bench.settle_all()
    assert failure(bench, order) == Code.OUTCOME_UNKNOWN
    assert bench.weight_in_store(2) == 60


def test_one_row_as_it_was_says_that_nothing_of_the_order_was_written(bench: DeskBench) -> None:
    bench.write_elsewhere(2, 50)
    bench.catch_up()
    order = bench.withdraw(1, 2)
    lose(bench)
    bench.settle_all()
    assert isinstance(bench.answers[order], Done)
    assert bench.weight_in_store(2) is None


def test_withdrawing_what_is_gone_by_then_is_done(bench: DeskBench) -> None:
    order = bench.withdraw(1)
    lose(bench)
    bench.settle_all()
    assert isinstance(bench.answers[order], Done)


def test_a_fence_whose_own_fate_is_unknown_is_asked_for_again(bench: DeskBench) -> None:
    order = bench.publish(1)
    lose(bench)
    bench.settle(bench.fence, "unknown")
    assert bench.fences == []
    bench.pass_time(500)
    bench.settle_all()
    assert isinstance(bench.answers[order], Done)


def test_a_fence_that_somebody_removed_holds_nothing_and_is_asked_for_again(bench: DeskBench) -> None:
    order = bench.publish(1)
    lose(bench)
    bench.settle(bench.fence)
    bench.store.write(FENCE, None)
    bench.catch_up()
    assert bench.proposals == []
    bench.pass_time(500)
    bench.settle_all()
    assert isinstance(bench.answers[order], Done)


def test_a_fence_that_is_not_where_its_answer_said_holds_nothing(bench: DeskBench) -> None:
    bench.publish(1)
    lose(bench)
    bench.write_elsewhere(2, 50)
    bench.catch_up()
    fence = bench.fence
    del bench.sent[fence]
    bench.tell_settled(ProposalSettled(fence, Outcome(True, bench.image.index)))
    assert bench.proposals == [], "the old one does not keep out what is lost"


def test_what_others_did_before_the_last_attempt_does_not_make_its_fate_unknown(bench: DeskBench) -> None:
    order = bench.publish(1)
    bench.write_elsewhere(1, 50)
    bench.write_elsewhere(1, None)
    bench.store.write(FENCE, b"somebody else")
    bench.settle(bench.proposal)
    bench.catch_up()
    bench.settle(bench.fence)
    bench.catch_up()
    lose(bench)
    bench.settle_all()
    assert isinstance(bench.answers[order], Done), "nobody has touched the row since, so it is said again"
    assert bench.weight_in_store(1) == order


# -- time


def test_an_order_that_waits_for_too_long_was_not_written(bench: DeskBench) -> None:
    first = bench.publish(1)
    lose(bench)
    second = bench.publish(1)
    bench.pass_time(2_499)
    assert bench.answers == {}
    bench.pass_time(1)
    assert (failure(bench, first), failure(bench, second)) == (Code.OUTCOME_UNKNOWN, Code.STORE_UNAVAILABLE)


def test_an_order_is_answered_in_time_even_if_the_store_never_speaks_of_it(bench: DeskBench) -> None:
    order = bench.publish(1)
    proposal = bench.sent[bench.proposals[0]]
    bench.pass_time(2_500)
    assert failure(bench, order) == Code.OUTCOME_UNKNOWN
    after = bench.publish(1)
    assert bench.order_of[max(bench.order_of)] == 0, "a fence comes first"
    bench.settle(bench.fence)
    bench.catch_up()
    assert bench.carry_out(proposal) == Outcome(False, bench.store.index)
    bench.settle_all()
    assert isinstance(bench.answers[after], Done)
    assert bench.weight_in_store(1) == after


def test_the_late_answer_to_an_order_that_was_given_up_changes_nothing(bench: DeskBench) -> None:
    order = bench.publish(1)
    number = bench.proposal
    bench.pass_time(2_500)
    assert failure(bench, order) == Code.OUTCOME_UNKNOWN
    bench.settle(number)
    bench.settle_all()
    after = bench.publish(1)
    bench.settle_all()
    assert failure(bench, order) == Code.OUTCOME_UNKNOWN
    assert isinstance(bench.answers[after], Done)


def test_an_order_that_the_store_refused_was_not_written_also_if_the_image_never_shows_why(bench: DeskBench) -> None:
    order = bench.publish(1)
    bench.store.write(FENCE, b"somebody else")
    bench.settle(bench.proposal)
    bench.pass_time(2_500)
    assert failure(bench, order) == Code.STORE_UNAVAILABLE
    assert len(bench.fences) == 0, "nothing is in doubt"
