"""The etcd members beside real nodes, asked one by one: whom they follow, and whether they hold the same."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from typing import TypeVar

import msgspec

from runtime.members_file import ETCD_CLIENT_PORT_OFFSET, PEER_PORT_OFFSET
from runtime.store.etcd_gateway import (
    AnswerHeader,
    Endpoints,
    EtcdAccess,
    GatewayLink,
    NoAnswer,
    NotSent,
    Refusal,
    StatusAnswer,
    answer_decoder,
    encode_request,
    member_status,
)
from runtime.store.etcd_reads import MEMBERS_ANSWER, EtcdMember
from tests.support.real_cluster import RealNode, until
from tests.support.store_settings import ETCD

_ASK_S = 1.0
_FOLLOW_S_MAX = 30.0
_SAME_S_MAX = 10.0

T = TypeVar("T")


class _HashAnswer(msgspec.Struct):
    """Of all that lies in the keys of a member, with its history, up to one revision."""

    header: AnswerHeader
    hash: int = 0
    compact_revision: int = 0


_HASH_ANSWER = answer_decoder(_HashAnswer)


def leader_of(nodes: Sequence[RealNode]) -> RealNode:
    """The node beside which the leader runs, once every member follows it and has a vote."""
    found: list[RealNode] = []

    def all_follow_one() -> bool:
        try:
            statuses = [_status(node) for node in nodes]
            members = members_of(nodes[0])
        except (NotSent, NoAnswer, Refusal):
            return False
        leader = statuses[0].leader
        if leader in ("", "0") or any(status.leader != leader or status.errors for status in statuses):
            return False
        if len(members) != len(nodes) or any(member.is_learner for member in members):
            return False
        names = [member.name for member in members if member.member_id == leader]
        found[:] = [node for node in nodes if _seat(node) in names]
        return bool(found)

    until(all_follow_one, _FOLLOW_S_MAX, "every member follows one leader")
    return found[0]


def members_of(node: RealNode) -> list[EtcdMember]:
    """As the member beside it knows them."""
    return _ask(node, "/v3/cluster/member/list", b"{}", MEMBERS_ANSWER).members


def until_members_hold_the_same(nodes: Sequence[RealNode]) -> None:
    """Nothing may be written meanwhile."""

    def is_same() -> bool:
        try:
            revision = max(_status(node).header.revision for node in nodes)
            hashes = {_hash(node, revision) for node in nodes}
        except (NotSent, NoAnswer, Refusal):  # also of one that is not as far yet
            return False
        return len(hashes) == 1

    until(is_same, _SAME_S_MAX, "all members hold the same keys with the same history")


def _hash(node: RealNode, revision: int) -> tuple[int, int]:
    answer = _ask(node, "/v3/maintenance/hash", encode_request({"revision": revision}), _HASH_ANSWER)
    return answer.hash, answer.compact_revision


def _status(node: RealNode) -> StatusAnswer:
    with closing(_link(node)) as link:
        return member_status(link, time.monotonic() + _ASK_S)


def _ask(node: RealNode, path: str, request: bytes, answer: msgspec.json.Decoder[T]) -> T:
    with closing(_link(node)) as link:
        return link.ask(path, request, answer, time.monotonic() + _ASK_S, needs_leader=False)


def _link(node: RealNode) -> GatewayLink:
    url = f"http://127.0.0.1:{node.base_port + ETCD_CLIENT_PORT_OFFSET}"
    return GatewayLink(EtcdAccess(endpoints=(url,), key_prefix=""), Endpoints((url,)), None, ETCD)


def _seat(node: RealNode) -> str:
    return f"127.0.0.1:{node.base_port + PEER_PORT_OFFSET}"
