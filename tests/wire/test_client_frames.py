"""Frames about the clients of a node: their stored bytes are plain msgpack of the arrays in docs/protocol.md."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from rollbook.errors import RemoteProtocolError
from rollbook.wire import open_envelope, request_body
from tests.wire.test_golden_frames import GOLDEN

SESSION = 1_700_000_000_000
ORDERS = ["public", "DEFAULT_GROUP", "orders"]
KEY = ["10.0.0.1", 8080, "DEFAULT"]

# What a reader of docs/protocol.md writes down.
WRITTEN: dict[str, list[Any]] = {
    "LIST_CLIENTS": [1, 50, 7, SESSION, ["c1", 50]],
    "GET_CLIENT": [1, 51, 7, SESSION, ["c1"]],
    "LIST_PUBLICATIONS": [1, 52, 7, SESSION, ["c1", ORDERS, 50]],
    "LIST_SUBSCRIPTIONS": [1, 53, 7, SESSION, ["c1", ORDERS, 50]],
    "LIST_PUBLISHERS": [1, 54, 7, SESSION, [ORDERS, "c1", 50]],
    "SET_LOG_LEVEL": [1, 55, 7, SESSION, ["WARNING"]],
    "CLIENTS_LISTED": [1, 100, 7, SESSION, [["c2", "c3"], "c3"]],
    "CLIENT_SHOWN": [1, 101, 7, SESSION, ["c1", "sdk", "10.0.0.1", "app", "python", 3, SESSION]],
    "PUBLICATIONS_LISTED": [1, 102, 7, SESSION, [[[ORDERS, [KEY]]], ORDERS]],
    "SUBSCRIPTIONS_LISTED": [1, 103, 7, SESSION, [[ORDERS], ORDERS]],
    "PUBLISHERS_LISTED": [1, 104, 7, SESSION, [[["c1", [KEY]]], "c1"]],
}


@pytest.mark.parametrize("name", WRITTEN)
def test_the_stored_bytes_are_what_the_protocol_says(name: str) -> None:
    assert msgpack.packb(WRITTEN[name]).hex() == GOLDEN[name]


def test_a_first_page_needs_no_more_than_whose_it_is() -> None:
    body = request_body(open_envelope(msgpack.packb([1, 52, 7, SESSION, ["c1"]])))
    assert (body.client_id, body.after, body.size) == ("c1", None, 100)


@pytest.mark.parametrize(
    ("tag", "body", "field"),
    [
        (50, [7], "after"),
        (51, [], ""),
        (53, ["c1", ["public", "g"]], "after"),
        (54, [ORDERS, 1], "after"),
        (55, ["LOUD"], "level"),
    ],
)
def test_what_is_asked_wrongly_is_named(tag: int, body: list[Any], field: str) -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        request_body(open_envelope(msgpack.packb([1, tag, 7, SESSION, body])))
    assert raised.value.field.startswith(field)
