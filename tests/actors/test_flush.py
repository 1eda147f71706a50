"""How long a node that leaves waits for its peers."""

from __future__ import annotations

from actors.base import Role, Tell
from actors.flush import Flush
from actors.messages.members import Flushed

DONE = [Tell(Role.MEMBERS, Flushed())]


def ordered() -> Flush:
    flush = Flush()
    flush.order(5_000)
    return flush


def test_it_ends_at_its_deadline_and_is_answered_once() -> None:
    flush = ordered()
    assert [flush.expire(ms) for ms in (4_999, 5_000, 5_001)] == [[], DONE, []]


def test_it_ends_early_when_everyone_has_everything_and_then_has_no_deadline() -> None:
    flush = ordered()
    assert flush.deadlines() == [5_000]
    assert flush.end() == DONE
    assert (flush.deadlines(), flush.expire(6_000)) == ([], [])


def test_without_an_order_nothing_is_due() -> None:
    assert (Flush().deadlines(), Flush().expire(60_000)) == ([], [])
