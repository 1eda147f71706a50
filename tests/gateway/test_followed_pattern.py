"""What is known of the services of one pattern, over restarts of the node that tells of them."""

from __future__ import annotations

import pytest

from rollbook.catalog import ServicesFound
from runtime.gateway.followed_pattern import FollowedPattern

EPOCH, NEXT_EPOCH = 7, 8


def followed(*names: str) -> FollowedPattern:
    """A pattern of which the node has told these."""
    pattern = FollowedPattern("n>>*>>*", "n", "*", "*")
    pattern.take(whole(5, *names), EPOCH)
    return pattern


def whole(number: int, *names: str, warming: bool = False, total: int = 0) -> ServicesFound:
    return ServicesFound(number, True, total or len(names), pairs(names), (), warming)


def news(number: int, came: str = "", gone: str = "", *, warming: bool = False) -> ServicesFound:
    return ServicesFound(number, False, len(came + gone), pairs(came), pairs(gone), warming)


def pairs(names: tuple[str, ...] | str) -> tuple[tuple[str, str], ...]:
    return tuple(("g", name) for name in names)


def matched(pattern: FollowedPattern) -> str:
    assert pattern.matched is not None
    return "".join(sorted(key.removeprefix("n@@g@@") for key in pattern.matched))


def test_news_add_to_what_was_told_whole() -> None:
    pattern = followed("a", "b")
    assert pattern.since(EPOCH) == 5
    pattern.take(news(8, came="c", gone="a"), EPOCH)
    assert (matched(pattern), pattern.since(EPOCH), pattern.total) == ("bc", 8, 2)
    pattern.take(news(8), EPOCH)
    assert (matched(pattern), pattern.total) == ("bc", 2)


def test_numbers_of_another_life_of_the_node_are_not_asked_with() -> None:
    pattern = followed("a")
    assert pattern.since(NEXT_EPOCH) == 0
    pattern.take(whole(2, "b"), NEXT_EPOCH)
    assert (matched(pattern), pattern.since(NEXT_EPOCH)) == ("b", 2)


def test_what_a_warming_node_has_not_shown_may_be_late_and_what_it_has_shown_may_go() -> None:
    pattern = followed("a", "b")
    pattern.take(whole(2, "a", warming=True), NEXT_EPOCH)
    assert matched(pattern) == "ab"
    assert pattern.since(NEXT_EPOCH) == 0, "it is asked for everything until then"
    pattern.take(whole(3, "c", warming=True), NEXT_EPOCH)
    assert matched(pattern) == "bc", "a was here in this life and is not any more"
    pattern.take(whole(4, "b", "c", warming=True), NEXT_EPOCH)
    assert (matched(pattern), pattern.since(NEXT_EPOCH)) == ("bc", 4)
    pattern.take(news(5, gone="b", warming=True), NEXT_EPOCH)
    assert matched(pattern) == "c"


def test_what_never_came_is_gone_when_the_node_is_warm() -> None:
    pattern = followed("a", "b")
    pattern.take(whole(2, "a", warming=True), NEXT_EPOCH)
    pattern.take(whole(2, "a"), NEXT_EPOCH)
    assert (matched(pattern), pattern.since(NEXT_EPOCH)) == ("a", 2)


@pytest.mark.parametrize(
    ("found", "needed"),
    [
        (news(6), False),
        (news(6, came="d"), False),
        (news(6, came="de"), True),
        (news(6, gone="a"), False),
        (whole(6, "a", total=90), False),
    ],
)
def test_beyond_the_limit_news_are_not_enough(found: ServicesFound, needed: bool) -> None:
    assert followed("a", "b", "c").needs_all(found, 4) is needed


def test_a_pattern_that_means_more_than_is_told_needs_all_at_every_change() -> None:
    pattern = FollowedPattern("n>>*>>*", "n", "*", "*")
    pattern.take(whole(5, "a", "b", total=9), EPOCH)
    assert pattern.needs_all(news(6, gone="a"), 2)
    assert pattern.needs_all(news(6, gone="z"), 2)
    assert not pattern.needs_all(news(6), 2)
