"""What does not wait for the beat is put off once, however often it is asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from actors.base import Effect, Remind, Role, Tell
from actors.haste import CATCH_UP_LOOK_MS, GREET_DELAY_MS, REVIEW_DELAY_MS, CatchUpDue, GreetDue, Haste, ReviewDue
from actors.messages.io import Beat

ASKED: list[tuple[Callable[[Haste], list[Effect]], Callable[[Haste], None], Effect]] = [
    (Haste.beat_now, Haste.beat_came, Tell(Role.IO, Beat(0))),
    (Haste.look_soon, Haste.look_came, Remind(CATCH_UP_LOOK_MS, CatchUpDue())),
    (Haste.review_soon, Haste.review_came, Remind(REVIEW_DELAY_MS, ReviewDue())),
]


@pytest.mark.parametrize(("ask", "come", "effect"), ASKED)
def test_it_is_asked_for_once_until_it_has_come(
    ask: Callable[[Haste], list[Effect]], come: Callable[[Haste], None], effect: Effect
) -> None:
    haste = Haste()
    assert [ask(haste), ask(haste)] == [[effect], []]
    come(haste)
    assert ask(haste) == [effect]


def test_one_of_them_does_not_hold_up_the_others() -> None:
    haste = Haste()
    assert [len(ask(haste)) for ask, _, _ in ASKED] == [1, 1, 1]


def test_every_link_is_greeted_for_itself() -> None:
    haste = Haste()
    assert [haste.greet_soon(link) for link in ("l1", "l2")] == [
        [Remind(GREET_DELAY_MS, GreetDue("l1"))],
        [Remind(GREET_DELAY_MS, GreetDue("l2"))],
    ]
