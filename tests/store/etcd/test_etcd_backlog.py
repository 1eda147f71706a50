"""What goes together into one txn, and what becomes of what waits."""

from __future__ import annotations

from collections import deque

import pytest

from actors.messages.store import Expectation, Operation
from runtime.store.etcd_backlog import Backlog, WaitingProposal, take_group
from runtime.store.etcd_lane import ElectionPatience, txn_request
from runtime.store.port import OPERATIONS_MAX, PROPOSAL_BYTES_MAX, Unavailable
from tests.support.store_settings import ETCD

BYTES_MAX = 1_000


def proposal(*keys: str, deadline: float = 10.0, size: int = 1, expected: int | None = None) -> WaitingProposal:
    expectations = [] if expected is None else [Expectation(keys[0], expected)]
    return WaitingProposal([Operation(key, b"x" * size) for key in keys], expectations, deadline)


def test_a_group_ends_where_a_txn_would_be_too_large() -> None:
    waiting = deque(proposal(f"{n}") for n in range(OPERATIONS_MAX + 5))
    assert len(take_group(waiting)) == OPERATIONS_MAX
    assert len(take_group(waiting)) == 5
    halves = deque([proposal("a", size=PROPOSAL_BYTES_MAX // 2), proposal("b", size=PROPOSAL_BYTES_MAX // 2)])
    assert len(take_group(halves)) == 1


def test_a_group_has_each_key_once() -> None:
    waiting = deque([proposal("a", "b"), proposal("c"), proposal("d", "a"), proposal("e")])
    assert [len(take_group(waiting)), len(take_group(waiting))] == [2, 2]


def test_nobody_in_a_group_waits_for_longer_than_it_said() -> None:
    waiting = deque([proposal("a", deadline=5), proposal("b", deadline=6), proposal("c", deadline=4)])
    assert [len(take_group(waiting)), len(take_group(waiting))] == [2, 1]


def test_a_conditional_proposal_goes_alone_and_both_kinds_get_their_turns() -> None:
    backlog = Backlog(10, BYTES_MAX)
    kinds = [proposal("a"), proposal("b", expected=0), proposal("c"), proposal("d", expected=7)]
    for each in kinds:
        backlog.put(each)
    backlog.close()
    taken = []
    while group := backlog.take():
        taken.append([kinds.index(each) for each in group if isinstance(each, WaitingProposal)])
    assert taken == [[0, 2], [1], [3]]


def test_what_waited_too_long_or_found_no_room_is_refused() -> None:
    backlog = Backlog(2, BYTES_MAX)
    late, early, third = proposal("a", deadline=20), proposal("b", deadline=10, expected=0), proposal("c")
    for each in (late, early, third):
        backlog.put(each)
    backlog.expire(10)
    backlog.close()
    after = proposal("d")
    backlog.put(after)
    for refused, reason in ((early, "nothing was sent"), (third, "waits for etcd already"), (after, "closed")):
        with pytest.raises(Unavailable, match=reason):
            refused.future.result(0)
    assert backlog.take() == [late]
    assert backlog.take() == []


def test_no_more_bytes_wait_than_was_declared() -> None:
    backlog = Backlog(10, 100)
    first, second, third = proposal("a", size=60), proposal("b", size=60), proposal("ü", size=38, expected=0)
    for each in (first, second, third):
        backlog.put(each)
    with pytest.raises(Unavailable, match="waits for etcd already"):
        second.future.result(0)
    backlog.expire(10)
    fourth = proposal("d", size=98, deadline=20)
    backlog.put(fourth)
    assert backlog.take() == [fourth]
    fifth = proposal("e", size=98)
    backlog.put(fifth)
    assert backlog.take() == [fifth]


def test_what_was_cancelled_is_not_done() -> None:
    backlog = Backlog(10, BYTES_MAX)
    kept, cancelled = proposal("a"), proposal("b")
    backlog.put(kept)
    backlog.put(cancelled)
    assert cancelled.future.cancel()
    assert backlog.take() == [kept]


def test_patience_ends_and_begins_anew_with_a_success() -> None:
    patience = ElectionPatience(ETCD)
    assert patience.allows_retry(100.0, 200.0)
    assert not patience.allows_retry(100.0 + ETCD.election_ms_max / 1_000, 200.0)
    patience.succeeded()
    assert patience.allows_retry(150.0, 200.0)
    assert not patience.allows_retry(150.0, 150.0)


def test_a_txn_names_its_keys_with_the_prefix_of_the_cluster() -> None:
    conditional = WaitingProposal([Operation("a", b"1"), Operation("b", None)], [Expectation("c", 7)], 1.0)
    no_restore = {"key": b"p/\0restore", "target": "MOD", "result": "EQUAL", "mod_revision": 0}
    assert txn_request([conditional], "p/") == {
        "success": [{"request_put": {"key": b"p/a", "value": b"1"}}, {"request_delete_range": {"key": b"p/b"}}],
        "failure": [{"request_range": {"key": b"p/\0restore"}}],
        "compare": [no_restore, {"key": b"p/c", "target": "MOD", "result": "EQUAL", "mod_revision": 7}],
    }
    assert txn_request([proposal("a")], "p/")["compare"] == [no_restore]
