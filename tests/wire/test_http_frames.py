"""Frames about HTTP clients: their stored bytes are plain msgpack of the arrays in docs/protocol.md; what breaks a rule
is refused, and named."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from actors.messages.peers import ORDERS_PER_FORWARD_MAX, PeerTag
from actors.peer_frames import PEER_FRAME_BYTES_MAX, decode_peer
from rollbook.errors import InvalidField, RemoteProtocolError
from rollbook.http_clients import BEATS_PER_ORDER_MAX
from rollbook.model import check_client_id
from rollbook.wire import Tag, open_envelope, request_body
from tests.wire.test_golden_frames import GOLDEN

SESSION = 1_700_000_000_000
ORDERS = ["public", "DEFAULT_GROUP", "orders"]
INSTANCE = ["10.0.0.1", 8080, "DEFAULT", 2.5, True, False, True, {"zone": "a"}]
CHANGES = [0.5, False, {"zone": "b"}]
AT = [ORDERS, "10.0.0.1", 8080]

# What a reader of docs/protocol.md writes down.
WRITTEN: dict[str, list[Any]] = {
    "HTTP_PUBLISH": [1, 30, 7, SESSION, [ORDERS, INSTANCE, "update"]],
    "HTTP_WITHDRAW": [1, 31, 7, SESSION, AT],
    "HTTP_PATCH": [1, 32, 7, SESSION, [*AT, CHANGES]],
    "BEATS": [1, 33, 7, SESSION, [[[*AT, None], [*AT, INSTANCE]]]],
    "BEATEN": [1, 85, 7, SESSION, [[["renewed", 5000, 0, "", ""], ["refused", 0, 20002, "not so", "ip"]], True]],
    "PEER_FORWARDED": [
        *(1, 20),
        [SESSION, 1, [["register", *AT, SESSION, INSTANCE, None], ["patch", *AT, SESSION, None, CHANGES]]],
    ],
    "PEER_FORWARD_SETTLED": [
        *(1, 21),
        [
            SESSION,
            [
                ["done", 5000, 0, "", "", False, "n1", 7, 5, 77],
                ["refused", 0, 503, "too many", "service", True, "", 0, 0, 0],
            ],
        ],
    ],
}


@pytest.mark.parametrize("name", WRITTEN)
def test_the_stored_bytes_are_what_the_protocol_says(name: str) -> None:
    assert msgpack.packb(WRITTEN[name]).hex() == GOLDEN[name]


def test_there_is_one_of_every_tag() -> None:
    tags = {tag.name for tag in Tag if tag.name.startswith("HTTP_") or tag in (Tag.BEATS, Tag.BEATEN)}
    assert tags | {f"PEER_{tag.name}" for tag in (PeerTag.FORWARDED, PeerTag.FORWARD_SETTLED)} == set(WRITTEN)


def test_a_light_beat_needs_no_more_than_who_it_is() -> None:
    frame = msgpack.packb([1, 33, 7, SESSION, [[AT]]])
    ((beat,),) = (request_body(open_envelope(frame)).beats,)
    assert (beat.ip, beat.port, beat.instance) == ("10.0.0.1", 8080, None)


@pytest.mark.parametrize(
    ("tag", "body", "field"),
    [
        (33, [[AT] * (BEATS_PER_ORDER_MAX + 1)], "beats"),
        (33, [[[ORDERS, "10.0.0.1", "8080"]]], "beats[0].port"),
        (30, [ORDERS, INSTANCE, "add"], "mode"),
        (32, [*AT, [None, "yes", None]], "changes.enabled"),
    ],
)
def test_what_a_gateway_says_wrongly_is_named(tag: int, body: list[Any], field: str) -> None:
    envelope = open_envelope(msgpack.packb([1, tag, 7, SESSION, body]))
    with pytest.raises(RemoteProtocolError) as raised:
        request_body(envelope)
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([SESSION, 3, []], "hops"),
        ([SESSION, 1, [["beat", *AT, SESSION]] * (ORDERS_PER_FORWARD_MAX + 1)], "orders"),
        ([SESSION, 1, [["remove", *AT, SESSION]]], "orders[0].kind"),
        ([SESSION, 1, [["beat", *AT, 1 << 61]]], "orders[0].session"),
    ],
)
def test_what_a_node_says_wrongly_is_named(body: list[Any], field: str) -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        decode_peer(msgpack.packb([1, 20, body]))
    assert raised.value.field == field


def test_a_full_frame_of_the_longest_orders_is_one_that_peers_take() -> None:
    """In bytes that UTF-8 makes of each character at most."""
    service = ["n" * 64, "g" * 128, "\U0001f600" * 512]
    address = ["\U0001f600" * 122, 65535]
    instance = [*address, "c" * 64, 10_000.0, True, True, True, {"\U0001f600" * 512: "\U0001f600" * 512}]
    order = ["register", service, *address, (1 << 60) - 1, instance, [1.5, True, instance[-1]]]
    frame = msgpack.packb([1, 20, [SESSION, 1, [order] * ORDERS_PER_FORWARD_MAX]])
    assert len(frame) < PEER_FRAME_BYTES_MAX
    assert len(decode_peer(frame).orders) == ORDERS_PER_FORWARD_MAX


def test_no_session_has_the_id_of_an_http_client() -> None:
    assert check_client_id("10.0.0.1:80#false")
    with pytest.raises(InvalidField, match="must not end with #true"):
        check_client_id("10.0.0.1:80#true")
