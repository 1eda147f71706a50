"""The mailbox of a thread that waits for sockets: nothing that is put into it is slept over."""

from __future__ import annotations

import select
from collections.abc import Iterator

import pytest

from runtime.inbox import WakingInbox


@pytest.fixture
def inbox() -> Iterator[WakingInbox]:
    made = WakingInbox()
    yield made
    made.close()


def wakes(inbox: WakingInbox) -> bool:
    return bool(select.select([inbox.wake_end], [], [], 0)[0])


def test_whoever_puts_something_in_wakes_a_thread_that_sleeps(inbox: WakingInbox) -> None:
    assert inbox.may_sleep()
    assert not wakes(inbox)
    inbox.put("one")
    assert wakes(inbox)
    assert list(inbox.messages) == ["one"]


def test_what_was_put_in_before_keeps_the_thread_from_sleeping(inbox: WakingInbox) -> None:
    inbox.put("one")
    assert not wakes(inbox), "it is awake, and looks by itself"
    assert not inbox.may_sleep()


def test_many_messages_take_one_byte_and_the_next_sleep_takes_another(inbox: WakingInbox) -> None:
    assert inbox.may_sleep()
    for number in range(1_000):
        inbox.put(number)
    inbox.awake()
    inbox.take_byte()
    assert not wakes(inbox)
    inbox.messages.clear()
    assert inbox.may_sleep()
    inbox.put("next")
    assert wakes(inbox)
