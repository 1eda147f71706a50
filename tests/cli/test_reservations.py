"""What ``rollbook instances`` says beside a list that may differ from what lives."""

from __future__ import annotations

import pytest

from rollbook import InstanceList
from rollbook.cache import snapshot_of
from rollbook.cli.output import duration_text
from rollbook.cli.queries import reservations
from rollbook.model import Service, View

SERVICE = Service("public", "DEFAULT_GROUP", "orders")
NOW_MS = 1_700_000_000_000


def listed(view: View) -> InstanceList:
    return InstanceList(snapshot_of(view, session=1), view.instances, stale=False)


@pytest.mark.parametrize(
    ("view", "word"),
    [
        (View(SERVICE, 1, warming=True), "just started"),
        (View(SERVICE, 1, preserved=True), "nothing was removed"),
        (View(SERVICE, 1, guarded=True), "one lease longer"),
        (View(SERVICE, 1, protected=True), "all are shown as healthy"),
    ],
)
def test_a_flag_of_the_list_is_a_sentence(view: View, word: str) -> None:
    [sentence] = reservations(listed(view), NOW_MS)
    assert word in sentence


def test_a_list_without_a_flag_needs_no_word() -> None:
    assert reservations(listed(View(SERVICE, 1)), NOW_MS) == []


@pytest.mark.parametrize(("ahead_ms", "age"), [(12_500, "12 s"), (0, "0 s"), (-3_000, "0 s")])
def test_a_list_from_a_store_that_is_out_of_reach_says_how_old_it_is_even_by_a_clock_that_is_behind(
    ahead_ms: int, age: str
) -> None:
    found = listed(View(SERVICE, 1, stale_since_ms=NOW_MS - ahead_ms))
    assert found.stale_since_ms == NOW_MS - ahead_ms
    [sentence] = reservations(found, NOW_MS)
    assert sentence.endswith(f"persistent instances are as they were {age} ago")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(59, "59 s"), (60, "1 min"), (185, "3 min 5 s"), (3_659, "1 h"), (9_600, "2 h 40 min"), (781_200, "9 d 1 h")],
)
def test_a_duration_is_told_in_its_two_largest_units(seconds: int, text: str) -> None:
    assert duration_text(seconds * 1_000 + 999) == text
