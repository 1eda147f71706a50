"""Clients as HTTP shows them."""

from __future__ import annotations

import pytest

from rollbook.catalog import Subscriber
from rollbook.known_clients import ClientShown
from rollbook.model import InstanceKey
from runtime.gateway.client_shapes import V2, V3, client_port, is_persistent, publisher_id

KEY = InstanceKey("10.0.0.1", 80)


@pytest.mark.parametrize(
    ("client_id", "port"),
    [
        ("1756800000000_10.0.0.5_40448", 40_448),
        ("1756800000000_2001:db8::1_40448", 40_448),
        ("10.0.0.5:8080#true", 8_080),
        ("my_service_7", 0),
        ("9f3c", 0),
        ("10.0.0.5:8080#false", 0),
        ("1_a_123456", 0),
    ],
)
def test_a_port_is_shown_where_the_id_says_one(client_id: str, port: int) -> None:
    assert client_port(client_id) == port


def test_a_persistent_instance_has_the_id_of_the_original() -> None:
    kept = "kept 10.0.0.1 80 DEFAULT"
    assert (is_persistent(kept), publisher_id(kept, KEY)) == (True, "10.0.0.1:80#false")
    assert (is_persistent("c1"), publisher_id("c1", KEY)) == (False, "c1")


def test_who_has_said_nothing_of_itself_is_unknown() -> None:
    lost = V2.client(ClientShown("c1", "lost", publications=1, updated_ms=7))
    assert (lost.client_type, lost.last_updated_time) == ("connection", 7)
    assert V3.subscriber(Subscriber("c1", "10.0.0.1")) == V3.subscriber(Subscriber("c1", "10.0.0.1", "unknown"))
