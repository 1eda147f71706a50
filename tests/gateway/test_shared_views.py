"""Lists that many sessions get: decoded once, and no more kept than a number and a size."""

from __future__ import annotations

import msgspec
import pytest

from rollbook.codec import pack
from rollbook.errors import RemoteProtocolError
from rollbook.model import Instance, Service, View
from runtime.gateway.shared_views import SharedViews

BYTES_MAX = 10_000


def view(number: int, instances: int = 1) -> View:
    listed = tuple(Instance("10.0.0.1", port) for port in range(instances))
    return View(Service("public", "DEFAULT_GROUP", f"s{number}"), 9, listed)


def decoded(views: SharedViews, shown: View) -> View:
    return views.decode(msgspec.Raw(pack(shown)))


def test_equal_bytes_are_one_object_and_others_are_not() -> None:
    views = SharedViews(4, BYTES_MAX)
    first = decoded(views, view(1))
    assert first == view(1)
    assert decoded(views, view(1)) is first
    assert decoded(views, view(2)) == view(2)
    assert len(views) == 2


def test_what_was_used_longest_ago_goes_first() -> None:
    views = SharedViews(2, BYTES_MAX)
    one, two = decoded(views, view(1)), decoded(views, view(2))
    assert decoded(views, view(1)) is one
    decoded(views, view(3))
    assert len(views) == 2
    assert decoded(views, view(1)) is one
    assert decoded(views, view(2)) is not two


def test_long_lists_take_the_place_of_many_and_none_is_too_long_to_be_read() -> None:
    views = SharedViews(100, BYTES_MAX)
    for number in range(60):
        decoded(views, view(number))
    long = view(99, 250)  # most of the room
    assert len(pack(long)) < BYTES_MAX
    decoded(views, long)
    assert 1 <= len(views) < 60
    endless = view(100, 900)
    assert len(pack(endless)) > BYTES_MAX
    assert decoded(views, endless) == endless
    assert len(views) == 0


def test_what_is_no_list_is_refused_and_not_kept() -> None:
    views = SharedViews(4, BYTES_MAX)
    with pytest.raises(RemoteProtocolError):
        views.decode(msgspec.Raw(pack(["no", "view"])))
    assert len(views) == 0
