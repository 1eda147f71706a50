"""What ``rollbook instances`` says beside a list that may differ from what lives."""

from __future__ import annotations

import pytest

from rollbook import InstanceList
from rollbook.cache import snapshot_of
from rollbook.cli.queries import reservations
from rollbook.model import Service, View

SERVICE = Service("public", "DEFAULT_GROUP", "orders")


def listed(view: View) -> InstanceList:
    return InstanceList(snapshot_of(view, session=1), view.instances, stale=False)


@pytest.mark.parametrize(
    ("view", "word"),
    [
        (View(SERVICE, 1, warming=True), "just started"),
        (View(SERVICE, 1, preserved=True), "nothing was removed"),
        (View(SERVICE, 1, guarded=True), "one lease longer"),
    ],
)
def test_a_flag_of_the_list_is_a_sentence(view: View, word: str) -> None:
    [sentence] = reservations(listed(view))
    assert word in sentence


def test_a_list_without_a_flag_needs_no_word() -> None:
    assert reservations(listed(View(SERVICE, 1))) == []
