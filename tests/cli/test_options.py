"""Words on the command line become checked values, or an error that names what is wrong."""

from __future__ import annotations

import pytest

from rollbook.cli.options import parse_address, parse_metadata, parse_servers, parse_service
from rollbook.errors import InvalidField
from rollbook.model import Service


def test_servers_are_a_comma_list() -> None:
    assert parse_servers("10.0.0.1:8850, registry:8860,[::1]:8870") == [
        "10.0.0.1:8850",
        "registry:8860",
        "[::1]:8870",
    ]


@pytest.mark.parametrize("text", ["", "host", "host:", ":8850", "host:0", "host:65536", "host:x", "::1:8850", "a:1,"])
def test_a_server_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidField) as refused:
        parse_servers(text)
    assert refused.value.field == "server"


def test_an_address_keeps_its_host_as_written() -> None:
    assert parse_address("10.0.0.1:80", "IP:PORT") == ("10.0.0.1", 80)


def test_a_service_may_be_given_as_it_is_shown() -> None:
    assert parse_service("orders", "public", "DEFAULT_GROUP") == Service("public", "DEFAULT_GROUP", "orders")
    assert parse_service("shop@@orders", "public", "DEFAULT_GROUP") == Service("public", "shop", "orders")


@pytest.mark.parametrize("text", ["", "two words", "@@orders", "shop@@", "a@@b@@c"])
def test_a_service_name_keeps_the_name_rules(text: str) -> None:
    with pytest.raises(InvalidField):
        parse_service(text, "public", "DEFAULT_GROUP")


def test_metadata_is_pairs_and_a_value_may_hold_an_equals_sign() -> None:
    assert parse_metadata(["version=2", "query=a=b", "empty="]) == {"version": "2", "query": "a=b", "empty": ""}


@pytest.mark.parametrize("pair", ["version", "=2", ""])
def test_metadata_without_a_key_is_refused(pair: str) -> None:
    with pytest.raises(InvalidField, match="KEY=VALUE"):
        parse_metadata([pair])
