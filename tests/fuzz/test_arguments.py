"""What people and applications hand in: any value comes out checked, or as InvalidField."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollbook.arguments import (
    checked_clusters,
    checked_count,
    checked_metadata,
    checked_text,
    checked_timeout,
    checked_types,
)
from rollbook.cli.options import parse_address, parse_metadata, parse_servers, parse_service
from rollbook.codec import pack, typed, unpack
from rollbook.errors import InvalidField
from rollbook.model import Instance
from rollbook.servers import check_server
from rollbook.wire import LIMITS
from tests.fuzz.mutations import TEXTS

# With half surrogates: arguments of a process may hold any bytes.
WRITTEN = st.text(st.characters(), max_size=40) | st.sampled_from(TEXTS)
ADDRESSES = st.builds("{}:{}".format, WRITTEN, WRITTEN | st.integers()) | WRITTEN
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WRITTEN | st.binary(max_size=9) | st.builds(object),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WRITTEN | st.integers(), inner, max_size=4),
    max_leaves=8,
)


def came_to(read: Callable[[], Any]) -> Any:
    """The value, or None where it was refused as it should be."""
    try:
        return read()
    except InvalidField as refused:
        return None if refused.field and refused.message else pytest.fail("it does not say what is wrong")


@given(ADDRESSES)
def test_an_address_is_read_as_it_is_written_or_refused(text: str) -> None:
    if (pair := came_to(lambda: parse_address(text, "server"))) is not None:
        host, port = pair
        assert 0 < port < 65_536
        assert parse_address(f"{host}:{port}", "server") == pair
    assert came_to(lambda: check_server(text)) in (text, None)


@given(st.lists(ADDRESSES, max_size=4).map(",".join))
def test_every_server_of_a_list_can_be_dialled_or_the_list_is_refused(text: str) -> None:
    servers = came_to(lambda: parse_servers(text))
    assert servers is None or [check_server(server) for server in servers] == servers


@given(WRITTEN, WRITTEN, WRITTEN)
def test_a_service_can_be_sent_or_is_refused(text: str, namespace: str, group: str) -> None:
    service = came_to(lambda: parse_service(text, namespace, group))
    assert service is None or unpack(pack(service), LIMITS) == list(service)


@given(st.lists(WRITTEN, max_size=4))
def test_pairs_are_text_by_text_or_refused(pairs: list[str]) -> None:
    metadata = came_to(lambda: parse_metadata(pairs))
    assert metadata is None or set(map(type, [*metadata, *metadata.values()])) <= {str}


@given(st.lists(VALUES, min_size=8, max_size=8))
def test_an_instance_of_any_values_can_be_sent_and_read_or_is_refused(values: list[Any]) -> None:
    instance = came_to(lambda: checked_types(Instance(*values)))
    if instance is not None:
        assert pack(typed(unpack(pack(instance), LIMITS), Instance)) == pack(instance)


CHECKS: list[Callable[[Any], Any]] = [
    lambda value: checked_text("app", value),
    checked_timeout,
    lambda value: checked_count("page", value, 9),
    checked_metadata,
    checked_clusters,
]


@pytest.mark.parametrize("check", CHECKS)
@given(value=VALUES)
def test_an_argument_of_any_value_is_taken_as_it_is_or_refused(check: Callable[[Any], Any], value: Any) -> None:
    came_to(lambda: check(value))
    assert came_to(lambda: check(object())) is None
