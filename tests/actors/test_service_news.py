"""Which names a pattern means, and how far back the news of services go."""

from __future__ import annotations

import pytest

from actors.service_news import CHANGES_MAX, ServiceNews, matches
from rollbook.model import Service

ORDERS = Service("public", "g", "orders")
BILLS = Service("public", "g", "bills")


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        ("*", ("", "a", "a*"), ()),
        ("ab", ("ab",), ("abc", "a", "")),
        ("ab*", ("ab", "abc"), ("xab", "a")),
        ("*ab", ("ab", "cab"), ("abx", "b")),
        ("*ab*", ("ab", "xaby"), ("a", "ba")),
        ("a*b", (), ("a*b", "axb", "ab")),
        ("a*b*", (), ("axb", "a")),
        ("**", (), ("a", "", "*")),
        ("***", (), ("a", "", "*")),
        ("", ("",), ("a",)),
    ],
)
def test_stars_stand_at_the_ends(pattern: str, matched: tuple[str, ...], others: tuple[str, ...]) -> None:
    assert all(matches(pattern, name) for name in matched)
    assert not any(matches(pattern, name) for name in others)


def test_news_are_the_last_word_on_each() -> None:
    news = ServiceNews()
    news.note(ORDERS, is_live=True)
    before = news.number
    assert news.since(before, "public") == {}
    news.note(BILLS, is_live=True)
    news.note(BILLS, is_live=False)
    news.note(ORDERS, is_live=False)
    assert news.since(before, "public") == {BILLS: False, ORDERS: False}
    assert news.since(before + 1, "public") == {BILLS: False, ORDERS: False}
    assert news.since(before + 2, "public") == {ORDERS: False}


def test_nobody_is_told_half_of_what_has_changed() -> None:
    news = ServiceNews()
    assert news.since(0, "public") is None, "whoever knows nothing wants everything"
    first = news.number
    for _ in range(CHANGES_MAX):
        news.note(ORDERS, is_live=True)
    assert news.since(first, "public") == {ORDERS: True}
    news.note(ORDERS, is_live=True)
    assert news.since(first, "public") is None
    assert news.since(news.number + 1, "public") is None, "that is a number of another life"
