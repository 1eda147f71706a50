"""What a stranger, or a broken node, could say among the nodes, and what it must not bring about."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from actors.liveness import ORIGINS_MAX
from actors.messages.peers import Delta, DeltaAck, Goodbye, Hello, PeerRefused, PeerTag, Pull, Welcome
from actors.messages.values import Origin, RecordKey
from actors.peer_frames import decode_peer, encode_peer
from actors.records import STAMP_FOLLOWED_MAX, HybridClock, make_record, read_record
from rollbook.errors import Code, InvalidField, RemoteProtocolError
from rollbook.model import Instance, Service, check_instance, check_service
from rollbook.wire import NUMBER_MAX
from tests.support.member_node import MemberNode, entry, frames

TOP = 2**64 - 1
ORIGIN = Origin("n1", 5)
SERVICE = Service("public", "DEFAULT_GROUP", "orders")


@pytest.mark.parametrize(
    ("tag", "body", "field"),
    [
        (PeerTag.HELLO, Hello("c", "", 1, "", "", ""), "node_id"),
        (PeerTag.HELLO, Hello("c", "n" * 65, 1, "", "", ""), "node_id"),
        (PeerTag.HELLO, Hello("c", "n", TOP, "", "", ""), "epoch"),
        (PeerTag.WELCOME, Welcome("n", 1, "a", "b", TOP), "seen_epoch"),
        (PeerTag.WELCOME, Welcome("n", 1, "a" * 257, "b"), "peer_address"),
        (PeerTag.DELTA, Delta("n", 1, -1, 9, False, 0, 0, 0, True, 0, ()), "after"),
        (PeerTag.DELTA, Delta("n", 1, 0, TOP, False, 0, 0, 0, True, 0, ()), "upper"),
        (PeerTag.DELTA, Delta("n", 1, 0, 9, False, 0, 0, -1, True, 0, ()), "index"),
        (PeerTag.DELTA_ACK, DeltaAck("n", 1, TOP), "applied"),
        (PeerTag.PULL, Pull("n", 1, -5), "have"),
        (PeerTag.GOODBYE, Goodbye("n", -1), "epoch"),
    ],
)
def test_numbers_that_nobody_counts_to_are_refused_by_field(tag: PeerTag, body: Any, field: str) -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        decode_peer(encode_peer(tag, body))
    assert (raised.value.code, raised.value.field) == (Code.PARAMETER_INVALID, field)


def body_of(**changes: Any) -> bytes:
    fields = {"session": 1, "seq": 1, "stamp": 1, "grace_ms": 15_000, "weight": 1.0, **changes}
    weight = fields.pop("weight")
    packed: bytes = msgpack.packb(["c", list(SERVICE), *fields.values(), [["10.0.0.1", 80, "DEFAULT", weight]]])
    return packed


@pytest.mark.parametrize(
    "changes",
    [{"stamp": TOP}, {"session": TOP}, {"seq": 0}, {"seq": -1}, {"grace_ms": -1}, {"weight": float("nan")}],
)
def test_a_record_that_would_spoil_clocks_or_views_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError):
        read_record(ORIGIN, body_of(**changes))


@pytest.mark.parametrize("stamp", [STAMP_FOLLOWED_MAX, NUMBER_MAX])
def test_after_the_highest_stamp_there_is_a_next_one_that_others_take(stamp: int) -> None:
    clock = HybridClock()
    clock.witness(read_record(ORIGIN, body_of(stamp=stamp)).stamp)
    instances = (Instance("10.0.0.1", 80),)
    following = make_record(ORIGIN, RecordKey("c", SERVICE), 1, 1, clock.next(1), 15_000, instances)
    assert read_record(ORIGIN, following.body) == following


def test_a_stranger_is_not_believed_to_live_where_a_known_node_is_proven_to() -> None:
    node = MemberNode().running("b")
    refused = frames(node.hello("b", "from-stranger", node_id="stranger"), PeerRefused)
    assert [(link, answer.code) for link, answer in refused] == [("from-stranger", Code.ADDRESS_MISMATCH)]
    node.kill("b", "reset")
    assert frames(node.hello("b", "from-stranger", node_id="stranger"), Welcome), "the place is free"


def test_a_digest_of_very_many_owners_does_not_swell_our_own() -> None:
    node = MemberNode().running("b")
    node.digest("b", *(entry(f"owner-{number}") for number in range(ORIGINS_MAX + 500)))
    assert len(node.round().entries) <= ORIGINS_MAX + 1


@pytest.mark.parametrize("letter", ["\0", "\x1b", "\x7f"])
def test_control_characters_stand_in_no_name(letter: str) -> None:
    with pytest.raises(InvalidField):
        check_service(Service("public", "DEFAULT_GROUP", f"a{letter}b"))
    with pytest.raises(InvalidField):
        check_instance(Instance(f"10.0.0.1{letter}", 80))
