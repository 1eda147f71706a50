"""How what etcd says is sorted: only what is surely not applied may be called unavailable."""

from __future__ import annotations

import pytest

from actors.messages.store import Operation, StoredChange
from runtime.store.etcd_gateway import (
    NO_SPACE,
    RANGE_ANSWER,
    WATCH_LINE,
    EtcdAccess,
    KeyEvent,
    KeyValue,
    NoAnswer,
    NotSent,
    Refusal,
    fault_of_write,
)
from runtime.store.etcd_reads import prefix_range
from runtime.store.etcd_watch import changes_of
from runtime.store.port import FateUnknown, StoreFault, TooLarge, Unavailable


@pytest.mark.parametrize(
    "sentence",
    [
        "etcdserver: no leader",
        "etcdserver: too many requests",
        "etcdserver: permission denied",
        "etcdserver: invalid auth token",
        "etcdserver: rpc not supported for learner",
    ],
)
def test_what_etcd_says_before_it_proposes_was_surely_not_applied(sentence: str) -> None:
    assert type(fault_of_write(Refusal(14, sentence))) is Unavailable


@pytest.mark.parametrize(
    "sentence",
    [
        "etcdserver: request timed out",
        "etcdserver: request timed out, possibly due to previous leader failure",
        "etcdserver: request timed out, possibly due to connection lost",
        "etcdserver: leader changed",
        "etcdserver: server stopped",
        "transport is closing",
        "something new",
        "a sentence that holds etcdserver: no leader",
        NO_SPACE,
    ],
)
def test_whatever_else_it_says_may_have_been_applied(sentence: str) -> None:
    assert type(fault_of_write(Refusal(14, sentence))) is FateUnknown


def test_what_was_not_sent_was_not_applied_and_what_was_may_have_been() -> None:
    assert type(fault_of_write(NotSent("refused"))) is Unavailable
    assert type(fault_of_write(NoAnswer("lost"))) is FateUnknown


def test_what_is_too_large_for_this_etcd_is_named() -> None:
    for sentence in ("etcdserver: request is too large", "etcdserver: too many operations in txn request"):
        fault = fault_of_write(Refusal(3, sentence))
        assert isinstance(fault, TooLarge)
        assert fault.field == "operations"
    assert type(fault_of_write(Refusal(3, "etcdserver: key is not provided"))) is StoreFault


def test_numbers_are_strings_and_zeros_are_left_out() -> None:
    answer = RANGE_ANSWER.decode(
        b'{"header":{"revision":"9007199254740993"},"kvs":[{"key":"YQ==","mod_revision":"7"}]}'
    )
    assert answer.header.revision == 9_007_199_254_740_993
    assert answer.kvs == [KeyValue(b"a", b"", 7)]
    assert not answer.more
    assert RANGE_ANSWER.decode(b'{"header":{}}').kvs == []


def test_a_line_of_a_watch_is_events_or_the_reason_of_its_end() -> None:
    line = WATCH_LINE.decode(
        b'{"result":{"header":{},"events":[{"type":"DELETE","kv":{"key":"YQ==","mod_revision":"3"}}]}}'
    )
    assert line.result is not None
    assert line.result.events == [KeyEvent(KeyValue(b"a", b"", 3), "DELETE")]
    line = WATCH_LINE.decode(b'{"error":{"grpc_code":14,"message":"etcdserver: no leader"}}')
    assert line.error is not None
    assert line.error.message == "etcdserver: no leader"


def test_events_become_one_change_per_index_sorted_by_key() -> None:
    events = [
        KeyEvent(KeyValue(b"p/b", b"1", 5)),
        KeyEvent(KeyValue(b"p/a", b"", 5)),
        KeyEvent(KeyValue(b"p/a", b"", 6), "DELETE"),
    ]
    assert changes_of(events, lambda key: key.decode().removeprefix("p/")) == [
        StoredChange(5, (Operation("a", b""), Operation("b", b"1"))),
        StoredChange(6, (Operation("a", None),)),
    ]


def test_a_prefix_ends_before_its_next_neighbour() -> None:
    assert prefix_range("a/") == (b"a/", b"a0")
    assert prefix_range("") == (b"\0", b"\0")
    first, end = prefix_range("ü")
    assert first <= "üz\U0010ffff".encode() < end <= "ý".encode()


def test_a_password_is_not_shown() -> None:
    access = EtcdAccess(endpoints=("http://a:1",), key_prefix="", user="u", password="secret")
    assert "secret" not in f"{access} {access!r}"
