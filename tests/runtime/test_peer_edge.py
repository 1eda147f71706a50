"""The edge towards other nodes: who is told what, and that garbage costs at most its link."""

from __future__ import annotations

from typing import Any, get_args

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.base import Role, StoreKind, Tell
from actors.messages.beats import ForwardReceived
from actors.messages.distro import DeltaAcknowledged, DeltaReceived, PullReceived
from actors.messages.members import PeerFrameReceived
from actors.messages.peers import (
    PEER_VERSION,
    Delta,
    DeltaAck,
    Digest,
    Forwarded,
    ForwardSettled,
    Goodbye,
    Hello,
    HttpOrder,
    HttpOutcome,
    LinkPing,
    LinkPong,
    PeerRefused,
    PeerTag,
    ProbeAnswered,
    ProbeAsked,
    Pull,
    SettledProposal,
    StoreCut,
    StoreFollow,
    StoreNews,
    StoreNewsAck,
    StoreOffered,
    StorePropose,
    StoreSettled,
    Welcome,
)
from actors.messages.store import NOTHING, Operation, Proposal, Row, StoredChange, StoreFrameReceived
from actors.messages.values import DigestEntry
from actors.peer_frames import PEER_FRAME_BYTES_MAX, decode_peer, encode_peer
from rollbook.errors import Code, RemoteProtocolError
from rollbook.model import Service
from runtime.edge import IoSettings, PeerEdge
from tests.support.settings import settings_of

LINK = "dial:10.0.0.2:8851#1"
_ENTRY = DigestEntry("n1", 3, 17, 4, 250, 9, 2**64 - 1, settled=False)
TO_MEMBERS: dict[PeerTag, Any] = {
    PeerTag.HELLO: Hello("rollbook", "n1", 3, "10.0.0.1:8851", "10.0.0.1:8850", "10.0.0.2:8851"),
    PeerTag.WELCOME: Welcome("n2", 4, "10.0.0.2:8851", "10.0.0.2:8850", seen_epoch=3),
    PeerTag.REFUSED: PeerRefused(Code.CLUSTER_MISMATCH, "another cluster"),
    PeerTag.PING: LinkPing(5),
    PeerTag.PONG: LinkPong(5),
    PeerTag.DIGEST: Digest("n1", 3, True, False, (("10.0.0.3:8851", "up"),), (_ENTRY,)),
    PeerTag.GOODBYE: Goodbye("n1", 3),
    PeerTag.PROBE_ASKED: ProbeAsked(9, "n2"),
    PeerTag.PROBE_ANSWERED: ProbeAnswered(9, "n2", False),
}
DELTA = Delta("n1", 3, 4, 9, False, 0, 2, 0, True, 77, (b"\x00\xff", b""))
TO_DISTRO = {
    PeerTag.DELTA: (DELTA, DeltaReceived(LINK, DELTA)),
    PeerTag.DELTA_ACK: (DeltaAck("n1", 3, 9), DeltaAcknowledged(LINK, DeltaAck("n1", 3, 9))),
    PeerTag.PULL: (Pull("n1", 3, 4, full=True), PullReceived(LINK, Pull("n1", 3, 4, full=True))),
}
TO_HOME: dict[PeerTag, Any] = {
    PeerTag.STORE_FOLLOW: StoreFollow(7, NOTHING, ""),
    PeerTag.STORE_NEWS_ACK: StoreNewsAck(7, 2),
    PeerTag.STORE_PROPOSE: StorePropose((Proposal(3, (Operation("a", b"1"),)),)),
}
TO_FOLLOWER: dict[PeerTag, Any] = {
    PeerTag.STORE_OFFERED: StoreOffered("5f0c", 41),
    PeerTag.STORE_CUT: StoreCut(7, 1, "5f0c", 41, True, (Row("a", b"1", 41),)),
    PeerTag.STORE_NEWS: StoreNews(7, 2, 42, (StoredChange(42, (Operation("a", None),)),)),
    PeerTag.STORE_SETTLED: StoreSettled((SettledProposal(3, True, 42),)),
}


TO_KEEPER: dict[PeerTag, Any] = {
    PeerTag.FORWARDED: Forwarded(5, 1, (HttpOrder("beat", Service("public", "g", "s"), "10.0.0.9", 80, 5),)),
    PeerTag.FORWARD_SETTLED: ForwardSettled(5, (HttpOutcome("renewed", 5_000),)),
}


def edge_with(store: StoreKind = "none", **overrides: Any) -> PeerEdge:
    return PeerEdge(settings_of("io", IoSettings, **overrides), store)


@pytest.mark.parametrize("tag", TO_MEMBERS)
def test_handshakes_pings_and_digests_go_to_member_manager(tag: PeerTag) -> None:
    body = TO_MEMBERS[tag]
    for dialled_here in (True, False):
        tells = edge_with().receive(LINK, [encode_peer(tag, body)], dialled_here)
        assert tells == [Tell(Role.MEMBERS, PeerFrameReceived(LINK, dialled_here, body))]


@pytest.mark.parametrize("tag", TO_DISTRO)
def test_records_and_what_steers_them_go_to_distro(tag: PeerTag) -> None:
    body, message = TO_DISTRO[tag]
    assert edge_with().receive(LINK, [encode_peer(tag, body)], True) == [Tell(Role.DISTRO, message)]


@pytest.mark.parametrize("tag", [*TO_HOME, *TO_FOLLOWER])
def test_frames_about_the_store_go_to_who_keeps_it_or_follows_it_and_any_other_kind_of_node_drops_them(
    tag: PeerTag,
) -> None:
    body = (TO_HOME | TO_FOLLOWER)[tag]
    kind, role = ("home", Role.HOME) if tag in TO_HOME else ("away", Role.STORE)
    for store in get_args(StoreKind):
        edge = edge_with(store)
        tells = edge.receive(LINK, [encode_peer(tag, body)], True)
        if store == kind:
            assert (tells, edge.counters) == ([Tell(role, StoreFrameReceived(LINK, body))], {})
        else:
            assert (tells, edge.counters) == ([], {"peer_frames_of_the_store_dropped": 1})


@pytest.mark.parametrize("tag", TO_KEEPER)
def test_orders_about_http_clients_and_what_became_of_them_go_to_their_keeper(tag: PeerTag) -> None:
    body = TO_KEEPER[tag]
    assert edge_with().receive(LINK, [encode_peer(tag, body)], True) == [Tell(Role.BEATS, ForwardReceived(LINK, body))]


def test_every_tag_has_a_receiver() -> None:
    known = set(TO_MEMBERS) | set(TO_DISTRO) | set(TO_HOME) | set(TO_FOLLOWER) | set(TO_KEEPER)
    assert known == set(PeerTag)


def envelope_of(*items: object) -> bytes:
    packed: bytes = msgpack.packb(list(items))
    return packed


BAD_FRAMES = {
    "no bytes": (b"", Code.FRAME_INVALID, "frame"),
    "too many bytes": (b"\x00" * (PEER_FRAME_BYTES_MAX + 1), Code.FRAME_TOO_LARGE, "frame"),
    "deep nesting": (b"\x91" * 5_000, Code.FRAME_INVALID, "frame"),
    "a map": (envelope_of({"a": 1}), Code.FRAME_INVALID, "envelope"),
    "a short envelope": (envelope_of(PEER_VERSION, 4), Code.FRAME_INVALID, "envelope"),
    "another version": (envelope_of(PEER_VERSION + 1, 4, [5]), Code.VERSION_UNSUPPORTED, "version"),
    "an unknown tag": (envelope_of(PEER_VERSION, 99, [5]), Code.TAG_UNKNOWN, "tag"),
    "text for a number": (envelope_of(PEER_VERSION, 4, ["5"]), Code.PARAMETER_INVALID, "number"),
    "a client's frame": (envelope_of(1, 64, 7, 5, []), Code.TAG_UNKNOWN, "tag"),
}


@pytest.mark.parametrize("kind", BAD_FRAMES)
def test_a_bad_frame_is_counted_and_told_to_nobody(kind: str) -> None:
    payload, code, field = BAD_FRAMES[kind]
    with pytest.raises(RemoteProtocolError) as raised:
        decode_peer(payload)
    assert (raised.value.code, raised.value.field) == (code, field)
    edge = edge_with()
    assert edge.receive(LINK, [payload], False) == []
    assert edge.counters == {f"peer_frames_{code.name.lower()}": 1}


@pytest.mark.parametrize("parts", [[], [b"", encode_peer(PeerTag.PING, LinkPing(1))], [b"x"] * 100])
def test_a_message_is_exactly_one_frame(parts: list[bytes]) -> None:
    edge = edge_with()
    assert edge.receive(LINK, parts, True) == []
    assert edge.counters == {"peer_frames_frame_invalid": 1}


def test_garbage_silences_its_link_until_that_is_closed_and_no_other() -> None:
    edge = edge_with(invalid_frames_per_link_max=2)
    ping = [encode_peer(PeerTag.PING, LinkPing(1))]
    for _ in range(2):
        edge.receive(LINK, [b"\xc1"], True)
    assert edge.receive(LINK, ping, True) == []
    assert len(edge.receive("accept:00", ping, False)) == 1
    edge.close(LINK)
    assert len(edge.receive(LINK, ping, True)) == 1
    assert edge.counters == {"peer_frames_frame_invalid": 2, "peer_frames_dropped_unread": 1}


@given(st.lists(st.lists(st.binary(max_size=200), max_size=3), max_size=20))
def test_whatever_arrives_nothing_is_raised(messages: list[list[bytes]]) -> None:
    edge = edge_with()
    told = [edge.receive(LINK, parts, True) for parts in messages]
    assert sum(edge.counters.values()) == told.count([])
