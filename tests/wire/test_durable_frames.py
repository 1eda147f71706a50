"""Frames and rows of durable data: their stored bytes are plain msgpack of the arrays in docs/protocol.md.

What has grown since is in test_grown_frames.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack
import pytest

from actors.durable_rows import (
    RowUnreadable,
    fence_row_key,
    instance_row_key,
    instance_row_value,
    intent_row_key,
    intent_row_value,
    namespace_row_key,
    namespace_row_value,
    read_row,
    service_row_key,
    service_row_value,
)
from actors.durable_values import Kept, KeptFence, KeptInstance, KeptIntent, KeptNamespace, KeptService
from actors.messages.peers import PeerTag
from actors.peer_frames import decode_peer
from rollbook.checkers import CheckerSettings
from rollbook.durable import Intent, Namespace, ServiceSettings
from rollbook.durable_bodies import INTENT_MS_MAX
from rollbook.errors import RemoteProtocolError
from rollbook.model import Instance, InstanceKey, Service
from rollbook.wire import Tag, open_envelope, request_body
from tests.support.protocol_text import client_arrays, peer_arrays
from tests.wire.test_golden_frames import GOLDEN
from tests.wire.test_grown_frames import NEWEST

SESSION = 1_700_000_000_000
ORDERS = ["public", "DEFAULT_GROUP", "orders"]
SETTINGS = [
    *(0.5, {"team": "a"}),
    {"DEFAULT": ["http", False, 9_000, "/health", "a:1|b:2", 204], "EAST": ["tcp", True, 80, "", "", 200]},
    "none",
]
KEY = ["10.0.0.1", 8080, "DEFAULT"]
INTENT = [False, 0.5, {"zone": "b"}]
PROD = ["prod", "production", "of the shop"]
KEPT_ROWS = [
    [[ORDERS, SETTINGS, "c1", SESSION]],
    [[PROD, "c1", SESSION]],
    [[ORDERS, ["10.0.0.1", 8080, "DEFAULT", 2.5, True, False, False, {"zone": "a"}], "c1", SESSION, SESSION]],
    [[ORDERS, KEY, [False, None, {}], "kept 1700000000000", "c1", SESSION, SESSION + 600_000]],
]
ROW_KEY = "instance public DEFAULT_GROUP orders 10.0.0.1 8080 DEFAULT"

# What a reader of docs/protocol.md writes down.
WRITTEN: dict[str, list[Any]] = {
    "PUBLISH_PERSISTENT": [
        *(1, 12, 7, SESSION),
        [ORDERS, [["10.0.0.1", 8080, "DEFAULT", 2.5, True, False, False, {"zone": "a"}]]],
    ],
    "WITHDRAW_PERSISTENT": [1, 13, 7, SESSION, [ORDERS, [["10.0.0.1", 8080, "DEFAULT"]]]],
    "DELETE_SERVICE": [1, 15, 7, SESSION, [ORDERS]],
    "GET_SERVICE": [1, 16, 7, SESSION, [ORDERS]],
    "PUT_NAMESPACE": [1, 17, 7, SESSION, [PROD, "create"]],
    "DELETE_NAMESPACE": [1, 18, 7, SESSION, ["prod"]],
    "LIST_NAMESPACES": [1, 19, 7, SESSION, []],
    "SET_INTENT": [1, 20, 7, SESSION, [ORDERS, KEY, INTENT, 600_000]],
    "SET_HEALTH": [1, 24, 7, SESSION, [ORDERS, KEY, False]],
    "READ_DURABLE": [1, 22, 7, SESSION, [41, 2_000, True]],
    "RESTORE_ROWS": [1, 23, 7, SESSION, [KEPT_ROWS]],
    "SERVICE_SHOWN": [
        *(1, 76, 7, SESSION),
        [
            *(ORDERS, SETTINGS, "c1", SESSION, 41, 2),
            [
                [KEY, [False, None, {}], "c2", SESSION + 1, SESSION + 600_001, True],
                [KEY, [None, 0.5, {}], "c3", SESSION + 2, 0, False],
            ],
        ],
    ],
    "NAMESPACES": [1, 77, 7, SESSION, [[PROD, ["public", "public", "built in"]]]],
    "DURABLE_PAGE": [1, 78, 7, SESSION, ["5f0c", 41, 2_000, 2_004, KEPT_ROWS, True, 1, SESSION]],
    "PEER_STORE_FOLLOW": [1, 14, [SESSION, -1, ""]],
    "PEER_STORE_CUT": [1, 15, [SESSION, 1, "5f0c", 41, True, [["fence n1", b"1", 40], [ROW_KEY, b"\x97\x01", 41]]]],
    "PEER_STORE_NEWS": [1, 16, [SESSION, 2, 43, [[42, [["fence n1", b"2"], [ROW_KEY, None]]]]]],
    "PEER_STORE_NEWS_ACK": [1, 17, [SESSION, 2]],
    "PEER_STORE_PROPOSE": [
        *(1, 18),
        [[[3, [[ROW_KEY, b"\x97\x01"]], [["fence n1", 42]]], [4, [["fence n2", b"5"]], []]]],
    ],
    "PEER_STORE_SETTLED": [1, 19, [[[3, True, 44, "", ""], [4, False, 0, "unavailable", "the disk is full"]]]],
}
PLACE = (Service(*ORDERS), InstanceKey("10.0.0.1", 8080))
KEPT = Instance("10.0.0.1", 8080, "DEFAULT", 2.5, True, False, False, {"zone": "a"})
CHECKERS = {"DEFAULT": CheckerSettings("http", False, 9_000, "/health", "a:1|b:2", 204), "EAST": CheckerSettings()}
KEPT_SETTINGS = ServiceSettings(0.5, {"team": "a"}, CHECKERS)
KEPT_INTENT = KeptIntent(*PLACE, Intent(metadata={"zone": "b"}), "c2", "c1", SESSION, SESSION + 60_000, 41)
KEPT_PROD = Namespace("prod", "production", "of the shop")


class StoredRow(NamedTuple):
    """A row as the protocol writes it, as a node writes it, and what it is read as."""

    key: str
    value: list[Any]
    made: tuple[str, bytes]
    kept: Kept


ROWS: dict[str, StoredRow] = {  # by the name of the value in the text
    "stored_instance": StoredRow(
        ROW_KEY,
        [1, 2.5, True, False, {"zone": "a"}, "c1", SESSION, SESSION - 9],
        (instance_row_key(*PLACE), instance_row_value(KEPT, "c1", SESSION, SESSION - 9)),
        KeptInstance(PLACE[0], KEPT, "c1", SESSION, SESSION - 9, 41),
    ),
    "stored_service": StoredRow(
        "service public DEFAULT_GROUP orders",
        [1, SETTINGS, "c1", SESSION],
        (service_row_key(PLACE[0]), service_row_value(KEPT_SETTINGS, "c1", SESSION)),
        KeptService(PLACE[0], KEPT_SETTINGS, "c1", SESSION, 41),
    ),
    "stored_intent": StoredRow(
        "intent public DEFAULT_GROUP orders 10.0.0.1 8080 DEFAULT metadata",
        [1, [None, None, {"zone": "b"}], "c2", "c1", SESSION, SESSION + 60_000],
        (intent_row_key(KEPT_INTENT.place), intent_row_value(KEPT_INTENT)),
        KEPT_INTENT,
    ),
    "stored_namespace": StoredRow(
        "namespace prod",
        [1, "production", "of the shop", "c1", SESSION],
        (namespace_row_key("prod"), namespace_row_value(KEPT_PROD, "c1", SESSION)),
        KeptNamespace(KEPT_PROD, "c1", SESSION, 41),
    ),
}


def test_every_frame_about_durable_data_is_here_or_has_grown() -> None:
    names = {tag.name for tag in Tag if Tag.PUBLISH_PERSISTENT <= tag <= Tag.SET_HEALTH}
    names |= {Tag.SERVICE_SHOWN.name, Tag.NAMESPACES.name, Tag.DURABLE_PAGE.name}
    names |= {f"PEER_{tag.name}" for tag in PeerTag if tag.name.startswith("STORE_")}
    assert WRITTEN.keys() == names - NEWEST.keys()


@pytest.mark.parametrize("name", WRITTEN)
def test_the_stored_bytes_are_plain_msgpack_of_the_array_in_the_protocol(name: str) -> None:
    assert bytes.fromhex(GOLDEN[name]) == msgpack.packb(WRITTEN[name])
    text = peer_arrays()[name.removeprefix("PEER_")] if name.startswith("PEER_") else client_arrays()[name]
    assert len(WRITTEN[name][-1]) == len(text)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_in_the_words_of_the_protocol_is_what_a_node_writes_and_is_read_as_what_it_means(name: str) -> None:
    row = ROWS[name]
    assert len(row.value) == len(peer_arrays()[name])
    assert row.made == (row.key, msgpack.packb(row.value))
    assert read_row(row.key, msgpack.packb(row.value), 41) == row.kept


def test_of_a_fence_only_the_index_counts() -> None:
    assert fence_row_key("n1") == "fence n1"
    assert read_row("fence n1", b"", 42) == read_row("fence n1", b"9", 42) == KeptFence("n1", 42)


@pytest.mark.parametrize("intent", [Intent(weight=2.0), Intent(weight=2.0, metadata={"zone": "b"}), Intent()])
def test_a_decision_says_what_its_key_is_about_and_nothing_else(intent: Intent) -> None:
    value = msgpack.packb([1, [intent.enabled, intent.weight, intent.metadata], "c2", "c1", SESSION, 0])
    with pytest.raises(RowUnreadable, match="something else than metadata"):
        read_row(intent_row_key(KEPT_INTENT.place), value, 41)


def test_a_field_that_nobody_decides_about_is_not_cleared() -> None:
    with pytest.raises(RemoteProtocolError, match="fields"):
        request_body(open_envelope(msgpack.packb([1, 21, 7, SESSION, [ORDERS, KEY, ["port"]]])))


@pytest.mark.parametrize("after", [-2, 2**60 + 1])
def test_a_follower_asks_from_an_index_or_from_nothing(after: int) -> None:
    with pytest.raises(RemoteProtocolError, match="after"):
        decode_peer(msgpack.packb([1, 14, [SESSION, after, ""]]))


def test_an_order_about_durable_data_waits_for_one_node_only_and_knows_no_other_mode() -> None:
    longer = [*WRITTEN["PUBLISH_PERSISTENT"][:4], [*WRITTEN["PUBLISH_PERSISTENT"][4], "replace", "cluster"]]
    known, later = (msgpack.packb(frame) for frame in (WRITTEN["PUBLISH_PERSISTENT"], longer))
    assert request_body(open_envelope(known)) == request_body(open_envelope(later))


@pytest.mark.parametrize("for_ms", [-1, INTENT_MS_MAX + 1])
def test_an_intent_holds_for_some_time_or_for_ever(for_ms: int) -> None:
    frame = [*WRITTEN["SET_INTENT"][:4], [*WRITTEN["SET_INTENT"][4][:3], for_ms]]
    with pytest.raises(RemoteProtocolError, match="for_ms"):
        request_body(open_envelope(msgpack.packb(frame)))


@pytest.mark.parametrize(("name", "place"), [("PUT_SERVICE", 2), ("PUT_NAMESPACE", 1)])
def test_what_is_put_is_put_whatever_is_there_unless_the_order_says_otherwise(name: str, place: int) -> None:
    *head, body = {**WRITTEN, **NEWEST}[name]
    assert request_body(open_envelope(msgpack.packb([*head, body[:place]]))).mode == "put"
    with pytest.raises(RemoteProtocolError, match="mode"):
        request_body(open_envelope(msgpack.packb([*head, [*body[:place], "replace"]])))
